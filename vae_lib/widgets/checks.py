"""Checks of what widgets are given."""

from __future__ import annotations

from typing import Any

import numpy as np


def checked_number(name: str, value: Any, low: float, high: float) -> float:
    """Return a number that lies on a slider, or say what is wrong with it.

    Parameters
    ----------
    name
        What it is called in the message.
    value
        The number.
    low, high
        The slider's ends.

    Returns
    -------
    float
        The number.

    Raises
    ------
    ValueError
        If it is no real number from `low` to `high`.
    """
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not low <= value <= high:  # false for NaN as well
        raise ValueError(f"{name}: expected a number from {low} to {high}, got {value!r}; choose one that the slider can show")
    return float(value)
