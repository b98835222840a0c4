"""Write a labelled archive: the zip layout of StyleGAN, which many tools read."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from gantoolkit.errors import UsageError
from gantoolkit.runlog import write_atomically

DATE = (1980, 1, 1, 0, 0, 0)  # of every file in the archive, so that one content makes one archive


def write_archive(
    target: Path, pictures: Iterable[np.ndarray], labels: Sequence[int] | None = None, classes: Sequence[str] = ()
) -> int:
    """Write pictures as PNG files and their labels as `dataset.json`; returns how many there are.

    Args:
        target: the zip; it appears whole or not at all, and replaces an older one.
        pictures: (H, W, C) uint8, C 1 or 3.
        labels: a class number a picture.
        classes: names of the classes, in order: an addition to the layout that other readers pass over.

    Raises:
        UsageError: as many labels as pictures are needed, each the number of a class.
    """
    from PIL import Image

    names, whole = [], io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for index, picture in enumerate(pictures):
            name = f"{index // 1000:05d}/img{index:08d}.png"
            buffer = io.BytesIO()
            Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(buffer, "PNG")
            archive.writestr(zipfile.ZipInfo(name, DATE), buffer.getvalue())
            names.append(name)
        described: dict[str, object] = {"labels": None}
        if labels is not None:
            numbers = [int(label) for label in labels]
            if len(numbers) != len(names) or (classes and not all(0 <= n < len(classes) for n in numbers)):
                raise UsageError(f"the labels do not match the pictures of {target}", expected=f"{len(names)} classes")
            described = {"labels": list(zip(names, numbers, strict=True)), "classes": list(classes)}
        archive.writestr(zipfile.ZipInfo("dataset.json", DATE), json.dumps(described, ensure_ascii=False))
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, whole.getvalue())
    return len(names)


def framed(pictures: np.ndarray, side: int) -> np.ndarray:
    """(N, H, W, C) in the middle of black squares (N, side, side, C).

    Raises:
        UsageError: the pictures are larger than that.
    """
    top, left = side - pictures.shape[1], side - pictures.shape[2]
    if min(top, left) < 0:
        raise UsageError("the pictures do not fit", expected=f"a side of {max(pictures.shape[1:3])}", actual=side)
    return np.pad(pictures, ((0, 0), (top // 2, top - top // 2), (left // 2, left - left // 2), (0, 0)))
