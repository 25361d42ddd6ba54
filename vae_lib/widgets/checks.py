"""The check of a model whose latent plane a widget shows."""

from __future__ import annotations

import math
from typing import Any


def check_plane_vae(vae: Any, name: str = "vae") -> int:
    """Return the side of the images of a VAE that a widget can show as a plane, or say what is wrong with it.

    Parameters
    ----------
    vae
        What should be a VAE with two latent dimensions and square images that is not conditional and has not diverged.
    name
        What the message calls it.

    Returns
    -------
    int
        Pixels along a side of its images.

    Raises
    ------
    ValueError
        If it is anything else.
    """
    from vae_lib.model import VAE, check_vae  # widgets that need no model do not import Keras

    if not isinstance(vae, VAE) or vae.config.latent_dim != 2:
        got = f"{vae.config.latent_dim} dimensions" if isinstance(vae, VAE) else type(vae).__name__
        raise ValueError(f"{name}: expected a VAE with two latent dimensions, got {got}; try pretrained('mnist-2d')")
    if vae.config.classes:
        raise ValueError(f"{name}: expected a VAE that is not conditional, got one of labels; give with_label(vae, label)")
    side = math.isqrt(vae.config.input_dim)
    if side * side != vae.config.input_dim:
        raise ValueError(f"{name}: expected a model of square images, got {vae.config.input_dim} pixels; train one on squares")
    check_vae(vae, name, finite=True)
    return side
