"""The latent explorer: sliders on the latent space, decoded in the browser."""

from __future__ import annotations

from typing import Any

import anywidget
import ipywidgets
import numpy as np
import traitlets
from numpy.typing import ArrayLike

from vae_lib.plots import DIGIT_COLORS, NotebookFigure, check_codes, digit_places, explorer_still
from vae_lib.widgets.bundle import bundle
from vae_lib.widgets.linked import LinkedWidget, slider, style
from vae_lib.widgets.pack import pack_dense_layers, run_packed

MOST_SLIDERS = 10
_HALF_MAX = float(np.finfo(np.float16).max)


class LatentCanvas(anywidget.AnyWidget):
    """The picture beside the sliders: decodes z, paints the image, shows z on the map. Its traits are its contract."""

    _esm = bundle("latent_explorer.js")
    _css = style("latent_explorer.css")

    layers = traitlets.List(traitlets.Dict()).tag(sync=True)
    weights = traitlets.Bytes().tag(sync=True)
    image_shape = traitlets.List(traitlets.Int()).tag(sync=True)
    codes = traitlets.Bytes().tag(sync=True)
    labels = traitlets.Bytes().tag(sync=True)
    names = traitlets.List(traitlets.Any()).tag(sync=True)  # of the digits on the map: [digit, x, y]
    colors = traitlets.List(traitlets.Unicode()).tag(sync=True)
    limit = traitlets.Float(3.0).tag(sync=True)
    sliders = traitlets.Int(2).tag(sync=True)
    start = traitlets.List(traitlets.Float()).tag(sync=True)
    z0 = traitlets.Float().tag(sync=True)
    z1 = traitlets.Float().tag(sync=True)
    z2 = traitlets.Float().tag(sync=True)
    z3 = traitlets.Float().tag(sync=True)
    z4 = traitlets.Float().tag(sync=True)
    z5 = traitlets.Float().tag(sync=True)
    z6 = traitlets.Float().tag(sync=True)
    z7 = traitlets.Float().tag(sync=True)
    z8 = traitlets.Float().tag(sync=True)
    z9 = traitlets.Float().tag(sync=True)


class LatentExplorer(LinkedWidget):
    """Sliders on the latent space beside the image that the decoder makes of it.

    The decoder's weights travel to the browser once, as float16; after that no kernel is needed: the same object works
    in JupyterLab, in Colab and in a published page.

    Parameters
    ----------
    model
        A `VAE`, or a decoder alone: a Keras model of Dense layers from (batch, latent_dim) to logits (batch, pixels).
    codes
        Codes of images for the map, (images, ≥ 2): without them there is no map.
    labels
        The digit of each code, (images,), 0 to 9.
    z
        Where to start, (latent_dim,); by default the origin.
    sliders
        How many coordinates get a slider, the first ones; by default all, 10 at most. The others stay where `z` puts them.
    limit
        Sliders and map reach from −limit to limit.
    image_shape
        (height, width); by default a square.

    Raises
    ------
    ValueError
        If an argument has the wrong form; says what was expected.
    """

    def __init__(
        self,
        model: Any,
        *,
        codes: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        z: ArrayLike | None = None,
        sliders: int | None = None,
        limit: float = 3.5,
        image_shape: tuple[int, int] | None = None,
    ) -> None:
        layers, weights = pack_dense_layers(getattr(model, "decoder", model))
        latent_dim, pixels = layers[0]["inputs"], layers[-1]["outputs"]
        shape = _checked_shape(image_shape, pixels)
        if not isinstance(limit, (int, float, np.number)) or not 0 < limit < np.inf:
            raise ValueError(f"limit: expected a finite number above 0, got {limit!r}")
        count = min(latent_dim, MOST_SLIDERS) if sliders is None else sliders
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= min(latent_dim, MOST_SLIDERS):
            raise ValueError(f"sliders: expected 1 to {min(latent_dim, MOST_SLIDERS)}, got {sliders!r}")
        point_bytes, label_bytes, names = _checked_codes(codes, labels, limit)
        start = _checked_z(np.zeros(latent_dim) if z is None else z, latent_dim, limit)
        self._count = count
        self._start = start
        canvas = LatentCanvas(
            layers=layers, weights=weights, image_shape=list(shape), codes=point_bytes, labels=label_bytes,
            names=names, colors=list(DIGIT_COLORS), limit=float(limit), sliders=count, start=list(start),
            **{f"z{i}": start[i] for i in range(count)},
        )  # fmt: skip
        super().__init__(canvas, {f"z{i}": _slider(i, start[i], limit) for i in range(count)})

    @property
    def z(self) -> tuple[float, ...]:
        """The point in the latent space, (latent_dim,); set it to move sliders, map and image."""
        return (*(control.value for control in self._sliders.values()), *self._start[self._count :])

    @z.setter
    def z(self, point: ArrayLike) -> None:
        values = _checked_z(point, len(self._start), self._canvas.limit)
        if values[self._count :] != self._start[self._count :]:
            raise ValueError(
                f"z: expected {self._start[self._count :]} in the coordinates without a slider, got {values[self._count :]}; "
                f"make another LatentExplorer with z={values}"
            )
        self._move(**{f"z{i}": values[i] for i in range(self._count)})

    def _still(self) -> NotebookFigure:
        canvas = self._canvas
        logits = run_packed(canvas.layers, canvas.weights, [self.z])
        codes = np.frombuffer(canvas.codes, "<f2").astype(float).reshape(-1, 2)
        labels = np.frombuffer(canvas.labels, np.uint8)
        with np.errstate(over="ignore"):
            image = 1 / (1 + np.exp(-logits))
        height, width = canvas.image_shape
        return explorer_still(image, self.z, codes, labels, limit=canvas.limit, image_shape=(height, width))


def _slider(i: int, value: float, limit: float) -> ipywidgets.FloatSlider:
    label = "z" + str(i + 1).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
    return slider(label, value, -limit, limit, name=f"Latent coordinate {label}")


def _checked_shape(image_shape: tuple[int, int] | None, pixels: int) -> tuple[int, int]:
    side = round(pixels**0.5)
    shape = np.asarray((side, side) if image_shape is None else image_shape)
    if (
        shape.shape != (2,)
        or shape.dtype.kind not in "ui"
        or shape.prod() != pixels
        or not (1 <= shape.min() <= shape.max() <= 64)
    ):
        raise ValueError(f"image_shape: expected (height, width), 1 to 64 each, of {pixels} pixels, got {shape.tolist()}")
    return int(shape[0]), int(shape[1])


def _checked_z(z: ArrayLike, latent_dim: int, limit: float) -> tuple[float, ...]:
    try:
        point = np.asarray(z, dtype=float)
    except (TypeError, ValueError):
        point = np.empty(0)
    if point.shape != (latent_dim,) or not np.isfinite(point).all() or np.abs(point).max() > limit:
        raise ValueError(f"z: expected {latent_dim} finite numbers from {-limit} to {limit}, got {z!r}")
    return tuple(float(value) for value in point)


def _checked_codes(
    codes: ArrayLike | None, labels: ArrayLike | None, limit: float
) -> tuple[bytes, bytes, list[tuple[int, float, float]]]:
    """Pack the map's points as float16 pairs, the digits as bytes, and where each digit's name stands."""
    if codes is None and labels is None:
        return b"", b"", []
    points, digits = check_codes([] if codes is None else codes, [] if labels is None else labels)
    if points.size and np.abs(points).max() > _HALF_MAX:
        raise ValueError(f"codes: expected numbers up to {_HALF_MAX:,.0f}, got {np.abs(points).max()}; was training stable?")
    names = digit_places(points, digits, apart=limit / 9)
    return points[:, :2].astype("<f2").tobytes(), digits.astype(np.uint8).tobytes(), names
