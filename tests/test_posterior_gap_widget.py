"""The posterior gap: what Python and the browser integrate against the library on the whole grid; sliders; refusals."""

import base64

import keras
import numpy as np
import pytest
from in_node import in_node
from ipywidgets.widgets.widget_link import Link

import vae_lib
from vae_lib.widgets.posterior_gap import _cut

SHARES = (0.0, 0.35, 1.0, 1.5)
SCRIPT = """
import * as maths from "./posterior_gap_maths.js";
const { windows, step, bytes, encoders, bests, shares } = given;
const raw = Buffer.from(bytes, "base64");
const grids = maths.unpackWindows(windows, step, new DataView(raw.buffer, raw.byteOffset, raw.byteLength));
answer(grids.map((grid, i) => {
  const [from, to] = [encoders[i], bests[i]].map(([mu, logVar]) => ({ mu, logVar }));
  return shares.map((share) => maths.klToPosterior(grid, maths.gaussianAt(from, to, share)));
}));
"""
POINTS = 300


@pytest.fixture(scope="module")
def shown():
    """A model of two dimensions and three of its images; trained here, so that the posteriors are as wide as a test needs."""
    x = vae_lib.load_digits().x_train[:600]
    vae = vae_lib.build_vae(vae_lib.TrainConfig(hidden=(32,), epochs=6, beta=10.0, seed=4))
    if keras.backend.backend() == "tensorflow":
        vae_lib.train(vae, x, progress=False)
    else:  # what every backend has
        vae.compile("adam")
        vae.fit(x, batch_size=50, epochs=6, verbose=0)
    return vae, x[:3]


@pytest.fixture(scope="module")
def widget(shown):
    return vae_lib.PosteriorGap(*shown, points=POINTS)


@pytest.fixture(scope="module")
def whole(shown):
    """The same gaps by the library, on the uncut grid: (images, shares)."""
    vae, x = shown
    mu, log_var = (keras.ops.convert_to_numpy(part).astype(float) for part in vae.encoder(x))
    posterior = vae_lib.posterior_on_grid(vae, x, points=POINTS)
    best = vae_lib.best_gaussian(posterior, mu, log_var)
    ways = [(mu + share * (best.mu - mu), log_var + share * (best.log_var - log_var)) for share in SHARES]
    return np.stack([vae_lib.kl_to_posterior(posterior, *way) for way in ways], axis=1)


def test_the_browser_integrates_as_the_library_does(widget, whole):
    canvas = widget._canvas
    asked = {
        "windows": canvas.windows, "step": canvas.step, "bytes": base64.b64encode(canvas.log_density).decode(),
        "encoders": canvas.encoders, "bests": canvas.bests, "shares": SHARES,
    }  # fmt: skip
    assert np.array(in_node(SCRIPT, asked)) == pytest.approx(whole, abs=2e-3)


def test_what_is_shown_holds_nearly_all_of_a_posterior_that_q_misses(shown):
    """A q far narrower than the posterior, whose own surroundings hold a small part of it."""
    vae, x = shown
    posterior = vae_lib.posterior_on_grid(vae, x, points=POINTS)
    step = posterior.axis[1] - posterior.axis[0]
    mu = keras.ops.convert_to_numpy(vae.encoder(x)[0]).astype(float)
    narrow = np.full_like(mu, 2 * np.log(1.5 * step))
    windows, parts = _cut(posterior, mu, narrow, mu, narrow)
    for window, part, (z1, z2) in zip(windows, parts, mu, strict=True):
        assert np.exp(part).sum() * step**2 > 0.99 - 1e-6
        inside = part[abs(window["left"] + step * np.arange(window["columns"]) - z1) < 7.5 * step][
            :, abs(window["bottom"] + step * np.arange(window["rows"]) - z2) < 7.5 * step
        ]
        assert np.exp(inside).sum() * step**2 < 0.9, "q's own surroundings would do, and the test would show nothing"


def test_python_shows_the_same_and_the_parts_add_up(widget, whole, shown):
    log_px = vae_lib.exact_log_px(*shown).log_px
    for number in (1, 2, 3):
        widget.image = number
        for share, expected in zip(SHARES, whole[number - 1], strict=True):
            widget.share = share
            gap = widget.gap()
            assert gap.log_px == pytest.approx(log_px[number - 1])
            assert gap.log_px - gap.elbo == pytest.approx(expected, abs=2e-3)
            assert gap.elbo + gap.amortisation + gap.approximation == pytest.approx(gap.log_px)
            assert gap.amortisation > -1e-6


def test_sliders_are_linked_in_the_browser_and_named(widget):
    canvas, sliders = widget._canvas, widget._sliders
    assert list(sliders) == ["image", "share"]
    assert all(type(link) is Link for link in widget._links)
    spoken = [getattr(slider, "tooltip", None) or slider.description_tooltip for slider in sliders.values()]
    assert spoken == ["Which image", "From the encoder's q to the best"]
    widget.image, widget.share = 2, 0.5
    assert (canvas.image, canvas.share) == (2.0, 0.5) == (sliders["image"].value, sliders["share"].value)
    assert (widget.image, widget.share) == (2, 0.5)


def test_the_still_picture_says_the_gap(widget):
    widget.image, widget.share = 1, 0.0
    gap = widget.gap()
    assert f"{gap.log_px - gap.elbo:.2f}" in widget._still().get_suptitle()


@pytest.mark.parametrize(
    ("name", "value"), [("image", 0), ("image", 4), ("image", "two"), ("share", -0.1), ("share", 1.6), ("share", float("nan"))]
)
def test_what_no_slider_can_show_is_refused(widget, name, value):
    with pytest.raises(ValueError, match=f"{name}: expected a (finite|whole) number from"):
        setattr(widget, name, value)


def test_bad_input(shown):
    vae, x = shown
    with pytest.raises(ValueError, match="x: expected 2 to 24 images to choose from, got 1"):
        vae_lib.PosteriorGap(vae, x[:1])
    with pytest.raises(ValueError, match="two latent dimensions"):
        vae_lib.PosteriorGap(None, x)
    with pytest.raises(ValueError, match=r"expected shape \(images, 784\)"):
        vae_lib.PosteriorGap(vae, x[:, :100])
    with pytest.raises(ValueError, match="give posterior_on_grid more points"):
        vae_lib.PosteriorGap(vae, x, points=10)
