"""Resampling that agrees with MATLAB's `imresize`: antialiased, separable, mirrored at the borders.

Most super-resolution figures in print were made with `imresize`, whose bicubic kernel is widened when it
shrinks a picture; `torch.nn.functional.interpolate` and OpenCV do something else. Every pass is a product
with a banded matrix, cut into blocks that hold only the taps that matter.

Shapes: N batch, C channels, H, W input size, h, w output size. Sizes are pixels, `(height, width)`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from gantoolkit.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

STRIP_VALUES = 4_000_000  # values of one strip in `resize_array`: 16 MB as float32


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys (1981), "Cubic convolution interpolation for digital image processing", eq. 4 with a = -1/2."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def _lanczos3(x: np.ndarray) -> np.ndarray:
    """Duchon (1979), "Lanczos filtering in one and two dimensions": sinc(x) sinc(x / 3) for |x| < 3."""
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


def _triangle(x: np.ndarray) -> np.ndarray:
    """Linear interpolation: max(0, 1 - |x|)."""
    return np.maximum(0.0, 1 - np.abs(x))


# Kernel name -> function and the width of its support in input pixels.
KERNELS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "bicubic": (_cubic, 4.0),
    "bilinear": (_triangle, 2.0),
    "lanczos3": (_lanczos3, 6.0),
}


@lru_cache(maxsize=256)
def weights(
    in_size: int, out_size: int, kernel: str = "bicubic", scale: float | None = None, antialias: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Which input pixels make each output pixel along one axis, and how much of each.

    Output pixel i sits at u = (i + 1/2) / scale - 1/2 on the input's axis, so that the outer edges of both
    pictures coincide. When shrinking, the kernel k becomes scale * k(scale * x), which removes the
    frequencies that the output cannot hold. Weights are normalised to sum to one; taps beyond a border are
    mirrored with the edge pixel repeated, as `imresize` does.

    Args:
        in_size, out_size: lengths in pixels, at least 1.
        kernel: a name in `KERNELS`.
        scale: output pixels per input pixel; `out_size / in_size` if None (as `imresize` with a size).
        antialias: widen the kernel when shrinking.

    Returns:
        (indices, weights), each of shape (out_size, taps); int64 in [0, in_size) and float64. Read-only.

    Raises:
        UsageError: an unknown kernel or a length below 1.
    """
    if kernel not in KERNELS:
        raise UsageError(f"unknown resampling kernel {kernel!r}", expected=" or ".join(sorted(KERNELS)))
    if in_size < 1 or out_size < 1:
        raise UsageError("cannot resample", expected="lengths of at least 1 pixel", actual=(in_size, out_size))
    function, width = KERNELS[kernel]
    scale = out_size / in_size if scale is None else scale
    shrink = min(scale, 1.0) if antialias else 1.0
    width /= shrink

    centre = (np.arange(out_size) + 0.5) / scale - 0.5
    left = np.floor(centre - width / 2).astype(np.int64)
    taps = left[:, None] + np.arange(int(np.ceil(width)) + 2)
    weight = function(shrink * (centre[:, None] - taps))
    weight[np.abs(weight) < 1e-14] = 0  # sin(k pi) is zero; in floating point it is not quite
    weight /= weight.sum(1, keepdims=True)

    mirrored = np.mod(taps, 2 * in_size)  # symmetric extension has the period 2 * in_size
    index = np.where(mirrored < in_size, mirrored, 2 * in_size - 1 - mirrored)
    used = np.any(weight != 0, axis=0)
    index, weight = np.ascontiguousarray(index[:, used]), np.ascontiguousarray(weight[:, used])
    index.flags.writeable = weight.flags.writeable = False
    return index, weight


def _block(index: np.ndarray, weight: np.ndarray) -> tuple[int, int, np.ndarray]:
    """Rows of `weights` as (first input pixel, end, matrix of shape (rows, end - first))."""
    first, end = int(index.min()), int(index.max()) + 1
    matrix = np.zeros((len(index), end - first))
    np.add.at(matrix, (np.arange(len(index))[:, None], index - first), weight)
    return first, end, matrix


@lru_cache(maxsize=64)
def _blocks(in_size: int, out_size: int, kernel: str, antialias: bool) -> tuple[tuple[int, int, np.ndarray], ...]:
    index, weight = weights(in_size, out_size, kernel, None, antialias)
    # About as many new input pixels per block as the kernel is wide: half of each product is useful.
    rows = max(16, round(2 * index.shape[1] * out_size / in_size))
    return tuple(_block(index[i : i + rows], weight[i : i + rows]) for i in range(0, out_size, rows))


def _matrix(matrix: np.ndarray, like: Tensor) -> Tensor:
    import torch

    return torch.from_numpy(matrix).to(device=like.device, dtype=like.dtype)


def _along_width(x: Tensor, out_size: int, kernel: str, antialias: bool) -> Tensor:
    """(..., H, W) -> (..., H, w)."""
    import torch

    if x.shape[-1] == out_size:
        return x
    blocks = _blocks(x.shape[-1], out_size, kernel, antialias)
    return torch.cat([x[..., i:j] @ _matrix(m, x).T for i, j, m in blocks], -1)


def _along_height(x: Tensor, out_size: int, kernel: str, antialias: bool) -> Tensor:
    """(..., H, W) -> (..., h, W)."""
    import torch

    if x.shape[-2] == out_size:
        return x
    blocks = _blocks(x.shape[-2], out_size, kernel, antialias)
    return torch.cat([_matrix(m, x) @ x[..., i:j, :] for i, j, m in blocks], -2)


def resize(tensor: Tensor, size: tuple[int, int], kernel: str = "bicubic", antialias: bool = True) -> Tensor:
    """Resample a batch of pictures as MATLAB's `imresize` does on floating-point pictures.

    Differentiable; bicubic and lanczos3 overshoot, so clamp where a range matters. Half precision and
    autocast regions are computed in float32.

    Args:
        tensor: (N, C, H, W), floating point, any range.
        size: (h, w) in pixels.
        kernel, antialias: see `weights`.

    Returns:
        (N, C, h, w), same dtype and device.

    Raises:
        UsageError: an unknown kernel or a length below 1.
    """
    import torch

    h, w = size
    wide = tensor.dtype if tensor.dtype == torch.float64 else torch.float32
    with torch.autocast(tensor.device.type, enabled=False):
        x = tensor.to(wide).contiguous()
        # The axis that shrinks most goes first, as in `imresize`: the second pass has the least left to do.
        if h / tensor.shape[-2] <= w / tensor.shape[-1]:
            x = _along_width(_along_height(x, h, kernel, antialias), w, kernel, antialias)
        else:
            x = _along_height(_along_width(x, w, kernel, antialias), h, kernel, antialias)
        return x.to(tensor.dtype)


def resize_array(
    pixels: np.ndarray, size: tuple[int, int], kernel: str = "bicubic", antialias: bool = True
) -> np.ndarray:
    """Resample one picture of any size, strip by strip: beyond input and output, memory stays under 200 MB.

    Args:
        pixels: (H, W, C), uint8, uint16 or float32.
        size: (h, w) in pixels.
        kernel, antialias: see `weights`.

    Returns:
        (h, w, C), same dtype; integers are rounded to nearest and clipped to their range.

    Raises:
        UsageError: an unknown kernel or a length below 1.
    """
    import torch

    (h, w), (height, width, channels) = size, pixels.shape
    index, weight = weights(height, h, kernel, None, antialias)
    result = np.empty((h, w, channels), pixels.dtype)
    # A strip is limited by whichever is larger: its rows in the input or its rows in the output.
    values_per_row = channels * max(w, width) * max(1.0, height / h)
    rows = min(128, max(1, int(STRIP_VALUES / values_per_row)))  # 128: the strip's own matrix stays small
    for top in range(0, h, rows):
        first, end, matrix = _block(index[top : top + rows], weight[top : top + rows])
        strip = torch.from_numpy(pixels[first:end].astype(np.float32)).permute(2, 0, 1)
        # At the same height each output row is its input row, so the strip holds exactly its own rows.
        strip = strip if h == height else _matrix(matrix, strip) @ strip
        strip = _along_width(strip.contiguous(), w, kernel, antialias).permute(1, 2, 0)
        if np.issubdtype(pixels.dtype, np.integer):
            strip = strip.round().clamp(0, float(np.iinfo(pixels.dtype).max))
        result[top : top + rows] = strip.numpy()
    return result
