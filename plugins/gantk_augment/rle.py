"""Masks of objects as COCO writes them: run lengths, run lengths packed in text, polygons.

From the format's definition (cocodataset.org/#format-data, "RLE" and "polygon"). Run lengths go down the columns, one
after the other, and begin with what is not the object. H, W: the picture's size in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gantoolkit.errors import InputError

FARTHEST = 1e6  # pixels: corners farther away than that are damage


def runs(mask: np.ndarray) -> list[int]:
    """Run lengths of a mask, bool (H, W)."""
    flat = mask.T.reshape(-1)
    if not flat.size:
        return []
    edges = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]])
    return [0] * bool(flat[0]) + np.diff(edges).tolist()


def from_runs(counts: Sequence[int], height: int, width: int) -> np.ndarray:
    """The mask, bool (H, W), of run lengths.

    Raises:
        InputError: they are no numbers from 0, or do not fill the picture.
    """
    if not all(type(count) is int and count >= 0 for count in counts) or sum(counts) != height * width:
        raise InputError("the run lengths do not fill the picture", expected=f"{height * width} pixels")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T


def pack(counts: Sequence[int]) -> str:
    """Run lengths as text: from the fourth on each less the last but one, in signed groups of 5 bits, lowest first.

    A character is 48 + the group, + 32 where more groups follow.
    """
    text = []
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            text.append(chr(48 + group + 32 * more))
    return "".join(text)


def unpack(text: str) -> list[int]:
    """What `pack` was given.

    Raises:
        InputError: no such text.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64 or shift > 60:
            raise InputError("the packed run lengths are damaged", actual=repr(text[:20]))
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise InputError("the packed run lengths are cut short", actual=repr(text[-20:]))
    return counts


def from_polygons(polygons: Sequence[Sequence[float]], height: int, width: int) -> np.ndarray:
    """The mask, bool (H, W), of pixels whose centre is in any of the polygons (x, y in turn), by the even-odd rule."""
    mask = np.zeros((height, width), bool)
    for polygon in polygons:
        x, y = np.array(polygon, np.float64).reshape(-1, 2).T
        next_x, next_y = np.roll(x, -1), np.roll(y, -1)
        # the rows whose centres an edge crosses: a lower end belongs to it, an upper one does not
        first, end = (np.clip(np.ceil(f(y, next_y) - 0.5), 0, height).astype(int) for f in (np.minimum, np.maximum))
        count = end - first
        edge = np.repeat(np.arange(len(x)), count)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
        slope = (next_x - x)[edge] / (next_y - y)[edge]
        column = np.clip(np.ceil(x[edge] + (row + 0.5 - y[edge]) * slope - 0.5), 0, width).astype(int)
        crossings = np.bincount(row * (width + 1) + column, minlength=height * (width + 1))
        mask |= (crossings.reshape(height, width + 1).cumsum(1) % 2 == 1)[:, :width]
    return mask


def check(segmentation: Any, size: tuple[int, int] | None) -> None:
    """Nothing if COCO's "segmentation" is well-formed; packed run lengths are unpacked by `to_mask` only.

    Args:
        size: (H, W) of the picture; None where it is not known.

    Raises:
        InputError: it is malformed, or of another size.
    """
    if isinstance(segmentation, list):
        for polygon in segmentation:
            good = isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0
            if not good or not all(type(v) in (int, float) and abs(v) <= FARTHEST for v in polygon):
                raise InputError("a polygon is malformed", expected="x and y in turn of three corners or more")
    elif not isinstance(segmentation, dict) or not isinstance(segmentation.get("counts"), str | list):
        raise InputError("the mask is malformed", expected="polygons, or run lengths as counts with a size")
    elif size is not None and segmentation.get("size") != list(size):
        raise InputError("the mask has another size", expected=list(size), actual=segmentation.get("size"))


def to_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """The mask, bool (H, W), of what COCO has in "segmentation".

    Raises:
        InputError: it is malformed, or of another size.
    """
    check(segmentation, (height, width))
    if isinstance(segmentation, list):
        return from_polygons(segmentation, height, width)
    counts = segmentation["counts"]
    return from_runs(unpack(counts) if isinstance(counts, str) else counts, height, width)


def from_mask(mask: np.ndarray) -> dict[str, Any]:
    """COCO's "segmentation" of a mask, bool (H, W): packed run lengths."""
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": pack(runs(mask))}
