"""Save and load weights as .npz, checked; the registry of trained weights that ship with the library.

A file holds the configuration as JSON, each weight under its variable's path, how they were trained, and the SHA-256 of all of
it. Nothing in it is ever executed: no pickle, no Keras archive. Nothing in it is read or built before its names, shapes, dtypes
and sizes are those of a model of its configuration.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from vae_lib.checks import shown
from vae_lib.config import TrainConfig
from vae_lib.files import Archive, Header, as_path, is_file, replacing

if TYPE_CHECKING:
    from vae_lib.model import VAE

_SHIPPED = Path(__file__).parent / "pretrained"
_REMEDY = "save it again with save_weights"
_MOST_LAYERS = 100  # hidden ones: with some hundred more, Keras ends in a RecursionError
_MOST_WEIGHTS = 1 << 28
_MOST_TEXT_BYTES = {"config": 1 << 16, "trained": 1 << 22, "sha256": 1 << 10}
# A file may expand to so many bytes and no more: trained weights shrink by half at most, and a bomb by a factor of 1,000.
_FREE_BYTES, _EXPANSION = 1 << 23, 8


class WeightsError(ValueError):
    """Weights that are damaged or do not fit: a `ValueError` that says what was expected, what came and what to do."""


def save_weights(vae: VAE, path: str | os.PathLike[str], *, dtype: Literal["float32", "float16"] = "float32") -> Path:
    """Write all weights of a model, trainable or not, and its configuration to one .npz file, whole or not at all.

    Parameters
    ----------
    vae
        The model. How it was trained, `vae.trained`, is written too.
    path
        Where to write: a name that ends in .npz, in a folder that exists. Others may load the same path meanwhile, or save to it:
        it always holds one whole file.
    dtype
        ``"float16"`` halves the file, at a relative error of up to 2⁻¹¹ for each weight.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    WeightsError
        If it is no VAE, the name, dtype or folder does not serve, a weight is not finite in `dtype`, the model is larger than
        `load_weights` takes (100 hidden layers, 2²⁸ weights), or the disk is full.
    """
    from vae_lib.model import check_vae

    try:
        check_vae(vae)
        target = as_path(path)
    except ValueError as error:
        raise WeightsError(str(error)) from error
    if target.suffix != ".npz" or not os.path.isdir(target.parent):
        raise WeightsError(f"path: expected a name ending in .npz in a folder that exists, got {target}; create the folder first")
    if not isinstance(dtype, str) or dtype not in ("float32", "float16"):
        raise WeightsError(f'dtype: expected "float32" or "float16", got {shown(dtype)}')
    entries = _entries(vae, dtype)
    size = sum(array.nbytes for array in entries.values())
    try:
        with replacing(target) as file:
            np.savez_compressed(file, **entries)
            if size > _most_content(file.tell()):  # load_weights would take it for a bomb
                file.seek(0)
                file.truncate()
                np.savez(file, **entries)
    except (OSError, ValueError) as error:  # a name that the file system's encoding does not have is a ValueError
        raise WeightsError(
            f"{target}: expected to write {size} bytes, got: {error}; free space or choose another folder"
        ) from error
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
        A new model, all of it trainable; its weights are float32 whatever the file holds, and its `trained` says how they were
        trained, as far as the file does.

    Raises
    ------
    WeightsError
        If the file is missing, truncated, altered or foreign, shapes or dtypes do not fit its configuration, or a weight is not
        finite.
    """
    try:
        place = as_path(path)
        if not is_file(place):
            raise WeightsError(f"{path}: expected a file written by save_weights, found none; check the path")
        with place.open("rb") as file:
            return _load(file, place)
    except WeightsError:
        raise
    except (OSError, ValueError) as error:
        named = path if isinstance(path, (str, os.PathLike)) else "path"
        raise WeightsError(f"{named}: expected a file written by save_weights, got: {error}; check the path") from error


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
    if not isinstance(name, str) or name not in registry:
        raise WeightsError(f"name: expected one of {', '.join(sorted(registry))}, got {shown(name)}")
    path, expected = _SHIPPED / f"{name}.npz", registry[name]["sha256"]
    try:
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
            if actual == expected:
                return _load(file, path)
    except OSError as error:
        actual = str(error)
    raise WeightsError(f"{path}: expected SHA-256 {expected}, got {actual}; install vae_lib again")


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
        if not (isinstance(registry, dict) and registry and all(map(_is_entry, registry.values()))):
            raise ValueError("something else than a JSON object that has a sha256 for each model")
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{file}: expected the list of shipped models, got: {error}; install vae_lib again") from error
    return registry


def _is_entry(entry: Any) -> bool:
    """Whether something has the form of a model's entry in the registry."""
    return isinstance(entry, dict) and isinstance(entry.get("sha256"), str)


def _entries(vae: VAE, dtype: str) -> dict[str, Any]:
    """Return all that the file of a model holds, by the names of its entries."""
    import keras

    arrays: dict[str, NDArray[Any]] = {}
    for variable in (*vae.encoder.variables, *vae.decoder.variables):
        with np.errstate(over="ignore"):  # an overflow is found just below
            array = keras.ops.convert_to_numpy(variable).astype(dtype)
        if not np.isfinite(array).all():
            raise WeightsError(
                f"{variable.path}: expected finite weights that {dtype} can hold, got inf or NaN; train again or use float32"
            )
        arrays[variable.path] = np.ascontiguousarray(array)
    if (wanted := _shapes(vae.config)) != (found := {name: array.shape for name, array in arrays.items()}):
        raise WeightsError(f"vae: {_differences(wanted, found)}; save a model that build_vae made")
    if len(vae.config.hidden) > _MOST_LAYERS or _count(vae.config) > _MOST_WEIGHTS:
        raise WeightsError(
            f"vae: expected at most {_MOST_LAYERS} hidden layers and {_MOST_WEIGHTS} weights, "
            f"got {len(vae.config.hidden)} and {_count(vae.config)}; save its parts with Keras's save_weights"
        )
    if vae.trained:
        arrays["trained"] = np.array(json.dumps(vae.trained))
        if arrays["trained"].nbytes > _MOST_TEXT_BYTES["trained"]:
            raise WeightsError(
                f"vae.trained: expected at most a million characters, got {arrays['trained'].nbytes // 4}; shorten it"
            )
    config = json.dumps(asdict(vae.config))
    return {"config": np.array(config), "sha256": np.array(_digest(config, arrays)), **arrays}


def _load(file: BinaryIO, path: Path) -> VAE:
    """Check an open file, then read it, then build the model."""
    config, arrays, trained = _read(file, path)
    from vae_lib.model import build_vae  # what is refused has not cost the time of loading Keras

    vae = build_vae(config)
    variables = {variable.path: variable for variable in (*vae.encoder.variables, *vae.decoder.variables)}
    for name, array in arrays.items():
        variables[name].assign(array.astype(np.float32))
    vae.trained = trained
    return vae


def _read(file: BinaryIO, path: Path) -> tuple[TrainConfig, dict[str, NDArray[Any]], list[dict[str, Any]]]:
    """Return the configuration, the weights and how they were trained, all checked."""
    try:
        archive = Archive(file)
        headers = {name: archive.header(name) for name in archive.names}
        texts = {name: _read_text(archive, name, headers.pop(name)) for name in ("config", "sha256")}
        config = TrainConfig(**_parsed(texts["config"], dict))
        trained = _checked_history(_read_text(archive, "trained", headers.pop("trained"))) if "trained" in headers else (None, [])
    except KeyError as error:
        raise WeightsError(
            f"{path}: expected an entry {error}, got an archive without it: not from save_weights; {_REMEDY}"
        ) from error
    except Exception as error:  # what zipfile and NumPy raise on a damaged file is no closed set: struct.error, MemoryError, …
        raise WeightsError(f"{path}: expected an .npz archive written by save_weights, got: {error}; {_REMEDY}") from error
    _check_headers(config, headers, os.fstat(file.fileno()).st_size, path)
    try:
        arrays = {name: archive.read(name, header) for name, header in headers.items()}
    except Exception as error:  # as above
        raise WeightsError(f"{path}: expected an .npz archive written by save_weights, got: {error}; {_REMEDY}") from error
    text, history = trained
    signed = arrays if text is None else arrays | {"trained": np.array(text)}
    if (actual := _digest(texts["config"], signed)) != texts["sha256"]:
        raise WeightsError(
            f"{path}: expected content with SHA-256 {texts['sha256']}, got {actual}: the file was altered; {_REMEDY}"
        )
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise WeightsError(f"{path}: expected finite weights, got inf or NaN in {name}; train again, and {_REMEDY}")
    return config, arrays, history


def _check_headers(config: TrainConfig, headers: dict[str, Header], file_bytes: int, path: Path) -> None:
    """Compare what the arrays are said to be with what a model of this configuration has."""
    if len(config.hidden) > _MOST_LAYERS:
        raise WeightsError(f"{path}: expected at most {_MOST_LAYERS} hidden layers, got {len(config.hidden)}; {_REMEDY}")
    for name, header in headers.items():
        if header.dtype not in (np.float32, np.float16):
            raise WeightsError(f"{path}: expected {name} as float32 or float16, got {header.dtype}; {_REMEDY}")
    count, expected = sum(header.size for header in headers.values()), _count(config)
    if count != expected:
        raise WeightsError(f"{path}: expected {expected} numbers for {_short(config)}, got {count}; {_REMEDY}")
    found = {name: header.shape for name, header in headers.items()}
    if (wanted := _shapes(config)) != found:
        raise WeightsError(f"{path}: {_differences(wanted, found)}; {_REMEDY}")
    if count > _MOST_WEIGHTS:
        raise WeightsError(f"{path}: expected at most {_MOST_WEIGHTS} weights, got {count}; {_REMEDY}")
    content = sum(header.nbytes for header in headers.values())
    if content > _most_content(file_bytes):
        raise WeightsError(
            f"{path}: expected weights, which shrink by half at most, got {content} bytes in a file of {file_bytes}; {_REMEDY}"
        )


def _read_text(archive: Archive, name: str, header: Header) -> str:
    """Read an entry that holds one text."""
    most = _MOST_TEXT_BYTES[name]
    if header.dtype.kind != "U" or header.shape or header.nbytes > most:
        raise ValueError(f"{header.dtype} {header.shape} as {name}, not one text of at most {most // 4} characters")
    return str(archive.read(name, header))


def _parsed(text: str, kind: type) -> Any:
    """Return what a JSON text holds, which has to be of one type."""
    value = json.loads(text)
    if not isinstance(value, kind):
        raise ValueError(f"a JSON {type(value).__name__}, not a {kind.__name__}")
    return value


def _checked_history(text: str) -> tuple[str, list[dict[str, Any]]]:
    """Return the text that says how weights were trained, and its list of trainings."""
    history: list[dict[str, Any]] = _parsed(text, list)
    if not all(isinstance(entry, dict) for entry in history):
        raise ValueError(f"{_short(history)} as trained, not a list of objects, one for each training")
    json.dumps(history)  # what is nested too deeply to be saved again fails here
    return text, history


def _shapes(config: TrainConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight of a model of this configuration, by its variable's path, without building it."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, inputs, outputs in _layers(config):
        shapes[f"{name}/kernel"], shapes[f"{name}/bias"] = (inputs, outputs), (outputs,)
    return shapes


def _layers(config: TrainConfig) -> Iterator[tuple[str, int, int]]:
    """Give each layer's name and its numbers of inputs and outputs."""
    for number, widths in enumerate(pairwise((config.input_dim + config.classes, *config.hidden))):
        yield f"encoder_{number}", *widths
    for name in ("mu", "log_var"):
        yield name, config.hidden[-1], config.latent_dim
    for number, widths in enumerate(pairwise((config.latent_dim + config.classes, *config.hidden[::-1]))):
        yield f"decoder_{number}", *widths
    yield "logits", config.hidden[0], config.input_dim


def _count(config: TrainConfig) -> int:
    """Count the weights of a model of this configuration without building it."""
    return sum((inputs + 1) * outputs for _, inputs, outputs in _layers(config))


def _most_content(file_bytes: int) -> int:
    """Return to how many bytes a file of that many may expand."""
    return _FREE_BYTES + _EXPANSION * file_bytes


def _differences(wanted: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> str:
    """Say which weights are missing, and which are there in their place."""
    missing, superfluous = dict(wanted.items() - found.items()), dict(found.items() - wanted.items())
    return f"expected the weights {_short(missing)}, got {_short(superfluous)}"


def _short(value: Any) -> str:
    """Write a value, cut after some words."""
    text = repr(value)
    return text if len(text) <= 400 else f"{text[:400]}…"


def _digest(config: str, arrays: dict[str, NDArray[Any]]) -> str:
    total = hashlib.sha256(config.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {array.dtype.str} {array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()
