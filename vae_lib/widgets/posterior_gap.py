"""The posterior gap: real images, their posteriors, and sliders that take q from the encoder's answer to the best Gaussian."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import anywidget
import numpy as np
import traitlets
from numpy.typing import ArrayLike, NDArray

from vae_lib.checks import as_array, check_finite, check_images, check_integer
from vae_lib.plots import NotebookFigure, _fill_regions
from vae_lib.widgets.bundle import bundle
from vae_lib.widgets.checks import check_plane_vae
from vae_lib.widgets.linked import LinkedWidget, on_slider, slider, style

if TYPE_CHECKING:
    from vae_lib.evaluation import PosteriorGrid

MOST_IMAGES = 24
_BEYOND = 1.5  # where the slider ends: half as far behind the best Gaussian as the encoder lies before it
_REACH = 5.0  # standard deviations around every q that the browser is given
_SHOWN = 0.99  # of the posterior: what the outermost region holds
_MOST_CELLS = 1_000_000  # of all posteriors together, before they are cut out
_NARROWEST = 0.7  # cells that a standard deviation has to cover: the trapezoid rule is then right to 1e-4 of the whole


class GapCanvas(anywidget.AnyWidget):
    """The picture above the sliders: posterior, q, and what the ELBO misses. Its traits are its contract."""

    _esm = bundle("posterior_gap.js")
    _css = style("elbo_balance.css")

    image = traitlets.Float(1.0).tag(sync=True)  # counted from 1
    share = traitlets.Float(0.0).tag(sync=True)  # 0 is the encoder's q, 1 the best Gaussian
    windows = traitlets.List(traitlets.Dict()).tag(sync=True)  # left, bottom, columns, rows of each image's part of the grid
    step = traitlets.Float().tag(sync=True)
    log_density = traitlets.Bytes().tag(sync=True)  # little-endian float32, window after window
    encoders = traitlets.List(traitlets.Any()).tag(sync=True)  # [means, log-variances] of each image
    bests = traitlets.List(traitlets.Any()).tag(sync=True)
    log_px = traitlets.List(traitlets.Float()).tag(sync=True)
    pictures = traitlets.Bytes().tag(sync=True)  # uint8: each image, decoded at the encoder's mean, decoded at the best mean
    image_shape = traitlets.List(traitlets.Int()).tag(sync=True)


class Gap(NamedTuple):
    """What the bar shows for the present image and q, nats: log_px = elbo + amortisation + approximation."""

    log_px: float
    """log p(x) of the image."""
    elbo: float
    """The ELBO of the present q."""
    amortisation: float
    """What the best Gaussian would win."""
    approximation: float
    """What no Gaussian without correlations can win."""


class PosteriorGap(LinkedWidget):
    """Move q over the true posterior of a real image: from the encoder's answer to the best Gaussian, and beyond.

    The posteriors travel to the browser, which integrates; no kernel is needed.

    Parameters
    ----------
    vae : VAE
        A trained model with two latent dimensions.
    x
        Images to choose from, (images, input_dim), values in [0, 1], 2 to 24 of them.
    points
        Of the grid along each axis; each q has to be at least as wide as one of its cells.

    Raises
    ------
    ValueError
        If the model does not have two latent dimensions, is conditional or has diverged, images are not square, too few or too
        many, or the grid is too coarse for one of them.

    References
    ----------
    Cremer, Li and Duvenaud 2018, arXiv:1801.03558.
    """

    def __init__(self, vae: Any, x: ArrayLike, *, points: int = 320) -> None:
        from vae_lib.evaluation import best_gaussian, exact_log_px, posterior_on_grid

        images, side = _checked_images(vae, x)
        mu, log_var = (as_array(part).astype(float) for part in vae.encoder(images))
        posterior = posterior_on_grid(vae, images, points=points)
        best = best_gaussian(posterior, mu, log_var)
        windows, log_density = _cut(posterior, mu, log_var, best.mu, best.log_var)
        self._log_density = log_density
        canvas = GapCanvas(
            windows=windows, step=float(posterior.axis[1] - posterior.axis[0]),
            log_density=b"".join(part.astype("<f4").tobytes() for part in log_density),
            encoders=[[list(map(float, m)), list(map(float, s))] for m, s in zip(mu, log_var, strict=True)],
            bests=[[list(map(float, m)), list(map(float, s))] for m, s in zip(best.mu, best.log_var, strict=True)],
            log_px=[float(value) for value in exact_log_px(vae, images).log_px],
            pictures=_pictures(vae, images, mu, best.mu), image_shape=[side, side],
        )  # fmt: skip
        choose = slider("image", 1.0, 1.0, float(len(images)), step=1.0, name="Which image")
        choose.readout_format = ".0f"
        super().__init__(
            canvas, {"image": choose, "share": slider("q", 0.0, 0.0, _BEYOND, name="From the encoder's q to the best")}
        )

    @property
    def image(self) -> int:
        """Which image is shown, counted from 1; set it to choose another."""
        number: int = round(self._sliders["image"].value)
        return number

    @image.setter
    def image(self, number: int) -> None:
        self._move(image=float(check_integer("image", number, least=1, most=len(self._canvas.windows))))

    @property
    def share(self) -> float:
        """How far q has gone from the encoder's, 0, to the best Gaussian, 1, and beyond; set it to move q."""
        return float(self._sliders["share"].value)

    @share.setter
    def share(self, share: float) -> None:
        self._move(share=on_slider("share", share, 0.0, _BEYOND))

    def gap(self) -> Gap:
        """Return what the bar shows, computed on the same part of the grid as in the browser.

        Returns
        -------
        Gap
            A named tuple of four numbers, nats: `log_px`, `elbo`, `amortisation`, which the best Gaussian would win, and
            `approximation`, which no Gaussian without correlations can win; log_px = elbo + amortisation + approximation.
        """
        log_px, left = self._canvas.log_px[self.image - 1], self._kl(1.0)
        missing = self._kl(self.share)
        return Gap(log_px, log_px - missing, missing - left, left)

    def _q(self, share: float) -> NDArray[np.float64]:
        """Means and log-variances of q on the way: (2, 2)."""
        first, last = (np.array(of[self.image - 1]) for of in (self._canvas.encoders, self._canvas.bests))
        way: NDArray[np.float64] = first + share * (last - first)
        return way

    def _kl(self, share: float) -> float:
        mu, log_var = self._q(share)
        across, up = (
            np.exp(-0.5 * (np.log(2 * np.pi) + log_var[j] + (axis - mu[j]) ** 2 * np.exp(-log_var[j]))) * self._canvas.step
            for j, axis in enumerate(self._axes())
        )
        entropy = 1 + np.log(2 * np.pi) + 0.5 * log_var.sum()
        return float(-entropy - across @ self._log_density[self.image - 1].astype(float) @ up)

    def _axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        window, step = self._canvas.windows[self.image - 1], self._canvas.step
        return window["left"] + step * np.arange(window["columns"]), window["bottom"] + step * np.arange(window["rows"])

    def _still(self) -> NotebookFigure:
        figure = NotebookFigure(figsize=(6.4, 4.4), layout="constrained")
        plane, pictures = figure.subplots(1, 2, width_ratios=(2, 1))
        _fill_regions(plane, *self._axes(), np.exp(self._log_density[self.image - 1].astype(float)))
        angle = np.linspace(0, 2 * np.pi, 100)
        for share, look in ((1.0, {"color": "black", "ls": "--"}), (self.share, {"color": "#3f90da", "lw": 2.5})):
            mu, log_var = self._q(share)
            for sigmas in (1, 2):
                plane.plot(*(mu + sigmas * np.stack([np.cos(angle), np.sin(angle)], axis=1) * np.exp(0.5 * log_var)).T, **look)
        gap = self.gap()
        plane.set(aspect="equal", xlabel="$z_1$", ylabel="$z_2$", title="posterior (orange), q (blue), best q (dashed)")
        side = self._canvas.image_shape[0]
        stack = np.frombuffer(self._canvas.pictures, np.uint8).reshape(-1, 3 * side, side)[self.image - 1]
        pictures.imshow(stack, cmap="gray", vmin=0, vmax=255)
        pictures.set(xticks=[], yticks=[], title="image; decoded: q, best q")
        digits = 3 if gap.log_px - gap.elbo < 1 else 2  # as in the browser; the sum is that of what is shown
        won, lost = round(gap.amortisation, digits), round(gap.approximation, digits)
        missing = f"{won + lost:.{digits}f} = {won:.{digits}f} + {lost:.{digits}f}"
        figure.suptitle(f"log p(x) − ELBO = {missing} nats: to the best q, and from there", fontsize=10)
        return figure


def _checked_images(vae: Any, x: ArrayLike) -> tuple[NDArray[np.float32], int]:
    side = check_plane_vae(vae)
    images = check_images(x, vae.config.input_dim)
    if not 2 <= len(images) <= MOST_IMAGES:
        raise ValueError(f"x: expected 2 to {MOST_IMAGES} images to choose from, got {len(images)}; give fewer or more rows")
    return images, side


def _cut(
    posterior: PosteriorGrid, mu: ArrayLike, log_var: ArrayLike, best_mu: ArrayLike, best_log_var: ArrayLike
) -> tuple[list[dict[str, Any]], list[NDArray[np.float32]]]:
    """Cut out of each image's posterior the rectangle that the slider's Gaussians and 99 % of the posterior lie in."""
    first, last = np.stack([mu, log_var], axis=1), np.stack([best_mu, best_log_var], axis=1)  # (images, 2, dims)
    way = first + np.linspace(0, _BEYOND, 9)[:, None, None, None] * (last - first)  # (9, images, 2, dims)
    spread = _REACH * np.exp(0.5 * way[:, :, 1])
    low, high = (way[:, :, 0] - spread).min(axis=0), (way[:, :, 0] + spread).max(axis=0)  # (images, dims)
    axis = posterior.axis
    narrow, step = np.exp(0.5 * way[:, :, 1]).min(axis=(0, 2)), axis[1] - axis[0]
    if (narrow < _NARROWEST * step).any():
        raise ValueError(
            f"x: expected images whose q stays wider than {_NARROWEST * step:.3g} on the slider's way, got {narrow.min():.3g} "
            f"for image {narrow.argmin()}; give more points, or leave it out"
        )
    windows, parts, cells = [], [], 0
    for i, (start, stop) in enumerate(zip(np.searchsorted(axis, low), np.searchsorted(axis, high), strict=True)):
        seen = _outermost_region(posterior.log_density[i], step)
        start, stop = np.minimum(start, seen.min(axis=0)), np.maximum(stop, seen.max(axis=0) + 1)
        part = posterior.log_density[i, start[0] : stop[0], start[1] : stop[1]]
        cells += part.size
        windows.append(
            {"left": float(axis[start[0]]), "bottom": float(axis[start[1]]), "columns": part.shape[0], "rows": part.shape[1]}
        )
        parts.append(part)
    if cells > _MOST_CELLS:
        raise ValueError(f"x: expected at most {_MOST_CELLS} cells around all q, got {cells}; give fewer images or fewer points")
    return windows, parts


def _outermost_region(log_density: NDArray[np.floating], step: float) -> NDArray[np.intp]:
    """Return the cells of the smallest region that holds so much of a posterior as is shown, (cells, 2)."""
    density = np.exp(log_density)
    ordered = np.sort(density, axis=None)[::-1]
    needed = int(np.searchsorted(np.cumsum(ordered) * step**2, _SHOWN))
    return np.argwhere(density >= ordered[min(needed, ordered.size - 1)])


def _pictures(vae: Any, images: NDArray[np.float32], mu: ArrayLike, best: ArrayLike) -> bytes:
    logits = [as_array(vae.decoder(np.asarray(means, np.float32))) for means in (mu, best)]
    check_finite("vae: decoded images", logits, "the model has diverged, train again with a lower learning rate")
    decoded = [0.5 * (1 + np.tanh(values.astype(float) / 2)) for values in logits]
    return np.round(255 * np.stack([images, *decoded], axis=1)).astype(np.uint8).tobytes()
