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
