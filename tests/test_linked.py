"""What all widgets have: a still picture, and one module that calls nobody."""

import base64
from types import SimpleNamespace

import ipywidgets
import numpy as np
import pytest

import vae_lib
from vae_lib import Snapshot, TrainConfig, build_vae

RNG = np.random.default_rng(0)
CONFIG = TrainConfig(input_dim=16, hidden=(8,))
X, LABELS = RNG.random((50, 16), dtype=np.float32), np.arange(50) % 10
CODES, LOG_VAR = RNG.normal(size=(50, 2)), np.zeros((50, 2))
RECORD = SimpleNamespace(labels=LABELS, snapshots=[Snapshot(epoch, CODES, X[:4], epoch, 2.0) for epoch in (0.0, 1.0)])

ARGUMENTS = {
    "BetaScrubber": lambda: ({1.0: build_vae(CONFIG), 4.0: build_vae(CONFIG)}, X, LABELS),
    "BrowserTraining": lambda: (X, LABELS),
    "ConditionalExplorer": lambda: (build_vae(CONFIG.replace(classes=10)),),
    "ElboBalance": tuple,
    "HeldNoise": tuple,
    "HoleWalk": lambda: (build_vae(CONFIG), CODES, LOG_VAR, (-1.0, 0.0), (1.0, 0.0)),
    "KLGaussians": tuple,
    "LatentExplorer": lambda: (build_vae(CONFIG),),
    "PosteriorGap": lambda: (build_vae(CONFIG), X[:2]),
    "TrainingScrubber": lambda: (RECORD,),
}


def test_all_widgets_are_looked_at():
    assert {name for name, module in vae_lib._MODULE_OF.items() if module.startswith("widgets.")} == set(ARGUMENTS)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_still_picture_stands_in_and_the_module_is_one_and_calls_nobody(name):
    widget = getattr(vae_lib, name)(*ARGUMENTS[name]())
    shown = widget._repr_mimebundle_()
    assert base64.b64decode(shown["image/png"]).startswith(b"\x89PNG")
    is_live = "application/vnd.jupyter.widget-view+json" in shown
    assert is_live == (int(ipywidgets.__version__.split(".")[0]) >= 8)  # ipywidgets 7 shows the widget by _ipython_display_
    source = widget._canvas._esm
    assert source.count("export default ") == 1
    for forbidden in ("import ", "fetch(", "XMLHttpRequest", "http://", "https://"):
        assert forbidden not in source
