"""The walk through a hole: densities against SciPy, the way around against the straight one, images against Keras; refusals."""

import numpy as np
import pytest
from ipywidgets.widgets.widget_link import Link
from keras import ops
from scipy import special, stats

import vae_lib

START, END = (-2.0, 0.0), (2.0, 0.0)


@pytest.fixture(scope="module")
def ring():
    """Codes on the upper half of a ring of radius 2: between its ends, nothing."""
    angle = np.linspace(0, np.pi, 200)
    return 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1), np.full((200, 2), 2 * np.log(0.2))


@pytest.fixture(scope="module")
def vae():
    return vae_lib.build_vae(vae_lib.TrainConfig(input_dim=16, hidden=(8,), seed=1))


@pytest.fixture(scope="module")
def walk(vae, ring):
    return vae_lib.HoleWalk(vae, *ring, START, END)


def paths(walk):
    return np.frombuffer(walk._canvas.paths, "<f4").reshape(2, -1, 4)


def test_the_straight_way_is_straight_and_the_way_around_follows_the_codes(walk):
    np.testing.assert_allclose(walk.straight, np.linspace(START, END, 61))
    np.testing.assert_allclose(walk.around[[0, -1]], [START, END])
    assert (np.abs(np.linalg.norm(walk.around, axis=1) - 2) < 0.25).all()
    assert walk.around[30, 1] > 1.75
    steps = np.linalg.norm(np.diff(walk.around, axis=0), axis=1)
    assert steps.std() < 0.05 * steps.mean()


def test_densities_along_both_ways_are_scipys(walk, ring):
    mu, log_var = ring
    for way, found in zip((walk.straight, walk.around), paths(walk), strict=True):
        np.testing.assert_allclose(found[:, :2], way, atol=1e-6)
        np.testing.assert_allclose(found[:, 2], stats.multivariate_normal([0, 0]).logpdf(way), atol=1e-5)
        each = stats.norm(mu, np.exp(0.5 * log_var)).logpdf(way[:, None]).sum(axis=-1)
        np.testing.assert_allclose(found[:, 3], special.logsumexp(each, axis=1) - np.log(len(mu)), rtol=1e-5)
    straight, around = paths(walk)
    assert around[:, 3].min() > straight[:, 3].min() + 20


def test_the_images_are_what_keras_decodes(walk, vae):
    found = np.frombuffer(walk._canvas.decoded, np.uint8).reshape(2, 61, 16)
    for way, images in zip((walk.straight, walk.around), found, strict=True):
        expected = 255 * ops.convert_to_numpy(ops.sigmoid(vae.decoder(way.astype("float32"))))
        assert np.abs(images - expected).max() <= 0.51


def test_the_slider_is_linked_in_the_browser_and_named(walk):
    (slider,) = walk._sliders.values()
    assert [type(link) for link in walk._links] == [Link]
    assert (getattr(slider, "tooltip", None) or slider.description_tooltip) == "How far along both ways"
    walk.share = 0.5
    assert walk.share == 0.5
    assert walk._canvas.place == 30.0 == slider.value


BAD = {
    "off the map": ({"start": (5.0, 0.0)}, "start: expected two numbers from -4.5 to 4.5"),
    "one number": ({"end": (1.0,)}, "end: expected two numbers"),
    "NaN": ({"end": (np.nan, 0.0)}, "end: expected two numbers"),
    "limit": ({"limit": 0}, "limit: expected a finite number above 0 and at most 100.0, got 0"),
    "no model": ({"vae": None}, "vae: expected a VAE with two latent dimensions"),
    "codes": ({"mu": np.zeros((3, 3)), "log_var": np.zeros((3, 3))}, "expected z"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_bad_input(vae, ring, changes, message):
    arguments = {"vae": vae, "mu": ring[0], "log_var": ring[1], "start": START, "end": END, **changes}
    with pytest.raises(ValueError, match=message):
        vae_lib.HoleWalk(**arguments)


@pytest.mark.parametrize("share", [-0.1, 1.1, None, float("nan"), True])
def test_a_bad_share_is_refused(walk, share):
    with pytest.raises(ValueError, match="share: expected a finite number from 0 to 1"):
        walk.share = share
