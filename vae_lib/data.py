"""MNIST: find, download, verify. The handwritten digits that stand in without a network. Binarisation.

Nothing here touches TensorFlow. Whatever an MNIST file's source, its arrays are compared with known SHA-256 sums
before they are used: the .npz files in circulation differ as files, not in content.
"""

from __future__ import annotations

import hashlib
import html
import http.client
import math
import os
import queue
import sys
import threading
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vae_lib.checks import DataError, as_array, check_integer, check_seed, check_values, shown
from vae_lib.files import Archive, Header, as_path, is_file, replacing

MNIST_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
MNIST_VARIABLE = "VAE_LIB_MNIST"

# name: (shape, SHA-256 of the uint8 bytes in C order)
_MNIST_ARRAYS = {
    "x_train": ((60000, 28, 28), "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757"),
    "y_train": ((60000,), "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13"),
    "x_test": ((10000, 28, 28), "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161"),
    "y_test": ((10000,), "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5"),
}
_DOWNLOAD_TIMEOUT_S = 30  # for each answer of the server
_DOWNLOAD_LIMIT_S = 900  # for all of it: 13 kB a second
_ARCHIVE_BYTES = 1 << 20  # at most, beside the arrays themselves


class _MnistUnreachableError(DataError):
    """MNIST is not in the cache and could not be downloaded; nothing is known to be wrong with any file here."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels, split into training and test; the arrays are read-only.

    Arrays that are of the right dtype are not copied: they are shared with those that were given, which stay as they are.

    Parameters
    ----------
    x_train, x_test
        Images as rows, (images, pixels), grey values in [0, 1]: any array, list, data frame or tensor of numbers, kept as
        float32. Bytes from 0 to 255 are refused: divide them by 255.
    y_train, y_test
        The digit of each image, (images,), whole numbers from 0 to 255, kept as uint8.
    source
        Which data this is and where it came from, for people.
    is_mnist
        Whether these are the real 60,000 + 10,000 images of MNIST.
    epochs
        Passes through `x_train` that train the post's network well: the post's 10 for MNIST, more for less data.

    Raises
    ------
    DataError
        If images are not rows of grey values, training and test images have different widths, or there is not one label for each
        image.
    """

    x_train: NDArray[np.float32] = field(repr=False)
    y_train: NDArray[np.uint8] = field(repr=False)
    x_test: NDArray[np.float32] = field(repr=False)
    y_test: NDArray[np.uint8] = field(repr=False)
    source: str
    is_mnist: bool
    epochs: int = 10

    def __post_init__(self) -> None:
        arrays: dict[str, NDArray[Any]] = {}
        for part in ("train", "test"):
            x, y = as_array(getattr(self, f"x_{part}"), f"x_{part}"), as_array(getattr(self, f"y_{part}"), f"y_{part}")
            if x.ndim != 2 or y.shape != x.shape[:1]:
                raise DataError(
                    f"x_{part} and y_{part}: expected shapes (images, pixels) and (images,), "
                    f"got {x.shape} and {y.shape}; give one label for each image"
                )
            arrays |= {f"x_{part}": check_values(x, f"x_{part}"), f"y_{part}": _checked_digits(y, f"y_{part}")}
        widths = arrays["x_train"].shape[1], arrays["x_test"].shape[1]
        if widths[0] != widths[1]:
            raise DataError(f"x_train and x_test: expected images of the same width, got {widths[0]} and {widths[1]} pixels")
        try:
            object.__setattr__(self, "epochs", check_integer("epochs", self.epochs, least=1))
        except ValueError as error:
            raise DataError(str(error)) from error
        if not isinstance(self.source, str) or not isinstance(self.is_mnist, bool | np.bool_):
            raise DataError(
                f"source and is_mnist: expected a text and True or False, got {shown(self.source)} and {shown(self.is_mnist)}; "
                f"say where the images are from"
            )
        for name, array in arrays.items():
            view = array.view(np.ndarray)  # the caller's own array stays writable
            view.setflags(write=False)
            object.__setattr__(self, name, view)

    def _summary(self, name: str) -> str:
        return (
            f"{name}: {len(self.x_train):,} training and {len(self.x_test):,} test images "
            f"of {self.x_train.shape[1]} pixels, grey values in [0, 1]"
        )

    def __repr__(self) -> str:
        return f"<Dataset {self._summary(self.source)}>"

    def _repr_html_(self) -> str:
        if self.is_mnist:
            return f'<p class="vae-dataset">{self._summary("MNIST, verified")}.</p>'
        return (
            '<div class="vae-not-mnist" role="note" style="border:3px solid #b35900;padding:.6em 1em">'
            "<strong>This is not MNIST.</strong> MNIST could not be reached when this page was made, so every picture and "
            f"every number below comes from a stand-in. {self._summary(html.escape(self.source))}.</div>"
        )


def load_mnist(path: str | os.PathLike[str] | None = None, *, fallback: bool = False) -> Dataset:
    """Load MNIST and verify its content.

    The first of these that is given or there is used: `path`; the file named by the environment variable VAE_LIB_MNIST; the file
    in Keras's cache; a download, which is then kept in that cache. If that file is damaged, or is named and missing, it is an
    error: the next is not tried. Any number of threads and processes may load, and download, at the same time.

    Parameters
    ----------
    path
        An .npz file with the same arrays as Keras's: x_train, y_train, x_test, y_test.
    fallback
        If MNIST must be downloaded and cannot be, or the cache cannot be read, return `load_digits()` with a warning.
        `Dataset.source` and `Dataset.is_mnist` tell; a damaged file is still an error.

    Returns
    -------
    Dataset
        x_train (60000, 784) and x_test (10000, 784), float32 in [0, 1]; y_train and y_test, uint8.

    Raises
    ------
    DataError
        If the file is missing, damaged or another data set, or the download fails.

    References
    ----------
    LeCun, Cortes and Burges, "The MNIST database of handwritten digits".
    """
    variable = os.environ.get(MNIST_VARIABLE)
    if path is not None:
        return _read_named(path, "MNIST (from the given path)")
    if variable:
        return _read_named(variable, f"MNIST (from {MNIST_VARIABLE})")
    try:
        return _from_cache()
    except _MnistUnreachableError as error:
        if not fallback:
            raise
        warnings.warn(f"using scikit-learn's digits, not MNIST: {error}", stacklevel=2)
        return load_digits()


def load_digits() -> Dataset:
    """Load the 1,797 handwritten digits embedded in scikit-learn, resampled to MNIST's format.

    The 8×8 images are enlarged to 20×20 by cubic splines and set in the middle of 28×28, as MNIST's digits are.
    These are other digits by other writers: no number computed from them can be compared with one on MNIST.

    Returns
    -------
    Dataset
        x_train (1500, 784) and x_test (297, 784), float32 in [0, 1]; y_train and y_test, uint8.

    References
    ----------
    Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository.
    """
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits as sklearn_digits

    digits = sklearn_digits()
    enlarged = zoom(digits.images / 16.0, (1, 20 / 8, 20 / 8), order=3, mode="nearest", grid_mode=True)
    images = np.pad(np.clip(enlarged, 0, 1), ((0, 0), (4, 4), (4, 4)))
    x = images.reshape(len(images), 784).astype(np.float32)
    y = digits.target.astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:1500], order[1500:]
    source = "Handwritten digits embedded in scikit-learn, resampled to 28×28"
    return Dataset(x[train], y[train], x[test], y[test], source, is_mnist=False, epochs=200)


def binarize(
    x: ArrayLike,
    mode: Literal["none", "threshold", "static", "dynamic"] = "none",
    *,
    seed: int | np.random.Generator = 0,
) -> NDArray[np.float32]:
    """Turn grey values in [0, 1] into black and white.

    Parameters
    ----------
    x
        Grey values in [0, 1], any shape; what misses them by no more than 1e-6 is rounding, and is clipped.
    mode
        ``"none"`` leaves them grey; ``"threshold"`` makes 1 of what is at least 0.5; ``"static"`` draws each pixel once from a
        Bernoulli with the grey value as its mean, the same draw for the same integer seed; ``"dynamic"`` is the same draw
        from a `numpy.random.Generator` that goes on, so that each call, and each epoch, sees another.
    seed
        An integer for ``"static"``, 0 ≤ seed < 2³¹; for ``"dynamic"`` a Generator.

    Returns
    -------
    ndarray
        Float32, the shape of `x`.

    Raises
    ------
    DataError
        If a value is outside [0, 1] or not a number, the mode is unknown, or the seed does not fit the mode.

    References
    ----------
    Salakhutdinov and Murray 2008, "On the quantitative analysis of deep belief networks" (the draws);
    Burda et al. 2015, arXiv:1509.00519, in their code (drawn anew in each epoch).
    """
    if not isinstance(mode, str) or mode not in ("none", "threshold", "static", "dynamic"):
        raise DataError(f'mode: expected "none", "threshold", "static" or "dynamic", got {shown(mode)}')
    grey = check_values(x)
    if mode == "none":
        return grey
    if mode == "threshold":
        return (grey >= 0.5).astype(np.float32)
    if mode == "static":
        try:
            number = check_seed(seed)
        except ValueError as error:
            raise DataError(f'{error}; mode="static" draws once, "dynamic" takes a Generator') from error
        return (np.random.default_rng(number).random(grey.shape) < grey).astype(np.float32)
    if not isinstance(seed, np.random.Generator):
        raise DataError(
            f'seed: expected a numpy Generator for mode="dynamic", got {shown(seed)}; make one with np.random.default_rng(0)'
        )
    return (seed.random(grey.shape) < grey).astype(np.float32)


def _checked_digits(y: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Return labels as uint8."""
    if y.dtype.kind not in "ui" or (y.size and not 0 <= y.min() <= y.max() <= 255):
        got = f"{y.dtype} from {y.min()} to {y.max()}" if y.size else f"{y.dtype}"
        raise DataError(f"{name}: expected whole numbers from 0 to 255, got {got}; convert labels with {name}.astype(np.uint8)")
    return y.astype(np.uint8, copy=False)


def _keras_home() -> Path:
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")


def _from_cache() -> Dataset:
    """Read MNIST from Keras's cache, or download it there."""
    try:
        cached = as_path(_keras_home() / "datasets" / "mnist.npz")
        file = cached.open("rb") if is_file(cached) else None
    except (OSError, RuntimeError, ValueError) as error:  # a RuntimeError of a user without a home folder
        raise _MnistUnreachableError(
            f"MNIST could not be looked for in Keras's cache: {error}; let KERAS_HOME name a folder that you may read and write, "
            f"or set {MNIST_VARIABLE} to a copy of mnist.npz"
        ) from error
    if file is None:
        return _download_mnist(cached)
    with file:
        return _read_mnist(file, cached, "MNIST (from Keras's cache)")


def _read_named(path: str | os.PathLike[str], source: str) -> Dataset:
    """Read the file that the caller named."""
    try:
        place = as_path(path)
        if not is_file(place):
            raise DataError(f"expected MNIST as an .npz file at {path}, found none; check the path")
        with place.open("rb") as file:
            return _read_mnist(file, place, source)
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(f"expected MNIST as an .npz file at {path!r}, got: {error}; check the path") from error


def _read_mnist(file: BinaryIO, path: Path, source: str) -> Dataset:
    """Check, read, verify and scale; the only way in for every source. Nothing is read before its shape and dtype are MNIST's."""
    remedy = "delete the file to have it downloaded again, or name a good copy in VAE_LIB_MNIST"
    arrays: dict[str, NDArray[Any]] = {}
    try:
        if file.read(6) == b"\x93NUMPY":
            raise DataError(f"{path}: expected an .npz archive, got a single array; {remedy}")
        archive = Archive(file)
        if missing := [name for name in _MNIST_ARRAYS if name not in archive.names]:
            raise DataError(
                f"{path}: expected the arrays {', '.join(_MNIST_ARRAYS)}, "
                f"got {', '.join(archive.names) or 'none'} ({', '.join(missing)} missing); {remedy}"
            )
        headers = {name: archive.header(name) for name in _MNIST_ARRAYS}
        _check_headers(headers, path, remedy)
        arrays = {name: archive.read(name, header) for name, header in headers.items()}
    except DataError:
        raise
    except Exception as error:  # what zipfile and NumPy raise on a damaged file is no closed set: struct.error, MemoryError, …
        raise DataError(f"{path}: expected MNIST as an .npz archive without pickled objects, got: {error}; {remedy}") from error
    for name, (_, digest) in _MNIST_ARRAYS.items():
        actual = hashlib.sha256(np.ascontiguousarray(arrays[name]).data).hexdigest()
        if actual != digest:
            raise DataError(f"{path}: expected {name} with SHA-256 {digest}, got {actual}: not MNIST's content; {remedy}")
    x_train, x_test = (arrays[name].reshape(-1, 784).astype(np.float32) / np.float32(255) for name in ("x_train", "x_test"))
    return Dataset(x_train, arrays["y_train"], x_test, arrays["y_test"], source, is_mnist=True)


def _check_headers(headers: dict[str, Header], path: Path, remedy: str) -> None:
    """Compare what arrays are said to be with MNIST's."""
    for name, (shape, _) in _MNIST_ARRAYS.items():
        header = headers[name]
        if header.shape != shape or header.dtype != np.uint8:
            raise DataError(f"{path}: expected {name} as uint8 {shape}, got {header.dtype} {header.shape}; {remedy}")


def _download_mnist(target: Path) -> Dataset:
    """Fetch into a file of a random name, verify it, then move it into place: `target` is whole or absent.

    Not `keras.utils.get_file`, which has no time limit, writes in place, and would import TensorFlow.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as file:
            _within(_DOWNLOAD_LIMIT_S, lambda: _fetch(MNIST_URL, file))
            file.seek(0)
            return _read_mnist(file, target, "MNIST (downloaded)")
    except DataError as error:
        raise _MnistUnreachableError(
            f"the download of {MNIST_URL} brought something other than MNIST ({error}); "
            f"is a proxy or a log-in page in between? Nothing was kept"
        ) from error
    # URLErrors, time-outs, full and read-only disks are OSErrors; a malformed address in a redirect is a ValueError
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _MnistUnreachableError(
            f"MNIST is not in {target.parent} and could not be downloaded from {MNIST_URL}: {error}; connect to the network, "
            f"or set {MNIST_VARIABLE} to a copy of mnist.npz"
        ) from error


def _within(seconds: float, call: Callable[[], None]) -> None:
    """Make a call that may take so long: whatever a server does meanwhile, it ends by then, or is given up."""
    outcome: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            call()
        except BaseException as error:  # raised again below, by the thread that waits
            outcome.put(error)
        else:
            outcome.put(None)

    threading.Thread(target=work, daemon=True).start()
    try:
        error = outcome.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"the download was not finished within {seconds:g} s") from None
    if error is not None:
        raise error


def _fetch(url: str, file: BinaryIO) -> None:
    """Copy what is at `url` into an open file, with a line of progress; a body that is too short or too long is an OSError."""
    try:
        opened = urllib.request.urlopen(url, timeout=_DOWNLOAD_TIMEOUT_S)  # noqa: S310 -- url is a constant
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise
    most = sum(math.prod(shape) for shape, _ in _MNIST_ARRAYS.values()) + _ARCHIVE_BYTES
    with opened as response:
        length = response.headers.get("Content-Length") or ""
        total = int(length) if length.isascii() and length.isdigit() and len(length) <= 15 else 0  # 0 for not known
        done = 0
        while done <= most and (chunk := response.read1(1 << 18)):
            file.write(chunk)
            done += len(chunk)
            if sys.stderr.isatty():
                print(f"\rMNIST: {done / 1e6:.1f} of {total / 1e6:.1f} MB", end="", file=sys.stderr)
        if sys.stderr.isatty():
            print(file=sys.stderr)
        if done > most or total > most:
            raise OSError(f"more came than MNIST has: {max(done, total):,} bytes, expected at most {most:,}")
        if total and done != total:
            raise OSError(f"the connection ended after {done:,} of {total:,} bytes")
