"""The objective, and the only place where a loss is defined: per-example terms in nats, and the one mean over the batch."""

from __future__ import annotations

from typing import NamedTuple

from keras import backend, ops

from vae_lib.gaussian import Tensor, _compatible, gaussian_kl


class ElboTerms(NamedTuple):
    """The evidence lower bound of each image and the two costs that it is made of, nats, each (batch,)."""

    reconstruction: Tensor
    """−E_q[log p(x|z)], the expected cross-entropy summed over pixels."""
    kl: Tensor
    """KL[q(z|x) ‖ p(z)], summed over latent dimensions."""
    elbo: Tensor
    """−reconstruction − kl, at most log p(x)."""


def bernoulli_log_prob(x: Tensor, logits: Tensor) -> Tensor:
    """Log-probability of pixels under independent Bernoullis: Σ x·logits − softplus(logits).

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
        If the shapes differ or are not (batch, pixels).

    References
    ----------
    Kingma and Welling 2013, arXiv:1312.6114, appendix C.1.
    """
    logits = ops.convert_to_tensor(logits)
    logits = ops.cast(logits, backend.result_type(logits.dtype, float))
    x = ops.cast(ops.convert_to_tensor(x), logits.dtype)
    if len(x.shape) != 2 or len(logits.shape) != 2 or not _compatible([tuple(x.shape), tuple(logits.shape)]):
        raise ValueError(f"expected equal shapes (batch, pixels), got x {tuple(x.shape)}, logits {tuple(logits.shape)}")
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
        If shapes do not fit.

    References
    ----------
    Kingma and Welling 2013, arXiv:1312.6114, equation 10.
    """
    reconstruction = -bernoulli_log_prob(x, logits)
    kl = gaussian_kl(mu, log_var)
    return ElboTerms(reconstruction, kl, -reconstruction - kl)


def batch_loss(terms: ElboTerms, beta: float) -> Tensor:
    """Average reconstruction + beta · KL over the batch, and over nothing else: what training minimises.

    Parameters
    ----------
    terms
        Per-example terms, each (batch,), nats.
    beta
        Weight of the KL term; 1 gives the negative ELBO.

    Returns
    -------
    tensor
        A scalar, nats per image.

    References
    ----------
    Higgins et al. 2017, "beta-VAE", equation 4.
    """
    return ops.mean(terms.reconstruction + beta * terms.kl)
