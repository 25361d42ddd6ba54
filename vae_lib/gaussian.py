"""Gaussians with diagonal covariance: log-density, KL divergence in closed form, reparameterised samples.

A Gaussian is given by its mean `mu` and the logarithm of its variance `log_var`, both (batch, latent_dim). Results are in
nats, one value for each row: summed over dimensions, never averaged. They are float32, or float64 where an argument is and the
backend keeps it.
"""

from __future__ import annotations

import math
from typing import Any

from keras import KerasTensor, Variable, backend, ops, random

from vae_lib.checks import as_array, check_flag, check_seed

Tensor = Any  # whatever the Keras backend computes with; NumPy arrays are accepted everywhere


def gaussian_kl(mu: Tensor, log_var: Tensor, *, per_dim: bool = False) -> Tensor:
    """KL divergence from a diagonal Gaussian to the standard one: ½ Σ (exp(log_var) + mu² − 1 − log_var).

    Parameters
    ----------
    mu, log_var
        Mean and log-variance, (batch, latent_dim).
    per_dim
        Whether to return the KL of each dimension instead of their sum.

    Returns
    -------
    tensor
        KL[N(mu, exp(log_var)) ‖ N(0, I)], (batch,), nats; with `per_dim` the parts that it is the sum of, (batch, latent_dim).

    Raises
    ------
    ValueError
        If the shapes differ or are not (batch, latent_dim).

    References
    ----------
    Kingma and Welling 2013, arXiv:1312.6114, appendix B.
    """
    mu, log_var = _checked(mu=mu, log_var=log_var)
    # expm1, not exp(log_var) − 1: near 0 the latter loses every digit to cancellation
    doubled = ops.expm1(log_var) - log_var + ops.square(mu)  # (batch, latent_dim)
    return 0.5 * doubled if check_flag("per_dim", per_dim) else 0.5 * ops.sum(doubled, axis=-1)


def gaussian_log_prob(z: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    """Log-density of a diagonal Gaussian at z.

    Parameters
    ----------
    z, mu, log_var
        Points, mean and log-variance, each (batch, latent_dim).

    Returns
    -------
    tensor
        log N(z; mu, exp(log_var)), (batch,), nats.

    Raises
    ------
    ValueError
        If the shapes differ or are not (batch, latent_dim).

    References
    ----------
    Kingma and Welling 2013, arXiv:1312.6114, equation 9.
    """
    z, mu, log_var = _checked(z=z, mu=mu, log_var=log_var)
    scaled = ops.square(z - mu) * ops.exp(-log_var)
    return -0.5 * ops.sum(math.log(2 * math.pi) + log_var + scaled, axis=-1)


def sample_gaussian(mu: Tensor, log_var: Tensor, *, seed: int | random.SeedGenerator) -> Tensor:
    """Draw z = mu + exp(½ log_var) · ε with ε ~ N(0, I): gradients flow into mu and log_var, none into ε.

    Parameters
    ----------
    mu, log_var
        Mean and log-variance, (batch, latent_dim).
    seed
        A whole number, 0 ≤ seed < 2³¹, gives the same ε each time; a `keras.random.SeedGenerator` goes on from call to call.

    Returns
    -------
    tensor
        One sample for each row, (batch, latent_dim), of the floating dtype of `mu` and `log_var`.

    Raises
    ------
    ValueError
        If the shapes differ or are not (batch, latent_dim), or the seed is none.

    References
    ----------
    Kingma and Welling 2013, arXiv:1312.6114, section 2.4.
    """
    if not isinstance(seed, random.SeedGenerator):
        seed = check_seed(seed)
    given = [_tensor("mu", mu), _tensor("log_var", log_var)]
    mu, log_var = _checked(mu=given[0], log_var=given[1])
    eps = random.normal(ops.shape(mu), dtype=mu.dtype, seed=seed)  # (batch, latent_dim)
    # computed in float32 at least, returned as it came: in half precision exp loses what the mean holds
    return ops.cast(mu + ops.exp(0.5 * log_var) * eps, backend.result_type(*(value.dtype for value in given), float))


def _checked(**tensors: Tensor) -> list[Tensor]:
    """Convert to tensors of one floating dtype, at least float32, and insist on one shape (batch, latent_dim)."""
    converted = promoted(**tensors)
    shapes = {name: tuple(value.shape) for name, value in zip(tensors, converted, strict=True)}
    if any(len(shape) != 2 for shape in shapes.values()) or not compatible(list(shapes.values())):
        got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"expected equal shapes (batch, latent_dim), got {got}")
    return converted


def promoted(**tensors: Tensor) -> list[Tensor]:
    """Convert numbers to tensors of one floating dtype: the widest that is given, at least float32.

    Half precision holds three digits, which a sum over hundreds of pixels does not survive.

    Parameters
    ----------
    **tensors
        Tensors or arrays of any shapes, by the names that an error calls them.

    Returns
    -------
    list of tensor
        In the order given.

    Raises
    ------
    ValueError
        If one of them is no array of numbers, or a masked array hides values.
    """
    converted = [_tensor(name, value) for name, value in tensors.items()]
    dtype = backend.result_type(*(value.dtype for value in converted), "float32")
    return [ops.cast(value, dtype) for value in converted]


def _tensor(name: str, value: Tensor) -> Tensor:
    """Convert to a tensor; what is none yet is checked as an array of numbers."""
    if ops.is_tensor(value) or isinstance(value, (KerasTensor, Variable)):
        tensor = ops.convert_to_tensor(value) if not isinstance(value, KerasTensor) else value
        if "complex" in backend.standardize_dtype(tensor.dtype):
            raise ValueError(f"{name}: expected real numbers, got {backend.standardize_dtype(tensor.dtype)}")
        return tensor
    return ops.convert_to_tensor(as_array(value, name))


def compatible(shapes: list[tuple[int | None, ...]]) -> bool:
    """Tell whether shapes are equal where they are known.

    Parameters
    ----------
    shapes
        Of one length; None is a size that is not known yet, as in a compiled graph.

    Returns
    -------
    bool
        Whether they can be equal.
    """
    return all(len({size for size in sizes if size is not None}) <= 1 for sizes in zip(*shapes, strict=True))
