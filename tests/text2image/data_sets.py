"""Tiny sets of pictures with captions, in every layout that is read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.archives import tar

COLOURS = {"red": (220, 40, 40), "green": (50, 160, 60), "blue": (40, 80, 210), "yellow": (250, 212, 40)}
PLACES = ("left", "middle", "right")


def picture(colour: str, place: str, size: int = 32) -> np.ndarray:
    """(size, size, 3) uint8: a bar of a colour on white, left, in the middle or right."""
    pixels = np.full((size, size, 3), 255, np.uint8)
    start = PLACES.index(place) * size // 3
    pixels[:, start : start + size // 3] = COLOURS[colour]
    return pixels


def rows(count: int = 12) -> list[dict[str, Any]]:
    """What is said of each picture: {"file", "captions", "attributes"}; twelve combinations, then again."""
    made = []
    for index in range(count):
        colour, place = list(COLOURS)[index % 4], PLACES[index // 4 % 3]
        texts = [f"a {colour} bar, {place}", f"{colour} {place}"]
        made.append({"file": f"{index:03d}.png", "captions": texts, "attributes": {"colour": colour, "place": place}})
    return made


def png(row: Mapping[str, Any], size: int = 32) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture(*row["attributes"].values(), size=size)).save(stream, "PNG")
    return stream.getvalue()


def pictures(folder: Path, said: Sequence[Mapping[str, Any]], size: int = 32) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for row in said:
        (folder / row["file"]).write_bytes(png(row, size))


def with_texts(folder: Path, count: int = 12, size: int = 32) -> Path:
    """000.png with 000.txt beside it."""
    pictures(folder, rows(count), size)
    for row in rows(count):
        (folder / row["file"]).with_suffix(".txt").write_text("\n".join(row["captions"]) + "\n", encoding="utf-8")
    return folder


def with_jsonl(folder: Path, count: int = 12, size: int = 32, **more: Any) -> Path:
    """captions.jsonl with attributes; `more` goes into every row."""
    pictures(folder, rows(count), size)
    lines = [json.dumps(row | more, ensure_ascii=False) for row in rows(count)]
    (folder / "captions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def with_csv(folder: Path, count: int = 12) -> Path:
    """captions.csv: a row for each caption, attributes in columns."""
    pictures(folder, rows(count))
    with (folder / "captions.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "caption", "attributes.colour", "attributes.place"])
        for row in rows(count):
            table.writerows([row["file"], text, *row["attributes"].values()] for text in row["captions"])
    return folder


def with_parquet(folder: Path, count: int = 12) -> Path:
    """captions.parquet with lists of captions and a struct of attributes."""
    import pyarrow
    import pyarrow.parquet

    pictures(folder, rows(count))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows(count)), folder / "captions.parquet")
    return folder


def with_shards(folder: Path, count: int = 12) -> Path:
    """Two tar files; captions in .txt, attributes in .json."""
    for shard in range(2):
        files: dict[str, bytes] = {}
        for row in rows(count)[shard::2]:
            key = row["file"].removesuffix(".png")
            files[f"{key}.png"] = png(row)
            files[f"{key}.txt"] = "\n".join(row["captions"]).encode()
            files[f"{key}.json"] = json.dumps({"attributes": row["attributes"]}).encode()
        tar(folder / f"{shard:05d}.tar", files)
    return folder
