"""train(): the same steps as Keras takes, the same result as plain fit, and no way to lose a finished epoch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vae_lib import History, TrainConfig, TrainingError, build_vae, elbo_terms, train
from vae_lib.training import _adam, check_images


def weights_of(vae):
    return [np.asarray(variable.value) for variable in vae.trainable_variables]


def assert_same_weights(one, other):
    for first, second in zip(weights_of(one), weights_of(other), strict=True):
        np.testing.assert_array_equal(first, second)


def trained(config, x, **options):
    vae = build_vae(config)
    return vae, train(vae, x, progress=False, **options)


class AtEpoch(keras.callbacks.Callback):
    """Do something at the end of one epoch, counted from 1."""

    def __init__(self, epoch, action):
        super().__init__()
        self.at, self.action = epoch - 1, action

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.at:
            self.action(self)


def interrupt(_):
    raise KeyboardInterrupt


# ---- the steps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [1e-4, 1e-3, 0.3])
def test_adam_is_keras_adam_step_by_step(rate):
    rng = np.random.default_rng(0)
    start = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 4), (4,))]
    variables = [keras.Variable(value) for value in start]
    optimizer = keras.optimizers.Adam(rate)
    weights, moments = [tf.constant(value) for value in start], [tf.zeros_like(value) for value in start * 2]
    for step in range(1, 41):
        scale = 10.0 ** rng.integers(-6, 4)
        gradients = [tf.constant(scale * rng.normal(size=value.shape), tf.float32) for value in start]
        optimizer.apply(gradients, variables)
        weights, moments = _adam(tf.constant(step), weights, gradients, moments, rate)
        for own, theirs in zip(weights, variables, strict=True):
            np.testing.assert_allclose(own, theirs.numpy(), rtol=2e-5, atol=2e-6 * rate * step)


@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_two_epochs_are_the_steps_that_keras_takes_on_the_same_batches_and_noise(config, images, beta):
    config = config.replace(beta=beta, batch_size=40)  # batches of 40, 40 and 20
    vae, history = trained(config, images)
    plain = build_vae(config)
    optimizer = keras.optimizers.Adam(config.learning_rate)
    step, losses = 0, []
    for number in range(config.epochs):
        order = np.random.default_rng([config.seed, number]).permutation(100)
        total = 0.0
        for rows in (order[:40], order[40:80], order[80:]):
            eps = tf.random.stateless_normal((len(rows), config.latent_dim), [config.seed, step])
            with tf.GradientTape() as tape:
                mu, log_var = plain.encoder(images[rows])
                terms = elbo_terms(images[rows], plain.decoder(mu + tf.exp(log_var / 2) * eps), mu, log_var)
                per_image = terms.reconstruction + beta * terms.kl
                loss = tf.reduce_mean(per_image)
            optimizer.apply(tape.gradient(loss, [v.value for v in plain.trainable_variables]), plain.trainable_variables)
            total += float(tf.reduce_sum(per_image))
            step += 1
        losses.append(total / 100)
    for own, theirs in zip(weights_of(vae), weights_of(plain), strict=True):
        np.testing.assert_allclose(own, theirs, atol=1e-5)
    assert history.loss == pytest.approx(losses, rel=1e-5)


def test_reaches_what_plain_keras_fit_reaches(digits):
    # Over 3 seeds each: the means of test −ELBO differ by at most 4 standard errors of their difference, and 1.5 nats
    # (of about 190) are beyond doubt, so that a wide spread cannot hide a difference.
    config = TrainConfig(hidden=(64,), batch_size=50, epochs=15, learning_rate=2e-3)
    ours, theirs = [], []
    for seed in range(3):
        mine, _ = trained(config.replace(seed=seed), digits.x_train)
        plain = build_vae(config.replace(seed=seed + 10))
        plain.compile(keras.optimizers.Adam(config.learning_rate), jit_compile=False)
        plain.fit(digits.x_train, batch_size=50, epochs=15, verbose=0)
        mine.compile("adam", jit_compile=False)
        for vae, results in ((mine, ours), (plain, theirs)):
            results.append(np.mean([vae.evaluate(digits.x_test, batch_size=297, verbose=0)[0] for _ in range(5)]))
    error = np.sqrt((np.var(ours, ddof=1) + np.var(theirs, ddof=1)) / 3)
    difference = abs(np.mean(ours) - np.mean(theirs))
    print(ours, theirs, error)
    assert difference < max(4 * error, 0.5)
    assert difference < 1.5
    assert np.mean(ours) < 230  # that it learns at all: an untrained network is at 543


# ---- seeds ----------------------------------------------------------------------------------------------------------------


def test_one_seed_gives_the_same_weights(config, digits):
    (one, first), (other, second) = (trained(config, digits.x_train) for _ in range(2))
    assert_same_weights(one, other)
    assert first.loss == second.loss


def test_another_seed_gives_other_weights(config, images):
    one, other = (trained(config.replace(seed=seed), images)[0] for seed in (1, 2))
    assert all((first != second).any() for first, second in zip(weights_of(one), weights_of(other), strict=True))


def test_the_seed_of_training_can_differ_from_that_of_the_model(config, images):
    one, other = build_vae(config), build_vae(config)
    train(one, images, progress=False)
    train(other, images, config=config.replace(seed=99), progress=False)
    assert (weights_of(one)[0] != weights_of(other)[0]).any()


def test_global_random_state_is_neither_used_nor_moved(config, images):
    np.random.seed(0)  # noqa: NPY002 -- the global state is what is watched
    one, _ = trained(config, images)
    after = np.random.random()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    assert np.random.random() == after  # noqa: NPY002
    other, _ = trained(config, images)
    assert_same_weights(one, other)


# ---- batches --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 33, 99, 100, 101, 5000])
def test_every_image_counts_once_whatever_the_batch_size(batch_size):
    # with a step too small to move the weights, the epoch's KL is the mean over all images, exactly
    config = TrainConfig(input_dim=6, hidden=(4,), epochs=1, batch_size=batch_size, learning_rate=1e-30)
    x = np.random.default_rng(0).random((100, 6), dtype=np.float32)
    vae = build_vae(config)
    mu, log_var = (np.asarray(value, dtype=float) for value in vae.encoder(x))
    expected = 0.5 * (np.exp(log_var) + mu**2 - 1 - log_var).sum(axis=1).mean()
    assert train(vae, x, progress=False).kl == pytest.approx([expected], rel=1e-5)


def test_a_single_image_can_be_learnt(config, images):
    vae, history = trained(config.replace(epochs=30, learning_rate=1e-2), images[:1])
    assert history.loss[-1] < history.loss[0]
    assert len(history) == 30


def test_the_loss_does_not_grow_with_the_data(config, images):
    still = config.replace(learning_rate=1e-30, epochs=1)
    once, twice = (trained(still, x)[1].loss[0] for x in (images, np.concatenate([images, images])))
    assert twice == pytest.approx(once, rel=0.01)  # other noise


@pytest.mark.parametrize("beta", [0.0, 1.0, 5.0])
def test_the_loss_is_reconstruction_plus_beta_times_kl(config, images, beta):
    _, history = trained(config.replace(beta=beta), images, validation=images[:30])
    for prefix in ("", "val_"):
        loss, reconstruction, kl = (np.array(getattr(history, prefix + name)) for name in ("loss", "reconstruction", "kl"))
        np.testing.assert_allclose(loss, reconstruction + beta * kl, rtol=1e-5)
        assert (kl > 0).all()


def test_beta_presses_the_kl_down(digits, config):
    kls = [trained(config.replace(beta=beta, epochs=8), digits.x_train)[1].kl[-1] for beta in (0.1, 1.0, 10.0)]
    assert kls[0] > kls[1] > kls[2]


# ---- validation -----------------------------------------------------------------------------------------------------------


def test_validation_measures_the_weights_after_the_epoch(digits, config):
    vae, history = trained(config, digits.x_train, validation=digits.x_test)
    mu, log_var = (np.asarray(value, dtype=float) for value in vae.encoder(digits.x_test))
    kl = 0.5 * (np.exp(log_var) + mu**2 - 1 - log_var).sum(axis=1).mean()
    assert history.val_kl[-1] == pytest.approx(kl, rel=1e-4)
    vae.compile("adam")
    draws = [vae.evaluate(digits.x_test, verbose=0, return_dict=True)["reconstruction"] for _ in range(8)]
    assert history.val_reconstruction[-1] == pytest.approx(np.mean(draws), abs=5 * np.std(draws, ddof=1))


def test_validation_images_are_not_trained_on(digits, config):
    with_validation, _ = trained(config, digits.x_train, validation=digits.x_test)
    without, _ = trained(config, digits.x_train)
    assert_same_weights(with_validation, without)


def test_validation_in_several_batches_of_different_sizes(config, images):
    x = np.tile(images, (11, 1))  # 1,100: a batch of 1,000 and one of 100
    _, history = trained(config.replace(learning_rate=1e-30, epochs=1), images, validation=x)
    assert history.val_kl == pytest.approx(history.kl, rel=1e-4)
    assert history.val_reconstruction == pytest.approx(history.reconstruction, rel=0.01)


def test_without_validation_there_are_no_validation_values(config, images):
    _, history = trained(config, images)
    assert history.val_loss == history.val_reconstruction == history.val_kl == []


# ---- history, progress, callbacks -----------------------------------------------------------------------------------------


def test_history_has_one_entry_for_each_epoch(config, images):
    _, history = trained(config.replace(epochs=3), images, validation=images)
    assert len(history) == 3
    assert {name: len(values) for name, values in vars(history).items()} == dict.fromkeys(vars(History()), 3)
    assert all(seconds > 0 for seconds in history.seconds)


def test_progress_goes_to_standard_error(config, images, capsys):
    train(build_vae(config), images, validation=images)
    out, err = capsys.readouterr()
    assert out == ""
    assert "epoch 1/2" in err
    assert "epoch 2/2: loss" in err
    assert "nats per image" in err
    assert "validation" in err
    assert err.endswith("\n")


def test_progress_can_be_off(config, images, capsys):
    train(build_vae(config), images, progress=False)
    assert capsys.readouterr() == ("", "")


def test_callbacks_are_called_with_the_measured_values(config, images):
    calls = []

    class Watch(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            calls.append("begin")

        def on_epoch_begin(self, epoch, logs=None):
            calls.append(epoch)

        def on_epoch_end(self, epoch, logs=None):
            calls.append((epoch, dict(logs)))

        def on_train_end(self, logs=None):
            calls.append("end")

    watch = Watch()
    vae, history = trained(config, images, validation=images, callbacks=[watch])
    assert watch.model is vae
    names = ("loss", "reconstruction", "kl", "val_loss", "val_reconstruction", "val_kl")
    logs = [{name: getattr(history, name)[epoch] for name in names} for epoch in range(2)]
    assert calls == ["begin", 0, (0, logs[0]), 1, (1, logs[1]), "end"]


def test_early_stopping_stops_and_can_restore_the_best_weights(config, images):
    still = config.replace(epochs=20, learning_rate=1e-30)  # nothing gets better by 10 nats
    stop = keras.callbacks.EarlyStopping("val_loss", patience=3, min_delta=10, restore_best_weights=True)
    vae, history = trained(still, images, validation=images, callbacks=[stop])
    assert len(history) == 4
    assert stop.stopped_epoch == 3
    assert_same_weights(vae, build_vae(still))


def test_a_stopped_model_can_be_trained_again(config, images):
    vae, history = trained(config, images, callbacks=[AtEpoch(1, lambda callback: setattr(callback.model, "stop_training", True))])
    assert len(history) == 1
    assert len(train(vae, images, progress=False)) == 2


def test_the_last_of_several_callbacks_is_heard_too(config, images):
    seen = []
    trained(config, images, callbacks=(AtEpoch(1, lambda _: seen.append("a")), AtEpoch(2, lambda _: seen.append("b"))))
    assert seen == ["a", "b"]


# ---- when it goes wrong ---------------------------------------------------------------------------------------------------


def test_ctrl_c_keeps_the_last_finished_epoch(config, images, capsys):
    vae, history = trained(config.replace(epochs=5), images, callbacks=[AtEpoch(2, interrupt)])
    assert len(history) == 2
    expected, _ = trained(config, images)  # two epochs, undisturbed
    assert_same_weights(vae, expected)
    assert "Interrupted: the weights of epoch 2 of 5 are kept." in capsys.readouterr().err


@pytest.mark.parametrize("where", ["_assign", "_show_progress"])
def test_ctrl_c_at_any_time_leaves_weights_and_history_of_one_mind(config, images, monkeypatch, where, capsys):
    from vae_lib import training

    real, calls = getattr(training, where), []

    def interrupted(*args):
        calls.append(args)
        if where == "_assign" and len(calls) == 2:  # half of the second epoch's weights are in place
            vae, weights = args
            vae.trainable_variables[0].assign(weights[0])
            raise KeyboardInterrupt
        real(*args)
        if where == "_show_progress" and len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, where, interrupted)
    vae = build_vae(config.replace(epochs=4))
    history = train(vae, images, validation=images[:10])
    monkeypatch.undo()
    finished = 1 if where == "_assign" else 2
    assert {len(values) for values in vars(history).values()} == {finished}
    expected, _ = trained(config.replace(epochs=finished), images)
    assert_same_weights(vae, expected)
    assert f"the weights of epoch {finished} of 4 are kept" in capsys.readouterr().err


def test_ctrl_c_before_the_first_epoch_is_over_leaves_the_model_as_it_was(config, images):
    class AtOnce(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            raise KeyboardInterrupt

    vae, history = trained(config, images, callbacks=[AtOnce()])
    assert len(history) == 0
    assert_same_weights(vae, build_vae(config))


def test_a_loss_that_is_no_number_stops_training_and_keeps_the_last_good_weights(config, images):
    vae = build_vae(config)
    train(vae, images, progress=False)
    good = weights_of(vae)
    with pytest.raises(TrainingError, match=r"epoch 1: expected finite loss and weights.*the weights of epoch 0 are kept.*1e\+09"):
        train(vae, images, config=config.replace(learning_rate=1e9, epochs=3), progress=False)
    for one, other in zip(weights_of(vae), good, strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_spoilt_by_the_last_step_of_an_epoch_are_not_kept(config, images):
    # one batch: the loss is taken before the only step, and is finite; the step itself overflows
    config = config.replace(batch_size=100, epochs=1, learning_rate=1e38)
    vae = build_vae(config)
    vae.decoder.trainable_variables[-1].assign(np.full(784, 3.4e38) * np.where(images.mean(axis=0) > 0.5, 1, -1) * 0)
    start = [np.asarray(value) * 3.3e38 / np.abs(value).max() if value.ndim == 2 and value.shape == (2, 16) else value for value in weights_of(vae)]
    assert np.isfinite(start[0]).all()
    with pytest.raises(TrainingError):
        train(vae, images, config=config.replace(learning_rate=1e39), progress=False)
    assert all(np.isfinite(value).all() for value in weights_of(vae))


# ---- what is accepted -----------------------------------------------------------------------------------------------------


def test_images_as_float32_are_not_copied(images):
    assert check_images(images, 784) is images


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float16, np.float64, list])
def test_black_and_white_images_of_any_type_are_the_same_images(images, kind):
    black_white = (images > 0.5).astype(np.float32)
    given = black_white.tolist() if kind is list else black_white.astype(kind)
    checked = check_images(given, 784)
    assert checked.dtype == np.float32
    np.testing.assert_array_equal(checked, black_white)


def test_images_are_not_changed(config, images):
    before = images.copy()
    trained(config, images)
    np.testing.assert_array_equal(images, before)


def test_another_backend_is_told_to_use_fit(config, images, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match=r"expected Keras on TensorFlow, got jax; use vae\.compile and vae\.fit"):
        train(build_vae(config), images)
