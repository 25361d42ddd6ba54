"""The exact little worlds against brute-force sums, SciPy's Gaussians, quadrature, and Monte Carlo with its error bar."""

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from vae_lib import DiscreteWorld, LinearGaussian

ANIMALS = DiscreteWorld.animals()
COIN = DiscreteWorld(("fair", "loaded"), ("heads", "tails"), np.array([0.75, 0.25]), np.array([[0.5, 0.5], [1.0, 0.0]]))


@st.composite
def worlds(draw, positive=False):
    """A random world, with zeros in its tables unless they are asked away, and a random q."""
    z, x = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))

    def table(rows, columns):
        numbers = rng.integers(1 if positive else 0, 6, (rows, columns)).astype(float)
        numbers[:, 0] += numbers.sum(axis=1) == 0
        return numbers / numbers.sum(axis=1, keepdims=True)

    names = [[f"{letter}{i}" for i in range(size)] for letter, size in (("z", z), ("x", x))]
    return DiscreteWorld(*names, table(1, z)[0], table(z, x)), table(1, z)[0]


# ---- the world of tables --------------------------------------------------------------------------------------------------


def test_a_loaded_coin_by_hand():
    """Heads: ¾·½ + ¼·1 = ⅝, of which the loaded coin has ¼, so 2/5."""
    np.testing.assert_allclose(COIN.marginal(), [5 / 8, 3 / 8], rtol=1e-15)
    np.testing.assert_allclose(COIN.posterior("heads"), [3 / 5, 2 / 5], rtol=1e-15)
    assert COIN.posterior("tails").tolist() == [1.0, 0.0]
    assert COIN.kl([0.5, 0.5], [0.6, 0.4]) == pytest.approx(0.5 * np.log(0.25 / 0.24), rel=1e-12)
    assert COIN.elbo([0.5, 0.5], "tails") == -np.inf
    assert COIN.elbo([1.0, 0.0], "tails") == pytest.approx(np.log(3 / 8), rel=1e-15)


# The animals' story, written down once more: how readily each of the five ideas leads to each animal.
STORY = """
horse 9 0 0 0 0; fox 6 0 0 0 4; rabbit 5 0 0 0 8; mole 3 1 0 0 9; otter 4 7 0 0 2; beaver 4 6 0 0 3; platypus 3 6 0 8 4
frog 4 6 0 0 1; crocodile 5 6 0 0 0; tortoise 6 1 0 3 1; sea turtle 1 7 0 3 0; shark 0 9 0 0 0; squid 0 7 0 5 0
flying fish 0 6 5 0 0; penguin 0 7 0 6 2; duck 0 5 6 8 0; puffin 0 4 6 7 4; kingfisher 0 2 7 7 3; swallow 0 0 9 4 0
parrot 0 0 6 9 0; bat 0 0 9 0 0; flying squirrel 5 0 4 0 0; bumblebee 0 0 7 0 5; earthworm 0 0 0 0 8
"""


def test_the_animals_against_sums_of_fractions():
    told = [line.strip().rsplit(maxsplit=5) for line in STORY.strip().replace("\n", ";").split(";")]
    assert [name for name, *_ in told] == list(ANIMALS.observations)
    prior = [Fraction(percent, 100) for percent in (30, 25, 20, 10, 15)]
    assert sum(prior) == 1
    readiness = [[Fraction(row[1 + z]) + Fraction(1, 10) for row in told] for z in range(5)]  # any idea may slip into any animal
    likelihood = [[value / sum(row) for value in row] for row in readiness]
    np.testing.assert_allclose(ANIMALS.likelihood, np.array(likelihood, float), rtol=1e-14)
    for x, name in enumerate(ANIMALS.observations):
        evidence = sum(p * row[x] for p, row in zip(prior, likelihood, strict=True))
        assert ANIMALS.marginal()[x] == pytest.approx(float(evidence), rel=1e-14)
        expected = [float(p * row[x] / evidence) for p, row in zip(prior, likelihood, strict=True)]
        np.testing.assert_allclose(ANIMALS.posterior(name), expected, rtol=1e-14)


def test_the_animals_leave_nothing_out_and_the_platypus_open():
    assert (ANIMALS.likelihood > 0).all()
    assert (len(ANIMALS.latents), len(ANIMALS.observations)) == (5, 24)
    posterior = ANIMALS.posterior("platypus")
    assert (posterior > 0.15).sum() == 4
    assert ANIMALS.kl(ANIMALS.prior, posterior) == min(ANIMALS.kl(ANIMALS.prior, ANIMALS.posterior(x)) for x in range(24))


@given(worlds())
def test_tables_agree_with_loops(pair):
    world, _ = pair
    joint = [[world.prior[z] * world.likelihood[z][x] for x in range(len(world.observations))] for z in range(len(world.latents))]
    np.testing.assert_allclose(world.joint(), joint, rtol=1e-15)
    np.testing.assert_allclose(world.marginal(), [sum(column) for column in zip(*joint, strict=True)], rtol=1e-14)
    assert world.joint().sum() == pytest.approx(1, abs=1e-12)
    for x, evidence in enumerate(world.marginal()):
        if evidence > 0:
            np.testing.assert_allclose(world.posterior(x), [row[x] / evidence for row in joint], rtol=1e-14)
        else:
            with pytest.raises(ValueError, match="expected an observation of positive probability"):
                world.posterior(x)


@given(worlds(positive=True))
def test_log_px_is_the_elbo_plus_the_divergence(pair):
    world, q = pair
    for x, name in enumerate(world.observations):
        log_px = np.log(world.marginal()[x])
        assert world.elbo(q, name) + world.kl(q, world.posterior(x)) == pytest.approx(log_px, abs=1e-12)
        fit = sum(q[z] * np.log(world.likelihood[z, x]) for z in range(len(q)))
        assert world.elbo(q, x) == pytest.approx(fit - world.kl(q, world.prior), abs=1e-12)
        assert world.elbo(world.posterior(x), x) == pytest.approx(log_px, abs=1e-12)


@given(worlds())
def test_kl_agrees_with_scipy(pair):
    world, q = pair
    expected = stats.entropy(q, world.prior)
    assert world.kl(q, world.prior) == pytest.approx(expected, abs=1e-12)
    assert world.kl(q, q) == 0
    assert world.kl(q, world.prior) >= 0


@given(worlds())
def test_the_elbo_never_exceeds_log_px_also_where_there_are_zeros(pair):
    world, q = pair
    for x, evidence in enumerate(world.marginal()):
        elbo = world.elbo(q, x)
        assert not np.isnan(elbo)
        assert elbo <= (np.log(evidence) if evidence else -np.inf) + 1e-12


def test_samples_follow_the_joint_table():
    n = 200_000
    z, x = ANIMALS.sample(n, seed=0)
    counts = np.zeros_like(ANIMALS.joint())
    np.add.at(counts, (z, x), 1)
    assert stats.chisquare(counts.ravel(), n * ANIMALS.joint().ravel()).pvalue > 1e-3
    error = np.sqrt(n * ANIMALS.joint() * (1 - ANIMALS.joint()))
    assert (np.abs(counts - n * ANIMALS.joint()) < 4.5 * error).all()
    np.testing.assert_array_equal(ANIMALS.sample(50, seed=3), ANIMALS.sample(50, seed=3))
    assert (np.array(ANIMALS.sample(50, seed=3)) != np.array(ANIMALS.sample(50, seed=4))).any()


def test_what_is_impossible_is_never_sampled():
    z, x = COIN.sample(10_000, seed=1)
    assert not ((z == 1) & (x == 1)).any()
    assert set(x.tolist()) == {0, 1}


def test_an_observation_goes_by_its_name_or_its_place():
    assert ANIMALS.index("platypus") == ANIMALS.index(np.int64(6)) == 6
    np.testing.assert_array_equal(ANIMALS.posterior("platypus"), ANIMALS.posterior(6))
    for x in ("unicorn", -1, 24, 1.0, None, True):
        with pytest.raises(ValueError, match=r"x: expected one of horse, .* or a place from 0 to 23"):
            ANIMALS.index(x)


def test_a_world_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ANIMALS.prior = np.ones(5) / 5
    with pytest.raises(ValueError, match="read-only"):
        ANIMALS.prior[0] = 1
    given = np.array([0.5, 0.5])
    world = DiscreteWorld(["a", "b"], ["c"], given, [[1], [1]])
    given[0] = 9
    assert world.prior.tolist() == [0.5, 0.5]


GOOD = {"latents": ("a", "b"), "observations": ("c", "d"), "prior": [0.5, 0.5], "likelihood": [[0.2, 0.8], [1, 0]]}
BAD_WORLDS = {
    "no latents": ({"latents": ()}, "latents: expected names, at least one and none twice"),
    "a name twice": ({"observations": ("c", "c")}, "observations: expected names"),
    "one word": ({"latents": "ab"}, "latents: expected names"),
    "numbers for names": ({"latents": (1, 2)}, "latents: expected names"),
    "a short prior": ({"prior": [1.0]}, r"prior: expected finite numbers of shape \(2,\), got \[1.0\] of shape \(1,\)"),
    "a negative prior": ({"prior": [1.5, -0.5]}, r"prior: expected probabilities, .*least value of -0.5"),
    "a prior of 0.9": ({"prior": [0.5, 0.4]}, "prior: expected probabilities, .*sums from 0.9 to 0.9; divide by the sum"),
    "NaN": ({"prior": [np.nan, 1.0]}, "prior: expected finite numbers"),
    "words": ({"prior": ["half", "half"]}, "prior: expected numbers, got an array of <U4"),
    "a masked prior": ({"prior": np.ma.array([0.5, 0.5], mask=[0, 1])}, "prior: expected an array without hidden values"),
    "no names": ({"latents": None}, "latents: expected names"),
    "lists for names": ({"latents": (["a"], ["b"])}, "latents: expected names"),
    "a table on its side": ({"likelihood": [[1.0, 1.0]]}, r"likelihood: expected finite numbers of shape \(2, 2\)"),
    "a row of 2": ({"likelihood": [[1, 1], [0, 1]]}, "likelihood: expected probabilities, .*sums from 1 to 2"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_WORLDS.values(), ids=BAD_WORLDS)
def test_bad_worlds(changes, message):
    with pytest.raises(ValueError, match=message):
        DiscreteWorld(**GOOD | changes)


@pytest.mark.parametrize("q", [[1.0], [0.5, 0.6], [2.0, -1.0], [np.nan, 1.0], "ab", None])
def test_bad_distributions(q):
    for call in (lambda: COIN.elbo(q, "heads"), lambda: COIN.kl(q, COIN.prior)):
        with pytest.raises(ValueError, match="q: expected"):
            call()
    with pytest.raises(ValueError, match="p: expected"):
        COIN.kl(COIN.prior, q)


@pytest.mark.parametrize("n", [0, -1, 2.0, True, None, 10**8])
def test_bad_counts(n):
    for world in (COIN, LinearGaussian(W=[[1.0]], b=[0.0], s=1.0)):
        with pytest.raises(ValueError, match="n: expected a whole number from 1 to 10000000, got"):
            world.sample(n, seed=0)


# ---- the linear Gaussian --------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(8)


def linear(data_dim=3, latent_dim=2, s=0.7):
    return LinearGaussian(W=RNG.normal(size=(data_dim, latent_dim)), b=RNG.normal(size=data_dim), s=s)


MODELS = [linear(*sizes) for sizes in [(3, 2), (1, 1), (2, 4, 0.2), (5, 3, 3.0)]]
X = [RNG.normal(size=(4, len(model.b))) for model in MODELS]
EACH = pytest.mark.parametrize(("model", "x"), list(zip(MODELS, X, strict=True)), ids=["3-2", "1-1", "2-4", "5-3"])


def textbook_kl(mean, covariance, other_mean, other_covariance):
    """KL between two Gaussians with full covariances."""
    inverse, apart = np.linalg.inv(other_covariance), other_mean - mean
    logs = np.linalg.slogdet(other_covariance)[1] - np.linalg.slogdet(covariance)[1]
    return 0.5 * (np.trace(inverse @ covariance) + apart @ inverse @ apart - len(mean) + logs)


@EACH
def test_log_px_against_scipy(model, x):
    covariance = model.W @ model.W.T + model.s**2 * np.eye(len(model.b))
    expected = stats.multivariate_normal(model.b, covariance).logpdf(x)
    np.testing.assert_allclose(model.log_px(x), expected, rtol=1e-12)
    assert model.log_px(x[0]) == pytest.approx(np.atleast_1d(expected)[0], rel=1e-12)
    assert model.log_px(x.reshape(2, 2, -1)).shape == (2, 2)


@EACH
def test_the_posterior_is_the_joint_over_the_evidence(model, x):
    """Bayes' rule at random places: the normal density with mean and covariance is p(x|z) p(z) / p(x)."""
    mean, covariance = model.posterior(x)
    latent_dim = model.W.shape[1]
    for i in range(len(x)):
        for z in RNG.normal(size=(5, latent_dim)):
            log_likelihood = stats.norm(model.W @ z + model.b, model.s).logpdf(x[i]).sum()
            expected = log_likelihood + stats.norm.logpdf(z).sum() - model.log_px(x[i])
            assert stats.multivariate_normal(mean[i], covariance).logpdf(z) == pytest.approx(expected, rel=1e-9)


@EACH
def test_the_elbo_is_log_px_minus_the_divergence_to_the_posterior(model, x):
    mean, covariance = model.posterior(x)
    mu, log_var = RNG.normal(size=(2, len(x), model.W.shape[1]))
    gap = [textbook_kl(mu[i], np.diag(np.exp(log_var[i])), mean[i], covariance) for i in range(len(x))]
    np.testing.assert_allclose(model.elbo(mu, log_var, x), model.log_px(x) - gap, atol=1e-10, rtol=1e-12)


@EACH
def test_the_elbo_against_monte_carlo(model, x):
    mu, log_var = RNG.normal(size=(2, model.W.shape[1]))
    q = stats.norm(mu, np.exp(0.5 * log_var))
    z = q.rvs((200_000, len(mu)), random_state=2)
    log_likelihood = stats.norm(z @ model.W.T + model.b, model.s).logpdf(x[0]).sum(axis=1)
    terms = log_likelihood + stats.norm.logpdf(z).sum(axis=1) - q.logpdf(z).sum(axis=1)
    assert model.elbo(mu, log_var, x[0]) == pytest.approx(terms.mean(), abs=4 * terms.std() / np.sqrt(len(z)))


def test_one_dimension_against_quadrature():
    model = LinearGaussian(W=[[1.5]], b=[-0.3], s=0.6)
    prior, q = stats.norm(), stats.norm(0.4, np.exp(-0.35))

    def likelihood(z):
        return stats.norm(1.5 * z - 0.3, 0.6).pdf(1.1)

    evidence = integrate.quad(lambda z: likelihood(z) * prior.pdf(z), -10, 10, points=[0.9], epsabs=1e-13)[0]
    assert model.log_px([1.1]) == pytest.approx(np.log(evidence), rel=1e-10)
    mean = integrate.quad(lambda z: z * likelihood(z) * prior.pdf(z), -10, 10, points=[0.9], epsabs=1e-13)[0] / evidence
    assert model.posterior([1.1])[0] == pytest.approx([mean], rel=1e-10)
    elbo = integrate.quad(lambda z: q.pdf(z) * (np.log(likelihood(z)) + prior.logpdf(z) - q.logpdf(z)), -8, 9, epsabs=1e-12)[0]
    assert model.elbo([0.4], [-0.7], [1.1]) == pytest.approx(elbo, rel=1e-10)


def test_the_elbo_is_tight_where_the_posterior_is_diagonal():
    model = LinearGaussian(W=[[2.0, 0.0], [0.0, 0.5]], b=[0.0, 1.0], s=0.5)
    x = RNG.normal(size=(3, 2))
    mean, covariance = model.posterior(x)
    log_var = np.tile(np.log(np.diag(covariance)), (3, 1))
    np.testing.assert_allclose(model.elbo(mean, log_var, x), model.log_px(x), atol=1e-12)


def test_samples_have_the_moments_of_the_model():
    model, n = MODELS[0], 200_000
    z, x = model.sample(n, seed=1)
    assert (z.shape, x.shape) == ((n, 2), (n, 3))
    covariance = np.block([[np.eye(2), model.W.T], [model.W, model.W @ model.W.T + model.s**2 * np.eye(3)]])
    both = np.hstack([z, x])
    variances = np.diag(covariance)
    mean_error = np.sqrt(variances / n)
    assert (np.abs(both.mean(axis=0) - [0, 0, *model.b]) < 4.5 * mean_error).all()
    error = np.sqrt((np.outer(variances, variances) + covariance**2) / n)
    assert (np.abs(np.cov(both.T) - covariance) < 4.5 * error).all()


BAD_MODELS = {
    "W of rank 1": ({"W": [1.0, 2.0]}, r"W: expected finite numbers of shape \(data_dim, latent_dim\)"),
    "W without columns": ({"W": np.zeros((2, 0))}, "W: expected"),
    "a short b": ({"b": [0.0]}, r"b: expected finite numbers of shape \(2,\), got \[0.0\]"),
    "b that is infinite": ({"b": [0.0, np.inf]}, "b: expected finite"),
    "no noise": ({"s": 0.0}, "s: expected a finite number above 0, got 0.0"),
    "negative noise": ({"s": -1.0}, "s: expected"),
    "noise in words": ({"s": "1"}, "s: expected"),
    "noise for each pixel": ({"s": np.ones(2)}, "s: expected"),
    "noise that vanishes": ({"s": 1e-200}, "W, s: expected s from 1e-06 to 1e\\+06, and weights below"),
    "weights that drown the noise": ({"W": [[1e5], [0.0]], "s": 1e-2}, "W, s: expected"),
    "nothing": ({"W": None}, "W: expected numbers, got NoneType"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_MODELS.values(), ids=BAD_MODELS)
def test_bad_models(changes, message):
    with pytest.raises(ValueError, match=message):
        LinearGaussian(**{"W": [[1.0], [2.0]], "b": [0.0, 0.0], "s": 1.0} | changes)


@pytest.mark.parametrize("x", [1.0, [1.0], [[1.0, 2.0, 3.0]], [np.nan, 0.0], "ab", None])
def test_bad_data(x):
    model = LinearGaussian(W=[[1.0], [2.0]], b=[0.0, 0.0], s=1.0)
    for call in (model.log_px, model.posterior, lambda x: model.elbo([0.0], [0.0], x)):
        with pytest.raises(ValueError, match=r"x: expected"):
            call(x)
    with pytest.raises(ValueError, match=r"mu: expected finite numbers of shape \(…, 1\)"):
        model.elbo([0.0, 0.0], [0.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="log_var: expected"):
        model.elbo([0.0], 0.0, [1.0, 1.0])
    with pytest.raises(ValueError, match=r"log_var: expected at most 600.0, got 1000; it is log σ²"):
        model.elbo([0.0], [1000.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="mu, log_var, x: expected as many of each, or one"):
        model.elbo(np.zeros((4, 1)), np.zeros((4, 1)), np.zeros((3, 2)))
    for call in (model.log_px, lambda x: model.elbo([0.0], [0.0], x)):
        with pytest.raises(ValueError, match="expected finite numbers, got infinity; scale the data"):
            call([1e300, 0.0])


@pytest.mark.parametrize("seed", [-1, 2**31, 1.0, True, None, "0"])
def test_bad_seeds(seed):
    for world in (COIN, LinearGaussian(W=[[1.0]], b=[0.0], s=1.0)):
        with pytest.raises(ValueError, match=r"seed: expected a whole number of at least 0 and below 2\*\*31, got"):
            world.sample(3, seed=seed)


def test_numpys_numbers_are_numbers():
    for world in (COIN, LinearGaussian(W=[[1.0]], b=[0.0], s=np.float32(1.0))):
        for one, other in zip(world.sample(np.int64(5), seed=np.uint8(3)), world.sample(5, seed=3), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_model_keeps_no_hold_of_what_it_was_given():
    weights, bias = np.ones((2, 1)), np.zeros(2)
    model = LinearGaussian(W=weights, b=bias, s=1.0)
    weights[:], bias[:] = 7, 7
    assert (model.W.tolist(), model.b.tolist()) == ([[1.0], [1.0]], [0.0, 0.0])
    assert weights.flags.writeable
    assert bias.flags.writeable
