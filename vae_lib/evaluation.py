"""How good a VAE is: the ELBO, tighter bounds, log p(x) itself, posteriors and Gaussians near them, active units.

All in nats, per image.

Several evaluations need log p(x|z) at millions of z. For Bernoulli pixels it is x·logits − Σ softplus(logits): the first term
is one matrix product for all images at all z, the second does not depend on the image.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from vae_lib.checks import (
    as_array,
    check_finite,
    check_images,
    check_integer,
    check_labels,
    check_number,
    check_reals,
    check_seed,
)
from vae_lib.gaussian import Tensor
from vae_lib.model import check_vae, with_label
from vae_lib.objective import ElboTerms, elbo_terms

if TYPE_CHECKING:
    from vae_lib.model import VAE

Floats = NDArray[np.floating]
Integers = NDArray[np.int64]

_BATCH = 1000
_DECODED = 4096  # z decoded at once, at most: more gain nothing and take more memory
_TILE_POINTS = 256  # points of the grid that are kept or dropped together
_FIRST_WIDTH = 1.6  # of a tile, at most, before refining: a step of 0.1 in two dimensions
_LEAST_LIMIT = 6.0  # the prior's mass beyond it is 4e-9 in two dimensions
_LOST_AT_BORDER = 1e-5  # share of a posterior that may lie along the border of the grid
_NEGLIGIBLE = 25.0  # nats: what has less than exp(−25) of a posterior's mass is left out
_MOST_ON_ONE_POINT = 0.5  # share of its mass that a posterior may have at its highest point
_MOST_LEVELS = 16  # beyond it float32 cannot tell neighbouring points apart
_MOST_POINTS = 1e6  # for an image, on average: four times as many would be next
_FARTHEST_GRID = 1e4  # standard deviations of the prior
_MOST_VALUES = 2**29  # of a posterior on a grid: 2 GB
_MOST_SAMPLES = 10**7  # of z for an image: hours
_FARTHEST = 9.0  # standard deviations of a Gaussian that are summed over: 1e-18 lies beyond
_AT_ONCE = 4_000_000  # pairs of a point and a code whose densities are held at a time: 32 MB
_COARSEST = 0.01  # distance between neighbouring float32 numbers that hides the variance of codes
_DIVERGED = "the model has diverged, train again with a lower learning rate"


class ExactLogPx(NamedTuple):
    """log p(x) of each image, and the grid of z that it was summed on."""

    log_px: Floats
    """log p(x), (images,), nats."""
    points: int
    """Points along each axis of the finest grid; only those that matter to an image were evaluated."""
    limit: float
    """The grid covers [−limit, limit] along each axis."""
    levels: int
    """How often the step was halved."""
    difference: float
    """By how much log p(x) differs between the finest grid and the one before, mean over images, nats; at most `tol`."""


class PosteriorGrid(NamedTuple):
    """The true posterior of each image on a regular grid of z."""

    axis: Floats
    """Coordinates along each axis, the middles of equal cells, (points,)."""
    log_density: Floats
    """log p(z|x), (images, points) or (images, points, points), nats; [n, a, b] is image n at z = (axis[a], axis[b])."""


class BestGaussian(NamedTuple):
    """For each image the diagonal Gaussian that comes nearest to its true posterior."""

    mu: Floats
    """Means, (images, latent_dim)."""
    log_var: Floats
    """Log-variances, (images, latent_dim)."""
    kl: Floats
    """KL[q ‖ p(z|x)] that is left, (images,), nats."""


class ActiveUnits(NamedTuple):
    """How many latent dimensions tell images apart."""

    active: int
    """Number of dimensions whose variance is above the threshold."""
    variance: Floats
    """Variance over images of the posterior mean, (latent_dim,)."""


def elbo(vae: VAE, x: NDArray[np.float32], *, labels: Any = None, samples: int = 10, seed: int = 0) -> ElboTerms:
    """Estimate the ELBO of each image from several samples of z.

    Parameters
    ----------
    vae
        A trained model.
    x
        Images, (images, input_dim), values in [0, 1].
    labels
        For a conditional VAE: the label of each image, (images,); what is measured is then about p(x|y).
    samples
        Samples of z for each image, 1 to 10 million; the reconstruction is their mean, the KL is exact.
    seed
        Seeds the samples; 0 ≤ seed < 2³¹.

    Returns
    -------
    ElboTerms
        Three NumPy arrays (images,), float32, nats. Beta plays no part: this is the bound on log p(x).

    Raises
    ------
    ValueError
        If `vae` is no VAE or has diverged, `x` has the wrong form, `samples` or `seed` is out of range, or labels are missing or
        superfluous.

    References
    ----------
    Kingma and Welling 2013, arXiv:1312.6114, equation 10.
    """
    x = _checked(vae, x)
    samples, seed = check_integer("samples", samples, least=1, most=_MOST_SAMPLES), check_seed(seed)
    groups = _by_label(vae, x, labels)
    if vae.config.classes:
        terms = [np.stack(elbo(one, x[rows], samples=samples, seed=seed)) for one, rows in groups]
        return ElboTerms(*_in_order(terms, groups, axis=1))
    noise = keras.random.SeedGenerator(seed)
    parts = [_batch_elbo(vae, x[start : start + _BATCH], samples, noise) for start in range(0, len(x), _BATCH)]
    result = ElboTerms(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    check_finite("vae: ELBO", result.elbo, _DIVERGED)
    return result


def iwae_bound(vae: VAE, x: NDArray[np.float32], *, k: int, labels: Any = None, seed: int = 0) -> Floats:
    """Estimate the importance-weighted bound on log p(x): log of the mean of k weights p(x, z) / q(z|x), z drawn from q(z|x).

    For k = 1 its expectation is the ELBO; as k grows, it rises towards log p(x).

    Parameters
    ----------
    vae
        A trained model.
    x
        Images, (images, input_dim), values in [0, 1].
    k
        Samples of z for each image, 1 to 10 million; memory does not grow with it.
    labels
        For a conditional VAE: the label of each image, (images,); what is measured is then about p(x|y).
    seed
        Seeds the samples; 0 ≤ seed < 2³¹.

    Returns
    -------
    ndarray
        One draw of the bound for each image, (images,), float64, nats.

    Raises
    ------
    ValueError
        If `vae` is no VAE or has diverged, `x` has the wrong form, `k` or `seed` is out of range, or labels are missing or
        superfluous.

    References
    ----------
    Burda, Grosse and Salakhutdinov 2015, arXiv:1509.00519, equation 8.
    """
    x = _checked(vae, x)
    k, seed = check_integer("k", k, least=1, most=_MOST_SAMPLES), check_seed(seed)
    groups = _by_label(vae, x, labels)
    if vae.config.classes:
        return _in_order([iwae_bound(one, x[rows], k=k, seed=seed) for one, rows in groups], groups)
    mu, log_var = _codes(vae, x)
    noise = np.random.default_rng(seed)
    log_likelihood = _LogLikelihood.of(vae)
    images = max(1, _DECODED // k)
    blocks = [slice(start, start + images) for start in range(0, len(x), images)]
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found below
        bound = np.concatenate([_block_iwae(log_likelihood, x[block], mu[block], log_var[block], k, noise) for block in blocks])
    check_finite("vae: importance-weighted bound", bound, _DIVERGED)
    return bound


def exact_log_px(vae: VAE, x: NDArray[np.float32], *, tol: float = 0.01) -> ExactLogPx:
    """Compute log p(x) by the trapezoid rule in z, on a grid that is refined until it no longer matters.

    The first grid covers the prior and the codes of the images, and is widened until every posterior is negligible along its
    border. Then the step is halved again and again, for each image until the last two changes of its log p(x) were at most
    10 · `tol` and `tol`; a finer grid is evaluated only near the points that carry the posterior's mass and near the code. For
    analytic integrands that vanish at the border the rule's error falls exponentially once the step nears the posterior's width.

    Parameters
    ----------
    vae
        A trained model with one or two latent dimensions that is not conditional; of a conditional one, give
        ``with_label(vae, label)`` and the images with that label.
    x
        Images, (images, input_dim), values in [0, 1].
    tol
        Refine until two successive grids agree within this many nats for each image, hence on average too; > 0.

    Returns
    -------
    ExactLogPx
        log p(x), (images,), float64, nats; the points along an axis, the limit, the levels, the last difference.

    Raises
    ------
    ValueError
        If `vae` is no VAE, is conditional, has diverged or has more than two latent dimensions; if a posterior lies so far out
        that a grid up to it would have more than a million points; if `x` has the wrong form, or `tol` is not positive or is not
        reached.

    References
    ----------
    Trefethen and Weideman 2014, "The exponentially convergent trapezoidal rule", SIAM Review 56, section 5.
    """
    _check_latent_dim(vae)
    x = _checked(vae, x)
    tol = check_number("tol", tol, above=0, remedy="it is in nats, and 0.01 is usual")
    quadrature = _Quadrature(vae, x)
    for level in range(1, _MOST_LEVELS + 1):
        images = quadrature.unsettled.sum()
        quadrature.refine(tol)
        if not quadrature.unsettled.any():
            difference = float(quadrature.change.mean())
            return ExactLogPx(quadrature.log_px, quadrature.points, quadrature.limit, level, difference)
        if len(quadrature.pairs) * _TILE_POINTS > _MOST_POINTS * images:
            break
    raise ValueError(
        f"tol: expected a tolerance that a step of {quadrature.step:.2g} reaches, got {tol!r} where log p(x) still changes by "
        f"{quadrature.change.max():.2g} nats; raise tol (the model computes in float32), or train again if weights are extreme"
    )


def posterior_on_grid(vae: VAE, x: NDArray[np.float32], *, points: int = 200, limit: float | None = None) -> PosteriorGrid:
    """Compute the true posterior p(z|x) = p(x|z) p(z) / p(x) on a regular grid of z.

    It is normalised on that very grid: the sum of the densities times the volume of a cell is 1. A posterior narrower than a
    cell, or beyond the limit, is therefore misrepresented; `exact_log_px` tells how many points it needed.

    Parameters
    ----------
    vae
        A trained model with one or two latent dimensions that is not conditional; of a conditional one, give
        ``with_label(vae, label)`` and the images with that label.
    x
        Images, (images, input_dim), values in [0, 1]; the result takes 4 · images · points ** latent_dim bytes.
    points
        Points along each axis, ≥ 2; the result may hold 2²⁹ numbers, 2 GB.
    limit
        The grid covers [−limit, limit] along each axis, > 0; None covers the prior and the codes of `x`.

    Returns
    -------
    PosteriorGrid
        The axis, (points,), and log p(z|x), (images, points) or (images, points, points), float32, nats.

    Raises
    ------
    ValueError
        If `vae` is no VAE, is conditional, has diverged or has more than two latent dimensions, `x` has the wrong form, `points`
        is out of range or `limit` not positive.

    References
    ----------
    Kingma and Welling 2013, arXiv:1312.6114, section 2.1.
    """
    dims = _check_latent_dim(vae)
    x = _checked(vae, x)
    most = int((_MOST_VALUES / len(x)) ** (1 / dims))
    points = check_integer("points", points, least=2, most=most, remedy=f"the result for {len(x)} images is to stay below 2 GB")
    if limit is None:
        limit = _Quadrature(vae, x).limit
    else:
        limit = check_number("limit", limit, above=0, most=_FARTHEST_GRID, remedy="6 covers the prior, None also the codes")
    step = 2 * limit / points
    axis = (np.arange(points) + 0.5) * step - limit
    z = np.stack(np.meshgrid(*[axis] * dims, indexing="ij"), axis=-1).reshape(-1, dims)  # (points ** dims, dims)
    log_density = np.empty((len(x), len(z)), np.float32)
    log_likelihood = _LogLikelihood.of(vae)
    for start in range(0, len(z), _DECODED):
        chunk = slice(start, start + _DECODED)
        log_density[:, chunk] = _log_joint(log_likelihood, z[chunk], x)
    check_finite("vae: log p(x, z)", log_density, _DIVERGED)
    for row in log_density:
        row -= row.max() + math.log(np.exp(row - row.max()).sum(dtype=np.float64)) + dims * math.log(step)
    return PosteriorGrid(axis, log_density.reshape(-1, *[points] * dims))


def kl_to_posterior(posterior: PosteriorGrid, mu: Floats, log_var: Floats) -> Floats:
    """Compute the gap between log p(x) and the ELBO, KL[q ‖ p(z|x)], of each image for a diagonal Gaussian q.

    By the trapezoid rule, which is exact to rounding where a q is as wide as a cell.

    Parameters
    ----------
    posterior
        From `posterior_on_grid`; each q must lie on the grid, and be at least as wide as one of its cells.
    mu, log_var
        A Gaussian for each image, such as the encoder's, (images, latent_dim).

    Returns
    -------
    ndarray
        KL[q ‖ p(z|x)], (images,), float64, nats.

    Raises
    ------
    ValueError
        If the shapes do not fit, a number is not finite, or a q is narrower than a cell or reaches beyond the grid.

    References
    ----------
    Kingma and Welling 2013, arXiv:1312.6114, equation 1.
    """
    posterior = _checked_grid(posterior)
    codes = _check_gaussians(posterior, mu, log_var)
    return np.array(
        [_kl_and_gradient(code, posterior.axis, row)[0] for code, row in zip(codes, posterior.log_density, strict=True)]
    )


def best_gaussian(posterior: PosteriorGrid, mu: Floats, log_var: Floats) -> BestGaussian:
    """Find for each image the diagonal Gaussian with the least KL[q ‖ p(z|x)], which is the one with the highest ELBO.

    The search, L-BFGS, starts twice, from the given Gaussian and from the posterior's highest point; the better end counts. What
    is left is the approximation gap of a diagonal Gaussian; what the given q misses besides is its amortisation gap.

    Parameters
    ----------
    posterior
        From `posterior_on_grid`; each q must lie on the grid, and be at least as wide as one of its cells.
    mu, log_var
        Where to start, such as the encoder's answer, (images, latent_dim).

    Returns
    -------
    BestGaussian
        Means and log-variances, (images, latent_dim), and the KL that is left, (images,), nats.

    Raises
    ------
    ValueError
        If the shapes do not fit, a number is not finite, or a q, given or found, is narrower than a cell or reaches beyond the
        grid.

    References
    ----------
    Cremer, Li and Duvenaud 2018, arXiv:1801.03558.
    """
    posterior = _checked_grid(posterior)
    codes = _check_gaussians(posterior, mu, log_var)
    found = np.array([_search(code, posterior.axis, row) for code, row in zip(codes, posterior.log_density, strict=True)])
    means, log_vars = found[:, : found.shape[1] // 2], found[:, found.shape[1] // 2 :]
    return BestGaussian(means, log_vars, kl_to_posterior(posterior, means, log_vars))


def aggregate_log_prob(z: Floats, mu: Floats, log_var: Floats) -> Floats:
    """Compute the log-density of the aggregate posterior, the mean of q(z|x) over images: a mixture of as many Gaussians.

    Parameters
    ----------
    z
        Points, (points, latent_dim).
    mu, log_var
        The encoder's answers, (images, latent_dim).

    Returns
    -------
    ndarray
        log q(z), (points,), float64, nats.

    Raises
    ------
    ValueError
        If the shapes do not fit, a number is not finite, or a log-variance is so extreme that a density is none.

    References
    ----------
    Hoffman and Johnson 2016, "ELBO surgery"; Makhzani et al. 2015, arXiv:1511.05644.
    """
    given = (("z", z), ("mu", mu), ("log_var", log_var))
    points, mean, spread = (check_reals(values, name, remedy=_DIVERGED) for name, values in given)
    if points.ndim != 2 or mean.ndim != 2 or mean.shape != spread.shape or points.shape[1:] != mean.shape[1:] or not mean.size:
        shapes = f"{points.shape}, {mean.shape} and {spread.shape}"
        raise ValueError(
            f"expected z (points, latent_dim) and mu, log_var (images, latent_dim) of at least one image, got {shapes}"
        )
    log_scale = (0.5 * math.log(2 * math.pi) + 0.5 * spread).sum(axis=1)  # (images,)
    log_prob = np.empty(len(points))
    with np.errstate(all="ignore"):  # what overflows is found below
        deviation = np.exp(0.5 * spread)
        for start in range(0, len(points), step := max(1, _AT_ONCE // mean.size)):
            part = points[start : start + step, None]  # (some points, 1, latent_dim)
            log_q = -0.5 * np.square((part - mean) / deviation).sum(axis=-1) - log_scale  # (some points, images)
            peak = log_q.max(axis=1)
            log_prob[start : start + step] = peak + np.log(np.exp(log_q - peak[:, None]).mean(axis=1))
    check_finite("log_var: log q(z)", log_prob, f"{spread.min():.4g} to {spread.max():.4g} is too extreme, {_DIVERGED}")
    return log_prob


def active_units(vae: VAE, x: NDArray[np.float32], *, labels: Any = None, threshold: float = 0.01) -> ActiveUnits:
    """Count the latent dimensions whose posterior mean varies from image to image: Var over x of E_q[z] above a threshold.

    Parameters
    ----------
    vae
        A trained model.
    x
        Images, (images, input_dim), values in [0, 1], at least two.
    labels
        For a conditional VAE: the label of each image, (images,).
    threshold
        The variance above which a dimension counts, ≥ 0; the prior's own variance is 1.

    Returns
    -------
    ActiveUnits
        The number of active dimensions and the variance of each, (latent_dim,).

    Raises
    ------
    ValueError
        If `vae` is no VAE or has diverged, `x` has the wrong form or fewer than two images, `threshold` is negative, or labels
        are missing or superfluous.

    References
    ----------
    Burda, Grosse and Salakhutdinov 2015, arXiv:1509.00519, section 5.2.
    """
    x = _checked(vae, x)
    if len(x) < 2:
        raise ValueError("x: expected at least two images, got one; a variance over images needs more, give a whole test set")
    threshold = check_number("threshold", threshold, least=0, remedy="it is a variance, and 0.01 is usual")
    groups = _by_label(vae, x, labels)
    mu = _in_order([_codes(one, x[rows])[0] for one, rows in groups], groups)
    if np.spacing(np.abs(mu).max()) > _COARSEST:
        raise ValueError(f"vae: expected codes that float32 can tell apart, got up to {np.abs(mu).max():.3g}; {_DIVERGED}")
    variance = mu.var(axis=0, dtype=np.float64)
    return ActiveUnits(int((variance > threshold).sum()), variance)


def _checked(vae: VAE, x: Any) -> NDArray[np.float32]:
    """Return images that fit the model, if it is one whose weights are finite."""
    check_vae(vae, finite=True)
    return check_images(x, vae.config.input_dim)


def _checked_grid(posterior: PosteriorGrid) -> PosteriorGrid:
    """Return a posterior on a regular grid over a line or a plane, or say what is wrong with it."""
    if not isinstance(posterior, PosteriorGrid):
        raise ValueError(f"posterior: expected a PosteriorGrid, got {type(posterior).__name__}; make one with posterior_on_grid")
    axis = check_reals(posterior.axis, "posterior.axis", remedy="make one with posterior_on_grid")
    log_density = as_array(posterior.log_density, "posterior.log_density")
    dims = log_density.ndim - 1
    if dims not in (1, 2) or log_density.shape[1:] != axis.shape * dims or axis.size < 2 or not (np.diff(axis) > 0).all():
        raise ValueError(
            f"posterior: expected a growing axis (points,) and log_density (images, points) or (images, points, points), got "
            f"{axis.shape} and {log_density.shape}; make one with posterior_on_grid"
        )
    check_finite("posterior.log_density", log_density, _DIVERGED)
    return PosteriorGrid(axis, log_density)


def _check_gaussians(posterior: PosteriorGrid, mu: Floats, log_var: Floats) -> Floats:
    """Return one q a row, means then log-variances, or say what is wrong: (images, 2 · latent_dim)."""
    mean, spread = check_reals(mu, "mu", remedy=_DIVERGED), check_reals(log_var, "log_var", remedy=_DIVERGED)
    wanted = (len(posterior.log_density), posterior.log_density.ndim - 1)
    if mean.shape != wanted or spread.shape != wanted:
        raise ValueError(f"expected mu and log_var of shape {wanted}, as the posteriors, got {mean.shape} and {spread.shape}")
    step, limit = posterior.axis[1] - posterior.axis[0], -posterior.axis[0]
    with np.errstate(over="ignore"):  # an infinite σ reaches beyond any grid
        deviation = np.exp(0.5 * spread)
    if not (deviation >= 0.999 * step).all():
        raise ValueError(
            f"log_var: expected every q at least as wide as a cell, {step:.3g}, got one of {deviation.min():.3g}; "
            f"give posterior_on_grid more points"
        )
    if not (np.abs(mean) + 3 * deviation <= limit).all():
        reach = np.max(np.abs(mean) + 3 * deviation)
        raise ValueError(f"mu: expected every q within ±{limit:.3g}, got mu ± 3σ up to {reach:.3g}; give a larger limit")
    return np.concatenate([mean, spread], axis=1)


def _search(start: Floats, axis: Floats, log_density: Floats) -> Floats:
    """Minimise one image's KL from two starts: means, then log-variances, (2 · latent_dim,)."""
    from scipy.optimize import minimize

    dims = log_density.ndim
    scale = np.concatenate([np.exp(0.5 * start[dims:]), np.ones(dims)])  # means in units of q's width: the valley becomes round
    low = np.concatenate([np.full(dims, axis[0]), np.full(dims, 2 * math.log(axis[1] - axis[0]))])
    high = np.concatenate([np.full(dims, axis[-1]), np.full(dims, 2.0)])

    def scaled(q: Floats) -> tuple[float, Floats]:
        value, gradient = _kl_and_gradient(q * scale, axis, log_density)
        return value, gradient * scale

    highest = axis[list(np.unravel_index(log_density.argmax(), log_density.shape))]
    starts = (start, np.concatenate([highest, start[dims:]]))
    bounds = list(zip(low / scale, high / scale, strict=True))
    ends = [minimize(scaled, s / scale, jac=True, bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-10}) for s in starts]
    best: Floats = min(ends, key=lambda end: end.fun).x * scale
    return best


def _kl_and_gradient(q: Floats, axis: Floats, log_density: Floats) -> tuple[float, Floats]:
    """KL of one Gaussian from one posterior, and its derivatives with respect to means, then log-variances."""
    dims = log_density.ndim
    sums: Any = log_density[tuple(_within(axis, *q[i::dims]) for i in range(dims))].astype(np.float64)
    for mu, log_var in zip(q[:dims], q[dims:], strict=True):
        scaled = (axis[_within(axis, mu, log_var)] - mu) * math.exp(-0.5 * log_var)
        weights = np.exp(-0.5 * (scaled**2 + math.log(2 * math.pi) + log_var)) * (axis[1] - axis[0])
        # the weights, and their derivatives with respect to mean and log-variance: (points, 3)
        columns = np.stack([weights, weights * scaled * math.exp(-0.5 * log_var), weights * 0.5 * (scaled**2 - 1)], axis=1)
        sums = np.tensordot(sums, columns, axes=(0, 0))  # the axis that is summed over leaves, its three sums come last
    moved = [sums[1:]] if dims == 1 else [sums[1:, 0], sums[0, 1:]]  # for each dimension the slopes of E_q[log p(z|x)]
    slopes = np.stack(moved, axis=1)  # (2, dims)
    entropy = 0.5 * dims * (math.log(2 * math.pi) + 1) + 0.5 * float(q[dims:].sum())
    return -entropy - float(sums.flat[0]), -np.concatenate([slopes[0], slopes[1] + 0.5])


def _within(axis: Floats, mu: float, log_var: float) -> slice:
    """Return which points of an axis lie within nine standard deviations; beyond there is nothing."""
    reach = _FARTHEST * math.exp(0.5 * log_var)
    return slice(*np.searchsorted(axis, (mu - reach, mu + reach)))


def _by_label(vae: VAE, x: Floats, labels: Any) -> list[tuple[VAE, Any]]:
    """Return for each label that occurs the VAE that the model is for it, and its images; else the model and all of them."""
    digits = check_labels(labels, len(x), vae.config.classes)
    if not vae.config.classes:
        return [(vae, np.arange(len(x)))]
    return [(with_label(vae, int(digit)), np.flatnonzero(digits == digit)) for digit in np.unique(digits)]


def _in_order(parts: list[Floats], groups: list[tuple[VAE, Any]], axis: int = 0) -> Floats:
    """Put what was measured label by label back into the order of the images."""
    order = np.argsort(np.concatenate([rows for _, rows in groups]))
    return np.concatenate(parts, axis=axis).take(order, axis=axis)


def _check_latent_dim(vae: VAE) -> int:
    check_vae(vae)
    if vae.config.classes:
        raise ValueError("vae: expected one that is not conditional; give with_label(vae, label) and the images with that label")
    dims = vae.config.latent_dim
    if dims > 2:
        raise ValueError(f"vae: expected at most 2 latent dimensions, got {dims}: a grid cannot cover more; use iwae_bound")
    return dims


def _batch_elbo(vae: VAE, x: NDArray[np.float32], samples: int, noise: keras.random.SeedGenerator) -> ElboTerms:
    mu, log_var = vae.encoder(x)
    deviation = ops.exp(0.5 * log_var)
    total = np.zeros(len(x))
    for _ in range(samples):
        z = mu + deviation * keras.random.normal(ops.shape(mu), dtype=mu.dtype, seed=noise)
        terms = elbo_terms(x, vae.decoder(z), mu, log_var)
        total += ops.convert_to_numpy(terms.reconstruction)
    reconstruction = (total / samples).astype(np.float32)
    kl = ops.convert_to_numpy(terms.kl)
    return ElboTerms(reconstruction, kl, -reconstruction - kl)


def _block_iwae(
    log_likelihood: _LogLikelihood, x: Floats, mu: Floats, log_var: Floats, k: int, noise: np.random.Generator
) -> Floats:
    """Log of the mean of k weights, from a running maximum and a running sum: (images,)."""
    peak, total = np.full(len(x), -np.inf), np.zeros(len(x))
    for samples in _even_parts(k, _DECODED):
        eps = noise.standard_normal((len(x), samples, mu.shape[1]), np.float32)
        z = mu[:, None] + np.exp(0.5 * log_var)[:, None] * eps  # (images, samples, latent_dim)
        # log p(z) − log q(z|x): the constants ½ log 2π of the two Gaussians cancel
        log_ratio = 0.5 * (np.square(eps) - np.square(z) + log_var[:, None]).sum(axis=-1, dtype=np.float64)
        log_weights = log_likelihood(z, x[:, None])[:, 0] + log_ratio  # (images, samples)
        higher = np.maximum(peak, log_weights.max(axis=1))
        total = total * np.exp(peak - higher) + np.exp(log_weights - higher[:, None]).sum(axis=1)
        peak = higher
    bound: Floats = peak + np.log(total / k)
    return bound


def _even_parts(total: int, most: int) -> list[int]:
    """Split a number into as few parts as `most` allows, as equal as can be."""
    parts = -(-total // most)
    return [(total + number) // parts for number in range(parts)]


class _LogLikelihood:
    """Computes log p(x|z) for groups of images at the same points: z (groups, points, latent_dim), x (groups, images, pixels).

    Returns an array (groups, images, points), nats.
    """

    def __init__(self, vae: VAE) -> None:
        self._sizes = vae.config.latent_dim, vae.config.input_dim
        self._fast = self._compiled(vae.decoder, _fast_partition)
        self._stable = self._compiled(vae.decoder, _partition)

    @classmethod
    def of(cls, vae: VAE) -> _LogLikelihood:
        """Return the one that belongs to a model, compiled at its first use."""
        if vae not in _COMPILED:
            _COMPILED[vae] = cls(vae)
        return _COMPILED[vae]

    def __call__(self, z: Floats, x: Floats) -> Floats:
        inputs: tuple[Floats, Floats] = np.asarray(z, np.float32), x
        if keras.backend.backend() == "jax":  # which compiles anew for each shape
            inputs = _padded(inputs[0]), _padded(inputs[1])
        wanted = slice(len(z)), slice(x.shape[1]), slice(z.shape[1])
        result: Floats = as_array(self._fast.predict_on_batch(inputs))[wanted]
        return result if np.isfinite(result).all() else as_array(self._stable.predict_on_batch(inputs))[wanted]

    def _compiled(self, decoder: keras.Model, partition: Callable[[Tensor], Tensor]) -> keras.Model:
        """Compile for any number of groups, points and images: two calls that differ in all of them tell TensorFlow."""
        model = _LikelihoodModel(decoder, partition)
        if keras.backend.backend() != "tensorflow":
            return model
        latent_dim, pixels = self._sizes
        log = logging.getLogger("tensorflow")
        log.addFilter(_is_not_about_retracing)
        try:
            for groups, points, images in ((2, 3, 4), (5, 6, 7)):
                model.predict_on_batch((np.zeros((groups, points, latent_dim), "f4"), np.zeros((groups, images, pixels), "f4")))
        finally:
            log.removeFilter(_is_not_about_retracing)
        return model


_COMPILED: WeakKeyDictionary[VAE, _LogLikelihood] = WeakKeyDictionary()


def _padded(array: Floats) -> Floats:
    """Fill the first two axes with zeros up to powers of two, so that few shapes occur."""
    missing = [(0, (1 << (size - 1).bit_length()) - size) for size in array.shape[:2]]
    return np.pad(array, [*missing, (0, 0)])


def _is_not_about_retracing(record: logging.LogRecord) -> bool:
    """Hold back TensorFlow's advice against compiling again and again: here it happens twice, and then never more."""
    return "retracing" not in record.getMessage()


class _LikelihoodModel(keras.Model):
    """The computation as a Keras model, so that `predict_on_batch` compiles it on any backend."""

    def __init__(self, decoder: keras.Model, partition: Callable[[Tensor], Tensor]) -> None:
        super().__init__(name="log_likelihood", dtype="float32")  # whatever the global policy is
        self.decoder, self.partition = decoder, partition

    def call(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """Take (z, x), return log p(x|z)."""
        z, x = inputs
        groups, points, dims = ops.shape(z)
        logits = self.decoder(ops.reshape(z, (-1, dims)))  # (groups · points, pixels)
        fit = ops.einsum("gip,gzp->giz", x, ops.reshape(logits, (groups, points, logits.shape[-1])))
        return fit - ops.reshape(self.partition(logits), (groups, 1, points))


def _partition(logits: Tensor) -> Tensor:
    """Σ softplus(logits) over pixels: (points, pixels) → (points,)."""
    return ops.sum(ops.softplus(logits), axis=-1)


def _fast_partition(logits: Tensor) -> Tensor:
    """Compute the same as logs of products Π (1 + exp(logit)) of eight pixels each; infinite where a product overflows."""
    exponentials = ops.exp(logits)
    if missing := -logits.shape[-1] % 8:
        exponentials = ops.pad(exponentials, ((0, 0), (0, missing)))
    products = ops.prod(ops.reshape(1 + exponentials, (-1, 8, exponentials.shape[-1] // 8)), axis=1)
    return ops.sum(ops.log(products), axis=-1)


def _log_joint(log_likelihood: _LogLikelihood, z: Floats, x: Floats) -> Floats:
    """Compute log p(x|z) + log p(z) of all images at all points: (images, points)."""
    log_prior = -0.5 * (np.square(z) + math.log(2 * math.pi)).sum(axis=1)
    log_joint: Floats = log_likelihood(z[None], x[None])[0] + log_prior.astype(np.float32)
    return log_joint


class _Quadrature:
    """Sums p(x|z) p(z) over a grid that is refined tile by tile, each image on tiles of its own.

    A tile is a square (in one dimension an interval) with `side` points along each axis. Points lie in the middles of equal
    cells, so that tiles share none; over the whole plane this is the trapezoid rule, shifted by half a step. When the step is
    halved, each quarter of a tile becomes a tile; an image keeps those that carry mass, the one with its code, and their
    neighbours. Images that have settled stay as they are.
    """

    def __init__(self, vae: VAE, x: Floats) -> None:
        self.x = x
        self.log_px = np.full(len(x), -np.inf)
        self.change = np.full(len(x), np.inf)  # of log_px when the step was last halved
        self.unsettled = np.full(len(x), True)
        self.log_likelihood = _LogLikelihood.of(vae)
        self.dims = vae.config.latent_dim
        self.side = round(_TILE_POINTS ** (1 / self.dims))
        quarter = np.ravel_multi_index(tuple(_grid_indices(self.side, self.dims).T // (self.side // 2)), (2,) * self.dims)
        self.quarters = np.eye(2**self.dims, dtype=np.float32)[quarter]  # (points, quarters): which point is in which
        self.mu, _ = _codes(vae, x)  # (images, dims)
        self.tiles = 0  # along an axis
        self.widest = int((_MOST_POINTS / _TILE_POINTS) ** (1 / self.dims)) * _FIRST_WIDTH / 2  # limit of the largest coarse grid
        self._cover(_LEAST_LIMIT)
        # log p(x|z) ≤ 0 for Bernoulli pixels: beyond this no posterior has more than exp(−_NEGLIGIBLE) of its mass, codes or not
        farthest = math.sqrt(2 * (_NEGLIGIBLE - self.log_px.min()))
        if (reach := min(float(np.abs(self.mu).max()) + 1, farthest)) > self.limit:
            self._cover(reach)
        while self._share_at_border() > _LOST_AT_BORDER and self.limit < farthest:
            # far beyond the prior by half as much again, so that few steps reach the widest grid that there may be
            wider = self.limit + (_FIRST_WIDTH if self.limit < 2 * _LEAST_LIMIT else self.limit / 2)
            self._cover(min(wider, self.widest) if self.limit < self.widest else wider)

    @property
    def points(self) -> int:
        """Number of points along an axis, were the whole grid evaluated."""
        return int(self.tiles * self.side)

    @property
    def step(self) -> float:
        """Distance between neighbouring points."""
        return 2 * self.limit / self.points

    def refine(self, tol: float) -> None:
        """Halve the step for the images that have not settled, and see which of them have now."""
        tile, image = self._split(self.pairs)
        row, quarter = np.nonzero((self.log_masses > self._log_sums(image) - _NEGLIGIBLE) & self.unsettled[image, None])
        self.tiles *= 2
        kept = 2 * tile[row] + _grid_indices(2, self.dims)[quarter]
        inside = np.clip(self.mu[self.unsettled], -self.limit, self.limit)
        codes = np.floor((inside + self.limit) / (self.side * self.step)).astype(np.int64)
        tile, image = np.concatenate([kept, codes]), np.concatenate([image[row], np.flatnonzero(self.unsettled)])
        moves = _grid_indices(3, self.dims) - 1
        log_px, change = self.log_px.copy(), self.change.copy()
        resolved = self._sum(np.unique(np.concatenate([self._join(tile + move, image) for move in moves])))
        self.change[self.unsettled] = np.abs(self.log_px - log_px)[self.unsettled]
        self.unsettled &= ~((self.change <= tol) & (change <= 10 * tol) & resolved)

    def _cover(self, limit: float) -> None:
        """Start again with the coarsest grid up to a limit: all tiles for all images. Refuse one with too many points."""
        self.limit = limit
        self.tiles = math.ceil(2 * limit / _FIRST_WIDTH)
        if limit > self.widest:
            raise ValueError(
                f"vae: expected posteriors within {self.widest:.0f} standard deviations of the prior, got one that "
                f"may lie beyond; train again with a lower learning rate or a larger beta, or use iwae_bound"
            )
        self._sum(np.arange(self.tiles**self.dims * len(self.x)))

    def _share_at_border(self) -> float:
        """Return the largest share that a posterior has in the outermost halves of the outermost tiles."""
        tile, image = self._split(self.pairs)
        place = 2 * tile[:, None] + _grid_indices(2, self.dims)  # (pairs, quarters, dims)
        outermost = ((place == 0) | (place == 2 * self.tiles - 1)).any(axis=-1)
        share = np.where(outermost, np.exp(self.log_masses - self._log_sums(image)), 0).sum(axis=1)
        return float(np.bincount(image, share).max())

    def _log_sums(self, image: Integers) -> Floats:
        """Log of the sum over all points of these images: (len(image), 1)."""
        log_sums: Floats = self.log_px[image, None] - self.dims * math.log(self.step)
        return log_sums

    def _join(self, tile: Integers, image: Integers) -> Integers:
        """Give each pair of a tile and an image one number; the order of the numbers is that of the tiles."""
        inside = np.clip(tile, 0, self.tiles - 1)
        pairs: Integers = np.ravel_multi_index(tuple(inside.T), (self.tiles,) * self.dims) * len(self.x) + image
        return pairs

    def _split(self, pairs: Integers) -> tuple[Integers, Integers]:
        """Undo `_join`: tiles (pairs, dims) and images (pairs,)."""
        flat, image = np.divmod(pairs, len(self.x))
        return np.stack(np.unravel_index(flat, (self.tiles,) * self.dims), axis=-1), image

    def _sum(self, pairs: Integers) -> NDArray[np.bool_]:
        """Sum over the points of these tiles for these images; the pairs are sorted. Return which posteriors are resolved."""
        self.pairs = pairs
        self.log_masses = np.empty((len(pairs), 2**self.dims))  # (pairs, quarters)
        highest = np.full(len(self.x), -np.inf)
        for rows, z in self._points_of_tiles():
            images = pairs[rows] % len(self.x)
            x = self.x if len(images) == len(self.x) else self.x[images]
            log_joint = _log_joint(self.log_likelihood, z, x)  # (images, points)
            peak = log_joint.max(axis=1)
            highest[images] = np.maximum(highest[images], peak)
            with np.errstate(divide="ignore", invalid="ignore"):  # a quarter without mass: log 0 = −inf; NaN is found below
                self.log_masses[rows] = np.log(np.exp(log_joint - peak[:, None]) @ self.quarters) + peak[:, None]
        image = pairs % len(self.x)
        total = np.bincount(image, np.exp(self.log_masses - highest[image, None]).sum(axis=1), minlength=len(self.x))
        log_sums = highest[self.unsettled] + np.log(total[self.unsettled])
        self.log_px[self.unsettled] = log_sums + self.dims * math.log(self.step)
        check_finite("vae: log p(x)", self.log_px, _DIVERGED)
        # where one point carries a posterior, the grid is too coarse for it, even if two grids agree by chance
        return total * _MOST_ON_ONE_POINT > 1

    def _points_of_tiles(self) -> Iterator[tuple[slice, Floats]]:
        """Yield each tile's rows in `pairs` and its points, (points, dims)."""
        flat, starts = np.unique(self.pairs // len(self.x), return_index=True)
        ends = np.append(starts[1:], len(self.pairs))
        corners = self.side * np.stack(np.unravel_index(flat, (self.tiles,) * self.dims), axis=-1)  # (tiles, dims)
        for start, end, corner in zip(starts, ends, corners, strict=True):
            yield slice(start, end), (corner + _grid_indices(self.side, self.dims) + 0.5) * self.step - self.limit


def _grid_indices(size: int, dims: int) -> Integers:
    """List the indices of a square grid, row by row: (size ** dims, dims)."""
    return np.stack(np.unravel_index(np.arange(size**dims), (size,) * dims), axis=-1)


def _codes(vae: VAE, x: Floats) -> tuple[Floats, Floats]:
    """Encode: mu and log_var as arrays, each (images, latent_dim)."""
    parts = [vae.encoder(x[start : start + _BATCH]) for start in range(0, len(x), _BATCH)]
    mu, log_var = (np.concatenate([ops.convert_to_numpy(part) for part in column]) for column in zip(*parts, strict=True))
    for name, values in (("mu", mu), ("log_var", log_var)):
        check_finite(f"vae: {name} of q(z|x)", values, _DIVERGED)
    return mu, log_var
