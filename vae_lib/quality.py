"""How good samples look to a classifier: its confidence, and the Fréchet distance between samples and images in its features.

The classifier is small and trained on the spot, on the same images as the models that it judges. Its numbers compare models with
each other; they mean nothing beside those of another classifier.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import ArrayLike, NDArray

from vae_lib.checks import check_images, check_labels

_BATCH = 200


class SampleQuality(NamedTuple):
    """What a classifier says of a set of images."""

    confidence: float
    """Mean over images of the probability of the likeliest class, from 1 / classes to 1."""
    balance: float
    """Entropy of the classes over all images, nats; log(classes) if each is as frequent, 0 if there is but one."""
    frechet: float
    """Squared Fréchet distance from the reference images, ≥ 0, in squared units of the classifier's features."""


def train_classifier(x: ArrayLike, labels: ArrayLike, *, classes: int = 10, epochs: int = 4, seed: int = 0) -> keras.Model:
    """Train a small dense classifier, input_dim-128-32-classes.

    Parameters
    ----------
    x
        Images, (images, input_dim), values in [0, 1].
    labels
        Their classes, (images,), whole numbers from 0 to classes − 1.
    classes
        How many classes there are, ≥ 1.
    epochs
        Passes through the images, ≥ 1.
    seed
        Seeds weights and order.

    Returns
    -------
    keras.Model
        x (batch, input_dim) → [features (batch, 32), logits (batch, classes)].

    Raises
    ------
    ValueError
        If images or labels have the wrong form, or a number is below 1.
    """
    for name, value in (("classes", classes), ("epochs", epochs)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: expected a whole number of at least 1, got {value!r}")
    array = np.asarray(x)
    images = check_images(array, array.shape[1] if array.ndim == 2 else 0)
    digits = check_labels(labels, len(images), classes)
    seeds = iter(np.random.default_rng(seed).integers(2**31 - 2, size=3))
    inputs = hidden = keras.Input((images.shape[1],), name="x")
    for width, name in ((128, "hidden"), (32, "features")):
        hidden = _dense(width, name, next(seeds), activation="relu")(hidden)
    logits = _dense(classes, "logits", next(seeds))(hidden)
    trained = keras.Model(inputs, logits)
    trained.compile(keras.optimizers.Adam(2e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for number in range(epochs):
        order = np.random.default_rng([seed, number]).permutation(len(images))
        trained.fit(images[order], digits[order], batch_size=_BATCH, shuffle=False, verbose=0)
    return keras.Model(inputs, [hidden, logits], name="classifier")


def sample_quality(classifier: keras.Model, images: ArrayLike, reference: ArrayLike) -> SampleQuality:
    """Judge images by a classifier, against reference images.

    Compare only sets of the same size: with fewer images the Fréchet distance is larger, even between two halves of the same
    data.

    Parameters
    ----------
    classifier
        From `train_classifier`.
    images
        What is judged, such as decoded samples, (images, input_dim), values in [0, 1].
    reference
        Real images, preferably ones that the classifier was not trained on, (images, input_dim), values in [0, 1].

    Returns
    -------
    SampleQuality
        Confidence, balance and Fréchet distance.

    Raises
    ------
    ValueError
        If images have the wrong form or are fewer than two.

    References
    ----------
    Salimans et al. 2016, arXiv:1606.03498, section 4 (confidence and balance, there as one score); Heusel et al. 2017,
    arXiv:1706.08500, equation 6 (the distance, there in the features of another network).
    """
    features, logits = _run(classifier, images, "images")
    expected, _ = _run(classifier, reference, "reference")
    probability = np.exp(logits - logits.max(axis=1, keepdims=True))
    probability /= probability.sum(axis=1, keepdims=True)
    frequency = probability.mean(axis=0)
    balance = -float((frequency * np.log(np.maximum(frequency, np.finfo(float).tiny))).sum())
    return SampleQuality(float(probability.max(axis=1).mean()), balance, frechet_distance(features, expected))


def frechet_distance(a: ArrayLike, b: ArrayLike) -> float:
    r"""Compute the squared Fréchet distance between the Gaussians with the moments of two sets of points.

    It is the sum of :math:`\lVert\mu_a-\mu_b\rVert^2` and :math:`\operatorname{tr}(\Sigma_a+\Sigma_b-2(\Sigma_a\Sigma_b)^{1/2})`:
    the squared 2-Wasserstein distance between them.

    Parameters
    ----------
    a, b
        Points, (points, dims), at least two each; the numbers of points may differ.

    Returns
    -------
    float
        The squared distance, ≥ 0, in squared units of the points.

    Raises
    ------
    ValueError
        If the shapes do not fit or a number is not finite.

    References
    ----------
    Dowson and Landau 1982, "The Fréchet distance between multivariate normal distributions", Journal of Multivariate Analysis 12.
    """
    first, second = np.asarray(a, float), np.asarray(b, float)
    shapes = first.shape, second.shape
    if first.ndim != 2 or second.ndim != 2 or shapes[0][1] != shapes[1][1] or min(len(first), len(second)) < 2:
        raise ValueError(
            f"expected two sets of points (points, dims) with at least two points each, got {shapes[0]} and {shapes[1]}"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("expected finite points, got inf or NaN; has the model diverged?")
    of_first, of_second = (np.atleast_2d(np.cov(points, rowvar=False)) for points in (first, second))
    root = _root(of_first)
    # the eigenvalues of Σ_a Σ_b are those of Σ_a^½ Σ_b Σ_a^½, which is symmetric
    cross = np.sqrt(np.linalg.eigvalsh(root @ of_second @ root).clip(min=0)).sum()
    apart = np.square(first.mean(axis=0) - second.mean(axis=0)).sum()
    return max(0.0, float(apart + np.trace(of_first) + np.trace(of_second) - 2 * cross))


def _root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Square root of a symmetric matrix without negative eigenvalues but for rounding."""
    values, vectors = np.linalg.eigh(covariance)
    root: NDArray[np.float64] = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    return root


def _run(classifier: keras.Model, images: ArrayLike, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Features and logits as arrays, (images, 32) and (images, classes)."""
    if not isinstance(classifier, keras.Model) or len(classifier.outputs or []) != 2:
        raise ValueError(f"classifier: expected one from train_classifier, got {type(classifier).__name__}")
    x = check_images(images, classifier.input_shape[1], name)
    parts = [classifier(x[start : start + 1000]) for start in range(0, len(x), 1000)]
    features, logits = (
        np.concatenate([ops.convert_to_numpy(part) for part in column]).astype(float) for column in zip(*parts, strict=True)
    )
    return features, logits


def _dense(width: int, name: str, seed: Any, activation: str | None = None) -> layers.Dense:
    initializer = keras.initializers.GlorotUniform(seed=int(seed))
    return layers.Dense(width, activation=activation, kernel_initializer=initializer, name=name)
