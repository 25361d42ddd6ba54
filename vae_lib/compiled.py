"""The gradient steps of an epoch as one compiled function, on TensorFlow or JAX: what `training` calls and times.

XLA compiles the loop over batches, so that Python is left out of the gradient steps. What is minimised comes from `objective`;
the optimiser is Adam as Keras defines it, with the settings and the state of the model's own `keras.optimizers.Adam`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from vae_lib.config import TrainConfig
from vae_lib.model import VAE, kl_in_loss, network_variables
from vae_lib.objective import batch_loss, elbo_terms, kl_weight

_NARROW = 32  # columns


class State(NamedTuple):
    """All that gradient steps change, as tensors."""

    step: Any
    """Number of gradient steps so far, int32."""
    weights: list[Any]
    """The weights that are trained."""
    moments: list[Any]
    """Adam's means of the gradients, then of their squares, one of each for each weight."""
    averages: list[Any]
    """Moving averages of the weights; empty unless the optimiser keeps them."""


class _TensorFlow:
    """What XLA needs from TensorFlow."""

    def __init__(self) -> None:
        import tensorflow

        self.tf = tensorflow

    def tensor(self, x: NDArray[Any]) -> Any:
        """Copy an array once; TensorFlow's own conversion holds a second copy for a while.

        TensorFlow works on memory that begins at a multiple of 64 bytes, and NumPy's rarely does.
        """
        room = np.empty(x.nbytes + 64, np.uint8)
        start = -room.ctypes.data % 64
        aligned = room[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
        aligned[:] = x
        return self.tf.experimental.dlpack.from_dlpack(aligned.__dlpack__())

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        compiled: Callable[..., Any] = self.tf.function(function, jit_compile=True, autograph=False, reduce_retracing=True)
        return compiled

    def repeat(self, count: int, body: Callable[..., Any], state: Any) -> Any:
        """Apply `body(i, state)` for i from 0 to count − 1."""

        def turn(i: Any, state: Any) -> Any:
            return i + 1, body(i, state)

        start = (self.tf.constant(0), state)
        return self.tf.while_loop(lambda i, _: i < count, turn, start, maximum_iterations=count)[1]

    def value_and_gradients(self, function: Callable[..., Any], weights: list[Any]) -> tuple[Any, list[Any]]:
        """Return the second result of `function(weights)`, and the gradients of its first."""
        with self.tf.GradientTape() as tape:
            tape.watch(weights)
            loss, rest = function(weights)
        return rest, tape.gradient(loss, weights)

    def rows(self, x: Any, rows: Any) -> Any:
        return self.tf.gather(x, rows)

    def part(self, order: Any, start: Any, size: int) -> Any:
        return self.tf.slice(order, [start], [size])

    def normal(self, shape: tuple[int, ...], seed: Any, step: Any) -> Any:
        return self.tf.random.stateless_normal(shape, self.tf.stack([seed, step]))

    def uniform(self, shape: tuple[int, ...], seed: Any, step: Any) -> Any:
        # the seeds of `normal` end in step, these in −1 − step
        return self.tf.random.stateless_uniform(shape, self.tf.stack([seed, -1 - step]))


class _Jax:
    """The same from JAX."""

    def __init__(self) -> None:
        import jax

        self.jax = jax

    def tensor(self, x: NDArray[Any]) -> Any:
        return self.jax.numpy.array(x)

    def compile(self, function: Callable[..., Any]) -> Callable[..., Any]:
        compiled: Callable[..., Any] = self.jax.jit(function)
        return compiled

    def repeat(self, count: int, body: Callable[..., Any], state: Any) -> Any:
        return self.jax.lax.fori_loop(0, count, body, state)

    def value_and_gradients(self, function: Callable[..., Any], weights: list[Any]) -> tuple[Any, list[Any]]:
        (_, rest), gradients = self.jax.value_and_grad(function, has_aux=True)(weights)
        return rest, gradients

    def rows(self, x: Any, rows: Any) -> Any:
        return x[rows]

    def part(self, order: Any, start: Any, size: int) -> Any:
        return self.jax.lax.dynamic_slice_in_dim(order, start, size)

    def normal(self, shape: tuple[int, ...], seed: Any, step: Any) -> Any:
        return self.jax.random.normal(self._key(seed, step, 0), shape)

    def uniform(self, shape: tuple[int, ...], seed: Any, step: Any) -> Any:
        return self.jax.random.uniform(self._key(seed, step, 1), shape)

    def _key(self, seed: Any, step: Any, use: int) -> Any:
        fold = self.jax.random.fold_in
        return fold(fold(self.jax.random.key(seed), step), use)


def compiler() -> Any:
    """Return what compiles for Keras's backend.

    Returns
    -------
    object
        For TensorFlow or JAX.

    Raises
    ------
    ValueError
        If Keras runs on another backend, whose loops XLA does not compile.
    """
    name = keras.backend.backend()
    if name == "tensorflow":
        return _TensorFlow()
    if name == "jax":
        return _Jax()
    raise ValueError(
        f"train: expected Keras on TensorFlow or JAX, got {name}; use vae.compile(keras.optimizers.Adam(1e-3)) and vae.fit, "
        f"which work with every backend, or set KERAS_BACKEND before Python starts"
    )


def compiled_steps(
    xla: Any, vae: VAE, config: TrainConfig, images: int, warmup_steps: int, adam: keras.optimizers.Adam
) -> Callable[..., tuple[State, Any]]:
    """Compile the gradient steps for some images.

    Parameters
    ----------
    xla
        From `compiler`.
    vae
        The model.
    config
        Batch size, beta, binarisation, warm-up, free bits.
    images
        How many there are in `order`; the last batch is shorter unless the batch size divides them.
    warmup_steps
        Gradient steps of the warm-up.
    adam
        The settings of Adam.

    Returns
    -------
    function
        (x, labels, order, seed, rate, state, frozen) → (state, sums): `order` names the rows of x to use, `frozen` holds the
        values of the weights that are not trained, and `sums` are those of loss, reconstruction and KL over images, nats.
    """
    batch_size = min(config.batch_size, images)
    full_batches, rest = divmod(images, batch_size)
    narrow = [len(variable.shape) == 2 and variable.shape[1] <= _NARROW for variable in vae.trainable_variables]

    def turn(tensors: list[Any]) -> list[Any]:
        """Transpose narrow kernels, there or back: XLA takes a tenth of the time for a gradient (2, 512) as for (512, 2)."""
        turned = narrow * (len(tensors) // len(narrow))
        return [ops.transpose(tensor) if swap else tensor for tensor, swap in zip(tensors, turned, strict=True)]

    def turned(state: State) -> State:
        return State(state.step, *(turn(tensors) for tensors in state[1:]))

    def update(data: tuple[Any, ...], rows: Any, state: State, sums: Any) -> tuple[State, Any]:
        x, labels, seed, rate, frozen = data
        x, y = xla.rows(x, rows), xla.rows(labels, rows) if config.classes else None
        if config.binarize == "dynamic":
            x = ops.cast(xla.uniform(tuple(x.shape), seed, state.step) < x, x.dtype)
        eps = xla.normal((x.shape[0], config.latent_dim), seed, state.step)

        def loss(weights: list[Any]) -> tuple[Any, Any]:
            terms, kl = batch_terms(vae, config, [*turn(weights), *frozen], x, y, eps)
            return batch_loss(terms, kl_weight(config.beta, state.step, warmup_steps), kl=kl), terms

        terms, gradients = xla.value_and_gradients(loss, state.weights)
        reconstruction, divergence = ops.sum(terms.reconstruction), ops.sum(terms.kl)
        total = reconstruction + config.beta * divergence
        return adam_step(adam, state, gradients, rate), sums + ops.stack([total, reconstruction, divergence])

    def steps(x: Any, labels: Any, order: Any, seed: Any, rate: Any, state: State, frozen: list[Any]) -> tuple[State, Any]:
        data = x, labels, seed, rate, frozen

        def body(i: Any, carried: Any) -> Any:
            return update(data, xla.part(order, i * batch_size, batch_size), *carried)

        carried = xla.repeat(full_batches, body, (turned(state), ops.zeros(3, "float32")))
        if rest:  # the last, shorter batch
            carried = update(data, order[-rest:], *carried)
        return turned(carried[0]), carried[1]

    compiled: Callable[..., tuple[State, Any]] = xla.compile(steps)
    return compiled


def adam_step(adam: keras.optimizers.Adam, state: State, gradients: list[Any], rate: Any) -> State:
    """Take one step of Adam as Keras does, without state of its own (Kingma and Ba 2014, section 2, the faster order).

    Parameters
    ----------
    adam
        Its settings: beta_1, beta_2, epsilon, and those of the moving average of the weights.
    state
        Before the step.
    gradients
        One for each weight.
    rate
        The step size.

    Returns
    -------
    State
        After the step.
    """
    time_step = ops.cast(state.step + 1, "float32")
    alpha = rate * ops.sqrt(1 - adam.beta_2**time_step) / (1 - adam.beta_1**time_step)
    means, squares = state.moments[: len(state.weights)], state.moments[len(state.weights) :]
    means = [m + (g - m) * (1 - adam.beta_1) for m, g in zip(means, gradients, strict=True)]
    squares = [v + (g * g - v) * (1 - adam.beta_2) for v, g in zip(squares, gradients, strict=True)]
    weights = [w - alpha * m / (ops.sqrt(v) + adam.epsilon) for w, m, v in zip(state.weights, means, squares, strict=True)]
    averages = state.averages
    if adam.use_ema:  # the first average is the first weights themselves
        momentum = ops.where(state.step > 0, adam.ema_momentum, 0.0)
        averages = [momentum * a + (1 - momentum) * w for a, w in zip(averages, weights, strict=True)]
        if adam.ema_overwrite_frequency:
            due = (state.step + 1) % adam.ema_overwrite_frequency == 0
            weights = [ops.where(due, a, w) for a, w in zip(averages, weights, strict=True)]
    return State(state.step + 1, weights, means + squares, averages)


def frozen_variables(vae: VAE) -> list[Any]:
    """List the weights of encoder and decoder that are not trained.

    Parameters
    ----------
    vae
        The model.

    Returns
    -------
    list of keras.Variable
        In the order of the networks.
    """
    return [variable for variable in network_variables(vae) if not variable.trainable]


def compiled_sums(xla: Any, vae: VAE, config: TrainConfig) -> Callable[..., Any]:
    """Compile the sums of reconstruction and KL over a batch.

    Parameters
    ----------
    xla
        From `compiler`.
    vae
        The model.
    config
        The configuration.

    Returns
    -------
    function
        (values of all weights, x, labels, eps) → reconstruction and KL, (2,), nats.
    """

    def sums(values: list[Any], x: Any, labels: Any, eps: Any) -> Any:
        terms, _ = batch_terms(vae, config, values, x, labels, eps)
        return ops.stack([ops.sum(terms.reconstruction), ops.sum(terms.kl)])

    compiled: Callable[..., Any] = xla.compile(sums)
    return compiled


def batch_terms(vae: VAE, config: TrainConfig, values: Sequence[Any], x: Any, labels: Any, eps: Any) -> tuple[Any, Any]:
    """Compute the ELBO's terms of a batch for given weights and given noise.

    Parameters
    ----------
    vae
        The model.
    config
        Classes and free bits.
    values
        Of the weights, those that are trained first.
    x, labels, eps
        Images (batch, input_dim), their labels (batch,) or None, and noise (batch, latent_dim).

    Returns
    -------
    terms : ElboTerms
        Each (batch,), nats.
    kl : tensor or None
        What the loss takes in the place of the mean KL.
    """
    variables = [*vae.trainable_variables, *frozen_variables(vae)]
    with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
        y = [ops.one_hot(labels, config.classes)] if config.classes else []
        mu, log_var = vae.encoder([x, *y] if y else x)
        z = mu + ops.exp(0.5 * log_var) * eps
        terms = elbo_terms(x, vae.decoder([z, *y] if y else z), mu, log_var)
        return terms, kl_in_loss(config, mu, log_var)
