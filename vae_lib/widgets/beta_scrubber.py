"""The beta scrubber: a slider over models that differ in beta alone, from codes that fly apart to codes that collapse."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import traitlets
from numpy.typing import ArrayLike, NDArray

from vae_lib.checks import as_array, check_codes, check_finite, check_images, check_number, shown
from vae_lib.plots import DIGIT_COLORS, NotebookFigure
from vae_lib.widgets.bundle import bundle
from vae_lib.widgets.checks import check_plane_vae
from vae_lib.widgets.linked import LinkedWidget, slider, style
from vae_lib.widgets.training_scrubber import SnapshotCanvas, pack_snapshots

_DIVERGED = "the model has diverged, train again with a lower learning rate"
_LEAST_LIMIT = 3.5  # half the side of the plane: the prior's three circles stay in sight


class BetaCanvas(SnapshotCanvas):
    """The picture above the slider: codes, decoded images, the rate-distortion curve. Its traits are its contract."""

    _esm = bundle("beta_scrubber.js")
    _css = style("elbo_balance.css")

    number = traitlets.Float(0.0).tag(sync=True)  # of the model, from 0
    betas = traitlets.List(traitlets.Float()).tag(sync=True)
    rates = traitlets.List(traitlets.Float()).tag(sync=True)  # mean KL, nats per image
    distortions = traitlets.List(traitlets.Float()).tag(sync=True)  # mean reconstruction cost, nats per image


class BetaScrubber(LinkedWidget):
    """A slider over models trained with different beta: their codes, decoded images, and the rate-distortion curve.

    Each model's plane is turned, and mirrored if need be, as a whole to lie as well as possible on that of its neighbour: the
    prior is round, so that nothing else changes. What it shows is sent once; no kernel is needed.

    Parameters
    ----------
    models : dict
        For each beta a model with two latent dimensions.
    x
        Images whose codes are shown and whose rate and distortion are measured, (images, input_dim).
    labels
        The digit of each, (images,), for colours only.
    beta
        Where the slider starts; by default the smallest.

    Raises
    ------
    ValueError
        If there are fewer than two models, one does not have two latent dimensions, is conditional or has diverged, they are of
        images of different sizes, or images, labels or `beta` do not fit.
    """

    def __init__(self, models: Mapping[float, Any], x: ArrayLike, labels: ArrayLike, *, beta: float | None = None) -> None:
        from vae_lib.evaluation import elbo
        from vae_lib.recording import TrainingRecorder

        of_beta = _checked_models(models)
        betas = sorted(of_beta)
        images = check_images(x, of_beta[betas[0]].config.input_dim)
        _, digits = check_codes(np.zeros((len(images), 2)), labels)
        z = TrainingRecorder(images[:1], digits[:1]).z_of(2)
        codes: list[NDArray[np.float64]] = []
        decoded, terms = [], []
        for value in betas:
            own = as_array(of_beta[value].encoder(images)[0]).astype(float)
            check_finite(f"models[{value:g}]: codes", own, _DIVERGED)
            turn = _turn(own, codes[-1]) if codes else np.eye(2)
            codes.append(own @ turn)
            logits = as_array(of_beta[value].decoder((z @ turn.T).astype(np.float32))).astype(float)
            check_finite(f"models[{value:g}]: decoded images", logits, _DIVERGED)
            decoded.append(0.5 * (1 + np.tanh(logits / 2)))
            terms.append(elbo(of_beta[value], images, samples=5))
        limits = [max(_LEAST_LIMIT, float(np.quantile(np.abs(own), 0.995)) * 1.1) for own in codes]
        self._betas = betas
        start = float(self._number_of(betas[0] if beta is None else beta))
        canvas = BetaCanvas(
            number=start, betas=betas, rates=[float(part.kl.mean()) for part in terms],
            distortions=[float(part.reconstruction.mean()) for part in terms],
            **pack_snapshots(np.stack(codes), np.stack(decoded), digits, limits),
        )  # fmt: skip
        control = slider("β", start, 0.0, len(betas) - 1.0, step=1.0, name="Which beta, from the smallest to the largest")
        control.readout = False  # it counts models; beta stands in the read-out above
        super().__init__(canvas, {"number": control})

    @property
    def beta(self) -> float:
        """The beta of the model that is shown; set it to one of the betas to move the slider."""
        beta: float = self._betas[round(self._sliders["number"].value)]
        return beta

    @beta.setter
    def beta(self, beta: float) -> None:
        self._move(number=float(self._number_of(beta)))

    def _number_of(self, beta: float) -> int:
        given = check_number("beta", beta, remedy=f"the models' are {', '.join(f'{value:g}' for value in self._betas)}")
        near = [number for number, value in enumerate(self._betas) if math.isclose(value, given, rel_tol=1e-6)]
        if not near:  # close, not equal: 0.1 as float32 is the 0.1 that is meant
            raise ValueError(f"beta: expected one of {', '.join(f'{value:g}' for value in self._betas)}, got {shown(beta)}")
        return near[0]

    def _still(self) -> NotebookFigure:
        """Draw the planes of the smallest, a middle and the largest beta above the curve."""
        canvas, count = self._canvas, len(self._betas)
        codes = np.frombuffer(canvas.codes, "<i2").reshape(count, -1, 2) * (canvas.reach / 32767)
        labels = np.frombuffer(canvas.labels, np.uint8)
        figure = NotebookFigure(figsize=(6.4, 4.8), layout="constrained")
        grid = figure.add_gridspec(2, 3, height_ratios=(1.3, 1))
        for column, i in enumerate((0, count // 2, count - 1)):
            plane = figure.add_subplot(grid[0, column])
            for digit in np.unique(labels):
                plane.plot(*codes[i][labels == digit].T, ".", ms=1.5, alpha=0.6, color=DIGIT_COLORS[digit])
            half = canvas.limits[i]
            plane.set(xlim=(-half, half), ylim=(-half, half), aspect="equal", title=f"β = {self._betas[i]:g}")
        curve = figure.add_subplot(grid[1, :])
        curve.plot(canvas.rates, canvas.distortions, "o-", color="#1f5fa8")
        for value, rate, distortion in zip(self._betas, canvas.rates, canvas.distortions, strict=True):
            curve.annotate(f"{value:g}", (rate, distortion), textcoords="offset points", xytext=(5, 4), fontsize=8)
        curve.set(xlabel="rate (KL), nats per image", ylabel="distortion, nats")
        return figure


def _turn(codes: NDArray[np.float64], onto: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find the rotation, mirrored or not, that brings codes nearest to others in the least-squares sense: (2, 2)."""
    left, _, right = np.linalg.svd(codes.T @ onto)
    turn: NDArray[np.float64] = left @ right
    return turn


def _checked_models(models: Any) -> dict[float, Any]:
    """Return the models by their betas, if each has a plane and all have images of one size."""
    if not isinstance(models, Mapping) or len(models) < 2:
        got = len(models) if isinstance(models, Mapping) else type(models).__name__
        raise ValueError(f"models: expected a model for each of at least 2 betas, got {got}; give {{0.5: one, 1.0: another}}")
    of_beta = {}
    for beta, model in models.items():
        of_beta[check_number("models: beta", beta, least=0)] = model
        check_plane_vae(model, f"models[{beta!r}]")
    if len(sizes := {model.config.input_dim for model in of_beta.values()}) > 1:
        raise ValueError(f"models: expected images of one size, got {sorted(sizes)} pixels; give models of the same images")
    return of_beta
