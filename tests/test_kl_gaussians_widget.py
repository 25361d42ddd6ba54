"""The widget of two Gaussians: its numbers against vae_lib and SciPy, its sliders, its still picture, and what it refuses."""

import numpy as np
import pytest
from in_node import in_node
from scipy.integrate import quad
from scipy.stats import norm

from vae_lib import KLGaussians, gaussian_kl
from vae_lib.widgets.bundle import FOLDER
from vae_lib.widgets.kl_gaussians import LOG_VAR_LIMITS, MU_LIMITS, KLCanvas

RNG = np.random.default_rng(0)
PLACES = [
    *((mu, log_var) for mu in (MU_LIMITS[0], 0.0, MU_LIMITS[1]) for log_var in (LOG_VAR_LIMITS[0], 0.0, LOG_VAR_LIMITS[1])),
    *zip(RNG.uniform(*MU_LIMITS, 12).tolist(), RNG.uniform(*LOG_VAR_LIMITS, 12).tolist(), strict=True),
]

SCRIPT = """
import { integrand, integrandAreas, klParts, logDensity, reversedIntegrand, reversedKlParts } from "./kl_gaussians_maths.js";
answer(given.map(([mu, logVar]) => ({
  log_density: logDensity(0.7, mu, logVar),
  integrand: integrand(0.7, mu, logVar),
  reversed_integrand: reversedIntegrand(0.7, mu, logVar),
  parts: klParts(mu, logVar),
  reversed_parts: reversedKlParts(mu, logVar),
  areas: integrandAreas(mu, logVar),
})));
"""


@pytest.fixture(scope="module")
def browser_numbers():
    """What the page's JavaScript computes at PLACES."""
    return in_node(SCRIPT, PLACES)


def test_densities_and_integrands_are_scipys(browser_numbers):
    for (mu, log_var), numbers in zip(PLACES, browser_numbers, strict=True):
        q, p = norm(mu, np.exp(0.5 * log_var)), norm()
        assert numbers["log_density"] == pytest.approx(q.logpdf(0.7), rel=1e-12)
        ratio = q.logpdf(0.7) - p.logpdf(0.7)
        assert numbers["integrand"] == pytest.approx(q.pdf(0.7) * ratio, rel=1e-9, abs=1e-12)
        assert numbers["reversed_integrand"] == pytest.approx(-p.pdf(0.7) * ratio, rel=1e-9, abs=1e-12)


def test_the_kl_is_the_librarys(browser_numbers):
    mu, log_var = np.array(PLACES).T[..., None]
    totals = [numbers["parts"]["total"] for numbers in browser_numbers]
    np.testing.assert_allclose(totals, np.asarray(gaussian_kl(mu, log_var)), rtol=1e-5, atol=1e-6)  # Keras computes in float32


def test_both_kls_and_their_areas_are_scipys_integrals(browser_numbers):
    for (mu, log_var), numbers in zip(PLACES, browser_numbers, strict=True):
        q, p = norm(mu, np.exp(0.5 * log_var)), norm()
        for key, area, weigh, other in (("parts", "forward", q, p), ("reversed_parts", "reversed", p, q)):

            def integrand(z, weigh=weigh, other=other):
                return weigh.pdf(z) * (weigh.logpdf(z) - other.logpdf(z))

            low, high = weigh.ppf(1e-16), weigh.isf(1e-16)
            expected = quad(integrand, low, high, epsabs=1e-11, limit=200)[0]
            assert numbers[key]["total"] == pytest.approx(expected, rel=1e-7, abs=1e-9)
            positive = quad(lambda z: max(integrand(z), 0), low, high, points=[mu], epsabs=1e-9, limit=500)[0]
            assert numbers["areas"][area]["above"] == pytest.approx(positive, rel=1e-4, abs=1e-5)
            difference = numbers["areas"][area]["above"] - numbers["areas"][area]["below"]
            assert difference == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_the_forward_bar_fits_its_scale_everywhere():
    most = int((FOLDER / "kl_gaussians.js").read_text(encoding="utf-8").split("MOST_NATS = ")[1].split(";")[0])
    corners = np.array([[MU_LIMITS[1]], [MU_LIMITS[1]]]), np.array([[LOG_VAR_LIMITS[0]], [LOG_VAR_LIMITS[1]]])
    assert np.asarray(gaussian_kl(*corners)).max() < most


def test_sliders_are_linked_named_and_follow():
    shown = KLGaussians(mu=0.5, log_var=-1.5)
    (canvas,) = (child for child in shown.children if isinstance(child, KLCanvas))
    links = {link.target[1]: link.source[0] for link in shown._links}
    assert set(links) == {"mu", "log_var"}
    for trait, name in (("mu", "Mean of q"), ("log_var", "Log-variance of q")):
        assert name in links[trait].get_state().values()  # under another key in ipywidgets 7 and 8
        assert canvas.trait_metadata(trait, "sync")
        assert links[trait].value == getattr(canvas, trait) == getattr(shown, trait)
    shown.mu, shown.log_var = -2.0, 1.0
    assert (canvas.mu, canvas.log_var) == (links["mu"].value, links["log_var"].value) == (-2.0, 1.0)


def test_a_still_picture_says_the_same_numbers():
    shown = KLGaussians(mu=1.0, log_var=-1.0)
    forward = float(gaussian_kl([[1.0]], [[-1.0]])[0])
    q, p = norm(1, np.exp(-0.5)), norm()
    backward = quad(lambda z: p.pdf(z) * (p.logpdf(z) - q.logpdf(z)), -12, 12)[0]
    titles = [axes.get_title(loc="left") for axes in shown._still().axes]
    assert titles[1].endswith(f"{forward:.2f} nats")
    assert titles[2].endswith(f"{backward:.2f} nats")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mu": 3.5}, "mu: expected a finite number from -3.0 to 3.0, got 3.5"),
        ({"mu": np.nan}, "mu: expected"),
        ({"mu": "1"}, "mu: expected a finite number from -3.0 to 3.0, got '1'"),
        ({"mu": True}, "mu: expected"),
        ({"mu": None}, "mu: expected"),
        ({"log_var": -4.5}, "log_var: expected a finite number from -4.0 to 2.0, got -4.5; choose one that the slider can show"),
        ({"log_var": np.inf}, "log_var: expected"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        KLGaussians(**arguments)
    shown = KLGaussians()
    before = (shown.mu, shown.log_var)
    for name, value in arguments.items():
        with pytest.raises(ValueError, match=message):
            setattr(shown, name, value)
    assert (shown.mu, shown.log_var) == before
