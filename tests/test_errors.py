"""Errors for users: one line each, with what was expected, what was found, and what to do."""

from __future__ import annotations

import inspect

import pytest

from gantoolkit import errors
from gantoolkit.errors import GantkError, InputError, Interrupted, PluginError, TrainingError, UsageError

CODES = {GantkError: 3, InputError: 3, TrainingError: 3, UsageError: 2, PluginError: 5, Interrupted: 130}


def test_every_error_has_its_exit_code() -> None:
    defined = {cls for _, cls in inspect.getmembers(errors, inspect.isclass)}
    assert defined == set(CODES)
    assert {cls: cls.exit_code for cls in defined} == CODES


def test_the_line_says_it_all() -> None:
    error = UsageError("the scale is odd", expected="2, 3 or 4", actual=7, remedy="try --scale 4")
    assert str(error) == "the scale is odd, expected 2, 3 or 4, got 7; try --scale 4"
    assert (error.what, error.expected, error.actual, error.remedy) == (
        "the scale is odd",
        "2, 3 or 4",
        7,
        "try --scale 4",
    )


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("gone"), "gone"),
        (InputError("wrong", actual=0), "wrong, got 0"),
        (InputError("wrong", expected=""), "wrong, expected"),
        (InputError("two\nlines\tand  spaces"), "two lines and spaces"),
    ],
)
def test_what_is_not_there_is_not_said_and_it_is_one_line(error: GantkError, line: str) -> None:
    assert str(error) == line
