"""A generator and a critic of points: leaky ReLU layers, for mixtures of Gaussians and other vectors.

Shapes: N batch, D length of a point.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .base import Critic, Generator, Noise, ProjectionHead, at_least, wide

SLOPE = 0.2


class MLPGenerator(Generator):
    """(N, latent) -> (N, features), unbounded; standard deviation about 1 at the start.

    Parameters: with i inputs (`latent`, or twice that with classes), i*w + w, (layers - 1) of w*w + w,
    w*features + features, and classes*latent.

    Args:
        features: length D of a point.
        latent: length of z.
        classes: number of classes, 0 for none.
        width: units w of a hidden layer.
        layers: hidden layers.
    """

    def __init__(self, features: int, latent: int = 64, classes: int = 0, width: int = 128, layers: int = 3) -> None:
        super().__init__(latent, classes)
        at_least(1, features=features, width=width, layers=layers)
        self.hidden = _hidden(self.inputs, width, layers)
        self.last = nn.Linear(width, features)
        nn.init.normal_(self.last.weight, std=width**-0.5)
        nn.init.zeros_(self.last.bias)

    def synthesis(self, w: Tensor, noise: Noise = "fixed") -> Tensor:
        return wide(self.last(_through(self.hidden, w)))


class MLPCritic(Critic):
    """(N, features) -> logits (N,). Arguments as in `MLPGenerator`; classes enter by projection."""

    def __init__(self, features: int, classes: int = 0, width: int = 128, layers: int = 3) -> None:
        super().__init__(classes)
        at_least(1, features=features, width=width, layers=layers)
        self.hidden = _hidden(features, width, layers)
        self.head = ProjectionHead(width, classes)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        return self.head(_through(self.hidden, x), label)


def _hidden(inputs: int, width: int, layers: int) -> nn.ModuleList:
    """He-initialised layers: inputs -> width -> ... -> width."""
    linear = [nn.Linear(width if i else inputs, width) for i in range(layers)]
    for layer in linear:
        nn.init.kaiming_normal_(layer.weight, a=SLOPE)
        nn.init.zeros_(layer.bias)
    return nn.ModuleList(linear)


def _through(layers: nn.ModuleList, x: Tensor) -> Tensor:
    for layer in layers:
        x = F.leaky_relu(layer(x), SLOPE)
    return x
