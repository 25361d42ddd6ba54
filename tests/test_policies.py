"""One answer whatever Keras is set to: dtype policies, the default float type, and its three backends.

Each case runs in a process of its own, for these settings hold for a whole process; what it prints is compared with float32.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = r"""
import json, os, sys
import numpy as np
import keras
setting = json.loads(sys.argv[1])
if "policy" in setting:
    keras.config.set_dtype_policy(setting["policy"])
if "floatx" in setting:
    keras.config.set_floatx(setting["floatx"])
import vae_lib
from vae_lib import TrainConfig, build_vae

rng = np.random.default_rng(0)
x = rng.random((12, 16), dtype=np.float32)
labels = np.arange(12) % 3


def weighted(config):
    vae = build_vae(config)
    for number, variable in enumerate([*vae.encoder.variables, *vae.decoder.variables]):
        variable.assign(0.3 * np.random.default_rng(number).standard_normal(variable.shape))
    return vae


vae = weighted(TrainConfig(input_dim=16, hidden=(8,)))
conditional = weighted(TrainConfig(input_dim=16, hidden=(8,), classes=3))
mu, log_var = (keras.ops.convert_to_numpy(part) for part in vae.encoder(x))
z = np.random.default_rng(1).standard_normal((12, 2)).astype("f4")
exact = vae_lib.exact_log_px(vae, x, tol=0.01)
posterior = vae_lib.posterior_on_grid(vae, x, points=150, limit=8)
mean, spread = np.zeros((12, 2)), np.full((12, 2), -1.5)
best = vae_lib.best_gaussian(posterior, mean, spread)
fixed = vae_lib.with_label(conditional, 1)
saved = vae_lib.load_weights(vae_lib.save_weights(vae, os.path.join(sys.argv[2], "vae.npz")))
classifier = vae_lib.train_classifier(np.repeat(x, 20, axis=0), np.repeat(labels, 20), classes=3, epochs=2, seed=1)
walk = vae_lib.HoleWalk(vae, mu, log_var, (-1, 0), (1, 0))
explorer = vae_lib.LatentExplorer(vae, images=x, labels=labels)
beta = vae_lib.BetaScrubber({0.5: vae, 1.0: vae}, x, labels)
answers = {
    "types": sorted({str(variable.dtype) for variable in [*vae.encoder.variables, *vae.decoder.variables]}),
    "codes": mu, "log_var": log_var,
    "logits": keras.ops.convert_to_numpy(vae.decoder(z)),
    "gaussian_kl": keras.ops.convert_to_numpy(vae_lib.gaussian_kl(mu, log_var)),
    "gaussian_log_prob": keras.ops.convert_to_numpy(vae_lib.gaussian_log_prob(z, mu, log_var)),
    "bernoulli_log_prob": keras.ops.convert_to_numpy(vae_lib.bernoulli_log_prob(x, keras.ops.convert_to_numpy(vae.decoder(z)))),
    "free_bits_kl": keras.ops.convert_to_numpy(vae_lib.free_bits_kl(mu, log_var, 0.5)),
    "elbo": vae_lib.elbo(vae, x, samples=200).elbo.mean(), "kl": vae_lib.elbo(vae, x).kl,
    "elbo of a conditional": vae_lib.elbo(conditional, x, labels=labels, samples=200).elbo.mean(),
    "iwae_bound": vae_lib.iwae_bound(vae, x, k=50),
    "log p(x)": exact.log_px, "difference": exact.difference,
    "posterior": posterior.log_density[:, ::15, ::15], "kl_to_posterior": vae_lib.kl_to_posterior(posterior, mean, spread),
    "best_gaussian": best.kl, "aggregate": vae_lib.aggregate_log_prob(z, mu, log_var),
    "active": vae_lib.active_units(vae, x).variance,
    "active of a conditional": vae_lib.active_units(conditional, x, labels=labels).variance,
    "with_label": keras.ops.convert_to_numpy(fixed.encoder(x)[0]),
    "saved": keras.ops.convert_to_numpy(saved.decoder(z)),
    "classifier's types": sorted({str(variable.dtype) for variable in classifier.variables}),
    "confidence": vae_lib.sample_quality(classifier, x, x).confidence,
    "walk": np.frombuffer(walk._canvas.decoded, np.uint8).astype(float), "explorer": explorer.encode(x[0])[0],
    "beta": beta._canvas.rates,
}
print("ANSWERS " + json.dumps({name: np.asarray(value).tolist() for name, value in answers.items()}))
"""
POLICIES = {
    "mixed_float16": {"policy": "mixed_float16"},
    "mixed_bfloat16": {"policy": "mixed_bfloat16"},
    "float64": {"policy": "float64"},
    "float16": {"policy": "float16"},
    "floatx float64": {"floatx": "float64"},
    "floatx float16": {"floatx": "float16"},
    "floatx bfloat16": {"floatx": "bfloat16"},
}
# By how much an answer may differ where not by 1e-4 of its size: a tolerance, a grid in float32, a grey level.
ALLOWED = {"log p(x)": 0.02, "difference": 0.01, "walk": 1, "confidence": 0.01}
ALLOWED |= dict.fromkeys(("posterior", "kl_to_posterior", "best_gaussian", "elbo", "elbo of a conditional"), 1e-3)
# Another backend draws other noise and starts the classifier from other weights.
ALLOWED_ELSEWHERE = ALLOWED | {"elbo": 0.5, "elbo of a conditional": 0.5, "confidence": 0.3}


def answers(setting, folder, backend="tensorflow"):
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, json.dumps(setting), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    lines = [line for line in done.stdout.splitlines() if line.startswith("ANSWERS ")]
    assert lines, done.stderr[-3000:]
    return json.loads(lines[0].removeprefix("ANSWERS "))


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The answers in float32, on TensorFlow."""
    return answers({}, tmp_path_factory.mktemp("float32"))


def assert_same(found, expected, allowed):
    for name, value in expected.items():
        if name.endswith("types"):
            assert found[name] == value == ["float32"], name
            continue
        one, other = np.asarray(found[name]), np.asarray(value)
        assert one.shape == other.shape, name
        assert np.isfinite(one).all(), name
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=allowed.get(name, 1e-5), err_msg=name)


@pytest.mark.tensorflow_only
@pytest.mark.parametrize("setting", POLICIES.values(), ids=POLICIES)
def test_every_policy_gives_the_answers_of_float32(setting, expected, tmp_path):
    assert_same(answers(setting, tmp_path), expected, ALLOWED)


@pytest.mark.backends
def test_every_backend_gives_the_answers_of_tensorflow(expected, tmp_path):
    """On the backend that the tests run on: `make test-backends` runs this on JAX and PyTorch."""
    assert_same(answers({}, tmp_path, os.environ.get("KERAS_BACKEND", "tensorflow")), expected, ALLOWED_ELSEWHERE)


def test_the_answers_in_float32_are_those_of_numpy(expected):
    """So that a common error of all settings is no agreement: variances, the KL and the mixture from their formulas."""
    mu, log_var = np.array(expected["codes"]), np.array(expected["log_var"])
    np.testing.assert_allclose(expected["gaussian_kl"], 0.5 * (np.exp(log_var) + mu**2 - 1 - log_var).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(expected["kl"], expected["gaussian_kl"], rtol=1e-5)
    np.testing.assert_allclose(expected["active"], mu.var(axis=0), rtol=1e-5)
    z = np.random.default_rng(1).standard_normal((12, 2)).astype("f4")
    log_q = -0.5 * ((z[:, None] - mu) ** 2 / np.exp(log_var) + log_var + np.log(2 * np.pi)).sum(axis=-1)
    np.testing.assert_allclose(expected["aggregate"], np.log(np.exp(log_q).mean(axis=1)), rtol=1e-4)
    assert np.mean(expected["elbo"]) < np.mean(expected["iwae_bound"]) < np.mean(expected["log p(x)"]) + 0.05
