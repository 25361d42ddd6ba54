"""Promises of docstrings about noise, order, limits and tolerances, each against an oracle of its own."""

import io
import threading
import urllib.request
from typing import ClassVar

import keras
import numpy as np
import pytest
from scipy import ndimage, stats

from vae_lib import (
    PosteriorGrid,
    TrainConfig,
    TrainingRecorder,
    best_gaussian,
    build_vae,
    check_answer,
    data,
    elbo,
    evaluation,
    exact_log_px,
    load_digits,
    sample_gaussian,
    sample_quality,
    train,
    train_classifier,
    training,
    with_label,
)
from vae_lib.checks import check_point
from vae_lib.model import check_vae
from vae_lib.tiny import DiscreteWorld, LinearGaussian

STILL = TrainConfig(input_dim=6, hidden=(4,), batch_size=50, epochs=1, learning_rate=1e-30)  # steps that move no weight
X = np.random.default_rng(7).random((64, 6), dtype=np.float32)


def linear_in_z(config, slope):
    """A VAE with q(z|x) = N(0, 1) for every image, whose decoder's logits are slope · relu(z₁)."""
    vae = build_vae(config)
    for variable in vae.trainable_variables:
        variable.assign(np.zeros(variable.shape))
    by_path = {variable.path: variable for variable in vae.trainable_variables}
    by_path["decoder_0/kernel"].assign(np.eye(config.latent_dim, 4))
    by_path["logits/kernel"].assign(slope * np.eye(4, config.input_dim)[:, [0] * config.input_dim])
    return vae


# ---- validation -----------------------------------------------------------------------------------------------------------


@pytest.mark.tensorflow_only  # or JAX: PyTorch has no train
def test_validation_draws_other_noise_for_each_image_batch_and_epoch(monkeypatch):
    """The mean of n independent draws has the variance σ²/n; noise that is shared or starts again leaves more of it."""
    monkeypatch.setattr(training, "_EVALUATION_BATCH", 4)
    count, epochs, slope = 64, 60, 2.0
    vae = linear_in_z(STILL.replace(epochs=epochs), slope)
    black = np.zeros((count, 6), np.float32)
    history = train(vae, black, validation=black, progress=False)
    assert len(set(history.val_reconstruction)) == epochs
    # E and Var of 6 softplus(2 relu(z)) for z ~ N(0, 1), by the midpoint rule
    z = (np.arange(200_000) + 0.5) / 10_000 - 10
    density, cost = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi) / 10_000, 6 * np.logaddexp(0, slope * np.maximum(z, 0))
    mean = density @ cost
    variance = density @ (cost - mean) ** 2
    assert np.mean(history.val_reconstruction) == pytest.approx(mean, abs=5 * np.sqrt(variance / count / epochs))
    # an estimate of a variance from 60 values has the relative standard error √(2/59) = 0.18
    assert np.var(history.val_reconstruction, ddof=1) == pytest.approx(variance / count, rel=1)


@pytest.mark.tensorflow_only  # or JAX: PyTorch has no train
def test_every_validation_image_counts_also_in_the_last_shorter_batch(monkeypatch):
    monkeypatch.setattr(training, "_EVALUATION_BATCH", 40)
    vae = linear_in_z(STILL, 0.0)
    vae.decoder.layers[-1].bias.assign(np.full(6, 3.0))
    x = np.zeros((103, 6), np.float32)
    x[80:] = 1.0  # batches of 40, 40 and 23: the last one alone is white
    history = train(vae, X, validation=x, progress=False)
    expected = 6 * (80 * np.log1p(np.exp(3)) + 23 * np.log1p(np.exp(-3))) / 103
    assert history.val_reconstruction == pytest.approx([expected], rel=1e-5)


@pytest.mark.tensorflow_only  # or JAX: PyTorch has no train
def test_validation_images_stay_grey_where_training_images_are_binarised():
    """A decoder that gives every pixel the same logit: the cross-entropy of grey 0.3 is exact, that of draws is not."""
    vae = linear_in_z(STILL.replace(binarize="dynamic"), 0.0)
    vae.decoder.layers[-1].bias.assign(np.full(6, 3.0))
    grey = np.full((50, 6), 0.3, np.float32)
    history = train(vae, grey, validation=grey, progress=False)
    exact = 6 * (np.log1p(np.exp(3)) - 0.3 * 3)
    assert history.val_reconstruction == pytest.approx([exact], rel=1e-5)
    assert abs(history.reconstruction[0] - exact) > 1e-3  # 300 draws: they hit the mean exactly in one case of twenty


@pytest.mark.tensorflow_only  # or JAX: PyTorch has no train
def test_the_reported_loss_has_beta_and_no_free_bits():
    """Also where free bits let a larger KL be minimised."""
    config = STILL.replace(beta=0.25, free_bits=5.0)
    history = train(build_vae(config), X, validation=X, progress=False)
    for prefix in ("", "val_"):
        loss, reconstruction, kl = (getattr(history, prefix + name)[0] for name in ("loss", "reconstruction", "kl"))
        assert kl < config.latent_dim * config.free_bits  # so that free bits would show
        assert loss == pytest.approx(reconstruction + 0.25 * kl, rel=1e-6)


@pytest.mark.tensorflow_only  # or JAX: PyTorch has no train
def test_the_seconds_of_an_epoch_include_validation(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(training.time, "perf_counter", lambda: now[0])

    class Slow(keras.callbacks.Callback):
        def on_test_begin(self, logs=None):
            now[0] += 100.0

    history = train(build_vae(STILL), X, validation=X, callbacks=[Slow()], progress=False)
    assert history.seconds == [100.0]


# ---- Keras's own methods, and the record ------------------------------------------------------------------------------------


def test_each_evaluation_and_each_epoch_of_fit_starts_its_means_afresh():
    """With weights that do not move, an epoch's means are those of its images, whatever was measured before."""
    vae = linear_in_z(STILL, 0.0)
    vae.compile(keras.optimizers.Adam(1e-30))
    by_path = {variable.path: variable for variable in vae.trainable_variables}
    by_path["mu/bias"].assign([1.0, 2.0])  # KL = ½ (1 + 4) for every image
    by_path["logits/bias"].assign(np.full(6, 3.0))
    black, white = np.zeros((50, 6), np.float32), np.ones((50, 6), np.float32)
    of_black, of_white = 6 * np.log1p(np.exp(3)), 6 * np.log1p(np.exp(-3))
    for images, reconstruction in ((black, of_black), (white, of_white)):
        logs = vae.evaluate(images, verbose=0, return_dict=True)
        assert (logs["reconstruction"], logs["kl"]) == pytest.approx((reconstruction, 2.5), rel=1e-5)
    by_path["mu/bias"].assign([0.0, 0.0])
    logs = vae.fit(black, epochs=2, validation_data=white, verbose=0).history
    assert logs["reconstruction"] == pytest.approx([of_black] * 2, rel=1e-5)
    assert logs["val_reconstruction"] == pytest.approx([of_white] * 2, rel=1e-5)
    assert logs["kl"] + logs["val_kl"] == pytest.approx([0.0] * 4, abs=1e-6)


@pytest.mark.parametrize("classes", [0, 3])
def test_fit_records_its_images_its_optimiser_and_its_rate(classes):
    vae = build_vae(STILL.replace(classes=classes, beta=0.5, free_bits=0.25))
    vae.compile(keras.optimizers.SGD(0.0123))
    one_hot = np.eye(3, dtype=np.float32)[np.arange(64) % 3]
    vae.fit([X, one_hot] if classes else X, epochs=2, verbose=0)
    (entry,) = vae.trained
    assert entry.pop("learning_rate") == pytest.approx(0.0123)
    assert entry == {"by": "fit", "beta": 0.5, "free_bits": 0.25, "optimizer": "SGD", "epochs": 2, "images": 64}


@pytest.mark.tensorflow_only  # or JAX: PyTorch has no train
def test_the_vae_for_one_label_keeps_the_record():
    vae = build_vae(STILL.replace(classes=3))
    train(vae, X, labels=np.arange(64) % 3, progress=False)
    assert [(entry["by"], entry["epochs"], entry["images"]) for entry in with_label(vae, 1).trained] == [("train", 1, 64)]


def test_weights_that_are_not_trained_count_as_well():
    """For whether a model has diverged, and for the VAE of one label."""
    vae = build_vae(STILL.replace(classes=3))
    vae.encoder.get_layer("mu").trainable = False
    vae.decoder.trainable = False
    one_hot = np.eye(3, dtype=np.float32)[np.full(64, 2)]
    expected = keras.ops.convert_to_numpy(vae.decoder([X[:, :2], one_hot]))
    plain = with_label(vae, 2)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(plain.decoder(X[:, :2])), expected, rtol=1e-5, atol=1e-6)
    vae.encoder.get_layer("mu").bias.assign([np.nan, 0.0])
    with pytest.raises(ValueError, match="weights mu/bias: expected finite numbers, got NaN; training has diverged"):
        check_vae(vae, finite=True)


@pytest.mark.tensorflow_only  # or JAX: PyTorch has no train
def test_another_training_starts_another_record():
    recorder = TrainingRecorder(X, np.arange(64) % 10)
    vae = build_vae(STILL)
    train(vae, X, config=STILL.replace(learning_rate=0.1), callbacks=[recorder], progress=False)
    between = keras.ops.convert_to_numpy(vae.encoder(X)[0])
    train(vae, X, callbacks=[recorder], progress=False)
    assert [snapshot.epoch for snapshot in recorder.snapshots] == [0.0, 1.0]
    np.testing.assert_allclose(recorder.snapshots[0].codes, between, rtol=1e-5, atol=1e-6)


def test_every_seed_gives_a_sample_of_its_own():
    zeros = np.zeros((1, 3))
    samples = {keras.ops.convert_to_numpy(sample_gaussian(zeros, zeros, seed=seed)).tobytes() for seed in range(50)}
    assert len(samples) == 50


# ---- evaluation -----------------------------------------------------------------------------------------------------------


def test_the_elbo_draws_other_noise_for_each_image_and_batch_and_takes_the_mean_of_all_samples():
    slope = 2.0
    vae = linear_in_z(STILL, slope)
    by_path = {variable.path: variable for variable in vae.trainable_variables}
    by_path["decoder_0/bias"].assign(np.full(4, 20.0))  # no image's z comes to where the ReLU is flat
    by_path["mu/bias"].assign([0.5, 0.0])
    by_path["log_var/bias"].assign([-2.0, 0.0])
    images = np.zeros((2001, 6), np.float32)  # three batches
    once = elbo(vae, images, samples=1).reconstruction
    assert len(np.unique(once)) > 1900  # float32 merges a few
    often = elbo(vae, images[:300], samples=100).reconstruction
    # softplus of so large a logit is the logit: 6 · slope · (20 + z), z ~ N(½, e⁻²)
    mean, deviation = 6 * slope * 20.5, 6 * slope * np.exp(-1)
    assert once.mean() == pytest.approx(mean, abs=5 * deviation / np.sqrt(2001))
    assert once.std() == pytest.approx(deviation, rel=5 / np.sqrt(2 * 2001))
    assert often.std() == pytest.approx(deviation / 10, rel=5 / np.sqrt(2 * 300))
    other = elbo(vae, images, samples=1, seed=1).reconstruction
    assert (once != other).mean() > 0.99


def test_the_difference_of_the_quadrature_is_the_mean_over_images():
    """All images have one code, so that each alone is summed on the grid that it has among the others."""
    vae = linear_in_z(STILL, 15.0)
    images = np.tril(np.ones((6, 6), np.float32))
    alone = np.array([exact_log_px(vae, images[i : i + 1]).difference for i in range(6)])
    assert alone.max() > 2 * alone.min()  # so that a maximum, a minimum or a single one would show
    assert exact_log_px(vae, images).difference == pytest.approx(alone.mean(), rel=0.05)


@pytest.mark.parametrize("tilt", [2.4, 2.6, 2.8])
def test_the_grid_goes_on_until_the_border_holds_almost_nothing(tilt):
    """A likelihood exp(tilt · (z − 25)) makes the posterior N(tilt, 1): at z = 6 it ends by a thousandth too early."""
    vae = linear_in_z(STILL.replace(latent_dim=1), 1.0)
    by_path = {variable.path: variable for variable in vae.trainable_variables}
    by_path["decoder_0/bias"].assign(np.full(4, 20.0))  # the ReLU is flat below −20 alone
    by_path["logits/bias"].assign(np.full(6, -45.0))
    result = exact_log_px(vae, np.full((1, 6), tilt / 6, np.float32), tol=1e-4)
    assert result.log_px == pytest.approx([tilt**2 / 2 - 25 * tilt], abs=1e-4)


@pytest.mark.parametrize("growth", [1, 4], ids=["by the number of refinements", "by the number of points"])
def test_the_quadrature_ends_where_it_never_settles(monkeypatch, growth):
    """Two bounds, each of which has to end it alone: 16 levels, and a million points an image."""
    sizes = []

    def refine(self, _):
        self.pairs = np.repeat(self.pairs, growth)
        sizes.append(256 * len(self.pairs))  # a pair is a tile of 256 points
        assert len(sizes) < 50, "refines on and on"
        assert sizes[-1] < 2e7, "takes more and more points"

    monkeypatch.setattr(evaluation._Quadrature, "refine", refine)
    with pytest.raises(ValueError, match=r"tol: expected a tolerance that a step of .* reaches, got 0\.01"):
        exact_log_px(linear_in_z(STILL, 1.0), X[:1])
    assert sizes


def test_the_best_gaussian_is_the_best_to_seven_digits():
    """For a Gaussian posterior the least KL is half of what the diagonal of its precision has over the whole, in closed form."""
    rng, points, limit = np.random.default_rng(0), 200, 4.0
    step = 2 * limit / points
    axis = (np.arange(points) + 0.5) * step - limit
    z = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
    for _ in range(6):
        correlation, (one, other) = rng.uniform(-0.8, 0.8), rng.uniform(0.15, 0.5, 2)
        covariance = np.array([[one**2, correlation * one * other], [correlation * one * other, other**2]])
        log_density = stats.multivariate_normal(rng.uniform(-1, 1, 2), covariance).logpdf(z)[None].astype(np.float32)
        start = [rng.uniform(-1.5, 1.5, 2)], [rng.uniform(-3, -1, 2)]
        best = best_gaussian(PosteriorGrid(axis, log_density), *start)
        precision = np.linalg.inv(covariance)
        left = 0.5 * (np.log(np.diag(precision)).sum() - np.linalg.slogdet(precision)[1])
        assert best.kl == pytest.approx([left], abs=1e-7)


# ---- data -----------------------------------------------------------------------------------------------------------------


def test_training_and_test_digits_come_from_all_of_the_set():
    """Scikit-learn's are in the order of their writers: a split that is not shuffled would test on other writers alone."""
    from sklearn.datasets import load_digits as originals

    x = load_digits().x_test.reshape(-1, 28, 28)[:, 4:24, 4:24]
    small = ndimage.zoom(x, (1, 8 / 20, 8 / 20), order=1, mode="nearest", grid_mode=True).reshape(-1, 64)
    distances = ((small[:, None] - originals().data[None] / 16) ** 2).sum(axis=-1)
    places = distances.argmin(axis=1)  # of each test image in the set, by its nearest neighbour
    counts, _ = np.histogram(places, bins=6, range=(0, 1797))
    # 297 of 1,797 drawn without order: 49.5 ± 5.9 of each sixth
    assert (np.abs(counts - 49.5) < 5 * 5.9).all()


def test_a_download_reads_little_beyond_what_mnist_has(monkeypatch):
    """The images and labels are 54,950,000 bytes; a body without end is left after a few more."""
    asked = []

    class Endless(io.BytesIO):
        headers: ClassVar[dict[str, str]] = {}

        def read1(self, size=-1):
            asked.append(size)
            assert sum(asked) < 60e6, "the download goes on and on"
            return bytes(size)

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Endless())
    written = io.BytesIO()
    with pytest.raises(OSError, match="more came than MNIST has"):
        data._fetch("https://example.org/mnist.npz", written)
    assert 54_950_000 < written.tell() == sum(asked) < 60e6


def test_a_download_that_takes_longer_than_the_whole_may_is_given_up(monkeypatch, tmp_path):
    finish = threading.Event()
    monkeypatch.setattr(data, "_DOWNLOAD_LIMIT_S", 0.05)
    monkeypatch.setattr(data, "_fetch", lambda *_: finish.wait(3))  # then nothing has come, which is another error
    with pytest.raises(data.DataError, match=r"the download was not finished within 0\.05 s"):
        data._download_mnist(tmp_path / "mnist.npz")
    finish.set()
    assert list(tmp_path.iterdir()) == []


# ---- the classifier -------------------------------------------------------------------------------------------------------


def test_the_classifier_sees_all_images_with_their_labels_in_another_order_each_epoch(monkeypatch):
    seen, starts, fit = [], [], keras.Model.fit

    def noted(self, x, y, **options):
        starts.append(np.array(self.get_weights()[0]))
        seen.append((np.array(x), np.array(y)))
        assert options["shuffle"] is False  # so that this is the order in which images are taken
        return fit(self, x, y, **options)

    monkeypatch.setattr(keras.Model, "fit", noted)
    count = 30
    x, labels = np.tile(np.arange(count, dtype=np.float32)[:, None] / count, (1, 4)), np.arange(count) % 3
    for seed in (0, 0, 1):
        train_classifier(x, labels, classes=3, epochs=3, seed=seed)
    orders = [np.rint(images[:, 0] * count).astype(int) for images, _ in seen]
    for order, (_, digits) in zip(orders, seen, strict=True):
        assert sorted(order) == list(range(count))
        np.testing.assert_array_equal(digits, labels[order])
    named = [tuple(order) for order in orders]
    assert named[:3] == named[3:6]  # the seed's
    assert len({*named, tuple(range(count))}) == 7  # three epochs of two seeds, and the order that was given
    np.testing.assert_array_equal(starts[0], starts[3])
    assert (starts[0] != starts[6]).any()  # another seed: other weights before the first epoch


def test_every_image_is_judged_also_beyond_a_batch_of_a_thousand():
    classifier = train_classifier(X, np.arange(64) % 3, classes=3, epochs=1)
    images = np.random.default_rng(1).random((1300, 6), dtype=np.float32)
    images[1000:] = 0.0  # so that leaving out the last ones shows
    logits = keras.ops.convert_to_numpy(classifier(images)[1]).astype(float)
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    quality = sample_quality(classifier, images, images)
    assert quality.confidence == pytest.approx(probability.max(axis=1).mean(), rel=1e-6)
    frequency = probability.mean(axis=0)
    assert quality.balance == pytest.approx(-(frequency * np.log(frequency)).sum(), rel=1e-6)


# ---- limits ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", [(3.6, 0.0), (-3.6, 0.0), (0.0, 3.6), (0.0, -3.6)])
def test_a_point_lies_on_the_sliders_on_either_side(point):
    with pytest.raises(ValueError, match=r"z: expected 2 finite numbers from -3\.5 to 3\.5"):
        check_point(point, 2, 3.5)
    assert check_point(np.array(point) / 3.6 * 3.5, 2, 3.5) == pytest.approx(np.array(point) / 3.6 * 3.5)


# ---- tiny worlds and exercises --------------------------------------------------------------------------------------------


def test_the_divergence_of_nearly_equal_distributions_is_never_negative():
    """Of those that rounding takes below zero there are many: the plain sum shows it."""
    rng, below = np.random.default_rng(0), 0
    world = DiscreteWorld(("a", "b", "c"), ("x", "y"), np.full(3, 1 / 3), np.full((3, 2), 0.5))
    for _ in range(300):
        q = rng.dirichlet(np.ones(3))
        p = q * (1 + 1e-15 * rng.normal(size=3))
        assert world.kl(q, p) >= 0
        below += float((q * (np.log(q) - np.log(p))).sum()) < 0
    assert below > 10


def test_the_seed_of_a_linear_gaussian_is_used():
    model = LinearGaussian(W=[[1.0], [2.0]], b=[0.0, 0.0], s=1.0)
    one, same, other = (np.hstack(model.sample(5, seed=seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).all()


@pytest.mark.parametrize(("miss", "accepted"), [(5e-10, True), (-5e-10, True), (5e-9, False), (-5e-9, False)])
def test_probabilities_may_miss_one_by_rounding_alone(miss, accepted):
    def build():
        return DiscreteWorld(("a", "b"), ("x", "y"), np.array([0.5, 0.5 + miss]), np.full((2, 2), 0.5))

    if accepted:
        build()
    else:
        with pytest.raises(ValueError, match="prior: expected probabilities, none negative and each row with the sum 1"):
            build()


@pytest.mark.parametrize(("miss", "right"), [(5e-7, True), (-5e-7, True), (5e-6, False), (-5e-6, False)])
def test_an_answer_is_right_within_a_millionth(miss, right, capsys):
    assert check_answer(0.5 + miss, 0.5) is right
    assert ("Right." in capsys.readouterr().out) is right
