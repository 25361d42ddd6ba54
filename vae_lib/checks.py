"""Every check of an argument, once: numbers, seeds, choices, arrays, images, labels.

Each check returns the value in the form that the library computes with, or raises an error that says what was expected, what
came, and what to do. Nothing here imports a machine-learning framework.
"""

from __future__ import annotations

import contextlib
import math
import numbers
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROUNDING = 1e-6  # by how much a pixel may miss [0, 1]: what averaging and resizing leave
_SEEDS = 2**31

MOST_LIMIT = 100.0
"""How far a widget's plane and sliders may reach, in standard deviations of the prior: ticks and steps stay countable."""


class DataError(ValueError):
    """Data that is missing, damaged or of the wrong form: a `ValueError` that says what was expected, what came, what to do."""


def check_integer(name: str, value: Any, *, least: int = 0, most: int | None = None, remedy: str = "") -> int:
    """Return a whole number as an int.

    Parameters
    ----------
    name
        What the message calls it.
    value
        An int or a NumPy integer; booleans and floats are refused, also 3.0.
    least, most
        The range, both ends included; None for no upper end.
    remedy
        What to do, at the end of the message.

    Returns
    -------
    int
        The number.

    Raises
    ------
    ValueError
        If it is no whole number in the range.
    """
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        wanted = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name}: expected a whole number {wanted}, got {shown(value)}{_tail(remedy)}")
    return int(value)


def check_seed(value: Any, name: str = "seed") -> int:
    """Return a seed as an int: the same rule wherever the library takes one.

    Parameters
    ----------
    value
        A whole number, 0 ≤ seed < 2³¹.
    name
        What the message calls it.

    Returns
    -------
    int
        The seed.

    Raises
    ------
    ValueError
        If it is none.
    """
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or not 0 <= value < _SEEDS:
        raise ValueError(f"{name}: expected a whole number of at least 0 and below 2**31, got {shown(value)}")
    return int(value)


def check_number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    below: float | None = None,
    remedy: str = "",
) -> float:
    """Return a finite real number as a float.

    Parameters
    ----------
    name
        What the message calls it.
    value
        An int, float or NumPy number; booleans, strings, infinities and NaN are refused.
    above, least
        The lower end, excluded or included.
    most, below
        The upper end, included or excluded.
    remedy
        What to do, at the end of the message.

    Returns
    -------
    float
        The number.

    Raises
    ------
    ValueError
        If it is no real number in the range.
    """
    given = math.nan
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # a whole number beyond every float
            given = float(value)
    good = math.isfinite(given) and (above is None or given > above) and (least is None or given >= least)
    if not (good and (most is None or given <= most) and (below is None or given < below)):
        wanted = _range(above, least, most, below)
        raise ValueError(f"{name}: expected a finite number{wanted}, got {shown(value)}{_tail(remedy)}")
    return given


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return one of a few words.

    Parameters
    ----------
    name
        What the message calls it.
    value
        The word.
    choices
        Those that there are.

    Returns
    -------
    str
        The word.

    Raises
    ------
    ValueError
        If it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {shown(value)}")
    return value


def check_flag(name: str, value: Any) -> bool:
    """Return a yes or no as a bool.

    Parameters
    ----------
    name
        What the message calls it.
    value
        True or False, Python's or NumPy's.

    Returns
    -------
    bool
        The value.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name}: expected True or False, got {shown(value)}")
    return bool(value)


def as_array(x: Any, name: str = "x", *, remedy: str = "give a float32 array") -> NDArray[Any]:
    """Return numbers as a NumPy array, from whatever holds them: lists, data frames, tensors and variables of any backend.

    Parameters
    ----------
    x
        What should be numbers.
    name
        What the message calls it.
    remedy
        What to do where it holds no numbers, at the end of the message.

    Returns
    -------
    ndarray
        Of booleans, integers or floats, the shape of `x`; `x` itself where it is that already.

    Raises
    ------
    DataError
        If `x` has no numbers, no rectangular shape, or a mask that hides values.
    """
    if _hides_values(x):
        raise DataError(f"{name}: expected an array without hidden values, got a masked one; fill it first, as in x.filled(0)")
    try:
        array = np.asarray(_from_tensor(x))
        if array.dtype.kind == "V" and array.dtype.names is None:  # bfloat16 and its like: floats that NumPy does not know
            array = array.astype(np.float32)
        if array.dtype == np.longdouble and array.dtype.itemsize > 8:  # which no backend knows
            array = array.astype(np.float64)
        if array.dtype.kind not in "buif":
            raise TypeError(f"an array of {array.dtype}" if array.ndim else type(x).__name__)
    except Exception as error:  # an object's own conversion may raise anything
        got = " ".join(str(error).split()) or type(x).__name__
        raise DataError(f"{name}: expected numbers, got {got:.200}; {remedy}") from error
    return array


def check_reals(x: Any, name: str = "x", *, remedy: str = "drop or replace what is not finite") -> NDArray[np.float64]:
    """Return finite numbers as float64.

    Parameters
    ----------
    x
        What should be numbers, any shape.
    name
        What the message calls them.
    remedy
        What to do where one is not finite, at the end of the message.

    Returns
    -------
    ndarray
        Float64, the shape of `x`; `x` itself where it is that already.

    Raises
    ------
    ValueError
        If they are not numbers, a value is hidden by a mask, or one is NaN or infinite.
    """
    array = as_array(x, name)
    check_finite(name, array, remedy)
    return array.astype(np.float64, copy=False)


def check_values(x: Any, name: str = "x") -> NDArray[np.float32]:
    """Return numbers in [0, 1] as float32, or say what is wrong with them.

    Parameters
    ----------
    x
        What should be grey values, any shape; what misses [0, 1] by no more than 1e-6 is rounding and is clipped.
    name
        What the message calls them.

    Returns
    -------
    ndarray
        Float32, the shape of `x`; `x` itself where it is that already.

    Raises
    ------
    DataError
        If they are not numbers, a value is hidden by a mask, or one is not in [0, 1].
    """
    array = as_array(x, name)
    if not array.size:
        return array.astype(np.float32, copy=False)
    low, high = array.min(), array.max()
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # false for NaN as well
        raise DataError(f"{name}: expected values in [0, 1], got {low} to {high}; {_value_remedy(array, low, high)}")
    if low < 0 or high > 1:
        array = np.clip(array, 0, 1)
    return array.astype(np.float32, copy=False)


def check_images(x: Any, input_dim: int, name: str = "x") -> NDArray[np.float32]:
    """Return images as float32 (images, input_dim), or say what is wrong with them.

    Parameters
    ----------
    x
        What should be images.
    input_dim
        The number of pixels that is wanted; 0 for any.
    name
        What the message calls them.

    Returns
    -------
    ndarray
        (images, input_dim), float32; `x` itself where it is that already.

    Raises
    ------
    ValueError
        If the shape is another, there is no image, or a value is not in [0, 1].
    """
    if isinstance(x, tuple) and any(np.ndim(part) >= 2 for part in x if hasattr(part, "shape")):
        raise DataError(
            f"{name}: expected one array of images, got a tuple of {len(x)}; give the images alone (labels have an argument of "
            f"their own)"
        )
    if all(hasattr(x, part) for part in ("x_train", "x_test")):
        raise DataError(f"{name}: expected one array of images, got a {type(x).__name__}; give its x_train or x_test")
    array = check_values(x, name)
    if array.ndim != 2 or not len(array) or not array.shape[1] or (input_dim and array.shape[1] != input_dim):
        wanted = f"(images, {input_dim or 'pixels'})"
        raise DataError(
            f"{name}: expected shape {wanted} with at least one image, got {array.shape}; {_shape_remedy(array, input_dim, name)}"
        )
    return array


def check_labels(labels: Any, images: int, classes: int, name: str = "labels") -> NDArray[np.int32]:
    """Return labels as int32 (images,), or say what is wrong with them; zeros where a model asks for none.

    Parameters
    ----------
    labels
        What should be whole numbers from 0 to classes − 1; None for a model without classes.
    images
        How many are wanted.
    classes
        The number of labels of the model; 0 for one that is not conditional.
    name
        What the message calls them.

    Returns
    -------
    ndarray
        (images,), int32.

    Raises
    ------
    ValueError
        If they are missing, superfluous, of another number, or not from 0 to classes − 1.
    """
    if not classes:
        if labels is not None:
            raise ValueError(f"{name}: expected none, for the model is not conditional; build one with TrainConfig(classes=10)")
        return np.zeros(images, np.int32)
    if labels is None:
        raise ValueError(f"{name}: expected {images} whole numbers from 0 to {classes - 1}, got none; this VAE is conditional")
    array = as_array(labels, name, remedy="give whole numbers, one an image")
    whole = array.dtype.kind in "ui" and array.shape == (images,)
    if not whole or (array.size and not 0 <= array.min() <= array.max() < classes):
        got = f"{array.dtype} {array.shape}" + (f" from {array.min()} to {array.max()}" if whole else "")
        wanted = f"{images} whole numbers from 0 to {classes - 1}"
        raise ValueError(f"{name}: expected {wanted}, got {got}; {_label_remedy(array, (images,))}")
    return array.astype(np.int32)


def check_point(z: Any, latent_dim: int, limit: float, name: str = "z") -> tuple[float, ...]:
    """Return a point of the latent space that lies on the sliders.

    Parameters
    ----------
    z
        The point, (latent_dim,).
    latent_dim
        How many coordinates it has to have.
    limit
        How far from zero a coordinate may lie.
    name
        What the message calls it.

    Returns
    -------
    tuple of float
        The point.

    Raises
    ------
    ValueError
        If it is no point there.
    """
    try:
        point = check_reals(z, name)
    except ValueError:
        point = np.empty(0)
    if point.shape != (latent_dim,) or np.abs(point).max() > limit:
        raise ValueError(f"{name}: expected {latent_dim} finite numbers from {-limit} to {limit}, got {shown(z)}")
    return tuple(float(value) for value in point)


def check_limit(limit: Any, name: str = "limit", *, most: float = MOST_LIMIT) -> float:
    """Return how far a plane or a slider reaches on both sides of zero.

    Parameters
    ----------
    limit
        A number above 0, in standard deviations of the prior.
    name
        What the message calls it.
    most
        The largest that there may be.

    Returns
    -------
    float
        The number.

    Raises
    ------
    ValueError
        If it is none.
    """
    return check_number(name, limit, above=0, most=most, remedy="3.5 standard deviations of the prior hold nearly all of it")


def check_sides(image_shape: Any, name: str = "image_shape", *, most: int | None = None) -> tuple[int, int]:
    """Return the height and the width of an image.

    Parameters
    ----------
    image_shape
        Two whole numbers of at least 1.
    name
        What the message calls them.
    most
        The largest that there may be; None for no end.

    Returns
    -------
    tuple of int
        (height, width).

    Raises
    ------
    ValueError
        If it is anything else.
    """
    try:
        height, width = image_shape
        return check_integer(name, height, least=1, most=most), check_integer(name, width, least=1, most=most)
    except Exception:  # whatever cannot be unpacked, a symbolic tensor too
        range_of_each = "1 or more" if most is None else f"1 to {most}"
        raise ValueError(f"{name}: expected (height, width), {range_of_each} each, got {shown(image_shape)}") from None


def check_codes(codes: Any, labels: Any, *, least_dims: int = 2) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return codes and labels that belong together, or say what is wrong with them.

    Parameters
    ----------
    codes
        Codes of images, (images, ≥ 2).
    labels
        The digit of each, (images,).
    least_dims
        How many dimensions codes have at least.

    Returns
    -------
    codes
        The codes, (images, ≥ 2), float64.
    labels
        The labels, (images,), int64.

    Raises
    ------
    ValueError
        If the shapes do not fit, a code is not finite, or a label is not a whole number from 0 to 9.
    """
    points, digits = as_array(codes, "codes").astype(float), as_array(labels, "labels", remedy="give digits, one an image")
    if points.ndim != 2 or points.shape[1] < least_dims or digits.shape != points.shape[:1]:
        raise ValueError(
            f"expected codes (images, at least {least_dims}) and labels (images,), got {points.shape} and {digits.shape}"
        )
    check_finite("codes", points, "training has diverged, train again with a lower learning rate")
    if digits.dtype.kind == "b" or not np.isin(digits, np.arange(10)).all():
        found = [value for value in dict.fromkeys(digits.tolist()) if isinstance(value, bool) or value not in range(10)]
        raise ValueError(f"labels: expected digits from 0 to 9, got {shown(found[:5])}; {_label_remedy(digits, digits.shape)}")
    return points, digits.astype(np.int64)


def check_finite(name: str, values: Any, remedy: str) -> None:
    """Refuse results that are not finite numbers: a model that has diverged must not be measured.

    Parameters
    ----------
    name
        What the message calls them.
    values
        An array, or anything that `as_array` takes.
    remedy
        What to do, at the end of the message.

    Raises
    ------
    ValueError
        If one is NaN or infinite.
    """
    array = as_array(values, name)
    if not np.isfinite(array).all():
        kind = "NaN" if np.isnan(array).any() else "infinity"
        raise ValueError(f"{name}: expected finite numbers, got {kind}; {remedy}")


def shown(value: Any) -> str:
    """Write a value for a message, on one short line.

    Parameters
    ----------
    value
        Anything.

    Returns
    -------
    str
        80 characters at most, and the name of its type where it is longer.
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:60]}… ({type(value).__name__})"


def _hides_values(x: Any) -> bool:
    """Whether a masked array, or one in a list, hides a value."""
    if isinstance(x, np.ma.MaskedArray):
        return bool(np.ma.getmaskarray(x).any())
    nested = (list, tuple, np.ma.MaskedArray)
    return isinstance(x, (list, tuple)) and any(_hides_values(part) for part in x if isinstance(part, nested))


def _from_tensor(x: Any) -> Any:
    """Turn a tensor or variable of Keras's backend, or a list of them, into a NumPy array; leave all else."""
    if isinstance(x, (list, tuple)) and any(hasattr(part, "shape") for part in x):
        return [_from_tensor(part) for part in x]
    keras = sys.modules.get("keras")  # a tensor of Keras's is there only where Keras is
    if keras is not None and (isinstance(x, keras.Variable) or keras.ops.is_tensor(x)):
        return keras.ops.convert_to_numpy(x)
    if hasattr(x, "detach") and hasattr(x, "cpu"):  # a tensor of PyTorch's, with Keras on another backend or none
        return x.detach().cpu().numpy()
    return x


def _value_remedy(array: NDArray[Any], low: Any, high: Any) -> str:
    """Say what to do about values outside [0, 1], by what they look like."""
    if math.isnan(low):
        return "drop or fill the NaNs"
    if math.isinf(low) or math.isinf(high):
        return "drop or replace the infinities"
    if low >= 0 and 1 < high <= 255 and (array.dtype.kind in "ui" or high > 2):
        return "divide bytes by 255"
    if -1 <= low < -0.1 and high <= 1:
        return "values in [-1, 1] come to [0, 1] by (x + 1) / 2"
    return "scale them to [0, 1], for instance by (x - low) / (high - low) with the lowest and highest value there can be"


def _shape_remedy(array: NDArray[Any], input_dim: int, name: str) -> str:
    """Say what to do about a shape, by what it looks like."""
    if array.ndim >= 2 and array.ndim != 2 and len(array) and (not input_dim or array[0].size == input_dim):
        return f"flatten images with {name}.reshape(len({name}), -1)"
    if array.size and array.size == input_dim and array.ndim in (1, 2):
        return f"of one image, give {name}.reshape(1, -1)"
    if array.ndim == 2 and array.shape[1] and len(array) and input_dim:
        return f"the model takes images of {input_dim} pixels; build another with TrainConfig(input_dim={array.shape[1]})"
    if array.size == 0:
        return "give at least one image"
    return f"give one row an image: flatten images with {name}.reshape(len({name}), -1)"


def _label_remedy(array: NDArray[Any], wanted: tuple[int, ...]) -> str:
    """Say what to do about labels, by what they look like."""
    if array.ndim == 2 and array.shape[1] == 1:
        return "give one number an image, as in labels.ravel()"
    if array.ndim == 2:
        return "give digits, not one-hot rows: labels.argmax(axis=1)"
    if array.shape != wanted:
        return "give one number an image"
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return "drop what has no label"
    if array.dtype.kind == "b":
        return "convert them with labels.astype(int)"
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.rint(array)).all():
        return "convert them with labels.astype(int)"
    return "count them from 0"


def _range(above: float | None, least: float | None, most: float | None, below: float | None) -> str:
    """Write a range in words."""
    low = f" above {above}" if above is not None else f" of at least {least}" if least is not None else ""
    high = f"at most {most}" if most is not None else f"below {below}" if below is not None else ""
    if least is not None and most is not None:
        return f" from {least} to {most}"
    return low + (f" and {high}" if low and high else f" {high}" if high else "")


def _tail(remedy: str) -> str:
    return f"; {remedy}" if remedy else ""
