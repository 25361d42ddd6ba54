"""What all widgets share in Python: sliders linked in the browser to a canvas, and a still picture of the whole."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import anywidget
import ipywidgets
import traitlets

from vae_lib.checks import check_number
from vae_lib.plots import NotebookFigure
from vae_lib.widgets.bundle import FOLDER


def style(*names: str) -> str:
    """Return the shared style sheet followed by the named ones.

    Parameters
    ----------
    names
        Files beside this one.

    Returns
    -------
    str
        CSS.
    """
    return "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in ("kit.css", *names))


def slider(
    description: str, value: float, low: float, high: float, *, step: float = 0.05, name: str | None = None
) -> ipywidgets.FloatSlider:
    """Make a slider in the book's style.

    Parameters
    ----------
    description
        The short label beside it, such as "μ".
    value, low, high, step
        Where it stands, its range, and the least movement.
    name
        What a screen reader says, such as "mean of q"; by default the label.

    Returns
    -------
    FloatSlider
        The slider.
    """
    tooltip = "tooltip" if ipywidgets.FloatSlider.class_traits().get("tooltip") else "description_tooltip"  # ipywidgets 8, 7
    return ipywidgets.FloatSlider(
        value=value, min=low, max=high, step=step, description=description, readout_format=".2f",
        layout=ipywidgets.Layout(width="100%", max_width="580px"), **{tooltip: name or description},
    )  # fmt: skip


def on_slider(name: str, value: Any, low: float, high: float) -> float:
    """Return a number that lies on a slider, or say what is wrong with it.

    Parameters
    ----------
    name
        What it is called in the message.
    value
        The number.
    low, high
        The slider's ends.

    Returns
    -------
    float
        The number.

    Raises
    ------
    ValueError
        If it is no real number from `low` to `high`.
    """
    return check_number(name, value, least=low, most=high, remedy="choose one that the slider can show")


MOST_COORDINATES = 10
"""As many coordinates of z get a slider."""


class PointCanvas(anywidget.AnyWidget):
    """A canvas that shows a point of the latent space; each coordinate is a trait, for a link moves one number."""

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


def coordinate_sliders(z: Sequence[float], limit: float, *, step: float = 0.05) -> dict[str, ipywidgets.FloatSlider]:
    """Make a slider for each coordinate of a point.

    Parameters
    ----------
    z
        Where they stand, (coordinates,).
    limit
        They reach from −limit to limit.
    step
        The least movement.

    Returns
    -------
    dict
        For each trait of a `PointCanvas` its slider.
    """
    sliders = {}
    for i, value in enumerate(z):
        label = "z" + str(i + 1).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
        sliders[f"z{i}"] = slider(label, value, -limit, limit, step=step, name=f"Latent coordinate {label}")
    return sliders


class LinkedWidget(ipywidgets.VBox):
    """A canvas with sliders below it, each linked in the browser to one of the canvas's traits.

    The links need no kernel, so the same object works in JupyterLab, in Colab and in a published page.

    Parameters
    ----------
    canvas
        The anywidget that paints.
    sliders
        For each trait of the canvas its slider, from the top down.
    below
        What stands below the sliders.
    """

    def __init__(
        self,
        canvas: anywidget.AnyWidget,
        sliders: Mapping[str, ipywidgets.FloatSlider],
        *,
        below: Sequence[ipywidgets.Widget] = (),
    ) -> None:
        self._canvas = canvas
        self._sliders = dict(sliders)
        # kept, for a link ends when it is forgotten
        self._links = [ipywidgets.jslink((control, "value"), (canvas, trait)) for trait, control in sliders.items()]
        super().__init__([canvas, *sliders.values(), *below])
        self.add_class("vae-widget-box")

    def _move(self, **values: float) -> None:
        """Move sliders from Python: both ends of a link, which lives in the browser alone."""
        for trait, value in values.items():
            self._sliders[trait].value = value
            setattr(self._canvas, trait, value)

    def _still(self) -> NotebookFigure:
        """Draw the widget as it stands."""
        raise NotImplementedError(f"{type(self).__name__} has no still picture")

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """Add the still picture, for readers without a kernel and without JavaScript."""
        inherited = getattr(super(), "_repr_mimebundle_", None)  # ipywidgets 7 shows itself in another way
        bundle: dict[str, Any] = inherited(**kwargs) if inherited else {}
        return {**bundle, "image/png": base64.b64encode(self._still()._repr_png_()).decode("ascii")}


class GaussianWidget(LinkedWidget):
    """A linked widget about one Gaussian q, with sliders for its mean and its log-variance.

    Parameters
    ----------
    canvas
        The anywidget that paints; has the traits mu and log_var.
    """

    _limits: ClassVar[dict[str, tuple[float, float]]]
    """The ends of both sliders."""
    _step: ClassVar[float] = 0.05

    def __init__(self, canvas: anywidget.AnyWidget) -> None:
        labels = {"mu": ("μ", "Mean of q"), "log_var": ("log σ²", "Log-variance of q")}
        sliders = {
            trait: slider(label, getattr(canvas, trait), *self._limits[trait], step=self._step, name=name)
            for trait, (label, name) in labels.items()
        }
        super().__init__(canvas, sliders)

    @classmethod
    def _checked(cls, **values: Any) -> dict[str, float]:
        """Return what lies on the sliders, or say what is wrong with it."""
        return {trait: on_slider(trait, value, *cls._limits[trait]) for trait, value in values.items()}

    @property
    def mu(self) -> float:
        """Mean of q; set it to move slider and picture."""
        return float(self._sliders["mu"].value)

    @mu.setter
    def mu(self, value: float) -> None:
        self._move(**self._checked(mu=value))

    @property
    def log_var(self) -> float:
        """Log-variance of q; set it to move slider and picture."""
        return float(self._sliders["log_var"].value)

    @log_var.setter
    def log_var(self, value: float) -> None:
        self._move(**self._checked(log_var=value))
