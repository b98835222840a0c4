"""Pictures to train on: two classes that a child can draw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def draw_shapes(folder: Path, each: int = 24) -> Path:
    """Discs and squares of 16², a folder a class, each picture a little different."""
    y, x = np.mgrid[0:16, 0:16]
    for kind in ("disc", "square"):
        (folder / kind).mkdir(parents=True)
        for index in range(each):
            rng = np.random.default_rng((index, kind == "disc"))
            cy, cx, r = 5 + 6 * rng.random(), 5 + 6 * rng.random(), 3 + 2 * rng.random()
            dy, dx = np.abs(y - cy), np.abs(x - cx)
            inside = dy**2 + dx**2 < r**2 if kind == "disc" else np.maximum(dy, dx) < r
            picture = np.where(inside[..., None], rng.integers(100, 256, 3), rng.integers(0, 60, 3))
            Image.fromarray(picture.astype(np.uint8)).save(folder / kind / f"{index:03d}.png")
    return folder
