"""Seconds per epoch of the post's network, batch 50, on 60,000 images: this library beside other ways to train it.

Each way runs in a process of its own that stays alive; after warm-up, rounds go through all of them in turn, one epoch each,
so that whatever else the machine does meets all alike. Figures to read are the ratios of medians. The images are random: an
epoch takes as long on any data, and nobody needs a download to repeat this.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

IMAGES, PIXELS, HIDDEN, LATENT, BATCH, RATE = 60_000, 784, 512, 2, 50, 1e-3
STEPS = IMAGES // BATCH


def images() -> Any:
    """Random images, as sparse as MNIST's."""
    generator = np.random.default_rng(0)
    x = generator.random((IMAGES, PIXELS), dtype=np.float32)
    x[x < 0.8] = 0
    return x


def vae_lib_train() -> Callable[[], Any]:
    """Train with this library: the function that train() calls for each epoch."""
    import keras

    import vae_lib
    from vae_lib.training import _compiled_epoch, as_tensor

    config = vae_lib.TrainConfig(batch_size=BATCH)
    vae = vae_lib.build_vae(config)
    x, labels = as_tensor(images()), keras.ops.zeros(IMAGES, "int32")
    weights = [keras.ops.copy(variable) for variable in vae.trainable_variables]
    state = [keras.ops.zeros((), "int32"), weights, [keras.ops.zeros_like(weight) for weight in weights * 2]]
    epoch = _compiled_epoch(vae, config, IMAGES)
    generator = np.random.default_rng(0)

    def run() -> None:
        nonlocal state
        order = generator.permutation(IMAGES).astype(np.int32)
        *state, totals = epoch(x, labels, order, np.int32(0), np.float32(RATE), *state)
        totals.numpy()

    return run


def keras_fit(jit: bool) -> Callable[[], Any]:
    """Plain Keras: compile and fit on the same model."""
    import keras

    import vae_lib

    vae = vae_lib.build_vae(vae_lib.TrainConfig(batch_size=BATCH))
    vae.compile(optimizer=keras.optimizers.Adam(RATE), jit_compile=jit)
    x = images()
    return lambda: vae.fit(x, batch_size=BATCH, epochs=1, verbose=0)


def jax_scan() -> Callable[[], Any]:
    """JAX: lax.scan over the whole epoch, optax's Adam."""
    import jax
    import jax.numpy as jnp
    import optax

    def dense(key: Any, inputs: int, outputs: int) -> tuple[Any, Any]:
        bound = (6 / (inputs + outputs)) ** 0.5
        return jax.random.uniform(key, (inputs, outputs), minval=-bound, maxval=bound), jnp.zeros(outputs)

    keys = jax.random.split(jax.random.key(0), 5)
    sizes = [(PIXELS, HIDDEN), (HIDDEN, LATENT), (HIDDEN, LATENT), (LATENT, HIDDEN), (HIDDEN, PIXELS)]
    parameters = [dense(key, *size) for key, size in zip(keys, sizes, strict=True)]
    optimizer = optax.adam(RATE)
    x = jnp.asarray(images())

    def loss(parameters: Any, batch: Any, key: Any) -> Any:
        (w1, b1), (w_mu, b_mu), (w_var, b_var), (w2, b2), (w3, b3) = parameters
        hidden = jax.nn.relu(batch @ w1 + b1)
        mu, log_var = hidden @ w_mu + b_mu, hidden @ w_var + b_var
        z = mu + jnp.exp(0.5 * log_var) * jax.random.normal(key, mu.shape)
        logits = jax.nn.relu(z @ w2 + b2) @ w3 + b3
        reconstruction = jnp.sum(jax.nn.softplus(logits) - batch * logits, axis=-1)
        kl = 0.5 * jnp.sum(jnp.expm1(log_var) - log_var + mu**2, axis=-1)
        return jnp.mean(reconstruction + kl)

    @jax.jit
    def epoch(parameters: Any, state: Any, order: Any, key: Any) -> Any:
        def step(carry: Any, inputs: Any) -> Any:
            parameters, state = carry
            rows, key = inputs
            value, gradients = jax.value_and_grad(loss)(parameters, x[rows], key)
            updates, state = optimizer.update(gradients, state)
            return (optax.apply_updates(parameters, updates), state), value

        carry, values = jax.lax.scan(step, (parameters, state), (order, jax.random.split(key, STEPS)))
        return *carry, values.mean()

    state = optimizer.init(parameters)
    generator = np.random.default_rng(0)

    def run() -> None:
        nonlocal parameters, state
        order = generator.permutation(IMAGES).astype(np.int32).reshape(STEPS, BATCH)
        parameters, state, value = epoch(parameters, state, order, jax.random.key(int(generator.integers(2**31))))
        float(value)

    return run


def torch_loop() -> Callable[[], Any]:
    """PyTorch: indexed batches, fused Adam."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * LATENT))
    decoder = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, PIXELS))
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=RATE, fused=True)
    x = torch.from_numpy(images())

    def run() -> None:
        for rows in torch.randperm(IMAGES).split(BATCH):
            batch = x[rows]
            mu, log_var = encoder(batch).chunk(2, dim=-1)
            logits = decoder(mu + torch.exp(0.5 * log_var) * torch.randn_like(mu))
            reconstruction = nn.functional.binary_cross_entropy_with_logits(logits, batch, reduction="sum")
            loss = (reconstruction + 0.5 * (torch.expm1(log_var) - log_var + mu**2).sum()) / BATCH
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return run


def _five_products(multiply: Callable[..., Any], make: Callable[[int, int], Any]) -> Callable[[], Any]:
    """Run the five large matrix products of a step and nothing else: two forward, three backward."""
    x, hidden = make(BATCH, PIXELS), make(BATCH, HIDDEN)
    w_in, w_out = make(PIXELS, HIDDEN), make(HIDDEN, PIXELS)

    def run() -> None:
        for _ in range(STEPS):
            multiply(x, w_in)  # encoder, forward
            multiply(hidden, w_out)  # decoder, forward
            multiply(hidden.T, x)  # gradient of the decoder's kernel
            multiply(x, w_out.T)  # gradient of the hidden layer
            multiply(x.T, hidden)  # gradient of the encoder's kernel

    return run


def products_torch() -> Callable[[], Any]:
    """Run the bare products with PyTorch's MKL."""
    import torch

    return _five_products(torch.mm, lambda rows, columns: torch.rand(rows, columns))


def products_numpy() -> Callable[[], Any]:
    """Run the bare products with NumPy's OpenBLAS."""
    generator = np.random.default_rng(0)
    return _five_products(np.matmul, lambda rows, columns: generator.random((rows, columns), dtype=np.float32))


WAYS: dict[str, Callable[[], Callable[[], Any]]] = {
    "vae_lib.train": vae_lib_train,
    "JAX, lax.scan, optax": jax_scan,
    "PyTorch, fused Adam": torch_loop,
    "Keras fit, XLA": lambda: keras_fit(True),
    "Keras fit, no XLA": lambda: keras_fit(False),
    "matrix products, PyTorch's MKL": products_torch,
    "matrix products, NumPy's OpenBLAS": products_numpy,
}


def serve(name: str) -> None:
    """Be one way: warm up, then run an epoch for each line that comes in, and answer with its seconds."""
    channel = os.fdopen(os.dup(1), "w")  # frameworks may print to standard output
    os.dup2(2, 1)
    start = time.perf_counter()
    run = WAYS[name]()
    prepared = time.perf_counter()
    run()
    first = time.perf_counter() - prepared
    run()
    print(json.dumps({"prepare": prepared - start, "first": first}), file=channel, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(json.dumps(time.perf_counter() - start), file=channel, flush=True)


class Way:
    """A process that trains in one way, an epoch at a time."""

    def __init__(self, name: str) -> None:
        command = [sys.executable, __file__, "--serve", name]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.start = self._answer()
        self.seconds: list[float] = []

    def _answer(self) -> Any:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise RuntimeError(f"{self.process.args} ended; run it by hand to see why")
        return json.loads(line)

    def epoch(self) -> None:
        """Run one epoch."""
        assert self.process.stdin
        print(file=self.process.stdin, flush=True)
        self.seconds.append(self._answer())

    def end(self) -> None:
        """Let the process finish."""
        self.process.communicate()


def measure(rounds: int) -> list[dict[str, Any]]:
    """Run all ways in turn and return a row for each."""
    ways = {}
    for name in WAYS:
        print(f"· preparing {name}", flush=True)
        ways[name] = Way(name)
    for number in range(rounds):
        print(f"· round {number + 1} of {rounds}", flush=True)
        for way in ways.values():
            way.epoch()
    for way in ways.values():
        way.end()
    medians = {name: statistics.median(way.seconds) for name, way in ways.items()}
    own = medians["vae_lib.train"]
    return [
        {
            "way": name,
            "seconds_per_epoch": round(medians[name], 3),
            "fastest": round(min(way.seconds), 3),
            "slowest": round(max(way.seconds), 3),
            "first_epoch_overhead": round(way.start["first"] - medians[name], 2),
            "times_ours": round(medians[name] / own, 2),
        }
        for name, way in ways.items()
    ]


def main() -> None:
    """Measure, or be one of the measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", choices=WAYS)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return
    from report import picture, write

    rows = measure(arguments.rounds)
    title = "seconds per epoch of 60,000 images, batch 50"
    write("training", rows, title=title)
    picture("training", rows, label="way", value="seconds_per_epoch", title=title)


if __name__ == "__main__":
    main()
