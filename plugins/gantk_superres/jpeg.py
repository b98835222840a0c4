"""What JPEG does to pictures, in batches on the device: ITU-T T.81 less the lossless coding.

Exact rounding: the differentiable codecs keep a part of what rounding removes, and so look better than JPEG.
Shapes: N,3,H,W in [0, 1].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

# T.81, tables K.1 and K.2: quantisation of luma and of chroma at quality 50.
_LUMA = """16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56  14 17 22 29 51 87 80 62
           18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92  49 64 78 87 103 121 120 101
           72 92 95 98 112 100 103 99"""
_CHROMA = (
    "17 18 24 47 99 99 99 99  18 21 26 66 99 99 99 99  24 26 56 99 99 99 99 99  47 66 99 99 99 99 99 99" + " 99" * 32
)

# JFIF: full-range BT.601 RGB to Y, Cb, Cr.
_TO_YCC = [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]


def jpeg(x: Tensor, quality: Tensor) -> Tensor:
    """Pictures after JPEG with 2×2 chroma subsampling, each at its own quality.

    Args:
        x: N,3,H,W in [0, 1].
        quality: N values from 1 to 100, on libjpeg's scale; rounded to whole numbers.

    Returns:
        N,3,H,W in 8-bit levels within [0, 1].
    """
    height, width = x.shape[2:]
    levels = (pad(x, (0, -width % 16, 0, -height % 16), mode="replicate") * 255).round()
    matrix = torch.tensor(_TO_YCC, dtype=x.dtype, device=x.device)
    ycc = torch.einsum("ij,njhw->nihw", matrix, levels).round()
    luma = _quantised(ycc[:, :1] - 128, _table(_LUMA, quality)) + 128
    chroma = _quantised(avg_pool2d(ycc[:, 1:], 2).round(), _table(_CHROMA, quality))
    chroma = interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False)
    rgb = torch.einsum("ij,njhw->nihw", torch.linalg.inv(matrix), torch.cat([luma, chroma], 1))
    return rgb[:, :, :height, :width].round().clamp(0, 255) / 255


def _table(base: str, quality: Tensor) -> Tensor:
    """Quantisation steps of each row, N,1,1,1,8,8: libjpeg's linear scaling of the standard's table."""
    steps = torch.tensor([float(v) for v in base.split()], device=quality.device).view(8, 8)
    quality = quality.round().clamp(1, 100).view(-1, 1, 1, 1, 1, 1)
    percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)
    return ((steps * percent + 50) / 100).floor().clamp(1, 255)


def _quantised(x: Tensor, table: Tensor) -> Tensor:
    """Planes N,C,H,W through the 8×8 discrete cosine transform (T.81, A.3.3), rounding to steps, and back."""
    n, channels, height, width = x.shape
    place = torch.arange(8, dtype=torch.float64)
    dct = 0.5 * torch.cos((2 * place[None] + 1) * place[:, None] * math.pi / 16)
    dct[0] /= math.sqrt(2)
    dct = dct.to(x)
    blocks = x.view(n, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    table = table.to(x)
    blocks = dct.T @ ((dct @ blocks @ dct.T / table).round() * table) @ dct
    return blocks.round().transpose(3, 4).reshape(n, channels, height, width)
