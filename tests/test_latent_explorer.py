"""The latent explorer's Python side: sliders, links, what travels, and what is refused."""

import ipywidgets
import keras
import numpy as np
import pytest
import traitlets
from ipywidgets.widgets.widget_link import Link

from vae_lib import LatentExplorer, TrainConfig, build_vae
from vae_lib.plots import DIGIT_COLORS
from vae_lib.widgets.latent_explorer import LatentCanvas
from vae_lib.widgets.pack import pack_dense_layers, run_packed_encoder

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


def test_coordinates_without_a_slider_stay_until_z_is_set():
    explorer = LatentExplorer(make_vae(4), sliders=2, z=[0, 1, 2, 3])
    canvas, sliders = parts(explorer)
    sliders[0].value = 1
    assert explorer.z == (1.0, 1.0, 2.0, 3.0)
    explorer.z = [1, 1, 2, 2.5]
    assert explorer.z == (1.0, 1.0, 2.0, 2.5)
    assert canvas.start == [1.0, 1.0, 2.0, 2.5]
    canvas.start = [9.0, 9.0, 0.0, 0.5]  # as the browser does, for an image's code; the sliders have the first two
    assert explorer.z == (1.0, 1.0, 0.0, 0.5)


def test_z_and_image_can_be_observed():
    explorer = LatentExplorer(VAE)
    heard = []
    explorer.observe(heard.append, ["z", "image"])
    parts(explorer)[1][0].value = 1.5
    assert [change["name"] for change in heard] == ["image", "z"]
    assert heard[1]["new"] == (1.5, 0.0)
    explorer.z = [-1, 2]  # two sliders move: z changes once
    assert [change["new"] for change in heard if change["name"] == "z"] == [(1.5, 0.0), (-1.0, 2.0)]
    decoded = keras.ops.sigmoid(VAE.decoder(np.array([[-1.0, 2.0]], np.float32)))
    np.testing.assert_allclose(explorer.image, np.reshape(decoded, (3, 3)), atol=2e-3)
    with pytest.raises(traitlets.TraitError, match="read-only"):
        explorer.image = np.zeros((3, 3))


IMAGES = RNG.integers(0, 256, size=(30, 9)) / 255


def test_images_bring_codes_an_encoder_and_examples():
    explorer = LatentExplorer(VAE, images=IMAGES, labels=LABELS)
    canvas, sliders = parts(explorer)
    mu, log_var = (keras.ops.convert_to_numpy(part) for part in VAE.encoder(IMAGES.astype(np.float32)))
    for packed, expected in ((canvas.codes, mu), (canvas.spreads, log_var)):
        np.testing.assert_allclose(np.frombuffer(packed, "<f2").reshape(-1, 2), expected, rtol=2**-11, atol=2**-14)
    for found, expected in zip(
        run_packed_encoder(canvas.encoder_layers, canvas.encoder_weights, IMAGES), (mu, log_var), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=2e-3)
    assert len(canvas.example_indices) == 30
    np.testing.assert_array_equal(np.frombuffer(canvas.example_labels, np.uint8), np.tile(np.arange(10), 3))
    levels = np.frombuffer(canvas.examples, np.uint8).reshape(30, 9)
    np.testing.assert_allclose(levels / 255, IMAGES[canvas.example_indices], atol=1e-9)
    place = explorer.children[-1]
    assert type(place) is ipywidgets.Box
    assert explorer.children == (canvas, *sliders, place)


def test_without_images_no_encoder_travels():
    for explorer in (LatentExplorer(VAE), LatentExplorer(VAE, codes=CODES, labels=LABELS)):
        canvas, sliders = parts(explorer)
        assert explorer.children == (canvas, *sliders)
        assert canvas.encoder_weights == canvas.examples == canvas.thumbs == canvas.spreads == b""


@pytest.mark.parametrize(("shape", "small"), [((3, 3), [3, 3]), ((64, 64), [32, 32]), ((40, 2), [20, 1])])
def test_small_images_are_means_of_blocks_in_four_greys(shape, small):
    pixels = shape[0] * shape[1]
    images = np.random.default_rng(1).random((3, pixels))
    canvas, _ = parts(LatentExplorer(make_vae(input_dim=pixels), images=images, labels=[0, 1, 2], image_shape=shape))
    assert canvas.thumb_shape == small
    unpacked = np.stack([np.frombuffer(canvas.thumbs, np.uint8) >> shift & 3 for shift in (0, 2, 4, 6)], axis=1).ravel()
    factor = shape[0] // small[0]
    for i, image in enumerate(images.reshape(3, *shape)):
        for row in range(small[0]):
            for column in range(small[1]):
                block = image[row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
                found = unpacked[(i * small[0] + row) * small[1] + column] / 3
                assert abs(found - block.mean()) <= 1 / 6 + 1e-9


@pytest.mark.backends
def test_encode_moves_the_point_and_shows_the_image():
    explorer = LatentExplorer(VAE, images=IMAGES, labels=LABELS)
    assert explorer.given is None
    heard = []
    explorer.observe(heard.append, ["z", "given"])
    mu, log_var = explorer.encode(IMAGES[4].reshape(3, 3))
    for found, expected in zip((mu, log_var), VAE.encoder(IMAGES[4:5].astype(np.float32)), strict=True):
        np.testing.assert_allclose(found, keras.ops.convert_to_numpy(expected)[0], atol=1e-5)
    np.testing.assert_allclose(explorer.z, mu, atol=1e-6)
    np.testing.assert_allclose(explorer.given, IMAGES[4].reshape(3, 3), atol=1e-6)
    assert np.frombuffer(parts(explorer)[0].given, np.uint8).tolist() == np.round(255 * IMAGES[4]).tolist()
    assert [change["name"] for change in heard] == ["given", "z"]
    np.testing.assert_array_equal(explorer.encode(IMAGES[4])[0], mu)


def test_a_code_beyond_the_sliders_stops_at_their_end():
    explorer = LatentExplorer(VAE, images=IMAGES, labels=LABELS, limit=0.01)
    mu, _ = explorer.encode(IMAGES[0])
    assert np.abs(mu).max() > 0.01
    np.testing.assert_allclose(explorer.z, np.clip(mu, -0.01, 0.01))


@pytest.mark.parametrize(
    "image", [np.zeros(8), np.zeros((9, 1)), np.full(9, 1.5), np.full(9, np.nan), "a", None, np.full(9, -0.1)]
)
def test_an_image_of_another_form_is_not_encoded(image):
    explorer = LatentExplorer(VAE, images=IMAGES, labels=LABELS)
    with pytest.raises(ValueError, match=r"image: expected \(3, 3\) or \(9,\) values in \[0, 1\]"):
        explorer.encode(image)
    assert explorer.given is None


def test_without_an_encoder_nothing_is_encoded():
    with pytest.raises(ValueError, match="encode: expected an explorer with an encoder"):
        LatentExplorer(VAE, codes=CODES, labels=LABELS).encode(IMAGES[0])


@pytest.mark.backends
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


@pytest.mark.backends
def test_the_still_picture_shows_the_point_and_its_image():
    shown = LatentExplorer(VAE, codes=CODES, labels=LABELS, z=[1, -2])
    plane, picture = shown._still().axes
    assert np.column_stack(plane.lines[-1].get_data()).tolist() == [[1.0, -2.0]]
    expected = keras.ops.convert_to_numpy(keras.ops.sigmoid(VAE.decoder(np.array([[1.0, -2.0]], np.float32))))
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
    "no sliders": ({"sliders": 0}, "sliders: expected a whole number from 1 to 2, got 0"),
    "too many sliders": ({"sliders": 3}, "sliders: expected a whole number from 1 to 2, got 3"),
    "1.5 sliders": ({"sliders": 1.5}, "sliders: expected a whole number from 1 to 2, got 1.5"),
    "sliders=True": ({"sliders": True}, "sliders: expected a whole number from 1 to 2, got True"),
    "a limit of 0": ({"limit": 0}, "limit: expected a finite number above 0 and at most 100.0, got 0"),
    "a negative limit": ({"limit": -1.0}, "limit: expected"),
    "an infinite limit": ({"limit": np.inf}, "limit: expected"),
    "a limit that is NaN": ({"limit": np.nan}, "limit: expected"),
    "a limit in words": ({"limit": "3"}, "limit: expected a finite number above 0 and at most 100.0, got '3'"),
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
    "images without labels": ({"images": IMAGES}, "expected codes"),
    "images and codes": ({"images": IMAGES, "codes": CODES, "labels": LABELS}, "codes: expected none beside images"),
    "images for a decoder alone": ({"model": VAE.decoder, "images": IMAGES, "labels": LABELS}, "images: expected a VAE"),
    "images of other pixels": (
        {"images": IMAGES[:, :8], "labels": LABELS},
        r"images: expected shape \(images, 9\) .* got \(30, 8\); the model takes images of 9 pixels",
    ),
    "no images": ({"images": IMAGES[:0], "labels": LABELS[:0]}, "images: expected"),
    "too many images": ({"images": np.zeros((5001, 9)), "labels": np.zeros(5001, int)}, "1 to 5,000 of them, got"),
    "images in words": ({"images": [["a"] * 9], "labels": [1]}, "images: expected"),
    "images up to 255": ({"images": 255 * IMAGES, "labels": LABELS}, r"values in \[0, 1\], got .* divide bytes by 255"),
    "images that are NaN": ({"images": np.nan * IMAGES, "labels": LABELS}, r"values in \[0, 1\], got nan"),
    "images on a line": ({"model": make_vae(1), "images": IMAGES, "labels": LABELS}, "at least 2 latent dimensions"),
    "labels in words": ({"codes": CODES[:2], "labels": ["one", "two"]}, "labels: expected numbers, got .*; give digits"),
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
