"""How good a VAE is: estimates of the ELBO, per example and in nats."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from vae_lib.objective import ElboTerms, elbo_terms
from vae_lib.training import check_images

if TYPE_CHECKING:
    from vae_lib.model import VAE

_BATCH = 1000


def elbo(vae: VAE, x: NDArray[np.float32], *, samples: int = 10, seed: int = 0) -> ElboTerms:
    """Estimate the ELBO of each image from several samples of z.

    Parameters
    ----------
    vae
        A trained model.
    x
        Images, (images, input_dim), values in [0, 1].
    samples
        Samples of z for each image, ≥ 1; the reconstruction is their mean, the KL is exact.
    seed
        Seeds the samples.

    Returns
    -------
    ElboTerms
        Three NumPy arrays (images,), float32, nats. Beta plays no part: this is the bound on log p(x).

    Raises
    ------
    ValueError
        If `x` has the wrong form or `samples` is below 1.

    References
    ----------
    Kingma and Welling 2013, arXiv:1312.6114, equation 10.
    """
    x = check_images(x, vae.config.input_dim)
    if isinstance(samples, bool) or not isinstance(samples, (int, np.integer)) or samples < 1:
        raise ValueError(f"samples: expected a whole number of at least 1, got {samples!r}")
    noise = keras.random.SeedGenerator(seed)
    parts = [_batch_elbo(vae, x[start : start + _BATCH], samples, noise) for start in range(0, len(x), _BATCH)]
    return ElboTerms(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _batch_elbo(vae: VAE, x: NDArray[np.float32], samples: int, noise: keras.random.SeedGenerator) -> ElboTerms:
    mu, log_var = vae.encoder(x)
    deviation = ops.exp(0.5 * log_var)
    total = np.zeros(len(x))
    for _ in range(samples):
        z = mu + deviation * keras.random.normal(ops.shape(mu), seed=noise)
        terms = elbo_terms(x, vae.decoder(z), mu, log_var)
        total += ops.convert_to_numpy(terms.reconstruction)
    reconstruction = (total / samples).astype(np.float32)
    kl = ops.convert_to_numpy(terms.kl)
    return ElboTerms(reconstruction, kl, -reconstruction - kl)
