"""Pictures of noise, and the formats that they are written in."""

from __future__ import annotations

from typing import Any

import numpy as np

FORMATS = ["png", "jpg", "webp", "tif"]


def noise(height: int, width: int, channels: int = 3, dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype == np.float32:
        return rng.random((height, width, channels), np.float32)
    return rng.integers(0, np.iinfo(dtype).max, (height, width, channels), dtype, endpoint=True)
