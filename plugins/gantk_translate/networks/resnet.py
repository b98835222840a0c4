"""The residual generator of CycleGAN and CUT: two halvings, residual blocks at a quarter of the size, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor, nn

from gantk_translate.networks import layers
from gantk_translate.networks.convolutions import Conv2d, ConvTranspose2d


class ResNet(nn.Module):
    """(N, Ca, H, W) in [-1, 1] -> (N, Cb, H, W) in [-1, 1], H and W multiples of 4 from 8 on.

    Zhu et al. 2017 (arXiv:1703.10593), section 7.2, after Johnson et al. 2016: c7s1-64, d128, d256, R256 nine times,
    u128, u64, c7s1-3; reflection at the borders of the convolutions that keep the size.

    Args:
        planes: [Ca, Cb].
        channels: of the largest map, 64 in the paper.
        blocks: residual blocks, 9 in the paper for 256 pixels.
        norm: "instance", "none" or "batch".

    Attributes:
        multiple: sizes must be multiples of it.
        overlap: pixels around a tile that decide its output; None where normalisation looks at the whole picture.
        layers: numbers for `features`, of what the contrast of CUT looks at: the picture, both halving convolutions,
            the first and the fifth residual block, or the last of fewer (Park et al. 2020, arXiv:2007.15651, training
            details).
    """

    LAYERS = (0, 1, 2, 3, 7)
    multiple = 4

    def __init__(self, planes: Sequence[int], channels: int = 64, blocks: int = 9, norm: str = "instance") -> None:
        super().__init__()
        source, target = planes
        # In pixels, from the output in: 3 of the head, at half the size 2, at a quarter 2 and 2 for each block (two
        # 3x3); each halving then sees one more of its own pixels, of which the right border's side is the longer.
        self.overlap = 8 * blocks + 11 if norm == "none" else None
        self.layers = tuple(dict.fromkeys(min(layer, 2 + blocks) for layer in self.LAYERS))
        bias, wide = norm == "none", 4 * channels
        self.stem = layers.layer(
            Conv2d(source, channels, 7, 1, 3, bias=bias, padding_mode="reflect"), norm, channels, nn.ReLU(True)
        )
        self.downs = nn.ModuleList(Conv2d(w, 2 * w, 3, 2, 1, bias=bias) for w in (channels, 2 * channels))
        self.rests = nn.ModuleList(nn.Sequential(layers.norm(norm, 2 * w), nn.ReLU()) for w in (channels, 2 * channels))
        self.blocks = nn.ModuleList(Residual(wide, norm) for _ in range(blocks))
        self.ups = nn.Sequential(
            *(
                layers.layer(ConvTranspose2d(w, w // 2, 3, 2, 1, 1, bias=bias), norm, w // 2, nn.ReLU(True))
                for w in (wide, wide // 2)
            )
        )
        self.head = Conv2d(channels, target, 7, 1, 3, padding_mode="reflect")
        layers.start(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.traced(x, ())[0]

    def features(self, x: Tensor, chosen: Sequence[int]) -> list[Tensor]:
        """The chosen maps: 0 is x, 1 and 2 the halving convolutions, 2 + k residual block k; computes no further."""
        wanted = set(chosen)
        maps = {i: made for i, made in enumerate(islice(self._encode(x), max(wanted) + 1)) if i in wanted}
        return [maps[i] for i in chosen]

    def traced(self, x: Tensor, chosen: Sequence[int]) -> tuple[Tensor, list[Tensor]]:
        """The output and the chosen maps on its way (see `features`), in one pass."""
        maps = {}
        for i, made in enumerate(self._encode(x)):
            if i in chosen:
                maps[i] = made
        return torch.tanh(self.head(self.ups(made))), [maps[i] for i in chosen]

    def _encode(self, x: Tensor) -> Iterator[Tensor]:
        yield x
        x = self.stem(x)
        for down, rest in zip(self.downs, self.rests, strict=True):
            x = down(x)
            yield x
            x = rest(x)
        for block in self.blocks:
            x = block(x)
            yield x


class Residual(nn.Module):
    """x + what two 3x3 convolutions make of it; (N, channels, h, w), h and w at least 2."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.first, self.second = (
            Conv2d(channels, channels, 3, 1, 1, bias=norm == "none", padding_mode="reflect") for _ in range(2)
        )
        self.rest, self.norm = nn.Sequential(layers.norm(norm, channels), nn.ReLU(True)), layers.norm(norm, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.second(self.rest(self.first(x))))
