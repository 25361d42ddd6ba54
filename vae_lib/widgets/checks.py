"""Checks of what widgets are given."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike


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


def checked_point(z: ArrayLike, latent_dim: int, limit: float) -> tuple[float, ...]:
    """Return a point of the latent space that lies on the sliders, or say what is wrong with it.

    Parameters
    ----------
    z
        The point, (latent_dim,).
    latent_dim
        How many coordinates it has to have.
    limit
        The sliders reach from −limit to limit.

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
        point = np.asarray(z, dtype=float)
    except (TypeError, ValueError):
        point = np.empty(0)
    if point.shape != (latent_dim,) or not np.isfinite(point).all() or np.abs(point).max() > limit:
        raise ValueError(f"z: expected {latent_dim} finite numbers from {-limit} to {limit}, got {z!r}")
    return tuple(float(value) for value in point)


def checked_limit(limit: Any) -> float:
    """Return how far sliders may reach on both sides of zero, or say what is wrong with it.

    Parameters
    ----------
    limit
        A number above 0.

    Returns
    -------
    float
        The number.

    Raises
    ------
    ValueError
        If it is none.
    """
    if isinstance(limit, bool) or not isinstance(limit, (int, float, np.number)) or not 0 < limit < np.inf:
        raise ValueError(f"limit: expected a finite number above 0, got {limit!r}")
    return float(limit)
