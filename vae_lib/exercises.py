"""Checks of a reader's answers: right, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vae_lib.checks import DataError, as_array, check_number


def check_answer(
    answer: Any, expected: ArrayLike, *, mistakes: Mapping[str, ArrayLike] | None = None, tolerance: float = 1e-6
) -> bool:
    """Compare an answer with the right one, and print what is wrong with it if it is wrong.

    Parameters
    ----------
    answer : number or array
        What the reader found; ``...`` (three dots) as long as there is no answer.
    expected
        The right number or array.
    mistakes
        What to say to somebody who made a known mistake: for each message, the answer that this mistake leads to.
    tolerance
        The largest difference that still counts as right, relative to the largest expected value, or absolute below 1; ≥ 0.

    Returns
    -------
    bool
        Whether the answer is right; any answer may be given.

    Raises
    ------
    ValueError
        If the exercise itself is wrong: `expected` or the answer of a mistake is no number or array, they have different shapes,
        or `tolerance` is negative.
    """
    right, known = _checked_exercise(expected, mistakes)
    tolerance = check_number("tolerance", tolerance, least=0)
    if answer is ...:
        print("Not answered yet: replace the dots,\nrun your cell, then this one.")
        return False
    try:
        given = as_array(answer, "answer").astype(float)
    except DataError:
        print(f"Not yet: expected {_form(right)}, got {type(answer).__name__}.")
        return False
    if given.shape != right.shape:
        print(f"Not yet: expected {_form(right)}, got {_form(given)}.")
        return False
    if _close(given, right, tolerance):
        print("Right.")
        return True
    for message, wrong in known.items():
        if _close(given, wrong, tolerance):
            print(f"Not yet: {message}")
            return False
    with np.errstate(invalid="ignore"):  # inf − inf is not a number, and found as such
        worst = np.unravel_index(np.argmax(np.abs(given - right)), right.shape)
    where = f" at place {tuple(int(i) for i in worst)}" if right.ndim else ""
    direction = "not a number" if np.isnan(given[worst]) else "too large" if given[worst] > right[worst] else "too small"
    print(f"Not yet: your value{where}, {given[worst]:.6g}, is {direction}.")
    return False


def _checked_exercise(expected: Any, mistakes: Any) -> tuple[Any, dict[str, Any]]:
    """Return the right answer, and for each known mistake the answer that it leads to, of the same shape."""
    right, known = as_array(expected, "expected").astype(float), {}
    if mistakes is not None and not isinstance(mistakes, Mapping):
        raise ValueError(f"mistakes: expected a mapping from what to say to an answer, got {type(mistakes).__name__}")
    for message, wrong in (mistakes or {}).items():
        given = as_array(wrong, f"mistakes: {message}").astype(float)
        if given.shape not in ((), right.shape):
            raise ValueError(f"mistakes: {message}: expected the shape {right.shape} of the right answer, got {given.shape}")
        known[message] = np.broadcast_to(given, right.shape)
    return right, known


def _close(one: Any, other: Any, tolerance: float) -> bool:
    if not np.isfinite(other).all():  # a known mistake may lead to infinity
        return bool(np.array_equal(one, other, equal_nan=True))
    scale = max(1.0, float(np.abs(other).max(initial=0)))
    return bool(np.all(np.abs(one - other) <= tolerance * scale))


def _form(array: Any) -> str:
    return f"an array of shape {array.shape}" if array.ndim else "one number"
