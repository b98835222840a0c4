"""A generator that takes its style from a second picture: adaptive instance normalisation.

Huang & Belongie 2017, "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization" (arXiv:1703.06868).
Shapes: N batch, C channels, H, W size; the style's size need not be the content's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from gantoolkit.errors import UsageError

SLOPE = 0.2  # of what is below 0: without any, units that a rare style throws far off stay dead
EPS = 1e-5  # added to variances: a channel that shows nothing has none


def statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of each sample over its places: two (N, C, 1, 1)."""
    mean = x.mean((2, 3), keepdim=True)
    variance = (x - mean).square().mean((2, 3), keepdim=True)  # twice as fast as var_mean over channels-last maps
    return mean, (variance + EPS).sqrt()


def adain(content: Tensor, style: Tensor) -> Tensor:
    """σ(s) (c − μ(c)) / σ(c) + μ(s): equation 8; (N, C, h, w) and (N, C, h', w') -> (N, C, h, w)."""
    (mean, deviation), (mean_style, deviation_style) = statistics(content), statistics(style)
    return (content - mean) * (deviation_style / deviation) + mean_style


class AdaIN(nn.Module):
    """(N, Ca, H, W) and a style (N, Ca, H', W'), both in [-1, 1] -> (N, Cb, H, W) in [-1, 1].

    One encoder looks at both pictures. At every size of its maps, and in the picture itself, the content's channels
    take the mean and the deviation of the style's; a decoder without normalisation (section 6) adds what it draws from
    the maps to the picture. The paper exchanges statistics in one place, the coarsest map of a frozen encoder. Here the
    encoder learns, so that a model is one small network, and the finer places keep edges and colours. With itself as
    the style, the content's statistics stay, which training turns into "the picture comes back".

    Sizes are multiples of 2^blocks. The picture is added to the output, so that Ca and Cb are one number.

    Args:
        planes: [Ca, Cb].
        channels: of the largest map; each halving has twice as many, up to eight times.
        blocks: halvings, at least 1.

    Raises:
        UsageError: other channels out than in.
    """

    overlap = None  # statistics are of the whole picture

    def __init__(self, planes: Sequence[int], channels: int = 32, blocks: int = 3) -> None:
        super().__init__()
        source, target = planes
        if source != target:
            raise UsageError("adain keeps the picture's channels", expected=f"{source} of both sides", actual=target)
        widths = [channels * min(2**i, 8) for i in range(blocks)]
        steps = list(pairwise(widths))
        self.multiple = 2**blocks
        self.stem = _conv(4 * source, channels)
        self.downs = nn.ModuleList(nn.Conv2d(fine, coarse, 4, 2, 1) for fine, coarse in steps)
        self.mixes = nn.ModuleList(_conv(width, width) for width in widths)
        self.ups = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in steps)
        self.head = _conv(channels, target)
        for conv in (module for module in self.modules() if isinstance(module, nn.Conv2d)):
            nn.init.kaiming_normal_(conv.weight, SLOPE)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
        nn.init.normal_(self.head.weight, 0, 0.005)  # the start is little more than an exchange of colours

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """The content x as the style would have drawn it."""
        exchanged = [adain(c, s) for c, s in zip(self.encode(x), self.encode(style), strict=True)]
        return self.decode(exchanged).clamp(-1, 1)

    def encode(self, x: Tensor) -> list[Tensor]:
        """The picture itself, then its maps from fine to coarse: (N, width, H / 2^i, W / 2^i), i from 1 on."""
        maps = [x, F.leaky_relu(self.stem(F.pixel_unshuffle(x, 2)), SLOPE)]
        for down in self.downs:
            maps.append(F.leaky_relu(down(maps[-1]), SLOPE))
        return maps

    def decode(self, maps: Sequence[Tensor]) -> Tensor:
        """The picture of the encoder's maps, their statistics exchanged or not; it may leave [-1, 1] a little."""
        picture, *maps = maps
        x = maps[-1]
        for i in reversed(range(len(maps))):
            x = x + self.mixes[i](F.leaky_relu(x, SLOPE))
            if i:
                x = maps[i - 1] + _doubled(self.ups[i - 1](x))
        return picture + self.head(_doubled(F.leaky_relu(x, SLOPE)))


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _conv(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, 1, 1, padding_mode="replicate")
