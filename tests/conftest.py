"""Shared by all tests: quiet TensorFlow, a small network, and data that need no network."""

import os
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before anything imports TensorFlow

import warnings

import numpy as np
import pytest
from hypothesis import settings

import vae_lib

# A shell lets what it starts in the background ignore Ctrl-C; the tests of Ctrl-C need it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Derandomised: a red test is red again when it is looked at. No database: the tests leave no files behind.
settings.register_profile("vae_lib", deadline=None, max_examples=40, derandomize=True, database=None)
settings.load_profile("vae_lib")


@pytest.fixture(scope="session")
def digits():
    """The 1,797 handwritten digits of scikit-learn: there without a network."""
    return vae_lib.load_digits()


@pytest.fixture(scope="session")
def mnist_or_digits():
    """MNIST where it can be had, else the digits that stand in."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="using scikit-learn's digits", category=UserWarning)
        return vae_lib.load_mnist(fallback=True)


@pytest.fixture
def config():
    """A network small enough to train in a blink."""
    return vae_lib.TrainConfig(hidden=(16,), epochs=2, batch_size=50, seed=3)


@pytest.fixture
def vae(config):
    return vae_lib.build_vae(config)


@pytest.fixture
def images():
    """One hundred random grey images, (100, 784)."""
    return np.random.default_rng(7).random((100, 784), dtype=np.float32)
