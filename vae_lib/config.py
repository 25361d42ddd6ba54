"""Every hyperparameter, once."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass
from typing import Any, Literal, get_args

Activation = Literal["relu", "tanh"]
Binarization = Literal["none", "dynamic"]


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
        Weight of the KL term, ≥ 0; 1 gives the ELBO (Higgins et al. 2017, eq. 4).
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
        if isinstance(self.hidden, list):  # as JSON brings it
            object.__setattr__(self, "hidden", tuple(self.hidden))
        if not isinstance(self.hidden, tuple) or not self.hidden:
            raise ValueError(f"hidden: expected a non-empty tuple of layer widths such as (512,), got {self.hidden!r}")
        for name in ("input_dim", "latent_dim", "batch_size", "epochs"):
            _check_integer(name, getattr(self, name), least=1)
        for width in self.hidden:
            _check_integer("hidden", width, least=1)
        _check_integer("seed", self.seed, least=0)
        if self.seed >= 2**31:
            raise ValueError(f"seed: expected a whole number below 2**31, got {self.seed!r}")
        _check_number("beta", self.beta, zero_allowed=True)
        _check_number("learning_rate", self.learning_rate, zero_allowed=False)
        _check_integer("classes", self.classes, least=0)
        _check_integer("kl_warmup", self.kl_warmup, least=0)
        _check_number("free_bits", self.free_bits, zero_allowed=True)
        if self.learning_rate_end is not None:
            _check_number("learning_rate_end", self.learning_rate_end, zero_allowed=False)
        _check_choice("activation", self.activation, get_args(Activation))
        _check_choice("binarize", self.binarize, get_args(Binarization))

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


def _check_integer(name: str, value: object, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r}")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {value!r}")


def _check_number(name: str, value: object, *, zero_allowed: bool) -> None:
    wanted = "a finite number of at least 0" if zero_allowed else "a finite number above 0"
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # compared, not math.isfinite: that raises OverflowError for a whole number beyond every float
    if not (number and 0 <= value <= sys.float_info.max and (zero_allowed or value > 0)):  # type: ignore[operator]
        raise ValueError(f"{name}: expected {wanted}, got {value!r}")
