"""The VAE as the ordinary Keras model that its docstring promises: it saves, loads, clones and copies, and refuses bad data."""

import copy

import keras
import numpy as np
import pytest

from vae_lib import VAE, ElboTerms, TrainConfig, batch_loss, bernoulli_log_prob, build_vae, elbo_terms, gaussian_kl, train
from vae_lib.model import check_vae

pytestmark = pytest.mark.backends
to_numpy = keras.ops.convert_to_numpy

CONFIG = TrainConfig(input_dim=6, hidden=(5, 4), latent_dim=3, seed=1)
LABELLED = CONFIG.replace(classes=3)
X = np.random.default_rng(0).random((20, 6), dtype=np.float32)
Y = np.eye(3, dtype=np.float32)[np.arange(20) % 3]


def trained(config):
    vae = build_vae(config)
    vae.compile(keras.optimizers.Adam(0.01))
    vae.fit([X, Y] if config.classes else X, epochs=2, verbose=0)
    return vae


def saved(vae, folder):
    vae.save(folder / "m.keras")
    return keras.saving.load_model(folder / "m.keras", safe_mode=True)


def cloned(vae, _):
    clone = keras.models.clone_model(vae)
    clone.set_weights(vae.get_weights())
    return clone


COPIES = {"saved": saved, "cloned": cloned, "copied": lambda vae, _: copy.deepcopy(vae)}


@pytest.mark.parametrize("config", [CONFIG, LABELLED], ids=["plain", "conditional"])
@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
def test_a_copy_gives_equal_outputs_and_shares_nothing(config, make, tmp_path):
    vae = trained(config)
    inputs = [X, Y] if config.classes else X
    other = make(vae, tmp_path)
    assert type(other) is VAE
    assert other.config == config
    for one, two in zip(vae.encoder(inputs), other.encoder(inputs), strict=True):
        np.testing.assert_array_equal(to_numpy(one), to_numpy(two))
    z = [np.ones((20, 3), np.float32), Y] if config.classes else np.ones((20, 3), np.float32)
    np.testing.assert_array_equal(to_numpy(vae.decoder(z)), to_numpy(other.decoder(z)))
    before = [np.array(weight) for weight in vae.get_weights()]
    other.set_weights([weight + 1 for weight in other.get_weights()])
    for one, two in zip(vae.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("make", [saved, COPIES["copied"]], ids=["saved", "copied"])
def test_a_copy_goes_on_with_the_same_noise_the_same_optimiser_and_the_same_record(make, tmp_path):
    vae = trained(CONFIG)
    other = make(vae, tmp_path)
    assert other.trained == vae.trained
    np.testing.assert_array_equal(to_numpy(vae(X)["z"]), to_numpy(other(X)["z"]))
    for model in (vae, other):
        keras.utils.set_random_seed(3)
        model.fit(X, epochs=1, verbose=0, shuffle=False)
    for one, two in zip(vae.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-7)


def test_a_clone_is_untrained_and_says_so():
    clone = keras.models.clone_model(trained(CONFIG))
    assert clone.trained == []
    for one, two in zip(clone.get_weights(), build_vae(CONFIG).get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_what_is_frozen_stays_frozen_in_a_copy(tmp_path):
    vae = build_vae(CONFIG)
    vae.decoder.layers[1].trainable = False
    frozen = [variable.path for variable in vae.trainable_variables]
    for make in COPIES.values():
        assert [variable.path for variable in make(vae, tmp_path).trainable_variables] == frozen
    vae.trainable = False
    other = saved(vae, tmp_path)
    assert not other.trainable_variables
    other.trainable = True
    assert len(other.trainable_variables) == len(vae.encoder.variables + vae.decoder.variables)


@pytest.mark.parametrize("config", [{}, {"config": {"latent_dimension": 2}}, {"config": 3}])
def test_a_configuration_of_something_else_is_refused(config):
    with pytest.raises(ValueError, match=r"config: expected what VAE\.get_config returns"):
        VAE.from_config(config)


@pytest.mark.parametrize("record", [None, {"by": "train"}, [3], [{"when": object()}]])
def test_a_record_of_another_form_is_refused(record):
    with pytest.raises(ValueError, match="trained: expected"):
        build_vae(CONFIG).trained = record


def test_the_record_cannot_be_changed_by_accident():
    vae = trained(CONFIG)
    vae.trained.clear()
    assert len(vae.trained) == 1


def test_an_interrupted_fit_is_recorded_up_to_its_last_finished_epoch():
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    vae = build_vae(CONFIG)
    vae.compile("adam")
    with pytest.raises(KeyboardInterrupt):
        vae.fit(X, epochs=5, verbose=0, callbacks=[Interrupt()])
    (entry,) = vae.trained
    assert (entry["by"], entry["epochs"], entry["images"]) == ("fit", 2, 20)


# ---- dtype policies -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["mixed_float16", "mixed_bfloat16", "float64", "float16"])
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.usefixtures("policy")
def test_the_model_computes_in_float32_under_any_policy():
    vae = build_vae(CONFIG)
    for value in vae(X).values():
        assert keras.backend.standardize_dtype(value.dtype) == "float32"
    assert {variable.dtype for variable in vae.trainable_variables} == {"float32"}


@pytest.mark.usefixtures("policy")
@pytest.mark.tensorflow_only  # or JAX: PyTorch has no train
def test_training_is_the_same_under_any_policy():
    history = train(build_vae(CONFIG), X, validation=X, config=CONFIG.replace(epochs=1), progress=False)
    keras.config.set_dtype_policy("float32")
    expected = train(build_vae(CONFIG), X, validation=X, config=CONFIG.replace(epochs=1), progress=False)
    assert history.loss == expected.loss
    assert history.val_loss == expected.val_loss


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_terms_of_half_precision_are_summed_in_float32(dtype):
    rng = np.random.default_rng(1)
    x, logits = rng.integers(0, 2, (4, 784)).astype(np.float32), 4 * rng.normal(size=(4, 784)).astype(np.float32)
    half = keras.ops.cast(logits, dtype)
    exact = to_numpy(keras.ops.cast(half, "float32")).astype(float)  # what the rounded logits mean
    expected = (x * exact - np.logaddexp(0, exact)).sum(axis=1)
    result = bernoulli_log_prob(x, half)
    assert keras.backend.standardize_dtype(result.dtype) == "float32"
    np.testing.assert_allclose(to_numpy(result), expected, rtol=1e-5)


@pytest.mark.tensorflow_only  # JAX and PyTorch make float32 of float64, as Keras sets them up
def test_mixed_dtypes_are_promoted():
    mu = np.ones((2, 3), np.float64)
    assert keras.backend.standardize_dtype(gaussian_kl(mu, mu.astype(np.float32)).dtype) == "float64"
    terms = elbo_terms(X[:2], np.zeros((2, 6), np.float64), mu.astype(np.float16), mu.astype(np.float32))
    assert {keras.backend.standardize_dtype(term.dtype) for term in terms} == {"float64"}


# ---- data that cannot be ----------------------------------------------------------------------------------------------------

BAD = {
    "bytes": (np.full((20, 6), 255, np.uint8), r"expected values in \[0, 1\], got 255 to 255; divide bytes by 255"),
    "floats to 255": (255 * X, "divide bytes by 255"),
    "NaN": (np.full((20, 6), np.nan, np.float32), "drop or fill the NaNs"),
    "minus one to one": (2 * X - 1, r"values in \[-1, 1\] come to \[0, 1\] by \(x \+ 1\) / 2"),
    "rank 3": (X.reshape(20, 2, 3), "flatten images"),
    "another width": (X[:, :5], r"expected shape \(images, 6\).*; the model takes images of 6 pixels"),
    "no image": (X[:0], "at least one image"),
    "hidden values": (np.ma.masked_less(X, 0.5), "expected an array without hidden values"),
    "a list of bytes": ([[255] * 6] * 20, "divide bytes by 255"),
    "a pair": ((X, X), "expected one array of images, got a tuple of 2; give the images alone"),
    "a tensor": (keras.ops.convert_to_tensor(255 * X), "divide bytes by 255"),
}


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
@pytest.mark.parametrize(("x", "message"), BAD.values(), ids=BAD)
def test_bad_images_are_refused_before_the_first_step(method, x, message):
    vae = build_vae(CONFIG)
    vae.compile("adam")
    before = [np.array(weight) for weight in vae.get_weights()]
    with pytest.raises(ValueError, match=f"x: .*{message}"):
        getattr(vae, method)(x)
    for one, two in zip(vae.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, two)
    assert vae.trained == []


@pytest.mark.parametrize("data", [255 * X, (255 * X,), (255 * X, X), (255 * X, X, None)])
def test_bad_validation_data_are_refused(data):
    vae = build_vae(CONFIG)
    vae.compile("adam")
    with pytest.raises(ValueError, match=r"validation_data: .*divide bytes by 255"):
        vae.fit(X, validation_data=data, verbose=0)


class Batches(keras.utils.PyDataset):
    """Two batches of ten."""

    def __init__(self, x):
        super().__init__()
        self.x = x

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return (self.x[10 * index : 10 * index + 10],)


@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_the_first_batch_of_what_is_read_batch_by_batch_is_looked_at(method):
    vae = build_vae(CONFIG)
    vae.compile("adam")
    with pytest.raises(ValueError, match=r"x, first batch: .*divide bytes by 255"):
        getattr(vae, method)(Batches(255 * X), verbose=0)
    getattr(vae, method)(Batches(X), verbose=0)


@pytest.mark.tensorflow_only
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x, x)], ids=["images", "images and targets"])
def test_the_first_batch_of_a_tensorflow_dataset_is_looked_at(wrap):
    import tensorflow as tf

    vae = build_vae(CONFIG)
    vae.compile("adam")
    with pytest.raises(ValueError, match=r"x, first batch: .*divide bytes by 255"):
        vae.fit(tf.data.Dataset.from_tensor_slices(wrap((255 * X).astype(np.uint8))).batch(10), shuffle=False, verbose=0)
    vae.fit(tf.data.Dataset.from_tensor_slices(wrap(X)).batch(10), shuffle=False, verbose=0)
    assert vae.trained[0]["images"] is None


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([255 * X, Y], r"x\[0\]: .*divide bytes"),
        ([X, Y[:, :2]], r"x\[1\]: expected one-hot labels \(20, 3\), got \(20, 2\)"),
        ((X, np.arange(20) % 3), r"got \(20,\); make them with keras.ops.one_hot"),
    ],
)
def test_bad_images_or_labels_of_a_conditional_vae_are_refused(x, message):
    vae = build_vae(LABELLED)
    vae.compile("adam")
    with pytest.raises(ValueError, match=message):
        vae.fit(x, verbose=0)


def test_rounding_noise_is_no_error():
    vae = build_vae(CONFIG)
    vae.compile("adam")
    vae.fit(np.nextafter(np.ones((4, 6)), 2), epochs=1, verbose=0)
    assert vae.trained[0]["images"] == 4


@pytest.mark.parametrize("value", [1.5, -0.1, np.nan, 255])
def test_the_objective_refuses_pixels_outside_the_support(value):
    x = np.full((2, 6), value, np.float32)
    for call in (lambda: bernoulli_log_prob(x, np.zeros((2, 6))), lambda: elbo_terms(x, np.zeros((2, 6)), X[:2], X[:2])):
        with pytest.raises(ValueError, match=r"x: expected values in \[0, 1\]"):
            call()


@pytest.mark.parametrize(
    ("x", "logits", "mu", "log_var"),
    [(4, 4, 1, 1), (1, 1, 4, 4), (4, 4, 3, 3), (4, 4, 4, 1), (4, 1, 4, 4)],
)
def test_terms_of_different_batches_are_refused(x, logits, mu, log_var):
    with pytest.raises(ValueError, match=r"expected the same number of images in all, got x \(\d, 6\), .*log_var"):
        elbo_terms(X[:x], np.zeros((logits, 6)), np.zeros((mu, 2)), np.zeros((log_var, 2)))


@pytest.mark.parametrize("terms", [None, (1.0, 2.0, 3.0), {"kl": 1.0}])
def test_a_loss_is_made_of_terms(terms):
    with pytest.raises(ValueError, match="terms: expected ElboTerms, got"):
        batch_loss(terms, 1.0)


@pytest.mark.parametrize("beta", [-1, np.nan, "1", True, None])
def test_a_weight_is_a_number_of_at_least_zero(beta):
    with pytest.raises(ValueError, match="beta: expected a finite number of at least 0"):
        batch_loss(ElboTerms(X[:, 0], X[:, 1], -X[:, 0] - X[:, 1]), beta)


# ---- is it one? -----------------------------------------------------------------------------------------------------------


def test_weights_that_have_diverged_are_named():
    vae = build_vae(CONFIG)
    assert check_vae(vae, finite=True) is vae
    vae.decoder.layers[-1].kernel.assign(np.full((5, 6), np.inf))
    assert check_vae(vae) is vae
    with pytest.raises(ValueError, match="weights logits/kernel: expected finite numbers, got infinity; training has diverged"):
        check_vae(vae, finite=True)


@pytest.mark.parametrize("thing", [None, "vae", build_vae(CONFIG).decoder, CONFIG])
def test_something_else_is_no_vae(thing):
    with pytest.raises(ValueError, match=r"model: expected a VAE, got \w+; make one with build_vae\(config\)"):
        check_vae(thing, "model")


@pytest.mark.parametrize("method", ["predict", "predict_on_batch"])
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (255 * X, "divide bytes by 255"),
        (X * np.nan, "NaNs"),
        (X[:, :4], r"expected shape \(images, 6\)"),
        (X[:0], "at least one image"),
        (None, "expected numbers, got NoneType"),
        (np.ma.masked_greater(X, 0.5), "hidden values"),
    ],
)
def test_predictions_refuse_what_is_no_image(method, x, message):
    with pytest.raises(ValueError, match=f"x: .*{message}"):
        getattr(build_vae(CONFIG), method)(x)


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict", "train_on_batch"])
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X, r"x: expected the pair \[x, y\]"),
        ([X, Y, Y], "got a list of 3"),
        ({"x": X, "y": Y}, "got a dict"),
        (None, "got a NoneType"),
        ([X, Y * np.nan], r"x\[1\]: .*nan"),
        ([X, 5 * Y], r"x\[1\]: expected values in \[0, 1\]"),
    ],
)
def test_a_conditional_vae_refuses_what_is_no_pair(method, x, message):
    vae = build_vae(LABELLED)
    vae.compile("adam")
    with pytest.raises(ValueError, match=message):
        getattr(vae, method)(x)
    assert vae.trained == []


@pytest.mark.parametrize("data", [(X, Y), [X, Y], ([X, Y],), ([X, Y], X), ((X, Y), None)])
def test_the_validation_pair_of_a_conditional_vae_is_taken_in_each_form(data):
    vae = build_vae(LABELLED)
    vae.compile(keras.optimizers.Adam(0.01))
    history = vae.fit([X, Y], validation_data=data, verbose=0).history
    mu, log_var = vae.encoder([X, Y])
    kl = 0.5 * (np.exp(to_numpy(log_var)) + to_numpy(mu) ** 2 - 1 - to_numpy(log_var)).sum(axis=1).mean()
    assert history["val_kl"] == pytest.approx([kl], rel=1e-4)


def test_validation_data_are_refused_before_training_wherever_they_stand():
    vae = build_vae(CONFIG)
    vae.compile("adam")
    with pytest.raises(ValueError, match=r"validation_data: .*divide bytes by 255"):
        vae.fit(X, None, 10, 1, 0, None, 0.0, 255 * X)
    with pytest.raises(ValueError, match="sample_weight"):
        vae.fit(X, verbose=0, validation_data=(X, X, np.ones(20)))
    assert vae.trained == []


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_sample_weights_are_refused_without_targets_too(method):
    vae = build_vae(CONFIG)
    vae.compile("adam")
    with pytest.raises(ValueError, match="sample_weight: expected none"):
        getattr(vae, method)(X, sample_weight=np.ones(20))


@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_frozen_part_can_be_released_in_a_copy(make, part, tmp_path):
    vae = build_vae(CONFIG)
    getattr(vae, part).trainable = False
    other = make(vae, tmp_path)
    assert len(other.trainable_variables) == len(vae.trainable_variables)
    getattr(other, part).trainable = True
    assert len(other.trainable_variables) == len(vae.encoder.variables + vae.decoder.variables)


@pytest.mark.parametrize("frozen", [5, None, [[]]])
def test_a_configuration_with_a_wrong_list_of_frozen_layers_is_refused(frozen):
    with pytest.raises(ValueError, match=r"expected what VAE\.get_config returns"):
        VAE.from_config({**build_vae(CONFIG).get_config(), "frozen": frozen})


@pytest.mark.parametrize("record", [b"", b"[", b"3", b"null", b"[" * 100_000, b"\xff"])
def test_a_damaged_record_of_trainings_is_refused(record):
    with pytest.raises(ValueError, match="trained: expected"):
        build_vae(CONFIG).load_own_variables({"trained": np.frombuffer(record, np.uint8)})


def test_the_mean_loss_does_not_overflow_in_half_precision():
    """Twelve nats an image, and 9,000 images: float16 ends at 65,504."""
    x = np.random.default_rng(0).random((9000, 16), dtype=np.float32)
    config = TrainConfig(input_dim=16, hidden=(8,))

    def measured():
        vae = build_vae(config)
        vae.compile("adam")
        return vae.evaluate(x, batch_size=1000, verbose=0, return_dict=True)

    expected = measured()
    keras.config.set_floatx("float16")
    try:
        assert measured() == pytest.approx(expected, rel=1e-5)
    finally:
        keras.config.set_floatx("float32")


def test_long_doubles_are_taken_as_numbers():
    x = X.astype(np.longdouble)
    np.testing.assert_array_equal(to_numpy(bernoulli_log_prob(x, X)), to_numpy(bernoulli_log_prob(X.astype(float), X)))
