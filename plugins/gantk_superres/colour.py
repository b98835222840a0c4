"""The enlarged picture keeps the input's colours: what a network shifts at low frequencies is put back.

A network may draw detail, but the mean over a neighbourhood is known: it is the input's. The difference of the two,
averaged over a square, is added to the output, after Irani and Peleg 1991, "Improving resolution by image
registration", equation 5, with one step and a wide kernel. A network that keeps colours is left alone.

Shapes: H, W the input's height and width, s the scale, C channels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

RADIUS = 8  # of the square, in input pixels: wide enough that noise and drawn detail average out
STRIP = 16  # input rows at a time


def drift(difference: Tensor) -> Tensor:
    """N,C,H,W → the mean over the square around each pixel; at the borders over what lies inside."""
    side = 2 * RADIUS + 1
    rows = F.avg_pool2d(difference, (1, side), 1, (0, RADIUS), count_include_pad=False)
    return F.avg_pool2d(rows, (side, 1), 1, (RADIUS, 0), count_include_pad=False)


def keep(enlarged: np.ndarray, pixels: np.ndarray) -> None:
    """Give `enlarged` H·s×W·s×C the colours of `pixels` H×W×C of the same type, in place and strip by strip.

    Integers change only where the shift is half a level or more: less would round to what is there.
    """
    height = len(pixels)
    scale = len(enlarged) // height
    difference = np.empty(pixels.shape, np.float32)
    for top in range(0, height, STRIP):
        rows = slice(top, min(top + STRIP, height))
        np.subtract(pixels[rows], _means(enlarged[top * scale : rows.stop * scale], scale), out=difference[rows])
    whole = pixels.dtype != np.float32
    levels = np.iinfo(pixels.dtype).max if whole else 1
    for top in range(0, height, STRIP):
        end = min(top + STRIP, height)
        first, last = max(0, top - RADIUS - 1), min(height, end + RADIUS + 1)
        strip = torch.from_numpy(difference[first:last]).permute(2, 0, 1)[None].contiguous()
        shift = drift(strip)
        # Half a level is met exactly by pictures that alternate, so a little more is asked for.
        if float(shift[:, :, top - first : end - first].abs().max()) <= (0.501 if whole else 0):
            continue
        added = F.interpolate(shift, scale_factor=scale, mode="bilinear")[0, :, (top - first) * scale :]
        place = enlarged[top * scale : end * scale]
        made = place + added[:, : len(place)].permute(1, 2, 0).numpy()
        place[...] = np.clip(np.rint(made), 0, levels) if whole else made


def _means(strip: np.ndarray, scale: int) -> np.ndarray:
    """(h·s)×(w·s)×C → h×w×C float32, the mean over each s×s block."""
    rows = strip.reshape(-1, scale, *strip.shape[1:])
    summed = rows[:, 0].astype(np.float32)
    for i in range(1, scale):
        summed += rows[:, i]
    columns = summed.reshape(len(summed), -1, scale, strip.shape[2])
    means = columns[:, :, 0].copy()
    for i in range(1, scale):
        means += columns[:, :, i]
    return means / np.float32(scale * scale)
