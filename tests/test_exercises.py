"""What a reader is told about an answer."""

from __future__ import annotations

import numpy as np
import pytest

from vae_lib import check_answer

RIGHT = np.array([1.0, 2.0])


@pytest.mark.parametrize(
    ("answer", "good", "said"),
    [
        (RIGHT, True, "Right."),
        ([1, 2], True, "Right."),
        (RIGHT + 1e-7, True, "Right."),
        (..., False, "Not answered yet"),
        ([0.5, 1.0], False, "Not yet: you halved it."),
        ([1.0, 2.1], False, "at place (1,), 2.1, is too large"),
        ([0.9, 2.0], False, "at place (0,), 0.9, is too small"),
        ([np.nan, 2.0], False, "is not a number"),
        (1.0, False, "expected an array of shape (2,), got one number"),
        ("one", False, "expected an array of shape (2,), got str"),
    ],
)
def test_an_answer_is_right_or_told_what_is_wrong(
    answer: object, good: bool, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_answer(answer, RIGHT, mistakes={"you halved it.": RIGHT / 2}) is good
    assert said in capsys.readouterr().out


def test_one_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_answer(0.5, 0.5)
    assert not check_answer(0.4, 0.5, mistakes={"the mean.": 0.25})
    assert "your value, 0.4, is too small" in capsys.readouterr().out


@pytest.mark.parametrize(
    "answer", [None, "half", {"a": 1}, slice(3), [[1.0], [2.0, 3.0]], 1j, np.ma.masked, [...], np.inf, -np.inf]
)
def test_any_answer_is_judged_and_none_raises(answer: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert not check_answer(answer, 0.5)
    assert capsys.readouterr().out.startswith("Not yet: ")


def test_a_mistake_that_leads_to_infinity_matches_infinity_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for answer, said in ((np.inf, "log of zero"), (7.0, "too large")):
        assert not check_answer(answer, 0.5, mistakes={"log of zero.": np.inf})
        assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"expected": "one"}, "expected: expected numbers, got"),
        ({"mistakes": [1]}, "mistakes: expected a mapping from what to say to an answer, got list"),
        ({"mistakes": {"a": "b"}}, "mistakes: a: expected numbers"),
        ({"mistakes": {"a": [1.0, 2.0, 3.0]}}, r"mistakes: a: expected the shape \(2,\) of the right answer, got \(3,\)"),
        ({"tolerance": -1}, "tolerance: expected a finite number of at least 0, got -1"),
    ],
)
def test_an_exercise_that_is_wrong_itself(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_answer(..., **{"expected": RIGHT} | arguments)  # type: ignore[arg-type]


def test_the_tolerance_is_relative_above_one_and_absolute_below() -> None:
    assert check_answer(1000.9, 1000.0, tolerance=1e-3)
    assert not check_answer(1001.1, 1000.0, tolerance=1e-3)
    assert check_answer(0.0009, 0.0, tolerance=1e-3)
    assert not check_answer(0.0011, 0.0, tolerance=1e-3)
    assert not check_answer(np.float32(0.4999), 0.5, tolerance=0)
