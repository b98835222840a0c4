"""What files hold becomes planes in [-1, 1] and comes back in its own type."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gantk_translate.sides import Side
from gantoolkit.errors import InputError
from tests.tolerances import TOL

QUICK = settings(max_examples=30, deadline=None)


@QUICK
@given(st.data())
def test_whole_numbers_come_back_exactly(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(["uint8", "int8", "uint16", "int16"]))
    kept = np.iinfo(dtype)
    low = data.draw(st.integers(kept.min, kept.max - 1))
    high = data.draw(st.integers(low + 1, kept.max))
    values = data.draw(hnp.arrays(dtype, (3, 4, 2), elements=st.integers(low, high)))
    side = Side("array", 2, dtype, float(low), float(high))
    planes = side.encode(values)
    assert planes.dtype == np.float32 and planes.shape == (2, 3, 4) and np.abs(planes).max() <= 1
    back = side.decode(planes)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, values)


@QUICK
@given(st.data())
def test_floats_come_back_to_within_the_planes_own_precision(data: st.DataObject) -> None:
    low = data.draw(st.floats(-1e4, 1e4))
    width = data.draw(st.floats(1e-2, 1e4))
    shares = data.draw(hnp.arrays(np.float64, (3, 4, 1), elements=st.floats(0, 1)))
    dtype = data.draw(st.sampled_from(["float32", "float64"]))
    values = (low + shares * width).astype(dtype)
    side = Side("array", 1, dtype, low, low + width)
    back = side.decode(side.encode(values))
    assert back.dtype == dtype
    spacing = float(np.finfo(dtype).eps) * max(abs(low), abs(low + width))
    assert np.abs(back - values).max() <= TOL["planes and back, share of the range"] * width + spacing


def test_the_ends_of_the_range_are_the_ends_of_the_planes() -> None:
    side = Side("array", 1, "int16", -1024, 3071)
    planes = side.encode(np.array([[[-1024], [3071]]], np.int16))
    np.testing.assert_array_equal(planes, [[[-1, 1]]])
    beyond = side.decode(np.array([[[-9, 40]]], np.float32))
    assert beyond.dtype == np.int16 and beyond.ravel().tolist() == [-17404, 32767]  # clipped to the type, not the range


@QUICK
@given(st.sets(st.integers(0, 255), min_size=2, max_size=9))
def test_masks_come_back_by_vote(found: set[int]) -> None:
    classes = tuple(sorted(found))
    side = Side("mask", 1, "uint8", classes[0], classes[-1], classes)
    draw = np.random.default_rng(sum(classes))
    values = draw.choice(np.array(classes, np.uint8), (5, 6, 1))
    planes = side.encode(values)
    assert side.planes == len(classes) and planes.shape == (len(classes), 5, 6)
    assert (planes.sum(0) == 2 - len(classes)).all() and set(np.unique(planes)) == {-1, 1}
    np.testing.assert_array_equal(side.decode(planes * 0.3 + draw.uniform(-0.2, 0.2, planes.shape)), values)


def test_unknown_classes_and_other_channels_are_refused() -> None:
    mask = Side("mask", 1, "uint8", 0, 7, (0, 7))
    with pytest.raises(InputError, match="unknown classes, expected 0, 7, got 3, 200"):
        mask.encode(np.array([[[0], [200], [3]]], np.uint8))
    with pytest.raises(InputError, match="other channels, expected 3, got 1"):
        Side().encode(np.zeros((2, 2, 1), np.uint8))


def test_what_people_see() -> None:
    grey = Side(channels=1).shown(np.array([[[-1.0, 0, 1, 5]]]))
    assert grey.dtype == np.uint8 and grey[0, :, 0].tolist() == [0, 128, 255, 255] and grey.shape == (1, 4, 3)
    colour = Side().shown(np.stack([np.full((2, 2), v) for v in (-1.0, 0.0, 1.0)]))
    assert colour[0, 0].tolist() == [0, 128, 255]
    assert Side("array", 7).shown(np.zeros((7, 2, 2))).shape == (2, 2, 3)
    classes = Side("mask", classes=(0, 1, 2)).shown(np.eye(3)[:, None])
    assert len(np.unique(classes.reshape(-1, 3), axis=0)) == 3


@pytest.mark.parametrize(
    "side", [Side(), Side("mask", 1, "uint8", 0, 9, (0, 4, 9)), Side("array", 2, "float32", -3, 0.5)]
)
def test_a_side_is_kept_as_json(side: Side) -> None:
    assert Side.from_dict(json.loads(json.dumps(side.to_dict()))) == side
