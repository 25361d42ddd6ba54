"""The recorder: it sees what the model is, changes nothing, and replays the first epoch's own steps."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import norm

import vae_lib
from vae_lib import TrainConfig, TrainingRecorder, build_vae, elbo, train
from vae_lib.recording import _epochs_to_keep

CONFIG = TrainConfig(hidden=(16,), epochs=2, batch_size=40, seed=3)
RNG = np.random.default_rng(7)
IMAGES, SHOWN = RNG.random((100, 784), dtype=np.float32), RNG.random((30, 784), dtype=np.float32)
LABELS = np.arange(30) % 10


@pytest.fixture(scope="module")
def recorded():
    """Two epochs of three steps (40, 40 and 20 images), and what was recorded of them."""
    vae, recorder = build_vae(CONFIG), TrainingRecorder(SHOWN, LABELS)
    history = train(vae, IMAGES, callbacks=[recorder], progress=False)
    return vae, recorder, history


def test_the_untrained_model_and_each_epoch_are_recorded(recorded):
    vae, recorder, history = recorded
    assert [snapshot.epoch for snapshot in recorder.snapshots if snapshot.epoch.is_integer()] == [0.0, 1.0, 2.0]
    assert [recorder.snapshots[i].loss for i in (0, -1)] == [None, history.loss[-1]]
    for model, snapshot in ((build_vae(CONFIG), recorder.snapshots[0]), (vae, recorder.snapshots[-1])):
        np.testing.assert_allclose(snapshot.codes, model.encoder(SHOWN)[0], rtol=1e-6)
        pixels = 1 / (1 + np.exp(-np.asarray(model.decoder(recorder.z_of(2)), dtype=float)))
        np.testing.assert_allclose(snapshot.decoded, pixels, rtol=1e-5)
        # one sample of z for each of 30 images: the same quantity from many samples is close to it
        assert snapshot.test_loss == pytest.approx(-elbo(model, SHOWN, samples=50).elbo.mean(), rel=0.01)


def test_watching_changes_nothing(recorded):
    unwatched = build_vae(CONFIG)
    train(unwatched, IMAGES, progress=False)
    for one, other in zip(unwatched.get_weights(), recorded[0].get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def first_step(vae):
    """Take the first step of training with Keras's own Adam, without `train`."""
    rows = np.random.default_rng([CONFIG.seed, 0]).permutation(len(IMAGES))[: CONFIG.batch_size]
    # compiled, as in training: TensorFlow draws other numbers where it does not compile
    eps = tf.function(lambda: tf.random.stateless_normal((CONFIG.batch_size, 2), [CONFIG.seed, 0]), jit_compile=True)()
    with tf.GradientTape() as tape:
        mu, log_var = vae.encoder(IMAGES[rows])
        logits = vae.decoder(mu + tf.exp(0.5 * log_var) * eps)
        loss = vae_lib.batch_loss(vae_lib.elbo_terms(IMAGES[rows], logits, mu, log_var), 1.0)
    gradients = tape.gradient(loss, vae.trainable_variables)
    keras.optimizers.Adam(CONFIG.learning_rate).apply(gradients, vae.trainable_variables)
    return float(loss)


def test_a_moment_of_the_first_epoch_is_the_one_that_training_went_through(recorded):
    _, recorder, _ = recorded
    recorder.replay_first_epoch(IMAGES, CONFIG, moments=(0.33, 0.3))  # both are the first of three steps
    recorder.replay_first_epoch(IMAGES, CONFIG, moments=(0.3,))  # once more adds nothing
    assert [round(snapshot.epoch, 3) for snapshot in recorder.snapshots] == [0.0, 0.333, 1.0, 2.0]
    vae = build_vae(CONFIG)
    loss = first_step(vae)
    assert recorder.snapshots[1].loss == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(recorder.snapshots[1].codes, vae.encoder(SHOWN)[0], atol=1e-5)


def test_a_moment_that_rounds_to_the_whole_epoch_is_left_out(recorded):
    _, recorder, _ = recorded
    before = [snapshot.epoch for snapshot in recorder.snapshots if snapshot.epoch.is_integer()]
    recorder.replay_first_epoch(IMAGES, CONFIG, moments=(0.99,))
    assert [snapshot.epoch for snapshot in recorder.snapshots] == before


def test_the_points_are_equally_likely_under_the_prior():
    z = TrainingRecorder(SHOWN, LABELS).z_of(3)
    assert z.shape == (25, 3)
    np.testing.assert_allclose(norm.cdf(z[:5, 0]), [0.1, 0.3, 0.5, 0.7, 0.9], atol=1e-6)  # along a row
    np.testing.assert_allclose(norm.cdf(z[::5, 1]), [0.9, 0.7, 0.5, 0.3, 0.1], atol=1e-6)  # downwards
    assert not z[:, 2].any()


def test_keras_fit_is_recorded_as_well():
    vae, recorder = build_vae(CONFIG), TrainingRecorder(SHOWN, LABELS, z=[[0, 0], [1, 2], [3, 4]])
    vae.compile(optimizer="adam")
    history = vae.fit(IMAGES, batch_size=50, epochs=1, callbacks=[recorder], verbose=0)
    assert [snapshot.epoch for snapshot in recorder.snapshots] == [0.0, 1.0]
    assert recorder.snapshots[1].loss == pytest.approx(history.history["loss"][0])
    assert recorder.snapshots[1].decoded.shape == (3, 784)


def test_of_a_long_training_some_epochs_are_kept():
    for epochs in range(1, 400):
        kept = _epochs_to_keep(epochs)
        assert {1, epochs} <= kept <= set(range(1, epochs + 1))
        assert len(kept) == epochs if epochs <= 11 else 8 <= len(kept) <= 11
        steps = np.diff(sorted(kept))
        assert (np.diff(steps) >= 0).all(), (epochs, sorted(kept))  # at growing distances, as the docstring says


BAD = {
    "images of rank 1": ({"x": SHOWN[0]}, r"x: expected shape \(images, pixels\) with at least one image, got \(784,\)"),
    "bytes": ({"x": 255 * SHOWN}, r"x: expected values in \[0, 1\]"),
    "too few labels": ({"labels": LABELS[1:]}, r"labels \(images,\), got .* and \(29,\)"),
    "a label of 10": ({"labels": LABELS + 1}, "labels: expected digits from 0 to 9"),
    "one point": ({"z": [0.0, 0.0]}, r"z: expected shape \(points, latent_dim\) with at least one point, got \(2,\)"),
    "no point": ({"z": np.zeros((0, 2))}, r"got \(0, 2\)"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        TrainingRecorder(**{"x": SHOWN, "labels": LABELS} | arguments)


def test_points_that_do_not_fit_the_model_are_refused():
    with pytest.raises(ValueError, match=r"z: expected shape \(points, 2\), got \(1, 3\)"):
        TrainingRecorder(SHOWN, LABELS, z=[[0, 0, 0]]).z_of(2)
    with pytest.raises(ValueError, match=r"expected at least 2 latent dimensions, got 1; give z, \(points, 1\)"):
        TrainingRecorder(SHOWN, LABELS).z_of(1)


def test_a_replay_that_cannot_be(recorded):
    _, recorder, _ = recorded
    with pytest.raises(ValueError, match="expected a record of a training, got none; call train"):
        TrainingRecorder(SHOWN, LABELS).replay_first_epoch(IMAGES, CONFIG)
    with pytest.raises(ValueError, match="config: expected a TrainConfig, got dict"):
        recorder.replay_first_epoch(IMAGES, {})
    for moment in (0, 1, -0.5, np.nan):
        with pytest.raises(
            ValueError, match=r"moments: expected a finite number above 0 and below 1, got .*; give shares of the first epoch"
        ):
            recorder.replay_first_epoch(IMAGES, CONFIG, moments=(moment,))


def test_a_model_that_cannot_be_recorded_is_refused_before_training():
    conditional = build_vae(CONFIG.replace(classes=10))
    before = [np.asarray(weight) for weight in conditional.get_weights()]
    with pytest.raises(ValueError, match="TrainingRecorder: expected a VAE without labels, got a conditional one"):
        train(conditional, IMAGES, labels=np.zeros(len(IMAGES), int), callbacks=[TrainingRecorder(SHOWN, LABELS)], progress=False)
    for one, other in zip(conditional.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="TrainingRecorder: expected images of 784 pixels, got 10"):
        train(build_vae(CONFIG), IMAGES, callbacks=[TrainingRecorder(SHOWN[:, :10], LABELS)], progress=False)
