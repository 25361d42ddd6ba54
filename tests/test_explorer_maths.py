"""The explorer's networks and its ledger, as the browser computes them, against Keras, the library's exact log p(x) and SciPy."""

import base64

import keras
import numpy as np
import pytest
from in_node import in_node
from scipy.stats import multivariate_normal

import vae_lib
from vae_lib.widgets.pack import pack_dense_layers, pack_encoder

IMAGES = 8  # whose ledger is compared

SCRIPT = """
import { encode, forward, sigmoid, unpackEncoder, unpackLayers } from "./network.js";
import { bernoulliLogProb, ledger } from "./explorer_maths.js";
const bytes = (name) => new Uint8Array(Buffer.from(given[name], "base64")).buffer;
const rows = (name, width) => {
  const all = new Float32Array(bytes(name));
  return Array.from({ length: all.length / width }, (_, i) => all.subarray(i * width, (i + 1) * width));
};
const decoder = unpackLayers(given.decoder, new DataView(bytes("decoder_weights")));
const encoder = unpackEncoder(given.encoder, new DataView(bytes("encoder_weights")));
const text64 = (lists) => Buffer.from(Float32Array.from(lists.flatMap((list) => [...list])).buffer).toString("base64");
const codes = rows("x", 784).map((x) => encode(encoder, x));
answer({
  pixels: text64(rows("z", 2).map((z) => forward(decoder, z).map(sigmoid))),
  mu: text64(codes.map(({ mu }) => mu)),
  log_var: text64(codes.map(({ logVar }) => logVar)),
  ledgers: rows("x", 784).slice(0, given.images).map((x, i) => ({
    ...ledger(decoder, x, codes[i].mu, codes[i].logVar), here: bernoulliLogProb(x, forward(decoder, codes[i].mu)),
  })).map(({ posterior, ...rest }) => ({ ...rest, posterior: [...posterior] })),
});
"""


def text64(array):
    return base64.b64encode(np.asarray(array, "<f4").tobytes()).decode()


def read64(text, width):
    return np.frombuffer(base64.b64decode(text), "<f4").astype(float).reshape(-1, width)


@pytest.fixture(scope="module")
def vae():
    return vae_lib.pretrained("mnist-2d")


@pytest.fixture(scope="module")
def asked(mnist_or_digits):
    """1,000 latents, the sliders' corners among them, and up to 1,000 test images."""
    z = np.random.default_rng(0).standard_normal((1000, 2)).astype(np.float32)
    z[:4] = [[3.5, 3.5], [-3.5, 3.5], [3.5, -3.5], [-3.5, -3.5]]
    return z, mnist_or_digits.x_test[: min(1000, len(mnist_or_digits.x_test) // 2)]


@pytest.fixture(scope="module")
def browser(vae, asked, mnist_or_digits):
    """What the page's JavaScript makes of them; the encoder's rounding is fitted to other images."""
    z, x = asked
    decoder, decoder_weights = pack_dense_layers(vae.decoder)
    encoder, encoder_weights = pack_encoder(vae, mnist_or_digits.x_test[-len(mnist_or_digits.x_test) // 2 :][:2000])
    given = {
        "decoder": decoder, "decoder_weights": base64.b64encode(decoder_weights).decode(),
        "encoder": encoder, "encoder_weights": base64.b64encode(encoder_weights).decode(),
        "z": text64(z), "x": text64(x), "images": IMAGES,
    }  # fmt: skip
    return in_node(SCRIPT, given)


def log_joint(vae, x, z):
    """log p(x|z) + log p(z) of one image at many z, (points,): Keras decodes, SciPy knows the prior."""
    logits = keras.ops.convert_to_numpy(vae.decoder(z.astype(np.float32))).astype(float)
    return logits @ x - np.logaddexp(0, logits).sum(axis=1) + multivariate_normal(np.zeros(2)).logpdf(z)


def test_1000_latents_are_decoded_as_keras_does(vae, asked, browser):
    exact = 1 / (1 + np.exp(-keras.ops.convert_to_numpy(vae.decoder(asked[0])).astype(float)))
    assert np.abs(read64(browser["pixels"], 784) - exact).max() < 2e-3


def test_1000_test_images_are_encoded_as_keras_does(vae, asked, browser, mnist_or_digits):
    for name, exact in zip(("mu", "log_var"), vae.encoder(asked[1]), strict=True):
        # the digits that stand in for MNIST are strange to the encoder, and fewer to fit the rounding to
        assert np.abs(read64(browser[name], 2) - np.asarray(exact)).max() < (2e-3 if mnist_or_digits.is_mnist else 1e-2)


def test_the_kl_is_the_librarys_within_a_hundredth(vae, asked, browser):
    mu, log_var = vae.encoder(asked[1][:IMAGES])
    np.testing.assert_allclose([entry["kl"] for entry in browser["ledgers"]], vae_lib.gaussian_kl(mu, log_var), atol=0.01)


def test_the_elbo_is_that_of_a_fine_quadrature_within_a_tenth(vae, asked, browser):
    axis = np.linspace(-6, 6, 49)
    eps = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    weights = multivariate_normal(np.zeros(2)).pdf(eps) * (axis[1] - axis[0]) ** 2
    for i, entry in enumerate(browser["ledgers"]):
        mu, log_var = (keras.ops.convert_to_numpy(part)[0].astype(float) for part in vae.encoder(asked[1][i : i + 1]))
        z = mu + np.exp(0.5 * log_var) * eps
        log_q = multivariate_normal(mu, np.diag(np.exp(log_var))).logpdf(z)
        expected = weights @ (log_joint(vae, asked[1][i].astype(float), z) - log_q)
        assert entry["elbo"] == pytest.approx(expected, abs=0.1)
        assert entry["elbo"] == pytest.approx(-entry["reconstruction"] - entry["kl"], abs=1e-9)


def test_log_px_is_exact_within_a_tenth_and_the_gap_is_a_kl(vae, asked, browser):
    exact = vae_lib.exact_log_px(vae, asked[1][:IMAGES], tol=0.002).log_px
    np.testing.assert_allclose([entry["logPx"] for entry in browser["ledgers"]], exact, atol=0.1)
    for entry in browser["ledgers"]:
        assert entry["gap"] == pytest.approx(entry["logPx"] - entry["elbo"], abs=1e-9)
        assert entry["gap"] > 0


def test_the_posterior_stands_where_it_is(vae, asked, browser):
    exact = vae_lib.exact_log_px(vae, asked[1][:IMAGES], tol=0.002).log_px
    for x, log_px, entry in zip(asked[1], exact, browser["ledgers"], strict=False):
        grid, values = entry["grid"], np.array(entry["posterior"]).reshape(entry["grid"]["n"], -1)
        rows, columns = np.nonzero(values > values.max() - 3)  # what the outermost contour, of 95 % of the mass, encloses
        z = np.stack([grid["x0"] + columns * grid["step"], grid["y0"] + rows * grid["step"]], axis=1)
        difference = values[rows, columns] - (log_joint(vae, x.astype(float), z) - log_px)
        assert np.sqrt(np.mean(difference**2)) < 0.1


def test_log_p_of_an_image_given_its_code(vae, asked, browser):
    for x, entry in zip(asked[1], browser["ledgers"], strict=False):
        mu = keras.ops.convert_to_numpy(vae.encoder(x[None])[0]).astype(float)
        expected = log_joint(vae, x.astype(float), mu) - multivariate_normal(np.zeros(2)).logpdf(mu)
        assert entry["here"] == pytest.approx(expected[0], abs=0.1)
