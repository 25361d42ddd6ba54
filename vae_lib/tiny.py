"""Two worlds so small that nothing about them has to be approximated: one of tables, one of Gaussians.

Every quantity of the evidence lower bound is exact here, as a finite sum or in closed form, so that derivations and estimates can
be held against it. Everything is NumPy in double precision; nothing is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vae_lib.checks import as_array, check_finite, check_integer, check_number, check_seed, shown

Array = NDArray[np.float64]

_MOST_DRAWS = 10**7
_LARGEST_LOG_VAR = 600.0
_EXTREME = 1e6  # beyond, double precision cannot tell W Wᵀ + s² I from W Wᵀ
_SUM_TOLERANCE = 1e-9  # by how much the sum of given probabilities may miss 1: rounding, not carelessness

_IDEAS = ("four legs", "swims", "flies", "has a beak", "lives underground")
_IDEA_PROBABILITIES = (0.30, 0.25, 0.20, 0.10, 0.15)
# How readily each idea leads to each animal, one column for each idea; rows of P(x|z) before they are scaled to sum to one.
_READINESS = {
    "horse": (9, 0, 0, 0, 0),
    "fox": (6, 0, 0, 0, 4),
    "rabbit": (5, 0, 0, 0, 8),
    "mole": (3, 1, 0, 0, 9),
    "otter": (4, 7, 0, 0, 2),
    "beaver": (4, 6, 0, 0, 3),
    "platypus": (3, 6, 0, 8, 4),
    "frog": (4, 6, 0, 0, 1),
    "crocodile": (5, 6, 0, 0, 0),
    "tortoise": (6, 1, 0, 3, 1),
    "sea turtle": (1, 7, 0, 3, 0),
    "shark": (0, 9, 0, 0, 0),
    "squid": (0, 7, 0, 5, 0),
    "flying fish": (0, 6, 5, 0, 0),
    "penguin": (0, 7, 0, 6, 2),
    "duck": (0, 5, 6, 8, 0),
    "puffin": (0, 4, 6, 7, 4),
    "kingfisher": (0, 2, 7, 7, 3),
    "swallow": (0, 0, 9, 4, 0),
    "parrot": (0, 0, 6, 9, 0),
    "bat": (0, 0, 9, 0, 0),
    "flying squirrel": (5, 0, 4, 0, 0),
    "bumblebee": (0, 0, 7, 0, 5),
    "earthworm": (0, 0, 0, 0, 8),
}
_SLIP = 0.1  # any idea may end as any animal, if rarely, so that no logarithm of zero gets in the way


@dataclass(frozen=True, eq=False)
class DiscreteWorld:
    """A latent choice z, then an observation x: P(z) and P(x|z) are tables, and so is all that follows from them.

    Parameters
    ----------
    latents, observations
        The names of the values of z and of x.
    prior
        P(z), (latents,).
    likelihood
        P(x|z), a row for each z, (latents, observations); each row sums to one.

    Raises
    ------
    ValueError
        If names repeat, shapes do not fit, or probabilities are negative or do not sum to one.
    """

    latents: tuple[str, ...]
    observations: tuple[str, ...]
    prior: Array
    likelihood: Array

    def __post_init__(self) -> None:
        for field in ("latents", "observations"):
            object.__setattr__(self, field, _checked_names(field, getattr(self, field)))
        z, x = len(self.latents), len(self.observations)
        object.__setattr__(self, "prior", _distributions("prior", self.prior, (z,)))
        object.__setattr__(self, "likelihood", _distributions("likelihood", self.likelihood, (z, x)))

    @classmethod
    def animals(cls) -> DiscreteWorld:
        """Make the book's example: somebody has one of five ideas, and then draws one of 24 animals.

        Returns
        -------
        DiscreteWorld
            All of its probabilities are positive.
        """
        readiness = np.array(list(_READINESS.values()), dtype=float).T + _SLIP  # (latents, observations)
        likelihood = readiness / readiness.sum(axis=1, keepdims=True)
        return cls(_IDEAS, tuple(_READINESS), np.array(_IDEA_PROBABILITIES), likelihood)

    def joint(self) -> Array:
        """Return P(x, z) = P(x|z) P(z), (latents, observations)."""
        table: Array = self.likelihood * self.prior[:, None]
        return table

    def marginal(self) -> Array:
        """Return P(x), the sum of P(x, z) over z, (observations,)."""
        total: Array = self.joint().sum(axis=0)
        return total

    def posterior(self, x: str | int) -> Array:
        """Return P(z|x) by Bayes' rule.

        Parameters
        ----------
        x
            The name of an observation, or its index.

        Returns
        -------
        array
            P(z|x), (latents,).

        Raises
        ------
        ValueError
            If there is no such observation, or its probability is zero.
        """
        column = self.joint()[:, self.index(x)]
        if not column.sum() > 0:
            raise ValueError(f"x: expected an observation of positive probability, got {shown(x)}, which this world never shows")
        posterior: Array = column / column.sum()
        return posterior

    def sample(self, n: int, *, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw n times: z from P(z), then x from P(x|z).

        Parameters
        ----------
        n
            Number of draws, 1 to 10 million.
        seed
            The same seed gives the same draws; 0 ≤ seed < 2³¹.

        Returns
        -------
        z, x
            Indices in `latents` and `observations`, (n,) each.

        Raises
        ------
        ValueError
            If `n` or `seed` is out of its range.
        """
        n, rng = _checked_count(n), np.random.default_rng(check_seed(seed))
        z = rng.choice(len(self.latents), size=n, p=self.prior)
        cumulative = self.likelihood.cumsum(axis=1)
        cumulative /= cumulative[:, -1:]  # so that rounding leaves no gap below one
        x = (rng.random((n, 1)) >= cumulative[z]).sum(axis=1)
        return z.astype(np.int64), x.astype(np.int64)

    def elbo(self, q: ArrayLike, x: str | int) -> float:
        """Return the evidence lower bound, the sum of q(z) (log P(x, z) − log q(z)) over z.

        Parameters
        ----------
        q
            Any distribution over z, (latents,).
        x
            The name of an observation, or its index.

        Returns
        -------
        float
            At most log P(x), nats; −inf if q allows a z from which x cannot come.

        Raises
        ------
        ValueError
            If q is no distribution over z, or there is no such x.

        References
        ----------
        Kingma and Welling 2013, arXiv:1312.6114, equation 2.
        """
        return -_relative_entropy(self._checked_q("q", q), self.joint()[:, self.index(x)])

    def kl(self, q: ArrayLike, p: ArrayLike) -> float:
        """Return KL[q ‖ p], the sum of q(z) (log q(z) − log p(z)) over z.

        Parameters
        ----------
        q, p
            Two distributions over z, (latents,) each.

        Returns
        -------
        float
            At least 0, nats; inf if q allows what p excludes.

        Raises
        ------
        ValueError
            If either is no distribution over z.
        """
        return max(0.0, _relative_entropy(self._checked_q("q", q), self._checked_q("p", p)))  # rounding may go below 0

    def index(self, x: str | int) -> int:
        """Return the index of an observation that is given by its name, or by its index.

        Parameters
        ----------
        x
            Name or index.

        Returns
        -------
        int
            From 0.

        Raises
        ------
        ValueError
            If there is no such observation.
        """
        count = len(self.observations)
        if isinstance(x, str) and x in self.observations:
            return self.observations.index(x)
        try:
            return check_integer("x", x, most=count - 1)
        except ValueError:
            raise ValueError(
                f"x: expected one of {', '.join(self.observations)}, or a place from 0 to {count - 1}, got {shown(x)}"
            ) from None

    def _checked_q(self, name: str, q: ArrayLike) -> Array:
        return _distributions(name, q, (len(self.latents),))


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """A Gaussian latent and a linear decoder with Gaussian noise: z ~ N(0, I), x|z ~ N(W z + b, s² I).

    The simplest model with a continuous latent: posterior, log p(x) and the ELBO of any diagonal Gaussian have closed forms. With
    W learnt it is probabilistic principal component analysis.

    Parameters
    ----------
    W
        Weights, (data_dim, latent_dim).
    b
        Bias, (data_dim,).
    s
        Standard deviation of the noise, above 0.

    Raises
    ------
    ValueError
        If shapes do not fit, or a number is not finite or so extreme that W Wᵀ + s² I cannot be computed with.

    References
    ----------
    Tipping and Bishop 1999, "Probabilistic principal component analysis", section 3.1.
    """

    W: Array
    b: Array
    s: float

    def __post_init__(self) -> None:
        weights = _finite("W", self.W, "(data_dim, latent_dim)", lambda shape: len(shape) == 2 and min(shape) > 0)
        bias = _finite("b", self.b, f"({len(weights)},)", lambda shape: shape == weights.shape[:1])
        s = check_number("s", self.s, above=0, remedy="it is a standard deviation, not its log")
        if not (1 / _EXTREME < s < _EXTREME and np.abs(weights).max() < _EXTREME * min(s, 1)):
            raise ValueError(
                f"W, s: expected s from {1 / _EXTREME:g} to {_EXTREME:g}, and weights below {_EXTREME:g} and {_EXTREME:g} · s, "
                f"got s = {s:.3g} and weights up to {np.abs(weights).max():.3g}; scale the data"
            )
        for field, value in (("W", weights), ("b", bias), ("s", s)):
            object.__setattr__(self, field, value)

    def log_px(self, x: ArrayLike) -> Array:
        """Return log p(x), for p(x) = N(b, W Wᵀ + s² I).

        Parameters
        ----------
        x
            Data, (…, data_dim).

        Returns
        -------
        array
            (…), nats.

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        centred = self._data(x) - self.b  # (…, data)
        covariance = self.W @ self.W.T + self.s**2 * np.eye(len(self.W))
        with np.errstate(over="ignore"):  # what overflows is found below
            squared = (centred * np.linalg.solve(covariance, centred[..., None])[..., 0]).sum(axis=-1)
        log_px: Array = -0.5 * (len(self.b) * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1] + squared)
        check_finite("x: log p(x)", log_px, "scale the data")
        return log_px

    def posterior(self, x: ArrayLike) -> tuple[Array, Array]:
        """Return mean and covariance of the Gaussian p(z|x); the covariance is the same for every x.

        Parameters
        ----------
        x
            Data, (…, data_dim).

        Returns
        -------
        mean
            (…, latent_dim).
        covariance
            (latent_dim, latent_dim).

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        centred = self._data(x) - self.b
        precision = np.eye(self.W.shape[1]) + self.W.T @ self.W / self.s**2
        covariance = np.linalg.inv(precision).astype(np.float64)
        mean: Array = centred @ self.W @ covariance / self.s**2
        return mean, covariance

    def elbo(self, mu: ArrayLike, log_var: ArrayLike, x: ArrayLike) -> Array:
        """Return E_q[log p(x|z)] − KL[q(z) ‖ p(z)] for q = N(mu, diag(exp(log_var))), in closed form.

        Parameters
        ----------
        mu, log_var
            Mean and log-variance of q, (…, latent_dim) each.
        x
            Data, (…, data_dim).

        Returns
        -------
        array
            At most log p(x), (…), nats.

        Raises
        ------
        ValueError
            If shapes do not fit.
        """
        data = self._data(x)
        latent_dim = self.W.shape[1]
        mean, log_variance = (
            _finite(name, value, f"(…, {latent_dim})", lambda shape: shape[-1:] == (latent_dim,))
            for name, value in (("mu", mu), ("log_var", log_var))
        )
        try:
            np.broadcast_shapes(data.shape[:-1], mean.shape[:-1], log_variance.shape[:-1])
        except ValueError:
            raise ValueError(
                f"mu, log_var, x: expected as many of each, or one, got {mean.shape}, {log_variance.shape} and {data.shape}"
            ) from None
        if log_variance.max(initial=0) > _LARGEST_LOG_VAR:
            raise ValueError(f"log_var: expected at most {_LARGEST_LOG_VAR}, got {log_variance.max():.4g}; it is log σ², not σ²")
        with np.errstate(over="ignore"):  # what overflows is found below
            var = np.exp(log_variance)
            missed = ((data - self.b - mean @ self.W.T) ** 2).sum(axis=-1)  # the decoder at the mean of q …
            spread = var @ (self.W**2).sum(axis=0)  # … and what the width of q adds to that
            reconstruction = 0.5 * (len(self.b) * np.log(2 * np.pi * self.s**2) + (missed + spread) / self.s**2)
            kl = 0.5 * (np.expm1(log_variance) - log_variance + mean**2).sum(axis=-1)
            elbo: Array = -reconstruction - kl
        check_finite("x, mu: ELBO", elbo, "scale the data")
        return elbo

    def sample(self, n: int, *, seed: int) -> tuple[Array, Array]:
        """Draw n times: z from N(0, I), then x from N(W z + b, s² I).

        Parameters
        ----------
        n
            Number of draws, 1 to 10 million.
        seed
            The same seed gives the same draws; 0 ≤ seed < 2³¹.

        Returns
        -------
        z, x
            (n, latent_dim) and (n, data_dim).

        Raises
        ------
        ValueError
            If `n` or `seed` is out of its range.
        """
        n, rng = _checked_count(n), np.random.default_rng(check_seed(seed))
        z = rng.standard_normal((n, self.W.shape[1]))
        x: Array = z @ self.W.T + self.b + self.s * rng.standard_normal((n, len(self.b)))
        return z, x

    def _data(self, x: ArrayLike) -> Array:
        size = len(self.b)
        return _finite("x", x, f"(…, {size})", lambda shape: shape[-1:] == (size,))


def _relative_entropy(q: Array, p: Array) -> float:
    """Return the sum of q log(q/p) where q is positive; p need not sum to one, and a zero of it there makes the sum infinite."""
    inside = q > 0
    with np.errstate(divide="ignore"):
        return float((q[inside] * (np.log(q[inside]) - np.log(p[inside]))).sum())


def _checked_names(field: str, names: Sequence[str]) -> tuple[str, ...]:
    listed = isinstance(names, (list, tuple)) or (isinstance(names, np.ndarray) and names.ndim == 1)
    kept = tuple(names) if listed else ()
    if not kept or not all(isinstance(name, str) for name in kept) or len(set(kept)) < len(kept):
        raise ValueError(f"{field}: expected names, at least one and none twice, got {shown(names)}")
    return tuple(str(name) for name in kept)


def _checked_count(n: int) -> int:
    return check_integer("n", n, least=1, most=_MOST_DRAWS)


def _finite(name: str, value: Any, form: str, fits: Any) -> Array:
    """Return a read-only array of doubles of the right shape, or say what is wrong with it."""
    array = np.array(as_array(value, name), dtype=float)  # a copy: the caller's array stays as it is
    if not fits(array.shape) or not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers of shape {form}, got {array.tolist()!r:.80} of shape {array.shape}")
    array.setflags(write=False)
    return array


def _distributions(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Return probabilities that sum to one along the last axis, or say what is wrong with them."""
    array = _finite(name, value, str(shape), lambda got: got == shape)
    total = array.sum(axis=-1)
    if array.min() < 0 or np.abs(total - 1).max() > _SUM_TOLERANCE:
        raise ValueError(
            f"{name}: expected probabilities, none negative and each row with the sum 1, "
            f"got a least value of {array.min():.6g} and sums from {total.min():.6g} to {total.max():.6g}; divide by the sum"
        )
    return array
