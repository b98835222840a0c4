"""Real files and real command lines for the tests of use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

INSIDE = (slice(8, -8), slice(8, -8))  # the network repeats the border, the resampler mirrors it


def photo(height: int = 12, width: int = 10, channels: int = 3) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([128 + 60 * np.sin(x / (3 + c)) + 50 * np.cos(y / (5 - c)) for c in range(channels)], 2).astype(
        np.uint8
    )


def save(path: Path | str, mode: str = "RGB", **options: Any) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo()).convert(mode).save(path, **options)
    return path


def names(folder: Path = Path()) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def process(models: Path, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "gantoolkit", "run", "superres", *arguments, "-m", str(models / "flat")]
    return subprocess.Popen(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, **options)
