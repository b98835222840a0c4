"""COCO's annotations: run lengths and polygons against naive readings of the format, objects there and back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from gantk_augment import coco, rle
from gantoolkit.errors import InputError
from gantoolkit.samples import Thing
from tests.augment import data_sets

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=16))
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=6,
)

# ---- run lengths ----


@settings(max_examples=200, deadline=None)
@given(MASKS)
def test_masks_survive_run_lengths(mask: np.ndarray) -> None:
    assert rle.runs(mask) == data_sets.runs(mask)  # counted pixel by pixel
    np.testing.assert_array_equal(rle.from_runs(rle.runs(mask), *mask.shape), mask)
    written = json.loads(json.dumps(rle.from_mask(mask)))
    np.testing.assert_array_equal(rle.to_mask(written, *mask.shape), mask)


def naive_unpack(text: str) -> list[int]:
    """The format's definition, as bits: 5 a character, lowest first, the sixth says that more follow."""
    counts: list[int] = []
    bits = ""
    for character in text:
        group = format(ord(character) - 48, "06b")
        bits = group[1:] + bits
        if group[0] == "0":
            value = int(bits, 2) - (1 << len(bits) if bits[0] == "1" else 0)
            counts.append(value + (counts[-2] if len(counts) >= 3 else 0))
            bits = ""
    return counts


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 2**31), max_size=30))
def test_packed_run_lengths_are_read_back(counts: list[int]) -> None:
    text = rle.pack(counts)
    assert rle.unpack(text) == counts == naive_unpack(text)


@pytest.mark.parametrize(
    ("counts", "text"),
    [  # from the published tests of another implementation
        ([0, 6, 1, 3], "061M"),
        ([0, 6, 1, 5], "061O"),
        ([0, 6, 1, 6], "0610"),
        ([0, 1, 1, 2, 1, 3, 1, 4, 1], "011101010"),
        ([0, 1024], "0PP1"),
    ],
)
def test_known_packed_run_lengths(counts: list[int], text: str) -> None:
    assert rle.pack(counts) == text
    assert rle.unpack(text) == counts


@settings(max_examples=100, deadline=None)
@given(JSON | st.fixed_dictionaries({"size": st.just([3, 4]), "counts": st.text(max_size=12) | st.lists(JSON)}))
def test_any_segmentation_is_a_mask_or_an_input_error(segmentation: Any) -> None:
    try:
        mask = rle.to_mask(segmentation, 3, 4)
        assert (mask.shape, mask.dtype) == ((3, 4), bool)
    except InputError as error:
        assert "\n" not in str(error)


# ---- polygons ----

COORDINATE = st.floats(-8, 30).map(lambda v: round(v, 2))


def inside(x: float, y: float, corners: np.ndarray) -> bool:
    """Whether a ray to the right crosses the outline an odd number of times."""
    odd = False
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, 0), strict=True):
        if (ay > y) != (by > y) and x < ax + (y - ay) * (bx - ax) / (by - ay):
            odd = not odd
    return odd


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(COORDINATE, COORDINATE), min_size=3, max_size=7))
def test_polygons_are_filled_where_centres_are_inside(points: list[tuple[float, float]]) -> None:
    corners = np.array(points)
    mask = rle.from_polygons([corners.reshape(-1).tolist()], 12, 16)
    for y in range(12):
        for x in range(16):
            if inside(x + 0.5 - 1e-6, y + 0.5, corners) == inside(x + 0.5 + 1e-6, y + 0.5, corners):
                assert mask[y, x] == inside(x + 0.5, y + 0.5, corners)  # not on the outline but for rounding


def test_a_rectangle_is_filled_exactly_and_parts_join() -> None:
    want = np.zeros((6, 8), bool)
    want[1:3, 2:5] = want[4:6, 6:8] = True
    parts = [[2, 1, 5, 1, 5, 3, 2, 3], [6, 4, 99, 4, 99, 99, 6, 99]]
    np.testing.assert_array_equal(rle.to_mask(parts, 6, 8), want)


# ---- annotations ----

CATEGORIES = {3: "blue", 7: "red"}


def tidied(size: tuple[int, int] | None = (20, 30), **changes: Any) -> tuple[dict[str, Any] | None, str]:
    row = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [2, 3, 10, 5]} | changes
    kept, problems = coco.tidy({key: value for key, value in row.items() if value != "drop"}, CATEGORIES, size)
    return kept, " ".join(problems)


def test_boxes_are_cut_at_the_edge_and_dropped_outside() -> None:
    kept, problem = tidied(bbox=[-5, 15, 10, 10])
    assert kept is not None
    assert kept["bbox"] == [0, 15, 5, 5]
    assert "sticks out" in problem
    kept, problem = tidied(bbox=[20, 15, 10.4, 5])  # half a pixel is rounding
    assert kept is not None
    assert (kept["bbox"], problem) == ([20, 15, 10, 5], "")
    for box, word in (([30, 0, 5, 5], "outside"), ([0, 0, -4, 3], "size of -4"), ([0, 0, 4, 0], "size of 4 x 0")):
        kept, problem = tidied(bbox=box)
        assert kept is None
        assert word in problem


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"category_id": 4}, "unknown category 4"),
        ({"category_id": "blue"}, "unknown category"),
        ({"bbox": [1, 2, 3]}, "malformed"),
        ({"bbox": [1, 2, float("nan"), 3]}, "malformed"),
        ({"bbox": "drop"}, "no usable box"),
    ],
)
def test_annotations_that_cannot_be_used(changes: dict[str, Any], word: str) -> None:
    kept, problem = tidied(**changes)
    assert kept is None
    assert word in problem


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({"segmentation": [[1, 2, 3, 4]]}, "segmentation"),
        ({"segmentation": {"size": [30, 20], "counts": [600]}}, "segmentation"),
        ({"segmentation": 5}, "segmentation"),
        ({"keypoints": [1, 2]}, "keypoints"),
    ],
)
def test_a_bad_part_leaves_the_rest(changes: dict[str, Any], gone: str) -> None:
    kept, problem = tidied(**changes)
    assert kept is not None
    assert gone not in kept
    assert kept["bbox"] == [2, 3, 10, 5]
    assert "left out" in problem


@settings(max_examples=80, deadline=None)
@given(
    st.fixed_dictionaries(
        {"images": st.lists(JSON), "annotations": st.lists(JSON), "categories": st.lists(JSON)}
    )
    | st.fixed_dictionaries(
        {
            "images": st.just([{"id": 1, "file_name": "a", "width": 6, "height": 4}]),
            "categories": st.just([{"id": 3, "name": "blue"}]),
            "annotations": st.lists(
                st.fixed_dictionaries(
                    {"image_id": st.just(1), "category_id": st.just(3) | JSON},
                    optional={"bbox": st.lists(st.floats(-9, 9), max_size=5) | JSON, "keypoints": JSON,
                              "segmentation": JSON, "id": JSON},
                ),
                max_size=3,
            ),
        }
    )
)  # fmt: skip
def test_any_annotation_file_is_read_or_refused_by_parts(content: dict[str, Any]) -> None:
    document = coco.parse(json.dumps(content))
    assert document is not None
    for file, listed in document.annotations.items():
        size = coco.size_of(document.images[file])
        for annotation in listed:
            kept, problems = coco.tidy(annotation, document.categories, size)
            assert kept or problems
            if kept and size:
                try:
                    thing = coco.to_thing(kept, *size)
                except InputError:
                    continue
                if thing.box:
                    left, top, right, bottom = thing.box
                    assert 0 <= left < right <= size[1] + 1e-6
                    assert 0 <= top < bottom <= size[0] + 1e-6
                coco.from_thing(thing, *size)


@pytest.mark.parametrize(
    ("names", "partners"),
    [
        (["nose", "left_eye", "right_eye", "left_ear", "right_ear"], (0, 2, 1, 4, 3)),
        (["Left Knee", "right knee", "l_hip", "R_HIP"], (1, 0, 3, 2)),
        (["LEar", "REar", "earL", "earR", "eye.l", "eye.r"], (1, 0, 3, 2, 5, 4)),
        (["lip", "rip", "bright", "blight", "l", "left_foot"], ()),  # no other side is there
        (["left", "left", "right"], ()),
        (["left", 3], ()),
        (None, ()),
    ],
)
def test_partners_are_known_by_their_names(names: Any, partners: tuple[int, ...]) -> None:
    assert coco.partners(names) == partners


def test_only_annotation_files_are_read() -> None:
    for text in ("[]", "3", '{"images": []}', '{"images": 3, "annotations": [], "categories": []}'):
        assert coco.parse(text) is None
    for text in ("", "{", "[" * 100_000):
        with pytest.raises(InputError, match="not JSON"):
            coco.parse(text)


# ---- objects ----


@settings(max_examples=100, deadline=None)
@given(MASKS.filter(lambda m: m.any()), st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15), st.integers(0, 2))))
def test_objects_survive_being_written(mask: np.ndarray, points: list[tuple[int, int, int]]) -> None:
    height, width = mask.shape
    seen = [(x, y, v) if v and x <= width and y <= height else (0, 0, 0) for x, y, v in points]
    keypoints = np.array(points, np.float32).reshape(-1, 3) if points else None
    row = coco.from_thing(Thing(7, (0, 0, width, height), mask, keypoints, {"iscrowd": 1, "score": 0.5}), height, width)
    assert row is not None
    assert (row["bbox"], row["area"], row["iscrowd"], row["score"]) == ([0, 0, width, height], mask.sum(), 1, 0.5)
    kept, problems = coco.tidy({"id": 1, "image_id": 1, **json.loads(json.dumps(row))}, CATEGORIES, (height, width))
    assert kept is not None
    assert not problems
    again = coco.to_thing(kept, height, width)
    assert (again.category, again.box, again.extra) == (7, (0, 0, width, height), {"iscrowd": 1, "score": 0.5})
    np.testing.assert_array_equal(again.mask, mask)
    if points:
        np.testing.assert_array_equal(again.keypoints, np.array(seen, np.float32))
        assert row["num_keypoints"] == sum(v > 0 for _, _, v in seen)


def test_objects_are_cut_at_the_edges_or_gone() -> None:
    row = coco.from_thing(Thing(3, (-4.0, 2.0, 6.25, 40.0)), 10, 8)
    assert row == {"category_id": 3, "bbox": [0, 2, 6.25, 8], "area": 50}
    assert coco.from_thing(Thing(3, (8.0, 0.0, 12.0, 4.0)), 10, 8) is None
    assert coco.from_thing(Thing(3, (0.0, 0.0, 4.0, 4.0), np.zeros((10, 8), bool)), 10, 8) is None
    outside = Thing(3, keypoints=np.array([[9, 1, 2]], np.float32))
    assert coco.from_thing(outside, 10, 8) is None
    mask = np.zeros((10, 8), bool)
    mask[2:5, 1:4] = True
    row = coco.from_thing(Thing(3, mask=mask), 10, 8)
    assert row is not None
    assert (row["bbox"], row["area"]) == ([1, 2, 3, 3], 9)
