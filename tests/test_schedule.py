"""Schedules against their closed forms."""

from __future__ import annotations

import math

import pytest

from gantoolkit.schedule import Constant, Cosine, Linear, schedule


def test_constant():
    assert [schedule(0.25)(n) for n in (0, 7, 10**9)] == [0.25] * 3
    assert Constant(3.0)(5) == 3.0


def test_a_schedule_is_itself():
    line = Linear(1, 0, 10)
    assert schedule(line) is line


@pytest.mark.parametrize("nimg, value", [(0, 1.0), (100, 1.0), (150, 0.75), (200, 0.5), (300, 0.0), (999, 0.0)])
def test_linear_between_two_points(nimg, value):
    assert Linear(1.0, 0.0, over_nimg=200, after_nimg=100)(nimg) == pytest.approx(value)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0, 2.0])
def test_cosine(share):
    expected = 0.1 + 0.9 * (1 + math.cos(math.pi * min(share, 1.0))) / 2
    assert Cosine(1.0, 0.1, over_nimg=1000)(int(share * 1000)) == pytest.approx(expected)


def test_cosine_warms_up():
    warm, cold = Cosine(1.0, 0.0, 1000, warmup_nimg=100), Cosine(1.0, 0.0, 1000)
    assert warm(0) == pytest.approx(0.01)
    assert warm(49) == pytest.approx(0.5 * cold(49))
    assert warm(100) == cold(100)
