"""train(): the same steps as Keras takes, the same result as plain fit, and no way to lose a finished epoch.

Each call of train() compiles, which takes a second, so that one run serves several tests.
"""

import contextlib
import io

import keras
import numpy as np
import pytest
import tensorflow as tf

from vae_lib import History, TrainConfig, TrainingError, build_vae, compiled, elbo_terms, sample_gaussian, train, training
from vae_lib.checks import check_images
from vae_lib.compiled import State, adam_step


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


CONFIG = TrainConfig(hidden=(16,), epochs=2, batch_size=50, seed=3, beta=0.5)
IMAGES = np.random.default_rng(7).random((100, 784), dtype=np.float32)


@pytest.fixture(scope="module")
def base():
    """Two epochs, validated on 1,100 images: a batch of 1,000 and one of 100."""
    images = IMAGES.copy()
    result = trained(CONFIG, images, validation=np.tile(IMAGES, (11, 1)))
    np.testing.assert_array_equal(images, IMAGES)  # train() leaves them as they are
    return result


@pytest.fixture(scope="module")
def again():
    """The same training, watched by callbacks, with a progress bar, without validation, after other global random numbers."""
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

    vae, watch, out, err = build_vae(CONFIG), Watch(), io.StringIO(), io.StringIO()
    keras.utils.set_random_seed(12345)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        history = train(vae, IMAGES, callbacks=(AtEpoch(1, lambda _: calls.append("first")), watch))
    assert watch.model is vae
    return vae, history, calls, out.getvalue(), err.getvalue()


# ---- the steps ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [1e-4, 1e-3, 0.3])
def test_adam_is_keras_adam_step_by_step(rate):
    rng = np.random.default_rng(0)
    start = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 4), (4,))]
    variables = [keras.Variable(value) for value in start]
    optimizer = keras.optimizers.Adam(rate)
    state = State(tf.constant(0), [tf.constant(value) for value in start], [tf.zeros_like(value) for value in start * 2], [])
    for step in range(1, 41):
        scale = 10.0 ** rng.integers(-6, 4)
        gradients = [tf.constant(scale * rng.normal(size=value.shape), tf.float32) for value in start]
        optimizer.apply(gradients, variables)
        state = adam_step(optimizer, state, gradients, rate)
        for own, theirs in zip(state.weights, variables, strict=True):
            np.testing.assert_allclose(own, theirs.numpy(), rtol=2e-5, atol=2e-6 * rate * step)


def test_two_epochs_are_the_steps_that_keras_takes_on_the_same_batches_and_noise():
    config = CONFIG.replace(beta=0.3, batch_size=40)  # batches of 40, 40 and 20
    vae, history = trained(config, IMAGES)
    plain = build_vae(config)
    optimizer = keras.optimizers.Adam(config.learning_rate)
    # compiled, for XLA's stateless noise is not that of TensorFlow's own kernels
    noise = tf.function(lambda count, seed: tf.random.stateless_normal((count, config.latent_dim), seed), jit_compile=True)
    step, losses = 0, []
    for number in range(config.epochs):
        order = np.random.default_rng([config.seed, number]).permutation(100)
        total = 0.0
        for rows in (order[:40], order[40:80], order[80:]):
            eps = noise(len(rows), tf.constant([config.seed, step]))
            with tf.GradientTape() as tape:
                mu, log_var = plain.encoder(IMAGES[rows])
                terms = elbo_terms(IMAGES[rows], plain.decoder(mu + tf.exp(log_var / 2) * eps), mu, log_var)
                per_image = terms.reconstruction + config.beta * terms.kl
                loss = tf.reduce_mean(per_image)
            optimizer.apply(tape.gradient(loss, [v.value for v in plain.trainable_variables]), plain.trainable_variables)
            total += float(tf.reduce_sum(per_image))
            step += 1
        losses.append(total / 100)
    for own, theirs in zip(weights_of(vae), weights_of(plain), strict=True):
        np.testing.assert_allclose(own, theirs, atol=1e-5)
    assert history.loss == pytest.approx(losses, rel=1e-5)


def test_every_value_of_the_configuration_is_in_the_steps():
    config = CONFIG.replace(
        input_dim=20, latent_dim=3, classes=10, activation="tanh", binarize="dynamic", beta=2.0, kl_warmup=1, free_bits=0.2,
        batch_size=40, epochs=3, learning_rate=1e-2, learning_rate_end=1e-4,
    )  # fmt: skip
    x, labels = IMAGES[:, :20], np.arange(100) % 10
    vae, history = trained(config, x, labels=labels)
    plain = build_vae(config)
    optimizer = keras.optimizers.Adam()
    noise = tf.function(lambda count, seed: tf.random.stateless_normal((count, 3), seed), jit_compile=True)
    uniform = tf.function(lambda count, seed: tf.random.stateless_uniform((count, 20), seed), jit_compile=True)
    step, losses = 0, []
    for number, rate in enumerate([1e-2, 1e-3, 1e-4]):
        optimizer.learning_rate = rate
        order, total = np.random.default_rng([config.seed, number]).permutation(100), 0.0
        for rows in (order[:40], order[40:80], order[80:]):
            eps, drawn = (
                noise(len(rows), tf.constant([config.seed, step])),
                uniform(len(rows), tf.constant([config.seed, -1 - step])),
            )
            black_white, y = tf.cast(drawn < x[rows], tf.float32), tf.one_hot(labels[rows], 10)
            with tf.GradientTape() as tape:
                mu, log_var = plain.encoder([black_white, y])
                logits = plain.decoder([mu + tf.exp(log_var / 2) * eps, y])
                cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=black_white, logits=logits)
                kl = (tf.exp(log_var) + mu**2 - 1 - log_var) / 2  # (images, 3)
                lifted = tf.reduce_sum(tf.maximum(tf.reduce_mean(kl, axis=0), 0.2))
                loss = tf.reduce_mean(tf.reduce_sum(cross_entropy, axis=1)) + 2.0 * min(1, step / 3) * lifted
            optimizer.apply(tape.gradient(loss, [v.value for v in plain.trainable_variables]), plain.trainable_variables)
            total += float(tf.reduce_sum(cross_entropy) + 2.0 * tf.reduce_sum(kl))
            step += 1
        losses.append(total / 100)
    for own, theirs in zip(weights_of(vae), weights_of(plain), strict=True):
        np.testing.assert_allclose(own, theirs, atol=2e-5)
    assert history.loss == pytest.approx(losses, rel=1e-5)


def test_training_draws_black_and_white_anew_each_time():
    # grey 0.5 everywhere, a decoder that says p: the cross-entropy of fair draws is log 2 a pixel at p = ½, of any draw
    config = TrainConfig(input_dim=6, hidden=(4,), binarize="dynamic", epochs=2, batch_size=50, learning_rate=1e-30)
    vae = build_vae(config)
    vae.decoder.layers[-1].kernel.assign(np.zeros((4, 6)))
    vae.decoder.layers[-1].bias.assign(np.full(6, 3.0))
    one, two = train(vae, np.full((500, 6), 0.5, np.float32), progress=False).reconstruction
    mean, deviation = 6 * (np.log1p(np.exp(3)) - 0.5 * 3), np.sqrt(6 * 0.25) * 3 / np.sqrt(500)
    assert abs(one - mean) < 5 * deviation
    assert abs(two - mean) < 5 * deviation
    assert one != two


def test_validation_of_a_conditional_vae_takes_the_labels():
    config = CONFIG.replace(input_dim=20, classes=10, epochs=1, learning_rate=1e-30)
    labels = np.arange(100) % 10
    vae, history = trained(config, IMAGES[:, :20], labels=labels, validation=IMAGES[:, :20], validation_labels=labels[::-1])
    for flipped, kl in ((labels, history.kl), (labels[::-1], history.val_kl)):
        mu, log_var = (np.asarray(value, float) for value in vae.encoder([IMAGES[:, :20], np.eye(10, dtype=np.float32)[flipped]]))
        assert kl == pytest.approx([0.5 * (np.exp(log_var) + mu**2 - 1 - log_var).sum(axis=1).mean()], rel=1e-5)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "labels: expected 100 whole numbers from 0 to 9, got none"),
        (np.arange(99) % 10, r"labels: expected 100 whole numbers from 0 to 9, got int64 \(99,\)"),
        (np.arange(100), "got int64 .* from 0 to 99"),
        (np.zeros(100), "got float64"),
        (np.zeros((100, 10), int), "give digits, not one-hot rows"),
        (["one"] * 100, "labels: expected numbers, got an array of <U3"),
        (np.arange(100) % 10 - 1, "from -1 to 8"),
    ],
)
def test_labels_that_do_not_fit(labels, message):
    with pytest.raises(ValueError, match=message):
        trained(CONFIG.replace(classes=10), IMAGES, labels=labels)


def test_labels_for_a_vae_that_has_none():
    with pytest.raises(ValueError, match=r"labels: expected none, for the model is not conditional; .*classes=10"):
        trained(CONFIG, IMAGES, labels=np.zeros(100, int))


def test_an_epoch_is_traced_and_compiled_once(monkeypatch):
    traced = []
    terms = compiled.batch_terms
    monkeypatch.setattr(compiled, "batch_terms", lambda *arguments: traced.append(1) or terms(*arguments))
    _, history = trained(CONFIG.replace(epochs=3), IMAGES)
    assert len(history) == 3
    assert len(traced) == 1


@pytest.mark.parametrize("offset", [0, 1, 16])
def test_images_become_a_tensor_whatever_their_alignment_and_keep_their_values(offset):
    memory = np.zeros(7 * 5 + offset, np.float32)
    x = memory[offset:].reshape(7, 5)
    x[:] = np.random.default_rng(0).random((7, 5))
    expected = x.copy()
    x.flags.writeable = False  # as a Dataset's arrays are
    tensor = compiled.compiler().tensor(x)
    memory[:] = 0  # what happens to the array afterwards does not reach the tensor
    np.testing.assert_array_equal(tensor, expected)
    assert tensor.dtype == tf.float32


def test_reaches_what_plain_keras_fit_reaches(digits):
    # The difference between one training and another spreads by about 0.7 nats around 145, a mean over 3 seeds by 0.4.
    # A KL averaged over dimensions, or beta = 0.9, would be further off.
    config = TrainConfig(latent_dim=10, hidden=(128,), batch_size=100, epochs=40)
    ours, theirs = [], []
    for seed in range(3):
        mine, _ = trained(config.replace(seed=seed), digits.x_train)
        plain = build_vae(config.replace(seed=seed))
        keras.utils.set_random_seed(seed)  # fit shuffles with the global one
        plain.compile(keras.optimizers.Adam(config.learning_rate), jit_compile=False)
        plain.fit(digits.x_train, batch_size=config.batch_size, epochs=config.epochs, verbose=0)
        for vae, results in ((mine, ours), (plain, theirs)):
            mu, log_var = (np.repeat(value, 10, axis=0) for value in vae.encoder(digits.x_test))
            logits = vae.decoder(sample_gaussian(mu, log_var, seed=seed))
            results.append(-np.mean(elbo_terms(np.repeat(digits.x_test, 10, axis=0), logits, mu, log_var).elbo))
    assert abs(np.mean(ours) - np.mean(theirs)) < 0.7
    assert np.mean(ours) < 155  # both have learnt: an untrained network is at 543


# ---- seeds ----------------------------------------------------------------------------------------------------------------


def test_one_seed_gives_the_same_weights_whatever_is_shown_or_measured(base, again):
    assert_same_weights(base[0], again[0])
    assert base[1].loss == again[1].loss


def test_another_seed_gives_other_weights(base):
    vae = build_vae(CONFIG)
    train(vae, IMAGES, config=CONFIG.replace(seed=99), progress=False)
    assert all((one != other).any() for one, other in zip(weights_of(vae), weights_of(base[0]), strict=True))


# ---- batches --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("copies", "batch_size"), [(1, 7), (1, 50), (1, 100), (1, 5000), (2, 50)])
def test_the_mean_is_over_the_images_whatever_their_number_and_the_batch_size(copies, batch_size):
    # with steps too small to move the weights, the epoch's KL is the mean over all images, exactly
    config = TrainConfig(input_dim=6, hidden=(4,), epochs=1, batch_size=batch_size, learning_rate=1e-30)
    x = np.random.default_rng(0).random((100, 6), dtype=np.float32)
    vae = build_vae(config)
    mu, log_var = (np.asarray(value, dtype=float) for value in vae.encoder(x))
    expected = 0.5 * (np.exp(log_var) + mu**2 - 1 - log_var).sum(axis=1).mean()
    assert train(vae, np.tile(x, (copies, 1)), progress=False).kl == pytest.approx([expected], rel=1e-5)


@pytest.mark.parametrize("prefix", ["", "val_"])
def test_the_loss_is_reconstruction_plus_beta_times_kl(base, prefix):
    loss, reconstruction, kl = (np.array(getattr(base[1], prefix + name)) for name in ("loss", "reconstruction", "kl"))
    np.testing.assert_allclose(loss, reconstruction + CONFIG.beta * kl, rtol=1e-5)
    assert (kl > 0).all()


# ---- validation -----------------------------------------------------------------------------------------------------------


def test_validation_measures_the_weights_after_the_epoch(base):
    vae, history = base
    mu, log_var = (np.asarray(value) for value in vae.encoder(IMAGES))
    kl = 0.5 * (np.exp(log_var) + mu**2 - 1 - log_var).sum(axis=1).mean()
    assert history.val_kl[-1] == pytest.approx(kl, rel=1e-4)
    draws = [
        np.mean(elbo_terms(IMAGES, vae.decoder(sample_gaussian(mu, log_var, seed=seed)), mu, log_var).reconstruction)
        for seed in range(20)
    ]
    assert history.val_reconstruction[-1] == pytest.approx(float(np.mean(draws)), abs=5 * float(np.std(draws, ddof=1)))


def test_without_validation_there_are_no_validation_values(again):
    history = again[1]
    assert history.val_loss == history.val_reconstruction == history.val_kl == []


# ---- history, progress, callbacks -----------------------------------------------------------------------------------------


def test_history_has_one_entry_for_each_epoch(base):
    history = base[1]
    assert len(history) == 2
    assert {name: len(values) for name, values in vars(history).items()} == dict.fromkeys(vars(History()), 2)
    assert all(seconds > 0 for seconds in history.seconds)


def test_progress_goes_to_standard_error(again):
    *_, out, err = again
    assert out == ""
    assert "epoch 1/2" in err
    assert f"epoch 2/2: loss {again[1].loss[-1]:.2f} nats per image" in err
    assert err.endswith("\n")


def test_callbacks_are_called_in_order_with_the_measured_values(again):
    _, history, calls, *_ = again
    logs = [{name: getattr(history, name)[epoch] for name in ("loss", "reconstruction", "kl")} for epoch in range(2)]
    assert calls == ["begin", 0, "first", (0, logs[0]), 1, (1, logs[1]), "end"]


def test_early_stopping_stops_and_restores_the_best_weights_and_training_can_go_on(capsys):
    best = []
    remember = AtEpoch(1, lambda callback: best.extend(weights_of(callback.model)))
    # nothing gets better by 1,000 nats
    stop = keras.callbacks.EarlyStopping("val_loss", patience=2, min_delta=1000, restore_best_weights=True)
    vae, history = trained(CONFIG.replace(epochs=20), IMAGES, validation=IMAGES[:20], callbacks=[remember, stop])
    assert len(history) == 3
    for own, expected in zip(weights_of(vae), best, strict=True):
        np.testing.assert_array_equal(own, expected)
    assert capsys.readouterr() == ("", "")  # progress=False
    assert len(train(vae, IMAGES, config=CONFIG, progress=False)) == 2


# ---- when it goes wrong ---------------------------------------------------------------------------------------------------


def test_ctrl_c_keeps_the_last_finished_epoch(base, capsys):
    vae, history = trained(CONFIG.replace(epochs=5), IMAGES, callbacks=[AtEpoch(2, interrupt)])
    assert len(history) == 2
    assert_same_weights(vae, base[0])  # two epochs, undisturbed
    assert "Interrupted: the weights of epoch 2 of 5 are kept." in capsys.readouterr().err


def test_ctrl_c_in_the_middle_of_an_epoch_goes_back_to_the_one_before(base, monkeypatch, capsys):
    real, calls = training._Training._set, []

    def interrupted(self, state):
        calls.append(state)
        if len(calls) == 3:
            self.vae.trainable_variables[0].assign(state.weights[0])  # some of the third epoch's weights are in place
            raise KeyboardInterrupt
        real(self, state)

    monkeypatch.setattr(training._Training, "_set", interrupted)
    vae, history = trained(CONFIG.replace(epochs=4), IMAGES)
    assert {name: len(values) for name, values in vars(history).items() if values} == dict.fromkeys(
        ("loss", "reconstruction", "kl", "seconds"), 2
    )
    assert_same_weights(vae, base[0])
    assert "the weights of epoch 2 of 4 are kept" in capsys.readouterr().err


def test_ctrl_c_between_the_entries_of_an_epoch_leaves_no_half_entry(monkeypatch):
    def interrupted():
        calls.append(None)
        if len(calls) == 4:  # the start and the end of each epoch ask for the time: the end of the second
            raise KeyboardInterrupt
        return float(len(calls))

    calls = []
    monkeypatch.setattr(training.time, "perf_counter", interrupted)
    _, history = trained(CONFIG.replace(epochs=4), IMAGES, validation=IMAGES[:20])
    assert {len(values) for values in vars(history).values()} == {1}


def test_ctrl_c_before_the_first_epoch_is_over_leaves_the_model_as_it_was():
    class AtOnce(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            raise KeyboardInterrupt

    vae, history = trained(CONFIG, IMAGES, callbacks=[AtOnce()])
    assert len(history) == 0
    assert_same_weights(vae, build_vae(CONFIG))


def test_a_loss_that_is_no_number_stops_training_and_keeps_the_last_good_weights():
    vae = build_vae(CONFIG)
    with pytest.raises(TrainingError, match=r"epoch 1: expected finite loss and weights, got the loss .*Lower the learning rate"):
        train(vae, IMAGES, config=CONFIG.replace(learning_rate=1e9), progress=False)
    assert_same_weights(vae, build_vae(CONFIG))


def test_weights_spoilt_by_the_last_step_of_an_epoch_are_not_kept():
    # Black images; dead hidden units; the prior as q: only the biases of the logits move. The first step takes them to
    # −3·10³⁸, where the loss is 0; the second, momentum alone, goes beyond float32 when the epoch's losses are all taken.
    config = TrainConfig(input_dim=6, hidden=(4,), epochs=1, batch_size=10, learning_rate=3e38)
    vae = build_vae(config)
    for variable in vae.trainable_variables:
        variable.assign(np.full(variable.shape, -1.0 if variable.path == "decoder_0/bias" else 0.0))
    before = weights_of(vae)
    with pytest.raises(TrainingError, match=r"got the loss 2\.079\d*; the weights of epoch 0 are kept"):  # 3 ln 2
        train(vae, np.zeros((20, 6), np.float32), progress=False)
    for one, other in zip(weights_of(vae), before, strict=True):
        np.testing.assert_array_equal(one, other)


# ---- what is accepted -----------------------------------------------------------------------------------------------------


def test_images_as_float32_are_not_copied():
    assert check_images(IMAGES, 784) is IMAGES


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float16, np.float64, list])
def test_black_and_white_images_of_any_type_are_the_same_images(kind):
    black_white = (IMAGES > 0.5).astype(np.float32)
    given = black_white.tolist() if kind is list else black_white.astype(kind)
    checked = check_images(given, 784)
    assert checked.dtype == np.float32
    np.testing.assert_array_equal(checked, black_white)


def test_another_backend_is_told_to_use_fit(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(ValueError, match=r"expected Keras on TensorFlow or JAX, got torch; use vae\.compile.* and vae\.fit"):
        train(build_vae(CONFIG), IMAGES)
