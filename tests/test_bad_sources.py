"""What cannot be trained on, or only after something was decided: `check` and training say the same."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gantoolkit.archives import write_archive
from gantoolkit.labelled import LabelledPictures, check
from tests.sources import accepted, classes, flat, pixels, refused, rows_of, save, table, zipped

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
    refused(tmp_path / "a.txt", "expected a folder or a zip")
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


BAD_NAMES = ["/etc/a.png", "C:a.png", "../a.png", "x/../../a.png", "..\\a.png", "C:/a.png"]


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
    monkeypatch.setattr("gantoolkit.store.BOMB", 2**16)
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb.png", bytes(2**20))
    refused(archive, "bomb.png", "zip bomb")


def test_a_picture_of_too_many_pixels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(flat(tmp_path) / "large.png", np.zeros((300, 300, 1), np.uint8))
    monkeypatch.setenv("GANTK_MAX_PIXELS", "10000")
    refused(tmp_path, "large.png", "too many pixels")
