"""Results in one file or in shards: whole or not there, never over what is the user's, and read like the data."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from gantk_augment import provenance
from gantk_augment.manifest import NAME
from gantk_augment.shards import opened
from gantk_augment.source import open_source
from gantoolkit.errors import UsageError
from gantoolkit.labelled import LabelledPictures
from tests.augment import data_sets
from tests.augment.growing import grow, tree


@pytest.mark.parametrize("format", ["zip", "webdataset"])
def test_packed_results_are_whole_or_not_there(tmp_path: Path, data: Path, noise: Path, format: str) -> None:
    out = tmp_path / f"out.{format}"
    assert grow(data, out, noise, format=format)[0] == 0
    assert not list(tmp_path.glob("*.partial")) and not list(tmp_path.glob("*.packing"))
    found = open_source(out)
    assert len(found.names) == 12 and found.classes == data_sets.CLASSES
    if format == "zip":
        assert NAME in zipfile.ZipFile(out).namelist()
    assert "complete already" in grow(data, out, noise, format=format)[1].said[0]
    with pytest.raises(UsageError, match="there already"):
        grow(data, out, noise, format=format, seed=1)
    assert grow(data, out, noise, format=format, seed=1, force=True)[0] == 0
    assert len(open_source(out).names) == 12


@pytest.mark.parametrize("format", ["zip", "webdataset"])
def test_a_folder_of_the_users_is_never_replaced(tmp_path: Path, data: Path, noise: Path, format: str) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    data.rename(photos / "train")
    before = tree(photos)
    for out, words in ((photos, "lie in"), (tmp_path / "other", "holds other things")):
        (tmp_path / "other").mkdir(exist_ok=True)
        (tmp_path / "other" / "mine.txt").write_text("mine")
        with pytest.raises(UsageError, match=words):
            grow(photos / "train", out, noise, format=format, force=True)
    assert (tmp_path / "other" / "mine.txt").read_text() == "mine" and tree(photos) == before


@pytest.mark.parametrize("format", ["zip", "webdataset"])
@pytest.mark.parametrize("beside", ["notes.txt", "thesis", ""])
def test_a_folder_with_other_files_is_never_packed_over(
    tmp_path: Path, data: Path, noise: Path, format: str, beside: str
) -> None:
    """Neither the tree of the same command nor its shards, where a user keeps something beside them."""
    out = tmp_path / "out"
    grow(data, out, noise, **({"format": "webdataset"} if beside == "notes.txt" else {}))
    if beside == "thesis":
        (out / beside).mkdir()
    elif beside:
        (out / beside).write_text("mine")
    before = tree(out)
    with pytest.raises(UsageError, match=r"holds other things than shards.*another place"):
        grow(data, out, noise, format=format, seed=1, force=True)
    assert tree(out) == before and (not beside or (out / beside).exists())


def test_another_format_of_the_same_command_is_not_there_yet(tmp_path: Path, data: Path, noise: Path) -> None:
    out = tmp_path / "out"
    grow(data, out, noise, format="webdataset")
    with pytest.raises(UsageError, match="there already"):
        grow(data, out, noise, format="zip")
    assert grow(data, out, noise, format="zip", force=True)[0] == 0 and zipfile.is_zipfile(out)
    with pytest.raises(UsageError, match="is a file"):
        grow(data, out, noise)


def test_shards_grow_into_shards_that_are_judged_like_folders(tmp_path: Path, data: Path, noise: Path) -> None:
    assert grow(data, tmp_path / "shards", noise, format="webdataset")[0] == 0
    assert grow(tmp_path / "shards", tmp_path / "more", noise)[0] == 0
    assert sorted(p.name for p in (tmp_path / "more").iterdir()) == ["data-000000.tar", NAME]
    read = LabelledPictures(opened(tmp_path / "shards"))
    assert read.classes == data_sets.CLASSES and provenance.listed(read).made == 6
    assert [row["policy"] == "noise" for row in provenance.listed(read).rows if row] == [
        "noise" in name for name in read.names
    ]


@pytest.mark.parametrize("format", ["zip", "webdataset"])
def test_a_class_with_a_colon_is_read_back(tmp_path: Path, noise: Path, format: str) -> None:
    classes = ("stage: 1", "stage: 2")
    data = data_sets.class_folders(tmp_path / "data", classes=classes)
    assert grow(data, tmp_path / "out", noise, format=format)[0] == 0
    found = open_source(tmp_path / "out")
    assert (found.classes, len(found), found.problems) == (classes, 16, [])
