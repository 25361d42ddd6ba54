"""Training in the browser: what travels, its sliders, what it refuses; its JavaScript against Keras, NumPy and SciPy."""

import base64
import gzip
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from in_node import in_node
from ipywidgets import FloatLogSlider, FloatSlider
from scipy import stats
from scipy.special import entr, expit, xlogy

import vae_lib
from vae_lib import BrowserTraining, TrainConfig
from vae_lib.plots import DIGIT_COLORS
from vae_lib.widgets.browser_training import BrowserTrainingCanvas

MOST_BYTES = 250_000  # of a page, gzipped, that the widget may take
RNG = np.random.default_rng(0)
X, LABELS = RNG.random((60, 64), dtype=np.float32) * (RNG.random((60, 64)) < 0.4), np.arange(60) % 10


def maths(code, given):
    """Run JavaScript with the widget's maths as M."""
    return in_node('import * as M from "./browser_training_maths.js";\n' + code, given)


def parts(widget):
    canvas, rate, beta = widget.children
    assert isinstance(canvas, BrowserTrainingCanvas)
    assert isinstance(rate, FloatLogSlider)
    assert isinstance(beta, FloatSlider)
    return canvas, rate, beta


def test_the_images_that_travel_are_those_that_python_shows():
    widget = BrowserTraining(X, LABELS, config=TrainConfig(input_dim=16, hidden=(8,)))
    means = X.reshape(60, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(60, 16)
    assert widget.x.dtype == np.float32
    assert np.abs(widget.x - means).max() <= 0.5001 / 15
    canvas, *_ = parts(widget)
    read = maths(
        "const bytes = Uint8Array.from(atob(given.images), (c) => c.charCodeAt(0));"
        "console.log(JSON.stringify([...M.unpackNibbles(bytes, 960)]));",
        {"images": base64.b64encode(canvas.images).decode()},
    )
    np.testing.assert_array_equal(np.float32(read).reshape(60, 16), widget.x)
    assert list(canvas.labels) == widget.labels.tolist() == LABELS.tolist()
    assert (canvas.image_shape, canvas.hidden, canvas.batch_size, canvas.seed) == ([4, 4], 8, 50, 0)
    assert canvas.colors == list(DIGIT_COLORS)
    np.testing.assert_allclose(canvas.quantiles, stats.norm.ppf((np.arange(9) + 0.5) / 9), atol=1e-9)


def test_images_are_shrunk_only_as_far_as_is_asked():
    assert BrowserTraining(X, LABELS, shrink=1).x.shape == (60, 64)
    assert BrowserTraining(X, LABELS, shrink=4).x.shape == (60, 4)
    odd = BrowserTraining(X[:, :9], LABELS, shrink=3, config=TrainConfig(input_dim=1, hidden=(2,)))
    assert len(parts(odd)[0].images) == 30


def test_the_sliders_are_linked_in_the_browser():
    widget = BrowserTraining(X, LABELS, config=TrainConfig(input_dim=16, hidden=(8,), learning_rate=0.02, beta=3.0))
    canvas, rate, beta = parts(widget)
    ends = [(link.source, link.target) for link in widget._links]
    assert ends == [((rate, "value"), (canvas, "learning_rate")), ((beta, "value"), (canvas, "beta"))]
    assert all(type(link).__name__ == "Link" for link in widget._links)
    assert (rate.value, canvas.learning_rate, widget.learning_rate) == pytest.approx((0.02,) * 3)
    assert (beta.value, canvas.beta, widget.beta) == (3, 3, 3)
    assert (10**rate.min, 10**rate.max) == pytest.approx((1e-4, 0.3))
    spoken = [getattr(control, "tooltip", None) or control.description_tooltip for control in (rate, beta)]  # ipywidgets 8, 7
    assert spoken == ["Learning rate", "Weight β of the KL"]
    widget.learning_rate, widget.beta = 0.1, 0
    assert (rate.value, canvas.learning_rate, beta.value, canvas.beta) == pytest.approx((0.1, 0.1, 0, 0))


def test_the_configuration_is_that_of_the_same_training_in_python():
    images = np.zeros((1000, 784), np.float32)
    widget = BrowserTraining(images, np.zeros(1000, int))
    assert (widget.config.input_dim, widget.config.hidden, widget.config.latent_dim) == (196, (64,), 2)
    assert widget.config.epochs * 1000 / widget.config.batch_size == 2000  # steps
    vae_lib.build_vae(widget.config)


def test_the_still_picture_shows_images_and_their_principal_components():
    widget = BrowserTraining(X, LABELS)
    left, right = widget._still().axes
    np.testing.assert_array_equal(np.asarray(left.images[0].get_array())[4:8, 4:8].ravel(), widget.x[11])
    drawn = np.concatenate([np.column_stack(line.get_data()) for line in right.lines])
    centred = widget.x - widget.x.mean(axis=0)
    variances = np.linalg.eigvalsh(centred.T @ centred)[::-1][:2]  # of the principal components
    np.testing.assert_allclose((drawn**2).sum(axis=0), variances, rtol=1e-4)


def test_a_page_holds_it_in_250_kilobytes_however_little_can_be_compressed():
    """As many images as the chapter has, all of them noise."""
    widget = BrowserTraining(RNG.random((1000, 784)), np.arange(1000) % 10)
    state = {
        key: base64.b64encode(value).decode() if isinstance(value, bytes | memoryview) else value
        for key, value in parts(widget)[0].get_state().items()
    }
    assert len(gzip.compress(json.dumps(state, default=str).encode())) < MOST_BYTES


BAD = {
    "one image": ({"x": X[0]}, r"x: expected 1 to 5,000 square images as rows, \(images, side²\), got \(64,\)"),
    "images that are no squares": ({"x": X[:, :60]}, r"square images as rows, \(images, side²\), got \(60, 60\)"),
    "too many images": ({"x": np.zeros((5001, 4)), "labels": np.zeros(5001)}, "expected 1 to 5,000 square images"),
    "grey values above 1": ({"x": 2 * X}, r"x: expected values in \[0, 1\]"),
    "a label too few": ({"labels": LABELS[1:]}, "expected codes .* and labels"),
    "a label that is no digit": ({"labels": LABELS + 1}, "labels: expected digits from 0 to 9"),
    "a shrink that leaves a rest": ({"shrink": 3}, "shrink: expected a whole number that divides the images' side of 8"),
    "no shrink": ({"shrink": 0}, "shrink: expected a whole number"),
    "half a shrink": ({"shrink": 0.5}, "shrink: expected a whole number"),
    "shrink=True": ({"shrink": True}, "shrink: expected a whole number"),
    "a dictionary": ({"config": {"beta": 1}}, "config: expected a TrainConfig, got dict; write TrainConfig"),
    "another image size": ({"config": TrainConfig()}, "config: expected input_dim=16, latent_dim=2 and one hidden width"),
    "three dimensions": ({"config": TrainConfig(input_dim=16, latent_dim=3)}, "config: expected input_dim=16, latent_dim=2"),
    "two hidden layers": ({"config": TrainConfig(input_dim=16, hidden=(8, 8))}, "and one hidden width such as"),
    "a batch of all and more": ({"config": TrainConfig(input_dim=16, batch_size=61)}, "expected at most the 60 images"),
    "a rate beyond the slider": (
        {"config": TrainConfig(input_dim=16, learning_rate=1.0)},
        "config.learning_rate: expected a finite number from 0.0001 to 0.3, got 1.0",
    ),
    "a beta beyond the slider": ({"config": TrainConfig(input_dim=16, beta=11.0)}, "config.beta: expected a finite number from"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        BrowserTraining(**{"x": X, "labels": LABELS} | arguments)


@pytest.mark.parametrize(("name", "value"), [("learning_rate", 0), ("learning_rate", np.nan), ("beta", -1), ("beta", "low")])
def test_a_bad_setting_is_refused_and_changes_nothing(name, value):
    widget = BrowserTraining(X, LABELS)
    before = getattr(widget, name)
    with pytest.raises(ValueError, match=f"{name}: expected a finite number from"):
        setattr(widget, name, value)
    assert getattr(widget, name) == before


SIZES = {"pixels": 16, "hidden": 8, "batch": 10}
CONFIG = TrainConfig(input_dim=16, hidden=(8,), latent_dim=2, seed=4)
BATCHES, EPS = X[:50, :16].reshape(5, 10, 16), RNG.standard_normal((5, 10, 2)).astype(np.float32)

GRADIENTS = """
const net = new M.Network(given.sizes);
console.log(JSON.stringify(given.batches.map((batch, i) => {
  net.weights.set(given.weights[i]);
  net.x.set(batch.flat());
  M.lossAndGradients(net, Float32Array.from(given.eps[i].flat()), given);
  return { reconstruction: net.reconstruction, kl: net.kl, gradients: [...net.gradients] };
})));
"""
ADAM = """
const net = new M.Network(given.sizes);
net.weights.set(given.weights);
console.log(JSON.stringify(given.gradients.map((gradients) => {
  net.gradients.set(gradients);
  M.adamStep(net, 0.01);
  return [...net.weights];
})));
"""


def keras_step(vae, batch, eps, noise, beta):
    """Loss terms, and the gradients that autodiff finds, from the library's one definition of the objective."""
    with tf.GradientTape() as tape:
        mu, log_var = vae.encoder(batch)
        z = mu + noise * keras.ops.exp(0.5 * log_var) * eps
        terms = vae_lib.elbo_terms(batch, vae.decoder(z), mu, log_var)
        loss = vae_lib.batch_loss(terms, beta)
    gradients = tape.gradient(loss, [variable.value for variable in vae.trainable_variables])
    filled = [np.zeros(v.shape) if g is None else np.asarray(g) for g, v in zip(gradients, vae.trainable_variables, strict=True)]
    return terms, filled


def flat(arrays):
    return np.concatenate([np.ravel(array) for array in arrays])


@pytest.mark.tensorflow_only  # its gradients come from a tape
@pytest.mark.parametrize(("noise", "beta"), [(1, 1.0), (1, 0.0), (1, 4.0), (0, 1.0), (0, 0.0)])
def test_losses_and_gradients_are_those_of_keras(noise, beta):
    vae = vae_lib.build_vae(CONFIG)
    variables = vae.trainable_variables
    weights = [flat(variables) + 0.2 * RNG.standard_normal(flat(variables).size) for _ in BATCHES]
    weights = np.float32(weights)
    given = {"sizes": SIZES, "weights": weights.tolist(), "batches": BATCHES.tolist(), "eps": EPS.tolist()}
    answers = maths(GRADIENTS, given | {"noise": noise, "beta": beta})
    for answer, weight, batch, eps in zip(answers, weights, BATCHES, EPS, strict=True):
        ends = np.cumsum([np.prod(variable.shape, dtype=int) for variable in variables])
        for variable, part in zip(variables, np.split(weight, ends[:-1]), strict=True):
            variable.assign(part.reshape(variable.shape))
        terms, gradients = keras_step(vae, batch, eps, noise, beta)
        assert answer["reconstruction"] == pytest.approx(float(keras.ops.mean(terms.reconstruction)), rel=1e-6)
        assert answer["kl"] == pytest.approx(float(keras.ops.mean(terms.kl)), rel=1e-5)
        expected = flat(gradients)
        np.testing.assert_allclose(answer["gradients"], expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())


def test_adams_steps_are_those_of_keras():
    """For gradients of very different sizes, some of them zero, some that change their sign."""
    count = 340
    start = RNG.standard_normal(count).astype(np.float32)
    sizes = 10 ** RNG.uniform(-8, 3, count) * (RNG.random(count) > 0.1)
    gradients = np.float32(sizes * RNG.standard_normal((20, count)))
    variable, optimizer = keras.Variable(start), keras.optimizers.Adam(0.01)
    answers = maths(ADAM, {"sizes": SIZES, "weights": start.tolist(), "gradients": gradients.tolist()})
    for answer, gradient in zip(answers, gradients, strict=True):
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        np.testing.assert_allclose(answer, keras.ops.convert_to_numpy(variable), rtol=1e-5, atol=2e-6)
    assert np.abs(keras.ops.convert_to_numpy(variable) - start).max() > 0.02


RUN = """
const training = new M.Training({ images: Float32Array.from(given.images), ...given.sizes, seed: 9 });
const start = [...training.net.weights];
const steps = Array.from({ length: given.steps }, () => {
  training.step(given);
  const { rows, eps, net } = training;
  return { rows: [...rows], eps: [...eps], loss: net.reconstruction + given.beta * net.kl };
});
const landmarks = M.landmarksOf(training.images, given.sizes.pixels);
console.log(JSON.stringify({ start, steps, end: [...training.net.weights], landmarks }));
"""


def numpy_adam(weights, images, steps, beta, rate):
    """The same training once more, in double precision, with its gradients by the chain rule on whole matrices."""
    moments = [(np.zeros_like(w), np.zeros_like(w)) for w in weights]
    losses = []
    for t, (rows, eps) in enumerate(steps, start=1):
        w1, b1, wm, bm, wv, bv, w2, b2, w3, b3 = weights
        x = images[rows]
        h = np.maximum(x @ w1 + b1, 0)
        mu, lv = h @ wm + bm, h @ wv + bv
        s = np.exp(lv / 2)
        g = np.maximum((mu + s * eps) @ w2 + b2, 0)
        logits = g @ w3 + b3
        losses.append(np.mean((np.logaddexp(0, logits) - x * logits).sum(1) + beta / 2 * (s**2 + mu**2 - 1 - lv).sum(1)))
        d3 = (expit(logits) - x) / len(x)
        d2 = d3 @ w3.T * (g > 0)
        dz = d2 @ w2.T
        dm, dv = dz + beta * mu / len(x), dz * s * eps / 2 + beta * (s**2 - 1) / 2 / len(x)
        d1 = (dm @ wm.T + dv @ wv.T) * (h > 0)
        pairs = [(x, d1), (h, dm), (h, dv), (mu + s * eps, d2), (g, d3)]
        gradients = [array for inputs, delta in pairs for array in (inputs.T @ delta, delta.sum(0))]
        moments = [(0.9 * m + 0.1 * d, 0.999 * v + 0.001 * d * d) for (m, v), d in zip(moments, gradients, strict=True)]
        scale = rate * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        weights = [w - scale * m / (np.sqrt(v) + 1e-7) for w, (m, v) in zip(weights, moments, strict=True)]
    return np.array(losses), weights


def test_a_training_is_what_numpy_makes_of_the_same_images_and_noise(digits):
    """A hundred steps with the sampler's own choices; errors of single precision grow with the steps."""
    images = BrowserTraining(digits.x_train[:200], digits.y_train[:200], shrink=4).x.astype(float)  # 7×7
    sizes = {"pixels": 49, "hidden": 12, "batch": 25}
    settings = {"learningRate": 0.01, "beta": 1.5, "noise": 1}
    answer = maths(RUN, {"images": images.ravel().tolist(), "sizes": sizes, "steps": 100} | settings)
    shapes = [np.shape(w) for w in vae_lib.build_vae(TrainConfig(input_dim=49, hidden=(12,))).trainable_variables]
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])
    start = [part.reshape(shape) for part, shape in zip(np.split(np.array(answer["start"]), ends[:-1]), shapes, strict=True)]
    steps = [(step["rows"], np.reshape(step["eps"], (25, 2))) for step in answer["steps"]]
    expected, weights = numpy_adam(start, images, steps, 1.5, 0.01)
    losses = np.array([step["loss"] for step in answer["steps"]])
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    np.testing.assert_allclose(answer["end"], flat(weights), atol=1e-3)
    assert losses[-10:].mean() < 0.8 * losses[:10].mean()
    mean = images.mean(axis=0)
    assert answer["landmarks"]["floor"] == pytest.approx((entr(images) + entr(1 - images)).sum(axis=1).mean())
    collapsed = -(xlogy(images, mean) + xlogy(1 - images, 1 - mean)).sum(axis=1).mean()
    assert answer["landmarks"]["collapsed"] == pytest.approx(collapsed)


def words(seed):
    """xoshiro128** in Python's whole numbers, seeded by splitmix32."""
    low, state = 2**32 - 1, []
    for i in range(1, 5):
        word = (seed + i * 0x9E3779B9) & low
        word = (word ^ word >> 16) * 0x21F0AAAD & low
        word = (word ^ word >> 15) * 0x735A2D97 & low
        state.append(word ^ word >> 15)
    turn = lambda value, by: (value << by | value >> 32 - by) & low  # noqa: E731
    a, b, c, d = state
    while True:
        yield turn(b * 5 & low, 7) * 9 & low
        c, d, shifted = c ^ a, d ^ b, b << 9 & low
        b, a, c, d = b ^ c, a ^ d, c ^ shifted, turn(d, 11)


def test_random_numbers_are_those_of_xoshiro_and_distributed_as_they_should_be():
    code = """
    const draw = (name, length, random = new M.Random(given.seed)) => Array.from({ length }, () => random[name]());
    const random = new M.Random(1);
    const shuffled = () => { const order = [0, 1, 2]; random.shuffle(order); return order.join(""); };
    const orders = Array.from({ length: 6000 }, shuffled);
    console.log(JSON.stringify({ words: draw("word", 200), uniform: draw("uniform", 2e4), normal: draw("normal", 2e4), orders }));
    """
    answer = maths(code, {"seed": 12345})
    generator = words(12345)
    assert answer["words"] == [next(generator) for _ in range(200)]
    assert stats.kstest(answer["uniform"], "uniform").pvalue > 0.01
    assert stats.kstest(answer["normal"], "norm").pvalue > 0.01
    pairs = np.reshape(answer["normal"], (-1, 2))
    assert abs(np.corrcoef(pairs.T)[0, 1]) < 4 / np.sqrt(len(pairs))
    counts = np.unique(answer["orders"], return_counts=True)[1]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 0.01
