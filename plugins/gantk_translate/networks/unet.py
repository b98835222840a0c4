"""The U-Net of pix2pix: halved to the smallest map and back, with a skip from each map to its mirror image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gantk_translate.networks import layers
from gantk_translate.networks.convolutions import Conv2d, ConvTranspose2d

SLOPE = 0.2
WITH_DROPOUT = 3  # decoder layers, from the innermost


class UNet(nn.Module):
    """(N, Ca, H, W) in [-1, 1] -> (N, Cb, H, W) in [-1, 1], H and W multiples of `multiple`.

    Isola et al. 2017 (arXiv:1611.07004), section 6.1.1: 4x4 convolutions with stride 2, leaky ReLUs on the way down,
    ReLUs on the way up, no normalisation of the first layer. The innermost layer has none either, as the paper's
    errata advise: of one picture it is a single position, which batch statistics would turn to zero.
    Where the paper leaves dropout on in use, `eval()` turns it off here, so that a picture has one translation.

    Args:
        planes: [Ca, Cb].
        channels: of the largest map; each next one has twice as many, up to eight times.
        blocks: halvings; 8 take 256 pixels down to one position.
        norm: "batch", "instance" or "none".
        dropout: share of the values dropped in the three innermost layers of the way up.
        rectified: maps lose what is negative when they join the way up, as in the authors' own PyTorch version.

    Attributes:
        multiple: sizes must be multiples of it, 2**blocks.
        overlap: None: the smallest map sees the whole picture, so tiles differ from it.
    """

    overlap: int | None = None

    def __init__(
        self,
        planes: Sequence[int],
        channels: int = 64,
        blocks: int = 8,
        norm: str = "batch",
        dropout: float = 0.5,
        rectified: bool = False,
    ) -> None:
        super().__init__()
        self.rectified = rectified
        self.multiple = 2**blocks
        source, target = planes
        widths = [channels * min(2**i, 8) for i in range(blocks)]
        self.downs = nn.ModuleList(
            _down(before, after, norm if 0 < i < blocks - 1 else "none")
            for i, (before, after) in enumerate(zip([source, *widths], widths, strict=False))
        )
        self.ups = nn.ModuleList()
        before = widths[-1]
        for i, after in enumerate(reversed(widths[:-1])):
            self.ups.append(_up(before, after, norm, dropout if i < WITH_DROPOUT else 0.0))
            before = 2 * after
        self.head = ConvTranspose2d(before, target, 4, 2, 1)
        layers.start(self)

    def forward(self, x: Tensor) -> Tensor:
        maps = []
        for down in self.downs:
            x = down(x)
            maps.append(x)
        if self.rectified:
            maps = [F.relu(x) for x in maps]
        x = maps.pop()
        for up in self.ups:
            x = torch.cat([up(x), maps.pop()], 1)
        return torch.tanh(self.head(x))


def _down(before: int, after: int, norm: str) -> nn.Module:
    conv = Conv2d(before, after, 4, 2, 1, bias=norm == "none")
    return layers.layer(conv, norm, after, nn.LeakyReLU(SLOPE, inplace=True))


def _up(before: int, after: int, norm: str, dropout: float) -> nn.Module:
    conv = ConvTranspose2d(before, after, 4, 2, 1, bias=norm == "none")
    return layers.layer(conv, norm, after, nn.ReLU(inplace=True), dropout)
