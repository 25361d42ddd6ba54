"""The public names: each is there, documented, and loads no more than it needs."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vae_lib


@pytest.mark.parametrize("name", vae_lib.__all__)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(vae_lib, name)
    assert inspect.getdoc(value)
    assert name in dir(vae_lib)


@pytest.mark.parametrize("name", sorted(set(vae_lib.__all__) - {"plots"}))
def test_every_public_name_comes_from_the_module_that_the_table_names(name):
    assert getattr(vae_lib, name).__module__ == f"vae_lib.{vae_lib._MODULE_OF[name]}"


def test_the_names_for_type_checkers_are_the_public_names():
    source = inspect.getsource(vae_lib)
    declared = {line.split(" as ")[1] for line in source.splitlines() if line.startswith("    from vae_lib.")}
    assert declared | {"plots"} == set(vae_lib.__all__)


def test_the_page_of_the_api_documents_every_public_name_and_no_other():
    page = (Path(__file__).parents[1] / "book" / "api.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\.\. auto\w+:: vae_lib\.(\w+)(?:\(\))?$", page, flags=re.MULTILINE)
    assert sorted(documented) == sorted(vae_lib.__all__)


@pytest.mark.parametrize(
    "names",
    [
        {"TrainConfig", "load_mnist", "load_digits", "Dataset", "DataError", "binarize"},
        {"gaussian_kl", "gaussian_log_prob", "sample_gaussian", "bernoulli_log_prob"},
        {"build_vae", "VAE", "train", "elbo", "save_weights", "load_weights", "pretrained", "plots", "LatentExplorer"},
    ],
)
def test_promised_names_are_public(names):
    assert names <= set(vae_lib.__all__)


def test_an_unknown_name_says_which_there_are():
    with pytest.raises(
        AttributeError, match=r"module 'vae_lib' has no attribute 'beta_vae'; it has .*LatentExplorer.*load_mnist"
    ):
        vae_lib.beta_vae  # noqa: B018 -- looking it up is the test


LIGHT = """
import sys
import vae_lib
assert not {{"numpy", "matplotlib", "keras", "tensorflow"}} & set(sys.modules), "importing vae_lib is to import nothing"
{use}
loaded = {{"tensorflow", "keras", "torch", "jax"}} & set(sys.modules)
assert not loaded, loaded
"""


@pytest.mark.parametrize(
    "use",
    [
        "vae_lib.load_digits(); vae_lib.binarize([0.5])",
        "vae_lib.TrainConfig(); vae_lib.DataError; vae_lib.Dataset; vae_lib.WeightsError",
        "vae_lib.plots.image_grid([[0.0] * 784], columns=1).canvas.draw()",
        "vae_lib.LatentExplorer",
        "import vae_lib.widgets.bundle, vae_lib.widgets.pack",
    ],
)
def test_data_plots_and_widgets_do_not_load_tensorflow(use):
    answer = subprocess.run([sys.executable, "-c", LIGHT.format(use=use)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
