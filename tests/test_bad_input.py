"""Bad images, models and configurations, wherever the library takes them: each a clear error before anything happens.

The values of one function alone (seeds, plots, files, widgets) are tested beside it.
"""

import numpy as np
import pytest

import vae_lib
from vae_lib import TrainConfig, build_vae, train

VAE = build_vae(TrainConfig(hidden=(4,), epochs=1))
GOOD = np.full((4, 784), 0.5, np.float32)


def spoilt(value):
    x = GOOD.astype(float)
    x[2, 300] = value
    return x


IMAGES = {
    "rank 1": (GOOD[0], r"expected shape \(images, 784\) with at least one image, got \(784,\); flatten images"),
    "rank 3": (GOOD.reshape(4, 28, 28), r"got \(4, 28, 28\); flatten images with x.reshape"),
    "rank 0": (np.float32(0.5), r"got \(\)"),
    "too narrow": (GOOD[:, :783], r"got \(4, 783\)"),
    "no image": (GOOD[:0], r"got \(0, 784\)"),
    "no pixel": (GOOD[:, :0], r"got \(4, 0\)"),
    "bytes": (np.full((4, 784), 255, np.uint8), r"expected values in \[0, 1\], got 255 to 255; divide bytes by 255"),
    "NaN": (spoilt(np.nan), r"expected values in \[0, 1\], got nan to nan; divide bytes by 255, drop NaNs"),
    "infinite": (spoilt(np.inf), r"expected values in \[0, 1\], got 0.5 to inf"),
    "beyond float32": (spoilt(1e300), r"expected values in \[0, 1\], got 0.5 to 1e\+300"),
    "negative": (spoilt(-0.001), r"expected values in \[0, 1\], got -0.001 to 0.5"),
    "above one": (spoilt(1.001), r"expected values in \[0, 1\], got 0.5 to 1.001"),
    "complex": (GOOD.astype(complex), "expected numbers, got an array of complex128"),
    "words": ([["black", "white"]], "expected numbers, got an array of <U5"),
    "objects": (np.full((4, 784), None), "expected numbers, got an array of object"),
    "ragged": ([[0.1], [0.2, 0.3]], "expected numbers, got setting an array element"),
    "None": (None, "expected numbers, got an array of object"),
}


@pytest.mark.parametrize("argument", ["x", "validation"])
@pytest.mark.parametrize(("x", "message"), IMAGES.values(), ids=IMAGES)
def test_images_that_cannot_be_trained_on(argument, x, message):
    if argument == "validation" and x is None:
        x = [None]  # validation=None means none
    before = [np.asarray(weight) for weight in VAE.get_weights()]
    with pytest.raises(ValueError, match=f"{argument}: .*{message}"):
        train(VAE, **{"x": GOOD, "progress": False} | {argument: x})
    for one, other in zip(VAE.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("x", "message"), IMAGES.values(), ids=IMAGES)
def test_images_that_cannot_be_evaluated(x, message):
    with pytest.raises(ValueError, match=message):
        vae_lib.elbo(VAE, x, seed=0)


@pytest.mark.parametrize("model", [None, "vae", VAE.decoder, TrainConfig()])
def test_what_is_not_a_vae_cannot_be_trained(model):
    with pytest.raises(ValueError, match=r"vae: expected a VAE, got \w+; make one with build_vae\(config\)"):
        train(model, GOOD)


@pytest.mark.parametrize("config", [3, "default", {"epochs": 2}])
def test_what_is_not_a_configuration_cannot_be_trained_with(config):
    with pytest.raises(ValueError, match=r"config: expected a TrainConfig, got \w+; write TrainConfig\(epochs=10\)"):
        train(VAE, GOOD, config=config)


@pytest.mark.parametrize("changes", [{"latent_dim": 3}, {"hidden": (4, 4)}, {"input_dim": 10}])
def test_a_configuration_of_other_sizes_cannot_be_trained_with(changes):
    (name,) = changes
    with pytest.raises(
        ValueError, match=f"config.{name}: expected .* as in the model, got .*; build another model for other sizes"
    ):
        train(VAE, GOOD, config=VAE.config.replace(**changes))
