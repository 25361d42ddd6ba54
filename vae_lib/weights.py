"""Save and load weights as .npz, checked; the registry of trained weights that ship with the library.

A file holds the configuration as JSON, each weight under its variable's path, and the SHA-256 of all of it. Nothing in it is
ever executed: no pickle, no Keras archive.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from vae_lib.config import TrainConfig

if TYPE_CHECKING:
    from vae_lib.model import VAE

_SHIPPED = Path(__file__).parent / "pretrained"


class WeightsError(ValueError):
    """Weights that are damaged or do not fit: a `ValueError` that says what was expected, what came and what to do."""


def save_weights(vae: VAE, path: str | os.PathLike[str], *, dtype: Literal["float32", "float16"] = "float32") -> Path:
    """Write a model's weights and configuration to one .npz file, whole or not at all.

    Parameters
    ----------
    vae
        The model.
    path
        Where to write: a name that ends in .npz, in a folder that exists.
    dtype
        ``"float16"`` halves the file, at a relative error of up to 2⁻¹¹ for each weight.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    WeightsError
        If the name, dtype or folder does not serve, a weight is not finite in `dtype`, or the disk is full.
    """
    target = Path(path)
    if target.suffix != ".npz" or not target.parent.is_dir():
        raise WeightsError(f"path: expected a name ending in .npz in a folder that exists, got {target}; create the folder first")
    if dtype not in ("float32", "float16"):
        raise WeightsError(f'dtype: expected "float32" or "float16", got {dtype!r}')
    with np.errstate(over="ignore"):  # an overflow is found just below
        arrays = {variable.path: np.asarray(variable.value).astype(dtype) for variable in vae.trainable_variables}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise WeightsError(
                f"{name}: expected finite weights that {dtype} can hold, got inf or NaN; train again or use float32"
            )
    config = json.dumps(asdict(vae.config))
    entries: dict[str, Any] = {"config": np.array(config), "sha256": np.array(_digest(config, arrays)), **arrays}
    temporary = target.with_name(f"{target.stem}-{os.getpid()}.partial")  # not mkstemp: only the owner could read its file
    try:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **entries)
        temporary.replace(target)
    except OSError as error:
        raise WeightsError(
            f"{target}: expected to write {_size(arrays)} bytes, got: {error}; free space or choose another folder"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return target


def load_weights(path: str | os.PathLike[str]) -> VAE:
    """Build the model that a file written by `save_weights` describes, with its weights.

    Parameters
    ----------
    path
        The .npz file.

    Returns
    -------
    VAE
        A new model; its weights are float32 whatever the file holds.

    Raises
    ------
    WeightsError
        If the file is missing, truncated, altered or foreign, or shapes or dtypes do not fit its configuration.
    """
    from vae_lib.model import build_vae

    config, arrays = _read(Path(path))
    count, expected = sum(array.size for array in arrays.values()), _count(config)
    if count != expected:  # before anything is built: a false claim must not fill the memory
        raise WeightsError(f"{path}: expected {expected} numbers for {config}, got {count}; save them again with save_weights")
    vae = build_vae(config)
    wanted = {variable.path: tuple(variable.shape) for variable in vae.trainable_variables}
    found = {name: array.shape for name, array in arrays.items()}
    if wanted != found:
        raise WeightsError(f"{path}: expected the weights {wanted}, got {found}; save them again with save_weights")
    for variable in vae.trainable_variables:
        variable.assign(arrays[variable.path].astype(np.float32))
    return vae


def pretrained(name: str) -> VAE:
    """Load a model that ships with the library.

    Parameters
    ----------
    name
        One of these, all trained on MNIST; `pretrained_registry` tells more.

        - ``"mnist-2d"``: the post's network after its 10 epochs
        - ``"mnist-5d"``: the same with 5 latent dimensions
        - ``"mnist-10d"``: the same with 10 latent dimensions
        - ``"mnist-20d"``: the same with 20 latent dimensions
        - ``"mnist-50d"``: the same with 50 latent dimensions
        - ``"mnist-2d-beta-0.25"``: as ``"mnist-2d"``, with beta 0.25 instead of 1
        - ``"mnist-2d-beta-0.5"``: as ``"mnist-2d"``, with beta 0.5
        - ``"mnist-2d-beta-4"``: as ``"mnist-2d"``, with beta 4
        - ``"mnist-conditional"``: as ``"mnist-2d"``, given the label
        - ``"mnist-burda"``: the network of Burda et al. 2015 with 50 latent dimensions, on dynamically binarised images

    Returns
    -------
    VAE
        The trained model. Its weights are rounded to float16, and further, to 7 significant bits.

    Raises
    ------
    WeightsError
        If there is no such model, or its file is not the one that was shipped.
    """
    registry = pretrained_registry()
    if name not in registry:
        raise WeightsError(f"name: expected one of {', '.join(sorted(registry))}, got {name!r}")
    file = _SHIPPED / f"{name}.npz"
    actual = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "no file"
    if actual != registry[name]["sha256"]:
        raise WeightsError(f"{file}: expected SHA-256 {registry[name]['sha256']}, got {actual}; install vae_lib again")
    return load_weights(file)


def pretrained_registry() -> dict[str, Any]:
    """Return what is known of each shipped model.

    Returns
    -------
    dict
        For each model's name the SHA-256 of its file, configuration, data, metrics, seconds of training, and versions.

    Raises
    ------
    WeightsError
        If the list is missing or damaged.
    """
    file = _SHIPPED / "registry.json"
    try:
        registry: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file}: expected the list of shipped models, got: {error}; install vae_lib again") from error
    return registry


def _read(path: Path) -> tuple[TrainConfig, dict[str, NDArray[Any]]]:
    remedy = "save it again with save_weights"
    if not path.is_file():
        raise WeightsError(f"{path}: expected a file written by save_weights, found none; check the path")
    try:
        with path.open("rb") as file:  # opened here, for np.load leaves a damaged archive open
            archive = np.load(file, allow_pickle=False)
            arrays = {name: archive[name] for name in archive.files}
        config_text, digest = str(arrays.pop("config")), str(arrays.pop("sha256"))
        config = TrainConfig(**json.loads(config_text))
    except KeyError as error:
        raise WeightsError(
            f"{path}: expected an entry {error}, got an archive without it: not from save_weights; {remedy}"
        ) from error
    except Exception as error:  # what zipfile and NumPy raise on a damaged file is no closed set: struct.error, MemoryError, …
        raise WeightsError(f"{path}: expected an .npz archive written by save_weights, got: {error}; {remedy}") from error
    for name, array in arrays.items():
        if array.dtype not in (np.float32, np.float16):
            raise WeightsError(f"{path}: expected {name} as float32 or float16, got {array.dtype}; {remedy}")
    if (actual := _digest(config_text, arrays)) != digest:
        raise WeightsError(f"{path}: expected content with SHA-256 {digest}, got {actual}: the file was altered; {remedy}")
    return config, arrays


def _count(config: TrainConfig) -> int:
    """Count the weights of a model of this configuration without building it."""
    layers = [*pairwise((config.input_dim + config.classes, *config.hidden)), *[(config.hidden[-1], config.latent_dim)] * 2]
    layers += pairwise((config.latent_dim + config.classes, *config.hidden[::-1], config.input_dim))
    return sum((inputs + 1) * outputs for inputs, outputs in layers)


def _digest(config: str, arrays: dict[str, NDArray[Any]]) -> str:
    total = hashlib.sha256(config.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {array.dtype.str} {array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def _size(arrays: dict[str, NDArray[Any]]) -> int:
    return sum(array.nbytes for array in arrays.values())
