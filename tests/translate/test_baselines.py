"""Baselines against known answers: what is put in comes out, and a known map of colours is found again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gantk_translate import baselines
from gantk_translate.sides import Side
from gantoolkit.errors import UsageError
from tests.tolerances import TOL

COLOUR, GREY, DEEP = Side(), Side(channels=1), Side("array", 1, "uint16", 0.0, 4095.0)
MASK = Side("mask", 1, "uint8", 0.0, 2.0, (0, 1, 2))
CLOSE = TOL["map of colours, absolute"]


def planes(seed: int, channels: int = 3, side: int = 12, spread: float = 0.3) -> np.ndarray:
    """Correlated noise in the middle of the range, where no map of the tests clips it."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(channels, channels))
    noise = np.tensordot(mix, rng.normal(size=(channels, side, side)), 1)
    return (noise / np.abs(noise).max() * spread).astype(np.float32)


def moments(pictures: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.concatenate([p.reshape(len(p), -1) for p in pictures], 1).astype(np.float64)
    return pixels.mean(1), np.cov(pixels, bias=True)


# ---- identity ----


def test_identity_is_the_input_brought_to_the_targets_planes() -> None:
    x = planes(0)
    assert baselines.identity(COLOUR, COLOUR)(x) is x
    repeated = baselines.identity(DEEP, COLOUR)(x[:1])
    assert all(np.array_equal(plane, x[0]) for plane in repeated) and len(repeated) == 3
    grey = baselines.identity(COLOUR, GREY)(x)
    assert grey == pytest.approx((0.299 * x[0] + 0.587 * x[1] + 0.114 * x[2])[None], abs=1e-6)
    assert baselines.identity(MASK, MASK)(x) is x


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        (MASK, COLOUR, "no colour"),  # three classes are not three colours
        (COLOUR, MASK, "no classes"),
        (MASK, Side("mask", 1, "uint8", 0.0, 3.0, (0, 1, 3)), "classes of the two sides differ"),
        (Side("array", 4, "float32", 0.0, 1.0), COLOUR, "4 planes cannot stand for 3"),
        (COLOUR, Side("array", 2, "float32", 0.0, 1.0), "3 planes cannot stand for 2"),
    ],
)
def test_where_the_input_cannot_stand_for_the_target_it_says_so(source: Side, target: Side, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        baselines.identity(source, target)


# ---- pairs ----


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 4))
def test_a_known_map_is_found_from_pairs(seed: int, inputs: int, outputs: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.uniform(-0.5, 0.5, (outputs, inputs + 1))
    sources = [planes(seed + n, inputs, side) for n, side in enumerate((9, 12, 7))]
    truths = [np.tensordot(matrix[:, :-1], x, 1) + matrix[:, -1, None, None] for x in sources]
    target = Side("array", outputs, "float32", -1.0, 1.0)
    found = baselines.of_pairs(zip(sources, truths, strict=True), target)
    assert found.matrix == pytest.approx(matrix, abs=CLOSE)
    assert found(sources[0]) == pytest.approx(truths[0].clip(-1, 1), abs=CLOSE)


def test_planes_that_depend_on_each_other_are_no_trouble() -> None:
    grey = planes(1, 1).repeat(3, 0)
    found = baselines.of_pairs([(grey, -0.5 * grey)], COLOUR)
    assert found(grey) == pytest.approx(-0.5 * grey, abs=CLOSE)
    flat = np.full((3, 8, 8), 0.25, np.float32)
    assert baselines.of_pairs([(flat, 2 * flat)], COLOUR)(flat) == pytest.approx(2 * flat, abs=CLOSE)


def test_the_map_is_the_best_in_squares() -> None:
    x, y = planes(2, 2), planes(3, 1)
    found = baselines.of_pairs([(x, y)], GREY)
    design = np.column_stack([x.reshape(2, -1).T, np.ones(x[0].size)]).astype(np.float64)
    assert found.matrix[0] == pytest.approx(np.linalg.lstsq(design, y.ravel(), rcond=None)[0], abs=CLOSE)


def test_outputs_stay_in_the_range_and_classes_are_not_clipped() -> None:
    x = planes(4)
    assert np.abs(baselines.Affine(np.full((3, 4), 9.0), COLOUR)(x)).max() == 1
    # the second class is ahead by little, far out of the range
    matrix = np.array([[0, 0, 0, 5.0], [0, 0, 0, 6.0], [0, 0, 0, -6.0]])
    assert (baselines.Affine(matrix, MASK)(x).argmax(0) == 1).all()


# ---- two sides ----


def test_sides_come_to_the_targets_mean_and_covariance() -> None:
    sources, targets = [planes(n) for n in (5, 6)], [0.3 * planes(n, side=10) + 0.1 for n in (7, 8, 9)]
    found = baselines.of_sides(iter(sources), iter(targets), COLOUR, COLOUR)
    mean, covariance = moments([found(x) for x in sources])
    goal, spread = moments(targets)
    assert mean == pytest.approx(goal, abs=CLOSE) and covariance == pytest.approx(spread, abs=CLOSE)
    # Monge's map is the gradient of a convex function: its matrix is symmetric and has no negative eigenvalue
    slope = found.matrix[:, :-1]
    assert slope == pytest.approx(slope.T, abs=CLOSE) and np.linalg.eigvalsh(slope).min() > 0


def test_a_symmetric_map_is_found_without_pairs() -> None:
    slope = np.array([[0.9, 0.1, 0.0], [0.1, 0.6, -0.2], [0.0, -0.2, 0.7]])
    sources = [planes(10), planes(11)]
    targets = [np.tensordot(slope, x, 1) + 0.05 for x in reversed(sources)]
    found = baselines.of_sides(sources, targets, COLOUR, COLOUR)
    assert found.matrix == pytest.approx(np.column_stack([slope, [0.05] * 3]), abs=CLOSE)


def test_the_same_sides_stay_as_they_are() -> None:
    x = [planes(12)]
    assert baselines.of_sides(x, x, COLOUR, COLOUR)(x[0]) == pytest.approx(x[0], abs=CLOSE)


def test_colours_of_grey_inputs_match_as_far_as_one_direction_goes() -> None:
    sources, targets = [planes(13, 1)], [planes(14)]
    found = baselines.of_sides(sources, targets, DEEP, COLOUR)
    assert found.matrix.shape == (3, 2)
    mean, covariance = moments([found(x) for x in sources])
    assert mean == pytest.approx(moments(targets)[0], abs=CLOSE)
    assert np.linalg.matrix_rank(covariance, tol=1e-8) == 1
    # along the direction of grey the variance is the targets' own
    along = np.ones(3) / np.sqrt(3)
    assert np.trace(covariance) == pytest.approx(along @ moments(targets)[1] @ along, abs=CLOSE)


def test_nothing_to_fit_on_is_said() -> None:
    with pytest.raises(UsageError, match="no pictures to fit"):
        baselines.of_pairs([], COLOUR)
    with pytest.raises(UsageError, match="cannot stand for"):
        baselines.of_sides([], [], Side("array", 4, "float32", 0.0, 1.0), COLOUR)
