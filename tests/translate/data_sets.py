"""Tiny sets of pictures of every layout, written by tests. B is a known function of A where they are pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gantk_translate.data import Data
from gantk_translate.options import TranslateConfig
from gantoolkit.errors import InputError


def blobs(seed: int, height: int = 32, width: int = 32, channels: int = 3) -> np.ndarray:
    """(H, W, C) uint8: smooth waves with a rectangle, another one for each seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    planes = [np.sin(x / rng.uniform(2, 7)) * np.cos(y / rng.uniform(2, 7)) for _ in range(channels)]
    picture = np.stack(planes, 2) * 70 + 110
    top, left = rng.integers(0, height // 2), rng.integers(0, width // 2)
    picture[top : top + height // 3, left : left + width // 3] += 60
    return picture.clip(0, 255).astype(np.uint8)


def partner(picture: np.ndarray) -> np.ndarray:
    """B of a pair: the negative with its channels in the other order."""
    return 255 - picture[..., ::-1]


def save(path: Path, values: np.ndarray) -> Path:
    """Write (H, W, C) or (H, W) values as the suffix says: uint8 as a picture, 16 bits and floats as TIFF, or .npy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    elif values.dtype == np.uint8:
        Image.fromarray(values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values).save(path)
    else:
        import tifffile

        flat = values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values
        tifffile.imwrite(path, flat, photometric="rgb" if flat.ndim == 3 and flat.shape[2] == 3 else "minisblack")
    return path


def pairs(folder: Path, count: int = 12, height: int = 32, width: int = 32, channels: int = 3) -> Path:
    """A/00.png … and B/00.png …: B is the `partner` of A."""
    for index in range(count):
        picture = blobs(index, height, width, channels)
        save(folder / "A" / f"{index:02d}.png", picture)
        save(folder / "B" / f"{index:02d}.png", partner(picture))
    return folder


def two_sides(folder: Path, count: int = 12, others: int | None = None, height: int = 32, width: int = 32) -> Path:
    """trainA/a-00.png … and trainB/b-00.png …, unpaired; `others` is the number of B."""
    for index in range(count):
        save(folder / "trainA" / f"a-{index:02d}.png", blobs(index, height, width))
    for index in range(count if others is None else others):
        save(folder / "trainB" / f"b-{index:02d}.png", partner(blobs(100 + index, height, width)))
    return folder


def joined(folder: Path, count: int = 12, height: int = 32) -> Path:
    """00.png …: A left and its `partner` right."""
    for index in range(count):
        picture = blobs(index, height, height)
        save(folder / f"{index:02d}.png", np.concatenate([picture, partner(picture)], 1))
    return folder


def scans(folder: Path, count: int = 12, low: int = 100, high: int = 4000, height: int = 32, width: int = 32) -> Path:
    """A/00.tif … and B/00.tif …: grey, 16 bits, of values from `low` to `high` (both are there); B is the negative."""
    for index in range(count):
        plane = blobs(index, height, width, 1).astype(np.float64)
        plane = (plane - plane.min()) / (plane.max() - plane.min())
        values = np.rint(low + plane * (high - low)).astype(np.uint16)
        save(folder / "A" / f"{index:02d}.tif", values)
        save(folder / "B" / f"{index:02d}.tif", (low + high - values).astype(np.uint16))
    return folder


def with_masks(folder: Path, count: int = 12, classes: tuple[int, ...] = (0, 1, 3), size: int = 32) -> Path:
    """A/00.png … in colour and B/00.png … palette masks: which of the `classes` a pixel's brightness makes it."""
    for index in range(count):
        picture = blobs(index, size, size)
        save(folder / "A" / f"{index:02d}.png", picture)
        level = picture.astype(np.int64).sum(2) * len(classes) // (3 * 256)
        mask = Image.fromarray(np.array(classes, np.uint8)[level], mode="P")
        mask.putpalette([7 * value % 256 for value in range(768)])
        (folder / "B").mkdir(parents=True, exist_ok=True)
        mask.save(folder / "B" / f"{index:02d}.png")
    return folder


def data(folder: Path, **options: Any) -> Data:
    return Data(TranslateConfig(**{"size": 16, **options}), folder)


def item(of: Data, index: int = 0, seed: int = 0) -> dict[str, torch.Tensor]:
    return dict(of.item(index, np.random.default_rng(seed)))


def refused(folder: Path, *words: str, **options: Any) -> None:
    with pytest.raises(InputError) as error:
        data(folder, **options)
    line = str(error.value)
    assert "\n" not in line and all(word in line for word in words), line


def said(of: Data, words: str) -> bool:
    return any(words in note for note in of.notes)


def maps(folder: Path, count: int = 4, height: int = 40, width: int = 24) -> Path:
    """Pairs whose A says where a pixel is (red y, green x) and whose B says it otherwise (blue y, red x)."""
    y, x = np.mgrid[0:height, 0:width].astype(np.uint8) * 4
    for index in range(count):
        save(folder / "A" / f"{index}.png", np.stack([y, x, 0 * x], 2))
        save(folder / "B" / f"{index}.png", np.stack([x, 0 * x, y], 2))
    return folder
