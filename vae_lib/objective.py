"""The objective, and the only place where a loss is defined: per-example terms in nats, and the one mean over the batch."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from keras import KerasTensor, backend, ops

from vae_lib.checks import check_integer, check_number, check_values
from vae_lib.gaussian import Tensor, compatible, gaussian_kl, promoted


class ElboTerms(NamedTuple):
    """The evidence lower bound of each image and the two costs that it is made of, nats, each (batch,)."""

    reconstruction: Tensor
    """−E_q[log p(x|z)], the expected cross-entropy summed over pixels, or an estimate of it from samples of z."""
    kl: Tensor
    """KL[q(z|x) ‖ p(z)], summed over latent dimensions."""
    elbo: Tensor
    """−reconstruction − kl, at most log p(x) in expectation; an estimate from samples may lie above."""


def bernoulli_log_prob(x: Tensor, logits: Tensor) -> Tensor:
    """Log-probability of pixels under independent Bernoullis: Σ (x·logits − softplus(logits)).

    Exact for any finite logit. For grey x in [0, 1] it is the negative cross-entropy, which is not a normalised likelihood.

    Parameters
    ----------
    x
        Pixels in [0, 1], (batch, pixels).
    logits
        log(p / (1 − p)) for each pixel, (batch, pixels).

    Returns
    -------
    tensor
        log p(x|z), (batch,), nats, summed over pixels.

    Raises
    ------
    ValueError
        If the shapes differ or are not (batch, pixels), or a pixel is outside [0, 1]; the latter in eager calls only, since a
        compiled graph has no values yet.

    References
    ----------
    Kingma and Welling 2013, arXiv:1312.6114, appendix C.1.
    """
    x, logits = promoted(x=x, logits=logits)
    if len(x.shape) != 2 or len(logits.shape) != 2 or not compatible([tuple(x.shape), tuple(logits.shape)]):
        raise ValueError(f"expected equal shapes (batch, pixels), got x {tuple(x.shape)}, logits {tuple(logits.shape)}")
    if _is_concrete(x):
        check_values(x, "x")
    return ops.sum(x * logits - ops.softplus(logits), axis=-1)


def elbo_terms(x: Tensor, logits: Tensor, mu: Tensor, log_var: Tensor) -> ElboTerms:
    """One-sample estimate of the ELBO of each image.

    Parameters
    ----------
    x
        Pixels in [0, 1], (batch, pixels).
    logits
        The decoder's answer to one z drawn from q(z|x), (batch, pixels).
    mu, log_var
        The encoder's q(z|x), (batch, latent_dim).

    Returns
    -------
    ElboTerms
        Three tensors (batch,), nats; the KL is exact, the reconstruction an unbiased estimate.

    Raises
    ------
    ValueError
        If shapes do not fit, also those of one term to those of the other, or a pixel is outside [0, 1].

    References
    ----------
    Kingma and Welling 2013, arXiv:1312.6114, equation 10.
    """
    x, logits, mu, log_var = promoted(x=x, logits=logits, mu=mu, log_var=log_var)
    sizes = [tuple(value.shape)[:1] for value in (x, logits, mu, log_var)]
    if not all(sizes) or not compatible(sizes):
        got = ", ".join(
            f"{name} {tuple(v.shape)}" for name, v in (("x", x), ("logits", logits), ("mu", mu), ("log_var", log_var))
        )
        raise ValueError(f"expected the same number of images in all, got {got}; encode and decode the same batch")
    reconstruction = -bernoulli_log_prob(x, logits)
    kl = gaussian_kl(mu, log_var)
    return ElboTerms(reconstruction, kl, -reconstruction - kl)


def batch_loss(terms: ElboTerms, beta: Tensor, *, kl: Tensor = None) -> Tensor:
    """Average reconstruction + beta · KL over the batch, and over nothing else: what training minimises.

    Parameters
    ----------
    terms
        Per-example terms, each (batch,), nats.
    beta
        Weight of the KL term; 1 gives the negative ELBO.
    kl
        What takes the place of the mean KL, a scalar such as `free_bits_kl` returns; by default the mean KL itself.

    Returns
    -------
    tensor
        A scalar, nats per image.

    Raises
    ------
    ValueError
        If `terms` are none or `beta` is negative.

    References
    ----------
    Higgins et al. 2017, "beta-VAE".
    """
    if not isinstance(terms, ElboTerms):
        raise ValueError(f"terms: expected ElboTerms, got {type(terms).__name__}; make them with elbo_terms")
    _check_if_number("beta", beta)
    if kl is not None:
        return ops.mean(terms.reconstruction) + beta * kl
    return ops.mean(terms.reconstruction + beta * terms.kl)


def free_bits_kl(mu: Tensor, log_var: Tensor, free_bits: float) -> Tensor:
    """KL with free bits: Σ over dimensions of the larger of `free_bits` and the dimension's mean KL over the batch.

    A dimension whose mean KL lies below `free_bits` gets no gradient from this term, so nothing pushes it towards the prior.

    Parameters
    ----------
    mu, log_var
        The encoder's q(z|x), (batch, latent_dim).
    free_bits
        Nats that each dimension has for free, ≥ 0; 0 gives the mean of the KL.

    Returns
    -------
    tensor
        A scalar, nats per image, at least `free_bits` · latent_dim.

    Raises
    ------
    ValueError
        If shapes do not fit or `free_bits` is negative.

    References
    ----------
    Kingma et al. 2016, arXiv:1606.04934 (free bits), with a group for each dimension.
    """
    _check_if_number("free_bits", free_bits)
    means = ops.mean(gaussian_kl(mu, log_var, per_dim=True), axis=0)  # (latent_dim,)
    return ops.sum(ops.maximum(means, free_bits))


def kl_weight(beta: float, step: Tensor, warmup_steps: int) -> Tensor:
    """Weight of the KL term while it is annealed: beta · min(1, step / warmup_steps).

    Parameters
    ----------
    beta
        The weight after the warm-up.
    step
        Number of gradient steps taken before this one.
    warmup_steps
        Gradient steps of the warm-up; 0 for none.

    Returns
    -------
    tensor
        The weight, a scalar; `beta` itself without a warm-up.

    Raises
    ------
    ValueError
        If a number is negative.

    References
    ----------
    Bowman et al. 2016, arXiv:1511.06349, section 3.1; Sønderby et al. 2016, arXiv:1602.02282 (the straight line).
    """
    _check_if_number("beta", beta)
    _check_if_number("step", step)
    if check_integer("warmup_steps", warmup_steps) == 0:
        return beta
    return beta * ops.minimum(1.0, ops.cast(step, "float32") / warmup_steps)


def _check_if_number(name: str, value: Any) -> None:
    """Refuse what is neither a tensor without dimensions nor a finite number of at least 0."""
    if not (ops.is_tensor(value) or isinstance(value, KerasTensor)):
        check_number(name, value, least=0)
    elif len(value.shape):
        raise ValueError(f"{name}: expected one number, got a tensor of shape {tuple(value.shape)}")


def _is_concrete(x: Tensor) -> bool:
    """Whether a tensor has values already, which it has in an eager call, and not where a function is being compiled."""
    if isinstance(x, KerasTensor):
        return False
    if backend.backend() == "tensorflow":
        return not sys.modules["tensorflow"].is_symbolic_tensor(x)
    if backend.backend() == "jax":
        return not isinstance(x, sys.modules["jax"].core.Tracer)
    if backend.backend() == "torch":
        return x.device.type != "meta" and not sys.modules["torch"].compiler.is_compiling()
    return True
