"""A model applied to files: what is read and written, said and told, whatever the files hold."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

from gantoolkit import images
from gantoolkit.apply import FileOptions, Pictures, Progress, to_files
from gantoolkit.errors import InputError, UsageError
from gantoolkit.images import Picture
from gantoolkit.task import Console


@dataclass(frozen=True)
class Options:
    inputs: list[str]
    out: str | None = None
    format: str | None = None
    quality: int = 95
    recursive: bool = False
    force: bool = False


@dataclass
class Heard(Console):
    """A console that remembers."""

    said: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    advanced: list[float] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)

    def result(self, row: Mapping[str, Any]) -> None:
        self.rows.append(row)

    @contextmanager
    def progress(self, total: int, unit: str, description: str) -> Iterator[Any]:
        yield self

    def advance(self, amount: float) -> None:
        self.advanced.append(amount)


def negative(picture: Picture, progress: Progress) -> Picture:
    progress(1, 2)
    progress(2, 2)
    return replace(picture, pixels=255 - picture.pixels)


def run(console: Heard, *inputs: str, **options: Any) -> int:
    files = options.pop("files", None)
    asked = Options(list(inputs), **options)
    return to_files(negative, asked, console, model="negative", suffix="_negative", files=files)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.tif"):
        images.write(Picture(np.full((4, 6, 3), 10, np.uint8)), name)
    return tmp_path


def test_every_picture_gets_a_line_a_row_and_its_progress(folder: Path) -> None:
    console = Heard()
    assert run(console, "a.png", "b.tif") == 0
    assert images.read("a_negative.png").pixels.min() == 245 == images.read("b_negative.tif").pixels.max()
    assert [line.split("  ")[0] for line in console.said[:2]] == ["a.png → a_negative.png", "b.tif → b_negative.tif"]
    assert console.said[2].startswith("2 of 2 pictures done in ") and console.warned == []
    assert [(row["model"], row["size"], row["input_size"]) for row in console.rows] == [
        ("negative", [6, 4], [6, 4])
    ] * 2
    assert console.advanced == [0.5, 0.5] * 2


def test_a_file_that_fails_fails_alone(folder: Path) -> None:
    Path("bad.png").write_bytes(b"?")
    console = Heard()
    assert run(console, "a.png", "bad.png", "b.tif", out="out") == 4
    assert len(console.warned) == 1 and "bad.png" in console.warned[0]
    assert console.said[-1].startswith("2 of 3 pictures")
    assert run(Heard(), "bad.png") == 3
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.png", "b.tif"]


def test_standard_output_carries_nothing_but_the_picture(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(Path("b.tif").read_bytes())))
    console = Heard()
    assert run(console, "-", out="-") == 0
    made = images.read(stream.buffer.getvalue())  # type: ignore[attr-defined]
    assert made.format == "TIFF" and made.pixels.max() == 245
    assert console.said == console.rows == []


def test_what_a_file_cannot_hold_is_refused_before_the_work(folder: Path) -> None:
    def work(held: Any, progress: Progress) -> Any:
        raise AssertionError("work was done")

    def huge(size: tuple[int, int]) -> tuple[int, int]:
        return size[0] * 20_000, size[1]

    console = Heard()
    asked = Options(["a.png"], format="jpg")
    assert to_files(work, asked, console, model="m", suffix="_x", becomes=huge) == 3
    assert len(console.warned) == 1 and "JPEG cannot hold this picture" in console.warned[0]
    assert "6 x 80000" in console.warned[0]


def test_bugs_are_not_hidden(folder: Path) -> None:
    def broken(held: Any, progress: Progress) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        to_files(broken, Options(["a.png"]), Heard(), model="m", suffix="_x")


class Texts(Pictures):
    """Files of another kind."""

    endings: Mapping[str, str] = {".txt": "TEXT", ".txt.up": "UP"}
    otherwise = ".txt"

    def accepts(self, path: Path) -> bool:
        return path.suffix == ".txt" or path.name.endswith(".txt.up")

    def read(self, source: Path | bytes) -> Picture:
        if not (text := Path(str(source)).read_text()):
            raise InputError(f"{source} is empty")
        return Picture(np.full((1, len(text), 1), ord(text[0]), np.uint8))

    def write(self, made: Picture, target: Path | BinaryIO, options: FileOptions) -> None:
        path = Path(str(target))
        path.parent.mkdir(exist_ok=True)
        path.write_text(str(made.pixels[0, 0, 0]))


def test_a_task_may_have_files_of_its_own(folder: Path) -> None:
    Path("in").mkdir()
    for name, text in (("a.txt", "aa"), ("b.txt.up", "b"), ("c.png", "c"), ("empty.txt", "")):
        Path("in", name).write_text(text)
    console = Heard()
    assert run(console, "in", out="out", files=Texts()) == 4
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.txt", "b.txt.up"]
    assert Path("out/a.txt").read_text() == str(255 - ord("a"))
    assert run(Heard(), "in/b.txt.up", files=Texts()) == 0 and Path("in/b_negative.txt.up").is_file()
    assert run(Heard(), "in/c.png", files=Texts()) == 0 and Path("in/c_negative.txt").is_file()
    with pytest.raises(UsageError, match=r"--format png cannot hold these results, expected \.txt, \.txt\.up"):
        run(Heard(), "in/a.txt", format="png", files=Texts())
