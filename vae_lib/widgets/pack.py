"""Pack the Dense layers of a decoder or an encoder for the browser, laid out as `network.js` reads them.

Small layers travel as float16. Large ones are rounded to whole numbers of few bits, with two devices. Each unit has as many
bits as it needs: fewer where its weights are small, where little follows from it, or where it is rarely active. And its
rounding errors are made to cancel: what is lost on one weight is made good by those that are not rounded yet, as far as the
layer's inputs (decoded points, images) go together (Frantar et al. 2022, arXiv:2210.17323, section 3; the update is that of the
optimal brain surgeon, Hassibi and Stork 1992). `benchmarks/explorer.py` compares the ways for the post's network: with 8 bits,
a scale for each unit and neither device, a pixel or a mean is off by some hundredths; float16 takes nearly twice as much.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vae_lib.checks import as_array, check_images

Floats = NDArray[np.float64]

DECODER_BITS = 8.0  # for each weight of a large layer, on average
ENCODER_BITS = 9.0
ENCODER_BITS_UNFITTED = 12.0  # without images it is not known which units are active, and nothing can be made good
_LARGE = 10_000  # weights
_WIDTHS = 2, 16  # bits of a whole number, in two's complement
_POINTS = 4096  # z at which a decoder's rounding is fitted
_RARE = 0.25  # a unit that is active for a share s of the inputs counts s to this power
_DAMPING = 1e-2  # of the mean square of the inputs: what an encoder sees later differs from what it is fitted to
_DAMPING_DECODER = 1e-6  # every z can be had
_BLOCK = 64  # rows that are rounded before all others are corrected
_WANTED = "expected a Keras model that is a chain of Dense layers with relu or linear activation"
_WANTED_ENCODER = "expected an encoder: Dense layers with relu or linear activation, then the two heads mu and log_var"


class _Layer(NamedTuple):
    name: str
    kernel: Floats  # (inputs, outputs)
    bias: Floats  # (outputs,)
    activation: str

    def run(self, x: Floats) -> Floats:
        """Compute the layer: (batch, inputs) → (batch, outputs)."""
        y = x @ self.kernel + self.bias
        return np.maximum(y, 0) if self.activation == "relu" else y


def pack_dense_layers(model: Any) -> tuple[list[dict[str, Any]], bytes]:
    """Return a decoder's layers and weights in the form that travels to the browser.

    Parameters
    ----------
    model
        A Keras model that is a chain of Dense layers, each linear or relu.

    Returns
    -------
    layers
        For each layer its inputs, outputs, activation, and whether it is rounded.
    weights
        Layer by layer, little-endian. Not rounded: kernel (inputs, outputs) row by row, then bias, as float16. Rounded: all
        units' numbers of bits (uint8), all steps (float32), all biases (float32); then, unit by unit, the incoming weights as
        whole multiples of the step in two's complement, lowest bit first, without gaps but at the end.

    Raises
    ------
    ValueError
        If the model is anything else, or a weight is not finite in float16.
    """
    if len(getattr(model, "outputs", None) or [None]) != 1:
        raise ValueError(f"{_WANTED}, got {len(model.outputs)} outputs; give the decoder")
    layers = _dense_layers(model, _WANTED)
    if not layers:
        raise ValueError(f"{_WANTED}, got {type(model).__name__}; give a VAE from build_vae, or its decoder")
    for before, layer in itertools.pairwise(layers):
        if len(before.bias) != len(layer.kernel):
            raise ValueError(f"{_WANTED}, got {layer.name!r} with {len(layer.kernel)} inputs after {len(before.bias)} outputs")
    z = np.random.default_rng(0).standard_normal((_POINTS, len(layers[0].kernel)))
    z[::2] *= 3  # the sliders go farther than the prior
    packed = [_pack_layer(layer, x, after, DECODER_BITS, _DAMPING_DECODER) for layer, x, after in _with_inputs(layers, z, None)]
    return [shape for shape, _ in packed], b"".join(chunk for _, chunk in packed)


def pack_encoder(model: Any, images: ArrayLike | None = None) -> tuple[list[dict[str, Any]], bytes]:
    """Return an encoder's layers and weights in the form that travels to the browser.

    Parameters
    ----------
    model
        A `VAE`, or its encoder.
    images
        Images such as it will see, (images, input_dim), values in [0, 1]: the rounding is fitted to them. Without them the
        weights take a third more.

    Returns
    -------
    layers, weights
        As from `pack_dense_layers`; the last two layers are the heads, mu and log_var, that share their inputs.

    Raises
    ------
    ValueError
        If the model is anything else, a weight is not finite in float16, or the images have another form.
    """
    encoder = getattr(model, "encoder", model)
    layers = _dense_layers(encoder, _WANTED_ENCODER)
    trunk, heads = layers[:-2], layers[-2:]
    _check_encoder(encoder, trunk, heads)
    x = _checked_images(images, len(layers[0].kernel))
    bits = ENCODER_BITS_UNFITTED if x is None else ENCODER_BITS
    kernel = np.concatenate([head.kernel for head in heads], axis=1)
    packed = [_pack_layer(layer, given, after, bits, _DAMPING) for layer, given, after in _with_inputs(trunk, x, kernel)]
    packed += [_pack_layer(head, None, None, ENCODER_BITS_UNFITTED, _DAMPING) for head in heads]
    return [shape for shape, _ in packed], b"".join(chunk for _, chunk in packed)


def run_packed(layers: list[dict[str, Any]], weights: bytes, z: ArrayLike) -> Floats:
    """Run a packed decoder, as the browser does.

    Parameters
    ----------
    layers, weights
        From `pack_dense_layers`.
    z
        Inputs, (batch, inputs of the first layer).

    Returns
    -------
    ndarray
        Outputs of the last layer, (batch, outputs).
    """
    x = as_array(z, "z").astype(np.float64)
    for layer in unpack_layers(layers, weights):
        x = layer.run(x)
    return x


def run_packed_encoder(layers: list[dict[str, Any]], weights: bytes, x: ArrayLike) -> tuple[Floats, Floats]:
    """Run a packed encoder, as the browser does.

    Parameters
    ----------
    layers, weights
        From `pack_encoder`.
    x
        Images, (batch, input_dim).

    Returns
    -------
    mu, log_var
        Each (batch, latent_dim).
    """
    *trunk, mu, log_var = unpack_layers(layers, weights)
    hidden = as_array(x).astype(np.float64)
    for layer in trunk:
        hidden = layer.run(hidden)
    return mu.run(hidden), log_var.run(hidden)


def _dense_layers(model: Any, wanted: str) -> list[_Layer]:
    """Read a model's Dense layers, or say which layer is something else."""
    found = []
    for layer in getattr(model, "layers", []):
        kind = type(layer).__name__
        if kind == "InputLayer":
            continue
        if kind != "Dense" or getattr(layer.activation, "__name__", "") not in ("relu", "linear"):
            raise ValueError(f"{wanted}, got the layer {layer.name!r} of type {kind}")
        if getattr(layer, "bias", None) is None:
            raise ValueError(f"{wanted}, got {layer.name!r} without a bias, or not built yet")
        kernel, bias = (as_array(array) for array in layer.get_weights())  # (inputs, outputs), (outputs,)
        with np.errstate(over="ignore"):  # an overflow is what is looked for
            if not all(np.isfinite(array.astype(np.float16)).all() for array in (kernel, bias)):
                raise ValueError(f"{layer.name}: expected finite weights below 65,504, got others; was training stable?")
        found.append(_Layer(layer.name, kernel.astype(float), bias.astype(float), layer.activation.__name__))
    return found


def _check_encoder(encoder: Any, trunk: list[_Layer], heads: list[_Layer]) -> None:
    """See that the layers, put together as an encoder's, compute what the model computes."""
    if not trunk or len(getattr(encoder, "outputs", [])) != 2:
        raise ValueError(f"{_WANTED_ENCODER}, got {type(encoder).__name__}; give a VAE from build_vae, or its encoder")
    probe = np.random.default_rng(0).random((2, len(trunk[0].kernel)))
    try:
        hidden = probe
        for layer in trunk:
            hidden = layer.run(hidden)
        agree = [
            np.allclose(head.run(hidden), as_array(output), rtol=1e-2, atol=1e-2)
            for head, output in zip(heads, encoder(probe.astype(np.float32)), strict=True)
        ]
    except ValueError:  # sizes that do not follow each other
        agree = [False]
    if not all(agree):
        raise ValueError(f"{_WANTED_ENCODER}, got layers that are joined in another way; give a VAE from build_vae")


def _checked_images(images: ArrayLike | None, pixels: int) -> Floats | None:
    if images is None:
        return None
    return check_images(images, pixels, "images").astype(float)


def _with_inputs(
    layers: list[_Layer], x: Floats | None, last: Floats | None
) -> list[tuple[_Layer, Floats | None, Floats | None]]:
    """Return each layer with what comes in, if known, and the kernel that its outputs meet next."""
    rows = []
    for n, layer in enumerate(layers):
        rows.append((layer, x, layers[n + 1].kernel if n + 1 < len(layers) else last))
        x = None if x is None else layer.run(x)
    return rows


def _pack_layer(
    layer: _Layer, x: Floats | None, after: Floats | None, bits: float, damping: float
) -> tuple[dict[str, Any], bytes]:
    """Pack one layer; x (batch, inputs) comes in, and what comes out meets the kernel `after`."""
    inputs, outputs = layer.kernel.shape
    shape = {"inputs": inputs, "outputs": outputs, "activation": layer.activation, "rounded": layer.kernel.size >= _LARGE}
    if not shape["rounded"]:
        return shape, layer.kernel.astype("<f2").tobytes() + layer.bias.astype("<f2").tobytes()
    importance = np.ones(outputs) if after is None else np.abs(after).max(axis=1) + 1e-9
    if x is not None and layer.activation == "relu":
        active = ((x @ layer.kernel + layer.bias) > 0).mean(axis=0)
        importance = importance * (active + 1 / len(x)) ** _RARE
    largest = np.abs(layer.kernel).max(axis=0)
    widths = _widths(largest * importance, bits)
    steps = (np.maximum(largest, 1e-30) / (2.0 ** (widths - 1) - 1)).astype("<f4")
    whole = _rounded(layer.kernel, steps.astype(float), 2 ** (widths - 1) - 1, x, damping)
    header = widths.astype(np.uint8).tobytes() + steps.tobytes() + layer.bias.astype("<f4").tobytes()
    columns = [(whole[:, j, None] >> np.arange(width) & 1).astype(np.uint8).ravel() for j, width in enumerate(widths)]
    return shape, header + np.packbits(np.concatenate(columns), bitorder="little").tobytes()


def _widths(demand: Floats, bits: float) -> NDArray[np.int64]:
    """Give each unit its bits: the same step for the same demand (largest weight times importance), `bits` on average at most."""
    low, high = _WIDTHS
    logs = np.log2(np.maximum(demand, 1e-30))

    def widths(log_step: float) -> NDArray[np.int64]:
        return np.asarray(np.clip(np.ceil(logs - log_step) + 1, low, high), np.int64)

    fine, coarse = -60.0, 60.0  # log₂ of the step of a unit of importance 1
    for _ in range(50):
        middle = (fine + coarse) / 2
        fine, coarse = (fine, middle) if widths(middle).mean() <= bits else (middle, coarse)
    return widths(coarse)


def _rounded(kernel: Floats, steps: Floats, most: NDArray[np.int64], x: Floats | None, damping: float) -> NDArray[np.int64]:
    """Round a kernel to whole multiples of each unit's step, so that the outputs for inputs x change as little as can be."""
    if x is None:
        return np.clip(np.rint(kernel / steps), -most, most).astype(np.int64)
    moments = x.T @ x
    moments[np.diag_indices_from(moments)] += damping * max(np.trace(moments) / len(moments), 1e-30)
    order = np.argsort(-np.diag(moments), kind="stable")  # what matters most is rounded first, while all others can make it good
    upper = np.linalg.cholesky(np.linalg.inv(moments[np.ix_(order, order)])).T
    left, whole = kernel[order], np.empty(kernel.shape, np.int64)
    for start in range(0, len(kernel), _BLOCK):
        stop = min(start + _BLOCK, len(kernel))
        errors = np.empty((stop - start, kernel.shape[1]))
        for i in range(start, stop):
            whole[order[i]] = np.clip(np.rint(left[i] / steps), -most, most)
            errors[i - start] = (left[i] - whole[order[i]] * steps) / upper[i, i]
            left[i + 1 : stop] -= upper[i, i + 1 : stop, None] * errors[i - start]
        left[stop:] -= upper[start:stop, stop:].T @ errors
    return whole


def unpack_layers(layers: list[dict[str, Any]], weights: bytes) -> list[_Layer]:
    """Read packed weights back: what the browser sees.

    Parameters
    ----------
    layers, weights
        As `pack_dense_layers` or `pack_encoder` returned them.

    Returns
    -------
    list
        Of layers, each of which can `run` on (batch, inputs).
    """
    found, at = [], 0
    for shape in layers:
        inputs, outputs = shape["inputs"], shape["outputs"]
        if shape["rounded"]:
            widths = np.frombuffer(weights, np.uint8, outputs, at).astype(int)
            steps, bias = np.frombuffer(weights, "<f4", 2 * outputs, at + outputs).astype(float).reshape(2, outputs)
            at += 9 * outputs
            size = -(-inputs * int(widths.sum()) // 8)
            bits = np.unpackbits(np.frombuffer(weights, np.uint8, size, at), bitorder="little")
            columns = np.split(bits[: inputs * widths.sum()], inputs * np.cumsum(widths)[:-1])
            kernel = np.stack([_whole(column.reshape(inputs, -1)) for column in columns], axis=1) * steps
            at += size
        else:
            numbers = np.frombuffer(weights, "<f2", (inputs + 1) * outputs, at).astype(float)
            kernel, bias = numbers[: inputs * outputs].reshape(inputs, outputs), numbers[inputs * outputs :]
            at += numbers.size * 2
        found.append(_Layer("", kernel, bias, shape["activation"]))
    return found


def _whole(bits: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Read two's complement: (numbers, width), lowest bit first, → (numbers,)."""
    values = 2 ** np.arange(bits.shape[1])
    values[-1] *= -1
    whole: NDArray[np.int64] = bits.astype(np.int64) @ values
    return whole
