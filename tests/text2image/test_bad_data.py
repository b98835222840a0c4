"""`gantk train` and `gantk data check` on folders that are not as they should be: one line, and nothing is touched."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gantoolkit.cli import call
from tests.text2image import data_sets


def alone(folder: Path) -> None:
    (folder / "000.txt").unlink()


def nobody(folder: Path) -> None:
    (folder / "extra.txt").write_text("a green bar")


def twice(folder: Path) -> None:
    shutil.copy(folder / "003.png", folder / "003.jpg")


def empty(folder: Path) -> None:
    (folder / "004.txt").write_text(" \n")


def torn(folder: Path) -> None:
    (folder / "005.png").write_bytes((folder / "005.png").read_bytes()[:50])


def few(folder: Path) -> None:
    for path in folder.glob("00[0-4].*"):
        path.unlink()


FAULTS: list[tuple[Callable[[Path], None], str]] = [
    (alone, "000.png: a picture without a caption"),
    (nobody, "extra.txt: a caption without a picture"),
    (twice, "003.png: the same name as 003.jpg: one text, two pictures"),
    (empty, "004.png: the caption is empty"),
    (torn, "005.png"),
    (few, "only 7 pictures with captions"),
]


@pytest.mark.parametrize(("spoil", "says"), FAULTS, ids=[spoil.__name__ for spoil, _ in FAULTS])
def test_a_bad_folder_is_one_line_and_stays_as_it_is(
    spoil: Callable[[Path], None], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = data_sets.with_texts(tmp_path / "set")
    spoil(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert call(["train", "text2image", str(folder), "--run", str(tmp_path / "run"), "--size=32"]) == 3
    captured = capsys.readouterr()
    assert says in captured.err and len(captured.err.splitlines()) == 1 and captured.out == ""
    assert call(["data", "check", str(folder), "--task", "text2image"]) == 3
    shown = capsys.readouterr().out
    assert says.split(":")[0] in shown and says.split(": ")[-1] in shown and "Traceback" not in shown
    assert [path.name for path in tmp_path.iterdir()] == ["set"], "no run was begun"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ([], 2, "no pictures with captions were named; gantk train text2image FOLDER/"),
        (["no-such-folder"], 3, "no-such-folder does not exist"),
        (["set", "--background=whitish"], 2, "expected a colour's name or #RRGGBB, got 'whitish'"),
        (["set", "--encoder=trainde"], 2, "did you mean trained?"),
        (["set", "--vocabulary=10"], 2, "vocabulary, expected at least"),
        (["set", "--augment=colour"], 2, "colour"),
        (["set", "--loss=rpgna"], 2, "rpgan"),
        (["set", "--size=32", "--patch=3"], 2, "--patch"),
    ],
)
def test_options_that_make_no_sense_are_one_line(
    words: list[str], code: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    data_sets.with_texts(tmp_path / "set")
    assert call(["train", "text2image", *words, "--run", "run"]) == code
    captured = capsys.readouterr()
    assert says in captured.err and "Traceback" not in captured.err
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
