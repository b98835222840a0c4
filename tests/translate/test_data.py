"""What items hold: windows in [-1, 1] that depend on their generator alone, the same of both pictures of a pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gantk_translate import stock
from gantk_translate.data import Data, examples, split
from gantk_translate.layout import Entry, find
from gantk_translate.options import TranslateConfig
from gantk_translate.reading import read, resized, rounded
from gantoolkit import arrays
from gantoolkit.arrays import Array
from gantoolkit.errors import InputError
from tests.translate.data_sets import blobs, joined, pairs, partner, save, scans, two_sides, with_masks


def data(folder: Path, **options: Any) -> Data:
    return Data(TranslateConfig(**{"size": 16, **options}), folder)


def item(of: Data, index: int = 0, seed: int = 0) -> dict[str, torch.Tensor]:
    return dict(of.item(index, np.random.default_rng(seed)))


def refused(folder: Path, *words: str, **options: Any) -> None:
    with pytest.raises(InputError) as error:
        data(folder, **options)
    line = str(error.value)
    assert "\n" not in line and all(word in line for word in words), line


def said(of: Data, words: str) -> bool:
    return any(words in note for note in of.notes)


def maps(folder: Path, count: int = 4, height: int = 40, width: int = 24) -> Path:
    """Pairs whose A says where a pixel is (red y, green x) and whose B says it otherwise (blue y, red x)."""
    y, x = np.mgrid[0:height, 0:width].astype(np.uint8) * 4
    for index in range(count):
        save(folder / "A" / f"{index}.png", np.stack([y, x, 0 * x], 2))
        save(folder / "B" / f"{index}.png", np.stack([x, 0 * x, y], 2))
    return folder


# ---- geometry ----


@pytest.mark.parametrize("fit", ["crop", "resize"])
def test_pairs_are_cut_mirrored_and_turned_alike(tmp_path: Path, fit: str) -> None:
    pictures = data(maps(tmp_path), fit=fit, turn=True, held_out=0)
    seen = set()
    for seed in range(50):
        made = item(pictures, seed % 4, seed)
        y, x = made["a"][0], made["a"][1]
        torch.testing.assert_close(made["b"], torch.stack([x, -torch.ones_like(x), y]), atol=0, rtol=0)
        steps = [int(np.sign((t[-1, 0] - t[0, 0]).item())) for t in (y, x)]
        steps += [int(np.sign((t[0, -1] - t[0, 0]).item())) for t in (y, x)]
        seen.add(tuple(steps))
    assert len(seen) == 8  # all turns, mirrored or not


def test_windows_have_the_pictures_own_scale_with_crop(tmp_path: Path) -> None:
    pictures = data(maps(tmp_path), fit="crop", mirror=False, held_out=0)
    tops, lefts = set(), set()
    for seed in range(300):
        values = torch.round((item(pictures, 0, seed)["a"] + 1) * 127.5).int() // 4
        assert (values[0].diff(dim=0) == 1).all() and (values[1].diff(dim=1) == 1).all()
        tops.add(int(values[0, 0, 0]))
        lefts.add(int(values[1, 0, 0]))
    assert tops == set(range(25)) and lefts == set(range(9))


def test_the_whole_picture_is_there_with_resize(tmp_path: Path) -> None:
    pictures = data(maps(tmp_path), jitter=1, mirror=False, held_out=0)
    made, again = item(pictures, 0, 0)["a"], item(pictures, 0, 1)["a"]
    torch.testing.assert_close(made, again, atol=0, rtol=0)
    values = (made + 1) * 127.5 / 4
    assert values[0, 0, 0] < 2 and values[0, -1, 0] > 37 and values[1, 0, -1] > 22
    assert said(pictures, "4 pictures are not square and are stretched")


def test_jitter_leaves_room_for_a_window(tmp_path: Path) -> None:
    pictures = data(maps(tmp_path), jitter=1.5, mirror=False, held_out=0)
    corners = {tuple(item(pictures, 0, seed)["a"][:2, 0, 0].tolist()) for seed in range(1000)}
    assert len(corners) == 9 * 9  # 24 - 16 + 1 places on each axis


def test_items_depend_on_their_generator_alone(tmp_path: Path) -> None:
    for game in ("pix2pix", "cut"):
        pictures = data(pairs(tmp_path, 12), game=game, turn=True)
        first = item(pictures, 3, 7)
        item(pictures, 5, 1)
        again, other = item(pictures, 3, 7), item(pictures, 3, 8)
        assert all(torch.equal(first[key], again[key]) for key in "ab")
        assert not torch.equal(first["a"], other["a"])


def test_small_pictures_are_enlarged(tmp_path: Path) -> None:
    pictures = data(maps(tmp_path), size=32, fit="crop")
    assert item(pictures)["a"].shape == (3, 32, 32) and said(pictures, "smaller than 32×32 and are enlarged")


# ---- pairs or not ----


@pytest.mark.parametrize("make", [pairs, joined])
def test_b_is_the_partner_of_a(tmp_path: Path, make: Any) -> None:
    pictures = data(make(tmp_path), jitter=1, size=32, held_out=0)
    assert pictures.paired and len(pictures) == 12
    made = item(pictures, 4)
    torch.testing.assert_close(made["b"], -made["a"].flip(0), atol=1e-6, rtol=0)


def test_directions_swap_the_sides(tmp_path: Path) -> None:
    pairs(tmp_path)
    there, back = (data(tmp_path, direction=way, turn=True) for way in ("AtoB", "BtoA"))
    one, other = item(there, 2, 5), item(back, 2, 5)
    assert torch.equal(one["a"], other["b"]) and torch.equal(one["b"], other["a"])
    assert there.held_out().names == back.held_out().names
    np.testing.assert_array_equal(there.held_out().sources[0], back.held_out().targets[0])


def test_unpaired_targets_are_drawn_by_chance(tmp_path: Path) -> None:
    two_sides(tmp_path, 4, 30)
    pictures = data(tmp_path, game="cyclegan", jitter=1, mirror=False, size=32, held_out=0)
    assert (
        not pictures.paired
        and len(pictures) == 4
        and len(data(tmp_path, game="cut", direction="BtoA", held_out=0)) == 30
    )
    drawn = [item(pictures, 0, seed) for seed in range(300)]
    assert len({made["a"].numpy().tobytes() for made in drawn}) == 1
    assert len({made["b"].numpy().tobytes() for made in drawn}) == 30


def test_unpaired_sides_may_differ_in_size_and_channels(tmp_path: Path) -> None:
    two_sides(tmp_path, 3)
    for index in range(3):
        save(tmp_path / "trainB" / f"b-{index:02d}.png", blobs(index, 50, 20, 1))
    made = item(data(two_sides(tmp_path / "x", 3), game="cut", fit="crop"))
    assert made["a"].shape == (3, 16, 16)
    for index in range(3, 12):
        (tmp_path / "trainB" / f"b-{index:02d}.png").unlink(missing_ok=True)
    made = item(data(tmp_path, game="cut", fit="crop", turn=True))
    assert made["a"].shape == (3, 16, 16) and made["b"].shape == (1, 16, 16)


def test_a_game_of_pairs_wants_pairs(tmp_path: Path) -> None:
    two_sides(tmp_path)
    for game in ("pix2pix", "pix2pix-modern"):
        refused(tmp_path, "holds no pairs", game, "same names", "--game cut", game=game)


def test_pairs_may_be_played_without(tmp_path: Path) -> None:
    pictures = data(pairs(tmp_path), game="cut")
    assert not pictures.paired and pictures.held_out().paired and said(pictures, "takes targets by chance")


# ---- what sides hold ----


def test_16_bits_keep_their_range(tmp_path: Path) -> None:
    pictures = data(scans(tmp_path, low=100, high=4037), size=32, jitter=1, mirror=False, held_out=0)
    side = pictures.source
    assert (side.kind, side.channels, side.dtype, side.low, side.high) == ("picture", 1, "uint16", 100, 4100)
    made = item(pictures, 3)["a"]
    assert made.min() == -1 and 0.96 < made.max() < 1
    entry = find(tmp_path).parts["all"][0][3]
    np.testing.assert_array_equal(side.decode(made.numpy()), read(entry).values)


def test_16_bits_that_are_used_are_taken_whole(tmp_path: Path) -> None:
    side = data(scans(tmp_path, low=3, high=60_000)).source
    assert (side.low, side.high) == (0, 65_535)


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64", "int32"])
def test_arrays_are_scaled_by_what_is_in_them(tmp_path: Path, dtype: str) -> None:
    for index in range(3):
        values = blobs(index, 20, 20, 5).astype(np.float64) * 10 - 1024
        values[0, 0, 0], values[0, 1, 0] = -1024, 2371
        for name in "AB":
            save(tmp_path / name / f"{index}.npy", values.astype(dtype))
    pictures = data(tmp_path, size=20, jitter=1, mirror=False)
    side = pictures.target
    assert (side.kind, side.channels, side.dtype, side.low, side.high) == ("array", 5, dtype, -1100, 2400)
    np.testing.assert_allclose(side.decode(item(pictures)["b"].numpy())[0, :2, 0], [-1024, 2371], rtol=1e-6)


@pytest.mark.parametrize(("top", "expected"), [(1.0, (0, 1)), (250.0, (0, 250))])
def test_float_pictures_are_taken_from_0_to_1_where_they_are(
    tmp_path: Path, top: float, expected: tuple[float, float]
) -> None:
    for index in range(3):
        values = blobs(index, 20, 20, 1).astype(np.float32) / 255 * np.float32(top)
        values[0, :2, 0] = 0, top
        for name in "AB":
            save(tmp_path / name / f"{index}.tif", values)
    pictures = data(tmp_path, size=20, jitter=1, mirror=False, held_out=0)
    assert (pictures.source.kind, pictures.source.dtype) == ("picture", "float32")
    assert (pictures.source.low, pictures.source.high) == expected
    np.testing.assert_allclose(pictures.source.decode(item(pictures, 2)["a"].numpy()), values, atol=top * 1e-6)


def test_volumes_are_read_slice_by_slice_and_kept_together(tmp_path: Path) -> None:
    pytest.importorskip("nibabel")
    rng = np.random.default_rng(0)
    for index in range(12):
        slices = [Array(rng.normal(0, 50, (20, 18, 1)).astype(np.int16)) for _ in range(3)]
        arrays.write(slices, tmp_path / "A" / f"{index}.nii.gz")
        arrays.write(
            [Array((2 * array.values).astype(np.float32)) for array in slices], tmp_path / "B" / f"{index}.nii"
        )
    pictures = data(tmp_path, fit="crop", held_out=0.3)
    names = pictures.held_out().names
    assert len(pictures) + len(names) == 36 and len(names) % 3 == 0 < len(names)
    assert {name.partition("#")[2] for name in names} == {"000", "001", "002"}
    assert pictures.source.dtype == "int16" and pictures.target.dtype == "float32"
    np.testing.assert_array_equal(pictures.held_out().sources[4] * 2, pictures.held_out().targets[4])


def test_grey_among_colours_becomes_colour(tmp_path: Path) -> None:
    pairs(tmp_path, 6)
    save(tmp_path / "A" / "02.png", blobs(2, 32, 32, 1))
    pictures = data(tmp_path, held_out=0)
    made = item(pictures, 2)["a"]
    assert made.shape == (3, 16, 16) and torch.equal(made[0], made[2]) and said(pictures, "1 of 6 pictures are grey")


@pytest.mark.parametrize("channels", [2, 4])
def test_transparency_is_laid_on_white(tmp_path: Path, channels: int) -> None:
    pairs(tmp_path, 3)
    for index in range(3):
        values = np.zeros((32, 32, channels), np.uint8)
        values[..., -1] = np.repeat([[0], [51]], 16, 0)
        save(tmp_path / "A" / f"{index:02d}.png", values)
    pictures = data(tmp_path, held_out=0)
    assert (
        said(pictures, "3 pictures have transparency and are laid on white")
        and pictures.source.channels == channels - 1
    )
    assert np.unique(pictures.held_out().sources[0]).tolist() == [204, 255]


def test_masks_become_classes(tmp_path: Path) -> None:
    pictures = data(with_masks(tmp_path, classes=(0, 1, 3)), masks="B", jitter=1.3, turn=True)
    assert pictures.target.kind == "mask" and pictures.target.classes == (0, 1, 3) and pictures.target.planes == 3
    made = item(pictures, 1, 3)
    assert made["b"].shape == (3, 16, 16) and set(made["b"].unique().tolist()) == {-1, 1}
    assert (made["b"].sum(0) == -1).all()
    assert pictures.held_out().targets[0].shape == (32, 32, 1)
    assert data(tmp_path, masks="B", direction="BtoA").source.kind == "mask"
    assert data(tmp_path).target.channels == 3  # unsaid, a palette is colours


def test_grey_masks_and_mask_arrays(tmp_path: Path) -> None:
    pairs(tmp_path, 6)
    for index in range(6):
        values = (blobs(index, 32, 32, 1) > 110).astype(np.uint8) * 255
        save(tmp_path / "B" / f"{index:02d}.png", values)
        save(tmp_path / "C" / f"{index:02d}.npy", values[..., 0] > 0)
    assert data(tmp_path, masks="B").target.classes == (0, 255)
    (tmp_path / "B").rename(tmp_path / "D")
    (tmp_path / "C").rename(tmp_path / "B")
    assert data(tmp_path, masks="B").target.classes == (0, 1)


def test_masks_with_unknown_classes_are_refused_before_training(tmp_path: Path) -> None:
    with_masks(tmp_path / "train")
    with_masks(tmp_path / "test", 3, classes=(0, 1, 7))
    refused(tmp_path, "test/B/00.png has unknown classes, expected 0, 1, 3, got 7", masks="B")


def test_masks_that_are_none(tmp_path: Path) -> None:
    pairs(tmp_path, 3)
    refused(tmp_path, "B/00.png is a mask in colours", "give each colour a number", masks="B")
    for index in range(3):
        save(tmp_path / "B" / f"{index:02d}.png", np.arange(1024, dtype=np.uint8).reshape(32, 32) // (index + 1))
    refused(tmp_path, "B/00.png", "more than 64 values", masks="B")
    for index in range(3):
        save(tmp_path / "B" / f"{index:02d}.png", np.zeros((32, 32), np.uint8))
    refused(tmp_path, "one class only", masks="B")


# ---- what is wrong ----


def test_pairs_of_two_sizes_name_both_files(tmp_path: Path) -> None:
    pairs(tmp_path, 6)
    save(tmp_path / "B" / "03.png", blobs(3, 64, 64))
    refused(tmp_path, "A/03.png (32×32) and", "B/03.png (64×64)", "different sizes", fit="crop")
    assert len(data(tmp_path, held_out=0)) == 6  # resized, the same window is the same place
    save(tmp_path / "B" / "03.png", blobs(3, 32, 64))
    refused(tmp_path, "A/03.png (32×32) and", "B/03.png (64×32)", "different proportions")


def test_a_held_out_picture_is_looked_at_too(tmp_path: Path) -> None:
    pairs(tmp_path / "train", 4)
    pairs(tmp_path / "val", 3)
    (tmp_path / "val" / "A" / "01.png").write_bytes(b"hello")
    refused(tmp_path, "val/A/01.png is not a picture")
    save(tmp_path / "val" / "A" / "01.png", np.zeros((32, 32, 3), np.uint16).astype(np.uint8))
    save(tmp_path / "val" / "A" / "02.png", blobs(2, 20, 32))
    refused(tmp_path, "val/A/02.png (32×20)")


@pytest.mark.parametrize(
    ("suffix", "values", "words"),
    [
        ("npy", np.ones((32, 32, 3), np.uint8), "mixes pictures and arrays"),
        ("tif", np.ones((32, 32, 3), np.uint16), "mixes bit depths"),
    ],
)
def test_sides_that_mix(tmp_path: Path, suffix: str, values: np.ndarray, words: str) -> None:
    pairs(tmp_path, 3)
    (tmp_path / "A" / "01.png").unlink()
    save(tmp_path / "A" / f"01.{suffix}", values)
    refused(tmp_path, "side A", words, f"01.{suffix}", "00.png", held_out=0)


def test_arrays_that_mix_channels_types_or_nothing(tmp_path: Path) -> None:
    for index, channels in enumerate((2, 2, 5)):
        for name in "AB":
            save(tmp_path / name / f"{index}.npy", blobs(index, 20, 20, channels).astype(np.float32))
    refused(tmp_path, "mixes numbers of channels", "0.npy (2)", "2.npy (5)", held_out=0)
    for name in "AB":
        save(tmp_path / name / "2.npy", blobs(2, 20, 20, 2).astype(np.float64))
    pictures = data(tmp_path, held_out=0)
    assert pictures.source.dtype == "float64" and said(pictures, "types float32, float64 become float64")
    for index in range(3):
        save(tmp_path / "B" / f"{index}.npy", np.full((20, 20, 2), 7.5))
    refused(tmp_path, "side B has one value everywhere", "7.5")


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
