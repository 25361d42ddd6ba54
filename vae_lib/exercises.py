"""Checks of a reader's answers: right, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


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
        The largest difference that still counts as right, relative to the largest expected value, or absolute below 1.

    Returns
    -------
    bool
        Whether the answer is right.
    """
    if answer is ...:
        print("Not answered yet: replace the dots,\nrun your cell, then this one.")
        return False
    right = np.asarray(expected, dtype=float)
    try:
        given = np.asarray(answer, dtype=float)
    except (TypeError, ValueError):
        print(f"Not yet: expected {_form(right)}, got {type(answer).__name__}.")
        return False
    if given.shape != right.shape:
        print(f"Not yet: expected {_form(right)}, got {_form(given)}.")
        return False
    if _close(given, right, tolerance):
        print("Right.")
        return True
    for message, wrong in (mistakes or {}).items():
        if _close(given, np.broadcast_to(np.asarray(wrong, dtype=float), right.shape), tolerance):
            print(f"Not yet: {message}")
            return False
    worst = np.unravel_index(np.argmax(np.abs(given - right)), right.shape)
    where = f" at place {tuple(int(i) for i in worst)}" if right.ndim else ""
    direction = "not a number" if np.isnan(given[worst]) else "too large" if given[worst] > right[worst] else "too small"
    print(f"Not yet: your value{where}, {given[worst]:.6g}, is {direction}.")
    return False


def _close(one: Any, other: Any, tolerance: float) -> bool:
    scale = max(1.0, float(np.abs(other).max(initial=0)))
    return bool(np.all(np.abs(one - other) <= tolerance * scale))


def _form(array: Any) -> str:
    return f"an array of shape {array.shape}" if array.ndim else "one number"
