"""From noise and words to a picture: words as a whole modulate every block, single words are looked at by small maps.

Blocks have no normalisation and start as the identity (`gantoolkit.layers`); what a block sees is scaled and shifted by
an affine function of w, as in DF-GAN (Tao et al. 2022, arXiv:2008.05865, section 3.3). Small maps look at the tokens by
cross-attention, as in AttnGAN (Xu et al. 2018, arXiv:1711.10485, section 3.1) and GigaGAN (Kang et al. 2023,
arXiv:2303.05511, section 3.2).

Shapes: N batch, T tokens, D width of the text, W length of w, c channels, S side of a picture, s of a map.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gantk_text2image.text.transformer import heads
from gantoolkit.errors import UsageError
from gantoolkit.layers import GAIN, SLOPE, conv, resize

FIRST = 4  # positions a side of the smallest map
WIDEST = 4  # widths double with every halving, up to this many times the largest map's


class Modulated(nn.Module):
    """x + C2(a(m2(C1(a(m1(x)))))), m(x) = (1 + s) x + b with s, b linear in w; (N, c, s, s) -> the same shape."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first, self.second = conv(channels, channels), conv(channels, channels, gain=0)
        self.affine = nn.Linear(width, 4 * channels)
        nn.init.normal_(self.affine.weight, std=0.5 * width**-0.5)
        nn.init.zeros_(self.affine.bias)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        s1, b1, s2, b2 = self.affine(w)[:, :, None, None].chunk(4, 1)
        inner = self.first(F.leaky_relu(x * (1 + s1) + b1, SLOPE))
        return x + self.second(F.leaky_relu(inner * (1 + s2) + b2, SLOPE))


class Looks(nn.Module):
    """x + what its positions find in the tokens; (N, c, s, s), (N, T, D), (N, T) -> (N, c, s, s).

    Attention of places to words (Vaswani et al. 2017, arXiv:1706.03762, eq. 1) between vectors of unit length with a
    learnt temperature (Henry et al. 2020, arXiv:2010.04245). Queries know their place, so that "above" has a meaning.
    """

    def __init__(self, channels: int, width: int, side: int) -> None:
        super().__init__()
        self.heads = heads(channels)
        self.place = nn.Parameter(torch.randn(1, channels, side, side) * 0.5)
        self.query = conv(channels, channels, 1, gain=1)
        self.key, self.value = (nn.Linear(width, channels, bias=False) for _ in range(2))
        self.out = conv(channels, channels, 1, gain=0)
        self.temperature = nn.Parameter(torch.full((self.heads, 1, 1), 8.0))

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        n, c, h, w = x.shape
        q = self.query(x + self.place).reshape(n, self.heads, c // self.heads, h * w).transpose(2, 3)
        k, v = (
            made.reshape(n, -1, self.heads, c // self.heads).transpose(1, 2)
            for made in (self.key(tokens), self.value(tokens))
        )
        q = F.normalize(q, dim=-1) * self.temperature.to(q.dtype)
        k = F.normalize(k, dim=-1, eps=1e-6)  # where no token is, k is zero, and the usual ε is zero in fp16
        found = F.scaled_dot_product_attention(q, k, v, mask[:, None, None], scale=1.0)
        return x + self.out(found.transpose(2, 3).reshape(n, c, h, w))


class TextGenerator(nn.Module):
    """z (N, latent), tokens (N, T, D), mask (N, T), sentence (N, D) -> pictures (N, 3, S, S).

    They are in [-1, 1]; while it trains, they may go beyond.

    Args:
        size: S, a power of two from 32 on.
        latent: length of z, which is drawn from N(0, I).
        width: D.
        channels: of the largest map; each smaller map has twice as many, up to four times.
        patch: side, in pixels, of what a position of the largest map stands for: 1, 2 or 4.
        attention: maps of up to so many positions a side look at the tokens.

    Raises:
        UsageError: a size that cannot be reached by doubling.
    """

    def __init__(
        self, size: int, latent: int, width: int, channels: int = 48, patch: int = 2, attention: int = 16
    ) -> None:
        super().__init__()
        sides = maps(size, patch)
        widths = [channels * min(2**i, WIDEST) for i in range(len(sides))][::-1]
        self.latent, self.patch = latent, patch
        inner = 2 * width
        self.said = nn.Linear(width, inner)
        self.dense = nn.ModuleList([nn.Linear(latent + inner, inner), nn.Linear(inner, inner)])
        self.smallest = nn.Linear(inner, widths[0] * FIRST**2)
        for layer in (*self.dense, self.smallest):
            nn.init.normal_(layer.weight, std=GAIN * layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)
        self.narrows = nn.ModuleList(
            nn.Identity() if before == after else conv(before, after, 1, gain=1)
            for before, after in zip([widths[0], *widths], widths, strict=False)
        )
        self.looks = nn.ModuleList(
            Looks(c, width, side) for c, side in zip(widths, sides, strict=True) if side <= attention
        )
        self.blocks = nn.ModuleList(Modulated(c, inner) for c in widths)
        self.pixels = conv(widths[-1], 3, 1 if patch == 1 else 3, gain=1, bias=False)

    def mapping(self, z: Tensor, sentence: Tensor) -> Tensor:
        """The vector w that modulates, of noise and the text as a whole: (N, W)."""
        w = torch.cat([z, self.said(sentence).to(z.dtype)], 1)
        for layer in self.dense:
            w = F.leaky_relu(layer(w), SLOPE)
        return w

    def synthesis(self, w: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """The picture of w and the tokens."""
        x = self.smallest(w).unflatten(1, (-1, FIRST, FIRST))
        for i, (narrow, block) in enumerate(zip(self.narrows, self.blocks, strict=True)):
            if i:  # the 1x1 convolution and the resampling commute: convolve where there are fewer pixels
                x = resize(narrow(x), 2)
            if i < len(self.looks):
                x = self.looks[i](x, tokens, mask)
            x = block(x, w)
        if self.patch > 1:  # enlarged, then convolved: a pixel shuffle drew speckles
            x = resize(x, self.patch)
        # Linear while it learns: through a tanh, drawings that are mostly white drove it to where no gradient is left.
        made = self.pixels(x).float()
        return made if self.training else made.clamp(-1, 1)

    def forward(self, z: Tensor, tokens: Tensor, mask: Tensor, sentence: Tensor) -> Tensor:
        return self.synthesis(self.mapping(z, sentence), tokens, mask)


def maps(size: int, patch: int) -> list[int]:
    """Positions a side of the maps, from the smallest to the largest: 64 with a patch of 2 has 4, 8, 16, 32."""
    largest = size // patch
    if largest * patch != size or largest < 2 * FIRST or largest & (largest - 1):
        raise UsageError(
            "networks: a picture of this size cannot be reached by doubling",
            expected=f"a power of two, at least {2 * FIRST * patch}",
            actual=size,
        )
    return [FIRST * 2**i for i in range(int(math.log2(largest // FIRST)) + 1)]
