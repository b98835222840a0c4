"""Tiny data sets in every layout: a bright disc on a dark ground; its class is its colour, and it is the object."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("blue", "red")
Box = tuple[int, int, int, int]


def disc(seed: int, label: str = "red", side: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """(picture (side, side, 3) uint8, mask of the disc (side, side) bool); noise keeps any two pictures apart."""
    rng = np.random.default_rng(seed)
    radius = int(rng.integers(side // 8, side // 4))
    x, y = rng.integers(radius + 1, side - radius - 1, 2)
    rows, columns = np.mgrid[:side, :side]
    mask = (columns - x) ** 2 + (rows - y) ** 2 <= radius**2
    picture = np.repeat(rng.integers(0, 60, (side, side, 1), np.uint8), 3, axis=2)
    picture[mask, 0 if label == "red" else 2] = rng.integers(200, 256, int(mask.sum()))
    return picture, mask


def box_of(mask: np.ndarray) -> Box:
    """Left, top, right, bottom of what is True; right and bottom are outside."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def save(path: Path, array: np.ndarray) -> Path:
    """A picture (H, W) or (H, W, C), in the format of its suffix; JPEG keeps its colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if path.suffix == ".jpg" else {}
    Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array).save(path, **options)
    return path


def class_folders(
    root: Path, each: int = 4, classes: tuple[str, ...] = CLASSES, side: int = 32, suffix: str = ".png"
) -> Path:
    """`red/red-0.png`, …"""
    for number, name in enumerate(classes):
        for index in range(each):
            save(root / name / f"{name}-{index}{suffix}", disc(1000 * number + index, name, side)[0])
    return root


def csv_table(root: Path, each: int = 4, side: int = 32) -> Path:
    """`pictures/00.png`, … and `labels.csv` with two more columns, `age` and `note`."""
    lines = ["file,label,age,note"]
    for index in range(2 * each):
        name = CLASSES[index % 2]
        save(root / "pictures" / f"{index:02d}.png", disc(index, name, side)[0])
        lines.append(f'pictures/{index:02d}.png,{name},{20 + index},"a, b"')
    (root / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def pairs(root: Path, count: int = 6, side: int = 32, palette: bool = False, colours: bool = False) -> Path:
    """`images/p0.png` with `masks/p0.png`: ids 0 and 1, with a palette if asked, or black and green."""
    for index in range(count):
        picture, mask = disc(index, CLASSES[index % 2], side)
        save(root / "images" / f"p{index}.png", picture)
        ids = mask.astype(np.uint8)
        if colours:
            ids = np.array([[0, 0, 0], [0, 255, 0]], np.uint8)[ids]
        target = root / "masks" / f"p{index}.png"
        target.parent.mkdir(exist_ok=True)
        image = Image.fromarray(ids)
        if palette:
            image.putpalette([0, 0, 0, 200, 30, 90])
        image.save(target)
    return root


def runs(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed run lengths of a mask, one pixel after the other down the columns, beginning with False."""
    counts, now = [0], False
    for pixel in mask.T.reshape(-1).tolist():
        if pixel != now:
            counts.append(0)
            now = pixel
        counts[-1] += 1
    return counts


def coco(root: Path, count: int = 6, side: int = 32) -> Path:
    """`images/c0.jpg`, … and `annotations.json`: each disc with its box, three keypoints, and in turn a polygon mask,
    run lengths of a crowd, or a box alone."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(count):
        picture, mask = disc(index, CLASSES[index % 2], side)
        save(root / "images" / f"c{index}.jpg", picture)
        images.append({"id": 10 + index, "file_name": f"c{index}.jpg", "width": side, "height": side, "license": 1})
        left, top, right, bottom = box_of(mask)
        thing: dict[str, Any] = {
            "id": 100 + index, "image_id": 10 + index, "category_id": 3 + 4 * (index % 2), "iscrowd": 0,
            "bbox": [left, top, right - left, bottom - top], "area": int(mask.sum()),
            "num_keypoints": 2, "score": 0.5,
            "keypoints": [left, (top + bottom) // 2, 2, right - 1, (top + bottom) // 2, 1, 0, 0, 0],
        }  # fmt: skip
        if index % 3 == 0:
            thing["segmentation"] = [polygon(left, top, right, bottom)]
        elif index % 3 == 1:
            thing |= {"iscrowd": 1, "segmentation": {"size": [side, side], "counts": runs(mask)}}
        annotations.append(thing)
    categories = [
        {"id": 3, "name": "blue", "keypoints": ["west", "east", "none"]},
        {"id": 7, "name": "red", "supercategory": "disc"},
    ]
    document = {
        "info": {"year": 2024}, "licenses": [{"id": 1, "name": "CC0"}],
        "images": images, "annotations": annotations, "categories": categories,
    }  # fmt: skip
    (root / "annotations.json").write_text(json.dumps(document), encoding="utf-8")
    return root


def polygon(left: float, top: float, right: float, bottom: float) -> list[float]:
    """A disc in that box as 24 corners, x and y in turn."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    x = (left + right) / 2 + (right - left) / 2 * np.cos(angle)
    y = (top + bottom) / 2 + (bottom - top) / 2 * np.sin(angle)
    return [round(float(value), 2) for value in np.stack([x, y], 1).reshape(-1)]


def edit_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a COCO file in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def png(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(disc(seed)[0]).save(stream, "PNG")
    return stream.getvalue()
