"""Encoder, decoder and the whole VAE: Keras models that share weights. What is minimised is defined in `objective`."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Literal

import keras
import numpy as np
from keras import layers, ops

from vae_lib.checks import as_array, check_finite, check_images, check_integer, check_seed, check_values, shown
from vae_lib.config import TrainConfig
from vae_lib.gaussian import Tensor, sample_gaussian
from vae_lib.objective import batch_loss, elbo_terms, free_bits_kl

_FIT_PARAMETERS = tuple(inspect.signature(keras.Model.fit).parameters)[2:]  # after self and x


@keras.saving.register_keras_serializable(package="vae_lib")
class Sampling(layers.Layer):
    """Draw z = mu + exp(½ log_var) · ε, another ε at each call.

    Parameters
    ----------
    seed
        Where the sequence of ε starts, 0 ≤ seed < 2³¹.
    **kwargs
        What every Keras layer takes, such as `name`. It computes in float32 unless `dtype` says otherwise.

    Raises
    ------
    ValueError
        If the seed is no whole number in that range.
    """

    def __init__(self, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.seed = check_seed(seed)
        self.seed_generator = keras.random.SeedGenerator(self.seed)

    def call(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """Take (mu, log_var), each (batch, latent_dim); return z of the same shape."""
        mu, log_var = inputs
        return sample_gaussian(mu, log_var, seed=self.seed_generator)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return the shape of mu."""
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        """Return what is needed to make the layer again."""
        return {**super().get_config(), "seed": self.seed}

    def save_own_variables(self, store: Any) -> None:
        """Save where the sequence of ε stands, so that a loaded model goes on with the same noise."""
        super().save_own_variables(store)
        store["seed_state"] = ops.convert_to_numpy(self.seed_generator.state)

    def load_own_variables(self, store: Any) -> None:
        """Load where the sequence of ε stands; older files do not say."""
        names = list(store.keys())
        if "seed_state" in names:
            self.seed_generator.state.assign(np.asarray(store["seed_state"]))
        super().load_own_variables({name: store[name] for name in names if name != "seed_state"})


@keras.saving.register_keras_serializable(package="vae_lib")
class VAE(keras.Model):
    """A variational autoencoder with a diagonal Gaussian encoder and a Bernoulli decoder.

    An ordinary Keras model: `compile(optimizer)`, `fit(x)`, `evaluate(x)`, `predict(x)`, `summary()`, `save(path)`,
    `save_weights(path)`; `keras.saving.load_model`, `keras.models.clone_model` and `copy.deepcopy` work on it.
    Its loss is the mean over the batch of reconstruction + beta · KL, nats per image; `reconstruction` and `kl` are its metrics.
    In a conditional VAE, encoder and decoder take a pair, [x, y] and [z, y], with the one-hot label y (batch, classes).
    It computes in float32 whatever Keras's dtype policy: sums over hundreds of pixels lose nats in half precision.

    Parameters
    ----------
    config
        Sizes, beta and seed.
    **kwargs
        What every Keras model takes, such as `name`.

    Attributes
    ----------
    encoder
        Keras model, x (batch, input_dim) → [mu, log_var], each (batch, latent_dim).
    decoder
        Keras model, z (batch, latent_dim) → logits (batch, input_dim).
    sampling
        The `Sampling` layer between encoder and decoder.
    trained
        How the weights were trained, one dict for each training, oldest first; saved with the weights. Each has ``by``
        (``"train"`` or ``"fit"``), ``epochs`` (finished ones) and ``images``; after `train` also ``config``: that of the
        training, which need not be the model's own.

    References
    ----------
    Kingma and Welling 2013, arXiv:1312.6114, section 3 and appendix C.
    """

    def __init__(self, config: TrainConfig, **kwargs: Any) -> None:
        if not isinstance(config, TrainConfig):
            raise ValueError(f"config: expected a TrainConfig, got {type(config).__name__}; write TrainConfig(latent_dim=2)")
        super().__init__(**{"name": "vae", "dtype": "float32", **kwargs})
        self.config = config
        self.encoder = _encoder(config)
        self.decoder = _decoder(config)
        self.sampling = Sampling(config.seed, name="sampling")
        self.reconstruction_metric = keras.metrics.Mean(name="reconstruction", dtype="float32")
        self.kl_metric = keras.metrics.Mean(name="kl", dtype="float32")
        self._trained = "[]"
        self.build((None, config.input_dim))

    @property
    def trained(self) -> list[dict[str, Any]]:
        """How the weights were trained, one dict for each training, oldest first; set it to replace the whole record."""
        record: list[dict[str, Any]] = json.loads(self._trained)
        return record

    @trained.setter
    def trained(self, record: list[dict[str, Any]]) -> None:
        if not isinstance(record, list) or not all(isinstance(entry, dict) for entry in record):
            raise ValueError(f"trained: expected a list of dicts, one for each training, got {type(record).__name__}")
        try:
            self._trained = json.dumps(record)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"trained: expected what JSON can hold, got: {error}; give numbers, texts, lists and dicts"
            ) from error

    def build(self, input_shape: Any) -> None:
        """Mark the model as built; its two halves have their weights from the start."""
        self.sampling.build([(None, self.config.latent_dim)] * 2)
        self.built = True

    def call(self, x: Tensor) -> dict[str, Tensor]:
        """Encode, sample, decode.

        Parameters
        ----------
        x
            Images, (batch, input_dim), values in [0, 1]; of a conditional VAE the pair [x, y], y one-hot (batch, classes).

        Returns
        -------
        dict
            `reconstruction` (batch, input_dim), probabilities; `logits` of the same shape; `mu`, `log_var` and `z`,
            each (batch, latent_dim).
        """
        mu, log_var = self.encoder(x)
        z = self.sampling((mu, log_var))
        logits = self.decoder([z, x[1]] if self.config.classes else z)
        return {"reconstruction": ops.sigmoid(logits), "logits": logits, "mu": mu, "log_var": log_var, "z": z}

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Train as Keras does, after a look at the data; `vae_lib.train` does the same several times faster.

        Parameters
        ----------
        x
            Images, (images, input_dim), values in [0, 1], or the pair [x, y] of a conditional VAE; or what else Keras takes, such
            as a `tf.data.Dataset`, whose first batch is looked at.
        *args, **kwargs
            As for `keras.Model.fit`.

        Returns
        -------
        keras.callbacks.History
            Loss, reconstruction and KL of each epoch, nats per image.

        Raises
        ------
        ValueError
            If images have the wrong shape or a value is outside [0, 1]; nothing is trained then.
        """
        kwargs = {**dict(zip(_FIT_PARAMETERS, args, strict=False)), **kwargs}
        _refuse_weights(kwargs)
        x = self._checked_data(x, "x")
        if kwargs.get("validation_data") is not None:
            kwargs["validation_data"] = self._checked_validation(kwargs["validation_data"])
        before = self.history if hasattr(self, "history") else None
        try:
            return super().fit(x, **kwargs)
        finally:
            if (history := getattr(self, "history", None)) is not before:  # else it was refused before the first step
                self._record_fit(x, history)

    def _record_fit(self, x: Any, history: keras.callbacks.History) -> None:
        """Note in `trained` what `fit` did, also where it was interrupted."""
        first = x[0] if isinstance(x, (list, tuple)) else x
        entry = {
            "by": "fit",
            "beta": self.config.beta,
            "free_bits": self.config.free_bits,
            "optimizer": type(self.optimizer).__name__,
            "learning_rate": float(ops.convert_to_numpy(self.optimizer.learning_rate)),
            "epochs": len(history.epoch),
            "images": len(first) if isinstance(first, np.ndarray) else None,
        }
        self.trained = [*self.trained, entry]

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Measure the loss as Keras does, after a look at the data; see `fit` for what it takes and refuses.

        Parameters
        ----------
        x
            Images, (images, input_dim), values in [0, 1], or the pair [x, y] of a conditional VAE.
        *args, **kwargs
            As for `keras.Model.evaluate`.

        Returns
        -------
        list or dict
            Loss, reconstruction and KL, nats per image.

        Raises
        ------
        ValueError
            If images have the wrong shape or a value is outside [0, 1].
        """
        _refuse_weights(kwargs)
        return super().evaluate(self._checked_data(x, "x"), *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Compute what `call` returns batch by batch, as Keras does, after a look at the images, as in `fit`."""
        return super().predict(self._checked_data(x, "x"), *args, **kwargs)

    def predict_on_batch(self, x: Any) -> Any:
        """Compute what `call` returns for one batch, as Keras does, after a look at the images, as in `fit`."""
        return super().predict_on_batch(self._checked_data(x, "x"))

    def train_on_batch(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Take one gradient step as Keras does, after a look at the images, as in `fit`."""
        _refuse_weights(kwargs)
        return super().train_on_batch(self._checked_data(x, "x"), *args, **kwargs)

    def test_on_batch(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Measure the loss of one batch as Keras does, after a look at the images, as in `fit`."""
        _refuse_weights(kwargs)
        return super().test_on_batch(self._checked_data(x, "x"), *args, **kwargs)

    def _checked_data(self, x: Any, name: str) -> Any:
        """Check arrays or, of a conditional VAE, a pair of them, and the first batch of what is read batch by batch."""
        tracker = getattr(self, "_loss_tracker", None)
        if tracker is not None and tracker.dtype != "float32":  # of Keras's floatx, and in half precision a sum overflows
            object.__setattr__(self, "_loss_tracker", keras.metrics.Mean(name="loss", dtype="float32"))
        if (batch := _first_batch(x)) is not None:
            first = batch[0] if isinstance(batch, (list, tuple)) else batch
            if np.shape(first) == (self.config.input_dim,):
                wanted = f"batches (images, {self.config.input_dim})"
                raise ValueError(f"{name}, first batch: expected {wanted}, got a single image; use {name}.batch(50)")
            self._checked_data(first, f"{name}, first batch")
            return x
        if not (x is None or _is_array(x) or isinstance(x, (tuple, dict))):
            return x  # what Keras reads batch by batch, or refuses
        if not self.config.classes:
            return check_images(x, self.config.input_dim, name)
        if not isinstance(x, (list, tuple)) or len(x) != 2:
            got = f"a {type(x).__name__}" + (f" of {len(x)}" if isinstance(x, (list, tuple)) else "")
            raise ValueError(
                f"{name}: expected the pair [x, y] of images and one-hot labels, got {got}; this VAE is conditional, "
                f"make labels one-hot with keras.ops.one_hot(labels, {self.config.classes})"
            )
        images = check_images(x[0], self.config.input_dim, f"{name}[0]")
        labels = as_array(x[1], f"{name}[1]")
        if labels.shape != (len(images), self.config.classes):
            raise ValueError(
                f"{name}[1]: expected one-hot labels {(len(images), self.config.classes)}, got {labels.shape}; "
                f"make them with keras.ops.one_hot(labels, {self.config.classes})"
            )
        return [images, check_values(labels, f"{name}[1]")]

    def _checked_validation(self, data: Any) -> Any:
        """Check validation data as `fit` takes them: images, or a tuple that begins with them, or a pair [x, y]."""
        first = data[0] if isinstance(data, (list, tuple)) and len(data) else None
        of_arrays = len(getattr(first, "shape", ())) > 1
        if self.config.classes and of_arrays and len(data) == 2:  # [x, y], which Keras would take for inputs and targets
            return (self._checked_data(data, "validation_data"),)
        if first is not None and (isinstance(data, tuple) or of_arrays):
            _refuse_weights({"sample_weight": data[2] if len(data) > 2 else None})
            return (self._checked_data(first, "validation_data"), *data[1:])
        return self._checked_data(data, "validation_data")

    def get_config(self) -> dict[str, Any]:
        """Return what is needed to make the model again, but for its weights."""
        parts = [self.encoder, self.decoder]
        frozen = [layer.name for layer in (*parts, *parts[0].layers, *parts[1].layers) if not layer.trainable]
        return {"name": self.name, "trainable": self.trainable, "config": asdict(self.config), "frozen": frozen}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> VAE:  # noqa: ARG003 -- Keras names it
        """Make a model of this configuration, with its initial weights.

        Parameters
        ----------
        config
            From `get_config`.
        custom_objects
            Not used; Keras gives it.

        Returns
        -------
        VAE
            The model.

        Raises
        ------
        ValueError
            If the configuration is not one of a VAE.
        """
        try:
            vae = cls(TrainConfig(**config["config"]), name=config.get("name", "vae"))
            frozen = set(config.get("frozen", ()))
        except (KeyError, TypeError) as error:
            raise ValueError(f"config: expected what VAE.get_config returns, got {shown(config)} ({error})") from error
        parts = vae.encoder, vae.decoder  # first, for they set all of theirs
        for layer in (*parts, *parts[0].layers, *parts[1].layers):
            if (trainable := layer.name not in frozen) != layer.trainable:
                layer.trainable = trainable
        if not config.get("trainable", True):
            vae.trainable = False
        return vae

    def save_own_variables(self, store: Any) -> None:
        """Save how the weights were trained; Keras saves encoder and decoder themselves."""
        super().save_own_variables(store)
        store["trained"] = np.frombuffer(self._trained.encode(), np.uint8)

    def load_own_variables(self, store: Any) -> None:
        """Load how the weights were trained; files of other makers say nothing about it."""
        names = list(store.keys())
        if "trained" in names:
            try:
                self.trained = json.loads(np.asarray(store["trained"]).tobytes())
            except (ValueError, RecursionError) as error:
                raise ValueError(f"trained: expected the record of trainings that VAE.save writes, got: {error}") from error
        super().load_own_variables({name: store[name] for name in names if name != "trained"})

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Any = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """Return the mean over the batch of reconstruction + beta · KL: what Keras's `fit` minimises.

        Parameters
        ----------
        x
            Images, (batch, input_dim); of a conditional VAE the pair [x, y].
        y
            Ignored, so that `fit(x, x)`, usual for autoencoders, works as `fit(x)` does.
        y_pred
            What `call` returned.
        sample_weight
            Must be None.
        training
            Whether a gradient step follows; noise is drawn either way.

        Returns
        -------
        tensor
            A scalar, nats per image.

        Raises
        ------
        ValueError
            If sample weights are given: a weighted ELBO is not defined here. Or if the configuration asks for what only `train`
            does: dynamic binarisation, a warm-up, a falling learning rate.
        """
        _refuse_weights({"sample_weight": sample_weight})
        if training and (self.config.binarize != "none" or self.config.kl_warmup or self.config.learning_rate_end is not None):
            raise ValueError(
                f"fit: expected a configuration without binarize, kl_warmup and learning_rate_end, got {self.config}; "
                f"use vae_lib.train, or binarise and schedule with Keras's own callbacks"
            )
        mu, log_var = y_pred["mu"], y_pred["log_var"]
        terms = elbo_terms(x[0] if self.config.classes else x, y_pred["logits"], mu, log_var)
        self.reconstruction_metric.update_state(terms.reconstruction)
        self.kl_metric.update_state(terms.kl)
        return batch_loss(terms, self.config.beta, kl=kl_in_loss(self.config, mu, log_var))


def _refuse_weights(given: Mapping[str, Any]) -> None:
    """Refuse sample weights, which Keras leaves out without a word where there are no targets."""
    for name in ("sample_weight", "class_weight"):
        if given.get(name) is not None:
            raise ValueError(f"{name}: expected none, for every image counts the same; leave it out")


def _is_array(x: Any) -> bool:
    return isinstance(x, (list, np.ndarray)) or (hasattr(x, "shape") and hasattr(x, "dtype")) or hasattr(x, "to_numpy")


def _first_batch(x: Any) -> Any:
    """Look at the first batch of what can be read again from the start; None of anything else, such as a generator."""
    if isinstance(x, keras.utils.PyDataset):
        return x[0]
    if hasattr(x, "element_spec") or hasattr(x, "batch_sampler"):  # a tf.data.Dataset, a DataLoader
        return next(iter(x), None)
    return None


def kl_in_loss(config: TrainConfig, mu: Tensor, log_var: Tensor) -> Tensor:
    """Return what `batch_loss` takes in the place of the mean KL: None unless the configuration grants free bits.

    Parameters
    ----------
    config
        The configuration.
    mu, log_var
        The encoder's q(z|x), (batch, latent_dim).

    Returns
    -------
    tensor or None
        A scalar, nats per image.
    """
    return free_bits_kl(mu, log_var, config.free_bits) if config.free_bits else None


def build_vae(config: TrainConfig | None = None) -> VAE:
    """Build the three models that share weights; the default is the post's 784-512-2-512-784.

    Parameters
    ----------
    config
        Sizes, beta and seed; the same configuration gives the same initial weights.

    Returns
    -------
    VAE
        The whole model, with `.encoder` and `.decoder`.

    Raises
    ------
    ValueError
        If `config` is not a `TrainConfig`.
    """
    return VAE(TrainConfig() if config is None else config)


def with_label(vae: VAE, label: int) -> VAE:
    """Turn a conditional VAE into the ordinary VAE that it is for one label: p(x|y) as a model of x alone.

    The label's rows of the first kernels of encoder and decoder are added to their biases, so that both networks are plain chains
    of Dense layers, and everything that takes a VAE takes the new one.

    Parameters
    ----------
    vae
        A conditional VAE.
    label
        0 to classes − 1.

    Returns
    -------
    VAE
        A new model with `classes=0` whose encoder and decoder answer as those of `vae` with this label; it shares no weights.

    Raises
    ------
    ValueError
        If `vae` is not conditional or the label is out of range.
    """
    if not check_vae(vae).config.classes:
        raise ValueError(f"vae: expected a conditional VAE, got {vae.config}; train one with classes=10")
    label = check_integer("label", label, most=vae.config.classes - 1)
    plain = VAE(vae.config.replace(classes=0))
    given = {variable.path: ops.convert_to_numpy(variable) for variable in network_variables(vae)}
    for part, inputs in (("encoder", vae.config.input_dim), ("decoder", vae.config.latent_dim)):
        kernel = given[f"{part}_0/kernel"]  # (inputs + classes, width)
        given[f"{part}_0/kernel"] = kernel[:inputs]
        given[f"{part}_0/bias"] = given[f"{part}_0/bias"] + kernel[inputs + label]
    for variable in network_variables(plain):
        variable.assign(given[variable.path])
    plain.trained = vae.trained
    return plain


def check_vae(vae: Any, name: str = "vae", *, finite: bool = False) -> VAE:
    """Return a VAE, or say what came in its place.

    Parameters
    ----------
    vae
        What should be one.
    name
        What the message calls it.
    finite
        Whether to refuse weights that are not finite numbers: those of a model that has diverged.

    Returns
    -------
    VAE
        `vae` itself.

    Raises
    ------
    ValueError
        If it is something else, such as a decoder alone, or has diverged.
    """
    if not isinstance(vae, VAE):
        raise ValueError(f"{name}: expected a VAE, got {type(vae).__name__}; make one with build_vae(config)")
    if finite:
        for variable in network_variables(vae):
            remedy = "training has diverged, train again with a lower learning rate"
            check_finite(f"{name}: weights {variable.path}", variable, remedy)
    return vae


def network_variables(vae: VAE) -> list[Any]:
    """List the weights of encoder and decoder, whether they are trainable or not.

    Parameters
    ----------
    vae
        The model.

    Returns
    -------
    list of keras.Variable
        Kernels and biases; not the state of the noise.
    """
    return [*vae.encoder.variables, *vae.decoder.variables]


def _encoder(config: TrainConfig) -> keras.Model:
    seeds = _layer_seeds(config.seed, "encoder")
    x = keras.Input((config.input_dim,), name="x", dtype="float32")  # (batch, input_dim)
    inputs, joined = _with_label_input(x, config)
    hidden = _hidden_layers(joined, config, config.hidden, seeds, prefix="encoder")
    mu = _dense(config.latent_dim, seeds, name="mu")(hidden)  # (batch, latent_dim)
    log_var = _dense(config.latent_dim, seeds, name="log_var")(hidden)  # (batch, latent_dim)
    return keras.Model(inputs, [mu, log_var], name="encoder")


def _decoder(config: TrainConfig) -> keras.Model:
    seeds = _layer_seeds(config.seed, "decoder")
    z = keras.Input((config.latent_dim,), name="z", dtype="float32")  # (batch, latent_dim)
    inputs, joined = _with_label_input(z, config)
    hidden = _hidden_layers(joined, config, config.hidden[::-1], seeds, prefix="decoder")
    logits = _dense(config.input_dim, seeds, name="logits")(hidden)  # (batch, input_dim)
    return keras.Model(inputs, logits, name="decoder")


def _with_label_input(first: Tensor, config: TrainConfig) -> tuple[Any, Tensor]:
    """Return a network's inputs, and what its first layer takes: the label, if there is one, behind the rest."""
    if not config.classes:
        return first, first
    y = keras.Input((config.classes,), name="y", dtype="float32")  # (batch, classes), one-hot
    return [first, y], layers.Concatenate(name="joined", dtype="float32")([first, y])


def _layer_seeds(seed: int, part: Literal["encoder", "decoder"]) -> Iterator[int]:
    """Give each layer a seed of its own, which no other layer and no other model's layer shares but by chance."""
    generator = np.random.default_rng([seed, ("encoder", "decoder").index(part)])
    while True:
        yield int(generator.integers(2**31 - 2))  # Keras takes seeds modulo this number


def _hidden_layers(inputs: Tensor, config: TrainConfig, widths: tuple[int, ...], seeds: Iterator[int], *, prefix: str) -> Tensor:
    for number, width in enumerate(widths):
        inputs = _dense(width, seeds, name=f"{prefix}_{number}", activation=config.activation)(inputs)
    return inputs


def _dense(width: int, seeds: Iterator[int], *, name: str, activation: str | None = None) -> layers.Dense:
    initializer = keras.initializers.GlorotUniform(seed=next(seeds))
    return layers.Dense(width, activation=activation, kernel_initializer=initializer, name=name, dtype="float32")
