"""Every layout gives the same pictures and captions, and every fault is named by its file."""

from __future__ import annotations

import builtins
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gantk_text2image import tables
from gantk_text2image.captions import Captioned, open_captions
from gantk_text2image.shards import key
from gantoolkit.errors import InputError, UsageError
from tests.archives import tar
from tests.text2image import data_sets

LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "jsonl": data_sets.with_jsonl,
    "csv": data_sets.with_csv,
    "parquet": data_sets.with_parquet,
    "shards": data_sets.with_shards,
}


def samples(name: str, count: int = 9) -> dict[str, bytes]:
    """Files of equal samples for a tar file."""
    good = data_sets.png(data_sets.rows()[0])
    pairs = [(name.format(n), kind, content) for n in range(count) for kind, content in (("png", good), ("txt", b"x"))]
    return {f"{stem}.{kind}": content for stem, kind, content in pairs}


def problems(found: Captioned) -> dict[str, str]:
    return dict(found.problems)


@pytest.mark.parametrize("layout", [*LAYOUTS, "texts"])
def test_every_layout_says_the_same(tmp_path: Path, layout: str) -> None:
    if layout == "parquet":
        pytest.importorskip("pyarrow")
    found = open_captions((LAYOUTS | {"texts": data_sets.with_texts})[layout](tmp_path))
    assert found.problems == []
    assert found.names == [row["file"] for row in data_sets.rows()]
    for index, row in enumerate(data_sets.rows()):
        assert found.captions(index) == tuple(row["captions"])
        assert found.attributes(index) == ({} if layout == "texts" else row["attributes"])
        assert found.split(index) is None
        assert (found.picture(index) == data_sets.picture(*row["attributes"].values())).all()


def test_a_zip_is_read_like_its_folder(tmp_path: Path) -> None:
    folder = data_sets.with_jsonl(tmp_path / "in")
    archive = Path(shutil.make_archive(str(tmp_path / "set"), "zip", folder))
    assert zipfile.is_zipfile(archive)
    packed, plain = open_captions(archive), open_captions(folder)
    assert packed.problems == [] and packed.rows == plain.rows and packed.fingerprint == plain.fingerprint


def test_a_single_tar_is_enough(tmp_path: Path) -> None:
    files = samples("a/0{}")
    found = open_captions(tar(tmp_path / "one.tar", files))
    assert found.problems == [] and len(found) == 9 and found.names[3] == "a/03.png"


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = data_sets.with_texts(tmp_path)
    (folder / "000.txt").unlink()
    (folder / "alone.txt").write_text("nobody")
    (folder / "001.txt").write_text(" \n\n")
    (folder / "002.txt").write_bytes(b"caf\xe9")
    shutil.copy(folder / "003.png", folder / "003.jpg")
    found = open_captions(folder)
    told = problems(found)
    assert told["000.png"] == "a picture without a caption"
    assert told["alone.txt"] == "a caption without a picture"
    assert told["001.png"] == "the caption is empty"
    assert "not UTF-8 text (byte 3)" in told["002.txt"]
    assert told["003.png"].startswith("the same name as 003.jpg")
    assert len(found.problems) == 5 and len(found) == 9
    with pytest.raises(InputError, match=r"cannot be trained on: .* \(and 4 more problems\); `gantk data check`"):
        found.refuse()


def bad_lines(*lines: bytes | dict[str, Any]) -> bytes:
    return b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)


BAD: dict[str, tuple[bytes | dict[str, Any], str]] = {
    "no json": (b"{file", "the line is no JSON"),
    "deep json": (b"[" * 100_000, "the line is no JSON"),
    "a list": (b"[1]", "no mapping"),
    "no file": ({"caption": "x"}, "no file is named, expected a column file"),
    "file is a number": ({"file": 3, "caption": "x"}, "no file is named"),
    "no such picture": ({"file": "gone.png", "caption": "x"}, "a caption without a picture: no gone.png"),
    "outside": ({"file": "../x.png", "caption": "x"}, "leads out of the folder"),
    "absolute": ({"file": "/etc/x.png", "caption": "x"}, "leads out of the folder"),
    "caption is a number": ({"file": "000.png", "caption": 3}, "a caption is no text"),
    "attributes are a text": ({"file": "000.png", "caption": "x", "attributes": "red"}, "attributes is no JSON"),
    "attribute is a list": ({"file": "000.png", "caption": "x", "attributes": {"a": [1]}}, "the attribute 'a'"),
    "split": ({"file": "000.png", "caption": "x", "split": "mine"}, "the split makes no sense, expected train or test"),
    "latin": (b'{"file": "000.png", "caption": "caf\xe9"}', "not UTF-8 text"),
    "other attributes": ({"file": "000.png", "caption": "x", "attributes": {"colour": "blue"}}, "other attributes"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_line_is_named_and_the_others_are_read(tmp_path: Path, fault: str) -> None:
    folder = data_sets.with_jsonl(tmp_path)
    line, text = BAD[fault]
    with (folder / "captions.jsonl").open("ab") as stream:
        stream.write(bad_lines(line))
    found = open_captions(folder)
    assert len(found) == 12
    [(place, told)] = found.problems
    assert place == "captions.jsonl line 13" and text in told and "\n" not in told


CSV = {
    "columns": ("picture_file,words\n000.png,x\n", "columns are missing, expected file and caption"),
    "twice": ("file,caption,caption\n000.png,x,y\n", "the column 'caption' stands twice"),
    "too many": ("file,caption\n000.png,red, or so\n", "more fields than columns"),
    "quotes": ('file,caption\n000.png,"red\n', "damaged at line"),
    "empty": ("", "columns are missing"),
}


@pytest.mark.parametrize("fault", CSV)
def test_a_bad_csv_is_named(tmp_path: Path, fault: str) -> None:
    data_sets.pictures(tmp_path, data_sets.rows())
    content, text = CSV[fault]
    (tmp_path / "captions.csv").write_text(content)
    assert any(text in told and place.startswith("captions.csv") for place, told in open_captions(tmp_path).problems)


def test_captions_with_commas_quotes_and_lines(tmp_path: Path) -> None:
    data_sets.pictures(tmp_path, data_sets.rows(8))
    rows = "".join(f'00{n}.png,"a ""red"", long\nbar",train\n' for n in range(8))
    (tmp_path / "captions.csv").write_bytes(("\ufefffile,caption,split\n" + rows).encode())
    found = open_captions(tmp_path)
    assert found.problems == [] and found.captions(0) == ('a "red", long\nbar',) and found.split(0) == "train"


def test_bad_parquet_and_no_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    data_sets.pictures(tmp_path, data_sets.rows())
    (tmp_path / "captions.parquet").write_bytes(b"PAR1 no")
    assert "no Parquet, or damaged" in problems(open_captions(tmp_path))["captions.parquet"]
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match="pip install pyarrow"):
        open_captions(tmp_path)


def test_shards_with_faults(tmp_path: Path) -> None:
    good = data_sets.png(data_sets.rows()[0])
    files = {f"{n}.png": good for n in range(10)} | {f"{n}.txt": b"a bar" for n in range(9)}
    files |= {"0.jpg": good, "alone.txt": b"x", "1.json": b"{", "2.json": b"[]"}
    tar(tmp_path / "a.tar", files)
    tar(tmp_path / "b.tar", {"3.png": good})
    (tmp_path / "c.tar").write_bytes(b"no tar at all" * 100)
    told = problems(open_captions(tmp_path))
    assert told["0.jpg"] == "a second picture of the sample 0"
    assert told["alone.txt"] == "a caption without a picture"
    assert "no JSON" in told["1.json"] and "no mapping" in told["2.json"]
    assert told["b.tar/3.png"].startswith("a second file of this name")
    assert told["9.png"] == "a picture without a caption"
    assert "damaged" in told["c.tar"]
    assert len(told) == 7


def test_a_tar_that_ends_too_soon(tmp_path: Path) -> None:
    files = samples("{}")
    path = tar(tmp_path / "a.tar", files)
    path.write_bytes(path.read_bytes()[:1500])
    assert open_captions(tmp_path).problems


def test_long_and_empty_captions_are_kept_and_noted(tmp_path: Path) -> None:
    folder = data_sets.with_jsonl(tmp_path, captions=["a bar", "", "x" * 10_000, "a bar"])
    found = open_captions(folder)
    assert found.problems == []
    assert found.captions(0) == ("a bar", "x" * 10_000)
    assert any("12 captions have more than 1,000 characters" in note for note in found.notes)
    assert any("12 empty captions" in note for note in found.notes)


def test_any_script_is_kept(tmp_path: Path) -> None:
    text = "красное яблоко 🍎 リンゴ"
    assert open_captions(data_sets.with_jsonl(tmp_path, captions=text)).captions(3) == (text,)


def test_too_few_or_none(tmp_path: Path) -> None:
    found = open_captions(data_sets.with_texts(tmp_path / "few", 7))
    assert "only 7 pictures with captions" in found.problems[-1][1] and len(found) == 7
    with pytest.raises(InputError, match="does not exist"):
        open_captions(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "no pictures with captions" in open_captions(tmp_path / "empty").problems[-1][1]


def test_two_tables_are_a_problem(tmp_path: Path) -> None:
    folder = data_sets.with_csv(data_sets.with_jsonl(tmp_path))
    assert problems(open_captions(folder)) == {"captions.csv": "a second table beside captions.jsonl; keep one"}


def test_the_fingerprint_knows_contents(tmp_path: Path) -> None:
    folder = data_sets.with_jsonl(tmp_path)
    before = open_captions(folder).fingerprint
    assert open_captions(folder).fingerprint == before
    (folder / "000.png").write_bytes((folder / "001.png").read_bytes())
    changed = open_captions(folder).fingerprint
    data_sets.with_jsonl(folder, split="train")
    assert len({before, changed, open_captions(folder).fingerprint}) == 3


@given(st.binary(max_size=200), st.sampled_from(["jsonl", "csv"]))
def test_no_bytes_break_a_table(content: bytes, kind: str) -> None:
    try:
        for place, row in tables.read(f"captions.{kind}", content):
            assert isinstance(row, tables.Row | InputError) and place
    except InputError as error:
        assert "\n" not in str(error)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=5))
def test_captions_survive_json_lines(captions: list[str]) -> None:
    line = json.dumps({"file": "a.png", "captions": captions}).encode()
    [(_, row)] = tables.read("captions.jsonl", line)
    assert isinstance(row, tables.Row)
    assert row.captions == tuple(text.strip() for text in captions if text.strip())
    assert len(row.captions) + row.empty == len(captions)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a/001.png", ("a/001", "png")), ("001.seg.PNG", ("001", "seg.png")), ("v1.2/x.txt", ("v1.2/x", "txt"))],
)
def test_keys_of_samples(name: str, expected: tuple[str, str]) -> None:
    assert key(name) == expected


def test_transparency_is_given_as_it_is(tmp_path: Path) -> None:
    from PIL import Image

    folder = data_sets.with_texts(tmp_path)
    values = np.arange(32 * 32 * 4, dtype=np.uint32).reshape(32, 32, 4).astype(np.uint8)
    Image.fromarray(values).save(folder / "000.png")
    assert (open_captions(folder).picture(0) == values).all()


def test_pictures_beside_tar_files_are_not_passed_over_in_silence(tmp_path: Path) -> None:
    data_sets.with_shards(tmp_path)
    assert not any("left out" in note for note in open_captions(tmp_path).notes)
    data_sets.pictures(tmp_path / "loose", data_sets.rows(3))
    found = open_captions(tmp_path)
    assert len(found) == 12 and "3 pictures beside the tar files are left out" in found.notes
