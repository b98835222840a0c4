"""Broken data sets of every layout: what is usable is used, what is not is named."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gantk_augment.source import check, open_source
from gantoolkit.errors import InputError
from tests.archives import tar
from tests.augment import data_sets
from tests.augment.data_sets import disc, edit_json, png, save
from tests.sources import zipped


def problems(path: Path) -> str:
    """All that is wrong, on one line; `check` has to say it too."""
    found = open_source(path).problems
    assert set(found) <= set(check(path).problems)
    return "; ".join(f"{file}: {text}" for file, text in found)


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
    edit_json(tmp_path / "annotations.json", spoil)
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

    edit_json(data_sets.coco(tmp_path) / "annotations.json", spoil)
    source = open_source(tmp_path)
    assert source.sample(0).things[0].box == (20, 20, 32, 24)
    with pytest.raises(InputError, match=r"c2.jpg has another size, expected 40 x 32, .* got 32 x 32"):
        source.sample(2)


def test_a_damaged_annotation_file_is_said(tmp_path: Path) -> None:
    path = data_sets.coco(tmp_path) / "annotations.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with pytest.raises(
        InputError, match=r"the annotations in annotations\.json .* cannot be read: the file is not JSON"
    ):
        open_source(tmp_path)
    assert not check(tmp_path).usable
    (tmp_path / "whole.json").write_bytes(whole)
    assert open_source(tmp_path).kind == "coco"
    assert "annotations.json: the file is not JSON" in problems(tmp_path)
    (tmp_path / "whole.json").unlink()
    path.write_text('{"notes": [')  # of no labels
    assert open_source(tmp_path).kind == "folder"
    assert "annotations.json: the file is not JSON" in problems(tmp_path)


def test_a_byte_order_mark_is_no_damage(tmp_path: Path) -> None:
    path = data_sets.coco(tmp_path) / "annotations.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    source = open_source(tmp_path)
    assert (source.kind, source.problems, len(source.sample(0).things)) == ("coco", [], 1)


YOLO = b"0 0.5 0.5 0.25 0.125\n1 .1 2e-1 0.1 1\n"
VOC = b'<?xml version="1.0"?>\n<annotation>\n<object><name>red</name></object></annotation>'


@pytest.mark.parametrize(
    ("make", "content", "suffix", "said"),
    [
        (data_sets.class_folders, YOLO, ".txt", "3 label files of YOLO are not read; convert them to COCO"),
        (data_sets.pairs, VOC, ".xml", "3 label files of Pascal VOC are not read; convert them to COCO"),
        (data_sets.coco, YOLO, ".txt", ""),  # what COCO says counts
        (data_sets.class_folders, b"2 red discs on a ground of 0.5 grey", ".txt", ""),
    ],
)
def test_labels_of_layouts_that_are_not_read_are_named(
    tmp_path: Path, make: Any, content: bytes, suffix: str, said: str
) -> None:
    pictures = sorted(make(tmp_path).rglob("*.[pj]*g"))[:3]
    for number, picture in enumerate(pictures):
        (tmp_path / "labels").mkdir(exist_ok=True)
        place = tmp_path / "labels" if make is data_sets.pairs else picture.parent
        (place / picture.name).with_suffix(suffix).write_bytes(content if number else b"")  # a picture of nothing
    (tmp_path / f"readme{suffix}").write_bytes(content)
    assert problems(tmp_path).partition(": ")[2] == said


def test_annotations_that_fit_no_picture_are_an_error(tmp_path: Path) -> None:
    """And not a data set of bare pictures, or of the classes "images" and "masks"."""
    data_sets.coco(tmp_path / "coco")
    data_sets.edit_json(
        tmp_path / "coco" / "annotations.json",
        lambda content: [image.update(file_name=f"x-{image['file_name']}") for image in content["images"]],
    )
    with pytest.raises(InputError, match=r"nothing in .* is usable: .*it lists 'x-c0.jpg'"):
        open_source(tmp_path / "coco")
    for mask in (data_sets.pairs(tmp_path / "pairs") / "masks").iterdir():
        mask.rename(mask.with_name(f"{mask.stem}_mask.png"))
    with pytest.raises(InputError, match=r"nothing in .* is usable: images/p0.png: it has no mask"):
        open_source(tmp_path / "pairs")


def test_annotations_are_found_however_deep_they_lie(tmp_path: Path) -> None:
    deep = data_sets.coco(tmp_path) / "annotations" / "v1" / "instances.json"
    deep.parent.mkdir(parents=True)
    (tmp_path / "annotations.json").rename(deep)
    assert open_source(tmp_path).kind == "coco"
    (tmp_path / "annotations" / "v1").rename(tmp_path / "images" / "v1")
    (tmp_path / "images" / "v1" / "instances.json").rename(tmp_path / "images" / "c0.json")
    assert open_source(tmp_path).kind == "coco"  # a picture of the same name beside it does not make it one picture's


def test_a_table_of_another_name_is_named_where_classes_are_missing(tmp_path: Path) -> None:
    (data_sets.csv_table(tmp_path) / "labels.csv").rename(tmp_path / "metadata.csv")
    assert problems(tmp_path) == "metadata.csv: these labels are not read; call the table labels.csv"
    data_sets.class_folders(tmp_path)
    (tmp_path / "pictures").rename(tmp_path / "green")
    assert not problems(tmp_path)  # folders say of which class they are


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
