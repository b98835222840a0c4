"""A modern residual pair in the spirit of R3GAN: Huang et al. 2024 (arXiv:2501.05441), section 3.

No normalisation, no noise, no style, no equalised rates: bottlenecks whose widest convolution is grouped
(ResNeXt, Xie et al. 2017, arXiv:1611.05431), a Fixup-like start (Zhang et al. 2019, arXiv:1901.09321, section
3) and resampling that filters. Where it differs from the paper: widths shrink as maps grow, and the largest map has
one position for each patch of pixels, since a CPU pays by the position, with a thin block of pixels after it; the
smallest map is a linear function of z, where the paper modulates a learnt one; a critic of classes adds an
unconditional score; halving is the average of 2x2.

Shapes: N batch, C picture channels, H, W size in pixels, h0, w0 size of the smallest map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gantoolkit.errors import UsageError
from gantoolkit.layers import GAIN, SLOPE, ResidualBlock, conv, resize

from .base import Critic, Generator, Noise, ProjectionHead, at_least, doublings, wide

PATCHES = (1, 2, 4)  # log2 is the place
LEAK = 0.002  # slope that a generator's output keeps, however far it is driven


class Block(nn.Module):
    """x + C3(a(C2(a(C1(x))))): 1x1, grouped 3x3, 1x1, the last without bias; (N, c, h, w) -> the same shape.

    Starts as the identity: C3 is zero, and C1 and C2 are shrunk by L^(-1/4) for L blocks in the network, which
    is Fixup's L^(-1/(2m-2)) for branches of m = 3 layers.
    """

    def __init__(self, channels: int, expansion: int, group: int, blocks: int) -> None:
        super().__init__()
        inner = channels * expansion
        gain = GAIN * blocks**-0.25
        self.squeeze = conv(channels, inner, 1, gain=gain)
        self.mix = conv(inner, inner, groups=max(1, inner // group), gain=gain)
        self.restore = conv(inner, channels, 1, gain=0, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.leaky_relu(self.mix(F.leaky_relu(self.squeeze(x), SLOPE)), SLOPE)
        return x + self.restore(inner)


class ResidualGenerator(Generator):
    """A linear layer makes an h0 x w0 map of z; stages of blocks with doublings between; a 1x1 convolution to pixels.

    (N, latent) -> (N, C, H, W) in [-1, 1], standard deviation .2 to .9 at the start. The paper's output is linear;
    with a tanh plain black and white cost nothing to hold, where a linear one leaves a haze for long. But a tanh alone
    has no gradient left where it is driven far: on stacked digits, which are mostly black, such a generator stood still
    for 50,000 pictures. So a small slope is added, which takes pixels a little past ±1 while it learns.

    Args:
        size: (H, W), see `doublings`.
        channels: picture channels C.
        latent: length of z.
        classes: number of classes, 0 for none; the class's embedding is joined to z.
        width: channels of the largest map; each smaller map has twice as many, up to `widest` times.
        widest: a power of two, at least 1. 1 is the paper's equal width everywhere.
        blocks: blocks at each size.
        expansion: a bottleneck's inner width, in widths of its map; 2 in the paper.
        group: channels of a group of the 3x3 convolution; the inner width must be a multiple, or at most this.
        patch: side, in pixels, of what one position of the largest map stands for: 1, 2 or 4. The critic starts
            with overlapping windows of twice that side; the generator ends with a bilinear enlargement and a 3x3
            convolution, which cannot draw a checkerboard as a transposed convolution can.
        finish: channels of a residual block between the two, where pixels are drawn and not only mixed; 0 for none.
    """

    def __init__(
        self,
        size: Sequence[int],
        channels: int = 3,
        latent: int = 64,
        classes: int = 0,
        width: int = 64,
        widest: int = 4,
        blocks: int = 1,
        expansion: int = 2,
        group: int = 32,
        patch: int = 1,
        finish: int = 0,
    ) -> None:
        super().__init__(latent, classes)
        at_least(1, channels=channels)
        at_least(0, finish=finish)
        first, count = _maps(size, patch)
        widths = _widths(count, width, widest, blocks, expansion, group)[::-1]
        self.smallest = (widths[0], *first)
        self.dense = nn.Linear(self.inputs, math.prod(self.smallest))
        nn.init.normal_(self.dense.weight, std=latent**-0.5)  # of unit variance: a class's embedding has length 1
        nn.init.zeros_(self.dense.bias)
        self.stages, self.narrows = nn.ModuleList(), nn.ModuleList()
        for before, after in zip([widths[0], *widths], widths, strict=False):
            self.narrows.append(_transition(before, after))
            self.stages.append(_stage(after, blocks, expansion, group, blocks * len(widths)))
        self.patch = patch
        self.narrow = conv(widths[-1], finish, 1, gain=1, bias=False) if finish else nn.Identity()
        self.finish = ResidualBlock(finish) if finish else nn.Identity()
        self.pixels = conv(finish or widths[-1], channels, 1 if patch == 1 else 3, gain=1, bias=False)

    def synthesis(self, w: Tensor, noise: Noise = "fixed") -> Tensor:
        x = self.dense(w).unflatten(1, self.smallest)
        for i, (narrow, stage) in enumerate(zip(self.narrows, self.stages, strict=True)):
            if i:  # the 1x1 convolution and the resampling commute: convolve where there are fewer pixels
                x = resize(narrow(x), 2)
            x = stage(x)
        x = self.narrow(x)
        if self.patch > 1:
            x = resize(x, self.patch)
        x = self.finish(x)
        x = wide(self.pixels(x))
        made = x.tanh() + LEAK * x
        return made if self.training else made.clamp(-1, 1)


class ResidualCritic(Critic):
    """The generator's mirror: (N, C, H, W) -> stages with halvings -> depthwise h0 x w0 convolution -> logits.

    Arguments as in `ResidualGenerator`; classes enter by projection.
    """

    def __init__(
        self,
        size: Sequence[int],
        channels: int = 3,
        classes: int = 0,
        width: int = 64,
        widest: int = 4,
        blocks: int = 1,
        expansion: int = 2,
        group: int = 32,
        patch: int = 1,
    ) -> None:
        super().__init__(classes)
        at_least(1, channels=channels)
        first, count = _maps(size, patch)
        widths = _widths(count, width, widest, blocks, expansion, group)
        self.pixels = conv(channels, widths[0], 1, gain=1, bias=False)
        if patch > 1:
            self.pixels = nn.Conv2d(channels, widths[0], 2 * patch, stride=patch, padding=patch // 2, bias=False)
            nn.init.normal_(self.pixels.weight, std=self.pixels.weight[0].numel() ** -0.5)
        self.stages, self.widens = nn.ModuleList(), nn.ModuleList()
        for before, after in zip([widths[0], *widths], widths, strict=False):
            self.widens.append(_transition(before, after))
            self.stages.append(_stage(after, blocks, expansion, group, blocks * len(widths)))
        # One weight a place and channel: a depthwise convolution over the whole map.
        self.basis = nn.Parameter(torch.randn(widths[-1], *first) * (first[0] * first[1]) ** -0.5)
        self.head = ProjectionHead(widths[-1], classes)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        x = self.pixels(x)
        for i, (widen, stage) in enumerate(zip(self.widens, self.stages, strict=True)):
            if i:
                x = widen(resize(x, 0.5))
            x = stage(x)
        return self.head((x * self.basis).sum((2, 3)), label)


def _maps(size: Sequence[int], patch: int) -> tuple[tuple[int, int], int]:
    """The smallest map, and the doublings to the largest one, which is `patch` times smaller than a picture."""
    if patch not in PATCHES:
        raise UsageError("networks: patch", expected=f"one of {PATCHES}", actual=repr(patch))
    first, count = doublings(size)
    return first, count - PATCHES.index(patch)


def _transition(before: int, after: int) -> nn.Module:
    return nn.Identity() if before == after else conv(before, after, 1, gain=1, bias=False)


def _stage(channels: int, blocks: int, expansion: int, group: int, total: int) -> nn.Sequential:
    return nn.Sequential(*(Block(channels, expansion, group, total) for _ in range(blocks)))


def _widths(count: int, width: int, widest: int, blocks: int, expansion: int, group: int) -> list[int]:
    """Channels of the maps from the largest to the smallest, checked against the groups."""
    at_least(1, width=width, widest=widest, blocks=blocks, expansion=expansion, group=group)
    widths = [width * min(2**i, widest) for i in range(count + 1)]
    for inner in (w * expansion for w in widths):
        if inner > group and inner % group:
            raise UsageError(
                "networks: a bottleneck cannot be cut into equal groups",
                expected=f"width times expansion a multiple of group {group}, or at most {group}",
                actual=f"{inner}",
                remedy="choose channels of the generator and the critic that are a multiple of 16",
            )
    return widths
