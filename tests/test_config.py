"""TrainConfig: the post's defaults, and no value that cannot work."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_lib import TrainConfig


def test_defaults_are_those_of_the_post():
    config = TrainConfig()
    assert (config.input_dim, config.hidden, config.latent_dim) == (784, (512,), 2)
    assert (config.batch_size, config.epochs, config.learning_rate, config.beta) == (50, 10, 1e-3, 1.0)
    assert (config.classes, config.activation, config.binarize, config.kl_warmup) == (0, "relu", "none", 0)
    assert (config.free_bits, config.learning_rate_end) == (0.0, None)


def test_is_frozen_and_hashable():
    config = TrainConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.beta = 2.0
    assert {config: "found"}[TrainConfig()] == "found"


def test_positional_arguments_are_refused():
    with pytest.raises(TypeError, match="positional"):
        TrainConfig(784)


@given(
    st.builds(
        TrainConfig,
        input_dim=st.integers(1, 10**6),
        latent_dim=st.integers(1, 1000),
        hidden=st.lists(st.integers(1, 10**6), min_size=1, max_size=5).map(tuple),
        beta=st.floats(0, allow_nan=False, allow_infinity=False),
        learning_rate=st.floats(0, exclude_min=True, allow_infinity=False),
        seed=st.integers(0, 2**31 - 1),
        classes=st.integers(0, 100),
        activation=st.sampled_from(["relu", "tanh"]),
        binarize=st.sampled_from(["none", "dynamic"]),
        kl_warmup=st.integers(0, 100),
        free_bits=st.floats(0, 10),
        learning_rate_end=st.none() | st.floats(1e-9, 1),
    )
)
def test_survives_json(config):
    assert TrainConfig(**json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_replace_changes_one_value_and_checks_it():
    config = TrainConfig(seed=5)
    assert config.replace(latent_dim=10) == TrainConfig(seed=5, latent_dim=10)
    with pytest.raises(ValueError, match="latent_dim"):
        config.replace(latent_dim=0)


WHOLE = ("input_dim", "latent_dim", "batch_size", "epochs")


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("value", [0, -1, 2.0, "2", None, True, math.nan])
def test_sizes_are_whole_numbers_of_at_least_one(name, value):
    with pytest.raises(ValueError, match=rf"{name}: expected a whole number from 1 to 2147483647, got"):
        TrainConfig(**{name: value})


@pytest.mark.parametrize("value", [(), [], 512, "512", None, (0,), (512, -1), (2.5,), (True,), ("8",)])
def test_hidden_is_a_tuple_of_widths(value):
    with pytest.raises(ValueError, match="hidden: expected"):
        TrainConfig(hidden=value)


@pytest.mark.parametrize("value", [-1, 2**31, 1.0, None, "0", True])
def test_seed_is_a_whole_number_of_31_bits(value):
    with pytest.raises(ValueError, match="seed: expected a whole number"):
        TrainConfig(seed=value)


@pytest.mark.parametrize("name", ["classes", "kl_warmup"])
@pytest.mark.parametrize("value", [-1, 2.0, "2", None, True])
def test_counts_are_whole_numbers_of_at_least_zero(name, value):
    with pytest.raises(ValueError, match=rf"{name}: expected a whole number from 0 to 2147483647, got"):
        TrainConfig(**{name: value})


@pytest.mark.parametrize("name", ["activation", "binarize"])
@pytest.mark.parametrize("value", ["sigmoid", "", None, 1, ["relu"], "RELU"])
def test_choices_say_what_there_is_to_choose(name, value):
    with pytest.raises(ValueError, match=rf"{name}: expected one of '\w+', '\w+', got"):
        TrainConfig(**{name: value})


@pytest.mark.parametrize("name", ["beta", "learning_rate", "free_bits"])
@pytest.mark.parametrize("value", [-1e-9, -1, math.nan, math.inf, -math.inf, 10**400, "1", None, True, 1j])
def test_rates_are_finite_numbers(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected a finite number"):
        TrainConfig(**{name: value})


def test_beta_may_be_zero_and_the_learning_rate_may_not():
    assert TrainConfig(beta=0).beta == 0
    with pytest.raises(ValueError, match="learning_rate: expected a finite number above 0, got 0"):
        TrainConfig(learning_rate=0)
    with pytest.raises(ValueError, match="learning_rate_end: expected a finite number above 0, got 0"):
        TrainConfig(learning_rate_end=0)
