"""The conditional explorer: what travels, its links, its still picture, what it refuses; its JavaScript against Keras."""

import base64

import keras
import numpy as np
import pytest
from in_node import in_node
from ipywidgets import FloatSlider

from vae_lib import ConditionalExplorer, TrainConfig, build_vae
from vae_lib.widgets.conditional_explorer import ConditionalCanvas

SCRIPT = """
import { unpackLayers } from "./network.js";
import { everyLabel } from "./conditional_explorer_maths.js";
const bytes = Buffer.from(given.weights, "base64");
const layers = unpackLayers(given.layers, new DataView(bytes.buffer, bytes.byteOffset, bytes.length));
answer(given.points.map((z) => everyLabel(layers, z, given.classes).map((row) => [...row])));
"""
CONFIG = TrainConfig(input_dim=9, latent_dim=2, hidden=(6,), classes=4, seed=1)


def make_vae(config=CONFIG):
    """A conditional VAE whose weights are numbers of 16 bits, so that packing changes nothing."""
    vae, rng = build_vae(config), np.random.default_rng(0)
    for variable in [*vae.encoder.variables, *vae.decoder.variables]:
        variable.assign(rng.normal(size=variable.shape).astype(np.float16))
    return vae


VAE = make_vae()


def parts(explorer):
    canvas, *sliders = explorer.children
    assert isinstance(canvas, ConditionalCanvas)
    assert all(isinstance(slider, FloatSlider) for slider in sliders)
    return canvas, sliders


def test_one_slider_picks_the_label_and_the_others_move_z():
    explorer = ConditionalExplorer(VAE, digit=3, z=[0.5, -1], limit=2.5)
    canvas, (digit, *others) = parts(explorer)
    assert (digit.min, digit.max, digit.step, digit.value, digit.description) == (0, 3, 1, 3, "digit")
    assert [(slider.description, slider.min, slider.max, slider.value) for slider in others] == [
        ("z₁", -2.5, 2.5, 0.5), ("z₂", -2.5, 2.5, -1.0),
    ]  # fmt: skip
    assert (canvas.digit, canvas.z0, canvas.z1) == (3, 0.5, -1)
    assert (explorer.digit, explorer.z) == (3, (0.5, -1.0))


def test_every_slider_is_linked_in_the_browser():
    explorer = ConditionalExplorer(VAE)
    canvas, sliders = parts(explorer)
    found = {link.target[1]: (type(link).__name__, link.source, link.target[0]) for link in explorer._links}
    assert found == {
        name: ("Link", (slider, "value"), canvas) for name, slider in zip(("digit", "z0", "z1"), sliders, strict=True)
    }
    assert all(canvas.trait_metadata(name, "sync") for name in found)


def test_label_and_point_are_read_and_set():
    explorer = ConditionalExplorer(VAE)
    explorer.digit, explorer.z = 2, np.array([1.0, -2.0])
    canvas, sliders = parts(explorer)
    assert (canvas.digit, canvas.z0, canvas.z1) == (2, 1, -2)
    assert [slider.value for slider in sliders] == [2, 1, -2]
    sliders[0].value = 1
    assert explorer.digit == 1
    for name, value in (("digit", 4), ("z", [0.0]), ("z", [0.0, 9.0])):
        with pytest.raises(ValueError, match=f"{name}: expected"):
            setattr(explorer, name, value)
    assert (explorer.digit, explorer.z) == (1, (1.0, -2.0))


def keras_says(vae, z):
    """Logits of one z under every label."""
    count = vae.config.classes
    return keras.ops.convert_to_numpy(vae.decoder([np.tile(np.float32(z), (count, 1)), np.eye(count, dtype=np.float32)]))


@pytest.mark.parametrize("config", [CONFIG, CONFIG.replace(hidden=(5, 7), latent_dim=10, classes=10)])
@pytest.mark.backends
def test_the_browser_decodes_every_label_as_keras_does(config):
    vae = make_vae(config)
    canvas, _ = parts(ConditionalExplorer(vae))
    points = np.random.default_rng(1).uniform(-3, 3, size=(20, config.latent_dim)).round(2)
    given = {
        "weights": base64.b64encode(canvas.weights).decode(), "layers": canvas.layers,
        "points": points.tolist(), "classes": config.classes,
    }  # fmt: skip
    np.testing.assert_allclose(in_node(SCRIPT, given), [keras_says(vae, z) for z in points], rtol=1e-4, atol=1e-3)


@pytest.mark.backends
def test_the_still_picture_shows_what_keras_decodes():
    explorer = ConditionalExplorer(VAE, digit=2, z=[1, 0.5])
    shown = [axes for axes in explorer._still().axes if axes.images]
    expected = 1 / (1 + np.exp(-keras_says(VAE, [1, 0.5])))
    np.testing.assert_allclose([axes.images[0].get_array().ravel() for axes in shown], expected, atol=1e-4)
    assert [axes.get_xlabel() for axes in shown] == ["0", "1", "2, chosen", "3"]


BAD = {
    "no VAE": ({"vae": "mnist"}, "vae: expected a conditional VAE, got str"),
    "no labels": ({"vae": build_vae(CONFIG.replace(classes=0))}, "vae: expected a conditional VAE, got one without labels"),
    "not square": ({"vae": build_vae(CONFIG.replace(input_dim=10))}, "got 10 pixels and 2 dimensions"),
    "too many dimensions": (
        {"vae": build_vae(CONFIG.replace(latent_dim=11))},
        "at most 10 latent dimensions, got 9 pixels and 11",
    ),
    "tanh": ({"vae": build_vae(CONFIG.replace(activation="tanh"))}, "relu or linear"),
    "another digit": ({"digit": 4}, "digit: expected a whole number from 0 to 3, got 4"),
    "half a digit": ({"digit": 0.5}, "digit: expected a whole number"),
    "true": ({"digit": True}, "digit: expected a whole number"),
    "too few coordinates": ({"z": [0.0]}, "z: expected 2 finite numbers from -3.0 to 3.0"),
    "too far": ({"z": [0.0, 3.1]}, "z: expected 2 finite numbers"),
    "words": ({"z": "ab"}, "z: expected 2 finite numbers"),
    "no room": ({"limit": 0}, "limit: expected a finite number above 0 and at most 100.0, got 0"),
    "no end": ({"limit": np.inf}, "limit: expected a finite number above 0 and at most 100.0, got inf"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        ConditionalExplorer(**{"vae": VAE} | arguments)
