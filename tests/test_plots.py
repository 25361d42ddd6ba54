"""Figures: what is drawn is what was given, and nothing outside the figure changes."""

import inspect
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from vae_lib import History, PosteriorGrid, plots

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

import legible  # tools/ is no package

RNG = np.random.default_rng(0)
CODES, LABELS = RNG.normal(size=(200, 2)), np.arange(200) % 10
PICTURES = RNG.random((6, 784))
HISTORY = History([200.0, 190.0], [195.0, 184.0], [5.0, 6.0], [198.0, 191.0], [192.0, 184.5], [6.0, 6.5], [1.0, 1.0])

FIGURES = {
    "latent_scatter": lambda: plots.latent_scatter(CODES, LABELS),
    "reconstructions": lambda: plots.reconstructions(PICTURES, 1 - PICTURES),
    "image_grid": lambda: plots.image_grid(PICTURES, columns=3),
    "manifold": lambda: plots.manifold(RNG.random((25, 784)), stats.norm.ppf(np.linspace(0.05, 0.95, 5))),
    "loss_curve": lambda: plots.loss_curve(HISTORY, landmarks={"mean image": 206.0}),
    "explorer_still": lambda: plots.explorer_still(PICTURES[:1], (0.5, -1.0), CODES, LABELS, limit=3.5),
}


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
def test_a_figure_is_returned_drawn_and_nothing_else_changes(make):
    before = dict(matplotlib.rcParams)
    figure = make()
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == []


def test_every_public_function_that_draws_is_tested():
    functions = inspect.getmembers(plots, inspect.isfunction)
    drawing = {name for name, function in functions if inspect.signature(function).return_annotation.endswith("Figure")}
    assert drawing == set(FIGURES)


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
def test_text_stands_out_from_its_ground(make):
    """By 4.5 to 1 at least, the measure of WCAG 2.2 for small letters, on light pages and dark ones."""
    assert legible.faint(make()) == []


def test_faint_text_is_found():
    """The measure itself: black on white is 21 to 1, and what stands on an image, a bar or a box is seen against it."""
    assert legible.contrast("black", "white") == pytest.approx(21)
    assert legible.contrast("#767676", "white") == pytest.approx(4.54, abs=0.01)  # the lightest grey that WCAG lets pass
    figure = plots.NotebookFigure()
    axes = figure.subplots()
    axes.imshow([[0.0, 1.0]], cmap="gray", vmin=0, vmax=1)
    axes.bar([3], [1], color="navy")
    axes.set(xlim=(-0.5, 4), ylim=(0.5, -0.5))
    for x, color, name in [(0, "black", "lost on black"), (1, "black", "on white"), (3, "black", "lost on a bar")]:
        axes.text(x, 0.2, name, color=color)
    axes.text(0, 0.3, "in a box", color="black", bbox={"facecolor": "white", "alpha": 1})
    figure.suptitle("pale", color="#aaaaaa")
    found = {line.split("'")[1] for line in legible.faint(figure) if "light" in line}
    assert found == {"lost on black", "lost on a bar", "pale"}


def test_a_figure_shows_itself_as_png_in_a_notebook():
    assert plots.image_grid(PICTURES, columns=3)._repr_png_().startswith(b"\x89PNG")


def image_of(axes):
    return np.asarray(axes.images[0].get_array())


# ---- scatter --------------------------------------------------------------------------------------------------------------


def test_scatter_draws_every_code_in_the_colour_of_its_digit():
    (axes,) = plots.latent_scatter(CODES, LABELS).axes
    digits = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
    assert sorted(digits) == [str(digit) for digit in range(10)]
    for digit in range(10):
        line = digits[str(digit)]
        np.testing.assert_array_equal(np.column_stack(line.get_data()), CODES[digit == LABELS])
        assert line.get_color() == plots.DIGIT_COLORS[digit]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == sorted(digits)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("$z_1$ (prior's σ)", "$z_2$ (prior's σ)")


def test_scatter_names_each_digit_where_digit_places_says():
    (axes,) = plots.latent_scatter(CODES, LABELS, limit=5).axes
    named = {text.get_text(): text.get_position() for text in axes.texts}
    places = plots.digit_places(CODES, LABELS, apart=5 / 11)
    assert named == {str(digit): pytest.approx((x, y)) for digit, x, y in places}
    assert len(named) == 10


def test_names_of_digits_far_apart_stand_at_their_medians():
    codes = np.array([[0, 0], [2, 0], [1, 0], [9, 9], [8, 9], [10, 8]])
    places = plots.digit_places(codes, [3, 3, 3, 7, 7, 7], apart=1)
    assert [place[0] for place in places] == [3, 7]
    np.testing.assert_allclose([place[1:] for place in places], [[1, 0], [9, 9]], atol=1e-4)


def test_names_of_digits_in_one_place_move_apart_and_stay_near():
    codes = np.zeros((10, 2))
    places = np.array(plots.digit_places(codes, np.arange(10), apart=1.0))[:, 1:]
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    assert distance[~np.eye(10, dtype=bool)].min() > 0.9
    assert np.linalg.norm(places, axis=1).max() < 4
    np.testing.assert_allclose(places.mean(axis=0), 0, atol=1e-5)  # no name is pushed without another giving way


def test_no_codes_have_no_names():
    assert plots.digit_places(np.zeros((0, 2)), [], apart=1) == []


def test_scatter_draws_the_circles_of_the_prior():
    (axes,) = plots.latent_scatter(CODES, LABELS).axes
    circles = [np.hypot(*line.get_data()) for line in axes.lines if len(line.get_xdata()) == 200]
    np.testing.assert_allclose(circles, np.tile([[1], [2], [3]], (1, 200)), rtol=1e-12)


def test_scatter_shows_a_square_that_holds_nearly_all_codes():
    (axes,) = plots.latent_scatter(CODES, LABELS).axes
    low, high = axes.get_xlim()
    assert (low, high) == axes.get_ylim() == (-high, high)
    assert 0.99 < (np.abs(CODES) < high).all(axis=1).mean() <= 1
    (axes,) = plots.latent_scatter(CODES, LABELS, limit=5).axes
    assert axes.get_xlim() == axes.get_ylim() == (-5, 5)


def test_scatter_of_one_digit_of_many_dimensions_and_of_a_collapsed_encoder():
    (axes,) = plots.latent_scatter(RNG.normal(size=(5, 7)), [3] * 5).axes
    assert [text.get_text() for text in axes.texts] == ["3"]
    plots.latent_scatter(np.zeros((3, 2)), [1, 2, 3]).canvas.draw()


def test_the_colours_of_the_digits_are_ten():
    assert len(set(plots.DIGIT_COLORS)) == 10


# ---- images ---------------------------------------------------------------------------------------------------------------


def test_reconstructions_stand_below_their_originals():
    top, bottom = plots.reconstructions(PICTURES, PICTURES**2).axes
    np.testing.assert_array_equal(image_of(top), np.hstack(list(PICTURES.reshape(-1, 28, 28))))
    np.testing.assert_array_equal(image_of(bottom), np.hstack(list(PICTURES.reshape(-1, 28, 28) ** 2)))
    assert [axes.get_title(loc="left") for axes in (top, bottom)] == ["original", "reconstructed"]
    assert top.images[0].get_clim() == bottom.images[0].get_clim() == (0, 1)


def test_a_grid_is_filled_row_by_row():
    (axes,) = plots.image_grid(PICTURES, columns=3).axes
    mosaic = image_of(axes)
    assert mosaic.shape == (56, 84)
    for number, picture in enumerate(PICTURES):
        row, column = divmod(number, 3)
        tile = mosaic[28 * row : 28 * row + 28, 28 * column : 28 * column + 28]
        np.testing.assert_array_equal(tile, picture.reshape(28, 28))


def test_images_need_not_be_square():
    (axes,) = plots.image_grid(PICTURES[:, :6], columns=2, image_shape=(2, 3)).axes
    assert image_of(axes).shape == (6, 6)
    np.testing.assert_array_equal(image_of(axes)[:2, :3], PICTURES[0, :6].reshape(2, 3))


def test_the_manifold_is_labelled_with_the_latent_values_at_the_middles_of_its_images():
    quantiles = np.array([-1.5, -0.5, 0.25, 2.0])
    # each image is of one grey value that tells its place: z₂ falls from row to row, z₁ grows along it
    grey = np.array([[(10 * row + column) / 100 for column in range(4)] for row in range(4)]).ravel()
    (axes,) = plots.manifold(np.tile(grey[:, None], (1, 784)), quantiles).axes
    mosaic = image_of(axes)
    for position, text in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True):
        column = int(np.flatnonzero(quantiles == float(text.get_text()))[0])
        assert mosaic[0, int(position)] == pytest.approx(column / 100)
        assert position == 28 * column + 14
    for position, text in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True):
        row = 3 - int(np.flatnonzero(quantiles == float(text.get_text()))[0])
        assert mosaic[int(position), 0] == pytest.approx(row / 10)
        assert position == 28 * row + 14
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("$z_1$ (prior's σ)", "$z_2$ (prior's σ)")
    assert len(axes.get_xticks()) == len(axes.get_yticks()) == 4


# ---- the explorer's still -------------------------------------------------------------------------------------------------


def test_the_still_shows_the_image_the_codes_and_the_point():
    plane, axes = plots.explorer_still(PICTURES[:1], (0.5, -1.0), CODES, LABELS, limit=3.5).axes
    np.testing.assert_array_equal(image_of(axes), PICTURES[0].reshape(28, 28))
    assert axes.get_title() == "z = (0.50, -1.00)"
    drawn = np.vstack([np.column_stack(line.get_data()) for line in plane.lines[:-4]])
    np.testing.assert_array_equal(np.sort(drawn, axis=0), np.sort(CODES, axis=0))
    for radius, circle in zip((1, 2, 3), plane.lines[-4:-1], strict=True):
        np.testing.assert_allclose(np.hypot(*circle.get_data()), radius)
    assert np.column_stack(plane.lines[-1].get_data()).tolist() == [[0.5, -1.0]]
    assert plane.get_xlim() == plane.get_ylim() == (-3.5, 3.5)


def test_the_still_without_codes_has_no_map():
    figure = plots.explorer_still(PICTURES[:1], (0.0,) * 5, np.zeros((0, 2)), np.zeros(0), limit=3.5)
    assert len(figure.axes) == 1
    figure.canvas.draw()


# ---- loss curve -----------------------------------------------------------------------------------------------------------


def test_the_loss_curve_draws_each_series_against_the_epoch():
    left, right = plots.loss_curve(HISTORY).axes
    drawn = {line.get_label(): line for axes in (left, right) for line in axes.lines}
    expected = {
        "loss, training": HISTORY.loss, "reconstruction, training": HISTORY.reconstruction, "KL, training": HISTORY.kl,
        "loss, test": HISTORY.val_loss, "reconstruction, test": HISTORY.val_reconstruction, "KL, test": HISTORY.val_kl,
    }  # fmt: skip
    assert {label: list(line.get_ydata()) for label, line in drawn.items()} == expected
    assert all(list(line.get_xdata()) == [1, 2] for line in drawn.values())
    assert {axes.get_xlabel() for axes in (left, right)} == {"epoch"}
    assert {axes.get_ylabel() for axes in (left, right)} == {"nats per image"}
    assert [line.get_label() for line in right.lines] == ["KL, training", "KL, test"]


def test_the_loss_curve_without_validation_has_no_test_lines():
    figure = plots.loss_curve(History([1.0], [0.5], [0.5], seconds=[1.0]))
    assert [line.get_label() for axes in figure.axes for line in axes.lines] == [
        "loss, training", "reconstruction, training", "KL, training",
    ]  # fmt: skip


def test_landmarks_are_lines_with_their_names():
    left, _ = plots.loss_curve(HISTORY, landmarks={"mean image": 206.04, "published": 155.0}).axes
    assert [text.get_text() for text in left.texts] == ["mean image: 206.0", "published: 155.0"]
    flat = [line.get_ydata()[0] for line in left.lines if line.get_linestyle() == ":"]
    assert flat == [206.04, 155.0]


# ---- bad input ------------------------------------------------------------------------------------------------------------

BAD = {
    "codes of rank 1": (lambda: plots.latent_scatter(np.zeros(3), [1, 2, 3]), r"expected codes \(images, at least 2\)"),
    "codes of one dimension": (lambda: plots.latent_scatter(np.zeros((3, 1)), [1, 2, 3]), r"got \(3, 1\) and \(3,\)"),
    "too few labels": (lambda: plots.latent_scatter(np.zeros((3, 2)), [1, 2]), r"got \(3, 2\) and \(2,\)"),
    "no codes": (lambda: plots.latent_scatter(np.zeros((0, 2)), []), "at least one image, got none"),
    "codes that are NaN": (lambda: plots.latent_scatter(np.full((2, 2), np.nan), [1, 2]), "expected finite numbers"),
    "a label of 10": (lambda: plots.latent_scatter(CODES[:2], [1, 10]), r"labels: expected digits from 0 to 9, got \[10\]"),
    "a label of -1": (lambda: plots.latent_scatter(CODES[:2], [1, -1]), "labels: expected digits from 0 to 9"),
    "a label of 0.5": (lambda: plots.latent_scatter(CODES[:2], [1, 0.5]), "labels: expected digits from 0 to 9"),
    "labels in words": (lambda: plots.latent_scatter(CODES[:2], ["one", "two"]), "labels: expected numbers, got .*; give digits"),
    "a limit of 0": (lambda: plots.latent_scatter(CODES, LABELS, limit=0), "limit: expected a finite number above 0 and at most"),
    "a limit of NaN": (lambda: plots.latent_scatter(CODES, LABELS, limit=np.nan), "limit: expected a finite number"),
    "other pixels": (lambda: plots.image_grid(np.zeros((4, 700)), columns=2), r"expected images as \(images, 784\)"),
    "images of rank 3": (lambda: plots.image_grid(np.zeros((4, 28, 28)), columns=2), r"got \(4, 28, 28\)"),
    "no images": (lambda: plots.image_grid(np.zeros((0, 784)), columns=2), r"got \(0, 784\)"),
    "logits": (lambda: plots.image_grid(np.full((1, 784), -3.0), columns=1), r"values in \[0, 1\], got -3.0 to -3.0"),
    "images that are NaN": (lambda: plots.image_grid(np.full((1, 784), np.nan), columns=1), r"values in \[0, 1\]"),
    "columns that do not divide": (lambda: plots.image_grid(PICTURES, columns=4), "expected a divisor of the 6 images, got 4"),
    "no columns": (lambda: plots.image_grid(PICTURES, columns=0), "columns: expected a whole number of at least 1, got 0"),
    "columns of 1.5": (lambda: plots.image_grid(PICTURES, columns=1.5), "columns: expected a whole number .* got 1.5; it has to"),
    "too few reconstructions": (
        lambda: plots.reconstructions(PICTURES, PICTURES[:5]), "expected as many reconstructions as originals, got 5 and 6",
    ),
    "a manifold of other size": (lambda: plots.manifold(PICTURES, [-1, 0, 1]), r"got quantiles \(3,\) and 6 images"),
    "quantiles of rank 2": (lambda: plots.manifold(PICTURES[:4], np.zeros((2, 2))), r"got quantiles \(2, 2\) and 4 images"),
    "one quantile as a number": (lambda: plots.manifold(PICTURES[:1], 0.0), r"got quantiles \(\) and 1 images"),
    "quantiles that fall": (lambda: plots.manifold(PICTURES[:4], [1, -1]), "quantiles: expected increasing numbers, got"),
    "sides of 0": (lambda: plots.image_grid(PICTURES, columns=3, image_shape=(0, 784)), r"image_shape: expected \(height, "),
    "a still of two images": (
        lambda: plots.explorer_still(PICTURES[:2], (0, 0), CODES, LABELS, limit=3), r"expected one image .* got 2 images",
    ),
    "a still without z": (lambda: plots.explorer_still(PICTURES[:1], (0,), CODES, LABELS, limit=3), r"got 1 images and z \(1,\)"),
    "names that keep less than nothing": (
        lambda: plots.digit_places(CODES, LABELS, apart=-1), "apart: expected a finite number from 0 to 1000000.0, got -1",
    ),
    "a landmark of NaN": (
        lambda: plots.loss_curve(HISTORY, landmarks={"a": np.nan}), r"landmarks\['a'\]: expected a finite number, got nan",
    ),
    "a history of NaN": (
        lambda: plots.loss_curve({"loss": [np.nan], "reconstruction": [1.0], "kl": [1.0]}),
        "history.loss: expected finite numbers, got NaN; training has diverged",
    ),
    "somebody else's history": (
        lambda: plots.loss_curve({"loss": [1.0], "accuracy": [1.0]}),
        "history: expected loss, reconstruction and kl, got loss, accuracy; give what train",
    ),
    "a history of uneven lengths": (
        lambda: plots.loss_curve({"loss": [1.0], "reconstruction": [1.0, 2.0], "kl": [1.0]}),
        "expected one number an epoch of each",
    ),
    "an empty history": (lambda: plots.loss_curve(History()), "expected at least one finished epoch, got none"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_posterior_is_drawn_with_the_gaussian_on_top():
    axis = np.linspace(-3, 3, 121)
    log_density = -0.5 * ((axis[:, None] - 1) ** 2 + axis[None] ** 2) / 0.04 - np.log(2 * np.pi * 0.04)
    posterior = PosteriorGrid(axis, log_density[None])
    axes = plots.NotebookFigure().subplots()
    plots.posterior_and_q(axes, posterior, 0, [0.8, 0.1], [-3.0, -2.0])
    one, two = (line.get_xydata() for line in axes.lines)
    np.testing.assert_allclose(((one - [0.8, 0.1]) / np.exp([-1.5, -1.0])) ** 2 @ [1, 1], 1)
    np.testing.assert_allclose(((two - [0.8, 0.1]) / np.exp([-1.5, -1.0])) ** 2 @ [1, 1], 4)
    outermost = axes.collections[0].get_paths()[0].get_extents()  # the 99 % region of a Gaussian: a disc of known radius
    assert outermost.width / 2 == pytest.approx(0.2 * np.sqrt(-2 * np.log(0.01)), abs=0.05)
    assert axes.get_xlim()[0] < outermost.x0 < outermost.x1 < axes.get_xlim()[1]
    for arguments, message in (
        ((axes, posterior, 0, [0.8], [-3.0]), "expected a posterior"),
        ((axes, posterior, 1, [0.8, 0.1], [-3.0, -2.0]), "image: expected a whole number from 0 to 0, got 1"),
        ((axes, None, 0, [0.8, 0.1], [-3.0, -2.0]), "posterior: expected a PosteriorGrid, got NoneType"),
        ((None, posterior, 0, [0.8, 0.1], [-3.0, -2.0]), "axes: expected matplotlib axes, got NoneType"),
        ((axes, posterior, 0, [np.nan, 0.1], [-3.0, -2.0]), "mu: expected finite numbers, got NaN"),
        ((axes, posterior, 0, [0.8, 0.1], [1e4, -2.0]), "log_var: expected numbers within ±100, got"),
    ):
        with pytest.raises(ValueError, match=message):
            plots.posterior_and_q(*arguments)


def test_numpys_integers_count_columns_and_sides():
    (one,), (other,) = (
        plots.image_grid(PICTURES, columns=columns, image_shape=shape).axes
        for columns, shape in ((3, (28, 28)), (np.int64(3), np.array([28, 28], np.uint8)))
    )
    np.testing.assert_array_equal(image_of(one), image_of(other))


def test_keras_own_history_is_drawn_like_that_of_train():
    """The callback that `fit` returns, and the dictionary in it; without validation there are no test lines."""
    series = ("loss", "reconstruction", "kl", "val_loss", "val_reconstruction", "val_kl")
    held = {name: getattr(HISTORY, name) for name in series}

    def drawn(figure):
        return [(line.get_label(), *map(float, line.get_ydata())) for axes in figure.axes for line in axes.lines]

    expected = drawn(plots.loss_curve(HISTORY))
    assert drawn(plots.loss_curve(held)) == drawn(plots.loss_curve(SimpleNamespace(history=held, epoch=[0, 1]))) == expected
    assert len(drawn(plots.loss_curve({name: held[name] for name in series[:3]}))) == 3


def test_rounding_noise_beside_0_and_1_is_clipped_and_the_callers_images_stay():
    images = np.array([[1.0 + 2e-16, -1e-7, 0.5, 1.0]])
    before = images.copy()
    (axes,) = plots.image_grid(images, columns=1, image_shape=(2, 2)).axes
    np.testing.assert_array_equal(image_of(axes), [[1, 0], [0.5, 1]])
    np.testing.assert_array_equal(images, before)
    assert images.flags.writeable
