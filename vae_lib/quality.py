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

from vae_lib.checks import check_finite, check_images, check_integer, check_labels, check_reals, check_seed

_BATCH = 200
_MOST_CLASSES = 10_000
_MOST_EPOCHS = 10_000
_LARGEST = 1e70  # the distance takes fourth powers, of many points
_DIVERGED = "has the model that made them diverged?"


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
        How many classes there are, 1 to 10,000.
    epochs
        Passes through the images, 1 to 10,000.
    seed
        Seeds weights and order; 0 ≤ seed < 2³¹.

    Returns
    -------
    keras.Model
        x (batch, input_dim) → [features (batch, 32), logits (batch, classes)], float32 whatever Keras's dtype policy is.

    Raises
    ------
    ValueError
        If images or labels have the wrong form, or a number is out of its range.
    """
    classes = check_integer("classes", classes, least=1, most=_MOST_CLASSES)
    epochs, seed = check_integer("epochs", epochs, least=1, most=_MOST_EPOCHS), check_seed(seed)
    images = check_images(x, 0)
    digits = check_labels(labels, len(images), classes)
    seeds = iter(np.random.default_rng(seed).integers(2**31 - 2, size=3))
    inputs = hidden = keras.Input((images.shape[1],), name="x", dtype="float32")
    for width, name in ((128, "hidden"), (32, "features")):
        hidden = _dense(width, name, next(seeds), activation="relu")(hidden)
    logits = _dense(classes, "logits", next(seeds))(hidden)
    trained = keras.Model(inputs, logits)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype="float32")
    trained.compile(keras.optimizers.Adam(2e-3), loss, auto_scale_loss=False)
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
        Real images, preferably ones that the classifier was not trained on, (images, input_dim), values in [0, 1]; of both sets
        at least two.

    Returns
    -------
    SampleQuality
        Confidence, balance and Fréchet distance.

    Raises
    ------
    ValueError
        If the classifier is no such model or has diverged, or images have the wrong form or are fewer than two.

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
    first, second = check_reals(a, "a", remedy=_DIVERGED), check_reals(b, "b", remedy=_DIVERGED)
    shapes = first.shape, second.shape
    fit = first.ndim == second.ndim == 2 and shapes[0][1] == shapes[1][1] > 0 and min(len(first), len(second)) >= 2
    if not fit:
        raise ValueError(
            f"expected two sets of points (points, dims) with at least two points each, got {shapes[0]} and {shapes[1]}"
        )
    largest = max(np.abs(first).max(), np.abs(second).max())
    if largest > _LARGEST:
        raise ValueError(f"a, b: expected numbers up to {_LARGEST:g}, got {largest:.3g}, whose squares overflow; {_DIVERGED}")
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
    shape: Any = getattr(classifier, "input_shape", None)
    if not isinstance(classifier, keras.Model) or len(getattr(classifier, "outputs", None) or []) != 2 or np.shape(shape) != (2,):
        raise ValueError(f"classifier: expected one from train_classifier, got {type(classifier).__name__}; train one first")
    x = check_images(images, classifier.input_shape[1], name)
    if len(x) < 2:
        raise ValueError(f"{name}: expected at least two images, got one; moments need more, give as many as the other set has")
    parts = [classifier(x[start : start + 1000]) for start in range(0, len(x), 1000)]
    features, logits = (
        np.concatenate([ops.convert_to_numpy(part) for part in column]).astype(float) for column in zip(*parts, strict=True)
    )
    for what, values in (("features", features), ("logits", logits)):
        check_finite(f"classifier: {what}", values, "it has diverged, train another")
    return features, logits


def _dense(width: int, name: str, seed: Any, activation: str | None = None) -> layers.Dense:
    initializer = keras.initializers.GlorotUniform(seed=int(seed))
    return layers.Dense(width, activation=activation, kernel_initializer=initializer, name=name, dtype="float32")
