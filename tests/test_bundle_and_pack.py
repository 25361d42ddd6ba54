"""What travels to the browser: one module of JavaScript, and the weights of Dense layers: float16, or rounded."""

import base64
import gzip

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

from vae_lib import TrainConfig, build_vae, pretrained
from vae_lib.widgets import bundle as bundle_module
from vae_lib.widgets.bundle import FOLDER, bundle
from vae_lib.widgets.pack import DECODER_BITS, pack_dense_layers, pack_encoder, run_packed, run_packed_encoder

# ---- bundle ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Take the widgets' files from an empty folder; gives a function that writes one."""
    monkeypatch.setattr(bundle_module, "FOLDER", tmp_path)

    def write(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")

    return write


WIDGETS = sorted(path.name for path in FOLDER.glob("*.js") if "export default" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", WIDGETS)
def test_a_widget_is_one_module_with_one_export(name):
    text = bundle(name)
    lines = [line.strip() for line in text.splitlines()]
    assert not [line for line in lines if line.startswith("import")]
    assert [line.split()[1].rstrip(";") for line in lines if line.startswith("export")] == ["default"]
    assert "</script" not in text


def test_the_latent_explorer_is_a_widget():
    assert "latent_explorer.js" in WIDGETS


def test_imports_are_put_in_place_in_order_and_once(folder):
    folder("deep.js", "export const two = 2;\n")
    folder("maths.js", 'import { two } from "./deep.js";\nexport function four() { return two * 2; }\nexport class Grid {}\n')
    folder("other.js", 'import { two } from "./deep.js";\nexport async function later() { return two; }\n')
    folder(
        "widget.js", 'import { four } from "./maths.js";\nimport { later } from "./other.js";\nexport default { four, later };\n'
    )
    lines = [line for line in bundle("widget.js").splitlines() if line]
    assert lines == [
        "const two = 2;", "function four() { return two * 2; }", "class Grid {}", "async function later() { return two; }",
        "export default { four, later };",
    ]  # fmt: skip


def test_an_import_over_several_lines_is_put_in_place(folder):
    folder("maths.js", "export const a = 1;\nexport const b = 2;\n")
    folder("widget.js", 'import {\n  a,\n  b,\n} from "./maths.js";\nexport default a + b;\n')
    assert [line for line in bundle("widget.js").splitlines() if line] == [
        "const a = 1;",
        "const b = 2;",
        "export default a + b;",
    ]


def test_a_file_without_imports_stays_as_it_is(folder):
    folder("widget.js", "export default {};\n")
    assert bundle("widget.js") == "export default {};\n"


@pytest.mark.parametrize("text", ["<!-- x", "'<script>'", "'</script>'", "'<SCRIPT src=x>'", "'</Script >'"])
@pytest.mark.parametrize("where", ["widget.js", "maths.js"])
def test_what_could_break_out_of_a_page_is_refused(folder, text, where):
    folder("maths.js", "export const a = 1;\n")
    folder("widget.js", 'import { a } from "./maths.js";\nexport default a;\n')
    with open(bundle_module.FOLDER / where, "a", encoding="utf-8") as file:
        file.write(f"const text = {text};\n")
    with pytest.raises(ValueError, match=r"widget\.js: expected JavaScript without '<!--' and '<script'"):
        bundle("widget.js")


@pytest.mark.parametrize(
    ("widget", "maths", "left"),
    [
        ('import * as maths from "./maths.js";', "", r"import \* as maths"),
        ('import maths from "./maths.js";', "", "import maths"),
        ("import { a } from './maths.js';", "", "import { a } from './maths.js'"),
        ('import { a } from "https://example.org/maths.js";', "", "import { a } from"),
        ('import { a } from "./maths.js";', "const a = 1;\nexport { a };", "export { a }"),
        ('import { a } from "./maths.js";', "export default 1;", "export default 1"),
        ('import { a } from "./maths.js";', "export let a = 1;", "export let a"),
        ('import { a } from "./maths.js";', 'import "./effect.js";', "import "),
    ],
)
def test_forms_of_import_and_export_that_would_be_left_over_are_refused(folder, widget, maths, left):
    folder("maths.js", maths + "\n")
    folder("widget.js", widget + "\nexport default {};\n")
    with pytest.raises(ValueError, match=rf"widget\.js: expected import .*, got '?\"?{left}"):
        bundle("widget.js")


def test_files_that_import_each_other_are_refused(folder):
    folder("one.js", 'import { b } from "./two.js";\nexport const a = 1;\n')
    folder("two.js", 'import { a } from "./one.js";\nexport const b = 1;\n')
    with pytest.raises(ValueError, match=r"expected no ring of imports, got one\.js → two\.js → one\.js"):
        bundle("one.js")


# ---- pack -----------------------------------------------------------------------------------------------------------------


def unpack(description, weights):
    """Read the bytes of small layers as network.js does."""
    assert not any(layer["rounded"] for layer in description)
    numbers, start, result = np.frombuffer(weights, "<f2").astype(float), 0, []
    for layer in description:
        count = layer["inputs"] * layer["outputs"]
        kernel = numbers[start : start + count].reshape(layer["inputs"], layer["outputs"])
        bias = numbers[start + count : start + count + layer["outputs"]]
        result.append((kernel, bias, layer["activation"]))
        start += count + layer["outputs"]
    assert start == len(numbers)
    return result


def forward(network, x):
    for kernel, bias, activation in network:
        x = x @ kernel + bias
        x = np.maximum(x, 0) if activation == "relu" else x
    return x


@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(1, 4), st.integers(1, 30), st.integers(0, 1000))
def test_a_packed_decoder_computes_what_keras_computes(hidden, latent_dim, pixels, seed):
    decoder = build_vae(TrainConfig(input_dim=pixels, latent_dim=latent_dim, hidden=tuple(hidden), seed=seed)).decoder
    z = np.random.default_rng(seed).normal(size=(5, latent_dim))
    # float16 keeps 11 bits of each weight, and errors add up over at most 9 inputs of 4 layers
    packed = pack_dense_layers(decoder)
    np.testing.assert_allclose(forward(unpack(*packed), z), decoder(z), atol=0.02, rtol=0.02)
    np.testing.assert_allclose(run_packed(*packed, z), forward(unpack(*packed), z), rtol=1e-12)


def test_weights_come_back_to_11_bits():
    decoder = build_vae(TrainConfig(input_dim=6, hidden=(4,))).decoder
    description, weights = pack_dense_layers(decoder)
    assert description == [
        {"inputs": 2, "outputs": 4, "activation": "relu", "rounded": False},
        {"inputs": 4, "outputs": 6, "activation": "linear", "rounded": False},
    ]
    assert len(weights) == 2 * (2 * 4 + 4 + 4 * 6 + 6)
    for (kernel, bias, _), layer in zip(unpack(description, weights), decoder.layers[1:], strict=True):
        expected_kernel, expected_bias = layer.get_weights()
        np.testing.assert_allclose(kernel, expected_kernel, rtol=2**-11, atol=2**-25)
        np.testing.assert_allclose(bias, expected_bias, rtol=2**-11, atol=2**-25)


def test_a_sequential_model_can_be_packed():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, "relu"), layers.Dense(2)])
    model.layers[0].set_weights([np.ones((3, 4)), np.full(4, 0.5)])
    network = unpack(*pack_dense_layers(model))
    z = np.random.default_rng(0).normal(size=(4, 3))
    np.testing.assert_allclose(forward(network, z), model(z), atol=0.02)


def chain(*parts):
    return keras.Sequential([keras.Input((2,)), *parts])


def functional(*, merge=False):
    x = keras.Input((2,))
    left, right = layers.Dense(2, name="left")(x), layers.Dense(2, name="right")(x)
    return keras.Model(x, layers.Add(name="sum")([left, right]) if merge else [left, right])


UNFIT = {
    "no model": (lambda: 3, "got int; give a VAE from build_vae, or its decoder"),
    "a function": (lambda: np.tanh, "got ufunc"),
    "no layers": (lambda: chain(), "got Sequential"),
    "Dropout": (lambda: chain(layers.Dense(2), layers.Dropout(0.5, name="drop")), "'drop' of type Dropout"),
    "Reshape": (lambda: chain(layers.Reshape((2, 1), name="fold")), "'fold' of type Reshape"),
    "sigmoid": (lambda: chain(layers.Dense(2, "sigmoid", name="p")), "got the layer 'p' of type Dense"),
    "a layer as activation": (lambda: chain(layers.Dense(2, layers.LeakyReLU(), name="l")), "got the layer 'l' of type Dense"),
    "no bias": (lambda: chain(layers.Dense(2, use_bias=False, name="bare")), "'bare' without a bias"),
    "not built": (lambda: keras.Sequential([layers.Dense(2, name="new")]), "'new' without a bias, or not built yet"),
    "two outputs": (functional, "got 2 outputs; give the decoder"),
    "an encoder": (lambda: build_vae(TrainConfig(input_dim=2, hidden=(2,))).encoder, "got 2 outputs; give the decoder"),
    "a branch": (lambda: functional(merge=True), "of type Add"),
    "a model in a model": (
        lambda: chain(keras.Sequential([keras.Input((2,)), layers.Dense(2)], name="inner")), "'inner' of type Sequential",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), UNFIT.values(), ids=UNFIT)
def test_what_is_not_a_chain_of_dense_layers_is_refused(make, message):
    with pytest.raises(ValueError, match="expected a Keras model that is a chain of Dense layers with relu or linear") as caught:
        pack_dense_layers(make())
    assert message in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e5, -65_520])
@pytest.mark.parametrize("which", [0, 1])
def test_weights_that_float16_cannot_hold_are_refused(value, which):
    decoder = build_vae(TrainConfig(input_dim=6, hidden=(4,))).decoder
    variable = decoder.layers[-1].trainable_variables[which]
    variable.assign(np.full(variable.shape, value))
    with pytest.raises(ValueError, match="logits: expected finite weights below 65,504, got others; was training stable"):
        pack_dense_layers(decoder)


def read_bits(data, start, width):
    """A whole number in two's complement from a string of bits, lowest first: the definition, one bit at a time."""
    bits = [data[(start + k) // 8] >> ((start + k) % 8) & 1 for k in range(width)]
    return sum(bit << k for k, bit in enumerate(bits[:-1])) - (bits[-1] << (width - 1))


@pytest.fixture(scope="module")
def rounded_decoder():
    """A decoder whose last layer is large enough to be rounded, packed."""
    decoder = build_vae(TrainConfig(input_dim=200, hidden=(64,), seed=2)).decoder
    return decoder, *pack_dense_layers(decoder)


def test_rounded_layers_are_laid_out_as_documented(rounded_decoder):
    decoder, description, weights = rounded_decoder
    assert [layer["rounded"] for layer in description] == [False, True]
    at = 2 * 3 * 64
    widths = np.frombuffer(weights, np.uint8, 200, at)
    steps, bias = np.frombuffer(weights, "<f4", 400, at + 200).reshape(2, 200)
    assert widths.mean() <= DECODER_BITS
    assert len(weights) == at + 9 * 200 + -(-64 * int(widths.sum()) // 8)
    np.testing.assert_array_equal(bias, decoder.layers[-1].get_weights()[1])
    data, unit = weights[at + 9 * 200 :], 137
    start = 64 * int(widths[:unit].sum())
    column = [read_bits(data, start + i * int(widths[unit]), int(widths[unit])) * steps[unit] for i in range(64)]
    hidden = np.maximum(np.random.default_rng(0).normal(size=(50, 2)) @ decoder.layers[1].get_weights()[0], 0)
    exact = hidden @ decoder.layers[-1].get_weights()[0][:, unit]
    np.testing.assert_allclose(hidden @ np.array(column), exact, atol=2e-3)


def rounded_to_the_nearest(decoder, z):
    """What a decoder gives whose large layer has 8 bits and a scale for each unit, in the ordinary way."""
    w1, b1, w2, b2 = (array.astype(float) for array in decoder.get_weights())
    scale = np.abs(w2).max(axis=0) / 127
    return np.maximum(z @ w1 + b1, 0) @ (np.rint(w2 / scale) * scale) + b2


def gzipped(*parts):
    """Size in a page: bytes are embedded as base64, and pages travel gzipped."""
    return sum(len(gzip.compress(base64.b64encode(part))) for part in parts)


def test_the_shipped_networks_agree_with_keras_within_2e3_and_fit_in_900_kb(mnist_or_digits):
    vae, data = pretrained("mnist-2d"), mnist_or_digits
    decoder = pack_dense_layers(vae.decoder)
    z = np.random.default_rng(0).standard_normal((1000, 2)).astype(np.float32)
    sigmoid = lambda logits: 1 / (1 + np.exp(-np.asarray(keras.ops.convert_to_numpy(logits), dtype=float)))  # noqa: E731
    exact = sigmoid(vae.decoder(z))
    error = np.abs(sigmoid(run_packed(*decoder, z)) - exact).max()
    assert error < 2e-3 < 20 * error < np.abs(sigmoid(rounded_to_the_nearest(vae.decoder, z)) - exact).max()
    # fitted to the last images, looked at with others; scikit-learn's 1,797 digits stand in for MNIST
    encoder = pack_encoder(vae, data.x_test[-len(data.x_test) // 2 :][:2000])
    x = data.x_test[: min(1000, len(data.x_test) // 2)]
    for packed, exact in zip(run_packed_encoder(*encoder, x), vae.encoder(x), strict=True):
        assert np.abs(packed - np.asarray(exact)).max() < (2e-3 if data.is_mnist else 1e-2)
    assert gzipped(decoder[1], encoder[1]) < 900_000


def test_an_encoder_without_images_takes_more_bytes_and_agrees_as_well():
    vae = build_vae(TrainConfig(input_dim=300, hidden=(64,), seed=1))
    x = np.random.default_rng(0).random((200, 300), dtype=np.float32)
    fitted, unfitted = pack_encoder(vae.encoder, x), pack_encoder(vae)
    assert len(fitted[1]) < len(unfitted[1])
    for packed in (fitted, unfitted):
        for numbers, exact in zip(run_packed_encoder(*packed, x), vae.encoder(x), strict=True):
            np.testing.assert_allclose(numbers, exact, atol=5e-3)


def test_a_small_encoder_and_one_of_two_hidden_layers():
    for hidden in ((4,), (150, 80)):
        vae = build_vae(TrainConfig(input_dim=90, latent_dim=3, hidden=hidden))
        x = np.random.default_rng(0).random((40, 90), dtype=np.float32)
        for numbers, exact in zip(run_packed_encoder(*pack_encoder(vae, x), x), vae.encoder(x), strict=True):
            np.testing.assert_allclose(numbers, exact, atol=5e-3)


def twisted(kind):
    x = keras.Input((3,))
    hidden = layers.Dense(4, "relu", name="hidden")(x)
    if kind == "heads in a row":
        mu = layers.Dense(2, name="mu")(hidden)
        return keras.Model(x, [mu, layers.Dense(2, name="log_var")(mu)])
    mu, log_var = layers.Dense(2, name="mu")(hidden), layers.Dense(2, name="log_var")(hidden)
    return keras.Model(x, [mu, log_var, hidden])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: 3, "got int; give a VAE from build_vae"),
        (lambda: build_vae(TrainConfig(input_dim=3, hidden=(4,))).decoder, "got Functional; give a VAE"),
        (lambda: twisted("heads in a row"), "joined in another way"),
        (lambda: twisted("three outputs"), "got Functional; give a VAE"),
        (lambda: chain(layers.Dense(2), layers.Dropout(0.5, name="drop")), "'drop' of type Dropout"),
    ],
)
def test_what_is_no_encoder_is_refused(make, message):
    with pytest.raises(ValueError, match="expected an encoder: Dense layers") as caught:
        pack_encoder(make())
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "images", [np.ones((2, 3)), np.ones(9), np.full((2, 9), 255.0), np.full((2, 9), np.nan), np.ones((0, 9))]
)
def test_images_of_another_form_are_refused(images):
    with pytest.raises(ValueError, match=r"images: expected (values in \[0, 1\]|shape \(images, 9\))"):
        pack_encoder(build_vae(TrainConfig(input_dim=9, hidden=(4,))), images)
