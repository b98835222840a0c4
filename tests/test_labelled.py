"""Pictures and points as data sets: sizes, splits, caches, workers."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gantoolkit import scan as scanning
from gantoolkit.data import Batches
from gantoolkit.errors import InputError, UsageError
from gantoolkit.labelled import LabelledPictures, Points, check
from gantoolkit.scan import conform
from tests.sources import classes, flat, item, pixels, rows_of, save, table, zipped

# ---- how pictures become one size ----


def test_fits_of_a_known_picture() -> None:
    half = np.zeros((8, 16, 1), np.uint8)
    half[:, 8:] = 200
    assert (conform(half, (8, 16), 1) == half).all()
    crop = conform(half, (8, 8), 1, "crop")  # columns 4..12
    assert (crop == half[:, 4:12]).all()
    pad = conform(half, (16, 16), 1, "pad")
    assert (pad[4:12] == half).all()
    assert pad[:4].max() == pad[12:].max() == 0
    stretched = conform(half, (8, 8), 1, "stretch")
    assert stretched[0, 0, 0] == 0
    assert stretched[0, -1, 0] == 200
    white = np.full((8, 8, 3), 255, np.uint8)
    assert (conform(white, (8, 8), 1) == 255).all()
    checker = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[..., None]
    assert np.ptp(conform(checker, (8, 8), 1).astype(int)[2:-2, 2:-2]) <= 4  # antialiased: flat grey, no moiré


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40), width=st.integers(1, 40), h=st.integers(1, 40), w=st.integers(1, 40),
    bands=st.integers(1, 4), channels=st.sampled_from([1, 3, 4]), fit=st.sampled_from(["crop", "pad", "stretch"]),
)  # fmt: skip
def test_every_size_comes_out_as_asked(
    height: int, width: int, h: int, w: int, bands: int, channels: int, fit: Any
) -> None:
    flat_grey = np.full((height, width, bands), 255, np.uint8)
    out = conform(flat_grey, (h, w), channels, fit)
    assert out.shape == (h, w, channels)
    assert out.dtype == np.uint8
    if fit != "pad":
        assert (out == 255).all()


# ---- splits, caches, workers ----


def test_floating_point_of_another_range_is_a_problem(tmp_path: Path) -> None:
    classes(tmp_path)
    for name, top in (("fine", 1), ("white", 255)):
        Image.fromarray(pixels(3)[..., 0].astype(np.float32) * (top / 255)).save(tmp_path / "cat" / f"{name}.tif")
    (problem,) = check(tmp_path).problems
    assert problem[0].endswith("white.tif") and "samples in [0, 1]" in problem[1]


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="needs a user who may not read")
def test_a_folder_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    classes(tmp_path, ("cat", "dog", "eel"))
    tmp_path.chmod(0o755)
    (tmp_path / "eel").chmod(0)
    code = (
        f"from pathlib import Path; from gantoolkit.store import Store; print(Store(Path({str(tmp_path)!r})).problems)"
    )
    lowered = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    try:
        found = subprocess.run(
            [*lowered, sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
    finally:
        (tmp_path / "eel").chmod(0o755)
    assert found.strip() == "[('eel', 'the folder cannot be read: Permission denied')]"


@pytest.mark.parametrize(("edge", "side"), [(18, 64), (17, 32)])
def test_the_size_is_what_nine_of_ten_fill(tmp_path: Path, edge: int, side: int) -> None:
    for index in range(20):
        save(tmp_path / f"{index}.png", np.full((64, 64, 3) if index < edge else (63, 63, 3), index, np.uint8))
    assert LabelledPictures(tmp_path).size == (side, side)


def test_splits_part_the_set_and_more_files_move_none(tmp_path: Path) -> None:
    folder = classes(tmp_path, each=40)
    train = LabelledPictures(folder, held_out=0.25)
    held, whole = train.with_split("held-out"), train.with_split("all")
    assert set(train.names) | set(held.names) == set(whole.names)
    assert not set(train.names) & set(held.names)
    assert 8 < len(held) < 35
    row = held.names.index(held.names[5])
    assert (held.picture(row) == LabelledPictures(folder, split="all").picture(whole.names.index(held.names[5]))).all()
    for index in range(20):
        save(folder / "cat" / f"new-{index}.png", pixels(500 + index))
    again = LabelledPictures(folder, held_out=0.25, split="held-out")
    assert set(held.names) <= set(again.names)
    assert not set(train.names) & set(again.names)


def test_a_limit_takes_from_all_classes_and_is_stable(tmp_path: Path) -> None:
    folder = classes(tmp_path, each=40)
    few, more = LabelledPictures(folder, limit=20), LabelledPictures(folder, limit=30)
    assert len(few) == 20
    assert set(few.names) < set(more.names)
    assert list(few.names) == sorted(few.names)
    assert min(np.bincount(few.labels)) > 4  # type: ignore[arg-type]


def test_an_empty_split_and_nonsense_are_refused(tmp_path: Path) -> None:
    folder = flat(tmp_path)
    with pytest.raises(InputError, match="held-out"):
        LabelledPictures(folder, split="held-out")
    wrong: list[dict[str, Any]] = [
        {"held_out": 1.0}, {"split": "test"}, {"limit": 0}, {"channels": 2}, {"fit": "squash"}, {"size": (0, 8)},
    ]  # fmt: skip
    for options in wrong:
        with pytest.raises(UsageError):
            LabelledPictures(folder, **options)


def test_mirroring_comes_from_the_generator_alone(tmp_path: Path) -> None:
    data = LabelledPictures(flat(tmp_path), mirror=True)
    plain = LabelledPictures(tmp_path)
    seen = set()
    for seed in range(12):
        image, straight = item(data, 2, seed)["image"], item(plain, 2)["image"]
        assert (image == item(data, 2, seed)["image"]).all()
        mirrored = bool((image == straight.flip(-1)).all())
        assert mirrored or (image == straight).all()
        seen.add(mirrored)
    assert seen == {True, False}
    assert (data.picture(2) == plain.picture(2)).all()


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    folder = flat(tmp_path / "a")
    first = LabelledPictures(folder).fingerprint
    shutil.copytree(folder, tmp_path / "b")
    assert LabelledPictures(tmp_path / "b").fingerprint == first
    assert LabelledPictures(folder, channels=1).fingerprint != first
    assert LabelledPictures(folder, size=(4, 4)).fingerprint != first
    assert LabelledPictures(folder, limit=9).fingerprint != first
    assert LabelledPictures(table(folder, rows_of(10))).fingerprint != first
    (folder / "labels.csv").unlink()
    raw = bytearray(Path(folder / "03.png").read_bytes())
    for index in range(8):
        save(folder / f"{index:02d}.bmp", pixels(index))
    with_bmp = LabelledPictures(folder).fingerprint
    raw = bytearray((folder / "03.bmp").read_bytes())
    raw[-100] ^= 1  # same name, same size, one bit in the middle
    (folder / "03.bmp").write_bytes(raw)
    assert LabelledPictures(folder).fingerprint != with_bmp


def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on every set is too large for memory."""
    monkeypatch.setattr("gantoolkit.scan.MEMORY", 300)
    monkeypatch.setattr("gantoolkit.labelled.MEMORY", 0)


@pytest.mark.parametrize("as_zip", [False, True])
def test_large_sets_give_the_same_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_zip: bool) -> None:
    folder = classes(tmp_path / "in")
    save(folder / "cat" / "grey.png", pixels(70, channels=1))
    save(folder / "dog" / "clear.png", pixels(71, channels=4))
    exif = Image.Exif()
    exif[274] = 6  # lies on its side
    save(folder / "dog" / "turned.jpg", pixels(72, 6, 12), exif=exif)
    save(folder / "dog" / "page.tif", pixels(73, 9, 8))
    source = zipped(folder, tmp_path / "in.zip") if as_zip else folder
    small = LabelledPictures(source)
    shapes = scanning.scan(source).shapes
    large(monkeypatch)
    huge = LabelledPictures(source)
    assert huge._cache is None
    assert (scanning.scan(source).shapes == shapes).all()
    assert small.notes == huge.notes
    assert (small.size, small.channels, small.fingerprint) == (huge.size, huge.channels, huge.fingerprint)
    assert all((a == b).all() for a, b in zip(small.pictures(), huge.pictures(), strict=True))


def test_damage_in_a_large_set_is_named_when_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flat(tmp_path)
    (tmp_path / "08.png").write_bytes((tmp_path / "08.png").read_bytes()[:-60])  # its header is whole
    large(monkeypatch)
    data = LabelledPictures(tmp_path)
    with pytest.raises(InputError, match=r"08\.png.*gantk data check"):
        item(data, 8)
    assert [file for file, _ in check(tmp_path).problems] == ["08.png"]


@pytest.mark.parametrize("huge", [False, True])
def test_workers_give_the_same_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, huge: bool) -> None:
    archive = zipped(classes(tmp_path / "in"), tmp_path / "in.zip")
    if huge:
        large(monkeypatch)
    data = LabelledPictures(archive, mirror=True)
    item(data, 0)  # the archive is open here before workers are forked
    here, there = Batches(data, 4, seed=3), Batches(data, 4, seed=3, workers=2)
    for _ in range(6):
        a, b = here.next(), there.next()
        assert (a["image"] == b["image"]).all()
        assert (a["label"] == b["label"]).all()
    again = pickle.loads(pickle.dumps(data))
    assert (item(again, 1)["image"] == item(data, 1)["image"]).all()


# ---- points ----


def test_points_go_in_and_come_back(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(3, 20, (50, 2))
    np.save(tmp_path / "points.npy", rows)
    data = Points(tmp_path / "points.npy", held_out=0.2)
    values = np.stack([item(data, i)["image"].numpy() for i in range(len(data))])
    assert np.abs(values).max() <= 1 + 1e-6
    np.testing.assert_allclose(data.restore(values), data.points, rtol=1e-5, atol=1e-4)
    raw = Points(tmp_path / "points.npy", scaled=False, split="all")
    assert (item(raw, 7)["image"].numpy() == rows[7].astype(np.float32)).all()
    held = Points(tmp_path / "points.npy", held_out=0.2, split="held-out")
    assert len(held) + len(data) == 50
    assert held.scale == data.scale
    assert held.fingerprint != data.fingerprint
    assert check(tmp_path / "points.npy").facts["points"] == "50 of 2 numbers"


BAD_ARRAYS = [
    np.zeros(9), np.zeros((3, 2)), np.zeros((9, 0)), np.array([["a"]] * 9), np.array([[object()]] * 9),
    np.full((9, 2), np.nan), np.full((9, 2), 1e300), np.zeros((9, 2), complex),
]  # fmt: skip


@pytest.mark.parametrize("array", BAD_ARRAYS)
def test_arrays_that_are_no_points_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=r"x\.npy"):
        Points(tmp_path / "x.npy")
    assert not check(tmp_path / "x.npy").usable


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\x03\x04", b"hello"])
def test_damaged_arrays_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.npy"):
        Points(tmp_path / "x.npy")
    with pytest.raises(InputError, match="nowhere"):
        Points(tmp_path / "nowhere.npy")


def test_a_class_is_never_held_out_as_a_whole(tmp_path: Path) -> None:
    for share in (0.3, 0.6, 0.9):
        folder = classes(tmp_path / str(share), tuple(f"class-{n}" for n in range(12)), each=2)
        data = LabelledPictures(folder, held_out=share)
        held = data.with_split("held-out")
        assert data.labels is not None and set(data.labels.tolist()) == set(range(12))
        assert set(data.names).isdisjoint(held.names) and len(data) + len(held) == 24
