"""Critics of patches: a map of logits, each of which judges the window that it sees.

Shapes: N batch, C channels of what is judged (a pair joins both pictures), H, W size, h, w size of the logits' map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gantk_translate.networks.convolutions import Conv2d
from gantk_translate.networks.layers import InstanceNorm

SLOPE = 0.2


class PatchCritic(nn.Module):
    """(N, C, H, W) -> [(N, 1, h, w)]: 4x4 convolutions, `layers` of them with stride 2, then two without.

    Isola et al. 2017 (arXiv:1611.07004), section 6.1.2: C64-C128-C256-C512 with 64 channels and 3 layers, whose logits
    see 70x70 pixels. Weights start as N(0, .02).

    Args:
        planes: C.
        channels: of the first layer; each next one has twice as many, up to eight times.
        layers: convolutions with stride 2.
        norm: "none", "batch" or "instance", after every convolution but the first and the last.
    """

    def __init__(self, planes: int, channels: int = 64, layers: int = 3, norm: str = "none") -> None:
        super().__init__()
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        before = planes
        for i in range(layers + 1):
            after = channels * min(2**i, 8)
            normed = bool(i) and norm != "none"
            self.convs.append(Conv2d(before, after, 4, 2 if i < layers else 1, 1, bias=not normed or norm != "batch"))
            self.norms.append(_norm(norm, after) if normed else nn.Identity())
            before = after
        self.logits = Conv2d(before, 1, 4, 1, 1)
        self.couples_batch = norm == "batch"
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, 0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> list[Tensor]:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.leaky_relu(norm(conv(x)), SLOPE)
        return [self.logits(x).float()]


class MultiScaleCritic(nn.Module):
    """(N, C, H, W) -> one map of logits a scale: the same critic, with its own weights, on halved pictures.

    Wang et al. 2018, pix2pixHD (arXiv:1711.11585), section 3.2. No normalisation: R1 and R2 bound the critic (Huang et
    al. 2024, arXiv:2501.05441), which batch statistics would make depend on the other samples.

    Args:
        planes: C.
        channels: of the first layer; each next one has twice as many, up to four times.
        layers: halvings of a scale's map.
        scales: critics, each at half the size of the one before.
    """

    couples_batch = False

    def __init__(self, planes: int, channels: int = 32, layers: int = 3, scales: int = 2) -> None:
        super().__init__()
        self.critics = nn.ModuleList(_Scale(planes, channels, layers) for _ in range(scales))

    def forward(self, x: Tensor) -> list[Tensor]:
        return [maps[-1] for maps in self.features(x)]

    def features(self, x: Tensor) -> list[list[Tensor]]:
        """For each scale its feature maps from fine to coarse, the logits last."""
        made = []
        for i, critic in enumerate(self.critics):
            if i:
                x = F.avg_pool2d(x, 2)
            made.append(critic(x))
        return made


class _Scale(nn.Module):
    """One scale: strided convolutions, a residual 3x3 at the coarsest map, logits by 3x3."""

    def __init__(self, planes: int, channels: int, layers: int) -> None:
        super().__init__()
        widths = [channels * min(2**i, 4) for i in range(layers)]
        self.steps = nn.ModuleList(
            nn.Conv2d(before, after, 4, 2, 1) for before, after in zip([planes, *widths], widths, strict=False)
        )
        self.mix = nn.Conv2d(widths[-1], widths[-1], 3, 1, 1)
        self.logits = nn.Conv2d(widths[-1], 1, 3, 1, 1)
        gain = (2 / (1 + SLOPE**2)) ** 0.5  # He et al. 2015 (arXiv:1502.01852), eq. 15
        for conv in [*self.steps, self.mix, self.logits]:
            nn.init.normal_(conv.weight, 0, (1.0 if conv is self.logits else gain) * conv.weight[0].numel() ** -0.5)
            nn.init.zeros_(conv.bias)
        nn.init.zeros_(self.mix.weight)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for step in self.steps:
            x = F.leaky_relu(step(x), SLOPE)
            maps.append(x)
        x = x + self.mix(x)
        return [*maps, self.logits(F.leaky_relu(x, SLOPE)).float()]


def joined(source: Tensor, target: Tensor) -> Tensor:
    """What a conditional critic judges: both pictures, (N, Ca + Cb, H, W)."""
    return torch.cat([source, target], 1)


def _norm(kind: str, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if kind == "batch" else InstanceNorm(channels)
