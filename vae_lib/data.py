"""MNIST: find, download, verify. The handwritten digits that stand in without a network. Binarisation.

Nothing here touches TensorFlow. Whatever an MNIST file's source, its arrays are compared with known SHA-256 sums
before they are used: the .npz files in circulation differ as files, not in content.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.request
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vae_lib.checks import DataError, check_values

MNIST_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
MNIST_VARIABLE = "VAE_LIB_MNIST"

# name: (shape, SHA-256 of the uint8 bytes in C order)
_MNIST_ARRAYS = {
    "x_train": ((60000, 28, 28), "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757"),
    "y_train": ((60000,), "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13"),
    "x_test": ((10000, 28, 28), "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161"),
    "y_test": ((10000,), "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5"),
}
_DOWNLOAD_TIMEOUT_S = 30


class _MnistUnreachableError(DataError):
    """MNIST could not be downloaded; nothing is wrong with any file here."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images and labels, split into training and test; the arrays are read-only.

    Parameters
    ----------
    x_train, x_test
        Images as rows, (images, pixels), float32 in [0, 1].
    y_train, y_test
        The digit of each image, (images,), uint8.
    source
        Which data this is and where it came from, for people.
    is_mnist
        Whether these are the real 60,000 + 10,000 images of MNIST.
    epochs
        Passes through `x_train` that train the post's network well: the post's 10 for MNIST, more for less data.

    Raises
    ------
    DataError
        If images are not rows, or there is not one label for each image.
    """

    x_train: NDArray[np.float32] = field(repr=False)
    y_train: NDArray[np.uint8] = field(repr=False)
    x_test: NDArray[np.float32] = field(repr=False)
    y_test: NDArray[np.uint8] = field(repr=False)
    source: str
    is_mnist: bool
    epochs: int = 10

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            x, y = getattr(self, f"x_{part}"), getattr(self, f"y_{part}")
            if x.ndim != 2 or y.shape != x.shape[:1]:
                raise DataError(
                    f"x_{part} and y_{part}: expected shapes (images, pixels) and (images,), "
                    f"got {x.shape} and {y.shape}; give one label for each image"
                )
        for array in (self.x_train, self.y_train, self.x_test, self.y_test):
            array.setflags(write=False)

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
            f"every number below comes from a stand-in. {self._summary(self.source)}.</div>"
        )


def load_mnist(path: str | os.PathLike[str] | None = None, *, fallback: bool = False) -> Dataset:
    """Load MNIST and verify its content.

    The first of these that is given or there is used: `path`; the file named by the environment variable VAE_LIB_MNIST; the file
    in Keras's cache; a download, which is then kept in that cache. If that file is damaged, or is named and missing, it is an
    error: the next is not tried.

    Parameters
    ----------
    path
        An .npz file with the same arrays as Keras's: x_train, y_train, x_test, y_test.
    fallback
        If MNIST must be downloaded and cannot be, return `load_digits()` with a warning. `Dataset.source` and
        `Dataset.is_mnist` tell; a damaged file is still an error.

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
        return _read_mnist(Path(path), "MNIST (from the given path)")
    if variable:
        return _read_mnist(Path(variable), f"MNIST (from {MNIST_VARIABLE})")
    cached = _keras_home() / "datasets" / "mnist.npz"
    if not cached.exists():
        try:
            return _download_mnist(cached)
        except _MnistUnreachableError as error:
            if not fallback:
                raise
            warnings.warn(f"using scikit-learn's digits, not MNIST: {error}", stacklevel=2)
            return load_digits()
    return _read_mnist(cached, "MNIST (from Keras's cache)")


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
        Grey values in [0, 1], any shape.
    mode
        ``"none"`` leaves them grey; ``"threshold"`` makes 1 of what is at least 0.5; ``"static"`` draws each pixel once from a
        Bernoulli with the grey value as its mean, the same draw for the same integer seed; ``"dynamic"`` is the same draw
        from a `numpy.random.Generator` that goes on, so that each call, and each epoch, sees another.
    seed
        An integer for ``"static"``; for ``"dynamic"`` a Generator.

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
    grey = check_values(x)
    if mode == "none":
        return grey
    if mode == "threshold":
        return (grey >= 0.5).astype(np.float32)
    if mode == "static":
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
            raise DataError(f'seed: expected a whole number of at least 0 for mode="static", got {seed!r}')
        return (np.random.default_rng(seed).random(grey.shape) < grey).astype(np.float32)
    if mode == "dynamic":
        if not isinstance(seed, np.random.Generator):
            raise DataError(
                f'seed: expected a numpy Generator for mode="dynamic", got {seed!r}; make one with np.random.default_rng(0)'
            )
        return (seed.random(grey.shape) < grey).astype(np.float32)
    raise DataError(f'mode: expected "none", "threshold", "static" or "dynamic", got {mode!r}')


def _keras_home() -> Path:
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")


def _read_mnist(path: Path, source: str) -> Dataset:
    """Read, verify and scale; the only way in for every source."""
    remedy = "delete the file to have it downloaded again, or name a good copy in VAE_LIB_MNIST"
    if not path.is_file():
        raise DataError(f"expected MNIST as an .npz file at {path}, found none; check the path")
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with path.open("rb") as file:  # opened here, for np.load leaves a damaged archive open
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise DataError(f"{path}: expected an .npz archive, got a single array; {remedy}")
            if missing := [name for name in _MNIST_ARRAYS if name not in archive.files]:
                raise DataError(
                    f"{path}: expected the arrays {', '.join(_MNIST_ARRAYS)}, "
                    f"got {', '.join(archive.files) or 'none'} ({', '.join(missing)} missing); {remedy}"
                )
            arrays = {name: archive[name] for name in _MNIST_ARRAYS}
    except DataError:
        raise
    except Exception as error:  # what zipfile and NumPy raise on a damaged file is no closed set: struct.error, MemoryError, …
        raise DataError(f"{path}: expected MNIST as an .npz archive without pickled objects, got: {error}; {remedy}") from error
    for name, (shape, digest) in _MNIST_ARRAYS.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != np.uint8:
            raise DataError(f"{path}: expected {name} as uint8 {shape}, got {array.dtype} {array.shape}; {remedy}")
        actual = hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
        if actual != digest:
            raise DataError(f"{path}: expected {name} with SHA-256 {digest}, got {actual}: not MNIST's content; {remedy}")
    x_train, x_test = (arrays[name].reshape(-1, 784).astype(np.float32) / np.float32(255) for name in ("x_train", "x_test"))
    return Dataset(x_train, arrays["y_train"], x_test, arrays["y_test"], source, is_mnist=True)


def _download_mnist(target: Path) -> Dataset:
    """Fetch into a temporary file, verify it, then move it into place: `target` is whole or absent.

    Not `keras.utils.get_file`, which has no time limit, writes in place, and would import TensorFlow.
    """
    temporary = target.with_name(f"mnist-{os.getpid()}.partial")  # not mkstemp: its files can be read by their owner only
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                _fetch(MNIST_URL, file)
            data = _read_mnist(temporary, "MNIST (downloaded)")
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        return data
    except DataError as error:
        raise _MnistUnreachableError(
            f"the download of {MNIST_URL} brought something other than MNIST ({error}); "
            f"is a proxy or a log-in page in between? Nothing was kept"
        ) from error
    except (OSError, http.client.HTTPException) as error:  # URLErrors, time-outs, full and read-only disks are OSErrors
        raise _MnistUnreachableError(
            f"MNIST is not in {target.parent} and could not be downloaded from {MNIST_URL}: {error}; connect to the network, "
            f"or set {MNIST_VARIABLE} to a copy of mnist.npz"
        ) from error


def _fetch(url: str, file: Any) -> None:
    """Copy what is at `url` into an open file, with a line of progress; a short body is an OSError."""
    try:
        opened = urllib.request.urlopen(url, timeout=_DOWNLOAD_TIMEOUT_S)  # noqa: S310 -- url is a constant
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise
    with opened as response:
        total = int(response.headers.get("Content-Length") or 0)
        done = 0
        while chunk := response.read(1 << 18):
            file.write(chunk)
            done += len(chunk)
            if sys.stderr.isatty():
                print(f"\rMNIST: {done / 1e6:.1f} of {total / 1e6:.1f} MB", end="", file=sys.stderr)
        if sys.stderr.isatty():
            print(file=sys.stderr)
        if total and done != total:
            raise OSError(f"the connection ended after {done:,} of {total:,} bytes")
