"""Small folders, zips and tables of pictures, and what training and `check` must both say of them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gantoolkit.data import Dataset
from gantoolkit.errors import InputError
from gantoolkit.labelled import LabelledPictures, check


def pixels(seed: int, height: int = 8, width: int = 8, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def save(path: Path, array: np.ndarray, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(path, **options)


def flat(folder: Path, count: int = 10) -> Path:
    for index in range(count):
        save(folder / f"{index:02d}.png", pixels(index))
    return folder


def classes(folder: Path, names: tuple[str, ...] = ("cat", "dog"), each: int = 5) -> Path:
    for number, name in enumerate(names):
        for index in range(each):
            save(folder / name / f"{name}-{index}.png", pixels(10 * number + index))
    return folder


def zipped(folder: Path, target: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, prefix + path.relative_to(folder).as_posix())
    return target


def table(folder: Path, rows: list[tuple[str, str]], header: str = "file,label", delimiter: str = ",") -> Path:
    lines = ([header] if header else []) + [delimiter.join(row) for row in rows]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def rows_of(count: int) -> list[tuple[str, str]]:
    return [(f"{index:02d}.png", "odd" if index % 2 else "even") for index in range(count)]


def item(data: Dataset, index: int, seed: int = 0) -> dict[str, Any]:
    return dict(data.item(index, np.random.default_rng(seed)))


def refused(source: Path, *words: str) -> None:
    """`check` lists the words, and training refuses with one line that has the first problem in it."""
    report = check(source)
    listed = " ".join(f"{file}: {text}" for file, text in report.problems)
    assert not report.usable
    for word in words:
        assert word in listed
    with pytest.raises(InputError) as error:
        LabelledPictures(source)
    line = str(error.value)
    assert "\n" not in line
    assert report.problems[0][1] in line


def accepted(source: Path, *words: str, **options: Any) -> LabelledPictures:
    """Training takes it, `check` says the same, and the notes of both have the words in them."""
    data = LabelledPictures(source, **options)
    report = check(source)
    assert report.usable, report.problems
    assert not report.problems
    for word in words:
        assert word in " ".join(data.notes), data.notes
        assert word in report.facts["handling"]
    return data
