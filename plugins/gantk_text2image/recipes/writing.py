"""How every recipe here writes: pictures in parts, and one line of `captions.jsonl` for each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np
from PIL import Image

CAPTIONS = "captions.jsonl"


class Writer:
    """Writes pictures and their captions into a folder; a context manager.

    Args:
        folder: exists already; parts become folders in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lines: TextIO

    def __enter__(self) -> Writer:
        self._lines = (self.folder / CAPTIONS).open("w", encoding="utf-8", newline="\n")
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def add(
        self, name: str, picture: np.ndarray, captions: Sequence[str], attributes: Mapping[str, str], part: str
    ) -> None:
        """Write (H, W, 3) uint8 as part/name.png and what is said of it."""
        file = f"{part}/{name}.png"
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)
        row = {"file": file, "captions": list(captions), "attributes": dict(attributes), "split": part}
        self._lines.write(json.dumps(row, ensure_ascii=False) + "\n")
