"""The checks of arguments: what they take, what they return, and what they say of the rest."""

import fractions
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae_lib import checks
from vae_lib.checks import DataError

NUMPYS_INTEGERS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
NO_INTEGERS = [True, np.True_, 3.0, np.float64(3), "3", b"3", None, 3j, [3], np.array(3), np.array([3]), slice(3)]


@pytest.mark.parametrize("kind", [int, *NUMPYS_INTEGERS])
def test_whole_numbers_become_pythons(kind):
    for check in (lambda value: checks.check_integer("n", value, least=1, most=9), checks.check_seed):
        number = check(kind(3))
        assert (number, type(number)) == (3, int)


@pytest.mark.parametrize("value", NO_INTEGERS, ids=repr)
def test_what_is_no_whole_number(value):
    with pytest.raises(ValueError, match=r"n: expected a whole number of at least 0, got .*; try 3"):
        checks.check_integer("n", value, remedy="try 3")
    with pytest.raises(ValueError, match=r"seed: expected a whole number of at least 0 and below 2\*\*31, got"):
        checks.check_seed(value)


def test_the_ends_of_a_range_of_whole_numbers_belong_to_it():
    assert [checks.check_integer("n", value, least=2, most=4) for value in (2, 4)] == [2, 4]
    for value in (1, 5, -(10**30), 10**30):
        with pytest.raises(ValueError, match="n: expected a whole number from 2 to 4, got"):
            checks.check_integer("n", value, least=2, most=4)
    assert checks.check_seed(0) == 0
    assert checks.check_seed(2**31 - 1) == 2**31 - 1
    for value in (-1, 2**31):
        with pytest.raises(ValueError, match=f"s: expected .* got {value}"):
            checks.check_seed(value, "s")


@pytest.mark.parametrize("kind", [int, float, fractions.Fraction, np.float16, np.float32, np.float64, np.longdouble, np.int8])
def test_real_numbers_become_pythons(kind):
    number = checks.check_number("x", kind(3), above=0, most=3)
    assert (number, type(number)) == (3.0, float)


@pytest.mark.parametrize(
    "value", [True, np.True_, "1", None, 1j, [1.0], np.array(1.0), np.nan, np.inf, -np.inf, np.float32("inf"), 10**400, slice(3)]
)
def test_what_is_no_finite_number(value):
    with pytest.raises(ValueError, match="x: expected a finite number, got"):
        checks.check_number("x", value)


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_the_ends_of_a_range_are_in_or_out_as_they_are_named(value, low, high):
    cases = {
        "least": (value >= low, {"least": low}), "above": (value > low, {"above": low}),
        "most": (value <= high, {"most": high}), "below": (value < high, {"below": high}),
        "both": (low < value <= high, {"above": low, "most": high}),
    }  # fmt: skip
    for name, (fits, ends) in cases.items():
        if fits:
            assert checks.check_number("x", value, **ends) == value
        else:
            with pytest.raises(ValueError, match="x: expected a finite number") as caught:
                checks.check_number("x", value, **ends)
            assert all(str(end) in str(caught.value) for end in ends.values()), name


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ({}, "a finite number, got"),
        ({"above": 0}, "a finite number above 0, got"),
        ({"least": 1}, "a finite number of at least 1, got"),
        ({"most": 2}, "a finite number at most 2, got"),
        ({"above": 0, "below": 1}, "a finite number above 0 and below 1, got"),
        ({"least": 0, "most": 1}, "a finite number from 0 to 1, got"),
        ({"least": 0, "below": 1}, "a finite number of at least 0 and below 1, got"),
    ],
)
def test_a_range_is_said_in_words(ends, words):
    with pytest.raises(ValueError, match=words):
        checks.check_number("x", None, **ends)


@pytest.mark.parametrize("value", [None, 0, 1, "yes", np.array(True), [True], 1.0])
def test_flags(value):
    assert checks.check_flag("f", np.True_) is True
    assert checks.check_flag("f", False) is False
    with pytest.raises(ValueError, match="f: expected True or False, got"):
        checks.check_flag("f", value)


@pytest.mark.parametrize("value", ["c", "", None, 1, b"a", ["a"], np.array("a")])
def test_choices(value):
    assert checks.check_choice("mode", np.str_("a"), ("a", "b")) == "a"
    with pytest.raises(ValueError, match="mode: expected one of 'a', 'b', got"):
        checks.check_choice("mode", value, ("a", "b"))


# ---- arrays ---------------------------------------------------------------------------------------------------------------


def test_an_array_is_returned_itself_and_a_list_converted():
    array = np.ones((2, 3), np.float32)
    assert checks.as_array(array) is array
    assert checks.check_values(array) is array
    assert checks.check_images(array, 3) is array
    assert checks.as_array([[1, 2]]).tolist() == [[1, 2]]
    assert checks.check_reals(np.ones(2)).dtype == np.float64


@pytest.mark.parametrize("kind", ["numpy", "tensor", "variable", "list of tensors", "bfloat16", "torch"])
@pytest.mark.backends
def test_tensors_of_any_kind_become_arrays(kind):
    import keras

    values = np.array([[0.5, 0.25], [1.0, 0.0]], np.float32)
    held = {
        "numpy": lambda: values,
        "tensor": lambda: keras.ops.convert_to_tensor(values),
        "variable": lambda: keras.Variable(values),
        "list of tensors": lambda: list(keras.Variable(values).value),
        "bfloat16": lambda: keras.ops.cast(values, "bfloat16"),
        "torch": lambda: Detachable(values),
    }[kind]()
    for array in (checks.as_array(held), checks.check_values(held), checks.check_images(held, 2)):
        np.testing.assert_array_equal(array, values)
        assert array.dtype.kind == "f"


class Detachable:
    """A tensor as PyTorch has them: it gives its numbers only once it is detached."""

    def __init__(self, values, *, bound=True):
        self.values, self.bound = values, bound

    def detach(self):
        return Detachable(self.values, bound=False)

    def cpu(self):
        return self

    def numpy(self):
        if self.bound:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad")
        return self.values

    __array__ = numpy


HIDING = {
    "a masked array": np.ma.array([0.5, 0.5], mask=[0, 1]),
    "all of it": np.ma.masked_all(3),
    "a masked number": np.ma.masked,
    "one in a list": [np.ma.array([0.5], mask=[1]), np.array([0.5])],
    "one in a tuple of lists": ([np.ma.masked, 0.5],),
}


@pytest.mark.parametrize("hiding", HIDING.values(), ids=HIDING)
def test_hidden_values_are_refused(hiding):
    with pytest.raises(DataError, match=r"x: expected an array without hidden values, got a masked one; .*x\.filled\(0\)"):
        checks.as_array(hiding)


def test_a_mask_that_hides_nothing_is_no_matter():
    np.testing.assert_array_equal(checks.as_array(np.ma.array([0.5, 1.0], mask=[0, 0])), [0.5, 1.0])
    np.testing.assert_array_equal(checks.as_array([np.ma.array([0.5])]), [[0.5]])


class Raises:
    def __init__(self, error):
        self.error = error

    def __array__(self, *_, **__):
        raise self.error


@pytest.mark.parametrize(
    "value",
    [
        None, "word", {"a": 1}, {1.0}, slice(3), [[1.0], [1.0, 2.0]], 1j, np.array(["2020"], "datetime64[Y]"), [None, 1.0], len,
        np.zeros(2, [("a", "f4")]), Raises(RuntimeError("no")), Raises(AttributeError()), Raises(MemoryError("much")),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_holds_no_numbers(value):
    with pytest.raises(DataError, match=r"labels: expected numbers, got .+; count them"):
        checks.as_array(value, "labels", remedy="count them")


def test_reals_are_finite():
    for value, kind in ((np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")):
        with pytest.raises(ValueError, match=f"mu: expected finite numbers, got {kind}; mend it"):
            checks.check_reals([0.0, value], "mu", remedy="mend it")
        with pytest.raises(ValueError, match=f"mu: expected finite numbers, got {kind}; mend it"):
            checks.check_finite("mu", [0.0, value], "mend it")


# ---- images ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8, bool, np.int64])
def test_grey_values_become_float32_whatever_holds_them(dtype):
    values = checks.check_values(np.array([[0, 1], [1, 0]], dtype))
    assert values.dtype == np.float32
    assert values.tolist() == [[0, 1], [1, 0]]


@given(st.floats(0, 1e-6), st.floats(1.0000011, 1e6))
def test_rounding_is_clipped_and_more_is_refused(rounding, beyond):
    given_values = np.array([-rounding, 0.5, 1 + rounding])
    assert checks.check_values(given_values).tolist() == [0, 0.5, 1]
    assert given_values.tolist() == [-rounding, 0.5, 1 + rounding]  # the caller's stay
    for values in ([0.5, beyond], [0.5, 1 - beyond]):
        with pytest.raises(DataError, match=r"expected values in \[0, 1\], got"):
            checks.check_values(values)


REMEDIES = {
    "bytes": (np.array([[0, 255]], np.uint8), "divide bytes by 255"),
    "bytes as floats": (np.array([[0.0, 254.0]]), "divide bytes by 255"),
    "centred": (np.array([[-1.0, 1.0]]), r"come to \[0, 1\] by \(x \+ 1\) / 2"),
    "logits": (np.array([[-300.0, 300.0]]), "scale them to"),
    "slightly more": (np.array([[0.0, 1.2]]), "scale them to"),
    "NaN": (np.array([[0.0, np.nan]]), "drop or fill the NaNs"),
    "infinite": (np.array([[0.0, -np.inf]]), "drop or replace the infinities"),
    "a line": (np.zeros(4), r"of one image, give x\.reshape\(1, -1\)"),
    "pictures": (np.zeros((3, 2, 2)), r"flatten images with x\.reshape\(len\(x\), -1\)"),
    "others": (np.zeros((3, 5)), r"the model takes images of 4 pixels; build another with TrainConfig\(input_dim=5\)"),
    "none": (np.zeros((0, 4)), "give at least one image"),
    "a pair": ((np.zeros((3, 4)), np.zeros((3, 4))), "got a tuple of 2; give the images alone"),
}


@pytest.mark.parametrize(("x", "remedy"), REMEDIES.values(), ids=REMEDIES)
def test_the_remedy_fits_the_case(x, remedy):
    with pytest.raises(DataError, match=f"x: .*{remedy}"):
        checks.check_images(x, 4)


# ---- labels and codes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*NUMPYS_INTEGERS, int, list])
def test_labels_become_int32(dtype):
    labels = [0, 2, 1] if dtype is list else np.array([0, 2, 1], dtype)
    checked = checks.check_labels(labels, 3, 3)
    assert (checked.dtype, checked.tolist()) == (np.int32, [0, 2, 1])
    assert checks.check_labels(None, 2, 0).tolist() == [0, 0]


LABELS = {
    "floats": ([0.0, 1.0, 2.0], r"labels\.astype\(int\)"),
    "one-hot": (np.eye(3, dtype=int), r"not one-hot rows: labels\.argmax\(axis=1\)"),
    "a column": (np.zeros((3, 1), int), r"labels\.ravel\(\)"),
    "too few": ([0, 1], "give one number an image"),
    "from 1": ([1, 2, 3], "from 1 to 3; count them from 0"),
    "negative": ([-1, 0, 1], "from -1 to 1; count them from 0"),
    "booleans": ([True, False, True], "got bool"),
    "ragged": ([[0], [1, 2], [0]], "labels: expected numbers, got .*; give whole numbers, one an image"),
    "words": (["a", "b", "c"], "labels: expected numbers, got .*; give whole numbers"),
    "beyond int32": ([0, 1, 2**40], "expected 3 whole numbers from 0 to 2"),
    "missing": (None, "got none; this VAE is conditional"),
}


@pytest.mark.parametrize(("labels", "message"), LABELS.values(), ids=LABELS)
def test_labels_that_do_not_serve(labels, message):
    with pytest.raises(ValueError, match=f"labels: .*{message}|{message}"):
        checks.check_labels(labels, 3, 3)


def test_superfluous_labels():
    with pytest.raises(ValueError, match="labels: expected none, for the model is not conditional"):
        checks.check_labels([0], 1, 0)


CODES = {
    "labels of 10": ([[0, 0]], [10], r"labels: expected digits from 0 to 9, got \[10\]; count them from 0"),
    "labels that are True": ([[0, 0]], [True], r"labels: expected digits from 0 to 9, got \[True\]"),
    "labels of 0.5": ([[0, 0]], [0.5], r"labels: expected digits from 0 to 9, got \[0.5\]"),
    "NaN": ([[0, np.nan]], [1], "codes: expected finite numbers, got NaN; training has diverged"),
    "a line": ([0.0, 1.0], [1, 2], r"expected codes \(images, at least 2\) and labels \(images,\), got \(2,\) and \(2,\)"),
    "too few labels": ([[0, 0], [1, 1]], [1], r"got \(2, 2\) and \(1,\)"),
    "nothing": (None, None, "codes: expected numbers, got NoneType"),
}


@pytest.mark.parametrize(("codes", "labels", "message"), CODES.values(), ids=CODES)
def test_codes_and_labels_that_do_not_belong_together(codes, labels, message):
    with pytest.raises(ValueError, match=message):
        checks.check_codes(codes, labels)


def test_codes_and_labels_come_in_double_precision_and_whole_numbers():
    codes, labels = checks.check_codes(np.ones((2, 3), np.float16), [3.0, 9.0])
    assert (codes.dtype, labels.dtype, labels.tolist()) == (np.float64, np.int64, [3, 9])


# ---- places ---------------------------------------------------------------------------------------------------------------


def test_points_on_the_sliders():
    assert checks.check_point(np.array([3, -3]), 2, 3.0) == (3.0, -3.0)
    for z in ([3.1, 0], [0], [[0, 0]], [np.nan, 0], "ab", None, [np.ma.masked, 0]):
        with pytest.raises(ValueError, match=r"z: expected 2 finite numbers from -3\.0 to 3\.0, got"):
            checks.check_point(z, 2, 3.0)


def test_limits_end_where_ticks_cannot_be_counted():
    assert checks.check_limit(np.float32(100)) == checks.MOST_LIMIT == 100
    for limit in (100.001, 1e17, 0, -1, np.inf, None, True):
        with pytest.raises(ValueError, match="limit: expected a finite number above 0 and at most 100"):
            checks.check_limit(limit)


@pytest.mark.parametrize("shape", [[2, 3], (np.int64(2), np.uint8(3)), np.array([2, 3])])
def test_sides(shape):
    assert checks.check_sides(shape) == (2, 3)


@pytest.mark.parametrize("shape", [None, 3, (2,), (2, 3, 4), (2.0, 3.0), (0, 3), (-2, -3), (True, 3), "ab", {2, 65}, (2, 65)])
def test_sides_that_are_none(shape):
    with pytest.raises(ValueError, match=r"image_shape: expected \(height, width\), 1 to 64 each, got"):
        checks.check_sides(shape, most=64)


def test_a_long_value_is_shown_on_one_short_line():
    with pytest.raises(ValueError, match="n: expected") as caught:
        checks.check_integer("n", np.arange(1000))
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


def test_the_checks_import_no_framework():
    """They serve the widgets and the data, which need none."""
    code = "import sys, vae_lib.checks; sys.exit(any(name in sys.modules for name in ('keras', 'tensorflow', 'torch', 'jax')))"
    subprocess.run([sys.executable, "-c", code], check=True)
