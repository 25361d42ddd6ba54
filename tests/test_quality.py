"""Sample quality: the Fréchet distance against closed forms and scipy, the classifier against data whose answer is known."""

import keras
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
    with pytest.raises(ValueError, match="b: expected finite numbers, got NaN; has the model"):
        frechet_distance(np.zeros((4, 2)), np.full((4, 2), np.nan))


@pytest.fixture(scope="module")
def classifier(digits):
    return train_classifier(digits.x_train, digits.y_train, epochs=20)


def test_the_classifier_reads_digits_that_it_has_not_seen(classifier, digits):
    features, logits = classifier(digits.x_test)
    assert features.shape == (297, 32)
    assert np.mean(keras.ops.convert_to_numpy(logits).argmax(axis=1) == digits.y_test) > 0.93


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
    logits = keras.ops.convert_to_numpy(classifier(digits.x_test)[1]).astype(float)
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = SampleQuality(
        probability.max(axis=1).mean(), -np.sum(probability.mean(axis=0) * np.log(probability.mean(axis=0))), 0.0
    )
    assert sample_quality(classifier, digits.x_test, digits.x_test) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    one_digit = digits.x_test[digits.y_test == 0]
    assert sample_quality(classifier, one_digit, digits.x_test).balance < 0.3 < np.log(10) - 0.1 < expected.balance


@pytest.mark.parametrize(("name", "value"), [("epochs", 0), ("classes", 2.0), ("epochs", True), ("classes", None)])
def test_numbers_that_do_not_serve(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected a whole number from 1 to 10000, got"):
        train_classifier(np.zeros((2, 4)), [0, 1], **{name: value})


def test_images_and_labels_that_do_not_fit(classifier):
    with pytest.raises(ValueError, match="labels: expected 2 whole numbers from 0 to 9, got"):
        train_classifier(np.zeros((2, 4)), [0, 10])
    with pytest.raises(ValueError, match=r"x: expected shape"):
        train_classifier(np.zeros(4), [0])
    with pytest.raises(ValueError, match=r"images: expected shape \(images, 784\)"):
        sample_quality(classifier, np.zeros((2, 4)), np.zeros((2, 784)))
    for wrong, kind in (("resnet", "str"), (None, "NoneType"), (keras.Sequential(), "Sequential")):
        with pytest.raises(ValueError, match=f"classifier: expected one from train_classifier, got {kind}"):
            sample_quality(wrong, np.zeros((2, 784)), np.zeros((2, 784)))
    for name, images in (("images", (1, 2)), ("reference", (2, 1))):
        with pytest.raises(ValueError, match=f"{name}: expected at least two images, got one"):
            sample_quality(classifier, *(np.zeros((count, 784)) for count in images))
    with pytest.raises(ValueError, match=r"seed: expected a whole number of at least 0 and below 2\*\*31, got -1"):
        train_classifier(np.zeros((2, 4)), [0, 1], seed=-1)


@given(st.integers(2, 5), st.integers(2, 5), st.integers(1, 6), st.integers(0, 100))
def test_the_distance_is_never_negative_and_grows_with_the_square_of_the_unit(count, others, dims, seed):
    """Also where covariances are singular, which rounding may turn into negative eigenvalues."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(count, dims)), rng.normal(size=(others, dims))
    assert frechet_distance(a, a) >= 0
    distance = frechet_distance(a, b)
    assert distance >= 0
    assert frechet_distance(10 * a, 10 * b) == pytest.approx(100 * distance, rel=1e-5, abs=1e-9)


def test_numbers_whose_squares_overflow_are_refused():
    with pytest.raises(ValueError, match="a, b: expected numbers up to 1e\\+70, got 1e\\+200, whose squares overflow"):
        frechet_distance(np.full((3, 2), 1e200), np.zeros((3, 2)))


def test_confidence_and_balance_keep_to_their_ranges(classifier, digits):
    """Confidence from 1/10 to 1, balance from 0 to log 10, whatever is judged."""
    random = np.random.default_rng(4)
    for images in (digits.x_test[:50], random.random((50, 784)), np.zeros((50, 784)), np.ones((2, 784))):
        quality = sample_quality(classifier, images, digits.x_test)
        assert 0.1 <= quality.confidence <= 1
        assert -1e-12 <= quality.balance <= np.log(10) + 1e-12
        assert quality.frechet >= 0


def test_a_classifier_that_has_diverged_judges_nothing(digits):
    broken = train_classifier(digits.x_train[:50], digits.y_train[:50], epochs=1)
    broken.get_layer("features").bias.assign(np.full(32, np.nan))
    with pytest.raises(
        ValueError, match="classifier: features: expected finite numbers, got NaN; it has diverged, train another"
    ):
        sample_quality(broken, digits.x_test, digits.x_test)


def test_the_callers_arrays_stay_as_they_are(digits):
    images, labels = digits.x_train[:40].astype(float), digits.y_train[:40].astype(np.uint8)
    before = images.copy(), labels.copy()
    points = np.asfortranarray(images[:, :5])
    sample_quality(train_classifier(images, labels, epochs=np.int64(1), seed=np.int32(3)), images, images)
    frechet_distance(points, points)
    for array, was in ((images, before[0]), (labels, before[1]), (points, before[0][:, :5])):
        np.testing.assert_array_equal(array, was)
        assert array.flags.writeable
