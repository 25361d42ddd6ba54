"""The latent explorer: sliders on the latent space, decoded in the browser, which also encodes images and sums up their ELBO."""

from __future__ import annotations

from typing import Any

import ipywidgets
import numpy as np
import traitlets
from numpy.typing import ArrayLike, NDArray

from vae_lib.checks import (
    DataError,
    as_array,
    check_codes,
    check_finite,
    check_images,
    check_integer,
    check_limit,
    check_point,
    check_sides,
    check_values,
    shown,
)
from vae_lib.plots import DIGIT_COLORS, NotebookFigure, digit_places, explorer_still
from vae_lib.widgets.bundle import bundle
from vae_lib.widgets.linked import MOST_COORDINATES, LinkedWidget, PointCanvas, coordinate_sliders, style
from vae_lib.widgets.pack import pack_dense_layers, pack_encoder, unpack_layers

MOST_IMAGES = 5000
EXAMPLES = 40
_LARGEST_SIDE = 64  # pixels
_THUMB_SIDE = 32  # pixels at most, of the small images under the pointer
_WIDEST = 30.0  # a log-variance that the map is sent at most: far wider than any map, and its exponential is a number
_DIVERGED = "the model has diverged, train again with a lower learning rate"
_HALF_MAX = float(np.finfo(np.float16).max)


class LatentCanvas(PointCanvas):
    """All but the sliders: decodes z, paints the image and the map, encodes. Its traits are its contract."""

    _esm = bundle("latent_explorer.js")
    _css = style("latent_explorer.css")

    layers = traitlets.List(traitlets.Dict()).tag(sync=True)
    weights = traitlets.Bytes().tag(sync=True)
    encoder_layers = traitlets.List(traitlets.Dict()).tag(sync=True)  # none: no encoder, no panels
    encoder_weights = traitlets.Bytes().tag(sync=True)
    image_shape = traitlets.List(traitlets.Int()).tag(sync=True)
    codes = traitlets.Bytes().tag(sync=True)  # float16 pairs, one for each label
    spreads = traitlets.Bytes().tag(sync=True)  # float16 pairs: log-variances of q(z|x)
    labels = traitlets.Bytes().tag(sync=True)
    thumbs = traitlets.Bytes().tag(sync=True)  # the images of the map, two bits a pixel
    thumb_shape = traitlets.List(traitlets.Int()).tag(sync=True)
    examples = traitlets.Bytes().tag(sync=True)  # images to pick, a byte a pixel
    example_labels = traitlets.Bytes().tag(sync=True)
    example_indices = traitlets.List(traitlets.Int()).tag(sync=True)
    given = traitlets.Bytes().tag(sync=True)  # the image that is encoded, a byte a pixel
    names = traitlets.List(traitlets.Any()).tag(sync=True)  # of the digits on the map: [digit, x, y]
    colors = traitlets.List(traitlets.Unicode()).tag(sync=True)
    limit = traitlets.Float(3.0).tag(sync=True)
    sliders = traitlets.Int(2).tag(sync=True)
    start = traitlets.List(traitlets.Float()).tag(sync=True)  # z, of which only coordinates without a slider count later


class LatentExplorer(LinkedWidget):
    """Sliders on the latent space beside the image that the decoder makes of it; with images, an encoder and the ELBO as well.

    The weights travel to the browser once; after that no kernel is needed: the same object works in JupyterLab, in Colab and
    in a published page. With a kernel, `z`, `image` and `given` follow what happens in the browser, and can be observed:
    ``explorer.observe(callback, "z")``.

    Parameters
    ----------
    model : VAE or keras.Model
        A `VAE`, or a decoder alone: a Keras model of Dense layers, each relu or linear, from (batch, latent_dim) to
        logits (batch, pixels).
    images
        Test images, (images, pixels), values in [0, 1], 5,000 at most. With them come the map, and panels that encode an image
        or a drawing, sum up its ELBO and log p(x), and walk between two images. Needs a VAE, and `labels`.
    labels
        The digit of each image or code, (images,), 0 to 9.
    codes
        Codes for the map without images, (images, ≥ 2). With neither there is no map.
    z
        Where to start, (latent_dim,); by default the origin.
    sliders
        How many coordinates get a slider, the first ones; by default all, 10 at most. The others stay where `z` puts them.
    limit
        Sliders and map reach from −limit to limit, at most 100.
    image_shape
        (height, width), 64 at most each; by default a square.

    Raises
    ------
    ValueError
        If an argument has the wrong form; says what was expected.

    Attributes
    ----------
    z
        The point in the latent space, (latent_dim,); set it to move sliders, map and image.
    image
        What the decoder makes of z: probabilities, (height, width). Read only.
    given
        The image that was last picked, drawn or given to `encode`, (height, width), or None.
    """

    z: Any = traitlets.TraitType(default_value=())
    image = traitlets.Any(read_only=True)
    given = traitlets.Any(read_only=True)

    def __init__(
        self,
        model: Any,
        *,
        images: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        codes: ArrayLike | None = None,
        z: ArrayLike | None = None,
        sliders: int | None = None,
        limit: float = 3.5,
        image_shape: tuple[int, int] | None = None,
    ) -> None:
        if getattr(getattr(model, "config", None), "classes", 0):
            raise ValueError(
                "model: expected a VAE that is not conditional; give with_label(vae, label), or use ConditionalExplorer"
            )
        layers, weights = pack_dense_layers(getattr(model, "decoder", model))
        latent_dim, pixels = layers[0]["inputs"], layers[-1]["outputs"]
        shape = _checked_shape(image_shape, pixels)
        limit = check_limit(limit)
        self._count = _checked_count(sliders, latent_dim)
        start = check_point(np.zeros(latent_dim) if z is None else z, latent_dim, limit)
        travelling = _of_codes(codes, labels, limit) if images is None else _of_images(model, images, labels, codes, shape, limit)
        self._encoder = getattr(model, "encoder", None) if images is not None else None
        self._moving = True
        self._layers = unpack_layers(layers, weights)  # as the browser sees them
        canvas = LatentCanvas(
            layers=layers, weights=weights, image_shape=list(shape), colors=list(DIGIT_COLORS), limit=limit,
            sliders=self._count, start=list(start), **travelling, **{f"z{i}": start[i] for i in range(self._count)},
        )  # fmt: skip
        step = 0.05 if images is None else 0.01  # an image's code is no round number, and the map has larger steps for keys
        place = ipywidgets.Box()  # where the browser puts the panels
        place.add_class("vae-explorer-place")
        controls = coordinate_sliders(start[: self._count], limit, step=step)
        super().__init__(canvas, controls, below=[place] if canvas.encoder_layers else [])
        self.z = start
        self._moving = False
        self._listen()

    def encode(self, image: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Encode an image, show it in the browser, and move the point to the mean of q(z|x), as far as the sliders reach.

        Parameters
        ----------
        image
            (height, width) or (pixels,), values in [0, 1]; they are rounded to 256 levels.

        Returns
        -------
        ndarray
            Two of them, mu and log_var of q(z|x), each (latent_dim,).

        Raises
        ------
        ValueError
            If the image has another form, or the explorer was made without images and so has no encoder.
        """
        if self._encoder is None:
            raise ValueError("encode: expected an explorer with an encoder, got one without; make it with images=… and labels=…")
        height, width = self._canvas.image_shape
        levels = _as_levels(np.reshape(_checked_image(image, (height, width)), (1, -1)))
        mu, log_var = (as_array(part)[0] for part in self._encoder(levels.astype(np.float32) / 255))
        check_finite("model: mu, log_var", [mu, log_var], _DIVERGED)
        self._canvas.given = levels.tobytes()
        self.z = tuple(np.clip(mu.astype(float), -self._canvas.limit, self._canvas.limit).tolist())
        return mu, log_var

    @traitlets.validate("z")
    def _check_z(self, proposal: Any) -> tuple[float, ...]:
        return check_point(proposal["value"], len(self._canvas.start), self._canvas.limit)

    @traitlets.observe("z")
    def _follow_z(self, change: Any) -> None:
        """Move sliders and canvas to z, unless they moved z; decode it either way."""
        outer, self._moving = self._moving, True
        try:
            self._move(**{f"z{i}": change["new"][i] for i in range(self._count)})
            self._canvas.start = list(change["new"])
        finally:
            self._moving = outer
        self.set_trait("image", self._decode(change["new"]))

    def _listen(self) -> None:
        """Let z and given follow the browser."""
        for control in self._sliders.values():
            control.observe(self._hear, "value")
        self._canvas.observe(self._hear, "start")
        self._canvas.observe(self._see, "given")

    def _hear(self, _: Any) -> None:
        if not self._moving:
            rest = self._canvas.start[self._count :]
            self.z = (*(control.value for control in self._sliders.values()), *rest)

    def _see(self, change: Any) -> None:
        levels = np.frombuffer(change["new"], np.uint8)
        self.set_trait("given", levels.reshape(self._canvas.image_shape).astype(np.float32) / 255 if len(levels) else None)

    def _decode(self, z: tuple[float, ...]) -> NDArray[np.float64]:
        logits = np.array([z])
        for layer in self._layers:
            logits = layer.run(logits)
        image: NDArray[np.float64] = 0.5 * (1 + np.tanh(logits / 2)).reshape(self._canvas.image_shape)
        return image

    def _still(self) -> NotebookFigure:
        canvas = self._canvas
        codes = np.frombuffer(canvas.codes, "<f2").astype(float).reshape(-1, 2)
        labels = np.frombuffer(canvas.labels, np.uint8)
        height, width = canvas.image_shape
        return explorer_still(self.image.reshape(1, -1), self.z, codes, labels, limit=canvas.limit, image_shape=(height, width))


def _checked_count(sliders: int | None, latent_dim: int) -> int:
    most = min(latent_dim, MOST_COORDINATES)
    return most if sliders is None else check_integer("sliders", sliders, least=1, most=most)


def _checked_shape(image_shape: Any, pixels: int) -> tuple[int, int]:
    side = round(pixels**0.5)
    wanted = f"image_shape: expected (height, width), 1 to {_LARGEST_SIDE} each, of {pixels} pixels, got"
    try:
        height, width = check_sides((side, side) if image_shape is None else image_shape, most=_LARGEST_SIDE)
    except ValueError:
        raise ValueError(f"{wanted} {shown(image_shape)}") from None
    if height * width != pixels:
        raise ValueError(f"{wanted} {[height, width]}")
    return height, width


def _checked_image(image: ArrayLike, shape: tuple[int, int]) -> NDArray[np.float64]:
    wanted = f"image: expected {shape} or {(shape[0] * shape[1],)} values in [0, 1], got"
    try:
        values = check_values(image, "image")
    except DataError as error:
        raise ValueError(f"{wanted} others: {error}") from error
    if values.shape not in (shape, (shape[0] * shape[1],)):
        raise ValueError(f"{wanted} shape {values.shape}; give one image")
    return values.astype(float)


def _as_levels(images: NDArray[Any]) -> NDArray[np.uint8]:
    levels: NDArray[np.uint8] = np.round(255 * images).astype(np.uint8)
    return levels


def _of_codes(codes: ArrayLike | None, labels: ArrayLike | None, limit: float) -> dict[str, Any]:
    """Pack the map's points as float16 pairs, the digits as bytes, and where each digit's name stands."""
    if codes is None and labels is None:
        return {}
    points, digits = check_codes([] if codes is None else codes, [] if labels is None else labels)
    if points.size and np.abs(points).max() > _HALF_MAX:
        raise ValueError(f"codes: expected numbers up to {_HALF_MAX:,.0f}, got {np.abs(points).max():.3g}; {_DIVERGED}")
    names = digit_places(points, digits, apart=limit / 9)
    return {"codes": points[:, :2].astype("<f2").tobytes(), "labels": digits.astype(np.uint8).tobytes(), "names": names}


def _of_images(
    model: Any, images: ArrayLike, labels: ArrayLike | None, codes: ArrayLike | None, shape: tuple[int, int], limit: float
) -> dict[str, Any]:
    """Pack all that images bring: the encoder, their codes with log-variances, small copies for the map, some to pick."""
    if codes is not None:
        raise ValueError("codes: expected none beside images, which the encoder gives their codes; leave codes out")
    if getattr(model, "encoder", None) is None:
        raise ValueError(
            f"images: expected a VAE, whose encoder gives them codes, got {type(model).__name__}; give the whole VAE"
        )
    pixels = shape[0] * shape[1]
    x = check_images(images, pixels, "images")
    if len(x) > MOST_IMAGES:
        raise ValueError(f"images: expected (images, {pixels}), 1 to {MOST_IMAGES:,} of them, got {len(x)}; give fewer")
    encoder_layers, encoder_weights = pack_encoder(model, x)
    mu, log_var = (as_array(part) for part in model.encoder(x))
    check_finite("model: mu, log_var", [mu, log_var], _DIVERGED)
    if mu.shape[1] < 2:
        raise ValueError(f"model: expected at least 2 latent dimensions for a map of images, got {mu.shape[1]}")
    travelling = _of_codes(mu, labels, limit)
    digits = as_array(labels)
    chosen = _examples(digits)
    thumb_shape, thumbs = _thumbs(x.reshape(-1, *shape))
    return travelling | {
        "spreads": log_var[:, :2].clip(-_WIDEST, _WIDEST).astype("<f2").tobytes(), "thumbs": thumbs, "thumb_shape": thumb_shape,
        "encoder_layers": encoder_layers, "encoder_weights": encoder_weights, "examples": _as_levels(x[chosen]).tobytes(),
        "example_labels": digits[chosen].astype(np.uint8).tobytes(), "example_indices": chosen,
    }  # fmt: skip


def _examples(labels: NDArray[Any]) -> list[int]:
    """Choose images to pick: the first of each digit, then the second of each, and so on, so that rows of ten hold all digits."""
    rank = np.empty(len(labels), int)
    for digit in np.unique(labels):
        rank[labels == digit] = np.arange((labels == digit).sum())
    return [int(i) for i in np.lexsort((labels, rank))[:EXAMPLES]]


def _thumbs(images: NDArray[Any]) -> tuple[list[int], bytes]:
    """Shrink images (images, height, width) where they are large, to four levels of grey: four pixels a byte."""
    factor = -(-max(images.shape[1:]) // _THUMB_SIDE)
    height, width = (side // factor for side in images.shape[1:])
    blocks = images[:, : height * factor, : width * factor].reshape(-1, height, factor, width, factor).mean(axis=(2, 4))
    levels = np.round(3 * blocks).astype(np.uint8).ravel()
    levels = np.pad(levels, (0, -len(levels) % 4)).reshape(-1, 4)
    packed = levels[:, 0] | levels[:, 1] << 2 | levels[:, 2] << 4 | levels[:, 3] << 6
    return [height, width], packed.tobytes()
