"""What training finds out about each side, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gantk_translate.layout import find
from gantk_translate.reading import read
from gantk_translate.sides import Side
from gantoolkit import arrays
from gantoolkit.arrays import Array
from tests.translate.data_sets import (
    blobs,
    data,
    item,
    pairs,
    refused,
    said,
    save,
    scans,
    with_masks,
)

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


def test_8_bits_of_arrays_are_scaled_by_what_is_in_them_and_those_of_pictures_are_not(tmp_path: Path) -> None:
    for index in range(3):
        counts = np.random.default_rng(index).integers(0, 11, (20, 20, 1)).astype(np.uint8)
        save(tmp_path / "A" / f"{index}.npy", counts)
        save(tmp_path / "B" / f"{index}.png", counts)
    pictures = data(tmp_path, size=20)
    assert (pictures.source.kind, pictures.source.low, pictures.source.high) == ("array", 0, 10)
    assert (pictures.target.kind, pictures.target.low, pictures.target.high) == ("picture", 0, 255)


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
    assert Side.from_dict(pictures.source.to_dict()).alpha and not pictures.target.alpha
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
