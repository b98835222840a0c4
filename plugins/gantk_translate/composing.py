"""Translators whose layer joins the input: the layer is made of a small picture, the input stays at full resolution.

`networks/residual.py` says what the layer is. H, W: height and width of the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gantoolkit.errors import InputError
from gantoolkit.resample import resize_array
from gantoolkit.tiling import Decode, Encode

ROWS = 128  # of a strip
DARKEST_PAPER = 0.4  # of white: what is darker than this all around is drawn black, not paper
INKED = 0.01  # share of a sketch's pixels that are ink at least
PALEST_INK = 0.8  # of white: a blank page is not stretched until its grain is black
CLEAN = 0.04  # of white, mean of all pixels: `levelled` changes clean line art by up to .03, pencil on paper by .07
Run = Callable[[Tensor], Tensor]


class Layer(nn.Module):
    """A composing generator without the last step: (N, Ca, H, W) -> its layer at the same size."""

    def __init__(self, generator: Any) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        return self.generator.layer(x)


@dataclass(frozen=True)
class Given:
    """A picture, and how it becomes planes and back.

    Attributes:
        values: (H, W, C).
        encode: (h, w, C) -> (planes, h, w) float32 in [-1, 1].
        decode: (planes', h, w) -> (h, w, C').
        mixture: (what was composed, the input's planes) -> the output's planes.
    """

    values: np.ndarray
    encode: Encode
    decode: Decode
    mixture: Callable[[Tensor, Tensor], Tensor]


@torch.inference_mode()
def applied(
    generator: Any,
    runs: tuple[Run, Run],
    given: Given,
    size: int,
    multiple: int,
    device: str,
    level: bool,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """(H, W, C'): the layer of the picture at about the training size, enlarged, and composed strip by strip.

    Args:
        generator: has `compose` and `composed`.
        runs: the network that makes layers, and the same in float32 for when its layer is not finite.
        size: of the longer side that the layer is made at.
        multiple: sizes that the network accepts; the small picture is padded up to it, with white where lines stay.
        level: the network learnt from clean line art, so that lines on paper are made clean for it.
        progress: called with (rows done, rows in all).
    """
    height, width = given.values.shape[:2]
    ink = generator.compose == "multiply"
    small = _small(given, size)
    small = levelled(small) if ink and level else small
    layer = _layer(runs, small, multiple, ink, device)
    layer = resize_array(layer, (height, width)).clip(-1, 1)
    result: np.ndarray | None = None
    for top in range(0, height, ROWS):
        rows = slice(top, min(top + ROWS, height))
        x = torch.from_numpy(given.encode(given.values[rows]))[None]
        strip = torch.from_numpy(np.ascontiguousarray(layer[rows].transpose(2, 0, 1)))[None]
        made = given.decode(given.mixture(generator.composed(strip, x), x)[0].numpy())
        if result is None:
            result = np.empty((height, width, made.shape[2]), made.dtype)
        result[rows] = made
        if progress:
            progress(rows.stop, height)
    assert result is not None
    return result


def _small(given: Given, size: int) -> np.ndarray:
    """The planes of the picture whose longer side is `size`."""
    values = given.values
    if values.dtype not in (np.uint8, np.uint16, np.float32):
        values = values.astype(np.float32)
    return given.encode(resize_array(values, fitted(values.shape[:2], size)).astype(given.values.dtype))


def fitted(shape: tuple[int, ...], longest: int) -> tuple[int, int]:
    """(height, width) in the same proportions, the longer one `longest`."""
    height, width = (max(1, round(length * longest / max(shape))) for length in shape)
    return height, width


def levelled(planes: np.ndarray) -> np.ndarray:
    """Paper made white and ink black, as clean line art has them: (planes, h, w) in [-1, 1] -> the same.

    The paper's brightness at a place is the brightest pixel near it, smoothed; a shadow over a photographed sketch goes
    with it. Clean line art stays as it is.
    """
    from scipy.ndimage import maximum_filter, uniform_filter

    light = (planes + 1) / 2
    reach = max(3, max(planes.shape[1:]) // 8)
    paper = uniform_filter(maximum_filter(light, (1, reach, reach)), (1, reach, reach))
    light = light / np.maximum(paper, DARKEST_PAPER)
    light = np.minimum(light / max(np.quantile(light, 0.4), PALEST_INK), 1)  # most of a sketch is paper, with a grain
    ink = min(np.quantile(light, INKED), PALEST_INK)
    return (((light - ink) / (1 - ink)).clip(0, 1) * 2 - 1).astype(np.float32)


def clean(pictures: Iterable[np.ndarray]) -> bool:
    """Whether pictures, (planes, h, w) in [-1, 1], are line art that is clean already."""
    return float(np.mean([np.abs(levelled(planes) - planes).mean() / 2 for planes in pictures])) < CLEAN


def _layer(runs: tuple[Run, Run], planes: np.ndarray, multiple: int, white: bool, device: str) -> np.ndarray:
    """(h, w, planes'): the layer of these planes."""
    h, w = planes.shape[1:]
    padding = [(0, 0), (0, -h % multiple), (0, -w % multiple)]
    padded = np.pad(planes, padding, constant_values=1) if white else np.pad(planes, padding, "reflect")
    x = torch.from_numpy(padded)[None].to(device)
    for run in runs:
        made = run(x)[0, :, :h, :w].float()
        if bool(torch.isfinite(made).all()):
            return np.ascontiguousarray(made.permute(1, 2, 0).cpu().numpy())
    raise InputError("the network's output is not finite", remedy="the model is damaged or does not suit this picture")


def on_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours (H, W, C) over white paper, by alpha (H, W) of the same type; strip by strip."""
    whole = pixels.dtype.kind != "f"
    top = np.float32(np.iinfo(pixels.dtype).max if whole else 1)
    laid = np.empty_like(pixels)
    for first in range(0, len(pixels), ROWS):
        rows = slice(first, first + ROWS)
        share = alpha[rows, :, None].astype(np.float32) / top
        mixed = pixels[rows] * share + top * (1 - share)
        laid[rows] = np.rint(mixed) if whole else mixed
    return laid
