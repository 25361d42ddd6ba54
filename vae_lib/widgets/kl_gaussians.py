"""Two Gaussians and the KL divergences between them: sliders for the mean and the log-variance of one of them."""

from __future__ import annotations

from typing import ClassVar

import anywidget
import numpy as np
import traitlets
from numpy.typing import NDArray

from vae_lib.plots import DIGIT_COLORS, NotebookFigure
from vae_lib.widgets.bundle import bundle
from vae_lib.widgets.linked import GaussianWidget, style

MU_LIMITS = (-3.0, 3.0)
LOG_VAR_LIMITS = (-4.0, 2.0)
_BLUE, _ORANGE = DIGIT_COLORS[0], DIGIT_COLORS[6]


class KLCanvas(anywidget.AnyWidget):
    """The picture above the sliders: densities, integrands, bars. Its traits are its contract."""

    _esm = bundle("kl_gaussians.js")
    _css = style()

    mu = traitlets.Float().tag(sync=True)
    log_var = traitlets.Float().tag(sync=True)


class KLGaussians(GaussianWidget):
    """Both densities, what the KL divergences between them integrate, and the two parts of each, in one dimension.

    q = N(mu, exp(log_var)) moves with the sliders, p = N(0, 1) stands still. KL[q ‖ p] = ½ mu² + ½ (σ² − 1 − log σ²) is the part
    of the mean plus the part of the spread; the reversed KL[p ‖ q] stands beside it. All in nats, computed in the browser.

    Parameters
    ----------
    mu
        Mean of q to start with, from −3 to 3.
    log_var
        Log-variance of q to start with, from −4 to 2.

    Raises
    ------
    ValueError
        If a value lies outside the sliders.

    References
    ----------
    Kingma and Welling 2013, arXiv:1312.6114, appendix B.
    """

    _limits: ClassVar = {"mu": MU_LIMITS, "log_var": LOG_VAR_LIMITS}

    def __init__(self, mu: float = 1.0, log_var: float = -1.0) -> None:
        super().__init__(KLCanvas(**self._checked(mu=mu, log_var=log_var)))

    def _still(self) -> NotebookFigure:
        z = np.linspace(-6, 6, 601)
        log_q, log_p = _log_density(z, self.mu, self.log_var), _log_density(z, 0, 0)
        figure = NotebookFigure(figsize=(6.4, 5), layout="constrained")
        densities, *integrands = (figure.add_subplot(2, 2, place) for place in ((1, 2), 3, 4))
        densities.fill_between(z, np.exp(log_q), color=_BLUE, alpha=0.25)
        densities.plot(z, np.exp(log_q), color=_BLUE, label=f"q = N({self.mu:.2f}, exp({self.log_var:.2f}))")
        densities.plot(z, np.exp(log_p), color=_ORANGE, dashes=(4, 2), label="p = N(0, 1)")
        densities.set_title("Densities", loc="left")
        densities.legend(frameon=False)
        # p against q is, in units of q's spread, a Gaussian of mean −mu/σ and variance 1/σ² against the standard one
        forward, backward = _kl(self.mu, self.log_var), _kl(-self.mu * np.exp(-0.5 * self.log_var), -self.log_var)
        drawn = [
            (f"q log(q/p): area KL[q‖p] = {forward:.2f} nats", np.exp(log_q) * (log_q - log_p), _BLUE),
            (f"p log(p/q): area KL[p‖q] = {backward:.2f} nats", np.exp(log_p) * (log_p - log_q), _ORANGE),
        ]
        for axes, (title, values, color) in zip(integrands, drawn, strict=True):
            axes.fill_between(z, values, color=color, alpha=0.25)
            axes.plot(z, values, color=color)
            axes.axhline(0, color="0.4", linewidth=1)
            axes.set_title(title, loc="left", fontsize=9)
            axes.set_xlabel("z")
        return figure


def _kl(mu: float, log_var: float) -> float:
    return float(0.5 * (mu**2 + np.expm1(log_var) - log_var))


def _log_density(z: NDArray[np.float64], mu: float, log_var: float) -> NDArray[np.float64]:
    density: NDArray[np.float64] = -0.5 * (np.log(2 * np.pi) + log_var + (z - mu) ** 2 * np.exp(-log_var))
    return density
