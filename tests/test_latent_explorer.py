"""The latent explorer's Python side: sliders, links, what travels, and what is refused."""

import base64

import ipywidgets
import keras
import numpy as np
import pytest
from ipywidgets.widgets.widget_link import Link

from vae_lib import LatentExplorer, TrainConfig, build_vae
from vae_lib.plots import DIGIT_COLORS
from vae_lib.widgets.latent_explorer import LatentCanvas
from vae_lib.widgets.pack import pack_dense_layers

RNG = np.random.default_rng(0)
CODES, LABELS = RNG.normal(size=(30, 2)), np.arange(30) % 10


def make_vae(latent_dim=2, input_dim=9):
    return build_vae(TrainConfig(input_dim=input_dim, latent_dim=latent_dim, hidden=(4,)))


VAE = make_vae()


def parts(explorer):
    (canvas,) = (child for child in explorer.children if isinstance(child, LatentCanvas))
    return canvas, [child for child in explorer.children if isinstance(child, ipywidgets.FloatSlider)]


@pytest.mark.parametrize(
    ("latent_dim", "sliders", "expected"), [(1, None, 1), (2, None, 2), (5, 3, 3), (20, None, 10), (20, 1, 1)]
)
def test_there_is_a_slider_for_each_coordinate(latent_dim, sliders, expected):
    explorer = LatentExplorer(make_vae(latent_dim), sliders=sliders)
    canvas, found = parts(explorer)
    assert len(found) == canvas.sliders == expected
    assert [slider.description for slider in found][:2] == ["z₁", "z₂"][:expected]
    assert all((slider.min, slider.max) == (-3.5, 3.5) for slider in found)
    assert len(explorer.z) == latent_dim


def test_every_slider_is_linked_in_the_browser_to_its_coordinate():
    explorer = LatentExplorer(make_vae(10))
    canvas, sliders = parts(explorer)
    links = {(id(link.source[0]), link.source[1]): link.target for link in explorer._links}
    assert all(isinstance(link, Link) for link in explorer._links)
    assert {type(link).__name__ for link in explorer._links} == {"Link"}
    for i, slider in enumerate(sliders):
        target, name = links.pop((id(slider), "value"))
        assert target is canvas
        assert name == f"z{i}"
        assert canvas.trait_metadata(name, "sync")
    assert not links


def test_a_point_is_read_and_set():
    explorer = LatentExplorer(VAE, z=[0.5, -1])
    canvas, sliders = parts(explorer)
    assert explorer.z == (0.5, -1.0)
    assert (canvas.z0, canvas.z1) == (0.5, -1.0)
    explorer.z = np.array([1.25, 3.5])
    assert explorer.z == (1.25, 3.5)
    assert [slider.value for slider in sliders] == [1.25, 3.5]
    assert (canvas.z0, canvas.z1) == (1.25, 3.5)


def test_a_moved_slider_is_read():
    explorer = LatentExplorer(VAE)
    parts(explorer)[1][1].value = -2.2
    assert explorer.z == (0.0, -2.2)


def test_coordinates_without_a_slider_stay():
    explorer = LatentExplorer(make_vae(4), sliders=2, z=[0, 1, 2, 3])
    explorer.z = [1, 1, 2, 3]
    assert explorer.z == (1.0, 1.0, 2.0, 3.0)
    assert parts(explorer)[0].start == [0.0, 1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match=r"z: expected \(2.0, 3.0\) in the coordinates without a slider, got \(2.0, 2.0\)"):
        explorer.z = [1, 1, 2, 2]
    assert explorer.z == (1.0, 1.0, 2.0, 3.0)


def test_a_vae_and_its_decoder_are_the_same_to_it():
    whole, half = (parts(LatentExplorer(model))[0] for model in (VAE, VAE.decoder))
    assert whole.weights == half.weights == pack_dense_layers(VAE.decoder)[1]
    assert whole.layers == half.layers


def test_the_map_travels_as_half_floats_and_bytes():
    canvas, _ = parts(LatentExplorer(VAE, codes=CODES, labels=LABELS))
    np.testing.assert_allclose(np.frombuffer(canvas.codes, "<f2").reshape(-1, 2), CODES, rtol=2**-11, atol=2**-25)
    np.testing.assert_array_equal(np.frombuffer(canvas.labels, np.uint8), LABELS)
    assert canvas.colors == list(DIGIT_COLORS)


def test_without_codes_there_is_no_map():
    canvas, _ = parts(LatentExplorer(VAE))
    assert canvas.codes == canvas.labels == b""


def test_codes_of_more_dimensions_are_shown_by_their_first_two():
    canvas, _ = parts(LatentExplorer(VAE, codes=np.eye(4), labels=[0, 1, 2, 3]))
    assert np.frombuffer(canvas.codes, "<f2").tolist() == np.eye(4)[:, :2].ravel().tolist()


@pytest.mark.parametrize(
    ("pixels", "given", "expected"), [(9, None, [3, 3]), (6, (2, 3), [2, 3]), (6, [1, 6], [1, 6]), (784, None, [28, 28])]
)
def test_image_shapes(pixels, given, expected):
    assert parts(LatentExplorer(make_vae(input_dim=pixels), image_shape=given))[0].image_shape == expected


def test_a_still_picture_stands_in_where_no_javascript_runs():
    shown = LatentExplorer(VAE, codes=CODES, labels=LABELS, z=[1, -2])
    assert base64.b64decode(shown._repr_mimebundle_()["image/png"]).startswith(b"\x89PNG")
    is_there = "application/vnd.jupyter.widget-view+json" in shown._repr_mimebundle_()
    assert is_there == (int(ipywidgets.__version__.split(".")[0]) >= 8)  # ipywidgets 7 shows the widget by _ipython_display_
    plane, picture = shown._still().axes
    assert np.column_stack(plane.lines[-1].get_data()).tolist() == [[1.0, -2.0]]
    expected = np.asarray(keras.ops.sigmoid(VAE.decoder(np.array([[1.0, -2.0]], np.float32))))
    np.testing.assert_allclose(np.asarray(picture.images[0].get_array()).ravel(), expected[0], atol=2e-3)


def test_explorers_do_not_share_their_state():
    one, other = LatentExplorer(VAE), LatentExplorer(VAE)
    one.z = [1, 1]
    assert other.z == (0.0, 0.0)


BAD = {
    "no model": ({"model": None}, "expected a Keras model"),
    "an encoder": ({"model": VAE.encoder}, "got 2 outputs; give the decoder"),
    "too short a z": ({"z": [1.0]}, r"z: expected 2 finite numbers from -3.5 to 3.5, got \[1.0\]"),
    "z of rank 2": ({"z": [[0.0, 0.0]]}, "z: expected 2 finite numbers"),
    "z that is NaN": ({"z": [0.0, np.nan]}, "z: expected 2 finite numbers"),
    "z in words": ({"z": ["a", "b"]}, "z: expected 2 finite numbers"),
    "z beyond the limit": ({"z": [0.0, 3.6]}, "z: expected 2 finite numbers from -3.5 to 3.5"),
    "no sliders": ({"sliders": 0}, "sliders: expected 1 to 2, got 0"),
    "too many sliders": ({"sliders": 3}, "sliders: expected 1 to 2, got 3"),
    "1.5 sliders": ({"sliders": 1.5}, "sliders: expected 1 to 2, got 1.5"),
    "sliders=True": ({"sliders": True}, "sliders: expected 1 to 2, got True"),
    "a limit of 0": ({"limit": 0}, "limit: expected a finite number above 0, got 0"),
    "a negative limit": ({"limit": -1.0}, "limit: expected"),
    "an infinite limit": ({"limit": np.inf}, "limit: expected"),
    "a limit that is NaN": ({"limit": np.nan}, "limit: expected"),
    "a limit in words": ({"limit": "3"}, "limit: expected a finite number above 0, got '3'"),
    "other pixels": (
        {"image_shape": (2, 4)},
        r"image_shape: expected \(height, width\), 1 to 64 each, of 9 pixels, got \[2, 4\]",
    ),
    "negative sides": ({"image_shape": (-3, -3)}, "image_shape: expected"),
    "one side": ({"image_shape": 3}, "image_shape: expected"),
    "broken sides": ({"image_shape": (3.0, 3.0)}, "image_shape: expected"),
    "no square": ({"model": make_vae(input_dim=6)}, "image_shape: expected .* of 6 pixels"),
    "too large an image": ({"model": make_vae(input_dim=65 * 2), "image_shape": (65, 2)}, "1 to 64 each"),
    "codes without labels": ({"codes": CODES}, r"expected codes \(images, at least 2\) and labels \(images,\)"),
    "labels without codes": ({"labels": LABELS}, "expected codes"),
    "too few labels": ({"codes": CODES, "labels": LABELS[:5]}, r"got \(30, 2\) and \(5,\)"),
    "codes of one dimension": ({"codes": CODES[:, :1], "labels": LABELS}, "expected codes"),
    "codes that are NaN": ({"codes": CODES * np.nan, "labels": LABELS}, "codes: expected finite numbers"),
    "codes beyond float16": ({"codes": CODES * 1e6, "labels": LABELS}, "codes: expected numbers up to 65,504"),
    "a label of 10": ({"codes": CODES, "labels": LABELS + 1}, "labels: expected digits from 0 to 9"),
    "a label of 0.5": ({"codes": CODES, "labels": LABELS * 0.5}, "labels: expected digits from 0 to 9"),
    "labels in words": ({"codes": CODES[:2], "labels": ["one", "two"]}, "labels: expected digits from 0 to 9"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        LatentExplorer(**{"model": VAE} | arguments)


@pytest.mark.parametrize("z", [[0.0], [0.0, 9.0], [np.nan, 0.0], "ab", None])
def test_a_bad_point_is_refused_and_changes_nothing(z):
    explorer = LatentExplorer(VAE, z=[1, 1])
    with pytest.raises(ValueError, match="z: expected 2 finite numbers"):
        explorer.z = z
    assert explorer.z == (1.0, 1.0)
