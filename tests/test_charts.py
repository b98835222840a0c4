"""Curves: inside their frame, with round ticks, and true to their points."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gantoolkit import charts
from gantoolkit.charts import MAX_POINTS, chart, smoothed, thinned
from tests.pages import Page


@given(
    st.lists(
        st.tuples(st.integers(0, 10**9), st.none() | st.floats(allow_nan=False, allow_infinity=False)),
        max_size=40,
    )
)
@settings(max_examples=150, deadline=None)
def test_any_numbers_make_a_chart_inside_its_frame(points: list[tuple[int, float | None]]) -> None:
    finite = [point for point in points if point[1] is not None]
    page = Page(chart("t", {"s": sorted(points, key=lambda point: point[0])}))
    assert len(page.all("svg")) == bool(finite)
    for line in page.polylines("raw") + page.polylines("smooth"):
        assert len(line) == len(finite)
        for x, y in line:
            assert charts.LEFT - 0.1 <= x <= charts.WIDTH - charts.RIGHT + 0.1
            assert charts.TOP - 0.1 <= y <= charts.HEIGHT - charts.BOTTOM + 0.1
    assert len(page.all("line", "grid")) <= 40


def test_axes_have_round_ticks_and_go_logarithmic_above_two_decades() -> None:
    linear = Page(chart("t", {"s": [(0, 0.0), (1_000_000, 1.0)]}))
    assert {"0", "0.2", "0.4", "0.6", "0.8", "1", "200k", "1M"} <= set(linear.text)
    decades = Page(chart("t", {"s": [(0, 1e-3), (5, 1.0)]}))
    assert {"0.001", "0.01", "0.1", "1"} <= set(decades.text)
    heights = {float(attrs["y1"] or 0) for attrs in decades.all("line", "grid") if attrs["y1"] == attrs["y2"]}
    gaps = [high - low for low, high in zip(sorted(heights), sorted(heights)[1:], strict=False)]
    assert max(gaps) - min(gaps) < 0.11, "decades are equally far apart"
    assert "logarithmic" not in chart("t", {"s": [(0, -1.0), (5, 1000.0), (6, 0.1)]})


def test_thinning_keeps_spikes_and_order() -> None:
    points = [(float(x), 1000.0 if x == 5555 else math.sin(x)) for x in range(10_000)]
    kept = thinned(points)
    assert len(kept) <= MAX_POINTS and kept == sorted(kept) and (5555.0, 1000.0) in kept
    assert set(kept) <= set(points) and thinned(points[:800]) == points[:800]


def test_smoothing_starts_at_the_first_value_and_settles() -> None:
    points = [(float(x), 10.0 if x == 0 else 1.0) for x in range(1000)]
    result = smoothed(points)
    assert result[0] == (0.0, 10.0) and result[-1][1] == pytest.approx(1.0)
    assert [x for x, _ in result] == [x for x, _ in points]
