"""Every way to lay out two sides is found, and what is wrong with one is said in a line that names the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gantk_translate.layout import find, look
from gantk_translate.reading import read
from gantoolkit import arrays
from gantoolkit.arrays import Array
from gantoolkit.errors import InputError
from tests.translate.data_sets import blobs, joined, pairs, save, two_sides


def refused(folder: Path, *words: str, pairs: bool = True) -> None:
    with pytest.raises(InputError) as error:
        find(folder, pairs=pairs)
    line = str(error.value)
    assert "\n" not in line and all(word in line for word in words), line


def some(folder: Path, *names: str) -> None:
    for index, name in enumerate(names):
        save(folder / name, blobs(index, 8, 8))


# ---- layouts ----


def test_two_folders_of_the_same_names_are_pairs(tmp_path: Path) -> None:
    found = find(pairs(tmp_path, 3))
    assert found.kind == "pairs" and found.paired and set(found.parts) == {"all"}
    a, b = found.parts["all"]
    assert [entry.name for entry in a] == ["00", "01", "02"] == [entry.name for entry in b]
    assert a[1].file == tmp_path / "A" / "01.png" and b[1].file == tmp_path / "B" / "01.png"
    assert any("taken as pairs" in note for note in found.notes)


def test_two_folders_of_other_names_are_not(tmp_path: Path) -> None:
    found = find(two_sides(tmp_path, 3, 5))
    assert found.kind == "sides" and not found.paired and [len(side) for side in found.parts["train"]] == [3, 5]


@pytest.mark.parametrize("form", ["{part}/{side}", "{part}{side}"])
def test_parts(tmp_path: Path, form: str) -> None:
    for count, part in enumerate(("train", "test", "val"), start=2):
        for side in "AB":
            some(tmp_path / form.format(part=part, side=side), *(f"{index}.png" for index in range(count)))
    found = find(tmp_path)
    assert found.kind == "pairs" and {part: len(a) for part, (a, _) in found.parts.items()} == {
        "train": 2,
        "test": 3,
        "val": 4,
    }


def test_folders_inside_other_suffixes_and_small_letters(tmp_path: Path) -> None:
    some(tmp_path / "a", "x/1.png", "y/1.jpg", ".hidden.png")
    some(tmp_path / "b", "x/1.jpg")
    save(tmp_path / "b" / "y" / "1.npy", blobs(0, 8, 8))
    (tmp_path / "a" / "notes.txt").write_text("hello")
    found = find(tmp_path)
    assert found.kind == "pairs" and [entry.name for entry in found.parts["all"][0]] == ["x/1", "y/1"]


def test_a_lonely_folder_is_looked_into(tmp_path: Path) -> None:
    pairs(tmp_path / "maps" / "inner", 2)
    found = find(tmp_path)
    assert found.kind == "pairs" and any("maps/inner/" in note for note in found.notes)


def test_side_by_side_pictures(tmp_path: Path) -> None:
    found = find(joined(tmp_path, 3))
    assert found.kind == "joined" and found.paired
    (left, *_), (right, *_) = found.parts["all"]
    assert left.file == right.file and (left.half, right.half) == ("left", "right") and left.name == right.name


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_side_by_side_pictures_are_looked_at_upright(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    for name, shape in (("across", (16, 8)), ("down", (8, 16))):
        file = tmp_path / name / f"1.{suffix}"
        file.parent.mkdir()
        Image.fromarray(np.zeros((*shape, 3), np.uint8)).save(file, exif=exif)
    (left, *_), _ = find(tmp_path / "across").parts["all"]
    assert read(left).values.shape == (8, 8, 3)
    refused(tmp_path / "down", f"1.{suffix} is no picture of two halves: 8×16, less than twice as wide as high")


def test_side_by_side_pictures_of_odd_width(tmp_path: Path) -> None:
    save(tmp_path / "1.png", np.zeros((8, 17, 3), np.uint8))
    refused(tmp_path, "1.png is no picture of two halves: 17×8, of odd width")


def test_side_by_side_parts(tmp_path: Path) -> None:
    joined(tmp_path / "train", 3)
    joined(tmp_path / "val", 2)
    found = find(tmp_path)
    assert found.kind == "joined" and {part: len(a) for part, (a, _) in found.parts.items()} == {"train": 3, "val": 2}


def test_side_by_side_in_16_bits(tmp_path: Path) -> None:
    for channels in (1, 3):
        save(tmp_path / f"{channels}.tif", np.zeros((8, 16, channels), np.uint16))
    assert find(tmp_path).kind == "joined"


def test_one_other_picture_and_nothing_is_side_by_side(tmp_path: Path) -> None:
    joined(tmp_path, 3)
    save(tmp_path / "photo.png", blobs(0, 30, 40))
    refused(tmp_path, "two sides are not to be seen", "A/ and B/", "trainA/", "photo.png")
    save(tmp_path / "photo.png", blobs(0, 8, 17))
    refused(tmp_path, "photo.png")


def test_slices_of_volumes_are_entries(tmp_path: Path) -> None:
    pytest.importorskip("nibabel")
    for side, depth in (("A", 3), ("B", 3)):
        plane = Array(np.random.default_rng(depth).random((6, 5, 1)).astype(np.float32))
        arrays.write([plane] * depth, tmp_path / side / "patient.nii.gz")
    a, b = find(tmp_path).parts["all"]
    assert [entry.name for entry in a] == [f"patient#00{z}" for z in range(3)] == [entry.name for entry in b]
    assert [entry.slice for entry in a] == [0, 1, 2]
    arrays.write([plane] * 4, tmp_path / "B" / "patient.nii.gz", force=True)
    refused(tmp_path, "B/patient.nii.gz (slice 3)", "no picture of the same name")


# ---- what is wrong ----


def test_unequal_counts_and_unmatched_names_name_the_files(tmp_path: Path) -> None:
    pairs(tmp_path, 6)
    (tmp_path / "B" / "03.png").unlink()
    refused(tmp_path, "A/03.png", "no picture of the same name", "A/ has 6, B/ 5", "gantk data check")
    (tmp_path / "B" / "04.png").rename(tmp_path / "B" / "four.png")
    assert len(look(tmp_path).unmatched) == 3
    refused(tmp_path, "A/03.png", "2 more problems")
    found = find(tmp_path, pairs=False)  # partners do not matter
    assert found.kind == "sides" and [len(side) for side in found.parts["all"]] == [6, 5]


def test_equal_counts_with_one_other_name(tmp_path: Path) -> None:
    pairs(tmp_path, 6)
    (tmp_path / "B" / "03.png").rename(tmp_path / "B" / "three.png")
    refused(tmp_path, "A/03.png: no picture of the same name in")


def test_a_few_names_in_common_make_no_pairs(tmp_path: Path) -> None:
    some(tmp_path / "A", *(f"{index}.png" for index in range(5)))
    some(tmp_path / "B", *(f"{index}.png" for index in range(3, 8)))
    found = find(tmp_path)
    assert found.kind == "sides" and any("only 2 names" in note for note in found.notes)


@pytest.mark.parametrize("make", [True, False])
def test_an_empty_side(tmp_path: Path, make: bool) -> None:
    some(tmp_path / "A", "1.png")
    if make:
        (tmp_path / "B").mkdir()
        (tmp_path / "B" / "readme.txt").write_text("hello")
    for wanted in (True, False):
        refused(tmp_path, f"{tmp_path / 'B'}: this side", "holds no pictures" if make else "is missing", pairs=wanted)


def test_a_missing_side_of_a_part(tmp_path: Path) -> None:
    some(tmp_path / "trainA", "1.png")
    some(tmp_path / "trainB", "2.png")
    some(tmp_path / "testA", "3.png")
    refused(tmp_path, "testB: this side is missing")


def test_two_files_of_one_name(tmp_path: Path) -> None:
    pairs(tmp_path, 2)
    some(tmp_path / "A", "01.jpg")
    refused(tmp_path, "A/01.png: has the name of 01.jpg; keep one")


def test_nothing_recognisable(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "does not exist", "A/ and B/")
    refused(tmp_path, "two sides are not to be seen")
    some(tmp_path / "cats", "1.png")
    some(tmp_path / "dogs", "1.png")
    refused(tmp_path, "two sides are not to be seen", "1.png is no picture of two halves")
    (tmp_path / "file").write_text("")
    refused(tmp_path / "file", "is not a folder")


def test_a_damaged_side_by_side_picture_is_named(tmp_path: Path) -> None:
    joined(tmp_path, 3)
    (tmp_path / "01.png").write_bytes(b"hello")
    refused(tmp_path, "01.png", "damaged")


def test_a_damaged_volume_is_named(tmp_path: Path) -> None:
    pytest.importorskip("nibabel")
    pairs(tmp_path, 2)
    (tmp_path / "A" / "patient.nii").write_bytes(b"hello")
    refused(tmp_path, "A/patient.nii")
