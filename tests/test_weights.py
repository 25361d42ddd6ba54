"""Weights on disk: what is saved comes back, what is damaged is refused, nothing half-written is left."""

import errno
import hashlib
import io
import json
import os
import resource
import stat
import subprocess
import sys
import threading
import zipfile
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_lib import (
    TrainConfig,
    WeightsError,
    active_units,
    build_vae,
    elbo,
    iwae_bound,
    load_weights,
    pretrained,
    pretrained_registry,
    save_weights,
    weights,
)  # fmt: skip

SMALL = TrainConfig(input_dim=9, hidden=(5, 4), latent_dim=2, beta=0.5, seed=7)


@pytest.fixture
def saved(tmp_path):
    """A model and the file that holds it."""
    vae = build_vae(SMALL)
    return vae, save_weights(vae, tmp_path / "model.npz")


def values(vae):
    return {variable.path: keras.ops.convert_to_numpy(variable) for variable in vae.encoder.variables + vae.decoder.variables}


def rewrite(path, *, sign=False, **changes):
    """Change entries of a file; `sign` also makes its digest fit, as a forger would."""
    with np.load(path) as archive:
        entries = dict(archive) | changes
    entries = {name: value for name, value in entries.items() if value is not None}
    if sign:
        arrays = {name: value for name, value in entries.items() if name not in ("config", "sha256")}
        entries["sha256"] = np.array(weights._digest(str(entries["config"]), arrays))
    np.savez(path, **entries)


# ---- there and back -------------------------------------------------------------------------------------------------------


def test_float32_comes_back_exactly(saved):
    vae, path = saved
    loaded = load_weights(path)
    assert loaded.config == SMALL
    for name, value in values(vae).items():
        np.testing.assert_array_equal(values(loaded)[name], value)


def test_float16_comes_back_to_11_bits(tmp_path):
    vae = build_vae(SMALL)
    loaded = load_weights(save_weights(vae, tmp_path / "half.npz", dtype="float16"))
    for name, value in values(vae).items():
        assert values(loaded)[name].dtype == np.float32
        np.testing.assert_allclose(values(loaded)[name], value, rtol=2**-11, atol=2**-25)  # 2⁻²⁵: half a subnormal step


def test_the_loaded_model_computes_the_same(saved):
    vae, path = saved
    x = np.random.default_rng(0).random((4, 9), dtype=np.float32)
    for one, other in zip(vae.encoder(x), load_weights(str(path)).encoder(x), strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other))


def test_the_path_is_returned_and_nothing_lies_beside_it(saved):
    _, path = saved
    assert [entry.name for entry in path.parent.iterdir()] == ["model.npz"]


def test_a_file_is_replaced_as_a_whole(saved):
    _, path = saved
    other = build_vae(SMALL.replace(seed=8))
    save_weights(other, path)
    np.testing.assert_array_equal(values(load_weights(path))["mu/kernel"], values(other)["mu/kernel"])


def test_a_file_can_be_read_by_whom_the_umask_lets(tmp_path):
    before = os.umask(0o022)
    try:
        path = save_weights(build_vae(SMALL), tmp_path / "model.npz")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_nothing_in_the_file_is_pickled(saved):
    _, path = saved
    with np.load(path, allow_pickle=False) as archive:
        kinds = {archive[name].dtype.kind for name in archive.files}
    assert kinds == {"f", "U"}


def all_frozen(vae):
    vae.trainable = False


def encoder_frozen(vae):
    vae.encoder.trainable = False


def one_layer_frozen(vae):
    vae.decoder.get_layer("decoder_1").trainable = False


@pytest.mark.backends
@pytest.mark.parametrize("freeze", [all_frozen, encoder_frozen, one_layer_frozen])
def test_weights_that_are_frozen_are_saved_as_well(tmp_path, freeze):
    vae = build_vae(SMALL)
    expected = values(vae)
    freeze(vae)
    loaded = load_weights(save_weights(vae, tmp_path / "model.npz"))
    assert values(loaded).keys() == expected.keys()
    assert len(expected) == 14  # kernels and biases of two hidden layers, means, variances, two hidden layers, logits
    for name, value in expected.items():
        np.testing.assert_array_equal(values(loaded)[name], value)


HISTORY = [
    {"by": "train", "config": {"epochs": 3, "beta": 0.5, "input_dim": 9}, "epochs": 2, "images": 60},
    {"by": "fit", "epochs": 1, "images": None},
    {"by": "my own loop", "note": "whatever a user writes down must not make a file that cannot be loaded"},
]


def test_how_weights_were_trained_comes_back(tmp_path):
    vae = build_vae(SMALL)
    assert load_weights(save_weights(vae, tmp_path / "new.npz")).trained == []
    vae.trained = HISTORY
    loaded = load_weights(save_weights(vae, tmp_path / "model.npz", dtype="float16"))
    assert loaded.trained == HISTORY
    assert load_weights(save_weights(loaded, tmp_path / "again.npz")).trained == HISTORY


def test_a_history_that_was_altered_is_found(tmp_path):
    vae = build_vae(SMALL)
    vae.trained = HISTORY
    path = save_weights(vae, tmp_path / "model.npz")
    rewrite(path, trained=np.array(json.dumps(HISTORY[:1])))
    with pytest.raises(WeightsError, match="the file was altered"):
        load_weights(path)
    rewrite(path, trained=None)
    with pytest.raises(WeightsError, match="the file was altered"):
        load_weights(path)


def test_a_history_that_is_longer_than_a_file_may_hold_is_named(tmp_path):
    vae = build_vae(SMALL)
    vae.trained = [{"by": "fit", "epochs": 1, "images": 1, "note": "x" * 1_100_000}]
    with pytest.raises(WeightsError, match=r"vae\.trained: expected at most a million characters, got 1100\d\d\d; shorten it"):
        save_weights(vae, tmp_path / "model.npz")


def test_weights_that_shrink_by_more_than_a_bomb_may_are_stored_as_they_are(tmp_path):
    """Zeros shrink by a factor of 1,000: loading refuses such a file where it is large, so it must not come from saving."""
    vae = build_vae(TrainConfig(hidden=(1600, 1600)))
    for variable in vae.encoder.variables + vae.decoder.variables:
        variable.assign(np.zeros(variable.shape))
    path = save_weights(vae, tmp_path / "zeros.npz")
    assert path.stat().st_size > 3e7
    assert all(not value.any() for value in values(load_weights(path)).values())


def test_threads_save_to_one_file_and_each_load_finds_a_whole_one(tmp_path):
    path = tmp_path / "model.npz"
    models = [build_vae(SMALL.replace(seed=seed)) for seed in range(4)]
    kernels = {values(vae)["mu/kernel"].tobytes() for vae in models}
    save_weights(models[0], path)
    errors = []

    def save(vae):
        try:
            for _ in range(15):
                save_weights(vae, path)
        except Exception as error:  # no thread's error is lost
            errors.append(error)

    threads = [threading.Thread(target=save, args=(vae,)) for vae in models]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert values(load_weights(path))["mu/kernel"].tobytes() in kernels
    assert errors == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.npz"]


# ---- what cannot be saved -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model", "model.h5", "model.npz.bak", "no such folder/model.npz", ""])
def test_names_that_do_not_serve(tmp_path, name):
    with pytest.raises(WeightsError, match=r"path: expected a name ending in \.npz in a folder that exists, got"):
        save_weights(build_vae(SMALL), tmp_path / name)


def a_decoder():
    return build_vae(SMALL).decoder


@pytest.mark.parametrize("make", [lambda: None, lambda: SMALL, a_decoder, keras.Sequential])
def test_what_is_no_vae_is_named(tmp_path, make):
    with pytest.raises(WeightsError, match="vae: expected a VAE, got"):
        save_weights(make(), tmp_path / "model.npz")


def test_a_vae_that_load_weights_would_not_take_is_not_saved(tmp_path):
    vae = build_vae(SMALL)
    for config in (SMALL.replace(hidden=(5,)), SMALL.replace(hidden=(1,) * 101)):
        vae.config = config
        with pytest.raises(
            WeightsError, match=r"vae: expected the weights \{.*got .*encoder_1/.*save a model that build_vae made"
        ):
            save_weights(vae, tmp_path / "model.npz")
    assert list(tmp_path.iterdir()) == []


PATHS = {
    "None": (None, "path: expected a string or a Path, got NoneType"),
    "a number": (3, "path: expected a string or a Path, got int"),
    "bytes": (b"model.npz", "path: expected a string or a Path, got bytes"),
    "NUL": ("mod\0el.npz", "path: expected no NUL character"),
    "NUL in a folder": ("fol\0der/model.npz", "path: expected no NUL character"),
}


@pytest.mark.parametrize(("path", "message"), PATHS.values(), ids=PATHS)
def test_what_is_no_path(path, message):
    with pytest.raises(WeightsError, match=message):
        save_weights(build_vae(SMALL), path)
    with pytest.raises(WeightsError, match=message):
        load_weights(path)


@pytest.mark.parametrize("length", [240, 251, 255])
def test_the_longest_names_serve(tmp_path, length):
    path = tmp_path / ("x" * (length - 4) + ".npz")
    assert load_weights(save_weights(build_vae(SMALL), path)).config == SMALL
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("path", ["x" * 252 + ".npz", "x" * 300 + "/model.npz", "x/" * 3000 + "model.npz", "\udcff\ud800.npz"])
def test_longer_names_and_names_that_no_file_has(tmp_path, path):
    with pytest.raises(WeightsError, match="expected"):
        save_weights(build_vae(SMALL), tmp_path / path)
    with pytest.raises(WeightsError, match="expected a file written by save_weights"):
        load_weights(tmp_path / path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def nobody():
    """Without the rights of root, which may read and write everything."""
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)
    yield
    if was_root:
        os.seteuid(0)


def test_a_folder_that_may_not_be_searched(tmp_path, request):
    vae = build_vae(SMALL)
    closed = tmp_path / "closed"
    closed.mkdir()
    path = save_weights(vae, closed / "model.npz")
    closed.chmod(0o000)
    request.getfixturevalue("nobody")
    try:
        with pytest.raises(
            WeightsError, match=r"expected a file written by save_weights, got: .*Permission denied.*check the path"
        ):
            load_weights(path)
        with pytest.raises(WeightsError, match=r"path: expected|got: .*Permission denied"):
            save_weights(vae, path)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        closed.chmod(0o700)


@pytest.mark.parametrize("dtype", ["float64", "int8", np.float32, None])
def test_dtypes_that_do_not_serve(tmp_path, dtype):
    with pytest.raises(WeightsError, match='dtype: expected "float32" or "float16", got'):
        save_weights(build_vae(SMALL), tmp_path / "model.npz", dtype=dtype)


@pytest.mark.parametrize(("value", "dtype"), [(np.nan, "float32"), (np.inf, "float32"), (1e5, "float16"), (-np.inf, "float16")])
def test_weights_must_be_finite_as_they_are_stored(tmp_path, value, dtype):
    vae = build_vae(SMALL)
    kernel = vae.trainable_variables[0]
    kernel.assign(np.full(kernel.shape, value))
    with pytest.raises(WeightsError, match=f"encoder_0/kernel: expected finite weights that {dtype} can hold"):
        save_weights(vae, tmp_path / "model.npz", dtype=dtype)
    assert list(tmp_path.iterdir()) == []


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def half_written(file, **_):
    file.write(b"PK\x03\x04 half")
    full_disk()


@pytest.mark.parametrize(
    ("target", "name", "broken"), [(np, "savez_compressed", half_written), (weights.Path, "replace", full_disk)]
)
def test_a_full_disk_leaves_the_old_file_and_nothing_else(saved, monkeypatch, target, name, broken):
    _, path = saved
    before = path.read_bytes()
    other = build_vae(SMALL.replace(seed=1))
    monkeypatch.setattr(target, name, broken)
    with pytest.raises(WeightsError, match=r"No space left on device.*; free space or choose another folder"):
        save_weights(other, path)
    monkeypatch.undo()
    assert [entry.name for entry in path.parent.iterdir()] == ["model.npz"]
    assert path.read_bytes() == before


def test_a_read_only_folder(tmp_path, monkeypatch):
    def refuse(*_, **__):  # permissions do not bind root, so the refusal is made
        raise PermissionError(errno.EACCES, "Permission denied")

    vae = build_vae(SMALL)
    monkeypatch.setattr(weights.Path, "open", refuse)
    with pytest.raises(WeightsError, match=r"expected to write \d+ bytes, got: .*Permission denied"):
        save_weights(vae, tmp_path / "model.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_the_system_guards(tmp_path):
    tmp_path.chmod(0o500)
    guarded = Path("/proc/self") if os.access(tmp_path, os.W_OK) else tmp_path  # permissions do not bind root; /proc does
    with pytest.raises(WeightsError, match=r"expected to write \d+ bytes, got: .*; free space or choose another folder"):
        save_weights(build_vae(SMALL), guarded / "model.npz")
    tmp_path.chmod(0o700)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_the_system_cuts_short_leaves_the_old_one_and_nothing_else(saved):
    """As above, but the system refuses: no file of this process may grow beyond 2,000 bytes."""
    _, path = saved
    before = path.read_bytes()
    vae = build_vae(SMALL.replace(seed=1))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(WeightsError, match=r"expected to write \d+ bytes, got: .*; free space or choose another folder"):
            save_weights(vae, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [entry.name for entry in path.parent.iterdir()] == ["model.npz"]
    assert path.read_bytes() == before


def test_ctrl_c_leaves_nothing_half_written(tmp_path, monkeypatch):
    def interrupt(file, **_):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_weights(build_vae(SMALL), tmp_path / "model.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_the_file(tmp_path):
    (tmp_path / "model.npz").mkdir()
    with pytest.raises(WeightsError, match="choose another folder"):
        save_weights(build_vae(SMALL), tmp_path / "model.npz")
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.npz"]


# ---- what cannot be loaded ------------------------------------------------------------------------------------------------


def npy_bytes():
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


FOREIGN = {
    "empty": b"",
    "text": b"these are no weights",
    "HTML": b"<!DOCTYPE html><html></html>",
    "npy": npy_bytes(),
    "pickle": b"\x80\x04\x8c\x02os\x94.",
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "zip header alone": b"PK\x03\x04",
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_foreign_files(tmp_path, content):
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"expected an \.npz archive written by save_weights, got: .*; save it again"):
        load_weights(path)


@pytest.mark.parametrize("path", ["nowhere.npz", "/", ""])
def test_missing_files(path):
    with pytest.raises(WeightsError, match="expected a file written by save_weights, found none; check the path"):
        load_weights(path)


@pytest.mark.parametrize("name", ["config", "sha256"])
def test_an_archive_of_something_else(saved, name):
    _, path = saved
    rewrite(path, **{name: None})
    with pytest.raises(WeightsError, match=f"expected an entry '{name}', got an archive without it: not from save_weights"):
        load_weights(path)


def test_a_changed_weight_is_found(saved):
    vae, path = saved
    kernel = values(vae)["encoder_0/kernel"].copy()
    kernel[0, 0] = np.nextafter(kernel[0, 0], 2)
    rewrite(path, **{"encoder_0/kernel": kernel})
    with pytest.raises(WeightsError, match=r"expected content with SHA-256 .*: the file was altered"):
        load_weights(path)


def test_a_changed_configuration_is_found(saved):
    _, path = saved
    rewrite(path, config=np.array(json.dumps({"input_dim": 9, "hidden": [5, 4], "beta": 1.0})))
    with pytest.raises(WeightsError, match="the file was altered"):
        load_weights(path)


FORGED = {
    "a name more": ({"more/kernel": np.zeros((2, 2), np.float32)}, r"expected \d+ numbers for TrainConfig"),
    "a name less": ({"mu/bias": None}, r"expected \d+ numbers for TrainConfig"),
    "another name": ({"mu/bias": None, "nu/bias": np.zeros(2, np.float32)}, "expected the weights"),
    "transposed": ({"encoder_0/kernel": np.zeros((5, 9), np.float32)}, "expected the weights"),
    "float64": ({"mu/bias": np.zeros(2)}, "expected mu/bias as float32 or float16, got float64"),
    "whole numbers": ({"mu/bias": np.zeros(2, np.int32)}, "expected mu/bias as float32 or float16, got int32"),
    "other sizes": ({"config": np.array('{"hidden": [3], "input_dim": 9}')}, r"expected \d+ numbers for TrainConfig"),
    "sizes beyond any memory": ({"config": np.array('{"hidden": [1000000000, 1000000000]}')}, r"expected 2\d{18} numbers"),
    "a size of zero": ({"config": np.array('{"latent_dim": 0}')}, "latent_dim: expected a whole number"),
    "an unknown field": ({"config": np.array('{"depth": 3}')}, "depth"),
    "no JSON": ({"config": np.array("latent_dim=2")}, "written by save_weights, got"),
    "no object": ({"config": np.array("[1, 2]")}, "written by save_weights, got"),
    "deep JSON": ({"config": np.array("[" * 100_000)}, "written by save_weights, got"),
    "a number as configuration": ({"config": np.array(3.0)}, "written by save_weights, got"),
    "a list of configurations": ({"config": np.array(["{}", "{}"])}, "written by save_weights, got"),
    "a number of 4,000 digits": ({"config": np.array(f'{{"latent_dim": 1{"0" * 4000}}}')}, "got: latent_dim: expected a whole"),
    "many layers": ({"config": np.array(json.dumps({"hidden": [1] * 1000}))}, "expected at most 100 hidden layers, got 1000"),
    "a history of text": ({"trained": np.array("well")}, "written by save_weights, got"),
    "a history that is no list": ({"trained": np.array("{}")}, "written by save_weights, got: a JSON dict, not a list"),
    "a history of numbers": ({"trained": np.array("[1]")}, "written by save_weights, got: .* not a list of objects"),
    "a history in bytes": ({"trained": np.array(b"[]")}, "written by save_weights, got: .* as trained, not one text"),
    "several histories": ({"trained": np.array(["[]", "[]"])}, "written by save_weights, got: .* as trained, not one text"),
    "nested history": ({"trained": np.array('[{"a":' + "[" * 990 + "]" * 990 + "}]")}, "written by save_weights, got"),
    "deep history": ({"trained": np.array("[" * 100_000)}, "written by save_weights, got"),
    "NaN": ({"mu/bias": np.full(2, np.nan, np.float32)}, "expected finite weights, got inf or NaN in mu/bias; train again"),
    "infinity": ({"mu/bias": np.full(2, np.inf, np.float16)}, "expected finite weights, got inf or NaN in mu/bias; train again"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), FORGED.values(), ids=FORGED)
def test_content_that_does_not_fit_is_refused_even_with_a_fitting_digest(saved, changes, message):
    _, path = saved
    rewrite(path, sign=True, **changes)
    with pytest.raises(WeightsError, match=message) as caught:
        load_weights(path)
    assert "save_weights" in str(caught.value)


def test_pickled_objects_are_refused_unopened(saved, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    _, path = saved
    rewrite(path, **{"mu/bias": np.array([Trap()], dtype=object)})
    with pytest.raises(WeightsError, match="allow_pickle=False"):
        load_weights(path)
    assert not (tmp_path / "sprung").exists()


@settings(max_examples=100)
@given(position=st.integers(0), mask=st.integers(1, 255), keep=st.one_of(st.none(), st.integers(0)))
def test_whatever_happens_to_the_bytes_gives_the_same_weights_or_a_weights_error(tmp_path_factory, position, mask, keep):
    vae = build_vae(TrainConfig(input_dim=3, hidden=(2,)))
    path = save_weights(vae, tmp_path_factory.mktemp("fuzz") / "model.npz")
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= mask
    path.write_bytes(content if keep is None else content[: keep % len(content)])
    try:
        loaded = load_weights(path)
    except WeightsError as error:
        assert "save it again" in str(error)  # noqa: PT017 -- both outcomes are right
    else:
        for name, value in values(vae).items():
            np.testing.assert_array_equal(values(loaded)[name], value)


def zip_of(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, header, content in members:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array_header_1_0(member, header)
                for chunk in content:
                    member.write(chunk)


def text(content):
    array = np.array(content)
    return np.lib.format.header_data_from_array_1_0(array), [array.tobytes()]


def zeros(shape):
    size, row = int(np.prod(shape)) * 4, bytes(1 << 20)
    whole, rest = divmod(size, len(row))
    return {"descr": "<f4", "fortran_order": False, "shape": shape}, [*[row] * whole, row[:rest]]


def bombs(folder):
    """Files of a few kilobytes to a megabyte that say in one way or another that they hold up to 250 MB."""
    few, signature = text(json.dumps({"input_dim": 9, "hidden": [5, 4]})), ("sha256", *text("0" * 64))
    config = TrainConfig(hidden=(5000, 5000))
    wide, shapes, count = text(json.dumps(asdict(config))), weights._shapes(config), weights._count(config)
    deep = text(json.dumps({"hidden": [1] * 1000, "input_dim": 1}))
    named = {
        "a member more": [("config", *few), signature, ("more", *zeros((1 << 26,)))],
        "a large configuration": [("config", *text(" " * (1 << 24))), signature],
        "a large digest": [("config", *few), ("sha256", *text("0" * (1 << 24)))],
        "a long history": [("config", *few), signature, ("trained", *text(" " * (1 << 24)))],
        "one weight of all": [("config", *wide), signature, ("mu/bias", *zeros((count,)))],
        "all weights": [("config", *wide), signature, *((name, *zeros(shape)) for name, shape in shapes.items())],
        "many members": [("config", *few), signature, *((str(number), *text("x")) for number in range(5000))],
        "many layers": [("config", *deep), signature, ("x", *zeros((weights._count(TrainConfig(hidden=(1,) * 1000)),)))],
    }
    for name, members in named.items():
        zip_of(folder / f"{name}.npz", members)
    return sorted(named)


LOAD = """
import resource, sys
import vae_lib
from vae_lib import weights
vae_lib.WeightsError, vae_lib.load_weights  # loaded before anything is measured
def refused(path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        vae_lib.load_weights(path)
    except vae_lib.WeightsError as error:
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, error)
    else:
        print("loaded")
for path in sys.argv[1:]:
    refused(path)
assert "tensorflow" not in sys.modules and "keras" not in sys.modules, "something was built"
"""


def test_bombs_are_refused_before_anything_is_read_or_built(tmp_path):
    names = bombs(tmp_path)
    assert len(names) == 8
    assert sum((tmp_path / f"{name}.npz").stat().st_size for name in names) < 8e6
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *(tmp_path / f"{name}.npz" for name in names)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(names)
    for name, line in zip(names, lines, strict=True):
        assert "loaded" not in line, name
        assert int(line.split()[0]) <= 50, (name, line)  # MB
        assert "save it again with save_weights" in line, name


# ---- models that ship -----------------------------------------------------------------------------------------------------


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A registry of one small model."""
    vae = build_vae(SMALL)
    path = save_weights(vae, tmp_path / "small.npz", dtype="float16")
    registry = {"small": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}}
    (tmp_path / "registry.json").write_text(json.dumps(registry), encoding="utf-8")
    monkeypatch.setattr(weights, "_SHIPPED", tmp_path)
    return vae


def test_a_shipped_model_is_loaded(shipped):
    assert list(pretrained_registry()) == ["small"]
    loaded = pretrained("small")
    for name, value in values(shipped).items():
        np.testing.assert_allclose(values(loaded)[name], value, rtol=2**-11, atol=2**-25)


@pytest.mark.usefixtures("shipped")
@pytest.mark.parametrize("name", ["large", "../small", "", "small.npz", None, 3, ["small"], "nu\0l"])
def test_an_unknown_name_says_which_are_known(name):
    with pytest.raises(WeightsError, match="name: expected one of small, got"):
        pretrained(name)


@pytest.mark.usefixtures("shipped")
@pytest.mark.parametrize("content", [b"", b"other", None])
def test_a_shipped_file_that_is_not_the_shipped_one(tmp_path, content):
    path = tmp_path / "small.npz"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"expected SHA-256 [0-9a-f]{64}, got .*; install vae_lib again"):
        pretrained("small")


@pytest.mark.parametrize(
    "content",
    [
        None, "{not JSON", "null", "3", "[]", "{}", '"mnist-2d"', '{"mnist-2d": null}', '{"mnist-2d": {}}',
        '{"mnist-2d": {"sha256": 3}}', "[" * 100_000, '{"a":' * 100_000, "\xff",
    ],
)  # fmt: skip
def test_a_missing_or_damaged_registry(tmp_path, monkeypatch, content):
    monkeypatch.setattr(weights, "_SHIPPED", tmp_path)
    if content is not None:
        (tmp_path / "registry.json").write_text(content, encoding="latin-1")
    with pytest.raises(WeightsError, match=r"expected the list of shipped models, got: .*; install vae_lib again"):
        pretrained("small")


# ---- what the registry says -----------------------------------------------------------------------------------------------

REGISTRY = pretrained_registry()


def test_all_that_ships_is_registered_and_small():
    files = {file.stem: file.stat().st_size for file in weights._SHIPPED.glob("*.npz")}
    assert files.keys() == REGISTRY.keys()
    assert sum(files.values()) <= 12e6


@pytest.mark.parametrize("name", REGISTRY)
def test_each_file_is_what_its_entry_says(name):
    entry = REGISTRY[name]
    with np.load(weights._SHIPPED / f"{name}.npz", allow_pickle=False) as archive:
        assert TrainConfig(**json.loads(str(archive["config"]))) == TrainConfig(**entry["config"])
    assert hashlib.sha256((weights._SHIPPED / f"{name}.npz").read_bytes()).hexdigest() == entry["sha256"]
    assert {"keras", "numpy", "tensorflow", "vae-lib", "python"} <= entry["versions"].keys()
    assert "MNIST, 60,000 training images" in entry["data"]
    metrics = entry["metrics"]
    for images in ("test", "first_1000", "digits"):
        assert metrics[f"{images}_elbo"] == pytest.approx(
            -metrics[f"{images}_reconstruction"] - metrics[f"{images}_kl"], abs=0.01
        )
        assert -metrics[f"{images}_elbo"] > metrics[f"{images}_iwae_nll"]


@pytest.mark.tensorflow_only  # whose noise the metrics were drawn with: another backend's draws differ by more than rounding
@pytest.mark.parametrize("name", ["mnist-2d", "mnist-conditional"])
def test_the_metrics_of_the_registry_are_those_of_the_weights(mnist_or_digits, name):
    # on the same images, drawn with the same seeds: what is left is the rounding of sums; the digits serve without a network
    vae, data = pretrained(name), mnist_or_digits
    images, count = ("first_1000", 1000) if data.is_mnist else ("digits", len(data.x_test))
    x, labels = data.x_test[:count], data.y_test[:count] if vae.config.classes else None
    expected = REGISTRY[name]["metrics"]
    terms = elbo(vae, x, labels=labels, samples=10, seed=0)
    for part, values in terms._asdict().items():
        assert float(values.mean()) == pytest.approx(expected[f"{images}_{part}"], abs=0.01)
    nll = -float(iwae_bound(vae, x, k=100, labels=labels, seed=0).mean())
    assert nll == pytest.approx(expected[f"{images}_iwae_nll"], abs=0.01)
    assert active_units(vae, x, labels=labels).active == expected[f"{images}_active_units"]
