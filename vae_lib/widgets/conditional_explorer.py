"""The conditional explorer: one slider picks the digit, the others the hand that writes it; decoded in the browser."""

from __future__ import annotations

from typing import Any

import numpy as np
import traitlets
from numpy.typing import ArrayLike

from vae_lib.checks import check_integer, check_limit, check_point
from vae_lib.plots import NotebookFigure
from vae_lib.widgets.bundle import bundle
from vae_lib.widgets.linked import MOST_COORDINATES, LinkedWidget, PointCanvas, coordinate_sliders, slider, style
from vae_lib.widgets.pack import pack_dense_layers, run_packed

_MOST_CLASSES = 100  # that the picture of every label has places for


class ConditionalCanvas(PointCanvas):
    """The pictures above the sliders: the chosen digit, and the same z under every label. Its traits are its contract."""

    _esm = bundle("conditional_explorer.js")
    _css = style("conditional_explorer.css")

    layers = traitlets.List(traitlets.Dict()).tag(sync=True)
    weights = traitlets.Bytes().tag(sync=True)
    classes = traitlets.Int(10).tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    image_shape = traitlets.List(traitlets.Int()).tag(sync=True)
    digit = traitlets.Float().tag(sync=True)


class ConditionalExplorer(LinkedWidget):
    """A slider for the label and one for each latent coordinate, with the decoded image, and the same z under every label.

    The decoder's weights travel to the browser once, as float16; after that no kernel is needed.

    Parameters
    ----------
    vae : VAE
        A conditional VAE of square images whose hidden layers are relu, with at most 10 latent dimensions and 100 labels.
    digit
        Which label is chosen at the start, from 0 to classes − 1.
    z
        Where to start, (latent_dim,); by default the origin.
    limit
        The sliders of z reach from −limit to limit, at most 100.

    Raises
    ------
    ValueError
        If an argument has the wrong form; says what was expected.
    """

    def __init__(self, vae: Any, *, digit: int = 0, z: ArrayLike | None = None, limit: float = 3.0) -> None:
        config = _checked_config(vae)
        side = round(config.input_dim**0.5)
        if config.latent_dim > MOST_COORDINATES or side * side != config.input_dim:
            raise ValueError(
                f"vae: expected square images and at most {MOST_COORDINATES} latent dimensions, "
                f"got {config.input_dim} pixels and {config.latent_dim} dimensions"
            )
        self._limit, self._classes = check_limit(limit), int(config.classes)
        layers, weights = pack_dense_layers(_joined(vae))
        label = self._checked_digit(digit)
        start = check_point(np.zeros(config.latent_dim) if z is None else z, config.latent_dim, self._limit)
        canvas = ConditionalCanvas(
            layers=layers, weights=weights, classes=self._classes, names=[str(name) for name in range(self._classes)],
            image_shape=[side, side], digit=label, **{f"z{i}": value for i, value in enumerate(start)},
        )  # fmt: skip
        choose = slider("digit", label, 0.0, self._classes - 1.0, step=1.0, name="Digit, the label")
        choose.readout_format = ".0f"
        super().__init__(canvas, {"digit": choose} | coordinate_sliders(start, self._limit))

    @property
    def digit(self) -> int:
        """The label that is chosen, from 0 to classes − 1; set it to choose another."""
        value: float = self._sliders["digit"].value
        return round(value)

    @digit.setter
    def digit(self, digit: int) -> None:
        self._move(digit=self._checked_digit(digit))

    @property
    def z(self) -> tuple[float, ...]:
        """The point in the latent space, (latent_dim,); set it to move sliders and images."""
        return tuple(control.value for trait, control in self._sliders.items() if trait != "digit")

    @z.setter
    def z(self, point: ArrayLike) -> None:
        values = check_point(point, len(self._sliders) - 1, self._limit)
        self._move(**{f"z{i}": value for i, value in enumerate(values)})

    def _checked_digit(self, digit: Any) -> float:
        return float(check_integer("digit", digit, most=self._classes - 1))

    def _still(self) -> NotebookFigure:
        """Draw the same z under every label, the chosen one framed."""
        canvas, chosen = self._canvas, self.digit
        inputs = np.concatenate([np.tile(self.z, (self._classes, 1)), np.eye(self._classes)], axis=1)
        with np.errstate(over="ignore"):
            images = 1 / (1 + np.exp(-run_packed(canvas.layers, canvas.weights, inputs)))
        columns = min(5, self._classes)
        rows = -(-self._classes // columns)
        figure = NotebookFigure(figsize=(6.4, 1.5 * rows + 0.4), layout="constrained")
        figure.suptitle("The same z = (" + ", ".join(f"{value:.2f}" for value in self.z) + ") under every label", fontsize=10)
        places = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in places[self._classes :]:
            axes.remove()
        for label, axes in enumerate(places[: self._classes]):
            axes.imshow(images[label].reshape(canvas.image_shape), cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            axes.set_xlabel(f"{label}, chosen" if label == chosen else f"{label}")
        return figure


def _checked_config(vae: Any) -> Any:
    """Return the configuration of a conditional VAE with at most as many labels as there are places."""
    from vae_lib.model import VAE, check_vae

    if not isinstance(vae, VAE) or not vae.config.classes:
        got = "one without labels" if isinstance(vae, VAE) else type(vae).__name__
        raise ValueError(f"vae: expected a conditional VAE, got {got}; train one with classes=10")
    if vae.config.classes > _MOST_CLASSES:
        raise ValueError(f"vae: expected at most {_MOST_CLASSES} labels, got {vae.config.classes}; train one with fewer")
    check_vae(vae, finite=True)
    return vae.config


def _joined(vae: Any) -> Any:
    """Return the decoder as a chain of Dense layers that takes z and the one-hot label as one vector."""
    import keras

    config = vae.config
    dense = [layer for layer in vae.decoder.layers if isinstance(layer, keras.layers.Dense)]
    chain = keras.Sequential([keras.Input((config.latent_dim + config.classes,))])
    for layer in dense:
        chain.add(keras.layers.Dense(layer.units, activation=layer.activation))
        chain.layers[-1].set_weights(layer.get_weights())
    return chain
