"""The beta scrubber: rate and distortion against the library's bound, planes turned without loss, images against Keras."""

import numpy as np
import pytest
from ipywidgets.widgets.widget_link import Link
from keras import ops

import vae_lib
from vae_lib.widgets.beta_scrubber import _turn


@pytest.fixture(scope="module")
def models():
    config = vae_lib.TrainConfig(input_dim=16, hidden=(8,))
    return {
        4: vae_lib.build_vae(config.replace(seed=1)),
        0.5: vae_lib.build_vae(config),
        1.0: vae_lib.build_vae(config.replace(seed=2)),
    }


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(0)
    return random.random((40, 16), dtype=np.float32), random.integers(10, size=40)


@pytest.fixture(scope="module")
def scrubber(models, images):
    return vae_lib.BetaScrubber(models, *images)


def test_models_stand_in_the_order_of_beta_with_their_own_numbers(scrubber, models, images):
    canvas = scrubber._canvas
    assert canvas.betas == [0.5, 1.0, 4.0]
    for beta, rate, distortion in zip(canvas.betas, canvas.rates, canvas.distortions, strict=True):
        terms = vae_lib.elbo(models[beta], images[0], samples=200, seed=9)
        assert rate == pytest.approx(terms.kl.mean(), rel=1e-5)
        assert distortion == pytest.approx(terms.reconstruction.mean(), abs=0.5)


def test_planes_are_turned_as_a_whole_and_the_images_with_them(scrubber, models, images):
    canvas = scrubber._canvas
    codes = np.frombuffer(canvas.codes, "<i2").reshape(3, -1, 2) * canvas.reach / 32767
    decoded = np.frombuffer(canvas.decoded, np.uint8).reshape(3, 25, 16)
    z = vae_lib.TrainingRecorder(images[0], images[1]).z_of(2)
    for i, beta in enumerate(canvas.betas):
        own = ops.convert_to_numpy(models[beta].encoder(images[0])[0]).astype(float)
        turn = np.linalg.lstsq(own, codes[i], rcond=None)[0]
        np.testing.assert_allclose(turn @ turn.T, np.eye(2), atol=2e-3)
        expected = 255 * ops.convert_to_numpy(ops.sigmoid(models[beta].decoder((z @ turn.T).astype("float32"))))
        assert np.abs(decoded[i] - expected).max() < 1.5


def test_a_turn_is_undone_whatever_it_was():
    random = np.random.default_rng(3)
    codes = random.standard_normal((50, 2))
    for angle, mirror in ((0.7, 1), (2.5, -1)):
        turned = codes @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([1, mirror])
        np.testing.assert_allclose(turned @ _turn(turned, codes), codes, atol=1e-12)


def test_beta_moves_the_slider(scrubber):
    (slider,) = scrubber._sliders.values()
    assert [type(link) for link in scrubber._links] == [Link]
    assert (getattr(slider, "tooltip", None) or slider.description_tooltip) == "Which beta, from the smallest to the largest"
    scrubber.beta = 4
    assert (scrubber.beta, scrubber._canvas.number, slider.value) == (4.0, 2.0, 2.0)
    with pytest.raises(ValueError, match=r"beta: expected one of 0\.5, 1, 4, got 2"):
        scrubber.beta = 2
    assert scrubber.beta == 4


def test_bad_input(models, images):
    x, labels = images
    one = models[1.0]
    for bad, message in (
        ({1.0: one}, "at least 2 betas, got 1"),
        ([one], "at least 2 betas, got list"),
        ({1.0: one, -1.0: one}, "models: beta: expected a finite number of at least 0, got"),
        ({1.0: one, 2.0: None}, "a VAE with two latent dimensions, got NoneType"),
        ({1.0: one, "two": one}, "models: beta: expected a finite number of at least 0, got"),
    ):
        with pytest.raises(ValueError, match=message):
            vae_lib.BetaScrubber(bad, x, labels)
    with pytest.raises(ValueError, match="expected codes"):
        vae_lib.BetaScrubber(models, x, labels[:5])
    with pytest.raises(ValueError, match="beta: expected one of"):
        vae_lib.BetaScrubber(models, x, labels, beta=3)
