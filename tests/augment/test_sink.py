"""Grown data sets are written in the layout they came in, read back as what they are, and packed to the same bytes."""

from __future__ import annotations

import csv
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gantk_augment import shards
from gantk_augment.sink import Sink, pack_webdataset, pack_zip
from gantk_augment.source import Source, open_source
from gantoolkit.errors import InputError
from gantoolkit.samples import Sample
from tests.augment import data_sets

Rows = list[dict[str, Any]]
MAKERS: dict[str, Callable[[Path], Path]] = {
    "folder": data_sets.class_folders, "csv": data_sets.csv_table, "coco": data_sets.coco,
    "pairs": lambda root: data_sets.pairs(root, palette=True),
}  # fmt: skip


def grow(source: Source, out: Path) -> Rows:
    """The data set and a copy of each sample under another name; the rows of its manifest."""
    files: dict[str, bytes] = {}
    rows: Rows = []
    for index in range(len(source)):
        files |= source.files(index)
        rows.append(source.row(index))
    for index in range(len(source)):
        sample, label = source.sample(index), source.label(index)
        like = (Path(source.names[index]).suffix, source.palette(index))
        made = source.sink.files(f"new-{index}", label, sample, *like)
        assert made == source.sink.files(f"new-{index}", label, sample, *like)
        rows.append(source.sink.row(next(iter(made)), label, sample, source.row(index)))
        assert not made.keys() & files.keys()
        files |= made
    rows = json.loads(json.dumps(rows))
    for name, content in (files | source.sink.finish(rows)).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    return rows


def same(one: Sample, other: Sample, tolerance: float = 0.0) -> None:
    """Two samples say the same; pictures may differ by what JPEG loses."""
    assert one.label == other.label
    assert np.abs(one.picture.astype(float) - other.picture).mean() <= tolerance
    assert (one.mask is None) == (other.mask is None)
    if one.mask is not None:
        np.testing.assert_array_equal(one.mask, other.mask)
    assert len(one.things) == len(other.things)
    for a, b in zip(one.things, other.things, strict=True):
        assert (a.category, a.box, dict(a.extra)) == (b.category, b.box, dict(b.extra))
        assert (a.mask is None) == (b.mask is None)
        if a.mask is not None:
            np.testing.assert_array_equal(a.mask, b.mask)
        np.testing.assert_array_equal(a.keypoints, b.keypoints)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("form", ["folder", "zip", "webdataset"])
def test_a_grown_data_set_is_read_back(tmp_path: Path, kind: str, form: str) -> None:
    source = open_source(MAKERS[kind](tmp_path / "data"))
    out = tmp_path / "out"
    rows = grow(source, out)
    if form == "zip":
        pack_zip(out, tmp_path / "out.zip")
        again = open_source(tmp_path / "out.zip")
    elif form == "webdataset":
        pack_webdataset(out, rows, tmp_path / "shards", head=source.sink.head)
        again = open_source(tmp_path / "shards")
    else:
        again = open_source(out)
    assert (again.kind, again.classes, again.problems) == (kind, source.classes, [])
    assert dict(again.categories) == dict(source.categories)
    assert len(again) == 2 * len(source)
    key = (lambda name: Path(name).stem) if form != "webdataset" else (lambda name: Path(name).stem.split("_")[-1])
    at = {key(name): index for index, name in enumerate(again.names)}
    for index, name in enumerate(source.names):
        sample = source.sample(index)
        same(again.sample(at[Path(name).stem]), sample)
        same(again.sample(at[f"new-{index}"]), sample, tolerance=6 if name.endswith(".jpg") else 0)
        assert again.palette(at[f"new-{index}"]) == source.palette(index)
        assert again.raw(again.names[at[Path(name).stem]]) == source.raw(name)


def test_coco_is_numbered_in_order_and_says_what_it_said(tmp_path: Path) -> None:
    source = open_source(data_sets.coco(tmp_path / "data"))
    rows = grow(source, tmp_path / "out")
    assert (tmp_path / "out" / "images" / "new-0.jpg").exists()
    before = json.loads((tmp_path / "data" / "annotations.json").read_text())
    after = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert [image["id"] for image in after["images"]] == list(range(1, 13))
    assert [thing["id"] for thing in after["annotations"]] == list(range(1, 13))
    assert [thing["image_id"] for thing in after["annotations"]] == list(range(1, 13))
    assert [image["file_name"] for image in after["images"]][5:8] == ["c5.jpg", "new-0.jpg", "new-1.jpg"]
    assert all(after[key] == before[key] for key in ("info", "licenses", "categories"))
    assert all(image["license"] == 1 for image in after["images"])
    for old, kept, made in zip(before["annotations"], after["annotations"][:6], after["annotations"][6:], strict=True):
        assert {**old, "id": 0, "image_id": 0} == {**kept, "id": 0, "image_id": 0}
        assert made["bbox"] == old["bbox"]
        assert made["keypoints"] == old["keypoints"]
        assert made["score"] == 0.5
        if "segmentation" in made:
            assert made["segmentation"]["size"] == [32, 32]
            assert isinstance(made["segmentation"]["counts"], str)
        else:
            assert made["area"] == old["bbox"][2] * old["bbox"][3]
    assert made["category_id"] == 7
    assert source.sink.finish(rows) == source.sink.finish(rows)
    assert json.loads(source.sink.finish(rows[:2])["annotations.json"])["images"][1]["id"] == 2


def test_tables_have_all_columns_and_gaps_where_nothing_is_known(tmp_path: Path) -> None:
    source = open_source(data_sets.csv_table(tmp_path / "data"))
    made = source.sink.row("pictures/n.png", "red", source.sample(0))
    changed = source.sink.row("pictures/m.png", "blue", source.sample(0), source.row(0))
    (name, content), *_ = source.sink.finish([source.row(0), changed, made]).items()
    assert name == "labels.csv"
    assert list(csv.reader(io.StringIO(content.decode()))) == [
        ["file", "label", "age", "note"],
        ["pictures/00.png", "blue", "20", "a, b"],
        ["pictures/m.png", "blue", "20", "a, b"],
        ["pictures/n.png", "red", "", ""],
    ]


CELL = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8).filter(
    lambda text: text.strip() == text and "/" not in text and "\\" not in text
)


@settings(max_examples=40, deadline=None)
@given(labels=st.lists(CELL, min_size=2, max_size=4), note=CELL)
def test_any_label_survives_a_table(labels: list[str], note: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("table")
    columns = ("note", "label", "file")
    rows = [{"columns": {"file": f"{i}.png", "label": label, "note": note}} for i, label in enumerate(labels)]
    table = Sink("csv", tuple(labels), table="labels.csv", columns=columns).finish(rows)["labels.csv"]
    (folder / "labels.csv").write_bytes(table)
    for index in range(len(labels)):
        (folder / f"{index}.png").write_bytes(b"")
    source = open_source(folder)
    assert [source.label(i) for i in range(len(source))] == labels
    assert source.sink.columns == columns
    assert all(source.row(i)["columns"]["note"] == note for i in range(len(source)))


def test_pictures_of_every_kind_find_a_file_that_holds_them() -> None:
    sink = Sink("folder", ("a",))
    shapes = {(8, 9, 3): np.uint8, (8, 9, 1): np.uint16, (8, 9, 4): np.uint8}
    for (shape, kind), name in zip(shapes.items(), ["a/n.jpg", "a/n.png", "a/n.png"], strict=True):
        files = sink.files("n", "a", Sample(np.zeros(shape, kind)), ".JPG")
        assert list(files) == [name]
    assert list(Sink("folder").files("n", None, Sample(np.zeros((8, 9, 3), np.uint8)), ".webp")) == ["n.png"]


def test_masks_keep_their_palette(tmp_path: Path) -> None:
    source = open_source(data_sets.pairs(tmp_path, palette=True))
    files = source.sink.files("n", None, source.sample(0), ".png", source.palette(0))
    assert list(files) == ["images/n.png", "masks/n.png"]
    mask, kept = (Image.open(stream) for stream in (io.BytesIO(files["masks/n.png"]), tmp_path / "masks" / "p0.png"))
    assert mask.mode == "P"
    assert mask.convert("RGB").tobytes() == kept.convert("RGB").tobytes()


# ---- packing ----


def test_packing_depends_on_contents_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SAMPLES", 3)
    found = []
    for number in range(2):
        out = tmp_path / str(number)
        rows = grow(open_source(data_sets.class_folders(tmp_path / "data")), tmp_path / "grown")
        for path in sorted((tmp_path / "grown").rglob("*.png"), reverse=bool(number)):
            target = out / path.relative_to(tmp_path / "grown")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            os.utime(target, (1e9 * (number + 1),) * 2)
        (out / ".hidden").write_text(str(number))
        pack_zip(out, tmp_path / "packed" / f"{number}.zip")
        paths = pack_webdataset(out, rows, tmp_path / f"tars{number}")
        assert [path.name for path in paths] == [f"data-{i:06d}.tar" for i in range(6)]
        found.append([p.read_bytes() for p in (tmp_path / "packed" / f"{number}.zip", *paths)])
    assert found[0] == found[1]
    with zipfile.ZipFile(tmp_path / "packed" / "0.zip") as archive:
        assert archive.namelist() == sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
    with tarfile.open(tmp_path / "tars0" / "data-000000.tar") as archive:
        assert [entry.name for entry in archive][:2] == ["blue_blue-0.cls", "blue_blue-0.png"]
        assert {(entry.mtime, entry.uid, entry.uname) for entry in archive} == {(0, 0, "")}


def test_webdataset_reads_the_shards(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    source = open_source(data_sets.csv_table(tmp_path / "data"))
    rows = grow(source, tmp_path / "out")
    paths = pack_webdataset(tmp_path / "out", rows, tmp_path / "shards")
    read = list(webdataset.WebDataset([str(path) for path in paths], shardshuffle=False))
    assert len(read) == len(rows)
    for row, sample in zip(rows, read, strict=True):
        assert sample["cls"].decode() == row["label"]
        assert json.loads(sample["json"]) == row["columns"]
        assert sample["png"] == (tmp_path / "out" / row["file"]).read_bytes()


def test_names_that_would_be_one_key_stay_apart(tmp_path: Path) -> None:
    names = ["a/b.png", "a_b.png", "a.b.png", "a/b.jpg"]
    for name in names:
        data_sets.save(tmp_path / "in" / name, data_sets.disc(len(name))[0])
    (path,) = pack_webdataset(tmp_path / "in", [{"file": name, "label": None} for name in names], tmp_path / "out")
    with tarfile.open(path) as archive:
        assert archive.getnames() == ["a_b.png", "a_b-2.png", "a_b-3.png", "a_b-4.jpg"]


def test_a_missing_file_leaves_nothing_half_packed(tmp_path: Path) -> None:
    data_sets.class_folders(tmp_path / "in")
    rows = [{"file": "red/red-0.png", "label": "red"}, {"file": "red/gone.png", "label": "red"}]
    with pytest.raises(InputError, match=r"cannot read .*gone.png"):
        pack_webdataset(tmp_path / "in", rows, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
