"""Folders, zips and tables as people have them: what training makes of each, and that `check` agrees with it."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gantoolkit.archives import framed, write_archive
from gantoolkit.data import Dataset
from gantoolkit.errors import InputError, UsageError
from gantoolkit.labelled import LabelledPictures, check
from gantoolkit.layouts import parse_csv, parse_json
from tests.sources import accepted, classes, flat, item, pixels, rows_of, save, table, zipped

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


# ---- parsers ----

CELLS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
NAMES = CELLS.map(lambda text: f"{text.strip()}.png")


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.tuples(NAMES, CELLS.filter(lambda c: c.strip())), min_size=1, max_size=8))
def test_what_csv_writes_is_read_back(rows: list[tuple[str, str]]) -> None:
    buffer = io.StringIO()
    csv.writer(buffer).writerows([("file", "label"), *rows])
    want = [(file.strip(), label.strip()) for file, label in rows]
    found = parse_csv(buffer.getvalue())
    assert found.rows == want
    assert found.whole == [{"file": file, "label": label} for file, label in want]
    assert not found.problems


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
