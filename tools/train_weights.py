"""Train the weights that ship with the library, on MNIST, and write down what produced them: `make weights`.

Each model that is finished waits in _build/weights, so that an interrupted run goes on where it was; what ships is changed only
when all of them are there. With names, only those are trained; with --measure, none is, and the metrics are computed anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import shutil
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

import vae_lib
from vae_lib.files import replacing

SHIPPED = Path(vae_lib.__file__).parent / "pretrained"
STAGE = Path(__file__).parents[1] / "_build" / "weights"

POST = vae_lib.TrainConfig()
CONFIGS = {
    "mnist-2d": POST,
    **{f"mnist-{dims}d": POST.replace(latent_dim=dims) for dims in (5, 10, 20, 50)},
    **{f"mnist-2d-beta-{beta:g}": POST.replace(beta=float(beta)) for beta in (0.25, 0.5, 4)},
    "mnist-conditional": POST.replace(classes=10),
    # the network, data and batches of Burda et al. 2015, section 5, for an eleventh of the epochs
    "mnist-burda": vae_lib.TrainConfig(
        latent_dim=50, hidden=(200, 200), activation="tanh", binarize="dynamic", batch_size=20, epochs=300,
        learning_rate_end=1e-4,
    ),
}  # fmt: skip

BITS = 6  # of float16's ten in the fraction that are kept: the others are zero, which makes a file a quarter smaller
ELBO_SAMPLES, IWAE_SAMPLES = 10, 100


def round_weights(array: NDArray[np.floating], bits: int = BITS) -> NDArray[np.float32]:
    """Round to float16 numbers whose fraction has so many bits, halves to even; off by at most 2^−(bits + 1) of the value."""
    dropped = 10 - bits
    whole = array.astype(np.float16).view(np.uint16).astype(np.uint32)
    up = (whole >> dropped & 1) + (1 << dropped - 1) - 1 if dropped else 0
    rounded = whole + up >> dropped << dropped
    return rounded.astype(np.uint16).view(np.float16).astype(np.float32)


def make_small(vae: vae_lib.VAE, x_train: NDArray[np.float32]) -> None:
    """Round all weights, and set to zero those that training never touched: of pixels that are black in every image."""
    for variable in (*vae.encoder.variables, *vae.decoder.variables):
        array = round_weights(keras.ops.convert_to_numpy(variable))
        if variable.path == "encoder_0/kernel":
            array[: x_train.shape[1]][x_train.max(axis=0) == 0] = 0
        variable.assign(array)


def metrics_on(vae: vae_lib.VAE, x: NDArray[np.float32], labels: NDArray[np.uint8]) -> dict[str, float]:
    """Measure a model on images: nats per image, and the number of active units."""
    if vae.config.binarize == "dynamic":
        x = vae_lib.binarize(x, "static", seed=0)
    given: dict[str, Any] = {"labels": labels} if vae.config.classes else {}
    terms = vae_lib.elbo(vae, x, samples=ELBO_SAMPLES, seed=0, **given)
    nll = -vae_lib.iwae_bound(vae, x, k=IWAE_SAMPLES, seed=0, **given).mean()
    units = vae_lib.active_units(vae, x, **given).active
    return {name: round(float(value.mean()), 3) for name, value in terms._asdict().items()} | {
        "iwae_nll": round(float(nll), 3), "active_units": units,
    }  # fmt: skip


def measure(vae: vae_lib.VAE, data: vae_lib.Dataset) -> dict[str, Any]:
    """Measure on the test images, the first thousand of them, and scikit-learn's digits, which need no network."""
    digits = vae_lib.load_digits()
    sets = {
        "test": (data.x_test, data.y_test),
        "first_1000": (data.x_test[:1000], data.y_test[:1000]),
        "digits": (digits.x_test, digits.y_test),
    }
    metrics: dict[str, Any] = {
        f"{name}_{key}": value for name, (x, labels) in sets.items() for key, value in metrics_on(vae, x, labels).items()
    }
    unit = f"nats per image, weights as they ship; ELBO with {ELBO_SAMPLES}, iwae_nll with {IWAE_SAMPLES} samples of z, seed 0"
    return {**metrics, "unit": unit}


def train_one(name: str, config: vae_lib.TrainConfig, data: vae_lib.Dataset) -> dict[str, Any]:
    """Train one model into the stage, and measure what was saved; returns the registry's entry."""
    print(f"· {name}: {config}", flush=True)
    vae = vae_lib.build_vae(config)
    labels = data.y_train if config.classes else None
    history = vae_lib.train(vae, data.x_train, labels=labels)
    if len(history) < config.epochs:
        raise KeyboardInterrupt
    make_small(vae, data.x_train)
    path = vae_lib.save_weights(vae, STAGE / f"{name}.npz", dtype="float16")
    grey = "grey values in [0, 1]" if config.binarize == "none" else "binarised anew in each step; measured on one draw, seed 0"
    return {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "config": asdict(config),
        "data": f"MNIST, 60,000 training images, {grey}",
        "metrics": measure(vae_lib.load_weights(path), data),
        "seconds": round(sum(history.seconds), 1),
        "versions": {package: version(package) for package in ("keras", "numpy", "tensorflow", "vae-lib")}
        | {"python": platform.python_version()},
    }


def staged(name: str, config: vae_lib.TrainConfig) -> dict[str, Any] | None:
    """Return the entry of a model that an earlier run finished, if it is whole and was made with this configuration."""
    entry_file, file = STAGE / f"{name}.json", STAGE / f"{name}.npz"
    if not entry_file.is_file() or not file.is_file():
        return None
    try:
        entry: dict[str, Any] = json.loads(entry_file.read_text(encoding="utf-8"))
        same = (
            vae_lib.TrainConfig(**entry["config"]) == config and entry["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        )
    except (ValueError, TypeError, KeyError, RecursionError):  # it was damaged: the model is trained again
        return None
    return entry if same else None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as file:
        file.write(f"{json.dumps(content, indent=2)}\n".encode())


def ship(entries: dict[str, dict[str, Any]]) -> None:
    """Put what waits in the stage in the place of what ships, the registry last, in the order of CONFIGS."""
    for name in entries:
        if (STAGE / f"{name}.npz").is_file():
            with replacing(SHIPPED / f"{name}.npz") as file:
                file.write((STAGE / f"{name}.npz").read_bytes())
    registry_file = SHIPPED / "registry.json"
    registry = json.loads(registry_file.read_text(encoding="utf-8")) if registry_file.is_file() else {}
    registry |= entries
    write_json(registry_file, {name: registry[name] for name in CONFIGS if name in registry})
    shutil.rmtree(STAGE, ignore_errors=True)
    size = sum(file.stat().st_size for file in SHIPPED.glob("*.npz")) / 1e6
    print(f"· wrote {len(entries)} models; {size:.1f} MB ship in all", file=sys.stderr)


def main(arguments: list[str]) -> int:
    """Train or measure the named models, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CONFIGS)}")
    parser.add_argument("--measure", action="store_true", help="compute the metrics of what ships anew, and train nothing")
    parser.add_argument("--stage-only", action="store_true", help="train, and leave the result in _build/weights")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.names if name not in CONFIGS]:
        parser.error(f"expected names of {', '.join(CONFIGS)}, got {', '.join(unknown)}")
    data = vae_lib.load_mnist()
    STAGE.mkdir(parents=True, exist_ok=True)
    entries: dict[str, dict[str, Any]] = {}
    try:
        for name in given.names or CONFIGS:
            if given.measure:
                entries[name] = vae_lib.pretrained_registry()[name] | {"metrics": measure(vae_lib.pretrained(name), data)}
            else:
                entries[name] = staged(name, CONFIGS[name]) or train_one(name, CONFIGS[name], data)
                write_json(STAGE / f"{name}.json", entries[name])
            print(f"  {entries[name]['metrics']}", flush=True)
    except KeyboardInterrupt:
        print("\nInterrupted: nothing that ships has changed; finished models wait in _build/weights.", file=sys.stderr)
        return 130
    if not given.stage_only:
        ship(entries)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
