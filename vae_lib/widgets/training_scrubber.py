"""The training scrubber: a slider over a recorded training, in which the latent plane and decoded digits take shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anywidget
import numpy as np
import traitlets
from numpy.typing import NDArray

from vae_lib.checks import as_array, check_codes, check_finite, check_limit, check_number, check_values
from vae_lib.plots import DIGIT_COLORS, NotebookFigure, digit_places
from vae_lib.widgets.bundle import bundle
from vae_lib.widgets.linked import LinkedWidget, slider, style

_WHOLE = 32767  # the largest 16-bit number: codes travel as shares of their largest coordinate


class SnapshotCanvas(anywidget.AnyWidget):
    """The traits that describe snapshots of a model, for every canvas that shows some."""

    codes = traitlets.Bytes().tag(sync=True)  # little-endian int16, (snapshots, images, 2)
    reach = traitlets.Float(1.0).tag(sync=True)  # the coordinate that 32767 stands for
    labels = traitlets.Bytes().tag(sync=True)
    places = traitlets.List(traitlets.Any()).tag(sync=True)  # of the digits' names in each snapshot: [[digit, x, y], …]
    decoded = traitlets.Bytes().tag(sync=True)  # uint8, (snapshots, points, pixels)
    columns = traitlets.Int(1).tag(sync=True)
    image_shape = traitlets.List(traitlets.Int()).tag(sync=True)
    colors = traitlets.List(traitlets.Unicode()).tag(sync=True)
    limits = traitlets.List(traitlets.Float()).tag(sync=True)  # half the side of the plane that is shown, in each snapshot


class ScrubberCanvas(SnapshotCanvas):
    """The picture above the slider: codes, decoded images and losses at one moment. Its traits are its contract."""

    _esm = bundle("training_scrubber.js")
    _css = style("training_scrubber.css")

    moment = traitlets.Float(0.0).tag(sync=True)  # 0 is the first snapshot, 1 the second, 1.5 halfway to the third
    epochs = traitlets.List(traitlets.Float()).tag(sync=True)
    train_loss = traitlets.List(traitlets.Any()).tag(sync=True)  # None where there is none
    test_loss = traitlets.List(traitlets.Float()).tag(sync=True)


class TrainingScrubber(LinkedWidget):
    """A slider over the snapshots of a training: the codes of test images wander, and decoded digits take shape.

    Between two snapshots everything moves on straight lines. The snapshots travel to the browser once; after that no kernel
    is needed.

    Parameters
    ----------
    recorder : TrainingRecorder
        A `TrainingRecorder` that has watched a training.
    epoch
        Where to start; by default before training.
    limit
        The plane is shown from −limit to limit; by default it holds 99.5 % of the last snapshot's codes, and widens where
        others reach further; at most 100 if given.

    Raises
    ------
    ValueError
        If there are fewer than two snapshots, they do not fit each other or hold what is not finite, images are not square, or an
        argument has the wrong form.
    """

    def __init__(self, recorder: Any, *, epoch: float | None = None, limit: float | None = None) -> None:
        snapshots = getattr(recorder, "snapshots", None)
        if not isinstance(snapshots, Sequence) or len(snapshots) < 2:
            got = f"{len(snapshots)}" if isinstance(snapshots, Sequence) else type(recorder).__name__
            raise ValueError(
                f"recorder: expected a TrainingRecorder with at least 2 snapshots, got {got}; "
                f"give it to train with callbacks=[recorder] first"
            )
        codes, decoded, labels = _checked_record(snapshots, getattr(recorder, "labels", None))
        limits = _limits(codes, limit)
        self._epochs = [float(snapshot.epoch) for snapshot in snapshots]
        start = self._moment_of(self._epochs[0] if epoch is None else epoch)
        canvas = ScrubberCanvas(
            moment=start, epochs=self._epochs, train_loss=[snapshot.loss for snapshot in snapshots],
            test_loss=[float(snapshot.test_loss) for snapshot in snapshots],
            **pack_snapshots(codes, decoded, labels, limits),
        )  # fmt: skip
        control = slider("training", start, 0.0, len(snapshots) - 1.0, name="Position in the training")
        control.step = 0.1
        control.layout.width = "calc(100% - 16px)"  # half the handle
        control.readout = False  # it counts snapshots; the epoch stands in the read-out above
        super().__init__(canvas, {"moment": control})

    @property
    def epoch(self) -> float:
        """Passes through the training images at the slider's place; set it to move the slider."""
        return float(np.interp(self._sliders["moment"].value, range(len(self._epochs)), self._epochs))

    @epoch.setter
    def epoch(self, epoch: float) -> None:
        self._move(moment=self._moment_of(epoch))

    def _moment_of(self, epoch: float) -> float:
        epoch = check_number("epoch", epoch, least=self._epochs[0], most=self._epochs[-1])
        return float(np.interp(epoch, self._epochs, range(len(self._epochs))))

    def _still(self) -> NotebookFigure:
        """Draw the first and the last snapshot."""
        canvas, count = self._canvas, len(self._epochs)
        codes = np.frombuffer(canvas.codes, "<i2").reshape(count, -1, 2) * (canvas.reach / _WHOLE)
        labels = np.frombuffer(canvas.labels, np.uint8)
        decoded = np.frombuffer(canvas.decoded, np.uint8).reshape(count, -1, *canvas.image_shape)
        figure = NotebookFigure(figsize=(6.4, 6.6), layout="constrained")
        for i, (plane, picture) in zip((0, count - 1), figure.subplots(2, 2), strict=True):
            for digit in np.unique(labels):
                plane.plot(*codes[i][labels == digit].T, ".", ms=2, alpha=0.6, color=DIGIT_COLORS[digit])
            for digit, x, y in canvas.places[i]:
                plane.text(x, y, str(digit), fontweight="bold", ha="center", va="center", clip_on=True)
            half = canvas.limits[i]
            plane.set(xlim=(-half, half), ylim=(-half, half), aspect="equal")
            plane.set(
                title=f"{self._epochs[i]:g} epochs, test loss {canvas.test_loss[i]:.1f} nats", xlabel="$z_1$", ylabel="$z_2$"
            )
            picture.imshow(_mosaic(decoded[i], canvas.columns), cmap="gray", vmin=0, vmax=255)
            picture.set(title="decoded from fixed z", xticks=[], yticks=[])
        return figure


def pack_snapshots(
    codes: NDArray[np.float64], decoded: NDArray[np.float32], labels: NDArray[np.int64], limits: list[float]
) -> dict[str, Any]:
    """Return what travels to the browser of every snapshot: codes as 16-bit numbers, decoded images as grey levels.

    Parameters
    ----------
    codes
        Codes of the same images in each snapshot, (snapshots, images, 2).
    decoded
        Probabilities of white at the same points in each snapshot, (snapshots, points, pixels).
    labels
        The digit of each image, (images,).
    limits
        Half the side of the plane that is shown, for each snapshot.

    Returns
    -------
    dict
        Values of the traits that describe snapshots.

    Raises
    ------
    ValueError
        If images are not square.
    """
    side = round(decoded.shape[2] ** 0.5)
    if side * side != decoded.shape[2]:
        raise ValueError(f"recorder: expected square images, got {decoded.shape[2]} pixels; record a model of square images")
    reach = float(np.abs(codes).max()) or 1.0
    return {
        "codes": np.round(codes * (_WHOLE / reach)).astype("<i2").tobytes(), "reach": reach,
        "labels": labels.astype(np.uint8).tobytes(),
        "places": [digit_places(codes[i], labels, apart=limits[i] / 9) for i in range(len(codes))],
        "decoded": np.round(255 * decoded).astype(np.uint8).tobytes(), "columns": _columns(decoded.shape[1]),
        "image_shape": [side, side], "colors": list(DIGIT_COLORS), "limits": limits,
    }  # fmt: skip


def _checked_record(snapshots: Sequence[Any], labels: Any) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.int64]]:
    """Return the first two coordinates of all codes, (snapshots, images, 2), all decoded images, and the labels."""
    wanted = ("epoch", "codes", "decoded", "loss", "test_loss")
    if not all(hasattr(snapshot, part) for snapshot in snapshots for part in wanted):
        raise ValueError(f"recorder: expected snapshots of {', '.join(wanted)}, got others; give a TrainingRecorder")
    codes, decoded = (_stacked(part, [getattr(snapshot, part) for snapshot in snapshots]) for part in ("codes", "decoded"))
    if codes.shape[2] < 2:
        raise ValueError(f"recorder: expected at least 2 latent dimensions, got {codes.shape[2]}; record a model with a plane")
    epochs = [check_number("recorder: epoch", snapshot.epoch, least=0) for snapshot in snapshots]
    if sorted(set(epochs)) != epochs:
        raise ValueError(f"recorder: expected growing epochs, got {epochs}; record one training")
    remedy = "training has diverged, train again with a lower learning rate"
    check_finite("recorder: codes", codes, remedy)
    check_finite("recorder: test losses", [snapshot.test_loss for snapshot in snapshots], remedy)
    check_finite("recorder: losses", [snapshot.loss for snapshot in snapshots if snapshot.loss is not None], remedy)
    _, digits = check_codes(codes[0], labels)
    return codes[..., :2].astype(float), check_values(decoded, "recorder: decoded"), digits


def _stacked(part: str, arrays: list[Any]) -> NDArray[Any]:
    """Return arrays of all snapshots as one, of three dimensions."""
    held = [as_array(array, f"recorder: {part}") for array in arrays]
    if len({array.shape for array in held}) > 1 or held[0].ndim != 2 or not held[0].size:
        shapes = sorted({array.shape for array in held})
        raise ValueError(f"recorder: expected {part} of one shape in all snapshots, got {shapes}; record one training")
    return np.stack(held)


def _limits(codes: NDArray[np.float64], limit: float | None) -> list[float]:
    """Half the side of the plane that is shown, for each snapshot."""
    if limit is None:
        reach = np.quantile(np.abs(codes), 0.995, axis=(1, 2)) * 1.15  # (snapshots,)
        least = float(reach[-1]) or 1.0  # a collapsed encoder puts all codes at the origin
        return [max(least, float(value)) for value in reach]
    return [check_limit(limit)] * len(codes)


def _columns(points: int) -> int:
    """Images in a row: the side of a square, else ten at most."""
    side = round(points**0.5)
    return side if side * side == points else min(points, 10)


def _mosaic(images: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    count, height, width = images.shape
    rows = -(-count // columns)
    padded = np.zeros((rows * columns, height, width), np.uint8)
    padded[:count] = images
    return padded.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
