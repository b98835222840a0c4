"""Run a fully convolutional network over a picture of any size with bounded memory.

A window is a core plus `overlap` pixels of real context on each side that is not a border of the picture; at
the borders the network's own padding acts, as it would on the whole picture. Only the core is kept, so with
an overlap of the receptive radius the result is that of the whole picture at once, up to rounding.

Sizes are input pixels unless said otherwise. H, W, C: height, width and channels of the input.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gantoolkit.errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    Network = Callable[[Tensor], Tensor]

Encode = Callable[[np.ndarray], np.ndarray]
Decode = Callable[[np.ndarray], np.ndarray]

# Core sizes that `tile=None` stands for. On a CPU (18 convolutions of 48 channels, bfloat16) a window's pixel
# takes the same time up to about 420 pixels and more beyond it, so less context is what makes 384 best:
# 4.2 s a megapixel, against 4.5 at 256, 5.7 at 128 and 4.9 at 512.
AUTO_TILE = {"cpu": 384, "cuda": 512}
MEMORY = "close other programs, or use a smaller model or --device cpu"
MIN_TILE = 16  # when not even this fits in memory, nothing does


@dataclass(frozen=True)
class Span:
    """Part of one axis: the core [first, last) that is kept, the window [start, end) that is computed."""

    first: int
    last: int
    start: int
    end: int


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def spans(length: int, tile: int, overlap: int, multiple: int = 1) -> list[Span]:
    """Cut an axis into cores of at most about `tile`, whose windows are all of one length.

    Cores at the borders are longer by `overlap`, because no context is needed there. The cores are evened
    out, so that the last window does not repeat most of its neighbour.

    Args:
        length: of the axis, a multiple of `multiple`.
        tile: wanted length of a core.
        overlap: context on each inner side; rounded up to `multiple`.
        multiple: every start and length is a multiple of it.
    """
    overlap = _round_up(overlap, multiple)
    count = max(1, -(-(length - 2 * overlap) // max(tile, multiple)))
    core = _round_up(max(1, -(-(length - 2 * overlap) // count)), multiple)
    window = min(length, core + 2 * overlap)
    result, first = [], 0
    while first < length:
        start = min(max(0, first - overlap), length - window)
        last = length if start + window == length else start + window - overlap
        result.append(Span(first, last, start, start + window))
        first = last
    return result


def _halves(span: Span, length: int, overlap: int, multiple: int) -> list[Span]:
    """The core in two, each with just the context that it needs."""
    overlap = _round_up(overlap, multiple)
    middle = span.first + _round_up((span.last - span.first) // 2, multiple)
    cores = [(span.first, middle), (middle, span.last)]
    return [
        Span(first, last, max(0, first - overlap), min(length, last + overlap)) for first, last in cores if first < last
    ]


def tiled(
    network: Network,
    pixels: np.ndarray,
    *,
    scale: float,
    overlap: int,
    tile: int | None = None,
    multiple: int = 1,
    device: str | torch.device = "cpu",
    autocast: Callable[[], AbstractContextManager[Any]] | None = None,
    fallback: Network | None = None,
    out_dtype: Any = None,
    encode: Encode | None = None,
    decode: Decode | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Apply `network` to a picture, one tile on the device at a time; input and output stay in numpy.

    When memory runs out the tile is halved and the work goes on from where it was.

    Args:
        network: (1, C, h, w) float32 in [0, 1] on `device` -> (1, C', h * scale, w * scale).
        pixels: (H, W, C), uint8, uint16 or float32; with `encode` of any type.
        scale: output pixels per input pixel; if it is below 1, `multiple * scale` must be whole.
        overlap: receptive radius of the network.
        tile: side of a core; None: what was measured to be fast.
        multiple: sizes that the network accepts. The picture is reflected at the right and the bottom up to
            such a size, and the result is cropped.
        device: where the network is.
        autocast: makes the context of `network`, e.g. `lambda: torch.autocast("cpu", torch.bfloat16)`.
        fallback: redoes a tile that came out not finite, without `autocast`: the network in float32.
        out_dtype: uint8, uint16 or float32; None: that of `pixels`. Integers are clipped and rounded.
        encode: makes the network's input of a window, (h, w, C) -> (planes, h, w) float32, in place of [0, 1].
        decode: makes the result of the network's output, (planes', h, w) float32 -> (h, w, C'), of one type for all.
        progress: called after each tile with (input pixels done, input pixels in all).

    Returns:
        (round(H * scale), round(W * scale), C').

    Raises:
        InputError: not even the smallest tile fits in memory, or the output is not finite in float32 either.
    """
    import torch

    device = torch.device(device)
    tile = tile or AUTO_TILE.get(device.type, AUTO_TILE["cuda"])
    height, width = pixels.shape[:2]
    out_type = np.dtype(out_dtype or pixels.dtype)
    pixels = reflected(pixels, multiple)
    padded = pixels.shape[:2]
    runs = [(network, autocast or nullcontext)] + ([(fallback, nullcontext)] if fallback else [])

    def compute(rows: Span, columns: Span) -> np.ndarray:
        window = pixels[rows.start : rows.end, columns.start : columns.end]
        given = on_device(encode(window), device) if encode else _to_device(window, device)
        top, left = (round((s.first - s.start) * scale) for s in (rows, columns))
        bottom, right = (round((s.last - s.start) * scale) for s in (rows, columns))
        core = first_finite(
            runs, given, (slice(top, bottom), slice(left, right)), f"row {rows.first}, column {columns.first}"
        )
        return decode(core.cpu().numpy()) if decode else _from_device(core, out_type)

    axes = [spans(size, tile, overlap, multiple) for size in padded]
    waiting = [(rows, columns) for rows in reversed(axes[0]) for columns in reversed(axes[1])]
    limit = max(padded)  # no core longer than this is tried again
    result: np.ndarray | None = None
    done = 0
    while waiting:
        rows, columns = waiting.pop()
        longest = max(rows.last - rows.first, columns.last - columns.first)
        core = None
        if longest <= limit:
            try:
                core = compute(rows, columns)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
        if core is None:  # outside the handler: the exception holds the tensors that must go
            limit = min(limit, longest // 2 + multiple)
            if longest <= max(MIN_TILE, multiple):
                raise InputError(f"not enough memory on {device} for one tile of {longest} pixels", remedy=MEMORY)
            if device.type == "cuda":
                torch.cuda.empty_cache()
            parts = [
                _halves(span, size, overlap, multiple) if span.last - span.first > limit else [span]
                for span, size in zip((rows, columns), padded, strict=True)
            ]
            waiting += [(r, c) for r in reversed(parts[0]) for c in reversed(parts[1])]
            continue
        if result is None:
            result = np.empty((round(height * scale), round(width * scale), core.shape[2]), core.dtype)
        top, left = round(rows.first * scale), round(columns.first * scale)
        place = result[top : top + core.shape[0], left : left + core.shape[1]]
        place[...] = core[: place.shape[0], : place.shape[1]]
        done += _inside(rows, height) * _inside(columns, width)
        if progress:
            progress(done, height * width)
    assert result is not None
    return result


def reflected(pixels: np.ndarray, multiple: int) -> np.ndarray:
    """The picture with both sides brought up to the multiple, at the bottom and the right."""
    padding = [(0, -size % multiple) for size in pixels.shape[:2]]
    return np.pad(pixels, [*padding, (0, 0)], "reflect") if any(after for _, after in padding) else pixels


def first_finite(runs: list[tuple[Network, Any]], given: Tensor, place: tuple[slice, slice], where: str) -> Tensor:
    """(planes, h, w) float32: that part of the first output that is finite there."""
    import torch

    for run, context in runs:
        with torch.inference_mode(), context():
            made = run(given)
        core = made[0, :, place[0], place[1]].float()
        if bool(torch.isfinite(core).all()):
            return core
    raise InputError(
        f"the network's output is not finite at {where}", remedy="the model is damaged or does not suit this picture"
    )


def on_device(values: np.ndarray, device: torch.device) -> Tensor:
    """(planes, h, w) -> (1, planes, h, w) on the device."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(values))[None].to(device)


def _inside(span: Span, length: int) -> int:
    return max(0, min(span.last, length) - span.first)


def _to_device(window: np.ndarray, device: torch.device) -> Tensor:
    """(h, w, C) -> (1, C, h, w) float32 in [0, 1], channels last in memory as it came."""
    import torch

    top = 1.0 if window.dtype == np.float32 else float(np.iinfo(window.dtype).max)
    given = torch.from_numpy(window.astype(np.float32)).div_(top)
    return given.permute(2, 0, 1)[None].to(device)


def _from_device(core: Tensor, dtype: np.dtype) -> np.ndarray:
    """(C', h, w) -> (h, w, C')."""
    core = core.permute(1, 2, 0)
    if dtype != np.float32:
        core = (core.clamp(0, 1) * float(np.iinfo(dtype).max)).round_()
    return core.cpu().numpy().astype(dtype)


def out_of_memory(error: Exception) -> bool:
    """Backends say it in their own ways; only CUDA has a class for it."""
    text = str(error).lower()
    signs = ("out of memory", "can't allocate memory", "cannot allocate memory", "defaultcpuallocator")
    return isinstance(error, MemoryError) or any(sign in text for sign in signs)
