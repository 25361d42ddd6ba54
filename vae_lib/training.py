"""train(): each epoch is one compiled function; progress bar, validation, History.

The one module that knows its backend: TensorFlow compiles the whole epoch with XLA, so that Python is left out of the
gradient steps. What is minimised comes from `objective`, the optimiser is Keras's Adam: plain `fit` reaches the same.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from vae_lib.checks import check_images, check_labels
from vae_lib.config import TrainConfig
from vae_lib.model import VAE, kl_in_loss
from vae_lib.objective import batch_loss, elbo_terms, kl_weight

_EVALUATION_BATCH = 1000
_NARROW = 32  # columns


class TrainingError(RuntimeError):
    """Training that cannot go on: a `RuntimeError`; the model keeps the weights of its last good epoch."""


@dataclass
class History:
    """What `train` measured, one entry per epoch; all but `seconds` are nats per image.

    Training values are means over the epoch, while the weights moved; validation values come after it. Each uses one sample of
    z for an image. `loss` is reconstruction + beta · KL, also where a warm-up or free bits let another weight or KL be minimised.

    Attributes
    ----------
    loss
        reconstruction + beta · KL on the training images.
    reconstruction
        Its first part.
    kl
        Its second part, without beta.
    val_loss
        The loss on the validation images; this and the next two are empty if there are none.
    val_reconstruction
        Its first part.
    val_kl
        Its second part, without beta.
    seconds
        How long each epoch took, validation included.
    """

    loss: list[float] = field(default_factory=list)
    reconstruction: list[float] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_reconstruction: list[float] = field(default_factory=list)
    val_kl: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        """Count the finished epochs."""
        return len(self.loss)


def train(
    vae: VAE,
    x: NDArray[np.float32],
    *,
    labels: Any = None,
    config: TrainConfig | None = None,
    validation: NDArray[np.float32] | None = None,
    validation_labels: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    progress: bool = True,
) -> History:
    """Train a VAE with Adam on reconstruction + beta · KL.

    Ctrl-C stops it and keeps the weights of the last finished epoch, which is the last in the History. The same seed on the
    same machine gives the same weights.

    Parameters
    ----------
    vae
        From `build_vae`; trained in place.
    x
        Training images, (images, input_dim), float32 in [0, 1].
    labels
        For a conditional VAE, and only for one: the label of each image, (images,), whole numbers from 0 to classes − 1.
    config
        Epochs, batch size, learning rate, beta, seed, binarisation, warm-up and free bits; by default the configuration that
        `vae` was built with.
    validation
        Images for `History.val_*`, same form as `x`; never trained on, and never binarised here.
    validation_labels
        The labels of `validation`, for a conditional VAE.
    callbacks
        Keras callbacks; `on_train_begin`, `on_epoch_begin`, `on_epoch_end` and `on_train_end` are called.
    progress
        Whether to show a progress bar.

    Returns
    -------
    History
        Loss, reconstruction and KL of each epoch, nats per image, and seconds.

    Raises
    ------
    ValueError
        If `vae` is no VAE, `x` or `validation` has the wrong form, `config` the wrong sizes, labels are missing, superfluous or
        out of range, or Keras does not run on TensorFlow (then use `compile` and `fit`).
    TrainingError
        If the loss or a weight is not a finite number any more; the weights are those of the last good epoch.

    References
    ----------
    Kingma and Welling 2013, arXiv:1312.6114, algorithm 1; Kingma and Ba 2014, arXiv:1412.6980.
    """
    if not isinstance(vae, VAE):
        raise ValueError(f"vae: expected a VAE, got {type(vae).__name__}; make one with build_vae(config)")
    config = vae.config if config is None else config
    if not isinstance(config, TrainConfig):
        raise ValueError(f"config: expected a TrainConfig, got {type(config).__name__}; write TrainConfig(epochs=10)")
    for name in ("input_dim", "latent_dim", "hidden", "classes", "activation"):
        if getattr(config, name) != getattr(vae.config, name):
            raise ValueError(
                f"config.{name}: expected {getattr(vae.config, name)!r} as in the model, got {getattr(config, name)!r}; "
                f"build another model for other sizes"
            )
    x = check_images(x, vae.config.input_dim, "x")
    labels = check_labels(labels, len(x), config.classes)
    held_out = None
    if validation is not None:
        validation = check_images(validation, vae.config.input_dim, "validation")
        held_out = validation, check_labels(validation_labels, len(validation), config.classes, "validation_labels")
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"train: expected Keras on TensorFlow, got {keras.backend.backend()}; use vae.compile and vae.fit, "
            f"which work with every backend"
        )
    return _run(vae, (x, labels), config, held_out, callbacks, progress)


def _run(
    vae: VAE,
    data: tuple[NDArray[np.float32], NDArray[np.int32]],
    config: TrainConfig,
    validation: tuple[NDArray[np.float32], NDArray[np.int32]] | None,
    callbacks: Sequence[keras.callbacks.Callback],
    progress: bool,
) -> History:
    weights = [keras.ops.copy(variable) for variable in vae.trainable_variables]
    moments: list[Any] = [keras.ops.zeros_like(weight) for weight in weights * 2]
    step: Any = keras.ops.zeros((), "int32")
    count = len(data[0])
    epoch = _compiled_epoch(vae, config, count)
    validate = None if validation is None else _compiled_validation(vae, config)
    x, labels = as_tensor(data[0]), keras.ops.convert_to_tensor(data[1])
    history = History()
    finished = (0, weights)  # epochs in the history and the weights after them, in one name: Ctrl-C finds them of one mind
    vae.stop_training = False
    watch = keras.callbacks.CallbackList(list(callbacks), model=vae, epochs=config.epochs, verbose=0)
    watch.on_train_begin()
    try:
        for number in range(config.epochs):
            watch.on_epoch_begin(number)
            start = time.perf_counter()
            order = np.random.default_rng([config.seed, number]).permutation(count).astype(np.int32)
            rate = np.float32(_learning_rate(config, number))
            step, weights, moments, totals = epoch(x, labels, order, np.int32(config.seed), rate, step, weights, moments)
            loss, reconstruction, kl = (float(total) / count for total in totals)
            # the loss was taken before the epoch's last step, which may have spoilt the weights alone
            if not (np.isfinite(loss) and all(bool(keras.ops.all(keras.ops.isfinite(weight))) for weight in weights)):
                raise TrainingError(
                    f"epoch {number + 1}: expected finite loss and weights, got the loss {loss}; the weights of epoch {number} "
                    f"are kept. Lower the learning rate (now {rate:.3g}) and look at the data"
                )
            _assign(vae, weights)
            logs = {"loss": loss, "reconstruction": reconstruction, "kl": kl}
            if validate is not None and validation is not None:
                logs |= validate(*validation, number)
            for name, value in logs.items():
                getattr(history, name).append(value)
            history.seconds.append(time.perf_counter() - start)
            finished = (number + 1, weights)
            if progress:
                _show_progress(history, config.epochs)
            watch.on_epoch_end(number, logs)
            if vae.stop_training:
                break
    except KeyboardInterrupt:
        count, weights = finished
        _assign(vae, weights)
        for values in vars(history).values():
            del values[count:]
        print(f"\nInterrupted: the weights of epoch {len(history)} of {config.epochs} are kept.", file=sys.stderr)
    watch.on_train_end()
    return history


def _show_progress(history: History, epochs: int) -> None:
    """Redraw one line on standard error: a bar, the loss, and the time that is left."""
    done = len(history)
    bar = "█" * round(20 * done / epochs)
    left = (epochs - done) * history.seconds[-1]
    validation = f", validation {history.val_loss[-1]:.2f}" if history.val_loss else ""
    line = f"\r|{bar:<20}| epoch {done}/{epochs}: loss {history.loss[-1]:.2f}{validation} nats per image, {left:.0f} s left "
    print(line, end="\n" if done == epochs else "", file=sys.stderr, flush=True)


def as_tensor(x: NDArray[np.float32]) -> Any:
    """Copy images into a tensor once; TensorFlow's own conversion holds a second copy for a while.

    TensorFlow works on memory that begins at a multiple of 64 bytes, which NumPy's seldom does.

    Parameters
    ----------
    x
        Images, float32.

    Returns
    -------
    tensor
        The same numbers; later changes of `x` do not reach it.
    """
    import tensorflow as tf

    room = np.empty(x.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    aligned = room[start : start + x.nbytes].view(np.float32).reshape(x.shape)
    aligned[:] = x
    return tf.experimental.dlpack.from_dlpack(aligned.__dlpack__())


def _values(variables: Sequence[Any]) -> list[Any]:
    return [variable.value for variable in variables]


def _assign(vae: VAE, weights: list[Any]) -> None:
    for variable, value in zip(vae.trainable_variables, weights, strict=True):
        variable.assign(value)


def _learning_rate(config: TrainConfig, number: int) -> float:
    """Step size of an epoch, counted from 0: it falls by the same factor each time."""
    if config.learning_rate_end is None or config.epochs == 1:
        return config.learning_rate
    return float(config.learning_rate * (config.learning_rate_end / config.learning_rate) ** (number / (config.epochs - 1)))


def _compiled_epoch(vae: VAE, config: TrainConfig, images: int) -> Callable[..., Any]:
    """One function for all steps of an epoch: (x, labels, order, seed, rate, step, weights, moments) → (step, …, sums)."""
    import tensorflow as tf

    batch_size = min(config.batch_size, images)
    full_batches, rest = divmod(images, batch_size)
    narrow = [len(variable.shape) == 2 and variable.shape[1] <= _NARROW for variable in vae.trainable_variables]

    def turn(tensors: list[Any]) -> list[Any]:
        """Transpose narrow kernels, there or back: XLA takes a tenth of the time for a gradient (2, 512) as for (512, 2)."""
        turned = narrow * (len(tensors) // len(narrow))
        return [tf.transpose(tensor) if swap else tensor for tensor, swap in zip(tensors, turned, strict=True)]

    warmup_steps = config.kl_warmup * (full_batches + (rest > 0))

    def update(data: tuple[Any, Any], rows: Any, seed: Any, rate: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
        step, weights, moments, sums = state
        x, y = tf.gather(data[0], rows), tf.gather(data[1], rows) if config.classes else None
        if config.binarize == "dynamic":  # the seeds of the noise end in step, these in −1 − step
            x = tf.cast(tf.random.stateless_uniform(x.shape, tf.stack([seed, -1 - step])) < x, x.dtype)
        eps = tf.random.stateless_normal((x.shape[0], config.latent_dim), tf.stack([seed, step]))
        with tf.GradientTape() as tape:
            tape.watch(weights)
            terms, kl = _terms(vae, config, turn(weights), x, y, eps)
            loss = batch_loss(terms, kl_weight(config.beta, step, warmup_steps), kl=kl)
        gradients = tape.gradient(loss, weights)
        weights, moments = _adam(step + 1, weights, gradients, moments, rate)
        reconstruction, divergence = tf.reduce_sum(terms.reconstruction), tf.reduce_sum(terms.kl)
        loss = reconstruction + config.beta * divergence
        return step + 1, weights, moments, sums + tf.stack([loss, reconstruction, divergence])

    @tf.function(jit_compile=True, autograph=False)
    def epoch(
        x: Any, labels: Any, order: Any, seed: Any, rate: Any, step: Any, weights: list[Any], moments: list[Any]
    ) -> tuple[Any, ...]:
        def body(i: Any, *state: Any) -> tuple[Any, ...]:
            rows = tf.slice(order, [i * batch_size], [batch_size])
            return i + 1, *update((x, labels), rows, seed, rate, state)

        start = (tf.constant(0), step, turn(weights), turn(moments), tf.zeros(3))
        _, *state = tf.while_loop(lambda i, *_: i < full_batches, body, start, maximum_iterations=full_batches)
        if rest:  # the last, shorter batch
            state = update((x, labels), order[-rest:], seed, rate, tuple(state))
        step, weights, moments, sums = state
        return step, turn(weights), turn(moments), sums

    compiled: Callable[..., Any] = epoch
    return compiled


def _adam(step: Any, weights: list[Any], gradients: list[Any], moments: list[Any], rate: Any) -> tuple[list[Any], list[Any]]:
    """One step of Adam as Keras takes it, without state of its own (Kingma and Ba 2014, section 2, the faster order)."""
    import tensorflow as tf

    decay, decay_square, epsilon = 0.9, 0.999, 1e-7
    time_step = tf.cast(step, tf.float32)
    alpha = rate * tf.sqrt(1 - decay_square**time_step) / (1 - decay**time_step)
    means, squares = moments[: len(weights)], moments[len(weights) :]
    means = [m + (g - m) * (1 - decay) for m, g in zip(means, gradients, strict=True)]
    squares = [v + (g * g - v) * (1 - decay_square) for v, g in zip(squares, gradients, strict=True)]
    weights = [w - alpha * m / (tf.sqrt(v) + epsilon) for w, m, v in zip(weights, means, squares, strict=True)]
    return weights, means + squares


def _compiled_validation(vae: VAE, config: TrainConfig) -> Callable[..., dict[str, float]]:
    import tensorflow as tf

    @tf.function(jit_compile=True, reduce_retracing=True)
    def sums(x: Any, labels: Any, eps: Any) -> Any:
        terms, _ = _terms(vae, config, _values(vae.trainable_variables), x, labels, eps)
        return tf.stack([tf.reduce_sum(terms.reconstruction), tf.reduce_sum(terms.kl)])

    def validate(x: NDArray[np.float32], labels: NDArray[np.int32], number: int) -> dict[str, float]:
        noise = np.random.default_rng([config.seed, number, 1])
        totals = np.zeros(2)
        for start in range(0, len(x), _EVALUATION_BATCH):
            batch = x[start : start + _EVALUATION_BATCH]
            eps = noise.standard_normal((len(batch), config.latent_dim), dtype=np.float32)
            totals += sums(batch, labels[start : start + _EVALUATION_BATCH], eps).numpy()
        reconstruction, kl = (float(total) for total in totals / len(x))
        return {"val_loss": reconstruction + config.beta * kl, "val_reconstruction": reconstruction, "val_kl": kl}

    return validate


def _terms(vae: VAE, config: TrainConfig, weights: list[Any], x: Any, labels: Any, eps: Any) -> tuple[Any, Any]:
    """ELBO terms of a batch for given weights and given noise, and what the loss takes in the place of the mean KL."""
    with keras.StatelessScope(state_mapping=list(zip(vae.trainable_variables, weights, strict=True))):
        y = [keras.ops.one_hot(labels, config.classes)] if config.classes else []
        mu, log_var = vae.encoder([x, *y] if y else x)
        z = mu + keras.ops.exp(0.5 * log_var) * eps
        terms = elbo_terms(x, vae.decoder([z, *y] if y else z), mu, log_var)
        return terms, kl_in_loss(config, mu, log_var)
