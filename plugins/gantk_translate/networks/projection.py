"""The third player of CUT: what the generator's features are projected with before they are compared.

Park et al. 2020 (arXiv:2007.15651), section 3: H, a two-layer perceptron for each chosen layer of the encoder.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 256  # of both layers, as in the paper's appendix


class Projection(nn.Module):
    """[(N, S, C_l)] of each layer l -> [(N, S, 256)] of length 1: linear, ReLU, linear, divided by its norm.

    Args:
        channels: C_l of each layer.
        width: of both linear layers.
    """

    def __init__(self, channels: Sequence[int], width: int = WIDTH) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(before, width), nn.ReLU(), nn.Linear(width, width)) for before in channels
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        projected = [layer(x) for layer, x in zip(self.layers, features, strict=True)]
        # the floor bounds the slope where a feature is 0
        return [F.normalize(x.float(), dim=-1, eps=1e-6) for x in projected]
