"""Sample quality: the Fréchet distance against closed forms and scipy, the classifier against data whose answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg

from vae_lib import SampleQuality, frechet_distance, sample_quality, train_classifier


def points_with(mean, covariance, count=50):
    """Points whose mean and covariance are exactly these."""
    raw = np.random.default_rng(0).normal(size=(count, len(mean)))
    raw -= raw.mean(axis=0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw, rowvar=False))).T
    return white @ np.linalg.cholesky(covariance).T + mean


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3), st.floats(0.1, 3), st.floats(0.1, 3)), min_size=2, max_size=5))
def test_without_correlation_it_is_a_sum_over_dimensions(dims):
    mean_a, mean_b, std_a, std_b = (np.array(values) for values in zip(*dims, strict=True))
    distance = frechet_distance(points_with(mean_a, np.diag(std_a**2)), points_with(mean_b, np.diag(std_b**2)))
    assert distance == pytest.approx(np.sum((mean_a - mean_b) ** 2 + (std_a - std_b) ** 2), rel=1e-6, abs=1e-9)


def test_with_correlation_it_is_scipys_matrix_root():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)), rng.normal(size=(150, 6)) @ rng.normal(size=(6, 6)) + 1
    of_a, of_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    expected = np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2) + np.trace(of_a + of_b - 2 * np.real(linalg.sqrtm(of_a @ of_b)))
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(a, a[::-1]) == pytest.approx(0, abs=1e-9)


def test_on_a_line_and_without_spread():
    assert frechet_distance([[0.0], [2.0]], [[5.0], [7.0]]) == pytest.approx(25)
    assert frechet_distance(np.zeros((3, 2)), np.ones((4, 2))) == pytest.approx(2)


@pytest.mark.parametrize("b", [np.zeros((1, 2)), np.zeros((5, 3)), np.zeros(4), np.zeros((0, 2))])
def test_points_that_do_not_fit(b):
    with pytest.raises(ValueError, match=r"expected two sets of points \(points, dims\) with at least two points each"):
        frechet_distance(np.zeros((4, 2)), b)


def test_points_that_are_no_numbers():
    with pytest.raises(ValueError, match="expected finite points"):
        frechet_distance(np.zeros((4, 2)), np.full((4, 2), np.nan))


@pytest.fixture(scope="module")
def classifier(digits):
    return train_classifier(digits.x_train, digits.y_train, epochs=20)


def test_the_classifier_reads_digits_that_it_has_not_seen(classifier, digits):
    features, logits = classifier(digits.x_test)
    assert features.shape == (297, 32)
    assert np.mean(np.asarray(logits).argmax(axis=1) == digits.y_test) > 0.93


def test_one_seed_gives_one_classifier(digits):
    x, y = digits.x_train[:200], digits.y_train[:200]
    one, same, other = (train_classifier(x, y, epochs=1, seed=seed).get_weights() for seed in (1, 1, 2))
    for first, second in zip(one, same, strict=True):
        np.testing.assert_array_equal(first, second)
    assert (one[0] != other[0]).any()


def test_real_digits_are_better_than_blurred_ones_and_those_than_noise(classifier, digits):
    real, reference = digits.x_test[:148], digits.x_test[148:296]
    blurred = 0.5 * (real + real[::-1])  # each a mixture of two
    noise = np.random.default_rng(0).random(real.shape)
    qualities = [sample_quality(classifier, images, reference) for images in (real, blurred, noise)]
    assert qualities[0].confidence > qualities[1].confidence
    assert qualities[0].frechet < qualities[1].frechet < qualities[2].frechet


def test_numbers_of_a_sample_are_those_of_numpy(classifier, digits):
    logits = np.asarray(classifier(digits.x_test)[1], float)
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = SampleQuality(
        probability.max(axis=1).mean(), -np.sum(probability.mean(axis=0) * np.log(probability.mean(axis=0))), 0.0
    )
    assert sample_quality(classifier, digits.x_test, digits.x_test) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    one_digit = digits.x_test[digits.y_test == 0]
    assert sample_quality(classifier, one_digit, digits.x_test).balance < 0.3 < np.log(10) - 0.1 < expected.balance


@pytest.mark.parametrize(("name", "value"), [("epochs", 0), ("classes", 2.0), ("epochs", True), ("classes", None)])
def test_numbers_that_do_not_serve(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected a whole number of at least 1, got"):
        train_classifier(np.zeros((2, 4)), [0, 1], **{name: value})


def test_images_and_labels_that_do_not_fit(classifier):
    with pytest.raises(ValueError, match="labels: expected 2 whole numbers from 0 to 9, got"):
        train_classifier(np.zeros((2, 4)), [0, 10])
    with pytest.raises(ValueError, match=r"x: expected shape"):
        train_classifier(np.zeros(4), [0])
    with pytest.raises(ValueError, match=r"images: expected shape \(images, 784\)"):
        sample_quality(classifier, np.zeros((2, 4)), np.zeros((2, 784)))
    with pytest.raises(ValueError, match="classifier: expected one from train_classifier, got str"):
        sample_quality("resnet", np.zeros((2, 784)), np.zeros((2, 784)))
