"""Where the time of a training epoch goes: each part of a step alone, compiled in the same way, beside the whole.

A part is run 1,200 times in one compiled loop, as the epoch runs its steps. Parts measured alone do not add up exactly: in the
whole, XLA fuses some of them and reads memory that another has just written.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from report import picture, write
from training import BATCH, HIDDEN, IMAGES, LATENT, PIXELS, RATE, STEPS, images, vae_lib_train

from vae_lib.training import _adam

ROUNDS = 5


def looped(step: Callable[[Any, Any], Any], start: Any) -> Callable[[], Any]:
    """Compile a loop over the steps of an epoch that carries a state on, so that nothing can be left out of it."""

    @tf.function(jit_compile=True, autograph=False)
    def run(state: Any) -> Any:
        return tf.while_loop(lambda i, _: i < STEPS, lambda i, state: (i + 1, step(i, state)), (tf.constant(0), state))[1]

    return lambda: tf.nest.map_structure(lambda tensor: tensor.numpy().ravel()[0], run(start))


def gather() -> Callable[[], Any]:
    """Collect the rows of each batch from memory."""
    x, order = tf.constant(images()), tf.constant(np.random.default_rng(0).permutation(IMAGES).astype(np.int32))
    return looped(lambda i, total: total + tf.gather(x, tf.slice(order, [i * BATCH], [BATCH])), tf.zeros((BATCH, PIXELS)))


def normals() -> Callable[[], Any]:
    """Draw the noise."""
    return looped(
        lambda i, total: total + tf.random.stateless_normal((BATCH, LATENT), tf.stack([0, i])), tf.zeros((BATCH, LATENT))
    )


def adam() -> Callable[[], Any]:
    """Update all weights and both moments, for gradients that are there already."""
    sizes = [
        (PIXELS, HIDDEN),
        (HIDDEN,),
        (HIDDEN, LATENT),
        (HIDDEN, LATENT),
        (LATENT, HIDDEN),
        (HIDDEN,),
        (HIDDEN, PIXELS),
        (PIXELS,),
    ]
    weights = [tf.random.stateless_normal(size, [0, i]) for i, size in enumerate(sizes)]
    gradients = [1e-3 * weight for weight in weights]
    moments = [tf.zeros_like(weight) for weight in weights * 2]
    return looped(lambda i, state: _adam(i + 1, state[0], gradients, state[1], RATE), (weights, moments))


def products() -> Callable[[], Any]:
    """Compute the five large matrix products, with XLA's own kernels."""
    generator = np.random.default_rng(0)

    def make(rows: int, columns: int) -> Any:
        return tf.constant(generator.standard_normal((rows, columns), dtype=np.float32) * 0.01)

    x, w_in, w_out = make(BATCH, PIXELS), make(PIXELS, HIDDEN), make(HIDDEN, PIXELS)

    def step(_: Any, hidden: Any) -> Any:
        first = tf.matmul(x + hidden[:1, :1], w_in)  # depends on the state, or it would be computed once for all steps
        logits = tf.matmul(first, w_out)
        kernel_out = tf.matmul(first, logits, transpose_a=True)
        back = tf.matmul(logits, w_out, transpose_b=True)
        kernel_in = tf.matmul(x, back, transpose_a=True)
        return 1e-3 * (back + kernel_in[:BATCH] + kernel_out[:BATCH, :HIDDEN])

    return looped(step, make(BATCH, HIDDEN))


def pixels() -> Callable[[], Any]:
    """Compute the loss of each pixel and its gradient."""
    x = tf.constant(images()[:BATCH])
    step = lambda _, logits: logits - 1e-3 * (tf.sigmoid(logits) - x) + 1e-9 * tf.reduce_sum(tf.nn.softplus(logits) - x * logits)  # noqa: E731
    return looped(step, tf.zeros((BATCH, PIXELS)))


PARTS: dict[str, Callable[[], Callable[[], Any]]] = {
    "the whole epoch": vae_lib_train,
    "five large matrix products": products,
    "Adam: weights and moments": adam,
    "gather the batches": gather,
    "loss and gradient of the pixels": pixels,
    "random normals": normals,
}


def main() -> None:
    """Measure all parts in turn."""
    runs = {name: part() for name, part in PARTS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for _ in range(ROUNDS):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    whole = statistics.median(seconds["the whole epoch"])
    rows = [
        {"part": name, "seconds": round(statistics.median(times), 3), "share": f"{statistics.median(times) / whole:.0%}"}
        for name, times in seconds.items()
    ]
    write("parts", rows, title="where an epoch's time goes")
    picture("parts", rows, label="part", value="seconds", title="seconds per epoch of 60,000 images, each part alone")


if __name__ == "__main__":
    main()
