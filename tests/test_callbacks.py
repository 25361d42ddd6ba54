"""Keras's callbacks under `train`, each by its effect: it does what it does under `fit`, or is refused before training."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf

from vae_lib import TrainConfig, build_vae, train

CONFIG = TrainConfig(input_dim=6, hidden=(4,), epochs=4, batch_size=10, seed=3)
X = np.random.default_rng(7).random((35, 6), dtype=np.float32)  # batches of 10, 10, 10 and 5
BATCHES = 4


def weights_of(vae):
    return [keras.ops.convert_to_numpy(variable) for variable in vae.trainable_variables]


def assert_weights(vae, expected):
    for own, other in zip(weights_of(vae), expected, strict=True):
        np.testing.assert_array_equal(own, other)


def trained(callbacks, *, config=CONFIG, vae=None, **options):
    vae = build_vae(config) if vae is None else vae
    return vae, train(vae, X, config=config, progress=False, callbacks=callbacks, **options)


class Watch(keras.callbacks.Callback):
    """Remember rate and weights at the start and the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.rates, self.starts, self.ends, self.logs = [], [], [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.rates.append(float(self.model.optimizer.learning_rate))
        self.starts.append(weights_of(self.model))

    def on_epoch_end(self, epoch, logs=None):
        self.ends.append(weights_of(self.model))
        self.logs.append(dict(logs))


class EachBatch(keras.callbacks.Callback):
    """Remember the weights after each batch, and the logs."""

    def __init__(self):
        super().__init__()
        self.weights, self.logs = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(weights_of(self.model))
        self.logs.append((batch, dict(logs)))


class Plain:
    """No callback."""


@pytest.fixture(scope="module")
def undisturbed():
    """Four epochs, watched after each batch, which asks for one compiled call a batch."""
    batches, watch = EachBatch(), Watch()
    vae, history = trained([batches, watch])
    return vae, history, batches, watch


# ---- the rate -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compile_first", [True, False])
def test_a_scheduler_that_sets_the_rate_to_zero_stops_all_movement(compile_first):
    vae = build_vae(CONFIG)
    if compile_first:
        vae.compile("adam")
    before = weights_of(vae)
    trained([keras.callbacks.LearningRateScheduler(lambda *_: 0.0)], vae=vae)
    assert_weights(vae, before)


def test_a_schedule_from_a_callback_is_the_same_as_the_configurations():
    falling = CONFIG.replace(learning_rate=1e-2, learning_rate_end=1e-5)
    expected, _ = trained(None, config=falling)
    watch = Watch()
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch, _: 1e-2 * 10.0**-epoch)
    vae, _ = trained([scheduler, watch], config=CONFIG.replace(learning_rate=1e-2))
    assert watch.rates == pytest.approx([1e-2, 1e-3, 1e-4, 1e-5], rel=1e-6)
    for own, other in zip(weights_of(vae), weights_of(expected), strict=True):
        np.testing.assert_allclose(own, other, atol=1e-7)


def test_a_plateau_lowers_the_rate_and_the_steps_follow():
    # nothing gets better by 1,000 nats: the rate falls after every epoch but the first
    plateau = keras.callbacks.ReduceLROnPlateau("loss", factor=0.1, patience=1, min_delta=1000, min_lr=0)
    watch = Watch()
    vae, _ = trained([plateau, watch])
    assert watch.rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-5], rel=1e-5)
    assert [logs["learning_rate"] for logs in watch.logs] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-5], rel=1e-5)
    same = keras.callbacks.LearningRateScheduler(lambda epoch, _: [1e-3, 1e-3, 1e-4, 1e-5][epoch])
    for own, other in zip(weights_of(vae), weights_of(trained([same])[0]), strict=True):
        np.testing.assert_allclose(own, other, atol=1e-8)


def test_a_rate_that_a_callback_lowered_goes_on_falling_by_the_configurations_factor():
    def halve(epoch, rate):
        return rate / 2 if epoch == 1 else rate

    watch = Watch()
    config = CONFIG.replace(learning_rate=1e-2, learning_rate_end=1e-5)
    trained([keras.callbacks.LearningRateScheduler(halve), watch], config=config)
    assert watch.rates == pytest.approx([1e-2, 5e-4, 5e-5, 5e-6], rel=1e-5)


def test_each_training_starts_at_the_configurations_rate_with_a_fresh_optimiser():
    vae, _ = trained([keras.callbacks.LearningRateScheduler(lambda *_: 0.5)])
    vae.set_weights(build_vae(CONFIG).get_weights())
    train(vae, X, config=CONFIG, progress=False)
    assert_weights(vae, weights_of(trained(None)[0]))
    assert int(vae.optimizer.iterations) == CONFIG.epochs * BATCHES


# ---- weights --------------------------------------------------------------------------------------------------------------


def test_weights_that_a_callback_sets_are_where_the_next_epoch_begins():
    class Zero(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            for variable in self.model.trainable_variables:
                variable.assign(np.zeros(variable.shape))

    zero, watch = Zero(), Watch()
    vae, _ = trained([watch, zero])
    assert all((weight == 0).all() for start in watch.starts[1:] for weight in start)
    assert any((weight != 0).any() for weight in watch.ends[1])  # and they move from there
    assert all((weight == 0).all() for weight in weights_of(vae))


@pytest.mark.parametrize("when", ["on_train_begin", "on_epoch_begin"])
def test_weights_that_are_set_before_an_epoch_are_trained(when):
    start = weights_of(trained(None)[0])

    class Restore(keras.callbacks.Callback):
        def restore(self, *_, **__):
            self.model.set_weights(start)

    restore, watch = Restore(), Watch()
    setattr(restore, when, restore.restore)
    trained([restore, watch], config=CONFIG.replace(epochs=1))
    for own, expected in zip(watch.starts[0], start, strict=True):
        np.testing.assert_array_equal(own, expected)
    other = build_vae(CONFIG)
    other.set_weights(start)
    train(other, X, config=CONFIG.replace(epochs=1), progress=False)
    for own, expected in zip(watch.ends[0], weights_of(other), strict=True):
        np.testing.assert_array_equal(own, expected)


def test_early_stopping_goes_back_to_the_best_weights():
    watch = Watch()
    stop = keras.callbacks.EarlyStopping("loss", patience=2, min_delta=1000, restore_best_weights=True)
    vae, history = trained([watch, stop], config=CONFIG.replace(epochs=20))
    assert len(history) == 3
    assert_weights(vae, watch.ends[0])


def test_checkpoints_hold_the_weights_of_their_epoch(tmp_path):
    watch = Watch()
    whole = keras.callbacks.ModelCheckpoint(str(tmp_path / "{epoch}.keras"))
    weights = keras.callbacks.ModelCheckpoint(str(tmp_path / "{epoch}.weights.h5"), save_weights_only=True)
    best = keras.callbacks.ModelCheckpoint(str(tmp_path / "best.keras"), monitor="val_loss", save_best_only=True)
    _, history = trained([watch, whole, weights, best], validation=X[:20])
    for epoch in range(1, 5):
        loaded, filled = keras.saving.load_model(tmp_path / f"{epoch}.keras"), build_vae(CONFIG)
        filled.load_weights(tmp_path / f"{epoch}.weights.h5")
        for vae in (loaded, filled):
            assert_weights(vae, watch.ends[epoch - 1])
            assert [entry["epochs"] for entry in vae.trained] == [epoch]
    assert_weights(keras.saving.load_model(tmp_path / "best.keras"), watch.ends[int(np.argmin(history.val_loss))])


def test_checkpoints_after_some_batches_are_written_then(tmp_path):
    batches = EachBatch()
    checkpoint = keras.callbacks.ModelCheckpoint(str(tmp_path / "{batch}.weights.h5"), save_weights_only=True, save_freq=3)
    trained([batches, checkpoint], config=CONFIG.replace(epochs=1))
    vae = build_vae(CONFIG)
    vae.load_weights(tmp_path / "3.weights.h5")
    assert_weights(vae, batches.weights[2])


@pytest.mark.parametrize(("interrupted_at", "falling"), [(1, 1e-5), (3, None)])
def test_a_backup_goes_on_as_if_nothing_had_happened(tmp_path, interrupted_at, falling):
    config = CONFIG.replace(learning_rate=1e-2, learning_rate_end=falling, kl_warmup=2)

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == interrupted_at:
                raise KeyboardInterrupt

    expected, whole = trained(None, config=config)
    backup = str(tmp_path / "backup")
    _, first = trained([keras.callbacks.BackupAndRestore(backup), Interrupt()], config=config)
    vae, second = trained([keras.callbacks.BackupAndRestore(backup)], config=config)  # a new model, as in a new process
    assert_weights(vae, weights_of(expected))
    assert [*first.loss, *second.loss] == whole.loss
    assert vae.trained == expected.trained
    assert int(vae.optimizer.iterations) == int(expected.optimizer.iterations)
    assert not (tmp_path / "backup").exists()  # done: the next training starts afresh
    assert len(train(vae, X, config=config, progress=False)) == 4


def test_a_moving_average_of_weights_is_that_of_all_steps_and_ends_in_the_model():
    momentum = 0.8
    vae, batches, watch = build_vae(CONFIG), EachBatch(), Watch()
    vae.compile(keras.optimizers.Adam(1e-3, use_ema=True, ema_momentum=momentum))
    trained([batches, keras.callbacks.SwapEMAWeights(), watch], vae=vae, validation=X[:20])
    averages = batches.weights[0]
    for weights in batches.weights[1:]:
        averages = [momentum * a + (1 - momentum) * w for a, w in zip(averages, weights, strict=True)]
    for own, expected in zip(weights_of(vae), averages, strict=True):
        np.testing.assert_allclose(own, expected, atol=1e-6)
    # validation is of the average, training goes on from the weights themselves
    assert_weights_close(watch.ends[0], batches.weights[BATCHES - 1])


def assert_weights_close(one, other):
    for first, second in zip(one, other, strict=True):
        np.testing.assert_allclose(first, second, atol=1e-6)


def test_validation_measures_the_average_that_a_callback_swaps_in():
    vae = build_vae(CONFIG)
    vae.compile(keras.optimizers.Adam(1e-3, use_ema=True, ema_momentum=1.0))  # the average stays at the first step's weights
    batches = EachBatch()
    _, history = trained([batches, keras.callbacks.SwapEMAWeights()], vae=vae, validation=X)
    first = build_vae(CONFIG)
    first.set_weights(batches.weights[0])
    mu, log_var = (np.asarray(value, float) for value in first.encoder(X))
    assert history.val_kl == pytest.approx([0.5 * (np.exp(log_var) + mu**2 - 1 - log_var).sum(axis=1).mean()] * 4, rel=1e-4)


@pytest.mark.parametrize("every", [None, 3])
def test_averages_are_those_of_keras(every):
    rng = np.random.default_rng(0)
    from vae_lib.compiled import State, adam_step

    start = rng.normal(size=(3, 2)).astype(np.float32)
    variable = keras.Variable(start)
    adam = keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.7, ema_overwrite_frequency=every)
    state = State(tf.constant(0), [tf.constant(start)], [tf.zeros((3, 2))] * 2, [tf.zeros((3, 2))])
    for _ in range(7):
        gradient = tf.constant(rng.normal(size=(3, 2)), tf.float32)
        adam.apply([gradient], [variable])
        state = adam_step(adam, state, [gradient], 1e-2)
        np.testing.assert_allclose(state.weights[0], variable.numpy(), atol=1e-6)
        np.testing.assert_allclose(state.averages[0], adam._model_variables_moving_average[0].numpy(), atol=1e-6)


# ---- records --------------------------------------------------------------------------------------------------------------


def test_a_csv_log_holds_the_history(tmp_path):
    _, history = trained([keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))], validation=X[:20])
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2, 3]
    for name in ("loss", "kl", "val_loss"):
        assert [float(row[name]) for row in rows] == pytest.approx(getattr(history, name))


@pytest.mark.parametrize("update_freq", ["epoch", "batch"])
def test_tensorboard_writes_the_losses(tmp_path, update_freq):
    board = keras.callbacks.TensorBoard(str(tmp_path), update_freq=update_freq, histogram_freq=1)
    _, history = trained([board], validation=X[:20])
    values = scalars(tmp_path / "train")
    assert values["epoch_loss"] == pytest.approx(history.loss, rel=1e-5)
    assert values["epoch_learning_rate"] == pytest.approx([1e-3] * 4)
    assert scalars(tmp_path / "validation")["epoch_loss"] == pytest.approx(history.val_loss, rel=1e-5)
    assert len(values.get("batch_loss", [])) == (CONFIG.epochs * BATCHES if update_freq == "batch" else 0)


def scalars(folder):
    """Read the numbers that TensorBoard would draw."""
    found = {}
    for file in sorted(folder.glob("events*")):
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                if value.HasField("tensor") and value.metadata.plugin_data.plugin_name in ("scalars", ""):
                    number = tf.make_ndarray(value.tensor)
                    if number.shape == () and number.dtype.kind == "f":
                        found.setdefault(value.tag, []).append(float(number))
    return found


def test_keras_own_history_and_bar_and_lambdas_work(capsys):
    seen, own = [], keras.callbacks.History()
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, _: seen.append(epoch))
    history = train(build_vae(CONFIG), X, callbacks=[own, note, keras.callbacks.ProgbarLogger()])
    assert own.history["loss"] == pytest.approx(history.loss)
    assert seen == own.epoch == [0, 1, 2, 3]
    assert "4/4" in capsys.readouterr().out


# ---- batches --------------------------------------------------------------------------------------------------------------


def test_batches_are_called_with_the_means_so_far(undisturbed):
    _, history, batches, _ = undisturbed
    assert [batch for batch, _ in batches.logs] == list(range(BATCHES)) * CONFIG.epochs
    assert [logs["loss"] for batch, logs in batches.logs if batch == BATCHES - 1] == pytest.approx(history.loss)


def test_batch_by_batch_and_epoch_by_epoch_are_the_same_training(undisturbed):
    vae, history, *_ = undisturbed
    other, fast = trained(None)
    assert history.loss == pytest.approx(fast.loss, rel=1e-6)
    assert_weights_close(weights_of(vae), weights_of(other))


def test_a_callback_can_stop_in_the_middle_of_an_epoch(undisturbed):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

    vae, history = trained([Stop()])
    assert len(history) == 1
    assert_weights(vae, undisturbed[2].weights[1])


def test_ctrl_c_in_the_middle_of_an_epochs_batches_goes_back_to_the_epoch_before(undisturbed, capsys):
    class Interrupt(keras.callbacks.Callback):
        calls = 0

        def on_train_batch_end(self, batch, logs=None):
            self.calls += 1
            if self.calls == 6:
                raise KeyboardInterrupt

    vae, history = trained([Interrupt()])
    assert len(history) == 1
    assert_weights(vae, undisturbed[2].weights[BATCHES - 1])
    assert int(vae.optimizer.iterations) == BATCHES  # the optimiser goes back as well
    assert [entry["epochs"] for entry in vae.trained] == [1]
    assert "the weights of epoch 1 of 4 are kept" in capsys.readouterr().err


# ---- one, none, and what is none ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda c: c, lambda c: [c], lambda c: (c,), lambda c: keras.callbacks.CallbackList([c])])
def test_one_callback_or_several(wrap):
    watch = Watch()
    trained(wrap(watch), config=CONFIG.replace(epochs=1))
    assert len(watch.ends) == 1


@pytest.mark.parametrize(
    ("callbacks", "got"),
    [
        (3, "int"),
        (["loss"], "str"),
        (Plain(), "Plain"),
        ([keras.callbacks.EarlyStopping], "the class EarlyStopping"),
        ("x", "str"),
    ],
)
def test_what_is_no_callback_is_refused_before_training(callbacks, got):
    vae = build_vae(CONFIG)
    before = weights_of(vae)
    with pytest.raises(ValueError, match=f"callbacks: expected Keras callbacks, got {got}"):
        trained(callbacks, vae=vae)
    assert_weights(vae, before)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (keras.optimizers.SGD(), "got SGD; compile with"),
        (keras.optimizers.AdamW(), "got AdamW"),
        (keras.optimizers.Adam(clipnorm=1.0), "got Adam with clipnorm=1.0"),
        (keras.optimizers.Adam(amsgrad=True), "got Adam with amsgrad=True"),
        (keras.optimizers.Adam(weight_decay=0.1), "got Adam with weight_decay=0.1"),
        (keras.optimizers.Adam(gradient_accumulation_steps=2), "gradient_accumulation_steps=2"),
        (keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(1e-3, 10, 0.9)), "got a schedule"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_optimiser_that_only_fit_can_use_is_refused_before_training(optimizer, message):
    vae = build_vae(CONFIG)
    vae.compile(optimizer)
    before = weights_of(vae)
    with pytest.raises(ValueError, match=f"vae.optimizer: expected .*{message}"):
        trained(None, vae=vae)
    assert_weights(vae, before)


def test_settings_of_adam_that_the_model_was_compiled_with_are_used():
    vae = build_vae(CONFIG)
    vae.compile(keras.optimizers.Adam(0.7, beta_1=0.0, beta_2=0.0, epsilon=1e-30))  # each step is rate · sign(gradient)
    start = weights_of(vae)
    trained(None, vae=vae, config=CONFIG.replace(epochs=1, batch_size=35, learning_rate=0.01))
    moved = np.concatenate([np.abs(a - b).ravel() for a, b in zip(weights_of(vae), start, strict=True)])
    assert np.isclose(moved[moved > 0], 0.01, rtol=1e-3).all()
    assert (moved > 0).mean() > 0.5


# ---- frozen layers --------------------------------------------------------------------------------------------------------


def test_a_frozen_part_stays_and_the_rest_learns():
    vae = build_vae(CONFIG)
    vae.decoder.trainable = False
    frozen = [keras.ops.convert_to_numpy(variable) for variable in vae.decoder.variables]
    moving = weights_of(vae)
    trained(None, vae=vae)
    for variable, before in zip(vae.decoder.variables, frozen, strict=True):
        np.testing.assert_array_equal(variable, before)
    assert all((one != other).any() for one, other in zip(weights_of(vae), moving, strict=True))
    vae.decoder.trainable = True  # thawed: the optimiser is made for all
    train(vae, X, config=CONFIG, progress=False)
    assert any((np.asarray(v) != b).any() for v, b in zip(vae.decoder.variables, frozen, strict=True))


def test_a_wholly_frozen_model_is_refused():
    vae = build_vae(CONFIG)
    vae.trainable = False
    with pytest.raises(ValueError, match="vae: expected weights to train, got none: every layer is frozen"):
        trained(None, vae=vae)


# ---- history of the weights -----------------------------------------------------------------------------------------------


def test_the_model_says_how_it_was_trained():
    vae, _ = trained(None)
    train(vae, X[:20], config=CONFIG.replace(beta=4.0, epochs=2, seed=8), progress=False)
    assert [(entry["by"], entry["config"]["beta"], entry["epochs"], entry["images"]) for entry in vae.trained] == [
        ("train", 1.0, 4, 35),
        ("train", 4.0, 2, 20),
    ]
    vae.compile("adam")
    vae.fit(X, epochs=3, verbose=0)
    assert (vae.trained[-1]["by"], vae.trained[-1]["epochs"]) == ("fit", 3)
    assert vae.config == CONFIG


def test_a_training_that_never_ended_an_epoch_leaves_no_entry():
    class AtOnce(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            raise KeyboardInterrupt

    assert trained(AtOnce())[0].trained == []


@pytest.mark.parametrize("when", ["on_train_begin", "on_epoch_begin", "on_train_batch_end", "on_epoch_end"])
def test_a_callback_that_freezes_layers_is_refused_and_weights_are_kept(when):
    class Freeze(keras.callbacks.Callback):
        """Freeze the encoder at some moment."""

    def freeze(self, *_, **__):
        self.model.encoder.trainable = False

    setattr(Freeze, when, freeze)
    vae, first = build_vae(CONFIG), Watch()
    with pytest.raises(ValueError, match=r"callbacks: expected the same layers .* set it between two calls of train"):
        trained([first, Freeze()], vae=vae, validation=X)
    vae.encoder.trainable = True
    expected = first.ends[0] if when == "on_epoch_end" else weights_of(build_vae(CONFIG))
    assert_weights(vae, expected)
    assert [entry["epochs"] for entry in vae.trained] == [1] * (when == "on_epoch_end")


def test_the_way_to_release_frozen_layers_works():
    vae = build_vae(CONFIG)
    vae.trainable = False
    with pytest.raises(ValueError, match=r"set vae\.trainable = True"):
        trained([], vae=vae)
    vae.trainable = True
    vae.encoder.trainable = vae.decoder.trainable = False
    with pytest.raises(ValueError, match=r"set vae\.encoder\.trainable = True"):
        trained([], vae=vae)
    vae.encoder.trainable = True
    assert vae.trainable_variables
    for layer in vae.encoder.layers:
        layer.trainable = False
    with pytest.raises(ValueError, match=r"set vae\.decoder\.trainable = True"):
        trained([], vae=vae)
    vae.decoder.trainable = True
    for layer in vae.decoder.layers:
        layer.trainable = False
    with pytest.raises(ValueError, match=r"for a layer in vae\.encoder\.layers"):
        trained([], vae=vae)
