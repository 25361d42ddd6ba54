"""Pack the Dense layers of a Keras model for the browser: float16, laid out as `network.js` reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pack_dense_layers(model: Any) -> tuple[list[dict[str, Any]], bytes]:
    """Return a network's layers and weights in the form that travels to the browser.

    Parameters
    ----------
    model
        A Keras model that is a chain of Dense layers, each linear or relu.

    Returns
    -------
    layers
        For each layer its inputs, outputs and activation.
    weights
        Little-endian float16: for each layer its kernel (inputs, outputs) row by row, then its bias.

    Raises
    ------
    ValueError
        If the model is anything else, or a weight is not finite in float16.
    """
    wanted = "expected a Keras model that is a chain of Dense layers with relu or linear activation"
    if len(getattr(model, "outputs", None) or [None]) != 1:
        raise ValueError(f"{wanted}, got {len(model.outputs)} outputs; give the decoder")
    layers: list[dict[str, Any]] = []
    chunks: list[bytes] = []
    for layer in getattr(model, "layers", []):
        kind = type(layer).__name__
        if kind == "InputLayer":
            continue
        if kind != "Dense" or getattr(layer.activation, "__name__", "") not in ("relu", "linear"):
            raise ValueError(f"{wanted}, got the layer {layer.name!r} of type {kind}")
        if getattr(layer, "bias", None) is None:
            raise ValueError(f"{wanted}, got {layer.name!r} without a bias, or not built yet")
        kernel, bias = (np.asarray(array) for array in layer.get_weights())  # (inputs, outputs), (outputs,)
        if layers and layers[-1]["outputs"] != len(kernel):
            raise ValueError(f"{wanted}, got {layer.name!r} with {len(kernel)} inputs after {layers[-1]['outputs']} outputs")
        layers.append({"inputs": len(kernel), "outputs": len(bias), "activation": layer.activation.__name__})
        with np.errstate(over="ignore"):  # an overflow is found below
            halves = [kernel.astype("<f2"), bias.astype("<f2")]
        if not all(np.isfinite(half).all() for half in halves):
            raise ValueError(f"{layer.name}: expected finite weights below 65,504, got others; was training stable?")
        chunks += [half.tobytes() for half in halves]
    if not layers:
        raise ValueError(f"{wanted}, got {type(model).__name__}; give a VAE from build_vae, or its decoder")
    return layers, b"".join(chunks)


def run_packed(layers: list[dict[str, Any]], weights: bytes, z: ArrayLike) -> NDArray[np.float64]:
    """Run a packed network, as the browser does.

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
    x = np.asarray(z, dtype=np.float64)
    numbers, at = np.frombuffer(weights, "<f2").astype(np.float64), 0
    for layer in layers:
        inputs, outputs = layer["inputs"], layer["outputs"]
        kernel = numbers[at : at + inputs * outputs].reshape(inputs, outputs)
        bias = numbers[at + inputs * outputs : at + (inputs + 1) * outputs]
        at += (inputs + 1) * outputs
        x = x @ kernel + bias
        if layer["activation"] == "relu":
            x = np.maximum(x, 0)
    return x
