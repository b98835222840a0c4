"""Data sets in every layout, whole and broken: what is usable is used, what is not is named."""

from __future__ import annotations

import io
import json
import multiprocessing
import pickle
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

from gantk_augment.source import Source, check, open_source
from gantoolkit.errors import InputError
from tests.augment import data_sets
from tests.augment.data_sets import box_of, disc, save
from tests.sources import zipped

MAKERS: dict[str, Callable[[Path], Path]] = {
    "folder": data_sets.class_folders, "csv": data_sets.csv_table, "coco": data_sets.coco, "pairs": data_sets.pairs,
}  # fmt: skip


def problems(path: Path) -> str:
    """All that is wrong, on one line; `check` has to say it too."""
    found = open_source(path).problems
    assert set(found) <= set(check(path).problems)
    return "; ".join(f"{file}: {text}" for file, text in found)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a COCO file in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


# ---- layouts ----


def test_class_folders(tmp_path: Path) -> None:
    source = open_source(data_sets.class_folders(tmp_path))
    assert (source.kind, source.classes, len(source)) == ("folder", ("blue", "red"), 8)
    assert source.names[:2] == ("blue/blue-0.png", "blue/blue-1.png")
    assert (source.problems, source.notes) == ([], [])
    for index, name in enumerate(source.names):
        label = name.split("/")[0]
        sample = source.sample(index)
        assert source.label(index) == sample.label == label
        number = 1000 * source.classes.index(label) + int(name[-5])
        np.testing.assert_array_equal(sample.picture, disc(number, label)[0])
        assert source.files(index) == {name: (tmp_path / name).read_bytes()}


def test_tables_keep_their_other_columns(tmp_path: Path) -> None:
    source = open_source(data_sets.csv_table(tmp_path))
    assert (source.kind, source.classes) == ("csv", ("blue", "red"))
    assert [source.label(i) for i in range(4)] == ["blue", "red", "blue", "red"]
    columns = {"file": "pictures/03.png", "label": "red", "age": "23", "note": "a, b"}
    assert source.row(3) == {"file": "pictures/03.png", "label": "red", "columns": columns}


def test_coco_objects(tmp_path: Path) -> None:
    source = open_source(data_sets.coco(tmp_path))
    assert (source.kind, source.classes, dict(source.categories)) == ("coco", (), {3: "blue", 7: "red"})
    assert not source.problems
    for index in range(6):
        sample, (_, mask) = source.sample(index), disc(index, data_sets.CLASSES[index % 2])
        (thing,) = sample.things
        assert thing.category == (3, 7)[index % 2]
        assert thing.box == box_of(mask)
        assert thing.extra == {"iscrowd": int(index % 3 == 1), "score": 0.5}
        assert thing.keypoints is not None
        assert thing.keypoints[:, 2].tolist() == [2, 1, 0]
        assert mask[int(thing.keypoints[0, 1]), int(thing.keypoints[0, 0])]
        if index % 3 == 2:
            assert thing.mask is None
        elif index % 3 == 1:
            np.testing.assert_array_equal(thing.mask, mask)
        else:  # 24 corners of a circle
            assert thing.mask is not None
            assert (thing.mask & mask).sum() > 0.8 * (thing.mask | mask).sum()


@pytest.mark.parametrize("kind", ["ids", "palette", "colours"])
def test_pairs(tmp_path: Path, kind: str) -> None:
    source = open_source(data_sets.pairs(tmp_path, palette=kind == "palette", colours=kind == "colours"))
    assert (source.kind, source.names[0], source.file_names(0)) == (
        "pairs", "images/p0.png", ("images/p0.png", "masks/p0.png"),
    )  # fmt: skip
    for index in range(len(source)):
        picture, mask = disc(index, data_sets.CLASSES[index % 2])
        sample = source.sample(index)
        np.testing.assert_array_equal(sample.picture, picture)
        assert sample.mask is not None
        np.testing.assert_array_equal(sample.mask[..., 1] == 255 if kind == "colours" else sample.mask == 1, mask)
    assert (source.sink.palette is not None) == (kind == "palette")


def test_pictures_without_classes(tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / "all" / f"{index}.png", disc(index)[0])
    source = open_source(tmp_path)
    assert (source.kind, source.names) == ("folder", ("0.png", "1.png", "2.png"))
    assert (source.classes, source.label(0)) == ((), None)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_zip_is_the_same_data_set(tmp_path: Path, kind: str) -> None:
    folder = MAKERS[kind](tmp_path / "data")
    plain = open_source(folder)
    for prefix in ("", "around/it/"):
        packed = open_source(zipped(folder, tmp_path / "data.zip", prefix))
        assert (packed.kind, packed.names, packed.fingerprint) == (kind, plain.names, plain.fingerprint)
        assert [packed.row(i) for i in range(len(packed))] == [plain.row(i) for i in range(len(plain))]
        np.testing.assert_array_equal(packed.sample(1).picture, plain.sample(1).picture)


def _first(source: Source) -> np.ndarray:
    return source.sample(0).picture


@pytest.mark.parametrize("packed", [False, True])
def test_a_source_travels_to_other_processes(tmp_path: Path, packed: bool) -> None:
    path = data_sets.coco(tmp_path / "data")
    source = open_source(zipped(path, tmp_path / "data.zip") if packed else path)
    want = source.sample(0).picture
    again = pickle.loads(pickle.dumps(source))
    assert again.fingerprint == source.fingerprint
    assert again.sink == source.sink
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for picture in pool.map(_first, [source] * 4):
            np.testing.assert_array_equal(picture, want)


@pytest.mark.parametrize("kind", MAKERS)
def test_the_fingerprint_is_of_names_annotations_and_contents(tmp_path: Path, kind: str) -> None:
    folder = MAKERS[kind](tmp_path / "data")
    before = open_source(folder).fingerprint
    assert open_source(folder).fingerprint == before
    seen = {before}
    name = open_source(folder).file_names(0)[-1]
    picture = np.array(Image.open(folder / name))
    picture[0, 0] ^= 1
    save(folder / name, picture)
    seen.add(open_source(folder).fingerprint)
    if kind == "csv":
        (folder / "labels.csv").write_text((folder / "labels.csv").read_text().replace("20", "99"))
    elif kind == "coco":
        edit(folder / "annotations.json", lambda c: c["annotations"][0].update(score=0.25))
    else:
        (folder / name).unlink()
    seen.add(open_source(folder).fingerprint)
    assert len(seen) == 3


def test_depth_alpha_and_orientation_are_kept(tmp_path: Path) -> None:
    deep = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32) * 60
    save(tmp_path / "a" / "deep.png", deep)
    save(tmp_path / "a" / "grey.png", disc(0)[0][..., 0])
    save(tmp_path / "b" / "alpha.png", np.dstack([disc(0)[0], disc(1)[0][..., :1]]))
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(disc(2)[0][:20]).save(tmp_path / "b" / "turned.jpg", exif=exif)
    source = open_source(tmp_path)
    shown = {name[2:]: source.sample(i).picture for i, name in enumerate(source.names)}
    np.testing.assert_array_equal(shown["deep.png"][..., 0], deep)
    assert shown["deep.png"].dtype == np.uint16
    assert (shown["grey.png"].shape, shown["alpha.png"].shape) == ((32, 32, 1), (32, 32, 4))
    assert shown["turned.jpg"].shape == (32, 20, 3)
    assert check(tmp_path).facts["kinds"] == "RGB 8 bits: 1, RGBA 8 bits: 1, grey 16 bits: 1, grey 8 bits: 1"


# ---- shards ----


def tar(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(disc(seed)[0]).save(stream, "PNG")
    return stream.getvalue()


def test_shards_with_classes(tmp_path: Path) -> None:
    tar(tmp_path / "a-0.tar", {"x/0.png": png(0), "x/0.cls": b"cat\n", "x/1.v2.png": png(1), "x/1.v2.cls": b"dog"})
    tar(tmp_path / "a-1.tar", {"2.cls": b"dog", "2.PNG": png(2)})
    source = open_source(tmp_path)
    # a key ends at the first dot, so that of x/1.v2.png has a picture of a kind that is not known
    assert (source.kind, source.names, source.classes) == ("folder", ("cat/x/0.png", "dog/2.png"), ("cat", "dog"))
    assert "x/1: a sample without a picture" in problems(tmp_path)
    np.testing.assert_array_equal(source.sample(1).picture, disc(2)[0])
    assert open_source(tmp_path / "a-1.tar").names == ("2.png",)  # all of one class: its folder is the root


def test_bad_shards(tmp_path: Path) -> None:
    good = {"0.png": png(0), "0.cls": b"cat", "1.png": png(1), "1.cls": b"dog"}
    bad = {"../2.png": png(2), "/3.png": png(3), "4.png": png(4), "4.cls": b"../etc", "5.json": b"{", "6.png": png(6)}
    tar(tmp_path / "0.tar", good | bad | {"6.json": b"[1]", "6.cls": b"cat"})
    tar(tmp_path / "1.tar", {"0.png": png(9), "0.cls": b"dog"})
    source = open_source(tmp_path)
    assert source.names == ("cat/0.png", "cat/6.png", "dog/1.png")
    np.testing.assert_array_equal(source.sample(0).picture, disc(0)[0])
    said = problems(tmp_path)
    for word in (
        "0.tar/../2.png: the name leads out", "0.tar//3.png: the name leads out", "cannot be the name of a folder",
        "5: a sample without a picture", "6.json: not JSON", "1.tar/0.png: two samples of this name",
    ):  # fmt: skip
        assert word in said
    whole = (tmp_path / "0.tar").read_bytes()
    (tmp_path / "0.tar").write_bytes(b"no tar" + whole)
    with pytest.raises(InputError, match=r"cannot read .*0\.tar"):
        open_source(tmp_path)
    (tmp_path / "0.tar").write_bytes(whole[:1600])
    with pytest.raises(InputError, match="cut short"):
        open_source(tmp_path / "0.tar")


# ---- bad input ----


def test_damaged_pictures_are_found_by_looking(tmp_path: Path) -> None:
    data_sets.class_folders(tmp_path)
    whole = (tmp_path / "red" / "red-1.png").read_bytes()
    (tmp_path / "red" / "red-1.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "blue" / "blue-0.png").write_bytes(b"")
    source = open_source(tmp_path)
    assert (len(source), source.problems) == (8, [])
    bad = {source.names.index(name) for name in ("red/red-1.png", "blue/blue-0.png")}
    for index, name in enumerate(source.names):
        if index in bad:
            with pytest.raises(InputError, match=name):
                source.sample(index)
        else:
            source.sample(index)
    report = check(tmp_path)
    assert {file for file, _ in report.problems} == {"red/red-1.png", "blue/blue-0.png"}
    assert report.usable
    assert report.facts["pictures"] == "8, 6 of them readable"


def test_pictures_beside_class_folders_and_lonely_classes(tmp_path: Path) -> None:
    data_sets.class_folders(tmp_path, 1)
    save(tmp_path / "loose.png", disc(1)[0])
    (tmp_path / "green").mkdir()
    source = open_source(tmp_path)
    assert source.names == ("blue/blue-0.png", "red/red-0.png")
    assert "loose.png: it lies beside the class folders" in problems(tmp_path)
    notes = " ".join(source.notes)
    assert "2 of the classes have a single picture: blue, red" in notes
    assert "green" in notes


def test_a_single_class_stays_a_class(tmp_path: Path) -> None:
    data_sets.class_folders(tmp_path, classes=("red",))
    save(tmp_path / "loose.png", disc(1)[0])
    source = open_source(tmp_path)
    assert (source.classes, source.label(0), source.names[0]) == (("red",), "red", "red/red-0.png")


def test_bad_tables_lose_their_bad_lines_only(tmp_path: Path) -> None:
    data_sets.csv_table(tmp_path)
    lines = (tmp_path / "labels.csv").read_text().splitlines()
    lines[1] = "pictures/00.png"  # no label
    lines[2] += "\npictures/01.png,blue,1,2"  # two classes
    lines[3] = "gone.png,red,1,2"
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    assert open_source(tmp_path).names == tuple(f"pictures/{i:02d}.png" for i in range(3, 8))
    said = problems(tmp_path)
    for word in ("line 2 lacks", "01.png: labels.csv gives it two classes", "'gone.png', and no such picture",
                 "02.png: labels.csv has no row"):  # fmt: skip
        assert word in said
    (tmp_path / "labels.csv").write_text("a,b,c\n1,2,3\n")
    with pytest.raises(InputError, match="no such columns"):
        open_source(tmp_path)
    assert not check(tmp_path).usable


def test_pairs_need_both_sides(tmp_path: Path) -> None:
    data_sets.pairs(tmp_path, 4)
    (tmp_path / "masks" / "p0.png").unlink()
    (tmp_path / "images" / "p1.png").unlink()
    save(tmp_path / "images" / "p2.jpg", disc(2)[0])
    save(tmp_path / "masks" / "p3.png", disc(3)[1][:9].astype(np.uint8))
    save(tmp_path / "loose.png", disc(4)[0])
    source = open_source(tmp_path)
    assert len(source) == 2
    said = problems(tmp_path)
    for word in ("images/p0.png: it has no mask", "masks/p1.png: it has no picture", "a second one of the stem p2",
                 "loose.png: it lies beside"):  # fmt: skip
        assert word in said
    with pytest.raises(InputError, match=r"masks/p3.png has another size .* expected 32 x 32, got 32 x 9"):
        source.sample(1)


def test_bad_annotations_lose_themselves_only(tmp_path: Path) -> None:
    def spoil(content: dict[str, Any]) -> None:
        images, things = content["images"], content["annotations"]
        images[1]["file_name"] = "gone.jpg"
        images.append({"id": 10, "file_name": "c9.jpg"})
        images.append({"id": 77, "file_name": "c0.jpg"})
        images.append("nonsense")
        for index, changes in enumerate(
            [{"bbox": [-9, 2, 20, 8]}, {"image_id": 10, "bbox": [40, 2, 3, 3]}, {"bbox": [1, 1, -3, 4]},
             {"category_id": 5}, {"image_id": 999}, {"segmentation": [[1, 2]]}]
        ):  # fmt: skip
            things[index].update(changes)
        content["categories"].append({"id": 3, "name": "again"})

    data_sets.coco(tmp_path)
    save(tmp_path / "images" / "unlisted.jpg", disc(8)[0])
    edit(tmp_path / "annotations.json", spoil)
    source = open_source(tmp_path)
    assert source.names == tuple(f"images/c{i}.jpg" for i in (0, 2, 3, 4, 5))
    assert [len(source.sample(i).things) for i in range(5)] == [1, 0, 0, 0, 1]
    assert source.sample(0).things[0].box == (0, 2, 11, 10)
    assert source.sample(4).things[0].mask is None
    said = problems(tmp_path)
    for word in (
        "lists 'gone.jpg', and no such picture", "c9.jpg has the number 10", "c0.jpg is listed twice", '"nonsense"',
        "c1.jpg: annotations.json does not list it", "unlisted.jpg: annotations.json does not list it",
        "box of annotation 100 sticks out", "box of annotation 101 lies outside",
        "box of annotation 102 has a size of -3", "annotation 103 is of the unknown category 5",
        "annotation 104 is of picture 999", "mask of annotation 105", "two categories have the number 3",
    ):  # fmt: skip
        assert word in said, word


def test_sizes_that_annotations_do_not_tell_or_tell_wrongly(tmp_path: Path) -> None:
    def spoil(content: dict[str, Any]) -> None:
        for key in ("width", "height"):
            del content["images"][0][key]
        content["annotations"][0]["bbox"] = [20, 20, 100, 4]
        content["images"][2]["width"] = 40

    edit(data_sets.coco(tmp_path) / "annotations.json", spoil)
    source = open_source(tmp_path)
    assert source.sample(0).things[0].box == (20, 20, 32, 24)
    with pytest.raises(InputError, match=r"c2.jpg has another size, expected 40 x 32, .* got 32 x 32"):
        source.sample(2)


def test_a_damaged_annotation_file_is_said(tmp_path: Path) -> None:
    path = data_sets.coco(tmp_path) / "annotations.json"
    path.write_bytes(path.read_bytes()[:-9])
    assert "annotations.json: the file is not JSON" in problems(tmp_path)


def test_hostile_names_in_a_zip(tmp_path: Path) -> None:
    target = zipped(data_sets.class_folders(tmp_path / "data"), tmp_path / "data.zip")
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr("../red/out.png", b"x")
        archive.writestr("red/line\nbreak.png", b"x")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("red/red-0.png", b"x")
    source = open_source(target)
    assert len(source) == 7
    assert "red/red-0.png" not in source.names  # which of the two is meant is not known
    said = problems(target)
    for word in ("leads out of the archive", "two files of this name", r"line\nbreak.png': the name is not plain text"):
        assert word in said


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing in .* is usable"):
        open_source(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        open_source(tmp_path / "gone.tar")
    assert not check(tmp_path / "gone").usable


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=80) | st.lists(st.lists(st.text("a0.png,;\"\n", max_size=8), max_size=4)).map(
    lambda rows: "file,label,x\n" + "\n".join(",".join(row) for row in rows)))  # fmt: skip
def test_any_table_is_read_or_refused(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("table")
    for name in ("a", "0"):
        (folder / f"{name}.png").write_bytes(b"")
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    try:
        source = open_source(folder)
    except InputError as error:
        assert "\n" not in str(error)
        return
    assert set(source.names) <= {"a.png", "0.png"}
    for index in range(len(source)):
        assert source.row(index)["label"] == source.label(index) != ""
