"""Functions that draw data.

Each returns a new matplotlib figure, but for `posterior_and_q`, which draws into given axes, and a helper, `digit_places`.
None calls plt.show() or changes global settings.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patheffects import withStroke
from numpy.typing import ArrayLike, NDArray

from vae_lib.checks import as_array, check_codes, check_integer, check_number, check_reals, check_sides

if TYPE_CHECKING:
    from vae_lib.evaluation import PosteriorGrid

DIGIT_COLORS = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
"""A tuple of ten hexadecimal colours, one for each digit, here and in the widgets. They are safe for colour-blind readers
(Petroff 2021, arXiv:2107.02270).
"""


_LARGEST = 1e6  # of what is drawn: half a side, or the distance of names
_WIDEST = 100.0  # a log-variance that can be drawn
_ROUNDING = 1e-6  # by how much a pixel may miss [0, 1], as in `checks`


class NotebookFigure(Figure):
    """A figure that shows itself where it is the last value of a cell, without pyplot and its global state."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=150)
        return buffer.getvalue()


def latent_scatter(codes: ArrayLike, labels: ArrayLike, *, limit: float | None = None) -> NotebookFigure:
    """Draw the codes of images as points, coloured by digit, with the prior's circles.

    Parameters
    ----------
    codes
        Means of q(z|x); the first two dimensions are drawn, (images, ≥ 2).
    labels
        The digit of each image, (images,).
    limit
        Half the side of the square that is shown; by default it holds 99.5 % of the codes.

    Returns
    -------
    Figure
        One pair of axes; each digit also stands at the median of its codes, so that nothing hangs on colour alone.

    Raises
    ------
    ValueError
        If the shapes do not fit, a code is not finite, a label is no digit, or `limit` is not above 0.
    """
    points, digits = check_codes(codes, labels)
    if not len(points):
        raise ValueError("codes: expected those of at least one image, got none")
    if limit is None:
        limit = float(np.quantile(np.abs(points[:, :2]), 0.995)) * 1.15 or 1.0  # a collapsed encoder puts all at the origin
    limit = check_number("limit", limit, above=0, most=_LARGEST)
    figure = NotebookFigure(figsize=(5.4, 5.2), layout="constrained")
    axes = figure.subplots()
    for digit in np.unique(digits):
        chosen = points[digits == digit]
        axes.plot(*chosen[:, :2].T, ".", ms=2.5, alpha=0.5, color=DIGIT_COLORS[digit], label=str(digit))
    outline: list[Any] = [withStroke(linewidth=3.5, foreground="white")]  # a disc behind each would cover the number beside it
    for digit, x, y in digit_places(points, digits, apart=limit / 11):
        text = axes.text(x, y, str(digit), fontsize=15, fontweight="bold", ha="center", va="center", color="black")
        text.set_path_effects(outline)
    _draw_prior(axes)
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xlabel="$z_1$ (prior's σ)", ylabel="$z_2$ (prior's σ)")
    legend = axes.legend(title="digit", loc="center left", bbox_to_anchor=(1, 0.5), markerscale=4, frameon=False, handletextpad=0)
    for handle in legend.legend_handles:
        handle.set_alpha(1)  # type: ignore[union-attr]
    return figure


def reconstructions(originals: ArrayLike, reconstructed: ArrayLike, *, image_shape: tuple[int, int] = (28, 28)) -> NotebookFigure:
    """Draw originals in one row and what became of them below.

    Parameters
    ----------
    originals, reconstructed
        Images with values in [0, 1], (images, pixels).
    image_shape
        (height, width).

    Returns
    -------
    Figure
        Two rows of images.

    Raises
    ------
    ValueError
        If the shapes do not fit, there is no image, or a value is not in [0, 1].
    """
    first, second = _images(originals, image_shape, "originals"), _images(reconstructed, image_shape, "reconstructed")
    if first.shape != second.shape:
        raise ValueError(f"expected as many reconstructions as originals, got {len(second)} and {len(first)}")
    figure = NotebookFigure(figsize=(0.42 * len(first) + 0.1, 1.45), layout="constrained")
    rows = figure.subplots(2, 1)
    for axes, images, name in zip(rows, (first, second), ("original", "reconstructed"), strict=True):
        _show(axes, np.concatenate(list(images), axis=1))
        axes.set_title(name, loc="left", fontsize="medium")  # above and not beside: on a phone, letters need the width
    return figure


def image_grid(images: ArrayLike, *, columns: int, image_shape: tuple[int, int] = (28, 28)) -> NotebookFigure:
    """Draw images row by row: samples, or a manifold.

    Parameters
    ----------
    images
        Values in [0, 1], (rows · columns, pixels).
    columns
        How many stand in one row.
    image_shape
        (height, width).

    Returns
    -------
    Figure
        One picture of all of them, without gaps.

    Raises
    ------
    ValueError
        If the shapes do not fit, `columns` does not divide the number of images, or a value is not in [0, 1].
    """
    pictures = _images(images, image_shape)
    columns = check_integer("columns", columns, least=1, remedy=f"it has to divide the {len(pictures)} images")
    if len(pictures) % columns:
        raise ValueError(
            f"columns: expected a divisor of the {len(pictures)} images, got {columns}; leave {len(pictures) % columns} out"
        )
    rows, (height, width) = len(pictures) // columns, pictures.shape[1:]
    mosaic = pictures.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
    figure = NotebookFigure(
        figsize=(5.6, 5.6 * rows * height / (columns * width)), layout=ConstrainedLayoutEngine(h_pad=0, w_pad=0)
    )
    _show(figure.subplots(), mosaic)
    return figure


def manifold(decoded: ArrayLike, quantiles: ArrayLike, *, image_shape: tuple[int, int] = (28, 28)) -> NotebookFigure:
    """Draw the decoded latent plane, with equal steps of the prior's probability on both axes.

    Parameters
    ----------
    decoded
        Images of the grid, first row at the top: z₂ falls from row to row, z₁ grows along it, (side², pixels).
    quantiles
        The values of z₁, and of z₂, on the grid, increasing, (side,).
    image_shape
        (height, width).

    Returns
    -------
    Figure
        One picture with the latent values on its axes.

    Raises
    ------
    ValueError
        If the shapes do not fit, there are not side² images, a value is not in [0, 1], or the quantiles do not increase.
    """
    values, pictures = check_reals(quantiles, "quantiles"), _images(decoded, image_shape, "decoded")
    side, count = len(np.atleast_1d(values)), len(pictures)
    if values.ndim != 1 or count != side * side:
        raise ValueError(f"expected quantiles (side,) and side² images, got quantiles {values.shape} and {count} images")
    if not (np.diff(values) > 0).all():
        raise ValueError(
            f"quantiles: expected increasing numbers, got {values.tolist()!r:.80}; sort them, and decode in that order"
        )
    height, width = pictures.shape[1:]
    figure = image_grid(decoded, columns=side, image_shape=image_shape)
    axes = figure.axes[0]
    every = max(1, side // 5)
    shown = np.arange(every // 2, side, every)
    texts = [f"{value:.2f}" for value in values[shown]]
    axes.set_xticks((shown + 0.5) * width, texts)
    axes.set_yticks((side - shown - 0.5) * height, texts)
    axes.set(xlabel="$z_1$ (prior's σ)", ylabel="$z_2$ (prior's σ)")
    figure.set_layout_engine("constrained")  # names beside the axes need the margin that images alone do not
    return figure


def loss_curve(history: Any, *, landmarks: Mapping[str, float] | None = None) -> NotebookFigure:
    """Draw loss, reconstruction and KL over the epochs, with landmarks that give the numbers a meaning.

    Parameters
    ----------
    history : History
        From `train`, or Keras's from `fit`, or the dictionary in that.
    landmarks
        Name and nats per image of each horizontal line.

    Returns
    -------
    Figure
        Loss and reconstruction above, KL below.

    Raises
    ------
    ValueError
        If the history holds no epoch, lacks loss, reconstruction or KL, or a number is not finite.
    """
    series, lines = _checked_series(history), _checked_landmarks(landmarks)
    epochs = np.arange(1, len(series["loss"]) + 1)
    figure = NotebookFigure(figsize=(5, 6), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(2, 1))
    for axes, names in ((above, ("loss", "reconstruction")), (below, ("kl",))):
        for name, color in zip(names, ("#1f5fa8", "#a34a00"), strict=False):
            title = {"kl": "KL"}.get(name, name)
            axes.plot(epochs, series[name], "o-", color=color, ms=4, label=f"{title}, training")
            if f"val_{name}" in series:
                axes.plot(epochs, series[f"val_{name}"], "s--", color=color, ms=4, mfc="white", label=f"{title}, test")
        axes.set(xlabel="epoch", ylabel="nats per image")
    for name, value in lines.items():
        above.axhline(value, color="0.35", lw=1, ls=":")
        above.annotate(
            f"{name}: {value:.1f}", (0.985, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=9
        )
    above.margins(y=0.08)  # room for the highest landmark's name
    above.legend(fontsize=9, loc="upper right", bbox_to_anchor=(1, 0.88))
    below.legend(fontsize=9, loc="lower right")
    return figure


def explorer_still(
    image: ArrayLike,
    z: ArrayLike,
    codes: ArrayLike,
    labels: ArrayLike,
    *,
    limit: float,
    image_shape: tuple[int, int] = (28, 28),
) -> NotebookFigure:
    """Draw the latent explorer as it stands: the decoded image, beside the map if there are codes.

    Parameters
    ----------
    image
        The decoded image, values in [0, 1], (1, pixels).
    z
        Where it was decoded, (latent_dim,).
    codes, labels
        The points of the map and their digits, (images, 2) and (images,); there may be none.
    limit
        Half the side of the map.
    image_shape
        (height, width).

    Returns
    -------
    Figure
        The picture that stands in for the widget where no JavaScript runs.

    Raises
    ------
    ValueError
        If the shapes do not fit, a number is not finite, a label is no digit, a pixel is not in [0, 1], or `limit` is not above
        0.
    """
    points, digits = check_codes(codes, labels)
    limit, place, picture = (
        check_number("limit", limit, above=0, most=_LARGEST),
        check_reals(z, "z"),
        _images(image, image_shape, "image"),
    )
    if place.ndim != 1 or place.size < (2 if len(points) else 1) or len(picture) != 1:
        raise ValueError(
            f"expected one image (1, pixels) and z (latent_dim,), of at least 2 numbers beside a map, got {len(picture)} images "
            f"and z {place.shape}"
        )
    figure = NotebookFigure(figsize=(6.4 if len(points) else 3, 3.3), layout="constrained")
    *maps, axes = figure.subplots(1, 2 if len(points) else 1, squeeze=False)[0]
    _show(axes, picture[0])
    axes.set_title("z = (" + ", ".join(f"{value:.2f}" for value in place) + ")", fontsize=9)
    for plane in maps:
        for digit in np.unique(digits):
            plane.plot(*points[digits == digit].T, ".", ms=2, alpha=0.6, color=DIGIT_COLORS[digit])
        for digit, x, y in digit_places(points, digits, apart=limit / 8):
            plane.text(x, y, str(digit), fontweight="bold", ha="center", va="center")
        _draw_prior(plane)
        plane.plot(*place[:2], "o", ms=10, mfc="none", mec="black", mew=2)
        plane.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xlabel="$z_1$", ylabel="$z_2$")
    return figure


def digit_places(codes: ArrayLike, labels: ArrayLike, *, apart: float) -> list[tuple[int, float, float]]:
    """Find where each digit's name can stand: at the median of its codes, moved aside where names would overlap.

    Parameters
    ----------
    codes
        Codes of images; the first two dimensions count, (images, ≥ 2).
    labels
        The digit of each image, (images,).
    apart
        The distance that names should keep from each other, in units of the codes, ≥ 0.

    Returns
    -------
    list
        (digit, x, y) for each digit that occurs.

    Raises
    ------
    ValueError
        If the shapes do not fit, a code is not finite, a label is no digit, or `apart` is negative.
    """
    points, digits = check_codes(codes, labels)
    apart = check_number("apart", apart, least=0, most=_LARGEST)
    names = np.unique(digits)
    if not len(names):
        return []
    places = np.array([np.median(points[digits == name, :2], axis=0) for name in names])
    places += 1e-6 * np.random.default_rng(0).standard_normal(places.shape)  # no two at the very same place
    for _ in range(400):
        between = places[:, None] - places[None]  # (digits, digits, 2)
        distance = np.linalg.norm(between, axis=-1) + np.eye(len(names)) * 2 * apart
        push = 0.1 * np.clip(apart - distance, 0, None) / distance  # small steps keep names near their places
        places += (push[..., None] * between).sum(axis=1)
    return [(int(name), float(x), float(y)) for name, (x, y) in zip(names, places, strict=True)]


def _draw_prior(axes: Any) -> None:
    """Circles at 1, 2 and 3 σ of the prior."""
    angle = np.linspace(0, 2 * np.pi, 200)
    for radius in (1, 2, 3):
        axes.plot(radius * np.cos(angle), radius * np.sin(angle), color="0.35", lw=0.8)


def _images(values: Any, image_shape: Any, name: str = "images") -> NDArray[np.float64]:
    """Return images as (images, height, width), float64, or say what is wrong with them."""
    height, width = check_sides(image_shape)
    array = as_array(values, name).astype(np.float64, copy=False)
    if array.ndim != 2 or array.shape[1] != height * width or not len(array):
        raise ValueError(
            f"{name}: expected images as (images, {height * width}) for the shape {(height, width)}, got {array.shape}; "
            f"{_remedy(array, height * width)}"
        )
    low, high = array.min(), array.max()
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # false for NaN as well
        remedy = "divide bytes by 255" if low >= 0 and 2 < high <= 255 else "give sigmoid(logits)"
        raise ValueError(f"{name}: expected images with values in [0, 1], got {low} to {high}; {remedy}")
    if low < 0 or high > 1:
        array = np.clip(array, 0, 1)
    return array.reshape(-1, height, width)


def _remedy(array: NDArray[Any], pixels: int) -> str:
    """Say what to do about the shape of images."""
    if array.ndim == 1 and array.size == pixels:
        return "of one image, give x.reshape(1, -1)"
    if array.ndim > 2 and len(array) and array[0].size == pixels:
        return "flatten images with x.reshape(len(x), -1)"
    return "give at least one image" if array.ndim == 2 and array.shape[1] == pixels else "give image_shape=(height, width)"


def _checked_series(history: Any) -> dict[str, NDArray[np.float64]]:
    """Return what a history holds of loss, reconstruction and KL, in training and validation, one value an epoch each."""
    held = getattr(history, "history", history)  # Keras keeps a dictionary of that name
    held = held if isinstance(held, Mapping) else getattr(held, "__dict__", {})
    series = {}
    for name in ("loss", "reconstruction", "kl"):
        if name not in held:
            got = ", ".join(map(str, held)) or type(history).__name__
            raise ValueError(
                f"history: expected loss, reconstruction and kl, got {got:.80}; give what train or a VAE's fit returned"
            )
        series[name] = held[name]
    if all(len(np.atleast_1d(as_array(held.get(f"val_{name}", []), f"history.val_{name}"))) for name in series):
        series |= {f"val_{name}": held[f"val_{name}"] for name in series}
    remedy = "training has diverged, train again with a lower learning rate"
    checked = {name: check_reals(values, f"history.{name}", remedy=remedy) for name, values in series.items()}
    if len({values.shape for values in checked.values()}) > 1 or checked["loss"].ndim != 1:
        shapes = ", ".join(f"{name} {values.shape}" for name, values in checked.items())
        raise ValueError(f"history: expected one number an epoch of each, got {shapes}; give what train or a VAE's fit returned")
    if not len(checked["loss"]):
        raise ValueError("history: expected at least one finished epoch, got none; train first")
    return checked


def _checked_landmarks(landmarks: Any) -> dict[str, float]:
    """Return the horizontal lines by their names."""
    if landmarks is None:
        return {}
    if not isinstance(landmarks, Mapping):
        got = type(landmarks).__name__
        raise ValueError(f"landmarks: expected a mapping from names to nats, got {got}; write {{'mean image': 206.0}}")
    return {f"{name}": check_number(f"landmarks[{name!r}]", value) for name, value in landmarks.items()}


def _show(axes: Any, picture: NDArray[Any]) -> None:
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, extent=(0, picture.shape[1], picture.shape[0], 0))
    axes.set(xticks=[], yticks=[])


def posterior_and_q(axes: Any, posterior: PosteriorGrid, image: int, mu: ArrayLike, log_var: ArrayLike) -> None:
    """Draw one image's true posterior, and a Gaussian on top of it, into given axes.

    Parameters
    ----------
    axes : Axes
        Matplotlib axes.
    posterior
        From `posterior_on_grid` of a model with two latent dimensions.
    image
        Which of its images.
    mu, log_var
        The Gaussian, (2,) each; drawn at one and two standard deviations.

    Raises
    ------
    ValueError
        If the posterior or the Gaussian is not one over a plane, a number is not finite, there is no such image, or `axes` are
        none.
    """
    if not callable(getattr(axes, "contourf", None)):
        raise ValueError(f"axes: expected matplotlib axes, got {type(axes).__name__}; make some with figure.subplots()")
    axis, held, mean, spread = _checked_plane(posterior, mu, log_var)
    image = check_integer("image", image, most=len(held) - 1)
    density = np.exp(check_reals(held[image], "posterior", remedy="the model has diverged, train it again"))
    levels = _fill_regions(axes, axis, axis, density)
    angle = np.linspace(0, 2 * np.pi, 100)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    for sigmas, width in ((1, 2), (2, 1)):
        axes.plot(*(mean + sigmas * circle * np.exp(0.5 * spread)).T, color="#1f5fa8", lw=width)
    seen = np.argwhere(density >= levels[0])
    low, high = axis[seen.min(axis=0)], axis[seen.max(axis=0)]
    low, high = np.minimum(low, mean - 2.5 * np.exp(0.5 * spread)), np.maximum(high, mean + 2.5 * np.exp(0.5 * spread))
    middle, half = (low + high) / 2, (high - low).max() / 2 * 1.1
    axes.set(xlim=middle[0] + half * np.array([-1, 1]), ylim=middle[1] + half * np.array([-1, 1]), aspect="equal")
    axes.tick_params(labelsize=7)


def _checked_plane(posterior: Any, mu: Any, log_var: Any) -> tuple[NDArray[Any], ...]:
    """Return a posterior's axis and log-density over a plane, and a Gaussian's mean and log-variances."""
    if not all(hasattr(posterior, part) for part in ("axis", "log_density")):
        raise ValueError(f"posterior: expected a PosteriorGrid, got {type(posterior).__name__}; make one with posterior_on_grid")
    mean, spread = check_reals(mu, "mu"), check_reals(log_var, "log_var")
    axis, held = check_reals(posterior.axis, "posterior.axis"), as_array(posterior.log_density, "posterior.log_density")
    if held.ndim != 3 or held.shape[1:] != axis.shape * 2 or mean.shape != (2,) or spread.shape != (2,):
        raise ValueError(
            f"expected a posterior (images, points, points), mu and log_var (2,), got {held.shape}, {mean.shape} and "
            f"{spread.shape}"
        )
    if np.abs(spread).max() > _WIDEST:
        raise ValueError(f"log_var: expected numbers within ±{_WIDEST:g}, got {spread.tolist()}, which cannot be drawn")
    return axis, held, mean, spread


def _fill_regions(axes: Any, first: NDArray[Any], second: NDArray[Any], density: NDArray[Any]) -> NDArray[np.float64]:
    """Fill the smallest regions that hold 99, 90 and 50 % of a density on a grid; return their levels, growing."""
    ordered = np.sort(density, axis=None)[::-1]
    held = np.cumsum(ordered) * (first[1] - first[0]) * (second[1] - second[0])
    places = np.searchsorted(held, (0.99, 0.9, 0.5)).clip(max=ordered.size - 1)
    levels: NDArray[np.float64] = np.unique(ordered[places])
    colors = ("#f9cfa8", "#f09a4d", "#e76300")[: len(levels)]
    axes.contourf(first, second, density.T, levels=[*levels, 1.001 * ordered[0]], colors=colors)
    return levels
