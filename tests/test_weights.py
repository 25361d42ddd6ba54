"""Weights on disk: what is saved comes back, what is damaged is refused, nothing half-written is left."""

import errno
import hashlib
import io
import json
import os
import resource
import stat
from pathlib import Path

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
    return {variable.path: np.asarray(variable.value) for variable in vae.trainable_variables}


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
        np.testing.assert_array_equal(one, other)


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


# ---- what cannot be saved -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model", "model.h5", "model.npz.bak", "no such folder/model.npz", ""])
def test_names_that_do_not_serve(tmp_path, name):
    with pytest.raises(WeightsError, match=r"path: expected a name ending in \.npz in a folder that exists, got"):
        save_weights(build_vae(SMALL), tmp_path / name)


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
}


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
@pytest.mark.parametrize("name", ["large", "../small", "", "small.npz"])
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


@pytest.mark.parametrize("content", [None, "{not JSON"])
def test_a_missing_or_damaged_registry(tmp_path, monkeypatch, content):
    monkeypatch.setattr(weights, "_SHIPPED", tmp_path)
    if content is not None:
        (tmp_path / "registry.json").write_text(content)
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
