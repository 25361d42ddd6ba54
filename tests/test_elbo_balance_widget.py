"""The ELBO balance: what Python and the browser compute against SciPy's quadrature; sliders, links, and what is refused."""

import ipywidgets
import numpy as np
import pytest
from in_node import in_node
from ipywidgets.widgets.widget_link import Link
from scipy import integrate, optimize, stats
from scipy.special import expit, log_expit

from vae_lib import ElboBalance
from vae_lib.widgets.elbo_balance import LOG_VAR_LIMITS, MU_LIMITS, BalanceCanvas

SCRIPT = """
import * as maths from "./elbo_balance_maths.js";
answer(given.cases.map(({ world, mu, logVar }) => {
  const logPx = maths.logEvidence(world);
  return {
    logPx,
    ...maths.elboParts(world, mu, logVar),
    klPosterior: maths.klToPosterior(world, mu, logVar, logPx),
    gradient: maths.elboGradient(world, mu, logVar),
    best: maths.climbPath(world, [mu, logVar], given.limits).at(-1),
  };
}));
"""
WORLDS = [(1, 8.0, -4.0), (0, 8.0, -4.0), (1, 1.0, 0.5), (0, -3.0, 2.0), (1, 20.0, -10.0), (1, 0.0, -1.0)]
PLACES = [(0.0, -1.0), (1.1, -1.45), (-2.0, -3.0), (0.5, 1.0)]
CASES = [(*world, *place) for world in WORLDS for place in PLACES]
CORNERS = [(*WORLDS[0], mu, log_var) for mu in MU_LIMITS for log_var in LOG_VAR_LIMITS]


def log_likelihood(x, weight, bias, z):
    return log_expit((2 * x - 1) * (weight * z + bias))


def quadrature(f, middle, scale, kink):
    """SciPy's adaptive quadrature, told where the likelihood bends."""
    low, high = middle - 12 * scale, middle + 12 * scale
    points = [point for point in (middle, kink) if low < point < high]
    return integrate.quad(f, low, high, points=points, limit=400, epsabs=1e-12, epsrel=1e-12)[0]


def expected(x, weight, bias, mu, log_var):
    """Each number by its own definition; log p(x|z) as SciPy has it."""
    prior, q = stats.norm(), stats.norm(mu, np.exp(0.5 * log_var))
    kink = -bias / weight if weight else 0.0

    def mean(f):
        return quadrature(lambda z: q.pdf(z) * f(z), q.mean(), q.std(), kink)

    log_px = np.log(quadrature(lambda z: prior.pdf(z) * np.exp(log_likelihood(x, weight, bias, z)), 0, 1, kink))
    fit = mean(lambda z: log_likelihood(x, weight, bias, z))
    kl_prior = mean(lambda z: q.logpdf(z) - prior.logpdf(z))
    kl_posterior = mean(lambda z: q.logpdf(z) - prior.logpdf(z) - log_likelihood(x, weight, bias, z) + log_px)
    return {"logPx": log_px, "fit": fit, "klPrior": kl_prior, "elbo": fit - kl_prior, "klPosterior": kl_posterior}


def score_gradient(x, weight, bias, mu, log_var):
    """The gradient by another road than the browser's: through the density of q, not through z."""
    q = stats.norm(mu, np.exp(0.5 * log_var))
    kink = -bias / weight if weight else 0.0

    def mean(score):
        def f(z):
            value = log_likelihood(x, weight, bias, z) + stats.norm.logpdf(z) - q.logpdf(z)
            return q.pdf(z) * value * score((z - mu) / q.std())

        return quadrature(f, mu, q.std(), kink)

    return [mean(lambda e: e) / q.std(), 0.5 * mean(lambda e: e * e - 1)]


@pytest.fixture(scope="module")
def browser():
    """What the browser's file computes for every case."""
    cases = [
        {"world": {"x": x, "weight": weight, "bias": bias}, "mu": mu, "logVar": log_var}
        for x, weight, bias, mu, log_var in [*CASES, *CORNERS]
    ]
    answers = in_node(SCRIPT, {"cases": cases, "limits": {"mu": MU_LIMITS, "logVar": LOG_VAR_LIMITS}})
    return dict(zip([*CASES, *CORNERS], answers, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_the_browser_agrees_with_scipy(browser, case):
    ours = browser[case]
    for name, value in expected(*case).items():
        assert ours[name] == pytest.approx(value, rel=1e-8, abs=1e-8), name
    assert ours["gradient"] == pytest.approx(score_gradient(*case), rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("case", CASES)
def test_python_agrees_with_scipy(case):
    x, weight, bias, mu, log_var = case
    ours, theirs = ElboBalance(x=x, weight=weight, bias=bias, mu=mu, log_var=log_var).balance(), expected(*case)
    names = {"log_px": "logPx", "elbo": "elbo", "kl_posterior": "klPosterior", "kl_prior": "klPrior"}
    for name, theirs_name in names.items():
        assert getattr(ours, name) == pytest.approx(theirs[theirs_name], rel=1e-8, abs=1e-8), name
    assert -ours.reconstruction == pytest.approx(theirs["fit"], rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("case", [*CASES, *CORNERS])
def test_the_parts_add_up_in_the_browser(browser, case):
    ours = browser[case]
    assert ours["elbo"] + ours["klPosterior"] == pytest.approx(ours["logPx"], abs=1e-9)
    assert ours["klPosterior"] > -1e-12


@pytest.mark.parametrize("case", CORNERS)
def test_the_climb_ends_at_the_best_q_from_every_corner(browser, case):
    x, weight, bias, *_ = case
    eps, shares = np.polynomial.hermite_e.hermegauss(200)
    shares = shares / shares.sum()

    def minus_elbo(place):
        z = place[0] + np.exp(0.5 * place[1]) * eps
        return -shares @ (log_likelihood(x, weight, bias, z) + stats.norm.logpdf(z)) - 0.5 * place[1]

    best = optimize.minimize(minus_elbo, [0.5, -1.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-13}).x
    assert browser[case]["best"] == pytest.approx(best, abs=2e-4)


def test_the_log_evidence_of_a_symmetric_decoder_is_that_of_a_fair_coin():
    for x in (0, 1):
        assert ElboBalance(x=x, weight=5.0, bias=0.0).balance().log_px == pytest.approx(np.log(0.5), abs=1e-12)


def test_the_posterior_of_the_default_is_skewed_and_out_of_reach_of_a_gaussian():
    z = np.linspace(-8, 8, 8001)
    density = stats.norm.pdf(z) * expit(8 * z - 4)
    density /= density.sum()
    mean = density @ z
    skewness = density @ (z - mean) ** 3 / (density @ (z - mean) ** 2) ** 1.5
    assert skewness > 0.8
    widget = ElboBalance()
    gaps = []
    for mu in np.arange(0.9, 1.3, 0.05):
        for log_var in np.arange(-1.8, -1.0, 0.05):
            widget.q = (mu, log_var)
            gaps.append(widget.balance().kl_posterior)
    assert min(gaps) > 0.05


# ---- the widget -----------------------------------------------------------------------------------------------------------


def parts(widget):
    (canvas,) = (child for child in widget.children if isinstance(child, BalanceCanvas))
    return canvas, [child for child in widget.children if isinstance(child, ipywidgets.FloatSlider)]


def test_each_slider_is_linked_in_the_browser_and_has_a_spoken_name():
    widget = ElboBalance()
    canvas, sliders = parts(widget)
    assert [type(link) for link in widget._links] == [Link, Link]
    for slider, trait, link in zip(sliders, ("mu", "log_var"), widget._links, strict=True):
        assert link.source == (slider, "value")
        assert link.target == (canvas, trait)
        assert canvas.trait_metadata(trait, "sync")
    spoken = [getattr(slider, "tooltip", None) or slider.description_tooltip for slider in sliders]
    assert spoken == ["Mean of q", "Log-variance of q"]
    assert [(slider.min, slider.max) for slider in sliders] == [MU_LIMITS, LOG_VAR_LIMITS]
    assert (tuple(canvas.mu_limits), tuple(canvas.log_var_limits)) == (MU_LIMITS, LOG_VAR_LIMITS)


def test_q_is_read_and_set():
    widget = ElboBalance(mu=0.5, log_var=-2)
    canvas, sliders = parts(widget)
    assert widget.q == (0.5, -2.0) == (canvas.mu, canvas.log_var)
    widget.q = (1.0, 0.25)
    assert widget.q == (1.0, 0.25) == (canvas.mu, canvas.log_var)
    sliders[0].value = -1.5
    assert widget.q == (-1.5, 0.25)


def test_log_px_stands_still_while_q_moves():
    widget = ElboBalance()
    balances = []
    for place in PLACES:
        widget.q = place
        balances.append(widget.balance())
    assert len({balance.log_px for balance in balances}) == 1
    for balance in balances:
        assert balance.elbo + balance.kl_posterior == pytest.approx(balance.log_px, abs=1e-12)


@pytest.mark.parametrize("place", [(0.0, -1.0), (-3.0, -4.0), (1.09, -1.45)])
def test_the_still_picture_shows_q_and_the_elbo(place):
    widget = ElboBalance()
    widget.q = place
    curves, bars = widget._still().axes
    z, q = curves.lines[1].get_data()
    np.testing.assert_allclose(q, stats.norm(place[0], np.exp(0.5 * place[1])).pdf(z), rtol=1e-9, atol=1e-12)
    assert f"ELBO {widget.balance().elbo:.3f}".replace("-", "−") in [text.get_text() for text in bars.texts]


BAD = {
    "a grey pixel": ({"x": 0.5}, "x: expected a whole number from 0 to 1, got 0.5; 1 is a white pixel"),
    "a pixel of 2": ({"x": 2}, "x: expected a whole number from 0 to 1, got"),
    "a pixel in words": ({"x": "white"}, "x: expected a whole number from 0 to 1, got"),
    "too steep": ({"weight": 21.0}, r"weight: expected a finite number from -20\.0 to 20\.0, got 21"),
    "no number": ({"bias": None}, "bias: expected"),
    "NaN": ({"bias": float("nan")}, "bias: expected"),
    "mu beyond": ({"mu": 3.5}, "mu: expected .*-3.0 to 3.0, got 3.5"),
    "log_var beyond": ({"log_var": -4.1}, "log_var: expected .*-4.0 to 2.0, got -4.1"),
    "log_var=True": ({"log_var": True}, "log_var: expected"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        ElboBalance(**arguments)


@pytest.mark.parametrize("q", [(9.0, 0.0), (0.0, 9.0), (0.0,), None, "ab", (np.nan, 0.0)])
def test_a_bad_q_is_refused_and_changes_nothing(q):
    widget = ElboBalance()
    with pytest.raises(ValueError, match="expected"):
        widget.q = q
    assert widget.q == (0.0, -1.0)
