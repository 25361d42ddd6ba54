"""The objective: Bernoulli log-probability against scipy and exact limits, the ELBO's parts, the one mean over the batch."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special, stats

from vae_lib import ElboTerms, batch_loss, bernoulli_log_prob, elbo_terms, free_bits_kl, gaussian_kl, kl_weight

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 8))

DOUBLE = 1e-12 if keras.backend.backend() == "tensorflow" else 1e-6  # the others compute in float32 unless told otherwise


def pixels_and_logits(reach, dtype, pixels):
    return SHAPES.flatmap(
        lambda shape: st.tuples(
            hnp.arrays(dtype, shape, elements=pixels),
            hnp.arrays(dtype, shape, elements=st.floats(-reach, reach, width=np.dtype(dtype).itemsize * 8)),
        )
    )


def in_double(x, logits):
    """The same by another formula, in double precision: x log σ(l) + (1 − x) log σ(−l)."""
    x, logits = x.astype(float), logits.astype(float)
    return (x * special.log_expit(logits) + (1 - x) * special.log_expit(-logits)).sum(axis=-1)


@given(pixels_and_logits(30, np.float64, st.sampled_from([0.0, 1.0])))
def test_against_scipy(pair):
    x, logits = pair
    # −logit and 1 − x together leave the probability as it is and keep the small one exact
    expected = stats.bernoulli.logpmf(np.where(logits > 0, 1 - x, x), special.expit(-np.abs(logits))).sum(axis=1)
    np.testing.assert_allclose(np.asarray(bernoulli_log_prob(x, logits)), expected, rtol=max(1e-9, DOUBLE), atol=10 * DOUBLE)


@given(pixels_and_logits(1e4, np.float32, st.floats(0, 1, width=32)))
@pytest.mark.backends
def test_extreme_logits_and_grey_pixels(pair):
    log_prob = np.asarray(bernoulli_log_prob(*pair))
    assert log_prob.dtype == np.float32
    assert log_prob.shape == pair[0].shape[:1]
    assert (log_prob <= 1e-5).all()
    np.testing.assert_allclose(log_prob, in_double(*pair), rtol=1e-5, atol=1e-2)  # 1e-2: 8 roundings of 1e4 in float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("x", "logit", "expected"),
    [
        (1, 1e4, 0), (0, 1e4, -1e4), (1, -1e4, -1e4), (0, -1e4, 0), (0.5, 1e4, -5e3), (0.5, -1e4, -5e3),
        (0, 100, -100), (1, -100, -100), (0, 0, -np.log(2)), (1, 0, -np.log(2)), (0.25, 0, -np.log(2)),
    ],
)  # fmt: skip
def test_exact_values(x, logit, expected, dtype):
    log_prob = float(bernoulli_log_prob(np.array([[x]], dtype), np.array([[logit]], dtype))[0])
    assert log_prob == pytest.approx(expected, rel=float(np.finfo(dtype).eps), abs=0)


def test_probabilities_of_all_images_add_up_to_one():
    logits = np.random.default_rng(0).normal(scale=3, size=6)
    every = np.array(list(itertools.product([0.0, 1.0], repeat=6)))
    total = np.exp(np.asarray(bernoulli_log_prob(every, np.tile(logits, (64, 1))))).sum()
    assert total == pytest.approx(1, abs=DOUBLE)


@pytest.mark.parametrize("logit", [-1e4, -40.0, -1.0, 0.0, 2.0, 40.0, 1e4])
@pytest.mark.tensorflow_only
def test_gradient_is_x_minus_the_probability(logit):
    logits = tf.constant([[logit]], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        log_prob = bernoulli_log_prob(np.array([[0.3]]), logits)
    assert tape.gradient(log_prob, logits).numpy().item() == pytest.approx(0.3 - special.expit(logit), abs=1e-12)


@pytest.mark.backends
def test_whole_numbers_and_booleans_are_accepted():
    expected = in_double(np.array([[1, 0]]), np.array([[2, -1]]))
    np.testing.assert_allclose(np.asarray(bernoulli_log_prob([[1, 0]], [[2, -1]])), expected, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(bernoulli_log_prob(np.array([[True, False]]), [[2.0, -1.0]])), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("x", "logits"), [((3,), (3,)), ((2, 3), (2, 4)), ((2, 3), (1, 3)), ((1, 3), (2, 3)), ((2, 28, 28), (2, 28, 28))]
)
@pytest.mark.backends
def test_shapes_must_be_equal_and_of_rank_two(x, logits):
    with pytest.raises(ValueError, match=r"expected equal shapes \(batch, pixels\), got x \("):
        bernoulli_log_prob(np.zeros(x), np.zeros(logits))


def make_terms(count=6, seed=0):
    rng = np.random.default_rng(seed)
    x, logits = rng.random((count, 5)), rng.normal(size=(count, 5))
    mu, log_var = rng.normal(size=(2, count, 2))
    return x, logits, mu, log_var


@pytest.mark.backends
def test_terms_are_one_value_for_each_image():
    x, logits, mu, log_var = make_terms()
    terms = elbo_terms(x, logits, mu, log_var)
    np.testing.assert_allclose(terms.reconstruction, -in_double(x, logits), rtol=DOUBLE)
    np.testing.assert_allclose(terms.kl, np.asarray(gaussian_kl(mu, log_var)), rtol=DOUBLE)
    np.testing.assert_allclose(terms.elbo, in_double(x, logits) - np.asarray(gaussian_kl(mu, log_var)), rtol=DOUBLE)
    assert [np.asarray(term).shape for term in terms] == [(6,)] * 3


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 4.0])
@pytest.mark.backends
def test_beta_weighs_the_kl(beta):
    terms = ElboTerms(np.array([10.0, 20.0]), np.array([1.0, 3.0]), np.array([-11.0, -23.0]))
    assert float(batch_loss(terms, beta)) == pytest.approx(15 + beta * 2, rel=DOUBLE)


@pytest.mark.backends
def test_another_kl_takes_the_place_of_the_mean():
    terms = ElboTerms(np.array([10.0, 20.0]), np.array([1.0, 3.0]), np.array([-11.0, -23.0]))
    assert float(batch_loss(terms, 0.5, kl=7.0)) == pytest.approx(15 + 0.5 * 7, rel=DOUBLE)
    assert float(batch_loss(terms, 0.5, kl=2.0)) == pytest.approx(float(batch_loss(terms, 0.5)), rel=DOUBLE)


@pytest.mark.parametrize("free", [0.0, 0.1, 0.5, 3.0])
@pytest.mark.backends
def test_free_bits_lift_each_dimension_by_its_mean_over_the_batch(free):
    mu, log_var = np.random.default_rng(3).normal(size=(2, 20, 4)) * [0.1, 0.5, 1.0, 2.0]
    # the closed form as integrals of scipy: E_q[log q − log p] by quadrature, dimension by dimension
    nodes, masses = np.polynomial.hermite_e.hermegauss(40)
    z = mu[..., None] + np.exp(0.5 * log_var)[..., None] * nodes
    log_ratio = stats.norm.logpdf(z, mu[..., None], np.exp(0.5 * log_var)[..., None]) - stats.norm.logpdf(z)
    means = (log_ratio @ (masses / masses.sum())).mean(axis=0)
    assert float(free_bits_kl(mu, log_var, free)) == pytest.approx(sum(max(free, mean) for mean in means), rel=max(1e-9, DOUBLE))
    assert float(free_bits_kl(mu, log_var, 0)) == pytest.approx(float(np.mean(np.asarray(gaussian_kl(mu, log_var)))), rel=DOUBLE)


@pytest.mark.tensorflow_only
def test_below_the_free_bits_nothing_pushes():
    mu, log_var = tf.constant([[0.1, 2.0], [-0.1, 1.0]], tf.float64), tf.zeros((2, 2), tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(mu)
        kl = free_bits_kl(mu, log_var, 0.5)  # means: 0.005 and 1.25
    np.testing.assert_allclose(tape.gradient(kl, mu), [[0, 1.0], [0, 0.5]], atol=1e-12)  # d ½ mean(mu²) = mu / 2


@pytest.mark.parametrize(("step", "expected"), [(0, 0.0), (5, 1.0), (10, 2.0), (15, 3.0), (20, 4.0), (1000, 4.0)])
@pytest.mark.tensorflow_only
def test_the_weight_rises_in_a_straight_line(step, expected):
    assert float(kl_weight(4.0, tf.constant(step), 20)) == pytest.approx(expected, rel=1e-6)
    assert kl_weight(4.0, tf.constant(step), 0) == 4.0


def test_the_loss_at_beta_one_is_the_negative_elbo():
    terms = elbo_terms(*make_terms())
    assert float(batch_loss(terms, 1.0)) == pytest.approx(-np.mean(terms.elbo), rel=DOUBLE)


@pytest.mark.backends
def test_the_mean_is_over_the_batch_alone():
    values = make_terms()
    once = float(batch_loss(elbo_terms(*values), 1.0))
    twice = float(batch_loss(elbo_terms(*(np.concatenate([value, value]) for value in values)), 1.0))
    wider = float(batch_loss(elbo_terms(*(np.concatenate([value, value], axis=1) for value in values)), 1.0))
    assert twice == pytest.approx(once, rel=DOUBLE)
    assert wider == pytest.approx(2 * once, rel=DOUBLE)  # twice the pixels and latents: twice the nats


def test_the_elbo_is_a_lower_bound_and_tight_for_the_true_posterior():
    # A decoder with 4 pixels and one latent; log p(x) and the expectation under q by Gauss-Hermite quadrature.
    weights, offsets, x = np.array([2.0, -1.0, 0.5, 3.0]), np.array([0.1, 0.4, -0.3, 0.0]), np.array([1.0, 0.0, 1.0, 1.0])
    nodes, masses = np.polynomial.hermite_e.hermegauss(60)
    masses = masses / masses.sum()

    def elbo(mu, log_var):
        z = mu + np.exp(0.5 * log_var) * nodes
        terms = elbo_terms(np.tile(x, (60, 1)), np.outer(z, weights) + offsets, np.full((60, 1), mu), np.full((60, 1), log_var))
        return float(masses @ np.asarray(terms.elbo))

    likelihood = np.exp(np.asarray(bernoulli_log_prob(np.tile(x, (60, 1)), np.outer(nodes, weights) + offsets)))
    log_px = np.log(masses @ likelihood)
    candidates = [(m, v) for m in np.linspace(-2, 3, 26) for v in np.linspace(-3, 1, 17)]
    values = [elbo(m, v) for m, v in candidates]
    assert max(values) <= log_px
    assert max(values) > log_px - 0.02  # one latent, four pixels: the posterior is nearly Gaussian
    mean = masses @ (likelihood * nodes) / (masses @ likelihood)
    assert candidates[int(np.argmax(values))][0] == pytest.approx(mean, abs=0.2)
