"""High-resolution patches for training; the low-resolution side is computed in batches on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gantoolkit import images
from gantoolkit.data import pictures_in, split_by_name
from gantoolkit.errors import GantkError, InputError
from gantoolkit.task import DataReport

HELD_OUT = 0.08  # share of the files that scores while training use
TRIES = 3  # random windows per sample, of which the one with most detail is taken


class Patches:
    """Random square patches of photographs, flipped and turned.

    Args:
        files: the pictures, kept in memory as 8-bit RGB.
        size: side of a patch, in pixels.

    Raises:
        InputError: a picture that cannot be read or is smaller than a patch.
    """

    def __init__(self, files: Sequence[Path], size: int) -> None:
        self.size = size
        self.pictures = [rgb(file) for file in files]
        for file, picture in zip(files, self.pictures, strict=True):
            if min(picture.shape[:2]) < size:
                raise InputError(
                    f"{file} is smaller than a training patch",
                    expected=f"at least {size}×{size}",
                    actual=f"{picture.shape[1]}×{picture.shape[0]}",
                    remedy="leave it out, or set a smaller --set patch=N",
                )
        # large pictures hold more patches: an epoch visits each in proportion to its area
        self._of = np.repeat(
            np.arange(len(files)), [max(1, round(p.shape[0] * p.shape[1] / size**2)) for p in self.pictures]
        )

    def __len__(self) -> int:
        return len(self._of)

    def item(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        """{"hr": 3×size×size uint8}: of a few random windows the one with most detail."""
        import torch

        picture = self.pictures[self._of[index]]
        windows = [self._window(picture, rng) for _ in range(TRIES)]
        patch = windows[int(np.argmax([_detail(window) for window in windows]))]
        patch = np.rot90(patch, int(rng.integers(4)))
        if rng.integers(2):
            patch = patch[:, ::-1]
        return {"hr": torch.from_numpy(np.ascontiguousarray(patch.transpose(2, 0, 1)))}

    def _window(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        top = int(rng.integers(picture.shape[0] - self.size + 1))
        left = int(rng.integers(picture.shape[1] - self.size + 1))
        return picture[top : top + self.size, left : left + self.size]


class Photos(Patches):
    """The training side of a folder of photographs; `held_out` keeps centre crops of the rest for scores."""

    def __init__(self, folder: Path, size: int) -> None:
        train, rest = split_by_name(pictures_in(folder), HELD_OUT)
        if not train or not rest:  # a handful of files: learn from all, score on the first few
            train = pictures_in(folder)
            rest = train[:4]
        super().__init__(train, size)
        side = 4 * (min(size * 2, 256) // 4)
        self.held_out = [centre(rgb(file), side) for file in rest[:8]]


def rgb(file: Path) -> np.ndarray:
    """A picture as H×W×3 uint8; alpha is dropped."""
    pixels = images.read(file).pixels
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    elif pixels.dtype != np.uint8:
        pixels = np.clip(np.rint(pixels * 255), 0, 255).astype(np.uint8)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def centre(picture: np.ndarray, side: int) -> np.ndarray:
    """The middle square of at most `side` pixels, its side a multiple of 12 (so that ×2, ×3 and ×4 divide it)."""
    side = min(side, *picture.shape[:2]) // 12 * 12
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    return np.ascontiguousarray(picture[top : top + side, left : left + side])


def check(folder: Path, size: int) -> DataReport:
    """What training sees in a folder: how many pictures, how large, which cannot be used and why."""
    report = DataReport()
    try:
        files = pictures_in(folder)
    except InputError as error:
        return DataReport(problems=[(str(folder), str(error))], usable=False)
    sizes, small = [], 0
    for file in files:
        try:
            height, width = images.read(file).pixels.shape[:2]
        except GantkError as error:
            report.problems.append((str(file), str(error)))
            continue
        if min(height, width) < size:
            small += 1
            report.problems.append((str(file), f"{width}×{height} is smaller than a {size}×{size} patch"))
        sizes.append((width, height))
    usable = len(sizes) - small
    train, held_out = split_by_name(files, HELD_OUT)
    report.facts["pictures"] = f"{len(files)} files, {usable} usable"
    if sizes:
        pixels = sum(width * height for width, height in sizes)
        report.facts["sizes"] = f"{min(sizes)[0]}×{min(sizes)[1]} to {max(sizes)[0]}×{max(sizes)[1]}"
        report.facts["patches"] = f"about {pixels // size**2} of {size}×{size}"
    report.facts["split"] = f"{len(train)} to train on, {len(held_out)} held out by name"
    report.usable = usable == len(files)
    if not report.usable:
        report.advice.append("move the pictures listed above out of the folder; training refuses them")
    if 0 < usable < 10:
        report.advice.append("fewer than 10 pictures: expect a model that suits these only")
    if usable:
        report.advice.append(f"next: gantk train superres {folder}")
    return report


def _detail(patch: np.ndarray) -> float:
    green = patch[::2, ::2, 1].astype(np.float32)
    return float(np.abs(np.diff(green, axis=0)).mean() + np.abs(np.diff(green, axis=1)).mean())
