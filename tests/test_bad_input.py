"""Every argument of every public function and widget, given what it cannot be: a `ValueError` of our own that says what to do.

Never a raw error of NumPy's, Keras's or Python's, however strange the object is. What one function alone refuses is tested beside
it.
"""

import inspect
import traceback
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import vae_lib
from vae_lib import PosteriorGrid, TrainConfig, build_vae, plots, train
from vae_lib.plots import NotebookFigure

CONFIG = TrainConfig(input_dim=16, hidden=(4,), epochs=1, batch_size=4)
VAE = build_vae(CONFIG)
CONDITIONAL = build_vae(CONFIG.replace(classes=3))
X = np.random.default_rng(0).random((4, 16), dtype=np.float32)
LABELS = np.array([0, 1, 2, 1])
AXIS = (np.arange(40) + 0.5) * 0.2 - 4
POSTERIOR = PosteriorGrid(AXIS, np.float32(-0.5 * (AXIS[:, None] ** 2 + AXIS**2) - np.log(2 * np.pi))[None].repeat(4, axis=0))
MU, LOG_VAR = np.zeros((4, 2)), np.full((4, 2), -1.0)
WORLD = vae_lib.DiscreteWorld.animals()
LINEAR = vae_lib.LinearGaussian(W=[[1.0], [2.0]], b=[0.0, 0.0], s=1.0)
RECORDER = SimpleNamespace(
    snapshots=[vae_lib.Snapshot(float(epoch), MU.astype("f4"), X, 1.0 if epoch else None, 2.0) for epoch in range(3)],
    labels=LABELS,
)
EXPLORER = vae_lib.LatentExplorer(VAE, images=X, labels=LABELS)
CLASSIFIER = vae_lib.train_classifier(X, LABELS, classes=3, epochs=1)
AXES = NotebookFigure().subplots()


class Unreadable:
    """An array that cannot be had."""

    shape = (4, 16)

    def __array__(self, *_, **__):
        raise RuntimeError("no array for you")


def setter(widget, name):
    return lambda value: setattr(widget, name, value)


# What nothing takes, unless a kind of argument below says so.
WRONG = {
    "None": None,
    "a word": "word",
    "a number in words": "5",
    "bytes": b"\x01",
    "an object": object(),
    "a dictionary": {"a": 1},
    "a set": {1, 2},
    "a function": len,
    "a class": float,
    "a range of lists": [[0.1], [0.2, 0.3]],
    "a complex number": 1j,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "minus one": -1,
    "one half": 0.5,
    "True": True,
    "a number beyond int64": 10**30,
    "a number beyond float32": 1e300,
    "a number beyond float64": 10**400,
    "nothing in a list": [],
    "None in a list": [None],
    "dates": np.array(["2020-01-01"], dtype="datetime64[D]"),
    "objects": np.array([None, 1], dtype=object),
    "hidden values": np.ma.array(np.full((4, 16), 0.5), mask=[[1] + [0] * 15] * 4),
    "a masked number": np.ma.masked,
    "NaNs": np.full((4, 16), np.nan),
    "infinities": np.full((4, 2), np.inf),
    "an array in an array": np.zeros((4, 1, 1, 16)),
    "no rows": np.zeros((0, 16)),
    "no columns": np.zeros((4, 0)),
    "records": np.zeros(4, dtype=[("a", "f4"), ("b", "i4")]),
    "an unreadable array": Unreadable(),
    "a symbolic tensor": keras.Input((16,)),
    "a layer": keras.layers.Dense(1),
    "a decoder": VAE.decoder,
    "two arrays": (X, X),
    "a data set": SimpleNamespace(x_train=X, x_test=X, y_train=LABELS, y_test=LABELS),
    "one number in an array": np.array([5]),
}
NUMBERS = {"one half", "minus one", "a number beyond float32", "a number beyond int64"}
MATRICES = {"an array in an array", "no rows", "no columns", "one number in an array", "True", *NUMBERS, "nothing in a list"}
# For each kind of argument what may be taken after all; it is then either taken or refused in the same way.
TAKEN = {
    "vae": set(),
    "images": set(),
    "integer": set(),
    "seed": set(),
    "number": NUMBERS,
    "labels": {"None"},
    "codes": set(),
    "array": MATRICES,
    "points": MATRICES,
    "name": {"a number beyond int64"},
    "index": set(),
    "config": {"None"},
    "optional integer": {"None"},
    "optional number": {"None", *NUMBERS},
    "optional images": {"None"},
    "optional array": {"None", *MATRICES},
    "optional mapping": {"None", "a dictionary"},
    "sides": set(),
    "choice": set(),
    "history": set(),
    "word": {"a word", "a number in words"},
    "callbacks": {"None", "nothing in a list"},
    "path": {"a word", "a number in words", "bytes", "None", "minus one"},
    "answer": set(WRONG),
    "any number": MATRICES | {"NaN", "infinity", "NaNs", "infinities", "two arrays"},
    "any": set(WRONG),
    "flag": {"True"},
}

PLAIN = {"vae": (VAE, "vae"), "x": (X, "images")}
IMAGES = {"image_shape": ((4, 4), "sides")}
MAP = {"codes": (MU, "codes"), "labels": (LABELS, "codes")}
LABELLED = {"labels": (None, "labels")}
GAUSSIANS = {"mu": (MU, "array"), "log_var": (LOG_VAR, "array")}
SEED = {"seed": (0, "seed")}
CALLS = {
    "elbo": (vae_lib.elbo, {**PLAIN, **LABELLED, "samples": (1, "integer"), **SEED}),
    "iwae_bound": (vae_lib.iwae_bound, {**PLAIN, "k": (1, "integer"), **LABELLED, **SEED}),
    "exact_log_px": (vae_lib.exact_log_px, {**PLAIN, "tol": (0.1, "number")}),
    "posterior_on_grid": (
        vae_lib.posterior_on_grid,
        {**PLAIN, "points": (4, "integer"), "limit": (5.0, "optional number")},
    ),
    "active_units": (vae_lib.active_units, {**PLAIN, **LABELLED, "threshold": (0.01, "number")}),
    "kl_to_posterior": (vae_lib.kl_to_posterior, {"posterior": (POSTERIOR, "vae"), **GAUSSIANS}),
    "best_gaussian": (vae_lib.best_gaussian, {"posterior": (POSTERIOR, "vae"), **GAUSSIANS}),
    "aggregate_log_prob": (vae_lib.aggregate_log_prob, {"z": (MU, "array"), **GAUSSIANS}),
    "train_classifier": (
        vae_lib.train_classifier,
        {"x": (X, "images"), "labels": (LABELS, "codes"), "classes": (3, "integer"), "epochs": (1, "integer"), **SEED},
    ),
    "sample_quality": (
        vae_lib.sample_quality,
        {"classifier": (CLASSIFIER, "vae"), "images": (X, "images"), "reference": (X, "images")},
    ),
    "frechet_distance": (vae_lib.frechet_distance, {"a": (MU, "array"), "b": (MU, "array")}),
    "check_answer": (
        vae_lib.check_answer,
        {
            "answer": (1.0, "answer"), "expected": (1.0, "any number"), "mistakes": (None, "optional mapping"),
            "tolerance": (0.1, "number"),
        },
    ),
    "DiscreteWorld": (
        vae_lib.DiscreteWorld,
        {
            "latents": (("a",), "vae"), "observations": (("c", "d"), "vae"), "prior": ([1.0], "vae"),
            "likelihood": ([[0.5, 0.5]], "vae"),
        },
    ),
    "DiscreteWorld.posterior": (WORLD.posterior, {"x": ("duck", "index")}),
    "DiscreteWorld.index": (WORLD.index, {"x": ("duck", "index")}),
    "DiscreteWorld.sample": (WORLD.sample, {"n": (3, "integer"), **SEED}),
    "DiscreteWorld.elbo": (WORLD.elbo, {"q": (WORLD.prior, "vae"), "x": (3, "index")}),
    "DiscreteWorld.kl": (WORLD.kl, {"q": (WORLD.prior, "vae"), "p": (WORLD.prior, "vae")}),
    "LinearGaussian": (
        vae_lib.LinearGaussian,
        {"W": ([[1.0]], "array"), "b": ([0.0], "array"), "s": (1.0, "number")},
    ),
    "LinearGaussian.log_px": (LINEAR.log_px, {"x": (np.zeros((3, 2)), "array")}),
    "LinearGaussian.posterior": (LINEAR.posterior, {"x": (np.zeros((3, 2)), "array")}),
    "LinearGaussian.elbo": (
        LINEAR.elbo,
        {"mu": (np.zeros((3, 1)), "array"), "log_var": (np.zeros((3, 1)), "array"), "x": (np.zeros((3, 2)), "array")},
    ),
    "LinearGaussian.sample": (LINEAR.sample, {"n": (3, "integer"), **SEED}),
    "plots.latent_scatter": (plots.latent_scatter, {**MAP, "limit": (3.0, "optional number")}),
    "plots.reconstructions": (
        plots.reconstructions,
        {"originals": (X, "images"), "reconstructed": (X, "images"), **IMAGES},
    ),
    "plots.image_grid": (plots.image_grid, {"images": (X, "images"), "columns": (2, "integer"), **IMAGES}),
    "plots.manifold": (plots.manifold, {"decoded": (X, "images"), "quantiles": ([-1.0, 1.0], "vae"), **IMAGES}),
    "plots.loss_curve": (
        plots.loss_curve,
        {"history": ({"loss": [1.0], "reconstruction": [1.0], "kl": [0.0]}, "history"), "landmarks": (None, "optional mapping")},
    ),
    "plots.explorer_still": (
        plots.explorer_still,
        {"image": (X[:1], "images"), "z": ((0, 0), "vae"), **MAP, "limit": (3.0, "number"), **IMAGES},
    ),
    "plots.digit_places": (plots.digit_places, {**MAP, "apart": (1.0, "number")}),
    "plots.posterior_and_q": (
        plots.posterior_and_q,
        {
            "axes": (AXES, "vae"), "posterior": (POSTERIOR, "vae"), "image": (0, "integer"), "mu": ([0.0, 0.0], "vae"),
            "log_var": ([0.0, 0.0], "vae"),
        },
    ),
    "TrainConfig": (
        TrainConfig,
        {
            "input_dim": (784, "integer"), "latent_dim": (2, "integer"), "hidden": ((4,), "sides"), "beta": (1.0, "number"),
            "batch_size": (5, "integer"), "epochs": (1, "integer"), "learning_rate": (0.1, "number"), "seed": (0, "seed"),
            "classes": (0, "integer"), "activation": ("relu", "choice"), "binarize": ("none", "choice"),
            "kl_warmup": (0, "integer"), "free_bits": (0.0, "number"), "learning_rate_end": (None, "optional number"),
        },
    ),
    "build_vae": (build_vae, {"config": (CONFIG, "config")}),
    "VAE": (vae_lib.VAE, {"config": (CONFIG, "vae")}),
    "with_label": (vae_lib.with_label, {"vae": (CONDITIONAL, "vae"), "label": (0, "integer")}),
    "gaussian_kl": (vae_lib.gaussian_kl, {"mu": (MU, "tensor"), "log_var": (MU, "tensor"), "per_dim": (False, "flag")}),
    "gaussian_log_prob": (vae_lib.gaussian_log_prob, {"z": (MU, "tensor"), "mu": (MU, "tensor"), "log_var": (MU, "tensor")}),
    "sample_gaussian": (vae_lib.sample_gaussian, {"mu": (MU, "tensor"), "log_var": (MU, "tensor"), **SEED}),
    "bernoulli_log_prob": (vae_lib.bernoulli_log_prob, {"x": (X, "tensor"), "logits": (X, "tensor")}),
    "elbo_terms": (
        vae_lib.elbo_terms,
        {"x": (X, "tensor"), "logits": (X, "tensor"), "mu": (MU, "tensor"), "log_var": (MU, "tensor")},
    ),
    "free_bits_kl": (vae_lib.free_bits_kl, {"mu": (MU, "tensor"), "log_var": (MU, "tensor"), "free_bits": (0.1, "number")}),
    "train": (
        train,
        {
            **PLAIN, **LABELLED, "config": (CONFIG, "config"), "validation": (X, "optional images"),
            "validation_labels": (None, "labels"), "callbacks": ((), "callbacks"), "progress": (False, "any"),
        },
    ),
    "TrainingRecorder": (
        vae_lib.TrainingRecorder,
        {"x": (X, "images"), "labels": (LABELS, "codes"), "z": (MU, "optional array")},
    ),
    "save_weights": (vae_lib.save_weights, {"vae": (VAE, "vae"), "path": ("w.npz", "path"), "dtype": ("float32", "choice")}),
    "load_weights": (vae_lib.load_weights, {"path": ("nowhere.npz", "path")}),
    "pretrained": (vae_lib.pretrained, {"name": ("mnist-2d", "choice")}),
    "binarize": (vae_lib.binarize, {"x": (X, "any number"), "mode": ("static", "choice"), **SEED}),
    "BetaScrubber": (
        vae_lib.BetaScrubber,
        {
            "models": ({0.5: VAE, 1.0: VAE}, "vae"), "x": (X, "images"), "labels": (LABELS, "codes"),
            "beta": (None, "optional number"),
        },
    ),
    "BrowserTraining": (
        vae_lib.BrowserTraining,
        {
            "x": (X, "images"), "labels": (LABELS, "codes"), "config": (CONFIG.replace(input_dim=4), "config"),
            "shrink": (2, "integer"),
        },
    ),
    "ConditionalExplorer": (
        vae_lib.ConditionalExplorer,
        {"vae": (CONDITIONAL, "vae"), "digit": (0, "integer"), "z": (None, "optional integer"), "limit": (3.0, "number")},
    ),
    "ElboBalance": (
        vae_lib.ElboBalance,
        {
            "x": (1, "integer"), "weight": (8.0, "number"), "bias": (-4.0, "number"), "mu": (0.0, "number"),
            "log_var": (-1.0, "number"),
        },
    ),
    "ElboBalance.q": (setter(vae_lib.ElboBalance(), "q"), {"value": ((0.0, 0.0), "vae")}),
    "HeldNoise": (
        vae_lib.HeldNoise,
        {"mu": (0.0, "number"), "log_var": (-1.0, "number"), "eps": (None, "optional integer"), **SEED},
    ),
    "HeldNoise.eps": (setter(vae_lib.HeldNoise(), "eps"), {"value": ([0.0, 1.0], "vae")}),
    "HoleWalk": (
        vae_lib.HoleWalk,
        {
            "vae": (VAE, "vae"), **GAUSSIANS, "start": ((0.0, 0.0), "vae"), "end": ((1.0, 1.0), "vae"), "limit": (4.5, "number"),
        },
    ),
    "KLGaussians": (vae_lib.KLGaussians, {"mu": (1.0, "number"), "log_var": (0.0, "number")}),
    "KLGaussians.mu": (setter(vae_lib.KLGaussians(), "mu"), {"value": (1.0, "number")}),
    "LatentExplorer": (
        vae_lib.LatentExplorer,
        {
            "model": (VAE, "model"), "images": (X, "optional images"), "labels": (LABELS, "codes"),
            "codes": (None, "optional integer"), "z": (None, "optional integer"), "sliders": (2, "optional integer"),
            "limit": (3.5, "number"), "image_shape": ((4, 4), "optional integer"),
        },
    ),
    "LatentExplorer.z": (setter(EXPLORER, "z"), {"value": ((0.0, 0.0), "vae")}),
    "LatentExplorer.encode": (EXPLORER.encode, {"image": (X[0], "images")}),
    "PosteriorGap": (vae_lib.PosteriorGap, {**PLAIN, "points": (200, "integer")}),
    "TrainingScrubber": (
        vae_lib.TrainingScrubber,
        {"recorder": (RECORDER, "vae"), "epoch": (None, "optional number"), "limit": (None, "optional number")},
    ),
    "TrainingScrubber.epoch": (setter(vae_lib.TrainingScrubber(RECORDER), "epoch"), {"value": (1.0, "number")}),
}  # fmt: skip
TAKEN["tensor"] = MATRICES | {"NaNs", "infinities", "a number beyond float64", "NaN", "infinity", "a symbolic tensor"}
TAKEN["model"] = {"a decoder"}

# What holds results or is an error, and what takes whatever Keras hands it.
PLAIN_RECORDS = {
    "ActiveUnits", "BestGaussian", "DataError", "Dataset", "ElboTerms", "ExactLogPx", "History", "PosteriorGrid", "SampleQuality",
    "Sampling", "Snapshot", "TrainingError", "WeightsError", "plots", "load_digits", "load_mnist", "pretrained_registry",
    "batch_loss", "kl_weight",
}  # fmt: skip
PAIRS = [(name, argument) for name, (_, arguments) in CALLS.items() for argument in arguments]


def complaint(error):
    """Say what is amiss with an error, or nothing."""
    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    message = str(error)
    if not isinstance(error, ValueError):
        return f"{type(error).__name__}: {message:.120}"
    if raised_in.parent.name not in ("vae_lib", "widgets"):
        return f"raised in {raised_in}: {message:.120}"
    if "expected" not in message or len(message) > 600 or "\n" in message:
        return f"message: {message:.700}"
    return None


@pytest.mark.parametrize(("name", "argument"), PAIRS, ids=[f"{name}-{argument}" for name, argument in PAIRS])
def test_what_an_argument_cannot_be_is_refused_with_a_word_of_our_own(name, argument, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, arguments = CALLS[name]
    good = {key: value for key, (value, _) in arguments.items()}
    taken = TAKEN[arguments[argument][1]]
    found = []
    for kind, wrong in WRONG.items():
        if kind in taken and name == "train":
            continue  # training takes its time
        try:
            call(**good | {argument: wrong})
        except Exception as error:  # whatever it is
            if told := complaint(error):
                found.append(f"{kind}: {told}")
        else:
            if kind not in taken:
                found.append(f"{kind}: taken")
    assert not found, "\n".join(found)


def test_every_public_function_and_each_of_its_arguments_is_tried():
    """The list above is held by hand; a new function, or a new argument, cannot escape it."""
    assert {name.split(".")[0] for name in CALLS} | PLAIN_RECORDS == set(vae_lib.__all__)
    for name, (call, arguments) in CALLS.items():
        if name.count(".") and not name.startswith("plots.") and list(arguments) == ["value"]:
            continue  # a property
        parameters = [p.name for p in inspect.signature(call).parameters.values() if p.kind is not p.VAR_KEYWORD]
        assert set(parameters) == set(arguments), name
    drawing = {name for name, function in inspect.getmembers(plots, inspect.isfunction) if function.__module__ == plots.__name__}
    assert {f"plots.{name}" for name in drawing if not name.startswith("_")} == {
        name for name in CALLS if name.startswith("plots.")
    }


# load_weights needs a file that is there, train takes long: their own tests call them with good arguments
@pytest.mark.parametrize("name", [name for name in CALLS if name not in ("load_weights", "train")])
def test_the_good_arguments_are_good(name, tmp_path, monkeypatch):
    """What the battery changes one thing of at a time is taken as it stands; nothing of the caller's is changed or locked."""
    monkeypatch.chdir(tmp_path)
    call, arguments = CALLS[name]
    good = {key: value for key, (value, _) in arguments.items()}
    own = {key: value.copy() for key, value in good.items() if isinstance(value, np.ndarray) and value.flags.writeable}
    given = good | own
    call(**given)
    for key, array in own.items():
        np.testing.assert_array_equal(given[key], good[key])
        assert array.flags.writeable, key


# ---- variations on images -------------------------------------------------------------------------------------------------


def spoilt(value):
    x = X.astype(float)
    x[2, 3] = value
    return x


IMAGE_VARIATIONS = {
    "rank 1": (
        X[0],
        r"expected shape \(images, 16\) with at least one image, got \(16,\); of one image, give x.reshape\(1, -1\)",
    ),
    "rank 3": (X.reshape(4, 4, 4), r"got \(4, 4, 4\); flatten images with x.reshape\(len\(x\), -1\)"),
    "rank 0": (np.float32(0.5), r"got \(\)"),
    "too narrow": (X[:, :15], r"got \(4, 15\); the model takes images of 16 pixels"),
    "no image": (X[:0], r"got \(0, 16\); give at least one image"),
    "bytes": (np.full((4, 16), 255, np.uint8), r"expected values in \[0, 1\], got 255 to 255; divide bytes by 255"),
    "between -1 and 1": (2 * X - 1, r"values in \[-1, 1\] come to \[0, 1\] by \(x \+ 1\) / 2"),
    "NaN": (spoilt(np.nan), "got nan to nan; drop or fill the NaNs"),
    "infinite": (spoilt(np.inf), "to inf; drop or replace the infinities"),
    "negative": (spoilt(-0.001), "got -0.001 to .*; scale them"),
    "above one": (spoilt(1.001), "to 1.001; scale them"),
    "a pair": ((X, X), "x: expected one array of images, got a tuple of 2; give the images alone"),
}


@pytest.mark.parametrize(("x", "message"), IMAGE_VARIATIONS.values(), ids=IMAGE_VARIATIONS)
@pytest.mark.parametrize(
    "call", [vae_lib.elbo, vae_lib.active_units, vae_lib.exact_log_px, lambda vae, x: train(vae, x, progress=False)]
)
def test_the_remedy_fits_the_images(call, x, message):
    with pytest.raises(ValueError, match=message):
        call(VAE, x)


def test_rounding_beside_0_and_1_is_clipped_and_changes_nothing_else():
    x = np.clip(X.astype(float), 0.1, 0.9)
    x[0, 0], x[1, 1] = 1.0000000000000002, -1e-7
    clean, before = np.clip(x, 0, 1), x.copy()
    for one, other in zip(vae_lib.elbo(VAE, x), vae_lib.elbo(VAE, clean), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(x, before)


# ---- what is taken --------------------------------------------------------------------------------------------------------


@pytest.mark.backends
def test_what_holds_images_may_be_a_list_a_tensor_a_variable_or_an_unmasked_masked_array():
    class Frame:
        """A table that gives its numbers as NumPy asks for them, as a data frame does."""

        def __array__(self, dtype=None, copy=None):
            return X.astype(dtype or np.float64)

    expected = vae_lib.elbo(VAE, X)
    for x in (X.tolist(), keras.ops.convert_to_tensor(X), keras.Variable(X), np.ma.array(X), Frame(), X.astype(np.float64)):
        for one, other in zip(vae_lib.elbo(VAE, x), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.backends
def test_numpys_numbers_are_taken_wherever_a_number_is():
    one = np.int64(1)
    same = [
        (vae_lib.elbo(VAE, X, samples=one, seed=one).elbo, vae_lib.elbo(VAE, X, samples=1, seed=1).elbo),
        (vae_lib.iwae_bound(VAE, X, k=np.uint8(3), seed=one), vae_lib.iwae_bound(VAE, X, k=3, seed=1)),
        (vae_lib.exact_log_px(VAE, X, tol=np.float32(0.25)).log_px, vae_lib.exact_log_px(VAE, X, tol=0.25).log_px),
        (
            vae_lib.posterior_on_grid(VAE, X, points=np.int16(5), limit=np.float16(4)).log_density,
            vae_lib.posterior_on_grid(VAE, X, points=5, limit=4).log_density,
        ),
        (vae_lib.active_units(VAE, X, threshold=np.float32(0)).active, vae_lib.active_units(VAE, X, threshold=0).active),
        (TrainConfig(seed=one, beta=np.float32(0.5)), TrainConfig(seed=1, beta=0.5)),
        (vae_lib.HeldNoise(np.float32(0.5), seed=np.int32(2)).eps, vae_lib.HeldNoise(0.5, seed=2).eps),
        (vae_lib.LatentExplorer(VAE, sliders=one, limit=np.float32(3)).z, (0.0, 0.0)),
        (vae_lib.ConditionalExplorer(CONDITIONAL, digit=np.int8(2)).digit, 2),
        (vae_lib.BetaScrubber({np.float32(0.1): VAE, one: VAE}, X, LABELS, beta=0.1).beta, np.float32(0.1)),
    ]
    for given, plain in same:
        np.testing.assert_array_equal(given, plain)


WIDE = {
    "LatentExplorer": lambda limit: vae_lib.LatentExplorer(VAE, limit=limit),
    "ConditionalExplorer": lambda limit: vae_lib.ConditionalExplorer(CONDITIONAL, limit=limit),
    "HoleWalk": lambda limit: vae_lib.HoleWalk(VAE, MU, LOG_VAR, (0, 0), (1, 1), limit=limit),
    "TrainingScrubber": lambda limit: vae_lib.TrainingScrubber(RECORDER, limit=limit),
}


@pytest.mark.parametrize("make", WIDE.values(), ids=WIDE)
@pytest.mark.parametrize("limit", [1e17, 1e6, 100.1, 0, -3, np.inf, np.nan, True, "3"])
def test_no_plane_is_wider_than_ticks_can_be_counted_on(make, limit):
    with pytest.raises(ValueError, match="limit: expected a finite number above 0 and at most 100"):
        make(limit)


@pytest.mark.parametrize("make", WIDE.values(), ids=WIDE)
def test_the_widest_plane(make):
    make(100)


# ---- models that no widget can show ---------------------------------------------------------------------------------------


def diverged(vae, part):
    """The same model with one weight of its encoder or decoder that is no number."""
    broken = build_vae(vae.config)
    variable = getattr(broken, part).variables[0]
    weights = np.array(keras.ops.convert_to_numpy(variable))
    weights.flat[0] = np.nan
    variable.assign(weights)
    return broken


OF_A_MODEL = {
    "LatentExplorer": lambda vae: vae_lib.LatentExplorer(vae, images=X, labels=LABELS),
    "HoleWalk": lambda vae: vae_lib.HoleWalk(vae, MU, LOG_VAR, (0, 0), (1, 1)),
    "PosteriorGap": lambda vae: vae_lib.PosteriorGap(vae, X),
    "BetaScrubber": lambda vae: vae_lib.BetaScrubber({1.0: VAE, 2.0: vae}, X, LABELS),
}


@pytest.mark.parametrize("make", OF_A_MODEL.values(), ids=OF_A_MODEL)
@pytest.mark.parametrize("part", ["encoder", "decoder"])
@pytest.mark.backends
def test_no_widget_shows_a_model_that_has_diverged(make, part):
    with pytest.raises(ValueError, match=f"{part}_0.*: expected finite .*(again|stable)"):
        make(diverged(VAE, part))


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_no_conditional_explorer_shows_a_model_that_has_diverged(part):
    with pytest.raises(ValueError, match=f"weights {part}_0/kernel: expected finite numbers, got NaN; training has diverged"):
        vae_lib.ConditionalExplorer(diverged(CONDITIONAL, part))


@pytest.mark.parametrize("make", OF_A_MODEL.values(), ids=OF_A_MODEL)
def test_no_plane_is_shown_of_a_conditional_model(make):
    with pytest.raises(ValueError, match=r"expected a VAE that is not conditional.*give with_label\(vae, label\)"):
        make(CONDITIONAL)


def test_an_image_whose_code_is_no_number_is_not_encoded():
    vae = build_vae(CONFIG)
    explorer = vae_lib.LatentExplorer(vae, images=X, labels=LABELS)
    vae.encoder.get_layer("log_var").bias.assign(np.full(2, np.inf))
    before = explorer.z
    with pytest.raises(ValueError, match="model: mu, log_var: expected finite numbers, got infinity; the model has diverged"):
        explorer.encode(X[0])
    assert explorer.z == before


def test_a_huge_log_variance_travels_as_far_as_any_map_reaches():
    """And one of 80 or 60,000 leaves the page numbers that it can draw with."""
    vae = build_vae(CONFIG)
    for value in (80.0, 6e4, -6e4):
        vae.encoder.get_layer("log_var").bias.assign(np.full(2, value))
        spreads = np.frombuffer(vae_lib.LatentExplorer(vae, images=X, labels=LABELS)._canvas.spreads, "<f2").astype(float)
        assert np.isfinite(np.exp(spreads)).all()
        assert np.sign(spreads).tolist() == [np.sign(value)] * 8


def test_a_history_of_keras_is_drawn():
    vae = build_vae(CONFIG)
    vae.compile("adam")
    history = vae.fit(X, epochs=2, verbose=0, validation_data=(X,))
    above, _ = plots.loss_curve(history).axes
    drawn = {line.get_label(): [float(value) for value in line.get_ydata()] for line in above.lines}
    assert drawn["loss, training"] == pytest.approx(history.history["loss"])
    assert drawn["loss, test"] == pytest.approx(history.history["val_loss"])
