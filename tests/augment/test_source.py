"""Data sets in every layout, whole and broken: what is usable is used, what is not is named."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gantk_augment.source import Source, check, open_source
from tests.archives import tar
from tests.augment import data_sets
from tests.augment.data_sets import box_of, disc, edit_json, png, save
from tests.sources import zipped

MAKERS: dict[str, Callable[[Path], Path]] = {
    "folder": data_sets.class_folders, "csv": data_sets.csv_table, "coco": data_sets.coco, "pairs": data_sets.pairs,
}  # fmt: skip


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


def test_coco_as_it_is_published(tmp_path: Path) -> None:
    """Pictures in `train2017/`, annotations in `annotations/`, and captions of the same pictures beside them."""
    data_sets.coco(tmp_path)
    (tmp_path / "images").rename(tmp_path / "train2017")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations.json").rename(tmp_path / "annotations" / "instances_train2017.json")
    (tmp_path / "annotations" / "captions_train2017.json").write_text('{"images": [], "annotations": []}')
    source = open_source(tmp_path)
    assert (len(source), source.problems) == (6, [])
    assert (source.sink.place, source.sink.table) == ("train2017/", "annotations/instances_train2017.json")
    made = source.sink.row("train2017/n.jpg", None, source.sample(0), source.row(0))
    assert made["image"]["file_name"] == "n.jpg"


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
        assert (source.palette(index) is not None) == (kind == "palette")


def test_pictures_without_classes(tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / "all" / f"{index}.png", disc(index)[0])
    source = open_source(tmp_path)
    assert (source.kind, source.names) == ("folder", ("all/0.png", "all/1.png", "all/2.png"))
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
        edit_json(folder / "annotations.json", lambda c: c["annotations"][0].update(score=0.25))
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


def test_shards_with_classes(tmp_path: Path) -> None:
    tar(tmp_path / "a-0.tar", {"x/0.png": png(0), "x/0.cls": b"cat\n", "x/1.v2.png": png(1), "x/1.v2.cls": b"dog"})
    tar(tmp_path / "a-1.tar", {"2.cls": b"dog", "2.PNG": png(2)})
    source = open_source(tmp_path)
    # a key ends at the first dot, so that of x/1.v2.png has a picture of a kind that is not known
    assert (source.kind, source.names, source.classes) == ("folder", ("cat/x/0.png", "dog/2.png"), ("cat", "dog"))
    assert any(name == "x/1" and "a sample without a picture" in text for name, text in source.problems)
    np.testing.assert_array_equal(source.sample(1).picture, disc(2)[0])
    assert open_source(tmp_path / "a-1.tar").names == ("dog/2.png",)  # all of one class: none, and its folder stays
    tar(tmp_path / "b.tar", {"0.png": png(0), "0.txt": b"a cat", "1.png": png(1), "1.txt": b"a dog"})
    assert ("*.txt", "2 such files of samples are not read, and left behind") in open_source(
        tmp_path / "b.tar"
    ).problems
