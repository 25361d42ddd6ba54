"""Training in the browser: a small variational autoencoder that learns before the reader's eyes, in a web worker."""

from __future__ import annotations

import math
from statistics import NormalDist

import anywidget
import ipywidgets
import numpy as np
import traitlets
from numpy.typing import ArrayLike, NDArray

from vae_lib.checks import check_codes, check_integer, check_values
from vae_lib.config import TrainConfig
from vae_lib.plots import DIGIT_COLORS, NotebookFigure
from vae_lib.widgets.bundle import bundle
from vae_lib.widgets.linked import LinkedWidget, on_slider, slider, style

_RATES = (1e-4, 0.3)  # ends of the slider
_BETAS = (0.0, 10.0)
_LEVELS = 15  # grey levels above black that travel to the browser: four bits
_MOST_IMAGES = 5000
_SIDE = 9  # of the square of points that are decoded


class BrowserTrainingCanvas(anywidget.AnyWidget):
    """The pictures above the sliders, and the worker that trains. Its traits are its contract."""

    _esm = bundle("browser_training.js")
    _css = style("browser_training.css")

    worker = traitlets.Unicode(bundle("browser_training_worker.js")).tag(sync=True)  # the code that trains
    images = traitlets.Bytes().tag(sync=True)  # four bits a pixel, two in a byte, the first in the lower half
    labels = traitlets.Bytes().tag(sync=True)
    image_shape = traitlets.List(traitlets.Int()).tag(sync=True)
    hidden = traitlets.Int(64).tag(sync=True)
    batch_size = traitlets.Int(50).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    learning_rate = traitlets.Float(0.005).tag(sync=True)
    beta = traitlets.Float(1.0).tag(sync=True)
    noise = traitlets.Bool(True).tag(sync=True)
    quantiles = traitlets.List(traitlets.Float()).tag(sync=True)  # of the prior: the decoded square has these coordinates
    colors = traitlets.List(traitlets.Unicode()).tag(sync=True)


class BrowserTraining(LinkedWidget):
    """A small VAE that is trained in the browser: codes, decoded images and loss evolve live.

    The images travel to the browser once, as four bits a pixel; training happens there, in a web worker, in plain JavaScript,
    with nothing asked of a kernel or a server. The network is pixels → hidden relu units → (mu, log_var) of two dimensions →
    hidden relu units → logits; minimised is reconstruction + beta · KL, by Adam. The reader starts, pauses, steps and resets it,
    and may change the learning rate and beta, or leave out the latent noise, while it runs.

    Parameters
    ----------
    x
        Training images as rows, (images, pixels), values in [0, 1], square, at most 5,000.
    labels
        The digit of each, (images,), for colours and shapes only.
    config
        Hidden width, batch size, learning rate, beta and seed to start with; of its other values the browser uses none. It has
        to have the shrunk images' `input_dim`, two latent dimensions, one hidden layer, a batch of at most all images, a learning
        rate from 0.0001 to 0.3, and a beta from 0 to 10. By default 64 hidden units, batches of 50, a learning rate of 0.005,
        beta 1, seed 0.
    shrink
        Each square of shrink × shrink pixels becomes one, its mean: 2 makes 14×14 of 28×28 images, and a step four times as fast.

    Raises
    ------
    ValueError
        If an argument has the wrong form; says what was expected.

    Attributes
    ----------
    x
        The images that the browser trains on: shrunk, in sixteen grey levels, (images, fewer pixels), float32.
    labels
        The digit of each, (images,).
    config
        The `TrainConfig` of the same network and the same training, for `build_vae` and `train`; about 2,000 steps unless
        another was given.

    References
    ----------
    Kingma and Welling 2013, arXiv:1312.6114, algorithm 1; Higgins et al. 2017, equation 4 (beta).
    """

    def __init__(self, x: ArrayLike, labels: ArrayLike, *, config: TrainConfig | None = None, shrink: int = 2) -> None:
        levels = _shrunk_levels(x, shrink)  # (images, pixels), 0 to 15
        self.x = levels.astype(np.float32) / np.float32(_LEVELS)
        _, self.labels = check_codes(np.zeros((len(levels), 2)), labels)
        self.config = _checked_config(config, *levels.shape)
        rate = on_slider("config.learning_rate", self.config.learning_rate, *_RATES)
        beta = on_slider("config.beta", self.config.beta, *_BETAS)
        side = math.isqrt(levels.shape[1])
        canvas = BrowserTrainingCanvas(
            images=_nibbles(levels), labels=self.labels.astype(np.uint8).tobytes(), image_shape=[side, side],
            hidden=self.config.hidden[0], batch_size=self.config.batch_size, seed=self.config.seed, learning_rate=rate, beta=beta,
            quantiles=[NormalDist().inv_cdf((i + 0.5) / _SIDE) for i in range(_SIDE)], colors=list(DIGIT_COLORS),
        )  # fmt: skip
        super().__init__(
            canvas, {"learning_rate": _rate_slider(rate), "beta": slider("β", beta, *_BETAS, name="Weight β of the KL")}
        )

    @property
    def learning_rate(self) -> float:
        """Adam's step size; set it to move the slider."""
        return float(self._sliders["learning_rate"].value)

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._move(learning_rate=on_slider("learning_rate", value, *_RATES))

    @property
    def beta(self) -> float:
        """Weight of the KL term; set it to move the slider."""
        return float(self._sliders["beta"].value)

    @beta.setter
    def beta(self, value: float) -> None:
        self._move(beta=on_slider("beta", value, *_BETAS))

    def _still(self) -> NotebookFigure:
        """Draw the training images, and their best linear map for comparison."""
        side = self._canvas.image_shape[0]
        shown = self.x[:100].reshape(-1, side, side)
        shown = np.concatenate([shown, np.zeros((100 - len(shown), side, side), np.float32)])
        centred = self.x - self.x.mean(axis=0)
        components = np.linalg.eigh(centred.T @ centred)[1][:, :-3:-1]  # (pixels, 2), the two of most variance
        codes = centred @ components  # (images, 2)
        figure = NotebookFigure(figsize=(8, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.imshow(shown.reshape(10, 10, side, side).swapaxes(1, 2).reshape(10 * side, 10 * side), cmap="gray", vmin=0, vmax=1)
        left.set(title=f"The first of {len(self.x):,} images to learn from", xticks=[], yticks=[])
        for digit in np.unique(self.labels):
            places = codes[self.labels == digit]
            right.plot(*places.T, ls="", marker=f"${digit}$", ms=5, color=DIGIT_COLORS[digit], mew=0.2)
        right.set(title="Before any learning: two principal components", xticks=[], yticks=[], aspect="equal")
        return figure


def _rate_slider(value: float) -> ipywidgets.FloatLogSlider:
    pattern = slider("rate", 1.0, 0.0, 1.0, name="Learning rate")  # its look; a logarithmic slider has ends of another kind
    names = ("tooltip", "description_tooltip")  # ipywidgets 8, 7
    spoken = {
        name: getattr(pattern, name)
        for name in names
        if name in ipywidgets.FloatLogSlider.class_traits() and getattr(pattern, name)
    }
    low, high = (math.log10(end) for end in _RATES)
    return ipywidgets.FloatLogSlider(
        value=value,
        base=10,
        min=low,
        max=high,
        step=0.05,
        description="rate",
        readout_format=".4f",
        layout=pattern.layout,
        **spoken,
    )


def _shrunk_levels(x: ArrayLike, shrink: int) -> NDArray[np.uint8]:
    images = check_values(x)
    if images.ndim == 3 and len(images):
        raise ValueError(
            f"x: expected images as rows, (images, side²), got {images.shape}; flatten them with x.reshape(len(x), -1)"
        )
    side = math.isqrt(images.shape[1]) if images.ndim == 2 else 0
    if not side or side * side != images.shape[1] or not 1 <= len(images) <= _MOST_IMAGES:
        raise ValueError(f"x: expected 1 to {_MOST_IMAGES:,} square images as rows, (images, side²), got {images.shape}")
    shrink = check_integer("shrink", shrink, least=1, remedy=f"it has to divide the images' side of {side} pixels")
    if side % shrink:
        raise ValueError(f"shrink: expected a whole number that divides the images' side of {side} pixels, got {shrink}; try 1")
    small = side // shrink
    means = images.reshape(-1, small, shrink, small, shrink).mean(axis=(2, 4)).reshape(-1, small * small)
    levels: NDArray[np.uint8] = np.round(_LEVELS * means).astype(np.uint8)
    return levels


def _checked_config(config: TrainConfig | None, images: int, pixels: int) -> TrainConfig:
    if config is None:
        config = TrainConfig(input_dim=pixels, hidden=(64,), learning_rate=0.005, epochs=max(1, 2000 // max(1, images // 50)))
    if not isinstance(config, TrainConfig):
        raise ValueError(
            f"config: expected a TrainConfig, got {type(config).__name__}; write TrainConfig(input_dim={pixels}, hidden=(64,))"
        )
    if (config.input_dim, config.latent_dim, len(config.hidden)) != (pixels, 2, 1):
        got = f"{config.input_dim}, {config.latent_dim} and {config.hidden}"
        raise ValueError(f"config: expected input_dim={pixels}, latent_dim=2 and one hidden width such as (64,), got {got}")
    if config.batch_size > images:
        raise ValueError(f"config.batch_size: expected at most the {images} images that there are, got {config.batch_size}")
    return config


def _nibbles(levels: NDArray[np.uint8]) -> bytes:
    """Pack numbers from 0 to 15 two in a byte, the first in the lower half."""
    flat = levels.ravel()
    flat = np.concatenate([flat, np.zeros(len(flat) % 2, np.uint8)])
    packed: bytes = (flat[::2] | (flat[1::2] << 4)).tobytes()
    return packed
