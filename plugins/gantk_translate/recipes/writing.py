"""How every recipe here writes: pairs of PNG files in parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def pair(folder: Path, part: str, name: str, source: np.ndarray, made: np.ndarray) -> None:
    """Write two pictures, (H, W) or (H, W, 3) uint8, as part/A/name.png and part/B/name.png."""
    for side, values in (("A", source), ("B", made)):
        path = folder / part / side / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path)
