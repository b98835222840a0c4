"""Masks, boxes and keypoints stay on their objects through every preset of `classic`."""

from __future__ import annotations

from collections import Counter
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gantk_augment import coco, recipes
from gantk_augment.classic import Classic
from gantoolkit.samples import Sample, Thing
from tests.augment.test_classic import FLIP, make, noise, recipe

PRESETS = recipes.names()


@pytest.fixture(scope="module")
def presets() -> dict[str, Classic]:
    return {name: Classic(recipes.read(name)) for name in PRESETS}


def scene(height: int, width: int, ellipse: bool, centre: tuple[float, float], radii: tuple[int, int]) -> Sample:
    """A red shape on green with its id, its mask, box and keypoint; the second thing has the box alone."""
    mask = np.zeros((height, width), np.uint8)
    x, y = round(centre[0] * (width - 1)), round(centre[1] * (height - 1))
    if ellipse:
        cv2.ellipse(mask, (x, y), radii, 0, 0, 360, 1, -1)
    else:
        cv2.rectangle(mask, (x - radii[0], y - radii[1]), (x + radii[0], y + radii[1]), 1, -1)
    picture = np.where(mask[:, :, None] == 1, np.array([255, 0, 0]), np.array([0, 160, 0])).astype(np.uint8)
    left, top, right, bottom = extent(mask == 1)
    box = (float(left), float(top), float(right), float(bottom))
    own = Thing(3, box, mask == 1, np.array([[x, y, 2]], np.float32), {"id": 11})
    return Sample(picture, "shape", mask * 7, (own, Thing(4, box)))


def extent(region: np.ndarray) -> tuple[int, int, int, int]:
    ys, xs = np.nonzero(region)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def red(picture: np.ndarray) -> np.ndarray:
    """Where the shape is to be seen: pixels more than half as red as the reddest."""
    value = picture[:, :, 0].astype(int) - picture[:, :, 1:].max(axis=2)
    return value > max(40, np.percentile(value, 99.5) / 2)


def agree(region: np.ndarray, mask: np.ndarray) -> None:
    """Equal but for the edge, where colours are blends and masks are not: a pixel, seldom two after two warps."""
    one, two = region.astype(np.uint8), mask.astype(np.uint8)
    for size, most in ((3, 4 + 0.01 * mask.sum()), (5, 4)):
        square = np.ones((size, size), np.uint8)
        outside = one & ~cv2.dilate(two, square)
        missing = cv2.erode(two, square, borderValue=0) & ~one
        assert outside.sum() <= most and missing.sum() <= most
    # A mask that is off by a pixel to one corner differs from its object in as many pixels as it has at its edge. Each
    # of two warps moves a mask's edge by up to half a pixel, as it takes the nearest; .83 of the edge was seen.
    edge = two & ~cv2.erode(two, np.ones((3, 3), np.uint8), borderValue=0)
    assert (region ^ mask).sum() <= edge.sum() + 4


def touches(region: np.ndarray) -> bool:
    return bool(region[[0, 1, -2, -1]].any() or region[:, [0, 1, -2, -1]].any())


shapes = st.builds(
    scene,
    st.integers(60, 101),
    st.integers(60, 101),
    st.booleans(),
    st.tuples(st.floats(0.05, 0.95), st.floats(0.05, 0.95)),  # the keypoint well inside what is seen
    st.tuples(st.integers(8, 22), st.integers(8, 22)),
)


@pytest.mark.parametrize("name", PRESETS)
def test_targets_stay_on_their_object_through_every_preset(name: str, presets: dict[str, Classic]) -> None:
    @settings(max_examples=60, deadline=None)
    @given(shapes, st.integers(0, 2**63 - 1))
    def check(sample: Sample, seed: int) -> None:
        made = make(presets[name], sample, seed).sample
        region = red(made.picture)
        assert made.mask is not None and made.mask.shape == made.picture.shape[:2]
        assert set(np.unique(made.mask)) <= {0, 7}
        agree(region, made.mask == 7)
        assert made.label == "shape"
        own = next((thing for thing in made.things if thing.category == 3), None)
        boxed = next((thing for thing in made.things if thing.category == 4), None)
        if own is None:  # most of it has left the picture; zoom makes an object larger by up to 1.8
            assert sample.mask is not None and region.sum() < 1.8 * 0.4 * (sample.mask == 7).sum()
            return
        assert own.mask is not None and own.box is not None and own.keypoints is not None and own.extra == {"id": 11}
        agree(region, own.mask)
        seen = extent(region)
        # the thing's mask says how tight its box can be; half-blended edges are a pixel either way
        assert max(abs(a - b) for a, b in zip(own.box, seen, strict=True)) <= 2
        x, y, there = own.keypoints[0]
        # one crop may cut the object, and the next transform turn what is left away from the border
        cut = touches(region) or region.sum() < 0.9 * (sample.mask == 7).sum()
        assert there == 2 or (cut and (x, y) == (0, 0))
        if there:
            near = cv2.dilate(region.astype(np.uint8), np.ones((5, 5)))
            assert near[min(round(float(y)), near.shape[0] - 1), min(round(float(x)), near.shape[1] - 1)]
        assert boxed is not None and boxed.box is not None
        assert boxed.box[0] <= seen[0] + 2 and boxed.box[1] <= seen[1] + 2
        assert boxed.box[2] >= seen[2] - 2 and boxed.box[3] >= seen[3] - 2
        if not touches(region):
            # the upright box round a box that is turned by 10 degrees: sin(10°) / 2 of its longer side, each side
            longer = max(boxed.box[2] - boxed.box[0], boxed.box[3] - boxed.box[1])
            assert max(abs(a - b) for a, b in zip(boxed.box, seen, strict=True)) <= 0.1 * longer + 2

    check()


@pytest.mark.parametrize("name", PRESETS)
def test_a_mask_alone_stays_on_its_object_even_at_mirrored_borders(name: str, presets: dict[str, Classic]) -> None:
    @settings(max_examples=40, deadline=None)
    @given(shapes, st.integers(0, 2**63 - 1))
    def check(sample: Sample, seed: int) -> None:
        made = make(presets[name], Sample(sample.picture, None, sample.mask), seed).sample
        assert made.mask is not None
        agree(red(made.picture), made.mask == 7)

    check()


def test_known_answers_of_a_flip() -> None:
    picture = noise(30, 50)
    mask = np.zeros((30, 50), bool)
    mask[5:10, 4:12] = True
    points = np.array([[4, 5, 2], [11, 9, 1], [0, 0, 0]], np.float32)
    thing = Thing(1, (4.25, 5.0, 12.0, 10.5), mask, points, {"iscrowd": 0})
    colours = noise(30, 50)
    made = make(Classic(recipe(FLIP)), Sample(picture, "a", colours, (thing, Thing(2, (40, 20, 50, 30))))).sample
    np.testing.assert_array_equal(made.picture, picture[:, ::-1])
    np.testing.assert_array_equal(made.mask, colours[:, ::-1])
    first, second = made.things
    assert first.box == (38.0, 5.0, 45.75, 10.5) and second.box == (0.0, 20.0, 10.0, 30.0)
    np.testing.assert_array_equal(first.mask, mask[:, ::-1])
    np.testing.assert_array_equal(first.keypoints, [[45, 5, 2], [38, 9, 1], [0, 0, 0]])
    assert first.mask is not None and first.mask.dtype == bool
    assert first.keypoints is not None and first.keypoints.dtype == np.float32


# ---- a face: its left eye red, its right eye blue, its nose green ----

EYES = {"left_eye": (255, 0, 0), "right_eye": (0, 0, 255), "nose": (0, 255, 0)}
PLACES = {"left_eye": (60, 30), "right_eye": (30, 34), "nose": (47, 62)}


def face(names: tuple[str, ...]) -> Sample:
    picture = np.zeros((90, 96, 3), np.uint8)
    for name, place in PLACES.items():
        cv2.circle(picture, place, 5, EYES[name], -1)
    points = np.array([(*PLACES[name], 2) for name in names], np.float32)
    thing = Thing(1, (10, 10, 86, 80), None, points, partners=coco.partners(list(names)))
    other = Thing(2, (10, 10, 86, 80), None, points)  # of a category that names no sides
    return Sample(picture, None, None, (thing, other))


def dots(picture: np.ndarray) -> dict[str, np.ndarray]:
    """Where each colour is, x and y; none where it has left the picture."""
    found = {}
    for name, colour in EYES.items():
        others = picture[:, :, [c for c in range(3) if not colour[c]]].max(axis=2).astype(int)
        ys, xs = np.nonzero(picture[:, :, int(np.argmax(colour))].astype(int) - others > 60)
        if len(xs):
            found[name] = np.array([xs.mean(), ys.mean()])
    return found


def turn(places: dict[str, np.ndarray]) -> float:
    """Above 0 if left eye, right eye and nose follow each other clockwise as they are seen, below if not."""
    first, second, third = (np.asarray(places[name], float) for name in EYES)
    one, two = second - first, third - first
    return float(one[0] * two[1] - one[1] * two[0])


@pytest.mark.parametrize(
    "transforms",
    [[FLIP], [{"name": "VerticalFlip"}], [{"name": "Transpose"}], [FLIP, {"name": "VerticalFlip"}],
     [{"name": "SquareSymmetry"}], [FLIP, {"name": "Affine", "rotate": [-60.0, 60.0]}], [FLIP, {"name": "GridDropout"}],
     "photo", "satellite", "faces"],
)  # fmt: skip
@pytest.mark.parametrize("names", [("nose", "left_eye", "right_eye"), ("left_eye", "nose", "right_eye")])
def test_left_and_right_change_places_in_a_mirrored_picture(transforms: Any, names: tuple[str, ...]) -> None:
    """The eye that is on the right of a mirrored face is its right eye, whatever it was."""
    policy = Classic(recipe(*transforms) if isinstance(transforms, list) else recipes.read(transforms))
    sample, seen = face(names), Counter[bool]()
    for seed in range(12):
        made = make(policy, sample, seed).sample
        where = dots(made.picture)
        if len(where) < 3 or len(made.things) < 2:
            continue
        mirrored = (turn(where) > 0) != (turn(PLACES) > 0)  # type: ignore[arg-type]
        seen[mirrored] += 1
        for thing, exchanged in zip(made.things, (mirrored, False), strict=True):
            assert thing.keypoints is not None
            for name, (x, y, there) in zip(names, thing.keypoints, strict=True):
                other = {"left_eye": "right_eye", "right_eye": "left_eye"}.get(name, name) if exchanged else name
                assert not there or np.abs(where[other] - (x, y)).max() < 4
    assert sum(seen.values()) >= 6 and (seen[True] or "VerticalFlip" in str(transforms[1:]))


def test_each_thing_keeps_its_own_parts_when_others_go() -> None:
    left = np.zeros((40, 40), bool)
    left[:, :10] = True
    middle = np.zeros((40, 40), bool)
    middle[10:30, 15:25] = True
    things = (
        Thing(1, (0, 0, 10, 40), left, np.array([[5, 5, 2]], np.float32)),
        Thing(2, None, middle),
        Thing(3, None, None, np.array([[2, 20, 2], [20, 21, 1]], np.float32)),
        Thing(4, None, None, np.array([[3, 3, 2]], np.float32)),
        Thing(5, (8, 0, 32, 40)),
    )
    crop = Classic(recipe({"name": "Crop", "x_min": 9, "y_min": 0, "x_max": 31, "y_max": 40}))
    made = make(crop, Sample(noise(40, 40), None, None, things)).sample
    # 1: a tenth of its box is left; 4: its keypoint is gone
    assert [thing.category for thing in made.things] == [2, 3, 5]
    np.testing.assert_array_equal(made.things[0].mask, middle[:, 9:31])
    np.testing.assert_array_equal(made.things[1].keypoints, [[0, 0, 0], [11, 21, 1]])
    assert made.things[2].box == (0.0, 0.0, 22.0, 40.0)


def test_a_box_wider_than_its_mask_stays_as_wide() -> None:
    mask = np.zeros((60, 60), bool)
    mask[20:40, 20:40] = True  # the visible half of what the box is round
    thing = Thing(1, (10, 10, 50, 50), mask)
    turn = Classic(recipe({"name": "Affine", "rotate": [8.0, 8.0]}))
    box = make(turn, Sample(noise(60, 60), None, None, (thing,))).sample.things[0].box
    assert box is not None and box[0] <= 10 and box[1] <= 10 and box[2] >= 50 and box[3] >= 50


def test_objects_are_not_mirrored_at_a_border_beside_boxes() -> None:
    sample = scene(60, 60, False, (0.1, 0.5), (10, 10))
    shift = Classic(recipe({"name": "Affine", "translate_px": {"x": [25, 25], "y": [0, 0]}, "border_mode": 4}))
    with_things, without = make(shift, sample), make(shift, Sample(sample.picture))
    assert len(with_things.sample.things) == 2
    assert red(without.sample.picture).sum() > 1.3 * red(with_things.sample.picture).sum()


def test_a_mask_is_not_moved_by_a_zoom() -> None:
    sample = scene(80, 80, False, (0.5, 0.5), (20, 20))
    zoom = Classic(recipe({"name": "CropAndPad", "px": [-20, -11, -9, -12], "keep_size": True}))
    made = make(zoom, sample).sample
    region = red(made.picture)
    assert made.mask is not None and extent(region) == extent(made.mask == 7)
    assert (region ^ (made.mask == 7)).sum() == 0


def test_things_thinner_than_a_pixel_stay_where_their_boxes_are() -> None:
    """A polygon that no pixel's centre is in has no mask, and a box of .9 pixels is no less a box."""
    picture, empty = np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60), bool)
    things = (Thing(1, (10.0, 5.0, 35.0, 6.4), empty), Thing(2, (20.0, 8.0, 20.9, 30.0)))
    made = make(Classic(recipe(FLIP)), Sample(picture, things=things), 1).sample
    assert [(thing.category, thing.box, thing.mask) for thing in made.things] == [
        (1, (25.0, 5.0, 50.0, 6.4), None), (2, (39.1, 8.0, 40.0, 30.0), None),
    ]  # fmt: skip


def test_boxes_outside_the_picture_are_cut_or_go() -> None:
    things = (Thing(1, (-5, -5, 10, 10)), Thing(2, (60, 60, 70, 70)), Thing(3, (10, 10, 10, 20)))
    made = make(Classic(recipe({"name": "NoOp"})), Sample(noise(40, 40), None, None, things)).sample
    assert [(thing.category, thing.box) for thing in made.things] == [(1, (0.0, 0.0, 10.0, 10.0))]
