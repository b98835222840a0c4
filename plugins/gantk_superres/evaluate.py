"""`gantk eval superres`: make pictures small, enlarge them again, and measure how far they are from the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gantk_superres import degrade
from gantk_superres.data import rgb
from gantk_superres.enlarge import Enlarger
from gantk_superres.options import EvalOptions
from gantoolkit import images, metrics, paths
from gantoolkit.data import pictures_in
from gantoolkit.errors import InputError, UsageError
from gantoolkit.features import EfficientNetLite0
from gantoolkit.metrics import MetricCard
from gantoolkit.model import find
from gantoolkit.paths import expanded
from gantoolkit.resample import resize_array
from gantoolkit.task import Console

RESAMPLERS = {"bicubic": "bicubic", "lanczos": "lanczos3"}
Enlarge = Callable[[np.ndarray], np.ndarray]


@dataclass
class Figures:
    """What one way of enlarging reached over all pictures, and its outputs."""

    name: str
    cards: list[MetricCard]
    outputs: list[np.ndarray] = field(repr=False, default_factory=list)


def evaluate(options: EvalOptions, console: Console) -> int:
    """Print a table with a protocol line; one JSON row a way with `--json`."""
    files = _files(options)
    if options.sheet is not None:
        _writable(options.sheet)
    crop = options.scale if options.crop is None else options.crop
    names = [name.strip() for name in options.vs.split(",") if name.strip()] + [options.model]
    ways = [_way(name, options) for name in names]  # a wrong name is said before anything is measured
    truths = [_truth(file, options.scale, crop) for file in files]
    inputs = [
        lowered(truth, options.scale, options.degradation, options.seed + index) for index, truth in enumerate(truths)
    ]
    rows = []
    with console.progress(len(names) * len(files), "pictures", "measuring") as bar:
        for name, enlarge in zip(names, ways, strict=True):
            outputs = []
            for low in inputs:
                outputs.append(enlarge(low))
                bar.advance(1)
            label = name or f"{find('superres').name} (detail {options.detail:g})"
            rows.append(Figures(label, measure(outputs, truths, crop), outputs))
    protocol = (
        f"{len(files)} pictures, ×{options.scale}, {options.degradation} input"
        + (
            f" (seed {options.seed} + the picture's number)"
            if options.degradation != "bicubic"
            else " (antialiased, as MATLAB's imresize)"
        )
        + f", 8 bit, crop {crop} px; lower is better for {rows[0].cards[-1].name}"
    )
    _print(rows, protocol, console)
    if options.sheet is not None:
        _sheet(options.sheet, inputs, rows, truths, options.scale)
        console.say(f"sheet: {options.sheet}")
    return 0


def measure(outputs: list[np.ndarray], truths: list[np.ndarray], crop: int) -> list[MetricCard]:
    """PSNR and SSIM on Y and RGB, and the perceptual distance, each a mean over the pictures."""
    cards = [
        metric(outputs, truths, channel=channel, crop=crop)
        for metric in (metrics.psnr, metrics.ssim)
        for channel in ("y", "rgb")
    ]
    return [*cards, metrics.perceptual(outputs, truths, crop=crop)]


def lowered(truth: np.ndarray, scale: int, degradation: str, seed: int) -> np.ndarray:
    """The small picture (h×w×3 uint8) that a truth of H×W×3 uint8 is made into."""
    high = torch.from_numpy(truth).permute(2, 0, 1)[None].float() / 255
    low = degrade.degradation(degradation)(high, scale, torch.Generator().manual_seed(seed))
    return (low[0].permute(1, 2, 0) * 255).round().clamp(0, 255).byte().numpy()


def _files(options: EvalOptions) -> list[Path]:
    files: list[Path] = []
    for text in options.pictures:
        path = expanded(text)
        files += pictures_in(path, options.recursive) if path.is_dir() else [path]
    if not files:
        raise UsageError("no pictures were named", remedy="gantk eval superres HR/ names a folder of them")
    return files


def _writable(sheet: Path) -> None:
    images.format_for(sheet)
    paths.refuse_targets([sheet])


def _truth(file: Path, scale: int, crop: int) -> np.ndarray:
    """A picture as H×W×3 uint8, cut at the right and the bottom to sizes that the scale divides."""
    truth = rgb(file)
    height, width = (side // scale * scale for side in truth.shape[:2])
    least = max(metrics.SSIM_WINDOW, EfficientNetLite0.min_size) + 2 * crop
    if min(height, width) < least:
        raise InputError(
            f"{file} is too small to be measured",
            expected=f"at least {-(-least // scale) * scale} pixels a side",
            actual=f"{truth.shape[1]}×{truth.shape[0]}",
            remedy="leave it out" if crop <= scale else "leave it out, or use a smaller --crop",
        )
    return np.ascontiguousarray(truth[:height, :width])


def _way(name: str | None, options: EvalOptions) -> Enlarge:
    """A resampler or a model by its name."""
    if name in RESAMPLERS:
        kernel: Any = RESAMPLERS[name]
        return lambda low: resize_array(
            low, (low.shape[0] * options.scale, low.shape[1] * options.scale), kernel=kernel
        )
    return Enlarger(
        find("superres", name),
        scale=options.scale,
        detail=options.detail,
        device=options.device,
        precision=options.precision,
    )


def _print(rows: list[Figures], protocol: str, console: Console) -> None:
    names = [card.name for card in rows[0].cards]
    console.say(f"{'':<28}" + "".join(f"{name:>14}" for name in names))
    for row in rows:
        console.say(f"{row.name:<28}" + "".join(f"{card.value:>14.4f}" for card in row.cards))
        console.result({"name": row.name, "cards": [card.to_dict() for card in row.cards], "protocol": protocol})
    console.say(protocol)
    for card in rows[0].cards:
        console.say(f"  {card.name}: " + ", ".join(f"{key} {value}" for key, value in card.protocol.items()))


def _sheet(path: Path, inputs: list[np.ndarray], rows: list[Figures], truths: list[np.ndarray], scale: int) -> None:
    """The most detailed 128² window of each picture, in a row a picture: every way, then the truth."""
    cells, labels = [], []
    for index, truth in enumerate(truths):
        top, left = _busiest(truth, 128)
        for name, picture in [*((row.name, row.outputs[index]) for row in rows), ("truth", truth)]:
            window = picture[top : top + 128, left : left + 128]
            cells.append(np.kron(window, np.ones((2, 2, 1), np.uint8)))
            labels.append(name)
    sheet = images.contact_sheet(cells, len(rows) + 1, labels)
    images.write(images.Picture(sheet), path)


def _busiest(picture: np.ndarray, side: int) -> tuple[int, int]:
    """Top and left of the window with the strongest edges, on a grid of half a side."""
    grey = picture.mean(axis=2)
    edges = np.abs(np.diff(grey, axis=0))[:, :-1] + np.abs(np.diff(grey, axis=1))[:-1]
    corners = [
        (top, left)
        for top in range(0, max(1, picture.shape[0] - side), side // 2)
        for left in range(0, max(1, picture.shape[1] - side), side // 2)
    ]
    return max(corners, key=lambda c: edges[c[0] : c[0] + side, c[1] : c[1] + side].mean())
