"""Evaluation against closed forms, scipy's quadrature, NumPy in double precision, and one estimate against another."""

import logging
from functools import partial

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special, stats

import vae_lib
from vae_lib import (
    TrainConfig,
    active_units,
    build_vae,
    elbo,
    evaluation,
    exact_log_px,
    iwae_bound,
    posterior_on_grid,
    with_label,
)
from vae_lib.gaussian import gaussian_kl

SEEDS = 16


@pytest.fixture(scope="module")
def small_digits():
    """Scikit-learn's digits as they are, 8×8: training images and 100 test images."""
    from sklearn.datasets import load_digits

    x = (load_digits().data / 16).astype(np.float32)
    return x[:1500], x[1500:1600]


@pytest.fixture(scope="module", params=[1, 2], ids=["1d", "2d"])
def trained(request, small_digits):
    config = vae_lib.TrainConfig(input_dim=64, latent_dim=request.param, hidden=(32,), epochs=40, learning_rate=3e-3, seed=5)
    vae = vae_lib.build_vae(config)
    if keras.backend.backend() == "tensorflow":
        vae_lib.train(vae, small_digits[0], progress=False)
    else:  # what every backend has
        vae.compile(keras.optimizers.Adam(config.learning_rate))
        vae.fit(small_digits[0], batch_size=config.batch_size, epochs=config.epochs, verbose=0)
    return vae


def numpy_decoder(vae):
    """The decoder's logits in double precision, by NumPy alone."""
    w1, b1, w2, b2 = (np.asarray(weight, np.float64) for weight in vae.decoder.get_weights())  # arrays on any backend
    return lambda z: np.maximum(z @ w1 + b1, 0) @ w2 + b2


def log_likelihood(x, logits):
    """Log p(x|z) of all images at all points in double precision: (images, points)."""
    return x.astype(float) @ special.log_expit(logits).T + (1 - x.astype(float)) @ special.log_expit(-logits).T


def regular_grid(limit, points, dims):
    axis = np.linspace(-limit, limit, points)
    return np.stack(np.meshgrid(*[axis] * dims, indexing="ij"), axis=-1).reshape(-1, dims), (axis[1] - axis[0]) ** dims


def handmade(w1, b1, w2, b2, *, code=0.0, log_var=0.0):
    """A VAE with this decoder, and an encoder that answers the same code to everything."""
    w1, w2 = np.atleast_2d(w1), np.atleast_2d(w2)
    vae = vae_lib.build_vae(vae_lib.TrainConfig(input_dim=w2.shape[1], latent_dim=w1.shape[0], hidden=(w1.shape[1],)))
    vae.decoder.set_weights([w1, np.broadcast_to(b1, w1.shape[1]), w2, np.broadcast_to(b2, w2.shape[1])])
    for layer, value in (("mu", code), ("log_var", log_var)):
        vae.encoder.get_layer(layer).kernel.assign(np.zeros(vae.encoder.get_layer(layer).kernel.shape))
        vae.encoder.get_layer(layer).bias.assign(np.full(w1.shape[0], value))
    return vae


def ignores_z(logits, dims=2):
    return handmade(np.zeros((dims, 1)), 0.0, np.zeros((1, len(logits))), np.asarray(logits))


def spike(dims, place, slope, pixels=10):
    """Each latent dimension has pixels of its own, whose logit is −slope · |z − place|: the likelihood is a product of spikes."""
    w1 = np.kron(np.eye(dims), [[1.0, -1.0]])  # relu(z − place), relu(place − z) for each dimension
    w2 = np.kron(np.eye(dims), np.full((2, pixels), -slope))
    return handmade(w1, np.tile([-place, place], dims), w2, 0.0)


# --- log p(x) --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("scale", [1, 30, 1e4], ids=["moderate", "large", "extreme"])
@pytest.mark.backends
def test_log_px_of_a_decoder_that_ignores_z_is_closed_form(dims, scale):
    logits = scale * np.random.default_rng(1).uniform(-1, 1, 13)
    x = np.random.default_rng(2).random((6, 13), dtype=np.float32)
    expected = log_likelihood(x, logits[None])[:, 0]
    result = vae_lib.exact_log_px(ignores_z(logits, dims), x, tol=1e-3)
    np.testing.assert_allclose(result.log_px, expected, rtol=1e-6, atol=2e-5)


def test_log_px_with_one_hidden_unit_against_dblquad():
    w1, b1, w2, b2 = np.array([[1.5], [-0.7]]), 0.4, np.array([[3.0, -2.0, 0.5]]), np.array([-1.0, 0.3, 0.8])
    x = np.array([[1, 0, 0.5], [0, 1, 1]], np.float32)

    def joint(z1, z0, row):
        logits = np.maximum(z0 * 1.5 - z1 * 0.7 + b1, 0) * w2[0] + b2
        return np.exp(log_likelihood(row[None], logits[None])[0, 0] - 0.5 * (z0 * z0 + z1 * z1)) / (2 * np.pi)

    expected = [np.log(integrate.dblquad(joint, -8, 8, -8, 8, args=(row,), epsabs=1e-7)[0]) for row in x]
    result = vae_lib.exact_log_px(handmade(w1, b1, w2, b2), x, tol=1e-3)
    np.testing.assert_allclose(result.log_px, expected, atol=1e-3)


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("slope", [1, 30, 200])
@pytest.mark.parametrize("place", [0.0, 1.2345, -4.321, 8.7])
def test_log_px_finds_narrow_posteriors_wherever_they_are(dims, slope, place):
    """The narrowest is a thousandth wide, the farthest lies beyond the codes (at 0) and the prior."""

    def joint(z):
        return np.exp(10 * special.log_expit(-slope * abs(z - place)) - 10 * np.log(0.5) + stats.norm.logpdf(z))

    width = 10 / slope
    edges = [place - width, place, place + width]
    parts = [(-np.inf, edges[0]), (edges[0], place), (place, edges[2]), (edges[2], np.inf)]
    one = np.log(sum(integrate.quad(joint, *part, epsabs=0, epsrel=1e-8, limit=200)[0] for part in parts)) + 10 * np.log(0.5)
    x = np.ones((1, 10 * dims), np.float32)
    result = vae_lib.exact_log_px(spike(dims, place, slope), x, tol=1e-3)
    np.testing.assert_allclose(result.log_px, dims * one, atol=2e-3)
    assert result.limit > abs(place)


def test_log_px_agrees_with_a_dense_grid_in_double_precision(trained, small_digits):
    x, dims = small_digits[1][:20], trained.config.latent_dim
    z, cell = regular_grid(10, 700, dims)
    log_joint = log_likelihood(x, numpy_decoder(trained)(z)) + stats.norm.logpdf(z).sum(axis=1)
    expected = special.logsumexp(log_joint, axis=1) + np.log(cell)
    result = vae_lib.exact_log_px(trained, x, tol=1e-3)
    np.testing.assert_allclose(result.log_px, expected, atol=2e-3)


def test_log_px_reports_its_grid(trained, small_digits):
    x = small_digits[1]
    coarse, fine = (vae_lib.exact_log_px(trained, x, tol=tol) for tol in (0.1, 1e-4))
    assert coarse.log_px.shape == (100,)
    assert coarse.difference <= 0.1
    assert fine.difference <= 1e-4
    assert fine.levels >= coarse.levels >= 1
    assert fine.points == coarse.points * 2 ** (fine.levels - coarse.levels)
    assert np.abs(coarse.log_px - fine.log_px).mean() <= 0.1


def test_one_image_alone_has_the_log_px_that_it_has_among_others(trained, small_digits):
    together = vae_lib.exact_log_px(trained, small_digits[1], tol=1e-3).log_px
    alone = np.concatenate([vae_lib.exact_log_px(trained, row[None], tol=1e-3).log_px for row in small_digits[1][:5]])
    np.testing.assert_allclose(alone, together[:5], atol=2e-3)


def test_log_px_of_narrow_posteriors_beside_wide_ones():
    """A spike for the image of ones, as wide as the prior for nine images of zeros: the wide ones settle long before it."""
    vae = spike(2, 0.5, 200.0)
    narrow, wide = np.ones((1, 20), np.float32), np.zeros((9, 20), np.float32)
    together = vae_lib.exact_log_px(vae, np.concatenate([narrow, wide]), tol=1e-3).log_px
    alone = [vae_lib.exact_log_px(vae, x, tol=1e-3).log_px[0] for x in (narrow, wide[:1])]
    np.testing.assert_allclose(together, np.repeat(alone, [1, 9]), atol=3e-3)


@pytest.mark.parametrize(("code", "limit"), [(0.0, 6), (5.5, 6.5), (1e4, np.sqrt(2 * (25 + 2 * np.log(2))))])
def test_the_grid_covers_the_codes_within_reason(code, limit):
    """As p(x|z) ≤ 1, at most exp(−r²/2) / p(x) of a posterior lies beyond r: less than exp(−25) beyond the last limit."""
    vae = handmade(np.zeros((2, 1)), 0.0, np.zeros((1, 2)), np.zeros(2), code=code)
    result = vae_lib.exact_log_px(vae, np.ones((1, 2), np.float32))
    assert result.limit == pytest.approx(limit, rel=1e-4)
    assert result.log_px == pytest.approx(2 * np.log(0.5), abs=1e-4)


def test_log_px_says_so_when_tol_is_out_of_reach(monkeypatch):
    monkeypatch.setattr(evaluation, "_MOST_POINTS", 1e4)
    with pytest.raises(ValueError, match=r"tol: expected .* got 1e-12 .* raise tol"):
        vae_lib.exact_log_px(spike(1, 0.3, 30.0), np.ones((1, 10), np.float32), tol=1e-12)


def straight(slope, offset, dims, pixels=100):
    """Logits that grow in a straight line with z₁, far below zero: each white pixel's log-probability is the logit itself."""
    first = np.zeros((dims, 1))
    first[0] = 1
    return handmade(first, 256, np.full((1, pixels), slope), offset - 256 * slope)  # the relu is open wherever a grid looks


def test_a_posterior_far_out_on_a_line_is_found():
    """log ∫ exp(100 z − 20,000) N(z; 0, 1) dz = 5,000 − 20,000: the posterior is N(100, 1)."""
    result = vae_lib.exact_log_px(straight(1.0, -200.0, 1), np.ones((1, 100), np.float32), tol=0.1)
    assert result.log_px == pytest.approx([-15_000], abs=0.1)
    assert result.limit > 104


def test_a_posterior_that_runs_away_ends_the_search_with_a_word():
    """Where it took minutes upon minutes to widen the grid step by step up to z = 1,000, in two dimensions."""
    with pytest.raises(
        ValueError, match=r"vae: expected posteriors within 50 .* of the prior, got one that may lie beyond; train"
    ):
        vae_lib.exact_log_px(straight(100.0, -200_000.0, 2, pixels=10), np.ones((1, 10), np.float32))


@pytest.mark.parametrize("call", [exact_log_px, posterior_on_grid])
def test_codes_far_out_do_not_make_the_grid_as_wide(call):
    """Codes at 10⁵ and pixels that nobody can explain: neither may ask for a grid of 10¹⁰ points."""
    vae = handmade(np.zeros((2, 1)), 0.0, np.zeros((1, 100)), np.full(100, -1e5), code=1e5)
    with pytest.raises(ValueError, match="vae: expected posteriors within 50 standard deviations of the prior"):
        call(vae, np.ones((1, 100), np.float32))


def test_a_posterior_of_more_numbers_than_memory_is_refused():
    vae = ignores_z([0.5, -3.0])
    with pytest.raises(
        ValueError, match=r"points: expected a whole number from 2 to 231\d\d, got 1000000; the result for 1 images"
    ):
        posterior_on_grid(vae, np.ones((1, 2), np.float32), points=10**6)


# ---- a model that has diverged says so ------------------------------------------------------------------------------------

MEASURES = {
    "elbo": elbo,
    "iwae_bound": partial(iwae_bound, k=3),
    "exact_log_px": exact_log_px,
    "posterior_on_grid": posterior_on_grid,
    "active_units": active_units,
}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["encoder", "decoder"])
@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
@pytest.mark.backends
def test_weights_that_are_no_numbers_are_reported(measure, part, value):
    vae = handmade([[1.0], [0.0]], 0.0, [[1.0, -1.0]], 0.0)
    variable = getattr(vae, part).variables[0]
    weights = np.array(keras.ops.convert_to_numpy(variable))
    weights.flat[0] = value
    variable.assign(weights)
    with pytest.raises(ValueError, match=f"vae: weights {part}_0/kernel: expected finite numbers, got .* again"):
        measure(vae, np.ones((2, 2), np.float32))


# Finite weights whose outputs are not: a code or a σ beyond float32, and logits beyond it where they are asked for.
OVERFLOWING = {
    "code": ({"code": np.float32(3e38)}, {"elbo", "iwae_bound"}),
    "spread": ({"log_var": 200.0}, {"elbo", "iwae_bound"}),
}


@pytest.mark.parametrize(("changes", "measures"), OVERFLOWING.values(), ids=OVERFLOWING)
@pytest.mark.backends
def test_outputs_that_are_no_numbers_are_reported(changes, measures):
    vae = handmade([[1.0], [1.0]], 0.0, [[1.0, -1.0]], 0.0, **changes)
    for name in measures:
        with pytest.raises(ValueError, match=r"vae: .* expected finite numbers, got .*; the model has diverged, train again"):
            MEASURES[name](vae, np.ones((2, 2), np.float32))


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
@pytest.mark.backends
def test_logits_that_are_no_numbers_are_reported(measure):
    """Two hidden units of 10³⁸ each, one hundred times: their sum is beyond float32, though no weight is."""
    vae = handmade(np.zeros((2, 2)), 3e38, np.full((2, 2), 100.0), 0.0)
    if measure is active_units:
        assert measure(vae, np.ones((2, 2), np.float32)).active == 0  # the encoder is sound
    else:
        with pytest.raises(ValueError, match=r"vae: .* expected finite numbers, got .*; the model has diverged"):
            measure(vae, np.ones((2, 2), np.float32))


@pytest.mark.backends
def test_codes_that_are_no_numbers_are_not_counted_as_a_collapse():
    vae = handmade([[1.0], [1.0]], 0.0, [[1.0, -1.0]], 0.0)
    hidden, mu = (vae.encoder.get_layer(name) for name in ("encoder_0", "mu"))
    hidden.kernel.assign(np.full(hidden.kernel.shape, 1e30))
    mu.kernel.assign(np.full(mu.kernel.shape, 1e30))
    with pytest.raises(ValueError, match=r"vae: mu of q\(z\|x\): expected finite numbers, got infinity; the model has diverged"):
        active_units(vae, np.ones((2, 2), np.float32))


def test_measures_change_neither_the_images_nor_the_model(trained, small_digits):
    x = small_digits[1][:5].astype(np.float64)
    before, weights = x.copy(), trained.get_weights()
    for measure in MEASURES.values():
        measure(trained, x)
    np.testing.assert_array_equal(x, before)
    assert x.flags.writeable
    for one, other in zip(trained.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(one, other)


# --- the identity log p(x) = ELBO + KL(q ‖ posterior) ----------------------------------------------------------------------


def test_identity_closes_on_real_images(trained, small_digits):
    x, dims = small_digits[1], trained.config.latent_dim
    posterior = vae_lib.posterior_on_grid(trained, x, points=400)
    cell = (posterior.axis[1] - posterior.axis[0]) ** dims
    z = np.stack(np.meshgrid(*[posterior.axis] * dims, indexing="ij"), axis=-1).reshape(-1, dims)
    mu, log_var = (keras.ops.convert_to_numpy(part).astype(float) for part in trained.encoder(x))
    log_q = stats.norm.logpdf(z[None], mu[:, None], np.exp(0.5 * log_var)[:, None]).sum(axis=-1)  # (images, points)
    q = np.exp(log_q) * cell
    np.testing.assert_allclose(q.sum(axis=1), 1, atol=1e-4)  # the grid is fine and wide enough for q
    expected_log_likelihood = (q * log_likelihood(x, numpy_decoder(trained)(z))).sum(axis=1)
    kl_to_prior = keras.ops.convert_to_numpy(gaussian_kl(mu, log_var))
    kl_by_quadrature = (q * (log_q - stats.norm.logpdf(z).sum(axis=1))).sum(axis=1)
    np.testing.assert_allclose(kl_by_quadrature, kl_to_prior, atol=2e-3)
    kl_to_posterior = (q * (log_q - posterior.log_density.reshape(len(x), -1))).sum(axis=1)
    log_px = vae_lib.exact_log_px(trained, x, tol=1e-3).log_px
    np.testing.assert_allclose(expected_log_likelihood - kl_to_prior + kl_to_posterior, log_px, atol=0.01)
    assert (kl_to_posterior > -1e-3).all()
    assert kl_to_posterior.mean() > 0.05  # the gap is there: the identity is not closed by 0 = 0


def test_elbo_agrees_with_quadrature(trained, small_digits):
    x, dims = small_digits[1][:10], trained.config.latent_dim
    z, cell = regular_grid(8, 500, dims)
    mu, log_var = (keras.ops.convert_to_numpy(part).astype(float) for part in trained.encoder(x))
    q = np.exp(stats.norm.logpdf(z[None], mu[:, None], np.exp(0.5 * log_var)[:, None]).sum(axis=-1)) * cell
    expected = (q * log_likelihood(x, numpy_decoder(trained)(z))).sum(axis=1) - keras.ops.convert_to_numpy(
        gaussian_kl(mu, log_var)
    )
    draws = np.stack([vae_lib.elbo(trained, x, samples=50, seed=seed).elbo for seed in range(SEEDS)])
    error = draws.std(axis=0, ddof=1) / np.sqrt(SEEDS)
    assert (np.abs(draws.mean(axis=0) - expected) < 4.5 * error + 1e-3).all()


# --- the importance-weighted bound -----------------------------------------------------------------------------------------


def test_iwae_with_many_samples_agrees_with_exact_log_px(trained, small_digits):
    x = small_digits[1][:50]
    log_px = vae_lib.exact_log_px(trained, x, tol=1e-3).log_px
    draws = np.stack([vae_lib.iwae_bound(trained, x, k=5000, seed=seed) for seed in range(SEEDS)]).mean(axis=1)
    error = draws.std(ddof=1) / np.sqrt(SEEDS)
    assert error < 0.05
    assert abs(draws.mean() - log_px.mean()) < 3 * error + 1e-3  # 1e-3: the tolerance of log_px


def test_iwae_does_not_fall_with_k_and_stays_below_log_px(trained, small_digits):
    x = small_digits[1]
    draws = {k: np.stack([vae_lib.iwae_bound(trained, x, k=k, seed=s).mean() for s in range(SEEDS)]) for k in (1, 3, 10, 100)}
    means = [values.mean() for values in draws.values()]
    errors = [values.std(ddof=1) / np.sqrt(SEEDS) for values in draws.values()]
    for low, high in ((0, 1), (1, 2), (2, 3)):
        assert means[high] > means[low] - 3 * np.hypot(errors[low], errors[high])
    assert means[-1] - means[0] > 3 * np.hypot(errors[0], errors[-1])
    assert means[-1] < vae_lib.exact_log_px(trained, x).log_px.mean() + 3 * errors[-1] + 0.01


def test_iwae_with_one_sample_is_the_elbo_in_the_mean(trained, small_digits):
    x = small_digits[1]
    iwae = np.stack([vae_lib.iwae_bound(trained, x, k=1, seed=seed).mean() for seed in range(SEEDS)])
    elbo = np.stack([vae_lib.elbo(trained, x, samples=1, seed=seed).elbo.mean() for seed in range(SEEDS)])
    error = np.sqrt((iwae.var(ddof=1) + elbo.var(ddof=1)) / SEEDS)
    assert abs(iwae.mean() - elbo.mean()) < 3 * error


@pytest.mark.parametrize("k", [1, 7, 5000])
@pytest.mark.backends
def test_iwae_is_exact_for_any_k_where_q_is_the_posterior(k):
    logits = np.array([3.0, -40.0, 0.5, 1e4])  # nothing depends on z, so the posterior is the prior, and q is N(0, 1)
    x = np.random.default_rng(3).random((3, 4), dtype=np.float32)
    expected = log_likelihood(x, logits[None])[:, 0]
    np.testing.assert_allclose(vae_lib.iwae_bound(ignores_z(logits), x, k=k), expected, rtol=1e-6, atol=1e-5)


def test_iwae_does_not_depend_on_how_many_samples_are_held_at_once(trained, small_digits, monkeypatch):
    x = small_digits[1][:1]
    at_once = vae_lib.iwae_bound(trained, x, k=100)
    monkeypatch.setattr(evaluation, "_DECODED", 7)
    np.testing.assert_allclose(vae_lib.iwae_bound(trained, x, k=100), at_once, rtol=1e-6)


def test_iwae_repeats_with_its_seed_and_differs_with_another(trained, small_digits):
    first, again, other = (vae_lib.iwae_bound(trained, small_digits[1], k=5, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()


def test_iwae_with_more_than_two_latent_dimensions(small_digits):
    vae = vae_lib.build_vae(vae_lib.TrainConfig(input_dim=64, latent_dim=5, hidden=(16,)))
    bound = np.stack([vae_lib.iwae_bound(vae, small_digits[1], k=1, seed=seed).mean() for seed in range(SEEDS)])
    elbo = np.stack([vae_lib.elbo(vae, small_digits[1], samples=1, seed=seed).elbo.mean() for seed in range(SEEDS)])
    assert abs(bound.mean() - elbo.mean()) < 3 * np.sqrt((bound.var(ddof=1) + elbo.var(ddof=1)) / SEEDS)


@given(st.integers(1, 10**5), st.integers(1, 5000))
def test_even_parts(total, most):
    parts = evaluation._even_parts(total, most)
    assert sum(parts) == total
    assert max(parts) <= most
    assert max(parts) - min(parts) <= 1
    assert len(parts) == -(-total // most)


# --- log p(x|z), compiled --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pixels", [1, 7, 8, 20])
@pytest.mark.parametrize("reach", [1.0, 11.0, 90.0, 1e4])
@pytest.mark.backends
def test_log_likelihood_at_moderate_and_extreme_logits(pixels, reach):
    rng = np.random.default_rng(pixels)
    vae = handmade([[1.0, -1.0]], 0.0, reach * rng.uniform(-1, 1, (2, pixels)), rng.uniform(-1, 1, pixels))
    z, x = rng.uniform(-1, 1, (3, 5, 1)).astype(np.float32), rng.random((3, 4, pixels), dtype=np.float32)
    actual = evaluation._LogLikelihood.of(vae)(z, x)
    for group in range(3):
        expected = log_likelihood(x[group], numpy_decoder(vae)(z[group].astype(float)))
        np.testing.assert_allclose(actual[group], expected, rtol=2e-6, atol=2e-6 * pixels * max(reach, 1))


def test_log_likelihood_follows_the_weights(vae, images):
    before = vae_lib.iwae_bound(vae, images, k=1)
    vae.decoder.get_layer("logits").bias.assign_add(np.ones(784))
    after = vae_lib.iwae_bound(vae, images, k=1)
    assert (np.abs(after - before) > 1).all()


def test_many_models_and_shapes_compile_without_a_warning(caplog):
    with caplog.at_level(logging.WARNING, logger="tensorflow"):
        for seed in range(4):
            vae = vae_lib.build_vae(vae_lib.TrainConfig(input_dim=6, hidden=(4,), seed=seed))
            for k in (1, 2, 3):
                vae_lib.iwae_bound(vae, np.ones((k + 1, 6), np.float32), k=k)
    assert not caplog.records


# --- the posterior ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.backends
def test_posterior_of_a_decoder_that_ignores_z_is_the_prior(dims):
    result = vae_lib.posterior_on_grid(ignores_z([0.5, -3.0], dims), np.ones((2, 2), np.float32), points=101, limit=7)
    z = np.stack(np.meshgrid(*[result.axis] * dims, indexing="ij"), axis=-1)
    assert result.axis[0] == pytest.approx(-7 + 7 / 101)
    assert result.log_density.shape == (2, *[101] * dims)
    np.testing.assert_allclose(result.log_density[0], stats.norm.logpdf(z).sum(axis=-1), atol=1e-4)


def test_posterior_is_joint_over_evidence(trained, small_digits):
    x, dims = small_digits[1][:10], trained.config.latent_dim
    result = vae_lib.posterior_on_grid(trained, x, points=300)
    z = np.stack(np.meshgrid(*[result.axis] * dims, indexing="ij"), axis=-1).reshape(-1, dims)
    log_joint = log_likelihood(x, numpy_decoder(trained)(z)) + stats.norm.logpdf(z).sum(axis=1)
    log_px = vae_lib.exact_log_px(trained, x, tol=1e-3).log_px
    np.testing.assert_allclose(result.log_density.reshape(10, -1), log_joint - log_px[:, None], rtol=1e-5, atol=3e-3)
    cell = (result.axis[1] - result.axis[0]) ** dims
    np.testing.assert_allclose(np.exp(result.log_density.reshape(10, -1).astype(float)).sum(axis=1) * cell, 1, atol=1e-4)


@pytest.mark.backends
def test_posterior_says_which_axis_is_which():
    vae = handmade(np.array([[1.0], [0.0]]), 0.0, np.full((1, 4), 5.0), -5.0)  # pixels depend on the first coordinate alone
    density = np.exp(vae_lib.posterior_on_grid(vae, np.ones((1, 4), np.float32), points=80).log_density[0])
    axis = vae_lib.posterior_on_grid(vae, np.ones((1, 4), np.float32), points=80).axis
    assert (density.sum(axis=1) @ axis) / density.sum() > 0.5
    assert abs(density.sum(axis=0) @ axis) / density.sum() < 1e-4


# --- active units ----------------------------------------------------------------------------------------------------------


@pytest.mark.backends
def test_active_units_are_not_counted_where_rounding_hides_the_codes():
    """At 1e7 neighbouring float32 numbers lie 1 apart: a variance of 0 there says nothing about a collapse."""
    vae = vae_lib.build_vae(vae_lib.TrainConfig(input_dim=6, hidden=(4,)))
    x = np.random.default_rng(0).random((20, 6), dtype=np.float32)
    bias = vae.encoder.get_layer("mu").bias
    bias.assign([1e3, 0.0])  # two digits behind the point are left, and the variance with them
    before = vae_lib.active_units(vae, x).variance
    bias.assign([0.0, 0.0])
    np.testing.assert_allclose(before, vae_lib.active_units(vae, x).variance, rtol=0.02)
    bias.assign([1e7, 0.0])
    with pytest.raises(ValueError, match=r"codes that float32 can tell apart, got up to 1e\+07; the model has diverged"):
        vae_lib.active_units(vae, x)


def test_active_units_leave_out_a_dead_dimension(small_digits):
    vae = vae_lib.build_vae(vae_lib.TrainConfig(input_dim=64, latent_dim=4, hidden=(16,), seed=2))
    layer = vae.encoder.get_layer("mu")
    kernel = np.array(keras.ops.convert_to_numpy(layer.kernel))
    kernel[:, 1] = 0  # dead
    kernel[:, 3] *= 1e-3  # as good as dead
    layer.kernel.assign(kernel)
    mu = keras.ops.convert_to_numpy(vae.encoder(small_digits[1])[0]).astype(float)
    result = vae_lib.active_units(vae, small_digits[1])
    assert result.active == 2
    assert result.variance[1] == 0
    np.testing.assert_allclose(result.variance, np.cov(mu.T, ddof=0).diagonal(), rtol=1e-5, atol=1e-12)
    assert vae_lib.active_units(vae, small_digits[1], threshold=0).active == 3
    assert vae_lib.active_units(vae, small_digits[1], threshold=1e9).active == 0


# --- bad input -------------------------------------------------------------------------------------------------------------

GOOD = np.full((3, 6), 0.5, np.float32)
CALLS = {
    "elbo": vae_lib.elbo,
    "iwae_bound": lambda vae, x, **options: vae_lib.iwae_bound(vae, x, **{"k": 2} | options),
    "exact_log_px": vae_lib.exact_log_px,
    "posterior_on_grid": vae_lib.posterior_on_grid,
    "active_units": vae_lib.active_units,
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (GOOD[0], r"x: expected shape \(images, 6\) .* got \(6,\); of one image"),
        (GOOD[None], r"x: expected shape \(images, 6\) .* got \(1, 3, 6\); give one row an image: flatten"),
        (GOOD[:, :5], r"x: expected shape \(images, 6\) .* got \(3, 5\); the model takes"),
        (GOOD[:0], r"x: expected shape \(images, 6\) with at least one image, got \(0, 6\)"),
        (GOOD * np.nan, r"x: expected values in \[0, 1\], got nan to nan; drop"),
        (GOOD * 255, r"x: expected values in \[0, 1\], got 127.5 to 127.5; divide"),
        (-GOOD, r"x: expected values in \[0, 1\], got -0.5 to -0.5; values in"),
        (np.full((3, 6), "a"), r"x: expected .*numbers, got .*; give"),
    ],
    ids=["rank 1", "rank 3", "width", "empty", "nan", "bytes", "negative", "text"],
)
def test_bad_images(call, x, message):
    vae = vae_lib.build_vae(vae_lib.TrainConfig(input_dim=6, hidden=(4,)))
    with pytest.raises(ValueError, match=message):
        call(vae, x)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        *[
            ("elbo", {"samples": value}, r"samples: expected a whole number from 1 to 10000000, got ")
            for value in (0, -1, 1.5, True)
        ],
        *[
            ("iwae_bound", {"k": value}, r"k: expected a whole number from 1 to 10000000, got ")
            for value in (0, -3, 2.0, "5", True, None, 10**18)
        ],
        *[
            ("exact_log_px", {"tol": value}, r"tol: expected a finite number above 0, got .*; it is in nats, and 0.01")
            for value in (0, -0.1, np.nan, np.inf, "0.01", True)
        ],
        *[
            ("posterior_on_grid", {"points": value}, r"points: expected a whole number from 2 to 13377, got ")
            for value in (1, 0, 10.0)
        ],
        *[
            ("posterior_on_grid", {"limit": value}, r"limit: expected a finite number above 0 and at most 10000.0, got .*; 6")
            for value in (0, -6, np.inf, np.nan, "6", True)
        ],
        *[
            ("active_units", {"threshold": value}, r"threshold: expected a finite number of at least 0, got .*0.01")
            for value in (-0.01, np.nan, np.inf, "a", True)
        ],
    ],
)
def test_bad_options(name, options, message):
    vae = vae_lib.build_vae(vae_lib.TrainConfig(input_dim=6, hidden=(4,)))
    with pytest.raises(ValueError, match=message):
        CALLS[name](vae, GOOD, **options)


@pytest.mark.parametrize("name", ["exact_log_px", "posterior_on_grid"])
def test_a_grid_needs_few_dimensions(name):
    vae = vae_lib.build_vae(vae_lib.TrainConfig(input_dim=6, hidden=(4,), latent_dim=3))
    with pytest.raises(ValueError, match=r"vae: expected at most 2 latent dimensions, got 3: .* use iwae_bound"):
        CALLS[name](vae, GOOD)


def test_a_variance_needs_two_images():
    vae = vae_lib.build_vae(vae_lib.TrainConfig(input_dim=6, hidden=(4,)))
    with pytest.raises(ValueError, match=r"x: expected at least two images, got one; .* give a whole test set"):
        vae_lib.active_units(vae, GOOD[:1])


# ---- conditional models ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def conditional():
    """A conditional VAE with weights that matter, images in the order of no label, and what each label makes of them."""
    vae = build_vae(TrainConfig(input_dim=12, latent_dim=2, hidden=(8,), classes=3, seed=5))
    rng = np.random.default_rng(2)
    for variable in vae.trainable_variables:
        variable.assign(rng.normal(scale=0.3, size=variable.shape))
    return vae, rng.random((30, 12), dtype=np.float32), rng.permutation(np.arange(30) % 3)


@pytest.mark.backends
def test_the_elbo_of_a_conditional_vae_is_that_of_its_networks_with_the_label(conditional):
    vae, x, labels = conditional
    y = np.eye(3, dtype=np.float32)[labels]
    mu, log_var = (keras.ops.convert_to_numpy(value) for value in vae.encoder([x, y]))
    terms = elbo(vae, x, labels=labels, samples=400)
    np.testing.assert_allclose(terms.kl, 0.5 * (np.exp(log_var) + mu**2 - 1 - log_var).sum(axis=1), rtol=1e-4)
    draws = []
    for eps in np.random.default_rng(0).standard_normal((400, 30, 2)).astype(np.float32):
        logits = keras.ops.convert_to_numpy(vae.decoder([mu + np.exp(log_var / 2) * eps, y])).astype(float)
        draws.append((np.logaddexp(0, logits) - x * logits).sum(axis=1))
    spread = np.std(draws, axis=0, ddof=1) * np.sqrt(2 / 400)
    assert (np.abs(terms.reconstruction - np.mean(draws, axis=0)) < 5 * spread).all()


@pytest.mark.backends
def test_with_one_label_each_measure_is_that_of_the_ordinary_vae(conditional):
    vae, x, labels = conditional
    fixed, of_one = with_label(vae, 1), np.ones(30, int)
    for one, other in zip(elbo(vae, x, labels=of_one), elbo(fixed, x), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(iwae_bound(vae, x, k=7, labels=of_one), iwae_bound(fixed, x, k=7))
    np.testing.assert_array_equal(active_units(vae, x, labels=of_one).variance, active_units(fixed, x).variance)
    mixed = iwae_bound(vae, x, k=4000, labels=labels)
    for label in range(3):  # put back in order: the bound of each label's images is near log p(x|label)
        exact = exact_log_px(with_label(vae, label), x[labels == label]).log_px
        np.testing.assert_allclose(mixed[labels == label], exact, atol=0.2)


@pytest.mark.parametrize("measure", [elbo, partial(iwae_bound, k=2), active_units])
@pytest.mark.backends
def test_labels_are_asked_for_and_refused(conditional, measure):
    vae, x, labels = conditional
    with pytest.raises(ValueError, match="labels: expected 30 whole numbers from 0 to 2, got none"):
        measure(vae, x)
    with pytest.raises(ValueError, match="labels: expected none, for the model is not conditional"):
        measure(with_label(vae, 0), x, labels=labels)


@pytest.mark.parametrize("measure", [exact_log_px, posterior_on_grid])
def test_grids_are_for_one_label_at_a_time(conditional, measure):
    vae, x, _ = conditional
    with pytest.raises(ValueError, match=r"not conditional; give with_label\(vae, label\) and the images with that label"):
        measure(vae, x)


# ---- Gaussians against a posterior on a grid, and the aggregate posterior ---------------------------------------------------


def gaussian_posterior(mean, covariance, *, points=400, limit=4.0):
    """A Gaussian posterior as a grid would hold it, for one image."""
    step = 2 * limit / points
    axis = (np.arange(points) + 0.5) * step - limit
    z = np.stack(np.meshgrid(*[axis] * len(mean), indexing="ij"), axis=-1)
    log_density = stats.multivariate_normal(mean, covariance).logpdf(z)
    return vae_lib.PosteriorGrid(axis, np.asarray(log_density, np.float32)[None])


CORRELATED = np.array([[0.09, 0.05], [0.05, 0.16]])


@pytest.mark.parametrize(("mu", "log_var"), [((0.3, -0.5), (-2.0, -1.5)), ((0.0, 0.0), (-3.5, -2.5)), ((1.0, 0.4), (-1.0, -3.0))])
def test_kl_to_a_gaussian_posterior_is_the_closed_form(mu, log_var):
    mean = np.array([0.4, -0.2])
    away, variances, precision = mean - mu, np.diag(np.exp(log_var)), np.linalg.inv(CORRELATED)
    log_ratio = np.linalg.slogdet(CORRELATED)[1] - np.sum(log_var)
    expected = 0.5 * (np.trace(precision @ variances) + away @ precision @ away - 2 + log_ratio)
    ours = vae_lib.kl_to_posterior(gaussian_posterior(mean, CORRELATED), [mu], [log_var])
    assert ours == pytest.approx([expected], abs=1e-4)


def test_the_best_gaussian_of_a_correlated_posterior_is_the_closed_form():
    mean, precision = np.array([0.4, -0.2]), np.linalg.inv(CORRELATED)
    best = vae_lib.best_gaussian(gaussian_posterior(mean, CORRELATED), [[-1.0, 1.0]], [[-2.0, -2.0]])
    assert best.mu[0] == pytest.approx(mean, abs=1e-3)
    assert best.log_var[0] == pytest.approx(-np.log(np.diag(precision)), abs=1e-3)
    left = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
    assert best.kl == pytest.approx([left], abs=1e-4)


def test_the_best_gaussian_of_a_line_is_the_posterior_itself():
    best = vae_lib.best_gaussian(gaussian_posterior([0.7], [[0.04]]), [[-0.5]], [[-1.0]])
    assert (best.mu[0, 0], best.log_var[0, 0]) == pytest.approx((0.7, np.log(0.04)), abs=1e-3)
    assert best.kl == pytest.approx([0], abs=1e-5)


def test_of_two_modes_the_search_finds_the_higher_one_from_the_lower():
    one, other = gaussian_posterior([-1.5, 0.0], np.eye(2) * 0.04), gaussian_posterior([1.5, 0.0], np.eye(2) * 0.04)
    mixed = np.logaddexp(np.log(0.1) + one.log_density, np.log(0.9) + other.log_density)
    best = vae_lib.best_gaussian(vae_lib.PosteriorGrid(one.axis, mixed), [[-1.5, 0.0]], [[-3.0, -3.0]])
    assert best.mu[0] == pytest.approx([1.5, 0], abs=1e-3)
    assert best.kl == pytest.approx([-np.log(0.9)], abs=1e-3)


def test_log_px_is_the_elbo_and_the_kl_to_the_posterior(trained, small_digits):
    x = small_digits[1][:40]
    mu, log_var = (keras.ops.convert_to_numpy(part) for part in trained.encoder(x))
    posterior = vae_lib.posterior_on_grid(trained, x, points=400)
    samples = 2000
    elbo = vae_lib.elbo(trained, x, samples=samples, seed=3).elbo
    kl = vae_lib.kl_to_posterior(posterior, mu, log_var)
    assert np.mean(elbo + kl) == pytest.approx(vae_lib.exact_log_px(trained, x).log_px.mean(), abs=0.05)
    best = vae_lib.best_gaussian(posterior, mu, log_var)
    assert (best.kl <= kl + 1e-6).all()
    assert (best.kl > -1e-4).all()


BAD_GAUSSIANS = {
    "no grid": (None, [[0.0, 0.0]], [[-2.0, -2.0]], "posterior: expected a PosteriorGrid, got NoneType"),
    "one mean too few": (..., [[0.0]], [[-2.0, -2.0]], r"expected mu and log_var of shape \(1, 2\)"),
    "narrower than a cell": (
        ...,
        [[0.0, 0.0]],
        [[-12.0, -2.0]],
        "log_var: expected every q at least as wide as a cell, 0.02, got",
    ),
    "beyond the grid": (..., [[3.9, 0.0]], [[-2.0, -2.0]], "mu: expected every q within ±3.99, got"),
    "not a number": (..., [[np.nan, 0.0]], [[-2.0, -2.0]], "mu: expected finite numbers, got NaN; the model has diverged"),
    "infinitely wide": (..., [[0.0, 0.0]], [[2000.0, -2.0]], "mu: expected every q within ±3.99, got"),
    "a grid that grows backwards": (
        vae_lib.PosteriorGrid(np.array([1.0, 0.0]), np.zeros((1, 2, 2))),
        [[0.0, 0.0]],
        [[0.0, 0.0]],
        r"posterior: expected a growing axis \(points,\) and log_density",
    ),
    "a posterior of NaN": (
        vae_lib.PosteriorGrid(np.array([-1.0, 1.0]), np.full((1, 2, 2), np.nan)),
        [[0.0, 0.0]],
        [[1.0, 1.0]],
        "posterior.log_density: expected finite numbers, got NaN; the model has diverged",
    ),
    "a posterior of three dimensions": (
        vae_lib.PosteriorGrid(np.array([-1.0, 1.0]), np.zeros((1, 2, 2, 2))),
        [[0.0] * 3],
        [[1.0] * 3],
        "posterior: expected a growing",
    ),
}


@pytest.mark.parametrize(("posterior", "mu", "log_var", "message"), BAD_GAUSSIANS.values(), ids=BAD_GAUSSIANS)
@pytest.mark.parametrize("function", ["kl_to_posterior", "best_gaussian"])
def test_gaussians_that_a_grid_cannot_hold(function, posterior, mu, log_var, message):
    grid = gaussian_posterior([0.0, 0.0], np.eye(2) * 0.1) if posterior is ... else posterior
    with pytest.raises(ValueError, match=message):
        getattr(vae_lib, function)(grid, mu, log_var)


@pytest.mark.parametrize("dims", [1, 2, 10])
def test_the_aggregate_posterior_is_scipys_mixture(dims, monkeypatch):
    random = np.random.default_rng(dims)
    mu, log_var, z = random.normal(size=(30, dims)), random.normal(-2, 1, (30, dims)), 2 * random.normal(size=(50, dims))
    each = stats.norm(mu, np.exp(0.5 * log_var)).logpdf(z[:, None]).sum(axis=-1)
    expected = special.logsumexp(each, axis=1) - np.log(30)
    assert vae_lib.aggregate_log_prob(z, mu, log_var) == pytest.approx(expected, rel=1e-10)
    monkeypatch.setattr(evaluation, "_AT_ONCE", 7 * mu.size)
    assert vae_lib.aggregate_log_prob(z, mu, log_var) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    "shapes", [((5,), (3, 2), (3, 2)), ((5, 2), (3, 2), (3, 1)), ((5, 3), (3, 2), (3, 2)), ((5, 2), (0, 2), (0, 2))]
)
def test_codes_that_are_no_mixture(shapes):
    with pytest.raises(ValueError, match=r"expected z \(points, latent_dim\) and mu, log_var"):
        vae_lib.aggregate_log_prob(*(np.zeros(shape) for shape in shapes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"z": np.full((5, 2), np.nan)}, "z: expected finite numbers, got NaN; the model has diverged"),
        ({"mu": np.full((3, 2), np.inf)}, "mu: expected finite numbers, got infinity"),
        (
            {"log_var": np.full((3, 2), -2000.0)},
            r"log_var: log q\(z\): expected finite numbers, got .*; -2000 to -2000 is too extreme",
        ),
        ({"log_var": None}, "log_var: expected numbers, got NoneType"),
    ],
)
def test_an_aggregate_posterior_of_no_numbers_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        vae_lib.aggregate_log_prob(**{"z": np.ones((5, 2)), "mu": np.zeros((3, 2)), "log_var": np.zeros((3, 2))} | changes)


def test_wide_and_narrow_gaussians_of_an_aggregate_are_summed_where_float32_could_not():
    z, mu, log_var = [[0.0]], [[0.0], [0.0]], [[300.0], [-300.0]]
    expected = np.logaddexp(-0.5 * 300, 0.5 * 300) - 0.5 * np.log(2 * np.pi) - np.log(2)
    assert vae_lib.aggregate_log_prob(z, mu, log_var) == pytest.approx([expected], rel=1e-12)


def test_the_gap_to_the_posterior_is_never_negative_beyond_rounding(trained, small_digits):
    """And where q is the posterior itself it is 0: the promise of a divergence."""
    x = small_digits[1][:20]
    posterior = vae_lib.posterior_on_grid(trained, x, points=300)
    mu, log_var = (keras.ops.convert_to_numpy(part) for part in trained.encoder(x))
    assert (vae_lib.kl_to_posterior(posterior, mu, log_var) > -1e-4).all()
    exact = gaussian_posterior([0.3, -0.4], np.diag([0.05, 0.2]))
    assert vae_lib.kl_to_posterior(exact, [[0.3, -0.4]], [np.log([0.05, 0.2])]) == pytest.approx([0], abs=1e-5)


def test_shapes_kinds_and_units_are_those_that_are_promised(trained, small_digits):
    x, dims = small_digits[1][:7], trained.config.latent_dim
    terms = elbo(trained, x)
    assert [(part.shape, part.dtype) for part in terms] == [((7,), np.float32)] * 3
    np.testing.assert_allclose(terms.elbo, -terms.reconstruction - terms.kl, rtol=1e-6)
    assert (terms.kl >= 0).all()
    assert (iwae_bound(trained, x, k=3).shape, iwae_bound(trained, x, k=3).dtype) == ((7,), np.float64)
    exact = exact_log_px(trained, x)
    assert (exact.log_px.shape, exact.log_px.dtype) == ((7,), np.float64)
    assert (exact.log_px <= 0).all()  # of binary or grey pixels
    posterior = posterior_on_grid(trained, x, points=9)
    assert (posterior.log_density.shape, posterior.log_density.dtype) == ((7, *[9] * dims), np.float32)
    np.testing.assert_allclose(np.diff(posterior.axis), posterior.axis[1] - posterior.axis[0])
    np.testing.assert_allclose(posterior.axis, -posterior.axis[::-1], atol=1e-12)
    units = active_units(trained, x)
    assert (type(units.active), units.variance.shape) == (int, (dims,))
