"""The training scrubber: what travels, its link, its still picture, what it refuses; its JavaScript against NumPy."""

import base64
import gzip
import json
from types import SimpleNamespace

import numpy as np
import pytest
from in_node import in_node
from ipywidgets import FloatSlider
from scipy.interpolate import interp1d

from vae_lib import Snapshot, TrainingScrubber
from vae_lib.plots import DIGIT_COLORS
from vae_lib.widgets.training_scrubber import ScrubberCanvas

MOST_BYTES = 600_000  # of a page, gzipped, that a recorded training may take
EPOCHS = (0.0, 0.05, 1.0, 4.0)
RNG = np.random.default_rng(0)


def make_recorder(epochs=EPOCHS, images=30, points=4, pixels=9, latent_dim=2):
    """A record of random codes and images."""
    snapshots = [
        Snapshot(
            epoch,
            RNG.normal(size=(images, latent_dim)).astype(np.float32),
            RNG.random((points, pixels), dtype=np.float32),
            None if epoch == 0 else 200 / (1 + epoch),
            220 / (1 + epoch),
        )
        for epoch in epochs
    ]
    return SimpleNamespace(snapshots=snapshots, labels=np.arange(images) % 10)


RECORDER = make_recorder()


def parts(scrubber):
    canvas, control = scrubber.children
    assert isinstance(canvas, ScrubberCanvas)
    assert isinstance(control, FloatSlider)
    return canvas, control


def test_the_record_travels_to_within_half_a_step():
    canvas, _ = parts(TrainingScrubber(RECORDER))
    codes = np.stack([snapshot.codes for snapshot in RECORDER.snapshots])
    sent = np.frombuffer(canvas.codes, "<i2").reshape(codes.shape) * canvas.reach / 32767
    assert np.abs(sent - codes).max() <= 0.5001 * np.abs(codes).max() / 32767
    decoded = np.stack([snapshot.decoded for snapshot in RECORDER.snapshots])
    assert np.abs(np.frombuffer(canvas.decoded, np.uint8).reshape(decoded.shape) / 255 - decoded).max() <= 0.5001 / 255
    assert np.frombuffer(canvas.labels, np.uint8).tolist() == RECORDER.labels.tolist()
    assert canvas.epochs == list(EPOCHS)
    assert canvas.train_loss == [snapshot.loss for snapshot in RECORDER.snapshots]
    assert canvas.test_loss == [snapshot.test_loss for snapshot in RECORDER.snapshots]
    assert canvas.colors == list(DIGIT_COLORS)
    assert (canvas.columns, canvas.image_shape) == (2, [3, 3])
    assert [[name for name, *_ in places] for places in canvas.places] == [list(range(10))] * len(EPOCHS)
    json.dumps(canvas.get_state(["places", "train_loss", "limits", "epochs"]))  # a page's state is JSON


def test_the_slider_is_linked_in_the_browser_to_the_moment():
    scrubber = TrainingScrubber(RECORDER)
    canvas, control = parts(scrubber)
    (link,) = scrubber._links
    assert type(link).__name__ == "Link"
    assert (link.source, link.target) == ((control, "value"), (canvas, "moment"))
    assert (control.min, control.max, control.value) == (0, len(EPOCHS) - 1, 0)
    assert control.step <= 0.1  # finer than one epoch
    spoken = getattr(control, "tooltip", None) or control.description_tooltip  # ipywidgets 8, 7
    assert spoken == "Position in the training"


@pytest.mark.parametrize(("epoch", "moment"), [(0, 0), (0.025, 0.5), (0.05, 1), (1, 2), (2.5, 2.5), (4, 3)])
def test_an_epoch_is_set_and_read(epoch, moment):
    scrubber = TrainingScrubber(RECORDER)
    scrubber.epoch = epoch
    canvas, control = parts(scrubber)
    assert canvas.moment == control.value == pytest.approx(moment)
    assert scrubber.epoch == pytest.approx(epoch)
    assert parts(TrainingScrubber(RECORDER, epoch=epoch))[0].moment == pytest.approx(moment)


def test_the_plane_widens_where_codes_fly_out():
    recorder = make_recorder()
    recorder.snapshots[1] = recorder.snapshots[1]._replace(codes=10 * recorder.snapshots[1].codes)
    limits = parts(TrainingScrubber(recorder))[0].limits
    assert limits[1] > 3 * limits[-1]
    assert min(limits) == limits[-1]
    for snapshot, limit in zip(recorder.snapshots, limits, strict=True):
        assert (np.abs(snapshot.codes) <= limit).mean() > 0.99
    assert parts(TrainingScrubber(recorder, limit=2))[0].limits == [2.0] * 4
    flat = make_recorder()
    flat.snapshots[:] = [snapshot._replace(codes=0 * snapshot.codes) for snapshot in flat.snapshots]
    assert parts(TrainingScrubber(flat))[0].limits == [1.0] * 4


def test_codes_of_more_dimensions_are_shown_by_their_first_two():
    recorder = make_recorder(latent_dim=5)
    canvas, _ = parts(TrainingScrubber(recorder))
    sent = np.frombuffer(canvas.codes, "<i2").reshape(len(EPOCHS), 30, 2) * canvas.reach / 32767
    np.testing.assert_allclose(sent[2], recorder.snapshots[2].codes[:, :2], atol=1e-3)


@pytest.mark.parametrize(("points", "columns"), [(1, 1), (3, 3), (25, 5), (12, 10)])
def test_the_still_picture_shows_first_and_last(points, columns):
    recorder = make_recorder(points=points)
    scrubber = TrainingScrubber(recorder)
    assert parts(scrubber)[0].columns == columns
    first, picture, last, _ = scrubber._still().axes
    assert "0 epochs" in first.get_title()
    assert "4 epochs" in last.get_title()
    drawn = np.concatenate([np.column_stack(line.get_data()) for line in last.lines])
    np.testing.assert_allclose(np.sort(drawn[:, 0]), np.sort(recorder.snapshots[-1].codes[:, 0]), atol=1e-3)
    corner = np.asarray(picture.images[0].get_array())[:3, :3].ravel() / 255
    np.testing.assert_allclose(corner, recorder.snapshots[0].decoded[0], atol=0.51 / 255)


def test_a_page_holds_it_in_600_kilobytes_however_little_can_be_compressed():
    """As many snapshots, images and points as the chapter has, all of it noise."""
    recorder = make_recorder(epochs=range(15), images=1500, points=25, pixels=784)
    canvas, _ = parts(TrainingScrubber(recorder))
    state = canvas.get_state()
    embedded = {
        key: base64.b64encode(value).decode() if isinstance(value, bytes | memoryview) else value for key, value in state.items()
    }
    assert len(gzip.compress(json.dumps(embedded, default=str).encode())) < MOST_BYTES


def changed(**changes):
    recorder = make_recorder()
    recorder.snapshots[-1] = recorder.snapshots[-1]._replace(**changes)
    return {"recorder": recorder}


BAD = {
    "no recorder": ({"recorder": [1, 2]}, "recorder: expected a TrainingRecorder with at least 2 snapshots, got list"),
    "an empty record": ({"recorder": make_recorder(epochs=())}, "at least 2 snapshots, got 0; give it to train"),
    "one snapshot": ({"recorder": make_recorder(epochs=(0.0,))}, "at least 2 snapshots, got 1"),
    "a line for a plane": ({"recorder": make_recorder(latent_dim=1)}, "expected at least 2 latent dimensions, got 1"),
    "images that are no squares": ({"recorder": make_recorder(pixels=6)}, "expected square images, got 6 pixels"),
    "codes that are NaN": (changed(codes=np.full((30, 2), np.nan)), "recorder: codes: expected finite numbers, got NaN"),
    "a limit of 0": ({"limit": 0}, "limit: expected a finite number above 0 and at most 100.0, got 0"),
    "an infinite limit": ({"limit": np.inf}, "limit: expected a finite number above 0 and at most 100.0, got inf"),
    "a limit in words": ({"limit": "wide"}, "limit: expected a finite number above 0 and at most 100.0, got 'wide'"),
    "limit=True": ({"limit": True}, "limit: expected"),
    "a negative epoch": ({"epoch": -1}, "epoch: expected a finite number from 0.0 to 4.0, got -1"),
    "an epoch to come": ({"epoch": 4.1}, "epoch: expected a finite number from 0.0 to 4.0, got 4.1"),
    "an epoch that is NaN": ({"epoch": np.nan}, "epoch: expected a finite number from 0.0 to 4.0, got nan"),
    "an epoch in words": ({"epoch": "last"}, "epoch: expected a finite number from 0.0 to 4.0, got 'last'"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        TrainingScrubber(**{"recorder": RECORDER} | arguments)


def test_a_bad_epoch_is_refused_and_changes_nothing():
    scrubber = TrainingScrubber(RECORDER, epoch=1)
    with pytest.raises(ValueError, match=r"epoch: expected a finite number from 0\.0 to 4\.0"):
        scrubber.epoch = 5
    assert scrubber.epoch == 1


SCRIPT = """
import { between, blendInto, mosaic, unpackCodes, valueAt } from "./training_scrubber_maths.js";
const { codes, reach, decoded, epochs, columns, shape, moments } = given;
const bytes = (encoded) => Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0));
const images = bytes(decoded);
const all = unpackCodes(new DataView(bytes(codes).buffer), reach, bytes(codes).length / 2);
answer(moments.map((moment) => {
  const now = between(moment, epochs.length);
  const levels = blendInto(new Uint8ClampedArray(images.length / epochs.length), images, now);
  const { rgba } = mosaic(levels, shape, columns);
  return {
    codes: [...blendInto(new Float32Array(all.length / epochs.length), all, now)],
    grey: [...rgba].filter((_, i) => i % 4 === 0),
    epoch: valueAt(epochs, now),
  };
}));
"""


def test_between_snapshots_the_browser_interpolates_as_scipy_does():
    canvas, _ = parts(TrainingScrubber(RECORDER))
    moments = [0, 0.3, 1, 1.95, 2, 2.5, 3, *RNG.uniform(0, 3, 10)]
    given = {
        "codes": base64.b64encode(canvas.codes).decode(), "reach": canvas.reach, "epochs": canvas.epochs, "moments": moments,
        "decoded": base64.b64encode(canvas.decoded).decode(), "columns": canvas.columns, "shape": canvas.image_shape,
    }  # fmt: skip
    grid = range(len(EPOCHS))
    codes = interp1d(grid, [snapshot.codes.ravel() for snapshot in RECORDER.snapshots], axis=0)(moments)
    decoded = interp1d(grid, [snapshot.decoded for snapshot in RECORDER.snapshots], axis=0)(moments)  # (moments, 4, 9)
    rows = decoded.reshape(-1, 2, 2, 3, 3).swapaxes(2, 3).reshape(len(moments), -1)  # two images a row
    for i, answer in enumerate(in_node(SCRIPT, given)):
        np.testing.assert_allclose(answer["codes"], codes[i], atol=1e-4 * canvas.reach)
        np.testing.assert_allclose(np.array(answer["grey"]) / 255, rows[i], atol=1.01 / 255)
        assert answer["epoch"] == pytest.approx(np.interp(moments[i], grid, EPOCHS))
