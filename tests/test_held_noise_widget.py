"""The widget of held noise: its numbers against SciPy, its sliders, its still picture, and what it refuses."""

import numpy as np
import pytest
from in_node import in_node
from scipy.integrate import quad
from scipy.stats import norm

from vae_lib import HeldNoise
from vae_lib.widgets.held_noise import LOG_VAR_LIMITS, MU_LIMITS, HeldNoiseCanvas

RNG = np.random.default_rng(0)
EPS = RNG.standard_normal(5).tolist()
PLACES = [
    *((mu, log_var) for mu in (MU_LIMITS[0], 0.0, MU_LIMITS[1]) for log_var in LOG_VAR_LIMITS),
    *zip(RNG.uniform(*MU_LIMITS, 8).tolist(), RNG.uniform(*LOG_VAR_LIMITS, 8).tolist(), strict=True),
]

SCRIPT = """
import { contributions, exactGradient, expectation, samples } from "./held_noise_maths.js";
answer(given.places.map(([mu, logVar]) => ({
  expectation: expectation(mu, logVar),
  exact: exactGradient(mu, logVar),
  z: samples(mu, logVar, given.eps),
  by: contributions(mu, logVar, given.eps),
})));
"""


def f(z):
    return z**2 / 4 + np.sin(2 * z)


@pytest.fixture(scope="module")
def browser_numbers():
    """What the page's JavaScript computes at PLACES with the noise EPS."""
    return in_node(SCRIPT, {"places": PLACES, "eps": EPS})


def expected_value(g, mu, log_var):
    q = norm(mu, np.exp(0.5 * log_var))
    return quad(lambda z: q.pdf(z) * g(z), q.ppf(1e-16), q.isf(1e-16), epsabs=1e-11, limit=200)[0]


def test_expectation_and_exact_gradient_are_integrals(browser_numbers):
    for (mu, log_var), numbers in zip(PLACES, browser_numbers, strict=True):
        var = np.exp(log_var)
        assert numbers["expectation"] == pytest.approx(expected_value(f, mu, log_var), abs=1e-9)

        def along_mu(z, mu=mu, var=var):
            return f(z) * (z - mu) / var

        def along_log_var(z, mu=mu, var=var):
            return f(z) * 0.5 * ((z - mu) ** 2 / var - 1)

        assert numbers["exact"]["mu"] == pytest.approx(expected_value(along_mu, mu, log_var), abs=1e-8)
        assert numbers["exact"]["logVar"] == pytest.approx(expected_value(along_log_var, mu, log_var), abs=1e-8)


def test_what_each_sample_says(browser_numbers):
    eps = np.array(EPS)
    for (mu, log_var), numbers in zip(PLACES, browser_numbers, strict=True):
        sigma, h = np.exp(0.5 * log_var), 1e-5
        z = norm(mu, sigma).ppf(norm.cdf(eps))
        np.testing.assert_allclose(numbers["z"], z, atol=1e-9)
        wider, narrower = np.exp(0.5 * (log_var + h)), np.exp(0.5 * (log_var - h))
        scores = {
            "mu": (norm.logpdf(z, mu + h, sigma) - norm.logpdf(z, mu - h, sigma)) / (2 * h),
            "logVar": (norm.logpdf(z, mu, wider) - norm.logpdf(z, mu, narrower)) / (2 * h),
        }
        moved = {
            "mu": f(mu + h + sigma * eps) - f(mu - h + sigma * eps),
            "logVar": f(mu + wider * eps) - f(mu + narrower * eps),
        }
        for which in ("mu", "logVar"):
            np.testing.assert_allclose(numbers["by"]["score"][which], f(z) * scores[which], rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(numbers["by"]["slope"][which], moved[which] / (2 * h), rtol=1e-6, atol=1e-6)


def test_sliders_are_linked_named_and_follow():
    shown = HeldNoise(mu=0.5, log_var=-1.5)
    (canvas,) = (child for child in shown.children if isinstance(child, HeldNoiseCanvas))
    links = {link.target[1]: link.source[0] for link in shown._links}
    assert set(links) == {"mu", "log_var"}
    for trait, name in (("mu", "Mean of q"), ("log_var", "Log-variance of q")):
        assert name in links[trait].get_state().values()  # under another key in ipywidgets 7 and 8
        assert links[trait].value == getattr(canvas, trait) == getattr(shown, trait)
    assert all(canvas.trait_metadata(trait, "sync") for trait in ("mu", "log_var", "eps", "seed"))
    held = shown.eps
    shown.mu, shown.log_var = -2.0, 0.25
    assert (canvas.mu, canvas.log_var) == (links["mu"].value, links["log_var"].value) == (-2.0, 0.25)
    assert shown.eps == held


def test_noise_is_given_or_drawn():
    assert HeldNoise(seed=3).eps == pytest.approx(np.random.default_rng(3).standard_normal(8))
    shown = HeldNoise(eps=[0, -1.5])
    assert shown.eps == (0.0, -1.5)
    shown.eps = np.array([2.0])
    assert shown.eps == (2.0,)


def test_a_still_picture_shows_noise_and_samples():
    shown = HeldNoise(mu=1.0, log_var=-1.0, eps=[-1.0, 0.0, 2.0])
    above, below = shown._still().axes
    drawn = np.array([line.get_xdata() for line in below.lines])
    np.testing.assert_allclose(drawn[:, 0], [-1.0, 0.0, 2.0])
    np.testing.assert_allclose(drawn[:, 1], 1 + np.exp(-0.5) * drawn[:, 0])
    for line, z in zip(above.lines[1:4], drawn[:, 1], strict=True):  # each slope, against a difference quotient
        (left, right), (low, high) = line.get_data()
        assert (high - low) / (right - left) == pytest.approx((f(z + 1e-5) - f(z - 1e-5)) / 2e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mu": -3.5}, "mu: expected a finite number from -2.5 to 2.5, got -3.5"),
        ({"log_var": 1.0}, "log_var: expected a finite number from -4.0 to 0.5, got 1.0"),
        ({"eps": []}, "eps: expected 1 to 12 numbers from -4.0 to 4.0"),
        ({"eps": [0.0] * 13}, "eps: expected 1 to 12 numbers"),
        ({"eps": [[0.0]]}, "eps: expected"),
        ({"eps": [5.0]}, "eps: expected"),
        ({"eps": [np.nan]}, "eps: expected"),
        ({"eps": ["a"]}, "eps: expected .* got .* give standard normal draws"),
        ({"seed": -1}, "seed: expected a whole number of at least 0 and below"),
        ({"seed": 1.0}, "seed: expected"),
        ({"seed": True}, "seed: expected"),
        ({"seed": 2**31}, "seed: expected"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        HeldNoise(**arguments)


@pytest.mark.parametrize(("name", "value"), [("mu", 4.0), ("log_var", None), ("eps", [9.0])])
def test_bad_values_change_nothing(name, value):
    shown = HeldNoise()
    before = (shown.mu, shown.log_var, shown.eps)
    with pytest.raises(ValueError, match=f"{name}: expected"):
        setattr(shown, name, value)
    assert (shown.mu, shown.log_var, shown.eps) == before
