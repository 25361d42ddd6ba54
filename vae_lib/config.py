"""Every hyperparameter, once."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, get_args

from vae_lib.checks import check_choice, check_integer, check_number, check_seed, shown

Activation = Literal["relu", "tanh"]
Binarization = Literal["none", "dynamic"]

_MOST = 2**31 - 1  # of any count: what 32 bits hold


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What is trained and how; the defaults are those of the 2016 post.

    Parameters
    ----------
    input_dim
        Number of pixels of an image, ≥ 1.
    latent_dim
        Number of latent dimensions, ≥ 1.
    hidden
        Widths of the encoder's hidden layers; the decoder mirrors them.
    beta
        Weight of the KL term, ≥ 0; 1 gives the ELBO (Higgins et al. 2017).
    batch_size
        Images per gradient step, ≥ 1.
    epochs
        Passes through the training images, ≥ 1.
    learning_rate
        Adam's step size, > 0.
    seed
        Seeds the weights, the order of the images and the noise; 0 ≤ seed < 2³¹.
    classes
        Number of labels of a conditional VAE, whose encoder and decoder are given the label as well (Sohn et al. 2015), ≥ 0; 0
        for a VAE without labels.
    activation
        Of the hidden layers: ``"relu"``, or ``"tanh"`` as in Kingma and Welling 2013 and Burda et al. 2015.
    binarize
        ``"dynamic"`` trains on pixels drawn anew in each step, with the grey value as their mean (Burda et al. 2015, in their
        code); ``"none"`` on the images as they are.
    kl_warmup
        Epochs in which the weight of the KL term rises in a straight line from 0 to `beta`, ≥ 0; 0 for none (Bowman et al.
        2016).
    free_bits
        Nats of KL that each latent dimension has for free: below them its KL is not pushed down any more; ≥ 0; 0 for none (Kingma
        et al. 2016; here each dimension is a group, and the mean is over the batch).
    learning_rate_end
        The step size of the last epoch, > 0, to which it changes from epoch to epoch by the same factor; None keeps it as it is.

    Raises
    ------
    ValueError
        If a value is of the wrong type or out of its range.
    """

    input_dim: int = 784
    latent_dim: int = 2
    hidden: tuple[int, ...] = (512,)
    beta: float = 1.0
    batch_size: int = 50
    epochs: int = 10
    learning_rate: float = 1e-3
    seed: int = 0
    classes: int = 0
    activation: Activation = "relu"
    binarize: Binarization = "none"
    kl_warmup: int = 0
    free_bits: float = 0.0
    learning_rate_end: float | None = None

    def __post_init__(self) -> None:
        hidden = tuple(self.hidden) if isinstance(self.hidden, list) else self.hidden  # a list is what JSON brings
        if not isinstance(hidden, tuple) or not hidden:
            raise ValueError(f"hidden: expected a non-empty tuple of layer widths such as (512,), got {shown(self.hidden)}")
        checked: dict[str, Any] = {"hidden": tuple(check_integer("hidden", width, least=1, most=_MOST) for width in hidden)}
        for name in ("input_dim", "latent_dim", "batch_size", "epochs"):
            checked[name] = check_integer(name, getattr(self, name), least=1, most=_MOST)
        for name in ("classes", "kl_warmup"):
            checked[name] = check_integer(name, getattr(self, name), least=0, most=_MOST)
        for name in ("beta", "free_bits"):
            checked[name] = check_number(name, getattr(self, name), least=0)
        checked["seed"] = check_seed(self.seed)
        checked["learning_rate"] = check_number("learning_rate", self.learning_rate, above=0)
        if self.learning_rate_end is not None:
            checked["learning_rate_end"] = check_number("learning_rate_end", self.learning_rate_end, above=0)
        checked["activation"] = check_choice("activation", self.activation, get_args(Activation))
        checked["binarize"] = check_choice("binarize", self.binarize, get_args(Binarization))
        for name, value in checked.items():  # NumPy's numbers become Python's, which JSON can hold
            object.__setattr__(self, name, value)

    def replace(self, **changes: Any) -> TrainConfig:
        """Return a copy with some values changed, checked like a new one.

        Parameters
        ----------
        **changes
            The new values, by their names.

        Returns
        -------
        TrainConfig
            The copy; the original stays as it is.

        Raises
        ------
        ValueError
            If a value is of the wrong type or out of its range.
        TypeError
            If there is no parameter of that name.
        """
        return dataclasses.replace(self, **changes)
