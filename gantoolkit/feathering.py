"""Networks that look at the whole picture, over pictures too large for that: tiles that fade into each other.

H, W, C: height, width and channels of the input.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np

from gantoolkit.errors import InputError
from gantoolkit.tiling import (
    MEMORY,
    MIN_TILE,
    Decode,
    Encode,
    first_finite,
    on_device,
    out_of_memory,
    reflected,
)  # fmt: skip

if TYPE_CHECKING:
    import torch

    from gantoolkit.tiling import Network


def feathered(
    network: Network,
    pixels: np.ndarray,
    *,
    encode: Encode,
    decode: Decode,
    tile: int,
    blend: int,
    multiple: int = 1,
    device: str | torch.device = "cpu",
    fallback: Network | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Apply a network that looks at the whole picture in tiles that fade into each other, with bounded memory.

    Tiles of such a network never agree, so neighbours are mixed: over their common 2 * `blend` pixels the weight of
    one falls in a straight line while the other's rises. One tile holds a picture whole, and is what the network says.
    When memory runs out, all is done again with half the tile.

    Args:
        network: (1, planes, h, w) float32 on `device` -> (1, planes', h, w).
        pixels: (H, W, C) of any type.
        encode, decode, multiple, device, fallback, progress: as in `tiled`.
        tile: side of a core, which `blend` pixels are added to on each side; less, to make both a `multiple`.

    Returns:
        (H, W, C') as `decode` makes it.

    Raises:
        InputError: as `tiled`.
    """
    import torch

    device = torch.device(device)
    height, width = pixels.shape[:2]
    given = reflected(pixels, multiple)
    rows, columns = (windows(size, tile, blend, multiple) for size in given.shape[:2])
    down, across = _fades(rows, 2 * blend), _fades(columns, 2 * blend)
    runs = [(network, nullcontext)] + ([(fallback, nullcontext)] if fallback else [])
    everything = (slice(None), slice(None))
    result: np.ndarray | None = None
    carry: np.ndarray | None = None  # sums of rows that the next band goes on with
    short = False
    for i, row in enumerate(rows):
        band: np.ndarray | None = None
        for column, fade in zip(columns, across, strict=True):
            window = given[row.start : row.stop, column.start : column.stop]
            place = f"row {row.start}, column {column.start}"
            try:
                made = first_finite(runs, on_device(encode(window), device), everything, place).cpu().numpy()
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                short = True
                break
            if band is None:
                band = np.zeros((len(made), len(row), given.shape[1]), np.float32)
            band[:, :, column.start : column.stop] += made * (down[i][:, None] * fade)
            if progress:
                progress(i * len(columns) + columns.index(column) + 1, len(rows) * len(columns))
        if short:
            break
        assert band is not None
        if carry is not None:
            band[:, : carry.shape[1]] += carry
        until = rows[i + 1].start if i + 1 < len(rows) else given.shape[0]
        done = decode(band[:, : until - row.start])[: max(0, height - row.start), :width]
        if result is None:
            result = np.empty((height, width, done.shape[2]), done.dtype)
        result[row.start : row.start + len(done)] = done
        carry = band[:, until - row.start :]
    if short:  # outside the handler: the exception holds the tensors that must go
        tile = min(tile, max(given.shape[:2])) // 2
        if tile < max(MIN_TILE, multiple):
            raise InputError(f"not enough memory on {device} for one tile of {2 * tile} pixels", remedy=MEMORY)
        if device.type == "cuda":
            torch.cuda.empty_cache()
        return feathered(
            network, pixels, encode=encode, decode=decode, tile=tile, blend=blend, multiple=multiple, device=device,
            fallback=fallback, progress=progress,
        )  # fmt: skip
    assert result is not None
    return result


def windows(length: int, tile: int, blend: int, multiple: int = 1) -> list[range]:
    """Windows over an axis, all of one length, spread evenly; neighbours share 2 * `blend` positions or more.

    Args:
        length: of the axis, a multiple of `multiple`.
        tile, blend, multiple: as in `feathered`.
    """
    least = -(-(2 * blend + 1) // multiple) * multiple
    window = min(length, max(least, (tile + 2 * blend) // multiple * multiple))
    steps = -(-(length - window) // max(1, window - 2 * blend))
    starts = [round(i * (length - window) / max(1, steps)) for i in range(steps + 1)]
    return [range(start, start + window) for start in starts]


def _fades(axis: list[range], ramp: int) -> list[np.ndarray]:
    """A weight for each position of each window, rising from inner edges; at each position they sum to one."""
    length = axis[-1].stop
    weights = []
    for window in axis:
        position = np.array(window) + 0.5
        rise = position - window.start if window.start > 0 else np.inf
        fall = window.stop - position if window.stop < length else np.inf
        weights.append(np.minimum(np.minimum(rise, fall) / max(ramp, 1), 1) * np.ones(len(position)))
    total = np.zeros(length)
    for window, weight in zip(axis, weights, strict=True):
        total[window.start : window.stop] += weight
    return [(w / total[r.start : r.stop]).astype(np.float32) for r, w in zip(axis, weights, strict=True)]
