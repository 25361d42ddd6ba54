"""Held noise: a handful of ε that stand still while z = μ + σ ε moves, and the gradients that the samples give."""

from __future__ import annotations

from typing import Any, ClassVar

import anywidget
import numpy as np
import traitlets
from numpy.typing import ArrayLike, NDArray

from vae_lib.checks import check_reals, check_seed, shown
from vae_lib.plots import DIGIT_COLORS, NotebookFigure
from vae_lib.widgets.bundle import bundle
from vae_lib.widgets.linked import GaussianWidget, style

MU_LIMITS = (-2.5, 2.5)
LOG_VAR_LIMITS = (-4.0, 0.5)
MOST_NOISE = 12
NOISE_LIMIT = 4.0
_BLUE, _ORANGE = DIGIT_COLORS[0], DIGIT_COLORS[6]


class HeldNoiseCanvas(anywidget.AnyWidget):
    """The picture above the sliders: f and its slopes, ε below z, each sample's gradients. Its traits are its contract."""

    _esm = bundle("held_noise.js")
    _css = style()

    mu = traitlets.Float().tag(sync=True)
    log_var = traitlets.Float().tag(sync=True)
    eps = traitlets.List(traitlets.Float()).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)  # of the last drawing in the browser


class HeldNoise(GaussianWidget):
    """Samples z = mu + exp(½ log_var) · ε that move while ε is held, over the function f(z) = z²/4 + sin 2z.

    Each sample shows the slope of f at its place. Below, what each says about the gradient of E f(z) with respect to mu and
    log_var, by its slope (reparameterised) and by the score function, beside the exact gradient. A button draws new ε. All in the
    browser.

    Parameters
    ----------
    mu
        Mean to start with, from −2.5 to 2.5.
    log_var
        Log-variance to start with, from −4 to 0.5.
    eps
        The noise to hold, 1 to 12 numbers from −4 to 4; by default 8 standard normal ones.
    seed
        Seeds the default noise, and what the button draws after it; 0 ≤ seed < 2³¹.

    Raises
    ------
    ValueError
        If an argument has the wrong form; says what was expected.

    References
    ----------
    Kingma and Welling 2013, arXiv:1312.6114, section 2.4; Mohamed et al. 2020, arXiv:1906.10652.
    """

    _limits: ClassVar = {"mu": MU_LIMITS, "log_var": LOG_VAR_LIMITS}

    def __init__(self, mu: float = -1.5, log_var: float = -1.0, *, eps: ArrayLike | None = None, seed: int = 0) -> None:
        q = self._checked(mu=mu, log_var=log_var)
        seed = check_seed(seed)
        noise = _checked_eps(np.random.default_rng(seed).standard_normal(8) if eps is None else eps)
        super().__init__(HeldNoiseCanvas(**q, eps=noise, seed=seed))

    @property
    def eps(self) -> tuple[float, ...]:
        """The noise that is held; set it to hold other noise."""
        return tuple(self._canvas.eps)

    @eps.setter
    def eps(self, values: ArrayLike) -> None:
        self._canvas.eps = _checked_eps(values)

    def _still(self) -> NotebookFigure:
        eps = np.asarray(self.eps)
        z = self.mu + np.exp(0.5 * self.log_var) * eps
        figure = NotebookFigure(figsize=(6.4, 4.6), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
        grid = np.linspace(-5, 5, 481)
        above.plot(grid, _target(grid), color="0.2")
        half = 0.45 / np.hypot(1, 0.45 * _slope(z))
        ends = np.stack([z - half, z + half])
        above.plot(ends, _target(z) + _slope(z) * (ends - z), color=_BLUE, linewidth=3)
        above.plot(z, _target(z), "o", color="0.2", markersize=4)
        above.set_title("f(z) = z²/4 + sin 2z, and its slope at each sample", loc="left")
        above.set(xlim=(-5, 5), ylim=(-1.6, 7.6))
        below.plot(np.stack([eps, z]), np.repeat([[0.0], [1.0]], len(eps), axis=1), color=_BLUE, marker="o")
        for i, noise in enumerate(eps):
            below.annotate(str(i + 1), (noise, 0), (0, -14), textcoords="offset points", ha="center")
        below.set(ylim=(-0.5, 1.2), yticks=[0, 1], yticklabels=["ε", "z"])
        lines = [
            f"∂E f/∂{name}: {np.mean(by_slope):.2f} by slope, {np.mean(by_score):.2f} by score function"
            for name, by_slope, by_score in zip(("μ", "log σ²"), *self._contributions(z, eps), strict=True)
        ]
        below.set_xlabel("\n".join(lines))
        return figure

    def _contributions(self, z: NDArray[np.float64], eps: NDArray[np.float64]) -> tuple[list[Any], list[Any]]:
        """Each sample's gradients with respect to (mu, log_var), by slope and by score function."""
        sigma = np.exp(0.5 * self.log_var)
        by_slope = [_slope(z), _slope(z) * 0.5 * sigma * eps]
        return by_slope, [_target(z) * eps / sigma, _target(z) * 0.5 * (eps**2 - 1)]


def _target(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.25 * z**2 + np.sin(2 * z)


def _slope(z: NDArray[np.float64]) -> NDArray[np.float64]:
    value: NDArray[np.float64] = 0.5 * z + 2 * np.cos(2 * z)
    return value


def _checked_eps(eps: ArrayLike) -> list[float]:
    try:
        noise = check_reals(eps, "eps")
    except ValueError:
        noise = np.empty(0)
    if noise.ndim != 1 or not 1 <= noise.size <= MOST_NOISE or not (np.abs(noise) <= NOISE_LIMIT).all():
        raise ValueError(
            f"eps: expected 1 to {MOST_NOISE} numbers from {-NOISE_LIMIT} to {NOISE_LIMIT}, got {shown(eps)}; "
            "give standard normal draws"
        )
    return [float(value) for value in noise]
