"""DCGAN: Radford et al. 2015 (arXiv:1511.06434), figure 1 and the guidelines of section 3.

At 32x32 with width 64 the generator's maps are 256-128-64-C wide and the critic's C-64-128-256; at 64x64
with width 128 they are the paper's 1024-512-256-128-C.

Shapes: N batch, C picture channels, H, W size in pixels, h0, w0 size of the smallest map.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from .base import Critic, Generator, Noise, at_least, doublings, needed, wide

SLOPE = 0.2
WIDEST = 8  # times the base width: beyond four doublings the small maps grow no wider


class DCGANGenerator(Generator):
    """z -> a dense layer -> (N, c, h0, w0) -> doublings -> tanh: (N, C, H, W) in [-1, 1].

    Every map but the picture is batch-normalised. The output's standard deviation at the start is .1 to .4.

    Args:
        size: (H, W), see `doublings`.
        channels: picture channels C.
        latent: length of z.
        classes: number of classes, 0 for none.
        width: channels of the widest map but the picture itself; each smaller map has twice as many.
        upsample: double by nearest-neighbour enlargement and a 3x3 convolution, which cannot make a
            checkerboard, in place of the paper's transposed 4x4 convolution.
    """

    couples_batch = True

    def __init__(
        self,
        size: Sequence[int],
        channels: int = 3,
        latent: int = 100,
        classes: int = 0,
        width: int = 64,
        upsample: bool = False,
    ) -> None:
        super().__init__(latent, classes)
        at_least(1, channels=channels, width=width)
        self.first, count = doublings(size)
        widths = _widths(width, count)[::-1]
        self.dense = nn.Linear(self.inputs, widths[0] * self.first[0] * self.first[1], bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) for c in widths)
        self.ups = nn.ModuleList()
        for i, (before, after) in enumerate(zip(widths, [*widths[1:], channels], strict=True)):
            bias = i == count - 1  # elsewhere the norm's own
            self.ups.append(
                nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1, bias=bias))
                if upsample
                else nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=bias)
            )
        _initialise(self)

    def synthesis(self, w: Tensor, noise: Noise = "fixed") -> Tensor:
        x = self.dense(w).unflatten(1, (-1, *self.first))
        for norm, up in zip(self.norms, self.ups, strict=True):
            x = up(F.relu(norm(x)))
        return wide(x.tanh())


class DCGANCritic(Critic):
    """(N, C, H, W) -> halvings -> (N, c, h0, w0) -> one convolution over the whole map -> logits (N,).

    Args:
        size, channels, classes: as in `DCGANGenerator`; classes enter by projection.
        width: channels of the largest map; each smaller map has twice as many, up to eight times.
        batch_norm: normalise every map but the first, as the paper does. Leave it out of games that penalise
            a sample's own gradient (WGAN-GP, R1): it mixes the batch.
        spectral_norm: divide every weight by its largest singular value (Miyato et al. 2018, arXiv:1802.05957,
            eq. 8).
        pool: halve by a 3x3 convolution and average pooling in place of strides.
    """

    def __init__(
        self,
        size: Sequence[int],
        channels: int = 3,
        classes: int = 0,
        width: int = 64,
        batch_norm: bool = True,
        spectral_norm: bool = False,
        pool: bool = False,
    ) -> None:
        super().__init__(classes)
        at_least(1, channels=channels, width=width)
        self.couples_batch = batch_norm
        self.pool = pool
        first, count = doublings(size)
        widths = _widths(width, count)
        self.downs, self.norms = nn.ModuleList(), nn.ModuleList()
        for i, (before, after) in enumerate(zip([channels, *widths], widths, strict=False)):
            normed = batch_norm and i > 0
            kernel, stride = (3, 1) if pool else (4, 2)
            self.downs.append(nn.Conv2d(before, after, kernel, stride, padding=1, bias=not normed))
            self.norms.append(nn.BatchNorm2d(after) if normed else nn.Identity())
        self.score = nn.Conv2d(widths[-1], 1, first)
        self.embedding = nn.Embedding(classes, widths[-1]) if classes else None
        _initialise(self)
        if not batch_norm:  # nothing restores the scale: He's gain (He et al. 2015, arXiv:1502.01852, eq. 15)
            for down in self.downs:
                nn.init.kaiming_normal_(down.get_parameter("weight"), a=SLOPE)
        nn.init.normal_(self.score.weight, std=self.score.weight[0].numel() ** -0.5)
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=widths[-1] ** -0.5)
        if spectral_norm:
            for layer in [*self.downs, self.score, *([self.embedding] if self.embedding else [])]:
                parametrizations.spectral_norm(layer)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        for down, norm in zip(self.downs, self.norms, strict=True):
            x = down(x)
            x = F.leaky_relu(norm(F.avg_pool2d(x, 2) if self.pool else x), SLOPE)
        logits = self.score(x).flatten()
        if self.embedding is not None:
            logits = logits + (self.embedding(needed(label, self.classes)) * x.mean((2, 3))).sum(1)
        return wide(logits)


def _widths(width: int, count: int) -> list[int]:
    """Channels of the maps from the largest to the smallest."""
    return [width * min(2**i, WIDEST) for i in range(count)]


def _initialise(network: nn.Module) -> None:
    """Weights N(0, .02) and norms N(1, .02): section 4 of the paper, and its authors' code."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
