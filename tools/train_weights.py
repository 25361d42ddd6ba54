"""Train the weights that ship with the library, on MNIST, and write down what produced them: `make weights`."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import vae_lib

FOLDER = Path(vae_lib.__file__).parent / "pretrained"
CONFIGS = {"mnist-2d": vae_lib.TrainConfig()}


def train_one(name: str, config: vae_lib.TrainConfig, data: vae_lib.Dataset) -> dict[str, Any]:
    """Train, save as float16, and measure what was saved; returns the registry's entry."""
    print(f"· {name}: {config}", flush=True)
    vae = vae_lib.build_vae(config)
    history = vae_lib.train(vae, data.x_train, validation=data.x_test)
    path = vae_lib.save_weights(vae, FOLDER / f"{name}.npz", dtype="float16")
    terms = vae_lib.elbo(vae_lib.load_weights(path), data.x_test, samples=10, seed=0)
    metrics = {f"test_{key}": round(float(value.mean()), 3) for key, value in terms._asdict().items()}
    print(f"  {metrics}")
    return {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "config": asdict(config),
        "data": "MNIST, 60,000 training images, grey values in [0, 1]",
        "metrics": {**metrics, "unit": "nats per image, float16 weights, 10 samples of z per image, seed 0"},
        "seconds": round(sum(history.seconds), 1),
        "versions": {package: version(package) for package in ("keras", "numpy", "tensorflow", "vae-lib")}
        | {"python": platform.python_version()},
    }


def main() -> None:
    """Train every model of the registry."""
    data = vae_lib.load_mnist()
    FOLDER.mkdir(exist_ok=True)
    registry = {name: train_one(name, config, data) for name, config in CONFIGS.items()}
    (FOLDER / "registry.json").write_text(json.dumps(registry, indent=2) + "\n", encoding="utf-8")
    print(f"· wrote {FOLDER.name}/registry.json", file=sys.stderr)


if __name__ == "__main__":
    main()
