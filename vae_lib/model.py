"""Encoder, decoder and the whole VAE: Keras models that share weights. What is minimised is defined in `objective`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import keras
import numpy as np
from keras import layers, ops

from vae_lib.config import TrainConfig
from vae_lib.gaussian import Tensor, sample_gaussian
from vae_lib.objective import batch_loss, elbo_terms, free_bits_kl


@keras.saving.register_keras_serializable(package="vae_lib")
class Sampling(layers.Layer):
    """Draw z = mu + exp(½ log_var) · ε, another ε at each call.

    Parameters
    ----------
    seed
        Where the sequence of ε starts.
    **kwargs
        What every Keras layer takes, such as `name`.
    """

    def __init__(self, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: tuple[Tensor, Tensor]) -> Tensor:
        """Take (mu, log_var), each (batch, latent_dim); return z of the same shape."""
        mu, log_var = inputs
        return sample_gaussian(mu, log_var, seed=self.seed_generator)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Return the shape of mu."""
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        """Return what is needed to make the layer again."""
        return {**super().get_config(), "seed": self.seed}


class VAE(keras.Model):
    """A variational autoencoder with a diagonal Gaussian encoder and a Bernoulli decoder.

    An ordinary Keras model: `compile(optimizer)`, `fit(x)`, `evaluate(x)`, `predict(x)`, `summary()`, `save_weights(path)`.
    Its loss is the mean over the batch of reconstruction + beta · KL, nats per image; `reconstruction` and `kl` are its metrics.
    In a conditional VAE, encoder and decoder take a pair, [x, y] and [z, y], with the one-hot label y (batch, classes).

    Parameters
    ----------
    config
        Sizes, beta and seed.

    Attributes
    ----------
    encoder
        Keras model, x (batch, input_dim) → [mu, log_var], each (batch, latent_dim).
    decoder
        Keras model, z (batch, latent_dim) → logits (batch, input_dim).
    sampling
        The `Sampling` layer between encoder and decoder.

    References
    ----------
    Kingma and Welling 2013, arXiv:1312.6114, section 3 and appendix C.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(name="vae")
        self.config = config
        self.encoder = _encoder(config)
        self.decoder = _decoder(config)
        self.sampling = Sampling(config.seed, name="sampling")
        self.reconstruction_metric = keras.metrics.Mean(name="reconstruction")
        self.kl_metric = keras.metrics.Mean(name="kl")
        self.build((None, config.input_dim))

    def build(self, input_shape: Any) -> None:
        """Mark the model as built; its two halves have their weights from the start."""
        self.sampling.build([(None, self.config.latent_dim)] * 2)
        self.built = True

    def call(self, x: Tensor) -> dict[str, Tensor]:
        """Encode, sample, decode.

        Parameters
        ----------
        x
            Images, (batch, input_dim), values in [0, 1]; of a conditional VAE the pair [x, y], y one-hot (batch, classes).

        Returns
        -------
        dict
            `reconstruction` (batch, input_dim), probabilities; `logits` of the same shape; `mu`, `log_var` and `z`,
            each (batch, latent_dim).
        """
        mu, log_var = self.encoder(x)
        z = self.sampling((mu, log_var))
        logits = self.decoder([z, x[1]] if self.config.classes else z)
        return {"reconstruction": ops.sigmoid(logits), "logits": logits, "mu": mu, "log_var": log_var, "z": z}

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Any = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """Return the mean over the batch of reconstruction + beta · KL: what Keras's `fit` minimises.

        Parameters
        ----------
        x
            Images, (batch, input_dim); of a conditional VAE the pair [x, y].
        y
            Ignored, so that `fit(x, x)`, usual for autoencoders, works as `fit(x)` does.
        y_pred
            What `call` returned.
        sample_weight
            Must be None.
        training
            Whether a gradient step follows; noise is drawn either way.

        Returns
        -------
        tensor
            A scalar, nats per image.

        Raises
        ------
        ValueError
            If sample weights are given: a weighted ELBO is not defined here. Or if the configuration asks for what only `train`
            does: dynamic binarisation, a warm-up, a falling learning rate.
        """
        if sample_weight is not None:
            raise ValueError("sample_weight: expected none, for every image counts the same; leave it out")
        if training and (self.config.binarize != "none" or self.config.kl_warmup or self.config.learning_rate_end is not None):
            raise ValueError(
                f"fit: expected a configuration without binarize, kl_warmup and learning_rate_end, got {self.config}; "
                f"use vae_lib.train, or binarise and schedule with Keras's own callbacks"
            )
        mu, log_var = y_pred["mu"], y_pred["log_var"]
        terms = elbo_terms(x[0] if self.config.classes else x, y_pred["logits"], mu, log_var)
        self.reconstruction_metric.update_state(terms.reconstruction)
        self.kl_metric.update_state(terms.kl)
        return batch_loss(terms, self.config.beta, kl=kl_in_loss(self.config, mu, log_var))


def kl_in_loss(config: TrainConfig, mu: Tensor, log_var: Tensor) -> Tensor:
    """Return what `batch_loss` takes in the place of the mean KL: None unless the configuration grants free bits.

    Parameters
    ----------
    config
        The configuration.
    mu, log_var
        The encoder's q(z|x), (batch, latent_dim).

    Returns
    -------
    tensor or None
        A scalar, nats per image.
    """
    return free_bits_kl(mu, log_var, config.free_bits) if config.free_bits else None


def build_vae(config: TrainConfig | None = None) -> VAE:
    """Build the three models that share weights; the default is the post's 784-512-2-512-784.

    Parameters
    ----------
    config
        Sizes, beta and seed; the same configuration gives the same initial weights.

    Returns
    -------
    VAE
        The whole model, with `.encoder` and `.decoder`.

    Raises
    ------
    ValueError
        If `config` is not a `TrainConfig`.
    """
    config = TrainConfig() if config is None else config
    if not isinstance(config, TrainConfig):
        raise ValueError(f"config: expected a TrainConfig, got {type(config).__name__}; write TrainConfig(latent_dim=2)")
    return VAE(config)


def with_label(vae: VAE, label: int) -> VAE:
    """Turn a conditional VAE into the ordinary VAE that it is for one label: p(x|y) as a model of x alone.

    The label's rows of the first kernels of encoder and decoder are added to their biases, so that both networks are plain chains
    of Dense layers, and everything that takes a VAE takes the new one.

    Parameters
    ----------
    vae
        A conditional VAE.
    label
        0 to classes − 1.

    Returns
    -------
    VAE
        A new model with `classes=0` whose encoder and decoder answer as those of `vae` with this label; it shares no weights.

    Raises
    ------
    ValueError
        If `vae` is not conditional or the label is out of range.
    """
    if not isinstance(vae, VAE) or not vae.config.classes:
        got = vae.config if isinstance(vae, VAE) else type(vae).__name__
        raise ValueError(f"vae: expected a conditional VAE, got {got}; train one with classes=10")
    whole = isinstance(label, (int, np.integer)) and not isinstance(label, bool)
    if not whole or not 0 <= label < vae.config.classes:
        raise ValueError(f"label: expected a whole number from 0 to {vae.config.classes - 1}, got {label!r}")
    plain = VAE(vae.config.replace(classes=0))
    given = {variable.path: np.asarray(variable.value) for variable in vae.trainable_variables}
    for part, inputs in (("encoder", vae.config.input_dim), ("decoder", vae.config.latent_dim)):
        kernel = given[f"{part}_0/kernel"]  # (inputs + classes, width)
        given[f"{part}_0/kernel"] = kernel[:inputs]
        given[f"{part}_0/bias"] = given[f"{part}_0/bias"] + kernel[inputs + label]
    for variable in plain.trainable_variables:
        variable.assign(given[variable.path])
    return plain


def _encoder(config: TrainConfig) -> keras.Model:
    seeds = _layer_seeds(config.seed, "encoder")
    x = keras.Input((config.input_dim,), name="x")  # (batch, input_dim)
    inputs, joined = _with_label_input(x, config)
    hidden = _hidden_layers(joined, config, config.hidden, seeds, prefix="encoder")
    mu = _dense(config.latent_dim, seeds, name="mu")(hidden)  # (batch, latent_dim)
    log_var = _dense(config.latent_dim, seeds, name="log_var")(hidden)  # (batch, latent_dim)
    return keras.Model(inputs, [mu, log_var], name="encoder")


def _decoder(config: TrainConfig) -> keras.Model:
    seeds = _layer_seeds(config.seed, "decoder")
    z = keras.Input((config.latent_dim,), name="z")  # (batch, latent_dim)
    inputs, joined = _with_label_input(z, config)
    hidden = _hidden_layers(joined, config, config.hidden[::-1], seeds, prefix="decoder")
    logits = _dense(config.input_dim, seeds, name="logits")(hidden)  # (batch, input_dim)
    return keras.Model(inputs, logits, name="decoder")


def _with_label_input(first: Tensor, config: TrainConfig) -> tuple[Any, Tensor]:
    """Return a network's inputs, and what its first layer takes: the label, if there is one, behind the rest."""
    if not config.classes:
        return first, first
    y = keras.Input((config.classes,), name="y")  # (batch, classes), one-hot
    return [first, y], layers.Concatenate(name="joined")([first, y])


def _layer_seeds(seed: int, part: Literal["encoder", "decoder"]) -> Iterator[int]:
    """Give each layer a seed of its own, which no other layer and no other model's layer shares but by chance."""
    generator = np.random.default_rng([seed, ("encoder", "decoder").index(part)])
    while True:
        yield int(generator.integers(2**31 - 2))  # Keras takes seeds modulo this number


def _hidden_layers(inputs: Tensor, config: TrainConfig, widths: tuple[int, ...], seeds: Iterator[int], *, prefix: str) -> Tensor:
    for number, width in enumerate(widths):
        inputs = _dense(width, seeds, name=f"{prefix}_{number}", activation=config.activation)(inputs)
    return inputs


def _dense(width: int, seeds: Iterator[int], *, name: str, activation: str | None = None) -> layers.Dense:
    initializer = keras.initializers.GlorotUniform(seed=next(seeds))
    return layers.Dense(width, activation=activation, kernel_initializer=initializer, name=name)
