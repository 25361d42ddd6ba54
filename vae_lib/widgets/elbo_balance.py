"""A Gaussian q against a skewed posterior: sliders that divide log p(x) into the ELBO and the divergence that is left."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import anywidget
import numpy as np
import traitlets
from numpy.typing import NDArray

from vae_lib.checks import check_integer, check_number, check_reals, shown
from vae_lib.plots import NotebookFigure
from vae_lib.widgets.bundle import bundle
from vae_lib.widgets.linked import GaussianWidget, style

MU_LIMITS = (-3.0, 3.0)
LOG_VAR_LIMITS = (-4.0, 2.0)
_STEEPEST = 20.0  # beyond, the browser's grid would no longer resolve the likelihood
_SHOWN_NATS = 5.0  # how far below log p(x) the still picture's bars reach, as in the browser


class BalanceCanvas(anywidget.AnyWidget):
    """The picture above the sliders: densities, bars, buttons for gradient ascent. Its traits are its contract."""

    _esm = bundle("elbo_balance.js")
    _css = style("elbo_balance.css")

    x = traitlets.Int().tag(sync=True)
    weight = traitlets.Float().tag(sync=True)
    bias = traitlets.Float().tag(sync=True)
    mu = traitlets.Float().tag(sync=True)
    log_var = traitlets.Float().tag(sync=True)
    mu_limits = traitlets.List(traitlets.Float(), list(MU_LIMITS)).tag(sync=True)
    log_var_limits = traitlets.List(traitlets.Float(), list(LOG_VAR_LIMITS)).tag(sync=True)


class Balance(NamedTuple):
    """Both sides of the identity log p(x) = ELBO + KL[q ‖ posterior] for one q, nats."""

    log_px: float
    """log p(x) = elbo + kl_posterior."""
    elbo: float
    """−reconstruction − kl_prior."""
    kl_posterior: float
    """KL[q ‖ p(z|x)]."""
    reconstruction: float
    """−E_q[log p(x|z)]."""
    kl_prior: float
    """KL[q ‖ p(z)]."""


class ElboBalance(GaussianWidget):
    """Move a Gaussian q over the posterior of a one-dimensional latent, and see log p(x) divided into ELBO and KL.

    The model is a VAE with one latent number and one pixel: z ~ N(0, 1), and the pixel is white with probability
    sigmoid(weight · z + bias). With a steep weight its posterior is skewed, so that no Gaussian q reaches it. A button lets
    gradient ascent on the ELBO move the sliders. No kernel is needed.

    Parameters
    ----------
    x
        The pixel that is seen: 1 for white, 0 for black.
    weight, bias
        The decoder, −20 to 20 each.
    mu, log_var
        Where q starts: mean from −3 to 3, log-variance from −4 to 2.

    Raises
    ------
    ValueError
        If an argument is out of its range; says what was expected.
    """

    _limits: ClassVar = {"mu": MU_LIMITS, "log_var": LOG_VAR_LIMITS}
    _step: ClassVar = 0.01

    def __init__(self, *, x: int = 1, weight: float = 8.0, bias: float = -4.0, mu: float = 0.0, log_var: float = -1.0) -> None:
        canvas = BalanceCanvas(
            x=check_integer("x", x, most=1, remedy="1 is a white pixel, 0 a black one"),
            weight=_coefficient("weight", weight),
            bias=_coefficient("bias", bias),
            **self._checked(mu=mu, log_var=log_var),
        )
        super().__init__(canvas)

    @property
    def q(self) -> tuple[float, float]:
        """Mean and log-variance of q, as the sliders stand; set it to move them."""
        return self.mu, self.log_var

    @q.setter
    def q(self, values: tuple[float, float]) -> None:
        try:
            mu, log_var = check_reals(values, "q")
        except (TypeError, ValueError):  # no numbers, or not two
            raise ValueError(f"q: expected a mean and a log-variance, got {shown(values)}; write (0.0, -1.0)") from None
        self._move(**self._checked(mu=mu, log_var=log_var))

    def balance(self) -> Balance:
        """Return what the bars show for the present q, computed by quadrature as the browser does.

        Returns
        -------
        Balance
            A named tuple of five numbers, nats: `log_px`, `elbo`, `kl_posterior`, `reconstruction` and `kl_prior`, where log_px =
            elbo + kl_posterior, and elbo = −reconstruction − kl_prior.
        """
        mu, log_var = self.q
        eps = np.linspace(-10, 10, 2001)  # even steps: exact to rounding, for all that is summed vanishes at both ends
        share = np.exp(_log_normal(eps, 0, 0)) * (eps[1] - eps[0])
        log_px = float(np.log(share @ np.exp(self._log_likelihood(eps))))
        z = mu + np.exp(0.5 * log_var) * eps
        log_q, log_prior, log_likelihood = _log_normal(z, mu, log_var), _log_normal(z, 0, 0), self._log_likelihood(z)
        reconstruction, kl_prior = float(-share @ log_likelihood), float(share @ (log_q - log_prior))
        log_posterior = log_prior + log_likelihood - log_px
        return Balance(log_px, -reconstruction - kl_prior, float(share @ (log_q - log_posterior)), reconstruction, kl_prior)

    def _log_likelihood(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        sign = 1 if self._canvas.x else -1
        values: NDArray[np.float64] = -np.logaddexp(0, -sign * (self._canvas.weight * z + self._canvas.bias))
        return values

    def _still(self) -> NotebookFigure:
        mu, log_var = self.q
        balance = self.balance()
        figure = NotebookFigure(figsize=(6.4, 4.6), layout="constrained")
        curves, bars = figure.subplots(2, 1, height_ratios=(3, 1.4))
        z = np.linspace(MU_LIMITS[0] - 0.5, MU_LIMITS[1] + 0.5, 481)
        prior = np.exp(_log_normal(z, 0, 0))
        posterior = prior * np.exp(self._log_likelihood(z) - balance.log_px)
        curves.fill_between(z, posterior, color="#e76300", alpha=0.25)
        curves.plot(z, posterior, color="#e76300", lw=2.5, label="posterior p(z|x)")
        curves.plot(z, np.exp(_log_normal(z, mu, log_var)), "--", color="#3f90da", lw=2.5, label="q(z)")
        curves.plot(z, prior, ":", color="#717581", lw=2, label="prior p(z)")
        curves.set(xlabel="z", ylabel="density", ylim=(0, 1.25 * max(posterior.max(), prior.max())))
        curves.legend(frameon=False)
        _still_bars(bars, balance)
        return figure


def _still_bars(axes: Any, balance: Balance) -> None:
    least = balance.log_px - _SHOWN_NATS
    elbo, fit = max(balance.elbo, least), max(-balance.reconstruction, least)
    axes.barh(1, elbo - least, left=least, height=0.55, color="#3f90da", edgecolor="black")
    hatched = {"height": 0.55, "hatch": "///", "facecolor": "none"}
    axes.barh(1, balance.log_px - elbo, left=elbo, edgecolor="#e76300", **hatched)
    axes.barh(0, -fit, left=fit, height=0.55, color="#84918f", edgecolor="black")
    axes.barh(0, fit - elbo, left=elbo, edgecolor="#717581", **hatched)
    axes.axvline(balance.log_px, ymin=0.5, color="black", lw=2)
    axes.text(least, 1.33, f"ELBO {_show(balance.elbo)}", va="bottom")
    axes.text(balance.log_px, 1.33, f"+ KL(q‖posterior) {_show(balance.kl_posterior)}", ha="right", va="bottom")
    axes.text(0, 1.33, f"log p(x) {_show(balance.log_px)}", ha="right", va="bottom")
    axes.text(least, 0.33, f"− KL(q‖prior) {_show(balance.kl_prior)}", va="bottom")
    axes.text(0, 0.33, f"E[log p(x|z)] {_show(-balance.reconstruction)}", ha="right", va="bottom")
    axes.set(xlim=(least, 0), ylim=(-0.4, 1.8), yticks=[], xlabel="nats")
    axes.spines[["left", "right", "top"]].set_visible(False)


def _log_normal(z: NDArray[np.float64], mu: float, log_var: float) -> NDArray[np.float64]:
    values: NDArray[np.float64] = -0.5 * (np.log(2 * np.pi) + log_var + (z - mu) ** 2 * np.exp(-log_var))
    return values


def _show(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")


def _coefficient(name: str, value: Any) -> float:
    return check_number(name, value, least=-_STEEPEST, most=_STEEPEST, remedy="give a gentler decoder")
