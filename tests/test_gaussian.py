"""Diagonal Gaussians against scipy, Monte Carlo with its error bar, quadrature, finite differences and known derivatives."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import integrate, stats

from vae_lib import gaussian_kl, gaussian_log_prob, sample_gaussian

DOUBLE = 1e-12 if keras.backend.backend() == "tensorflow" else 1e-6  # the others compute in float32 unless told otherwise
DTYPES = [np.float16, np.float32, np.float64]


def arrays(low, high, *, count=2, dtype=np.float64):
    """Draw `count` arrays of one shape (batch, latent_dim)."""
    shapes = st.tuples(st.integers(1, 5), st.integers(1, 6))
    numbers = st.floats(low, high, width=np.dtype(dtype).itemsize * 8)
    return shapes.flatmap(lambda shape: st.tuples(*[hnp.arrays(dtype, shape, elements=numbers)] * count))


def kl_in_double(mu, log_var):
    mu, log_var = np.asarray(mu, dtype=float), np.asarray(log_var, dtype=float)
    return 0.5 * (np.exp(log_var) + mu**2 - 1 - log_var).sum(axis=-1)


def gradients(function, *values):
    tensors = [tf.constant(value, dtype=tf.float64) for value in values]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        total = tf.reduce_sum(function(*tensors))
    return [gradient.numpy() for gradient in tape.gradient(total, tensors)]


def finite_differences(function, *values, step=1e-5):
    """Central differences of the sum of a function of arrays."""
    results = []
    for which, value in enumerate(values):
        result = np.zeros_like(value)
        for index in np.ndindex(value.shape):
            moved = [[array.copy() for array in values] for _ in range(2)]
            moved[0][which][index] += step
            moved[1][which][index] -= step
            up, down = (float(np.sum(function(*arguments))) for arguments in moved)
            result[index] = (up - down) / (2 * step)
        results.append(result)
    return results


# ---- KL -------------------------------------------------------------------------------------------------------------------

PAIRS = [([0.0], [0.0]), ([1.5], [-2.0]), ([-0.3, 2.0], [1.0, -4.0]), ([0.1, -0.2, 0.3], [0.5, 0.0, -0.5])]


@pytest.mark.parametrize(("mu", "log_var"), PAIRS)
def test_kl_against_monte_carlo(mu, log_var):
    mu, scale = np.array(mu), np.exp(0.5 * np.array(log_var))
    z = stats.norm(mu, scale).rvs((200_000, len(mu)), random_state=1)
    ratio = (stats.norm(mu, scale).logpdf(z) - stats.norm.logpdf(z)).sum(axis=1)
    error = ratio.std() / np.sqrt(len(ratio))
    assert float(gaussian_kl(mu[None], np.array([log_var]))[0]) == pytest.approx(ratio.mean(), abs=4 * error + DOUBLE)


@pytest.mark.parametrize("mu", [0.0, 0.7, -3.0])
@pytest.mark.parametrize("log_var", [-8.0, -1.0, 0.0, 0.01, 2.5])
def test_kl_against_quadrature(mu, log_var):
    q = stats.norm(mu, np.exp(0.5 * log_var))
    middle, reach = q.mean(), 12 * q.std()
    expected, _ = integrate.quad(
        lambda z: q.pdf(z) * (q.logpdf(z) - stats.norm.logpdf(z)), middle - reach, middle + reach, epsabs=1e-11, points=[middle]
    )
    assert float(gaussian_kl(np.array([[mu]]), np.array([[log_var]]))[0]) == pytest.approx(expected, abs=max(1e-8, DOUBLE))


@pytest.mark.backends
def test_kl_is_exactly_zero_for_the_standard_gaussian():
    for dtype in DTYPES:
        kl = np.asarray(gaussian_kl(np.zeros((3, 4), dtype), np.zeros((3, 4), dtype)))
        np.testing.assert_array_equal(kl, [0, 0, 0])


@pytest.mark.parametrize("size", [1, 2, 50])
@pytest.mark.backends
def test_kl_is_summed_over_dimensions(size):
    one = float(gaussian_kl(np.array([[0.5]]), np.array([[-1.0]]))[0])
    assert float(gaussian_kl(np.full((1, size), 0.5), np.full((1, size), -1.0))[0]) == pytest.approx(size * one, rel=DOUBLE)


@given(arrays(-4, 4))
@pytest.mark.tensorflow_only
def test_kl_gradients(pair):
    mu, log_var = pair
    by_mu, by_log_var = gradients(gaussian_kl, mu, log_var)
    np.testing.assert_allclose(by_mu, mu, atol=1e-12)
    np.testing.assert_allclose(by_log_var, 0.5 * (np.exp(log_var) - 1), atol=1e-12)


@pytest.mark.tensorflow_only
def test_kl_gradients_against_finite_differences():
    rng = np.random.default_rng(0)
    mu, log_var = rng.normal(size=(2, 3, 4))
    for exact, approximate in zip(
        gradients(gaussian_kl, mu, log_var), finite_differences(kl_in_double, mu, log_var), strict=True
    ):
        np.testing.assert_allclose(exact, approximate, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("log_var", [1e-1, -1e-1, 1e-2, -1e-2, 1e-3, -1e-3, 1e-4, -1e-4])
@pytest.mark.backends
def test_kl_in_float32_keeps_its_digits_near_unit_variance(log_var):
    # two roundings of log_var are allowed; the literal formula makes roundings of 1, and has no digit left at 1e-4
    expected = 0.5 * (log_var**2 / 2 + log_var**3 / 6 + log_var**4 / 24 + log_var**5 / 120)
    kl = float(gaussian_kl(np.zeros((1, 1), np.float32), np.full((1, 1), log_var, np.float32))[0])
    assert kl == pytest.approx(expected, rel=1e-6, abs=2 * abs(log_var) * float(np.finfo(np.float32).eps))


@given(st.sampled_from(DTYPES).flatmap(lambda dtype: arrays(-8, 8, dtype=dtype)))
def test_kl_of_every_float_type(pair):
    kl = np.asarray(gaussian_kl(*pair))
    assert kl.shape == pair[0].shape[:1]
    assert kl.dtype == np.result_type(pair[0].dtype, np.float32)  # half precision cannot hold a sum of squares
    assert (kl >= 0).all()
    np.testing.assert_allclose(kl, kl_in_double(*pair), rtol=10 * np.finfo(kl.dtype).eps, atol=60 * np.finfo(kl.dtype).eps)


@given(arrays(-(2.0**50), 2.0**50, dtype=np.float32), arrays(-85, 85, dtype=np.float32))
@pytest.mark.backends
def test_kl_of_extreme_values_is_finite_and_right(wide, narrow):
    mu, log_var = wide[0], np.resize(narrow[1], wide[0].shape)
    kl = np.asarray(gaussian_kl(mu, log_var))
    assert np.isfinite(kl).all()
    assert (kl >= 0).all()
    np.testing.assert_allclose(kl, kl_in_double(mu, log_var), rtol=2e-5, atol=1e-5)


@given(arrays(-(2.0**-7), 2.0**-7, dtype=np.float32))
@pytest.mark.backends
def test_kl_is_never_negative_where_it_is_small(pair):
    assert (np.asarray(gaussian_kl(*pair)) >= 0).all()


# ---- log-density ----------------------------------------------------------------------------------------------------------


@given(arrays(-5, 5, count=3))
def test_log_prob_against_scipy(triple):
    z, mu, log_var = triple
    expected = stats.norm(mu, np.exp(0.5 * log_var)).logpdf(z).sum(axis=1)
    np.testing.assert_allclose(np.asarray(gaussian_log_prob(z, mu, log_var)), expected, rtol=DOUBLE, atol=DOUBLE)


def test_log_prob_against_a_full_covariance():
    rng = np.random.default_rng(2)
    z, mu, log_var = rng.normal(size=(3, 1, 5))
    expected = stats.multivariate_normal(mu[0], np.diag(np.exp(log_var[0]))).logpdf(z[0])
    assert float(gaussian_log_prob(z, mu, log_var)[0]) == pytest.approx(expected, rel=DOUBLE)


@given(arrays(-70, 70, count=3, dtype=np.float32))
@pytest.mark.backends
def test_log_prob_of_extreme_values_is_finite_and_right(triple):
    z, mu, log_var = triple
    expected = stats.norm(mu.astype(float), np.exp(0.5 * log_var.astype(float))).logpdf(z.astype(float)).sum(axis=1)
    np.testing.assert_allclose(np.asarray(gaussian_log_prob(*triple)), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.tensorflow_only
def test_log_prob_gradients_against_finite_differences():
    rng = np.random.default_rng(3)
    values = rng.normal(size=(3, 2, 3))

    def density(z, mu, log_var):
        return stats.norm(mu, np.exp(0.5 * log_var)).logpdf(z)

    for exact, approximate in zip(gradients(gaussian_log_prob, *values), finite_differences(density, *values), strict=True):
        np.testing.assert_allclose(exact, approximate, rtol=1e-6, atol=1e-7)


# ---- samples --------------------------------------------------------------------------------------------------------------


@pytest.mark.backends
def test_samples_are_gaussian():
    count = 100_000
    mu, log_var = np.array([1.0, -2.0, 0.0]), np.array([0.0, -3.0, 1.5])
    z = np.asarray(sample_gaussian(np.tile(mu, (count, 1)), np.tile(log_var, (count, 1)), seed=0))
    variance = np.exp(log_var)
    assert (np.abs(z.mean(axis=0) - mu) < 4 * np.sqrt(variance / count)).all()
    assert (np.abs(z.var(axis=0) - variance) < 4 * variance * np.sqrt(2 / count)).all()
    assert (np.abs(np.corrcoef(z.T)[np.triu_indices(3, 1)]) < 4 / np.sqrt(count)).all()
    for column in range(3):
        assert stats.kstest(z[:, column], stats.norm(mu[column], np.sqrt(variance[column])).cdf).pvalue > 1e-3


@given(st.sampled_from(DTYPES).flatmap(lambda dtype: arrays(-8, 8, dtype=dtype)), st.integers(0, 2**31 - 1))
def test_a_seed_gives_one_sample(pair, seed):
    first, second = (np.asarray(sample_gaussian(*pair, seed=seed)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.shape == pair[0].shape
    assert first.dtype == pair[0].dtype


@pytest.mark.backends
def test_other_seeds_give_other_samples():
    zeros = np.zeros((2, 3))
    assert (np.asarray(sample_gaussian(zeros, zeros, seed=1)) != np.asarray(sample_gaussian(zeros, zeros, seed=2))).all()


@pytest.mark.backends
def test_a_seed_generator_moves_on():
    zeros, generator = np.zeros((2, 3)), keras.random.SeedGenerator(1)
    first, second = (np.asarray(sample_gaussian(zeros, zeros, seed=generator)) for _ in range(2))
    assert (first != second).all()


def test_the_noise_does_not_depend_on_the_parameters():
    mu, log_var = np.array([[1.0, -2.0]]), np.array([[0.5, -1.0]])
    eps = np.asarray(sample_gaussian(np.zeros((1, 2)), np.zeros((1, 2)), seed=4))
    np.testing.assert_allclose(np.asarray(sample_gaussian(mu, log_var, seed=4)), mu + np.exp(0.5 * log_var) * eps, rtol=DOUBLE)


def cost(z):
    """Some smooth function of z without symmetry, for each row."""
    return tf.reduce_sum(tf.sin(z) + 0.3 * z**2, axis=-1)


@pytest.mark.tensorflow_only
def test_pathwise_gradients_against_finite_differences_with_common_random_numbers():
    rng = np.random.default_rng(5)
    mu, log_var = rng.normal(size=(2, 3, 2))

    def sampled_cost(mu, log_var):
        return cost(sample_gaussian(mu, log_var, seed=6))

    exact = gradients(sampled_cost, mu, log_var)
    approximate = finite_differences(lambda *values: sampled_cost(*values).numpy(), mu, log_var)
    for one, other in zip(exact, approximate, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-8)


@pytest.mark.tensorflow_only
def test_pathwise_and_score_function_gradients_agree_in_the_mean():
    count = 200_000
    mu, log_var = np.tile([[0.4, -0.2]], (count, 1)), np.tile([[-0.5, 0.3]], (count, 1))
    pathwise = gradients(lambda mu, log_var: cost(sample_gaussian(mu, log_var, seed=7)), mu, log_var)
    z = tf.stop_gradient(sample_gaussian(mu, log_var, seed=8))
    score = gradients(lambda mu, log_var: cost(z) * gaussian_log_prob(z, mu, log_var), mu, log_var)
    # a closed form beside both: E[sin z] = sin(mu) exp(−var/2) and E[z²] = mu² + var
    m, v = mu[0], np.exp(log_var[0])
    exact = np.cos(m) * np.exp(-v / 2) + 0.6 * m, v * (0.3 - 0.5 * np.sin(m) * np.exp(-v / 2))
    for one, other, truth in zip(pathwise, score, exact, strict=True):
        for estimate in (one, other):
            error = estimate.std(axis=0) / np.sqrt(count)
            assert (np.abs(estimate.mean(axis=0) - truth) < 4 * error).all()
        assert (one.var(axis=0) < other.var(axis=0)).all()  # why the reparameterisation is worth its name


# ---- what is accepted -----------------------------------------------------------------------------------------------------


@pytest.mark.backends
def test_whole_numbers_and_lists_are_accepted():
    assert np.asarray(gaussian_kl([[1, 0]], [[0, 0]])).tolist() == [0.5]
    assert np.asarray(gaussian_kl(np.array([[2]]), np.array([[0]]))).tolist() == [2.0]


@pytest.mark.backends
def test_an_empty_batch_gives_an_empty_result():
    assert np.asarray(gaussian_kl(np.zeros((0, 2)), np.zeros((0, 2)))).shape == (0,)


@pytest.mark.tensorflow_only
def test_works_in_a_compiled_function_of_unknown_batch_size():
    compiled = tf.function(gaussian_kl, input_signature=[tf.TensorSpec((None, 2)), tf.TensorSpec((None, None))])
    np.testing.assert_allclose(compiled(tf.ones((3, 2)), tf.zeros((3, 2))).numpy(), [1, 1, 1], rtol=1e-6)


BAD_SHAPES = [((3,), (3,)), ((2, 3), (2, 4)), ((2, 3), (1, 3)), ((2, 3), (3,)), ((2, 3, 1), (2, 3, 1)), ((), ())]


@pytest.mark.parametrize(("first", "second"), BAD_SHAPES)
@pytest.mark.parametrize(
    "function",
    [gaussian_kl, lambda a, b: sample_gaussian(a, b, seed=0), lambda a, b: gaussian_log_prob(a, a, b)],
    ids=["gaussian_kl", "sample_gaussian", "gaussian_log_prob"],
)
@pytest.mark.backends
def test_shapes_must_be_equal_and_of_rank_two(function, first, second):
    with pytest.raises(ValueError, match=r"expected equal shapes \(batch, latent_dim\), got .*mu \("):
        function(np.zeros(first), np.zeros(second))


def test_the_kl_is_the_sum_of_its_dimensions():
    mu, log_var = np.random.default_rng(1).normal(size=(2, 6, 3))
    parts = np.asarray(gaussian_kl(mu, log_var, per_dim=True))
    for j in range(3):  # each dimension is a Gaussian of its own
        np.testing.assert_allclose(parts[:, j], gaussian_kl(mu[:, j : j + 1], log_var[:, j : j + 1]), rtol=DOUBLE)
    np.testing.assert_allclose(parts.sum(axis=1), gaussian_kl(mu, log_var), rtol=DOUBLE)
