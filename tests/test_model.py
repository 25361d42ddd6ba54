"""The VAE as an ordinary Keras model: shapes, shared weights, fit and its metrics, serialisation."""

import keras
import numpy as np
import pytest

from vae_lib import VAE, Sampling, TrainConfig, build_vae, elbo_terms, free_bits_kl, sample_gaussian, with_label
from vae_lib.weights import _count

SMALL = TrainConfig(hidden=(16, 8), latent_dim=3, seed=1)

numpy_of = keras.ops.convert_to_numpy


def weights_of(model):
    return [np.asarray(weight) for weight in model.get_weights()]


def compiled(vae, **options):
    vae.compile("adam", **options)
    return vae


# ---- the three models -----------------------------------------------------------------------------------------------------


def test_the_network_of_the_post():
    vae = build_vae()
    widths = [tuple(weight.shape) for weight in vae.trainable_variables if len(weight.shape) == 2]
    assert widths == [(784, 512), (512, 2), (512, 2), (2, 512), (512, 784)]
    biases = 512 + 2 + 2 + 512 + 784
    assert sum(int(np.prod(weight.shape)) for weight in vae.trainable_variables) == 2 * 784 * 512 + 3 * 512 * 2 + biases


@pytest.mark.parametrize("latent_dim", [1, 2, 7])
@pytest.mark.parametrize("hidden", [(4,), (8, 4), (4, 8, 16)])
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.backends
def test_shapes(latent_dim, hidden, batch):
    vae = build_vae(TrainConfig(input_dim=12, latent_dim=latent_dim, hidden=hidden))
    x = np.random.default_rng(0).random((batch, 12), dtype=np.float32)
    mu, log_var = vae.encoder(x)
    assert mu.shape == log_var.shape == (batch, latent_dim)
    assert vae.decoder(mu).shape == (batch, 12)
    assert {name: tuple(value.shape) for name, value in vae(x).items()} == {
        "reconstruction": (batch, 12), "logits": (batch, 12), "mu": (batch, latent_dim), "log_var": (batch, latent_dim),
        "z": (batch, latent_dim),
    }  # fmt: skip


def test_the_encoder_is_a_relu_network():
    vae = build_vae(TrainConfig(input_dim=6, latent_dim=2, hidden=(5,), seed=2))
    kernel, bias, mu_kernel, mu_bias, var_kernel, var_bias = weights_of(vae.encoder)
    x = np.random.default_rng(1).random((4, 6), dtype=np.float32)
    hidden = np.maximum(x @ kernel + bias, 0)
    mu, log_var = vae.encoder(x)
    np.testing.assert_allclose(mu, hidden @ mu_kernel + mu_bias, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(log_var, hidden @ var_kernel + var_bias, rtol=1e-5, atol=1e-6)


def test_the_parts_of_the_answer_fit_together(images):
    vae = build_vae(SMALL)
    answer = {name: np.asarray(value) for name, value in vae(images).items()}
    np.testing.assert_allclose(answer["logits"], vae.decoder(answer["z"]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(answer["reconstruction"], 1 / (1 + np.exp(-answer["logits"])), rtol=1e-5)
    np.testing.assert_allclose(answer["mu"], vae.encoder(images)[0], rtol=1e-5, atol=1e-6)
    eps = (answer["z"] - answer["mu"]) / np.exp(0.5 * answer["log_var"])
    assert abs(eps.mean()) < 4 / np.sqrt(eps.size)
    assert eps.std() == pytest.approx(1, abs=4 / np.sqrt(2 * eps.size))


def test_encoder_and_decoder_share_their_weights_with_the_whole(images):
    vae = compiled(build_vae(SMALL))
    before = weights_of(vae.encoder) + weights_of(vae.decoder)
    vae.fit(images, batch_size=25, verbose=0)
    after = weights_of(vae.encoder) + weights_of(vae.decoder)
    assert all((one != other).any() for one, other in zip(before, after, strict=True))
    own = {id(variable) for variable in vae.trainable_variables}
    assert own == {id(variable) for part in (vae.encoder, vae.decoder) for variable in part.trainable_variables}


def test_one_seed_gives_one_model():
    for one, other in zip(weights_of(build_vae(SMALL)), weights_of(build_vae(SMALL)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("seed", [0, 2, 10**9])
def test_another_seed_gives_another_model(seed):
    for one, other in zip(
        build_vae(SMALL).trainable_variables, build_vae(SMALL.replace(seed=seed)).trainable_variables, strict=True
    ):
        if len(one.shape) == 2:  # biases start at zero
            assert (np.asarray(one.value) != np.asarray(other.value)).any()


def test_no_two_layers_start_alike():
    vae = build_vae(TrainConfig(input_dim=9, latent_dim=9, hidden=(9, 9, 9)))
    kernels = [np.asarray(weight.value) for weight in vae.trainable_variables if len(weight.shape) == 2]
    assert len({kernel.tobytes() for kernel in kernels}) == len(kernels) == 9


@pytest.mark.parametrize(
    "config", [SMALL, TrainConfig(), TrainConfig(input_dim=5, latent_dim=1, hidden=(1, 2, 3)), SMALL.replace(classes=4)]
)
def test_weights_are_counted_without_building(config):
    assert _count(config) == sum(int(np.prod(weight.shape)) for weight in build_vae(config).trainable_variables)


@pytest.mark.parametrize("config", [2, "mnist", {"latent_dim": 2}])
def test_a_configuration_must_be_one(config):
    with pytest.raises(ValueError, match=r"config: expected a TrainConfig, got \w+; write TrainConfig\(latent_dim=2\)"):
        build_vae(config)


def test_images_of_another_width_are_refused():
    with pytest.raises(ValueError, match="784"):
        build_vae(SMALL)(np.zeros((2, 700), np.float32))


# ---- Keras's own methods --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.0, 1.0, 3.0])
def test_the_loss_is_reconstruction_plus_beta_times_kl(images, beta):
    vae = compiled(build_vae(SMALL.replace(beta=beta)))
    logs = vae.evaluate(images, batch_size=30, verbose=0, return_dict=True)  # the last batch is shorter
    assert logs["loss"] == pytest.approx(logs["reconstruction"] + beta * logs["kl"], rel=1e-6)
    mu, log_var = (np.asarray(value, dtype=float) for value in vae.encoder(images))
    assert logs["kl"] == pytest.approx(0.5 * (np.exp(log_var) + mu**2 - 1 - log_var).sum(axis=1).mean(), rel=1e-4)


def test_evaluate_is_the_mean_of_the_terms(images):
    vae = compiled(build_vae(SMALL))
    noise = keras.random.SeedGenerator(SMALL.seed)  # the sequence of the model's own layer
    terms = []
    for start in range(0, 100, 40):
        mu, log_var = vae.encoder(images[start : start + 40])
        logits = vae.decoder(sample_gaussian(mu, log_var, seed=noise))
        terms.append(np.stack(elbo_terms(images[start : start + 40], logits, mu, log_var)))
    reconstruction, kl, elbo = np.concatenate(terms, axis=1).mean(axis=1)
    logs = vae.evaluate(images, batch_size=40, verbose=0, return_dict=True)
    assert logs == pytest.approx({"loss": -elbo, "reconstruction": reconstruction, "kl": kl}, rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"run_eagerly": True}, {"jit_compile": True}], ids=["graph", "eager", "XLA"])
def test_fit_lowers_the_loss(images, options):
    history = compiled(build_vae(SMALL), **options).fit(images, batch_size=30, epochs=4, verbose=0).history
    assert set(history) == {"loss", "reconstruction", "kl"}
    assert history["loss"][-1] < history["loss"][0]


def test_fit_takes_images_as_their_own_targets(images):
    plain, doubled = (compiled(build_vae(SMALL)) for _ in range(2))
    first = plain.fit(images, batch_size=30, shuffle=False, verbose=0).history
    second = doubled.fit(images, images, batch_size=30, shuffle=False, verbose=0).history
    assert {name: float(second[name][0]) for name in second} == pytest.approx({name: first[name][0] for name in first})


def test_fit_validates(images):
    history = compiled(build_vae(SMALL)).fit(images, validation_data=(images, images), verbose=0).history
    assert {"val_loss", "val_reconstruction", "val_kl"} <= set(history)


def test_the_loss_does_not_grow_with_the_data(images):
    once, twice = (compiled(build_vae(SMALL)).evaluate(x, verbose=0)[0] for x in (images, np.concatenate([images, images])))
    assert twice == pytest.approx(once, rel=0.01)  # other noise


def test_sample_weights_are_refused(images):
    with pytest.raises(ValueError, match="sample_weight: expected none"):
        compiled(build_vae(SMALL), run_eagerly=True).fit(images, images, sample_weight=np.ones(100), verbose=0)


def test_predict_gives_every_part_for_every_image(images):
    answer = build_vae(SMALL).predict(images, batch_size=30, verbose=0)
    assert answer["reconstruction"].shape == (100, 784)
    assert answer["z"].shape == (100, 3)
    assert ((answer["reconstruction"] > 0) & (answer["reconstruction"] < 1)).all()


def test_each_call_draws_anew(images):
    vae = build_vae(SMALL)
    first, second = vae(images), vae(images)
    np.testing.assert_array_equal(first["mu"], second["mu"])
    assert (np.asarray(first["z"]) != np.asarray(second["z"])).all()


def test_summary_names_the_parts():
    lines = []
    build_vae(SMALL).summary(print_fn=lambda line, **_: lines.append(line))
    text = "\n".join(lines)
    for part in ("encoder", "decoder", "sampling"):
        assert part in text
    assert "unbuilt" not in text


def test_keras_saves_and_loads_weights(tmp_path, images):
    vae = compiled(build_vae(SMALL))
    vae.fit(images, verbose=0)
    vae.save_weights(tmp_path / "vae.weights.h5")
    other = build_vae(SMALL.replace(seed=9))
    other.load_weights(tmp_path / "vae.weights.h5")
    for one, two in zip(weights_of(vae), weights_of(other), strict=True):
        np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(vae.encoder(images)[0], other.encoder(images)[0])


def test_is_a_keras_model():
    vae = build_vae(SMALL)
    assert isinstance(vae, VAE)
    assert isinstance(vae, keras.Model)
    assert vae.built


# ---- Sampling -------------------------------------------------------------------------------------------------------------


def test_sampling_is_made_again_from_its_configuration():
    layer = Sampling(seed=5, name="noise")
    again = Sampling.from_config(layer.get_config())
    assert (again.seed, again.name) == (5, "noise")
    zeros = np.zeros((3, 2), np.float32)
    np.testing.assert_array_equal(layer((zeros, zeros)), again((zeros, zeros)))


def test_sampling_works_in_a_functional_model_that_is_saved_and_loaded(tmp_path):
    x = keras.Input((6,))
    z = Sampling(seed=4, name="z")((keras.layers.Dense(2)(x), keras.layers.Dense(2)(x)))
    assert z.shape == (None, 2)
    model = keras.Model(x, z)
    inputs = np.random.default_rng(0).random((5, 6), dtype=np.float32)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(model(inputs), loaded(inputs), rtol=1e-6)


def test_sampling_gives_each_row_noise_of_its_own():
    zeros = np.zeros((500, 2), np.float32)
    z = np.asarray(Sampling(seed=0)((zeros, zeros)))
    assert len(np.unique(z)) == z.size


# ---- other values of the configuration ------------------------------------------------------------------------------------

LABELLED = TrainConfig(input_dim=6, latent_dim=2, hidden=(5, 4), classes=3, seed=2)


def one_hot(labels):
    return np.eye(3, dtype=np.float32)[labels]


@pytest.mark.backends
def test_tanh_networks():
    vae = build_vae(TrainConfig(input_dim=6, latent_dim=2, hidden=(5,), activation="tanh"))
    kernel, bias, out_kernel, out_bias = weights_of(vae.decoder)
    z = np.random.default_rng(1).normal(size=(4, 2)).astype(np.float32)
    np.testing.assert_allclose(numpy_of(vae.decoder(z)), np.tanh(z @ kernel + bias) @ out_kernel + out_bias, rtol=1e-5, atol=1e-6)


@pytest.mark.backends
def test_encoder_and_decoder_of_a_conditional_vae_take_the_label():
    vae = build_vae(LABELLED)
    rng, y = np.random.default_rng(0), one_hot([0, 2, 1, 2])
    x, z = rng.random((4, 6), dtype=np.float32), rng.normal(size=(4, 2)).astype(np.float32)
    weights = weights_of(vae.encoder)
    hidden = np.concatenate([x, y], axis=1)
    for kernel, bias in zip(weights[:4:2], weights[1:4:2], strict=True):
        hidden = np.maximum(hidden @ kernel + bias, 0)
    mu, log_var = vae.encoder([x, y])
    np.testing.assert_allclose(numpy_of(mu), hidden @ weights[4] + weights[5], rtol=1e-5, atol=1e-6)
    assert (log_var.shape, vae.decoder([z, y]).shape) == ((4, 2), (4, 6))
    assert vae((x, y))["logits"].shape == (4, 6)


@pytest.mark.backends
def test_a_conditional_vae_that_ignores_the_label_is_the_ordinary_one():
    conditional, plain = build_vae(LABELLED), build_vae(LABELLED.replace(classes=0))
    for variable, other in zip(conditional.trainable_variables, plain.trainable_variables, strict=True):
        value, inputs = np.array(numpy_of(variable)), other.shape[0]
        value[inputs:] = 0
        variable.assign(value)
        other.assign(value[:inputs])
    x, y = np.random.default_rng(0).random((4, 6), dtype=np.float32), one_hot([0, 2, 1, 2])
    for one, other in zip(conditional.encoder([x, y]), plain.encoder(x), strict=True):
        np.testing.assert_allclose(numpy_of(one), numpy_of(other), rtol=1e-6)
    np.testing.assert_allclose(numpy_of(conditional.decoder([x[:, :2], y])), numpy_of(plain.decoder(x[:, :2])), rtol=1e-6)


@pytest.mark.parametrize("label", [0, 1, np.int64(2)])
@pytest.mark.backends
def test_with_a_label_it_is_an_ordinary_vae(label):
    vae = build_vae(LABELLED)
    vae.decoder.layers[-1].bias.assign(np.arange(6.0))  # biases start at zero
    fixed = with_label(vae, label)
    assert fixed.config == LABELLED.replace(classes=0)
    x, y = np.random.default_rng(0).random((4, 6), dtype=np.float32), one_hot([label] * 4)
    for one, other in zip(fixed.encoder(x), vae.encoder([x, y]), strict=True):
        np.testing.assert_allclose(numpy_of(one), numpy_of(other), rtol=1e-5, atol=1e-6)
    by_label = numpy_of(vae.decoder([x[:, :2], y]))
    np.testing.assert_allclose(numpy_of(fixed.decoder(x[:, :2])), by_label, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("label", [3, -1, 1.0, "1", None, True])
@pytest.mark.backends
def test_labels_that_there_are_not(label):
    with pytest.raises(ValueError, match="label: expected a whole number from 0 to 2, got"):
        with_label(build_vae(LABELLED), label)


@pytest.mark.parametrize(("vae", "wanted"), [(build_vae(SMALL), "a conditional VAE"), (None, "a VAE"), ("mnist", "a VAE")])
def test_only_a_conditional_vae_has_labels(vae, wanted):
    with pytest.raises(ValueError, match=f"vae: expected {wanted}, got"):
        with_label(vae, 0)


def test_fit_trains_a_conditional_vae_with_free_bits():
    config = LABELLED.replace(free_bits=0.3, beta=2.0)
    vae = compiled(build_vae(config))
    x, y = np.random.default_rng(0).random((40, 6), dtype=np.float32), one_hot(np.arange(40) % 3)
    before = vae.evaluate((x, y), batch_size=40, verbose=0, return_dict=True)
    free = float(free_bits_kl(*vae.encoder([x, y]), 0.3))
    assert before["loss"] == pytest.approx(before["reconstruction"] + 2 * free, rel=1e-5)
    history = vae.fit((x, y), epochs=60, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize("change", [{"binarize": "dynamic"}, {"kl_warmup": 2}, {"learning_rate_end": 1e-4}])
def test_fit_says_what_only_train_does(images, change):
    vae = compiled(build_vae(SMALL.replace(**change)), run_eagerly=True)
    with pytest.raises(ValueError, match=r"fit: expected a configuration without binarize.*use vae_lib\.train"):
        vae.fit(images, verbose=0)
    assert vae.evaluate(images, verbose=0)[0] > 0
