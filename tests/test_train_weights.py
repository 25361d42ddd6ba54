"""The tool behind `make weights`: what it rounds and measures; nothing that ships changes before all is there."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vae_lib

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

import train_weights

SMALL = vae_lib.TrainConfig(hidden=(4,), epochs=1)
NAMES = ("one", "two")


@given(st.floats(-6e4, 6e4, width=16).filter(lambda value: value == 0 or abs(value) >= 2**-14))
def test_weights_are_rounded_to_seven_significant_bits(value: float) -> None:
    (rounded,) = train_weights.round_weights(np.array([value], np.float32))
    mantissa, _ = np.frexp(rounded)
    assert mantissa * 2**7 == round(mantissa * 2**7)  # seven bits from the leading one
    assert abs(rounded - value) <= abs(value) * 2**-7
    assert train_weights.round_weights(np.array([rounded]))[0] == rounded
    assert train_weights.round_weights(np.array([value], np.float32), bits=10)[0] == np.float32(value)


def test_halves_go_to_even() -> None:
    ulp = 2.0**-6
    given = np.array([1 + 0.5 * ulp, 1 + 1.5 * ulp, 1 + 2.49 * ulp, 2 - 0.1 * ulp], np.float32)
    np.testing.assert_array_equal(train_weights.round_weights(given), [1, 1 + 2 * ulp, 1 + 2 * ulp, 2])


def test_pixels_that_are_always_black_keep_no_weights() -> None:
    vae = vae_lib.build_vae(SMALL.replace(classes=3))
    x = np.random.default_rng(0).random((5, 784), dtype=np.float32)
    x[:, 100:200] = 0
    train_weights.make_small(vae, x)
    kernel = keras.ops.convert_to_numpy(vae.encoder.variables[0])
    assert (kernel[100:200] == 0).all()
    assert (np.delete(kernel, range(100, 200), axis=0) != 0).all()  # the label's rows as well


def test_frozen_weights_are_rounded_as_well() -> None:
    vae = vae_lib.build_vae(SMALL)
    vae.trainable = False
    train_weights.make_small(vae, np.ones((1, 784), np.float32))
    for variable in (*vae.encoder.variables, *vae.decoder.variables):
        array = keras.ops.convert_to_numpy(variable)
        np.testing.assert_array_equal(train_weights.round_weights(array), array)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A stage, a folder that ships one model, two small configurations, and the digits in the place of MNIST."""
    shipped, stage = tmp_path / "shipped", tmp_path / "stage"
    shipped.mkdir()
    (shipped / "one.npz").write_bytes(b"old")
    (shipped / "registry.json").write_text('{"one": {"sha256": "old"}}')
    monkeypatch.setattr(train_weights, "SHIPPED", shipped)
    monkeypatch.setattr(train_weights, "STAGE", stage)
    monkeypatch.setattr(train_weights, "CONFIGS", {name: SMALL.replace(seed=seed) for seed, name in enumerate(NAMES)})
    monkeypatch.setattr(train_weights, "IWAE_SAMPLES", 2)
    monkeypatch.setattr(vae_lib, "load_mnist", vae_lib.load_digits, raising=False)
    return shipped, stage


def test_an_interrupted_run_changes_nothing_and_goes_on_later(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped, stage = folders
    real, trained = vae_lib.train, []

    def train(vae: vae_lib.VAE, *args: Any, **options: Any) -> vae_lib.History:
        trained.append(vae.config.seed)
        if len(trained) == 2:
            return vae_lib.History()  # as after Ctrl-C
        return real(vae, *args, progress=False, **options)

    monkeypatch.setattr(vae_lib, "train", train, raising=False)
    assert train_weights.main([]) == 130
    assert (shipped / "one.npz").read_bytes() == b"old"
    assert json.loads((shipped / "registry.json").read_text()) == {"one": {"sha256": "old"}}
    assert sorted(file.name for file in stage.iterdir()) == ["one.json", "one.npz"]
    assert train_weights.main([]) == 0
    assert trained == [0, 1, 1]  # the first model was not trained again
    registry = json.loads((shipped / "registry.json").read_text())
    assert list(registry) == list(NAMES)
    assert sorted(file.name for file in shipped.iterdir()) == ["one.npz", "registry.json", "two.npz"]
    assert not stage.exists()
    for name in NAMES:
        loaded = vae_lib.load_weights(shipped / f"{name}.npz")
        assert loaded.config == train_weights.CONFIGS[name] == vae_lib.TrainConfig(**registry[name]["config"])
        expected = float(vae_lib.elbo(loaded, vae_lib.load_digits().x_test, samples=10, seed=0).elbo.mean())
        assert registry[name]["metrics"]["digits_elbo"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("content", ["", "null", "3", "[]", "{}", '{"config": {"depth": 1}}', '{"config": {}}', "[" * 100_000])
def test_a_damaged_entry_in_the_stage_is_as_none(folders: tuple[Path, Path], content: str) -> None:
    _, stage = folders
    stage.mkdir()
    (stage / "one.npz").write_bytes(b"weights")
    (stage / "one.json").write_text(content)
    assert train_weights.staged("one", SMALL) is None


@pytest.mark.usefixtures("folders")
def test_unknown_names_say_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train_weights.main(["three"])
    assert "expected names of one, two, got three" in capsys.readouterr().err
