"""High-resolution patches for training; the low-resolution side is computed in batches on the device."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gantoolkit import images
from gantoolkit.data import fingerprint, pictures_in, split_by_name
from gantoolkit.errors import GantkError, InputError
from gantoolkit.task import DataReport

HELD_OUT = 0.08  # share of the files that scores while training use
LEAST = 12  # pixels: the smallest side that ×2, ×3 and ×4 divide


class Patches:
    """Random square patches of photographs, flipped and turned.

    Args:
        files: the pictures, kept in memory as 8-bit RGB.
        size: side of a patch, in pixels.
        windows: random ones for each patch, of which the one with most detail is taken.

    Raises:
        InputError: a picture that cannot be read or is smaller than a patch.
    """

    def __init__(self, files: Sequence[Path], size: int, windows: int = 1) -> None:
        self.files, self.size, self.windows = list(files), size, windows
        self.pictures = [large_enough(file, size) for file in files]
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
        windows = [self._window(picture, rng) for _ in range(self.windows)]
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

    def __init__(self, folder: Path, size: int, windows: int = 1) -> None:
        train, rest = _split(pictures_in(folder))
        super().__init__(train, size, windows)
        self.folder, self._rest = folder, rest
        side = max(LEAST, min(size * 2, 256))
        self.held_out = [centre(large_enough(file, size), side) for file in rest]

    @cached_property
    def fingerprint(self) -> str:
        """Of the pictures of both sides; see `gantoolkit.data.fingerprint`."""
        return fingerprint([*self.files, *self._rest], self.folder)


def _split(files: list[Path]) -> tuple[list[Path], list[Path]]:
    """(to train on, to score on): the latter at most eight, and from a handful of files the first few of all."""
    train, rest = split_by_name(files, HELD_OUT)
    return (train, rest[:8]) if train and rest else (files, files[:4])


def large_enough(file: Path, size: int) -> np.ndarray:
    """A picture as H×W×3 uint8.

    Raises:
        InputError: it cannot be read, or holds no patch of that size.
    """
    picture = rgb(file)
    if problem := _too_small(picture.shape[1], picture.shape[0], size):
        raise InputError(f"{file} cannot be trained on: {problem}", remedy="leave it out, or set a smaller --patch")
    return picture


def _too_small(width: int, height: int, size: int) -> str | None:
    if min(width, height) < max(size, LEAST):
        return f"{width}×{height} is smaller than a patch of {max(size, LEAST)}×{max(size, LEAST)}"
    return None


def rgb(file: Path) -> np.ndarray:
    """A picture as H×W×3 uint8; alpha is dropped."""
    pixels = images.read(file).pixels
    if pixels.dtype != np.uint8:
        top = 1 if pixels.dtype == np.float32 else 65535
        pixels = np.clip(np.rint(pixels * np.float32(255 / top)), 0, 255).astype(np.uint8)
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
    sizes = []
    for file in files:
        try:
            height, width = images.read(file).pixels.shape[:2]
        except GantkError as error:
            report.problems.append((str(file), str(error)))
            continue
        if problem := _too_small(width, height, size):
            report.problems.append((str(file), problem))
        else:
            sizes.append((width, height))
    report.facts["pictures"] = f"{len(files)} files, {len(sizes)} usable"
    if sizes:
        pixels = sum(width * height for width, height in sizes)
        (small, large) = (pick(sizes, key=lambda s: s[0] * s[1]) for pick in (min, max))
        report.facts["sizes"] = f"{small[0]}×{small[1]} to {large[0]}×{large[1]}, {pixels / 1e6:.1f} megapixels in all"
        report.facts["patches"] = f"about {pixels // size**2} of {size}×{size}"
        report.facts["memory"] = f"{pixels * 3 / 1e6:.0f} MB while training"
    train, scored = _split(files)
    again = " of the same" if len(train) == len(files) else ", held out by name"
    report.facts["split"] = f"{len(train)} to train on, {len(scored)}{again} to score on"
    report.usable = len(sizes) == len(files)
    if not report.usable:
        report.advice.append("move the pictures listed above out of the folder; training refuses them")
    if 0 < len(sizes) < 10:
        report.advice.append("fewer than 10 pictures: expect a model that suits these only")
    if report.usable:
        report.advice.append(f"next: gantk train superres {shlex.quote(str(folder))}")
    return report


def _detail(patch: np.ndarray) -> float:
    green = patch[::2, ::2, 1].astype(np.float32)
    return float(np.abs(np.diff(green, axis=0)).mean() + np.abs(np.diff(green, axis=1)).mean())
