"""What a training looked like on the way: codes and decoded images at moments of it, for the widget that replays them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vae_lib.checks import as_array, check_codes, check_finite, check_images, check_number
from vae_lib.config import TrainConfig
from vae_lib.evaluation import elbo
from vae_lib.model import build_vae, check_vae
from vae_lib.training import train

_MOST_EPOCHS = 11  # that are kept of a long training
_SIDE = 5  # of the square of points that are decoded unless others are given


class Snapshot(NamedTuple):
    """A model at one moment of its training."""

    epoch: float
    """Passes through the training images so far; 0 is before training."""
    codes: NDArray[np.float32]
    """Mean of q(z|x) for each recorded image, (images, latent_dim)."""
    decoded: NDArray[np.float32]
    """Probability of white for each pixel at each recorded z, (points, pixels)."""
    loss: float | None
    """Mean training loss since the last whole epoch, nats per image; None before training."""
    test_loss: float
    """−ELBO of the recorded images, one sample of z for each, nats per image."""


class TrainingRecorder(keras.callbacks.Callback):
    """A callback that keeps what the encoder and the decoder answer to the same questions while they learn.

    It records before training and after each epoch or, if there are more than eleven epochs, after at most eleven of them, at
    growing distances. Give it to `train` or to Keras's `fit`; another training starts another record.

    Parameters
    ----------
    x
        Images whose codes are recorded, (images, input_dim), values in [0, 1]; use some that are not trained on.
    labels
        The digit of each, (images,), for colours only.
    z
        Where to decode, (points, latent_dim). By default a square of 5×5 points, row by row from the top left: the middles of
        equally likely intervals of the prior in the first two dimensions, and zero in the others.

    Raises
    ------
    ValueError
        If images, labels or points have the wrong form.

    Attributes
    ----------
    snapshots
        What was recorded, in the order of the epochs.
    """

    def __init__(self, x: ArrayLike, labels: ArrayLike, *, z: ArrayLike | None = None) -> None:
        super().__init__()
        self.x = check_images(x, 0)
        _, self.labels = check_codes(np.zeros((len(self.x), 2)), labels)
        with np.errstate(over="ignore"):  # what is beyond float32 is found below
            self._given_z = None if z is None else as_array(z, "z").astype(np.float32)
        if self._given_z is not None and (self._given_z.ndim != 2 or not self._given_z.size):
            raise ValueError(f"z: expected shape (points, latent_dim) with at least one point, got {self._given_z.shape}")
        if self._given_z is not None:
            check_finite("z", self._given_z, "give points of the latent space")
        self.snapshots: list[Snapshot] = []
        self._wanted: frozenset[int] = frozenset()

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Record the model before training; refuse one that cannot be recorded before anything is trained."""
        config = check_vae(self.model, "TrainingRecorder").config
        if config.classes:
            raise ValueError("TrainingRecorder: expected a VAE without labels, got a conditional one; it cannot be recorded")
        if self.x.shape[1] != config.input_dim:
            raise ValueError(f"TrainingRecorder: expected images of {config.input_dim} pixels, got {self.x.shape[1]}")
        self.z_of(config.latent_dim)
        epochs = int(self.params.get("epochs") or 1)
        self._wanted = _epochs_to_keep(epochs)
        self.snapshots = [self._look(self.model, float(self.model._initial_epoch or 0), None)]  # not 0 from a backup

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Record the model after an epoch."""
        if epoch + 1 in self._wanted:
            self.snapshots.append(self._look(self.model, epoch + 1.0, float((logs or {})["loss"])))

    def replay_first_epoch(
        self, x: NDArray[np.float32], config: TrainConfig, *, moments: Sequence[float] = (0.003, 0.01, 0.05, 0.2)
    ) -> None:
        """Add moments inside the first epoch, where most happens, by training its beginning once more.

        `train` is deterministic: a new model of the same configuration, shown the same images in the same order with the same
        noise, takes the same steps again. Call this after training.

        Parameters
        ----------
        x
            The images that were trained on, (images, input_dim).
        config
            The configuration of that training.
        moments
            Shares of the epoch, each above 0 and below 1; rounded to whole gradient steps.

        Raises
        ------
        ValueError
            If nothing was recorded yet, `config` is no `TrainConfig`, or a moment is not between 0 and 1.
        """
        if not isinstance(config, TrainConfig):
            raise ValueError(f"config: expected a TrainConfig, got {type(config).__name__}; give the one that was trained with")
        if config.classes:
            raise ValueError("config: expected one without classes, for a recorded VAE has no labels")
        if not self.snapshots:
            raise ValueError("replay_first_epoch: expected a record of a training, got none; call train with this callback first")
        for moment in moments:
            check_number("moments", moment, above=0, below=1, remedy="give shares of the first epoch")
        x = check_images(x, config.input_dim)
        self.snapshots = [snapshot for snapshot in self.snapshots if snapshot.epoch.is_integer()]  # not those of an earlier call
        per_epoch = -(-len(x) // config.batch_size)
        order = np.random.default_rng([config.seed, 0]).permutation(len(x))  # as train shuffles its first epoch
        for steps in sorted({max(1, round(moment * per_epoch)) for moment in moments}):
            if steps * config.batch_size < len(x):
                first = order[: steps * config.batch_size]
                shuffled = np.empty_like(x, shape=(len(first), x.shape[1]))
                # train will shuffle these in turn: laid out so that they come out of it in the epoch's own order
                shuffled[np.random.default_rng([config.seed, 0]).permutation(len(first))] = x[first]
                vae = build_vae(config)
                with _quiet_tensorflow():
                    history = train(vae, shuffled, config=config.replace(epochs=1), progress=False)
                self.snapshots.append(self._look(vae, steps / per_epoch, history.loss[0]))
        self.snapshots.sort(key=lambda snapshot: snapshot.epoch)

    def z_of(self, latent_dim: int) -> NDArray[np.float32]:
        """Return the points that are decoded for a latent space of this many dimensions.

        Parameters
        ----------
        latent_dim
            Number of latent dimensions.

        Returns
        -------
        ndarray
            (points, latent_dim), float32.

        Raises
        ------
        ValueError
            If the given `z` have another number of coordinates, or none were given and there is only one latent dimension.
        """
        if self._given_z is None:
            if latent_dim < 2:
                raise ValueError(f"z: expected at least 2 latent dimensions, got {latent_dim}; give z, (points, {latent_dim})")
            quantiles = [NormalDist().inv_cdf((i + 0.5) / _SIDE) for i in range(_SIDE)]
            z = np.zeros((_SIDE**2, latent_dim), np.float32)
            z[:, :2] = [(across, up) for up in quantiles[::-1] for across in quantiles]
            return z
        if self._given_z.shape[1] != latent_dim:
            raise ValueError(f"z: expected shape (points, {latent_dim}), got {self._given_z.shape}")
        return self._given_z

    def _look(self, vae: Any, epoch: float, loss: float | None) -> Snapshot:
        mu, _ = vae.encoder(self.x)
        decoded = keras.ops.sigmoid(vae.decoder(self.z_of(vae.config.latent_dim)))
        test_loss = -float(elbo(vae, self.x, samples=1).elbo.mean())
        return Snapshot(epoch, keras.ops.convert_to_numpy(mu), keras.ops.convert_to_numpy(decoded), loss, test_loss)


@contextlib.contextmanager
def _quiet_tensorflow() -> Iterator[None]:
    """Leave out the warning that each length is compiled anew, which is meant: on a notebook's page it would stand as output."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _epochs_to_keep(epochs: int) -> frozenset[int]:
    """All of a short training; of a long one the first, the last, and others between them at growing distances."""
    if epochs <= _MOST_EPOCHS:
        return frozenset(range(1, epochs + 1))
    distances = np.floor(np.diff(np.geomspace(1, epochs, _MOST_EPOCHS))).astype(int)
    left = epochs - 1 - int(distances.sum())
    none = np.flatnonzero(distances == 0)[::-1][:left]  # what rounding took is given back, so that distances still grow
    distances[none] = 1
    distances[len(distances) - (left - len(none)) :] += 1
    return frozenset([1, *(1 + np.cumsum(distances)).tolist()])
