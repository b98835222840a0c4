"""Blocks that networks of several plugins are made of: convolutions that keep the variance, resampling that filters.

Shapes: N batch, c channels, H, W size of a map.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.2  # of the leaky ReLU
GAIN = (2 / (1 + SLOPE**2)) ** 0.5  # keeps the variance through it (He et al. 2015, arXiv:1502.01852, eq. 15)


def conv(
    before: int, after: int, kernel: int = 3, *, stride: int = 1, groups: int = 1, gain: float = GAIN, bias: bool = True
) -> nn.Conv2d:
    """A convolution with weights N(0, gain² / fan_in), 0 for a gain of 0, and bias zero.

    It keeps the size; with a stride that divides it, the size is divided exactly.
    """
    made = nn.Conv2d(before, after, kernel, stride, (kernel - stride + 1) // 2, groups=groups, bias=bias)
    if gain:
        nn.init.normal_(made.weight, 0, gain * made.weight[0].numel() ** -0.5)
    else:
        nn.init.zeros_(made.weight)
    if made.bias is not None:
        nn.init.zeros_(made.bias)
    return made


def resize(x: Tensor, factor: float) -> Tensor:
    """(N, c, H, W), bilinear: larger by a whole factor, or half the size, which is the average of 2x2 pixels."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


class ResidualBlock(nn.Module):
    """x + C2(a(C1(a(x)))), both 3x3, pre-activated (He et al. 2016, arXiv:1603.05027); (N, c, H, W) -> the same shape.

    C2 starts at zero, so that the block starts as the identity (Fixup: Zhang et al. 2019, arXiv:1901.09321, section 3).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = conv(channels, channels), conv(channels, channels, gain=0)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.leaky_relu(self.first(F.leaky_relu(x, SLOPE)), SLOPE))
