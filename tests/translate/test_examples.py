"""What scores look at, and what loading costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gantk_translate import stock
from gantk_translate.data import examples, split
from gantk_translate.layout import Entry, find
from gantk_translate.options import TranslateConfig
from gantk_translate.reading import read, resized, rounded
from gantk_translate.task import Translate
from gantoolkit.errors import InputError
from tests.translate.data_sets import (
    blobs,
    data,
    item,
    maps,
    pairs,
    partner,
    refused,
    said,
    save,
    two_sides,
    with_masks,
)

# ---- what scores look at ----


def test_parts_of_the_folder_are_held_out(tmp_path: Path) -> None:
    for count, part in enumerate(("train", "test"), start=3):
        pairs(tmp_path / part, count)
    pictures = data(tmp_path)
    assert len(pictures) == 3 and len(pictures.held_out().names) == 4 and said(pictures, "part test")
    assert [len(examples(tmp_path, part).names) for part in ("train", "test", "all")] == [3, 4, 7]
    pairs(tmp_path / "val", 2)
    assert len(data(tmp_path).held_out().names) == 2 and len(examples(tmp_path, "test").names) == 4


def test_names_decide_what_is_held_out(tmp_path: Path) -> None:
    pairs(tmp_path, 40)
    train, test, everything = (examples(tmp_path, part, held_out=0.2) for part in ("train", "test", "all"))
    assert len(everything.names) == 40 and sorted(train.names + test.names) == everything.names
    assert 0 < len(test.names) < 20 and data(tmp_path, held_out=0.2).held_out().names == test.names
    (tmp_path / "A" / test.names[0]).with_suffix(".png").unlink()
    (tmp_path / "B" / test.names[0]).with_suffix(".png").unlink()
    assert examples(tmp_path, "test", held_out=0.2).names == test.names[1:]


@pytest.mark.parametrize(("paper", "clean"), [(255, True), (190, False)])
def test_clean_line_art_is_told_from_pencil_on_paper(tmp_path: Path, paper: int, clean: bool) -> None:
    for index in range(4):
        sketch = np.full((32, 32, 1), paper, np.uint8)
        sketch[4 + index : 30 : 9] = 255 - paper
        save(tmp_path / "A" / f"{index}.png", sketch)
        save(tmp_path / "B" / f"{index}.png", blobs(index))
    found = data(tmp_path, size=32)
    assert found.clean() is clean
    weights = {"adversarial": {"generator": {"w": torch.zeros(1)}}}
    for compose in ("multiply", "none"):
        made = Translate().model(TranslateConfig(compose=compose), found, weights)
        assert made.config["clean"] is (clean and compose == "multiply")


def test_examples_are_whole_pictures_as_read(tmp_path: Path) -> None:
    pairs(tmp_path, 5)
    found = examples(tmp_path, "all")
    assert found.paired and len(found.sources) == len(found.targets) == 5
    np.testing.assert_array_equal(found.targets[3], partner(found.sources[3]))
    np.testing.assert_array_equal(found.sources[3], blobs(3))
    assert len(found.sources[1:3]) == 2 and [a.shape for a in found.sources] == [(32, 32, 3)] * 5
    few = examples(tmp_path, "all", number=2, direction="BtoA")
    assert set(few.names) < set(found.names) and set(few.names) < set(examples(tmp_path, "all", number=3).names)
    np.testing.assert_array_equal(few.targets[0], partner(few.sources[0]))


def test_unpaired_examples_have_their_own_numbers(tmp_path: Path) -> None:
    two_sides(tmp_path, 4, 7)
    found = examples(tmp_path, "train", held_out=0)
    assert not found.paired and len(found.sources) == len(found.names) == 4 and len(found.targets) == 7


def test_examples_of_masks_are_classes(tmp_path: Path) -> None:
    with_masks(tmp_path)
    assert examples(tmp_path, "all", masks="B").targets[0].shape == (32, 32, 1)
    assert examples(tmp_path, "all", masks="B", direction="BtoA").sources[0].shape == (32, 32, 1)
    assert examples(tmp_path, "all").targets[0].shape == (32, 32, 3)


def test_a_few_pictures_stand_in_where_none_are_held_out(tmp_path: Path) -> None:
    pictures = data(pairs(tmp_path, 3), held_out=0)
    assert len(pictures) == 3 and len(pictures.held_out().names) == 3 and said(pictures, "nothing is held out")
    with pytest.raises(InputError, match=r"no pictures in the part 'test'; .*--part all"):
        examples(tmp_path, "test", held_out=0)


def test_a_folder_that_only_tests(tmp_path: Path) -> None:
    pairs(tmp_path / "x" / "test", 3)
    pairs(tmp_path / "x" / "val", 3)
    refused(tmp_path, "no part to train on")
    assert len(examples(tmp_path, "test").names) == 3


@settings(max_examples=30, deadline=None)
@given(st.sets(st.text("abc019-_", min_size=1, max_size=8), min_size=1, max_size=40), st.floats(0, 0.9))
def test_splits_are_complete_and_keep_pairs(names: set[str], share: float) -> None:
    from gantk_translate.layout import Layout

    sides = tuple([Entry(Path(side) / f"{name}.png", name) for name in sorted(names)] for side in "AB")
    train, held, _ = split(Layout(Path(), "pairs", parts={"all": (sides[0], sides[1])}), share)
    for part in (train, held):
        assert [entry.name for entry in part[0]] == [entry.name for entry in part[1]]
    assert sorted(entry.name for entry in train[0] + held[0]) == sorted(names)


def test_standard_is_an_item_without_chance(tmp_path: Path) -> None:
    values = read(find(maps(tmp_path)).parts["all"][0][0]).values
    for fit in ("crop", "resize"):
        pictures = data(tmp_path, fit=fit, jitter=1, mirror=False, held_out=0)
        standard = pictures.standard(values, pictures.source)
        assert standard.shape == (16, 16, 3) and standard.dtype == np.uint8
        if fit == "resize":
            np.testing.assert_array_equal(pictures.source.encode(standard), item(pictures)["a"].numpy())
    assert (data(tmp_path, fit="crop").standard(values, pictures.source)[0, 0] // 4).tolist() == [12, 4, 0]


def test_more_than_memory_holds_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_masks(tmp_path)
    kept = data(tmp_path, masks="B", turn=True)
    monkeypatch.setattr(stock, "MEMORY", 2000)
    lazy = data(tmp_path, masks="B", turn=True)
    for index in range(len(kept)):
        one, other = item(kept, index, index), item(lazy, index, index)
        assert all(torch.equal(one[key], other[key]) for key in "ab")


# ---- numbers ----


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (3, 4051, (0, 4100)),
        (0, 4095, (0, 4100)),
        (0.0, 1.0, (0, 1)),
        (-1024, 3071, (-1100, 3100)),
        (0.2, 0.2003, (0.2, 0.2003)),
    ],
)
def test_ranges_are_rounded_outwards(low: float, high: float, expected: tuple[float, float]) -> None:
    assert rounded(low, high) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.floats(-1e9, 1e9), st.floats(1e-3, 1e9))
def test_rounded_ranges_hold_what_they_are_of(low: float, width: float) -> None:
    near, far = rounded(low, low + width)
    slack = 1e-12 * (abs(low) + width)
    assert near <= low + slack and low + width <= far + slack and far - near <= 1.21 * width + 2 * slack


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
def test_resizing_keeps_type_range_and_mean(dtype: str) -> None:
    values = (blobs(0, 40, 30, 3).astype(np.float64) + (0 if dtype == "uint8" else 1e4)).astype(dtype)
    small = resized(values, (20, 15))
    assert small.dtype == dtype and small.shape == (20, 15, 3)
    assert dtype == "uint8" or (small.min() >= values.min() and small.max() <= values.max())
    np.testing.assert_allclose(small.mean((0, 1)), values.mean((0, 1)), atol=1.5)
    assert resized(values, (40, 30)) is values


def test_masks_are_resized_to_classes_they_have() -> None:
    values = np.array([[5, 9], [200, 7]], np.uint8)[..., None]
    np.testing.assert_array_equal(resized(values, (4, 6), mask=True)[..., 0], values[..., 0].repeat(2, 0).repeat(3, 1))
    assert set(np.unique(resized(values.repeat(9, 0), (5, 3), mask=True))) <= {5, 7, 9, 200}


def test_scores_follow_a_stage_at_half_the_size(tmp_path: Path) -> None:
    pairs(tmp_path)
    for fit in ("resize", "crop"):
        made = data(tmp_path, fit=fit)
        values = made.held_out().sources[0]
        whole = made.standard(values, made.source)
        made.halved = True
        half = made.standard(values, made.source)
        means = whole.reshape(half.shape[0], 2, half.shape[1], 2, -1).mean((1, 3))
        assert half.shape[0] == whole.shape[0] // 2 and np.abs(half - means).mean() < 8
