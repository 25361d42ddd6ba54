"""What travels to the browser: one module of JavaScript, and the weights of a chain of Dense layers as float16."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

from vae_lib import TrainConfig, build_vae
from vae_lib.widgets import bundle as bundle_module
from vae_lib.widgets.bundle import FOLDER, bundle
from vae_lib.widgets.pack import pack_dense_layers, run_packed

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
    """Read the bytes as network.js does."""
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
        {"inputs": 2, "outputs": 4, "activation": "relu"},
        {"inputs": 4, "outputs": 6, "activation": "linear"},
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
