"""The modern translator: residual blocks at every size, skips between halves, attention over the smallest map.

A U-Net (Ronneberger et al. 2015, arXiv:1505.04597) of residual blocks that start as the identity (Fixup: Zhang et al.
2019, arXiv:1901.09321, section 3), so that nothing needs normalising: a picture's result depends on no batch, and
without attention on no pixel farther away than `overlap`. The largest map has one position for each `patch` of pixels;
the input's own pixels join again at full size, so that fine lines survive.

Shapes: N batch, Ca and Cb planes of source and target, H, W size in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gantoolkit.errors import UsageError
from gantoolkit.layers import SLOPE, ResidualBlock, conv, resize

WIDEST = 4  # widths double with every halving, up to this many times the first
FINE = 16  # channels at full size
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Attention(nn.Module):
    """x + self-attention over all positions, starting as the identity (Vaswani et al. 2017, arXiv:1706.03762, eq. 1).

    Queries and keys have unit length (Henry et al. 2020, arXiv:2010.04245) with a learnt temperature, so that logits
    stay bounded without normalising the map.
    """

    def __init__(self, channels: int, width: int = 32) -> None:
        super().__init__()
        self.heads = max(1, channels // width)
        self.qkv, self.out = conv(channels, 3 * channels, 1, gain=1), conv(channels, channels, 1, gain=0)
        self.temperature = nn.Parameter(torch.full((self.heads, 1, 1), 8.0))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        q, k, v = self.qkv(x).reshape(n, 3, self.heads, c // self.heads, h * w).transpose(3, 4).unbind(1)
        q = F.normalize(q, dim=-1) * self.temperature.to(q.dtype)
        mixed = F.scaled_dot_product_attention(q, F.normalize(k, dim=-1), v, scale=1.0)
        return x + self.out(mixed.transpose(2, 3).reshape(n, c, h, w))


class ResidualGenerator(nn.Module):
    """(N, Ca, H, W) in [-1, 1] -> (N, Cb, H, W), clipped to [-1, 1] in use; H and W multiples of `multiple`.

    Args:
        planes: (Ca, Cb).
        channels: of the largest map; each halving doubles them, up to four times.
        blocks: residual blocks at each size, on each half.
        levels: halvings.
        patch: side in pixels of what one position of the largest map stands for: 1, 2 or 4.
        attention: over the positions of the smallest map.
        compose: how the input joins the output. "multiply": the network makes a layer of colours and the picture is
            their product with the input, as ink on paint. "chroma": it makes the two chroma planes (BT.601) and the
            brightness is the input's own. Either lets a small layer serve a large picture.

    Raises:
        UsageError: planes that cannot be composed so.
    """

    def __init__(
        self,
        planes: Sequence[int],
        channels: int = 32,
        blocks: int = 2,
        levels: int = 4,
        patch: int = 2,
        attention: bool = True,
        compose: str = "none",
    ) -> None:
        super().__init__()
        before, after = planes
        allowed = {"multiply": before in (1, after), "chroma": before in (1, 3) and after == 3}
        if not allowed.get(compose, True):
            wanted = "one channel in, or as many as out" if compose == "multiply" else "grey or colour in, colour out"
            raise UsageError(f"compose {compose!r} does not suit these sides", expected=wanted, actual=f"{planes}")
        self.compose = compose
        self.multiple = patch * 2**levels
        self.overlap = None if attention else self._radius(blocks, levels, patch)
        widths = [channels * min(2**i, WIDEST) for i in range(levels + 1)]
        self.stem = conv(before, channels, 2 * patch if patch > 1 else 3, stride=patch, gain=1)
        self.down = nn.ModuleList(_blocks(width, blocks) for width in widths[:-1])
        self.widen = nn.ModuleList(conv(a, b, 1, gain=1) for a, b in pairwise(widths))
        self.attention = Attention(widths[-1]) if attention else nn.Identity()
        self.middle = _blocks(widths[-1], blocks)
        self.narrow = nn.ModuleList(conv(b, a, 1, gain=1) for a, b in pairwise(widths))
        self.skip = nn.ModuleList(conv(width, width, 1, gain=1) for width in widths[:-1])
        self.up = nn.ModuleList(_blocks(width, blocks) for width in widths[:-1])
        made = 2 if compose == "chroma" else after
        self.shuffle = nn.Sequential(nn.LeakyReLU(SLOPE), conv(channels, FINE * patch**2), nn.PixelShuffle(patch))
        self.fine = nn.Sequential(conv(FINE + before, FINE), nn.LeakyReLU(SLOPE), conv(FINE, made, gain=0.1))
        if compose == "multiply":  # white paint, so that it starts with the drawing as it is
            nn.init.ones_(self.fine[-1].bias)  # type: ignore[arg-type]

    @staticmethod
    def _radius(blocks: int, levels: int, patch: int) -> int:
        """Pixels that an output pixel sees to each side, or a few more.

        At the map with s pixels a position, a block's two convolutions see 2s farther; there are `blocks` of them on
        each half. Halving by the mean and bilinear doubling add at most 2s.
        """
        strides = [patch * 2**i for i in range(levels + 1)]
        return sum(stride * (4 * blocks + 2) for stride in strides) + 3 * patch + 2

    def layer(self, x: Tensor) -> Tensor:
        """What the network makes before the input joins: (N, Cb, H, W), or two chroma planes, in [-1, 1]."""
        kept, given = [], x
        x = self.stem(x)
        for down, widen in zip(self.down, self.widen, strict=True):
            x = down(x)
            kept.append(x)
            x = widen(F.avg_pool2d(x, 2))
        x = self.middle(self.attention(x))
        for i in reversed(range(len(kept))):  # a 1x1 convolution and the resampling commute: convolve fewer pixels
            x = resize(self.narrow[i](x), 2)
            x = self.up[i]((x + self.skip[i](kept[i])) * 0.5**0.5)
        made = self.fine(torch.cat([self.shuffle(x), given.to(x.dtype)], 1)).float()
        # Linear while it learns: through a tanh, drawings that are mostly white drove it to where no gradient is left.
        return made if self.training else made.clamp(-1, 1)

    def composed(self, layer: Tensor, x: Tensor) -> Tensor:
        """The picture from its layer (made of `x`, at any size, then brought to the size of `x`) and the input."""
        if self.compose == "multiply":
            return (layer + 1) * (x + 1) / 2 - 1
        if self.compose == "chroma":
            return _coloured(_luma(x), layer)
        return layer

    def forward(self, x: Tensor) -> Tensor:
        return self.composed(self.layer(x), x.float())


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(count)))


def _luma(x: Tensor) -> Tensor:
    """(N, 1 or 3, H, W) -> (N, 1, H, W): BT.601 of sRGB values."""
    return x if x.shape[1] == 1 else (x * x.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def _coloured(luma: Tensor, chroma: Tensor) -> Tensor:
    """Luma (N, 1, H, W) and chroma (N, 2, H, W), all in [-1, 1], -> colours, clipped to [-1, 1].

    B - Y = 2 (1 - .114) Cb and R - Y = 2 (1 - .299) Cr for Cb, Cr in [-.5, .5] (ITU-R BT.601); on [-1, 1] both sides
    are doubled. Green is what keeps the luma.
    """
    blue = luma + 2 * (1 - LUMA[2]) * chroma[:, :1]
    red = luma + 2 * (1 - LUMA[0]) * chroma[:, 1:]
    green = (luma - LUMA[0] * red - LUMA[2] * blue) / LUMA[1]
    return torch.cat([red, green, blue], 1).clamp(-1, 1)
