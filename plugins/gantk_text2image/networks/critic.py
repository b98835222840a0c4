"""Is it real, and is it what the words say: a critic whose last blocks see the picture and the sentence together.

The sentence joins the smallest maps (Reed et al. 2016, arXiv:1605.05396, section 4; one map of scores as in DF-GAN, Tao
et al. 2022, arXiv:2008.05865, section 3.2) and the summed-up features by projection (Miyato & Koyama 2018,
arXiv:1802.05637, figure 1d).

Shapes: N batch, S side of a picture, D width of the text, E length of an embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gantk_text2image.networks.generator import WIDEST, maps
from gantoolkit.layers import GAIN, SLOPE, ResidualBlock, conv, resize

EMBEDDING = 64  # E
JOIN = 8  # positions a side of the map at which the sentence joins: places and words meet before places are summed up
SUMMED = JOIN // 2  # positions a side of the map that is summed up


@dataclass(frozen=True)
class Seen:
    """A picture before any words: maps (N, c, JOIN, JOIN), its embedding (N, E) of length 1, attributes' logits."""

    maps: Tensor
    embedding: Tensor
    attributes: dict[str, Tensor]


class TextCritic(nn.Module):
    """pictures (N, 3, S, S) in [-1, 1], sentence (N, D) -> logits (N,).

    Args:
        size, patch: as of the generator.
        width: D.
        channels: of the largest map; each smaller map has twice as many, up to four times.
        attributes: name -> number of values; the critic also learns to name them (AC-GAN: Odena et al. 2017,
            arXiv:1610.09585).
    """

    def __init__(
        self, size: int, width: int, channels: int = 48, patch: int = 2, attributes: Mapping[str, int] | None = None
    ) -> None:
        super().__init__()
        count = len(maps(size, patch))
        widths = [channels * min(2**i, WIDEST) for i in range(count)]
        last = widths[-1]
        self.stem = conv(3, channels, 2 * patch if patch > 1 else 3, stride=patch, gain=1)
        self.before = nn.ModuleList(ResidualBlock(c) for c in widths[:-1])
        self.widen = nn.ModuleList(
            conv(a, b, 1, gain=1) for a, b in zip(widths[:-1], [*widths[1:-1], last], strict=True)
        )
        self.said = nn.Linear(width, last)
        self.join = conv(2 * last, last, 1)
        self.after = nn.ModuleList([ResidualBlock(last), ResidualBlock(last)])
        self.basis = nn.Parameter(torch.randn(last, SUMMED, SUMMED) * SUMMED**-1)
        self.score = nn.Linear(last, 1)
        # Each place has weights of its own: a mean over places cannot tell what is above from what is below.
        self.alone = ResidualBlock(last)
        self.summary = nn.Linear(last * SUMMED**2, last)
        self.embed = nn.Linear(last, EMBEDDING)
        self.match = nn.Linear(width, EMBEDDING)
        self.names = tuple(attributes or {})
        self.named = nn.ModuleList(nn.Linear(last, values) for values in (attributes or {}).values())
        self.temperature = nn.Parameter(torch.tensor(10.0))  # of the contrast between pictures and sentences
        for layer in (self.said, self.score, self.summary, self.embed, self.match):
            nn.init.normal_(layer.weight, std=(GAIN if layer is self.summary else 1) * layer.in_features**-0.5)
            nn.init.zeros_(layer.bias)

    def look(self, x: Tensor) -> Seen:
        """The picture's side of the judgement; made once for right and wrong captions."""
        x = self.stem(x)
        for i, (block, widen) in enumerate(zip(self.before, self.widen, strict=True)):
            x = block(x)
            if i < len(self.before) - 1:
                x = resize(x, 0.5)
            x = widen(x)
        summed = F.leaky_relu(self.alone(resize(x, 0.5)), SLOPE).flatten(1)
        summary = F.leaky_relu(self.summary(summed), SLOPE)
        named = {name: head(summary).float() for name, head in zip(self.names, self.named, strict=True)}
        return Seen(x, F.normalize(self.embed(summary).float(), dim=1), named)

    def judge(self, seen: Seen, sentence: Tensor) -> Tensor:
        """Logits (N,) of pictures that were looked at, with these sentences (N, D)."""
        said = self.said(sentence)[:, :, None, None].expand_as(seen.maps)
        x = self.after[0](self.join(torch.cat([seen.maps, said.to(seen.maps.dtype)], 1)))
        x = self.after[1](resize(x, 0.5))
        score = self.score((F.leaky_relu(x, SLOPE) * self.basis).sum((2, 3)))[:, 0].float()
        return score + (seen.embedding * self.match(sentence).float()).sum(1)

    def sentences(self, sentence: Tensor) -> Tensor:
        """(N, E) of unit length: what embeddings of pictures are compared with."""
        return F.normalize(self.match(sentence).float(), dim=1)

    def forward(self, x: Tensor, sentence: Tensor) -> Tensor:
        return self.judge(self.look(x), sentence)
