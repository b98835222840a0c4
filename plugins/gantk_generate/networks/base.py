"""What every pair of networks here shares: the contracts of both players, sizes, classes and checks.

Shapes: N batch, C channels, H and W a picture's height and width in pixels, D length of a vector.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gantoolkit.errors import UsageError

SIDES = (16, 1024)  # shortest and longest side of a picture, in pixels
SMALLEST = 4  # pixels: the shorter side of the smallest feature map is 4 to 7

Noise = str | Sequence[Tensor]  # "fixed", "random" (torch's global generator), "none", or the noise itself


class Generator(nn.Module, ABC):
    """z (N, latent), label (N,) int64 -> samples in about [-1, 1], fp32 or wider: pictures or points.

    `forward` is `synthesis(mapping(z, label))`, so that tools for latents work on every architecture.

    Attributes:
        latent: length of z, which is drawn from N(0, I).
        classes: number of classes; 0 means unconditional, and labels are then ignored.
        couples_batch: while training, a row of the output depends on the other rows (batch norm).
        noise_shapes: of the normal noise that enters a sample beside z while training, in order.
    """

    couples_batch = False
    noise_shapes: Sequence[tuple[int, ...]] = ()

    def __init__(self, latent: int, classes: int) -> None:
        super().__init__()
        at_least(1, latent=latent)
        at_least(0, classes=classes)
        self.latent, self.classes = latent, classes
        self.embedding = nn.Embedding(classes, latent) if classes else None
        if self.embedding is not None:
            # Of length 1, as a one-hot vector beside z (Mirza & Osindero 2014, arXiv:1411.1784). As long as z, the
            # class drowned the noise: all pictures of a class were alike for the first thousands of steps.
            nn.init.normal_(self.embedding.weight, std=latent**-0.5)

    @property
    def inputs(self) -> int:
        """Length of the vector that the first layer sees: z, and the class's embedding after it."""
        return self.latent * (2 if self.classes else 1)

    def with_class(self, z: Tensor, label: Tensor | None) -> Tensor:
        """(N, latent), (N,) -> (N, inputs).

        Raises:
            UsageError: a conditional network got no label.
        """
        if self.embedding is None:
            return z
        embedded = self.embedding(needed(label, self.classes))
        return torch.cat([z, embedded.to(z.dtype)], 1)

    def mapping(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """The vector w that the picture is made from, here the first layer's input: (N, inputs)."""
        return self.with_class(z, label)

    @abstractmethod
    def synthesis(self, w: Tensor, noise: Noise = "fixed") -> Tensor:
        """w as `mapping` gives it -> samples. `noise` matters to `style` only."""

    def forward(self, z: Tensor, label: Tensor | None = None, noise: Noise = "random") -> Tensor:
        """Samples. `noise`, with each of `noise_shapes` as (N, *shape), counts while training; else it is fixed."""
        return self.synthesis(self.mapping(z, label), noise if self.training else "fixed")


class Critic(nn.Module):
    """Samples, label (N,) int64 -> logits (N,), fp32 or wider.

    Attributes:
        classes: number of classes; 0 means unconditional, and labels are then ignored.
        couples_batch: while training, a logit depends on the other rows (batch norm, minibatch deviation).
    """

    couples_batch = False

    def __init__(self, classes: int) -> None:
        super().__init__()
        at_least(0, classes=classes)
        self.classes = classes

    def probability(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """The probability of being real that the logits stand for: (N,) in [0, 1]."""
        return self(x, label).sigmoid()


class ProjectionHead(nn.Module):
    """Features (N, D) -> logits (N,): psi(h) + <V_y, h> (Miyato & Koyama 2018, arXiv:1802.05637, figure 1d).

    Starts at unit gain: the logit of features of unit variance has variance 1, or 2 with classes.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.score = nn.Linear(features, 1)
        nn.init.normal_(self.score.weight, std=features**-0.5)
        nn.init.zeros_(self.score.bias)
        self.embedding = nn.Embedding(classes, features) if classes else None
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=features**-0.5)

    def forward(self, h: Tensor, label: Tensor | None) -> Tensor:
        logits = self.score(h).squeeze(1)
        if self.embedding is not None:
            logits = logits + (self.embedding(needed(label, self.classes)) * h).sum(1)
        return wide(logits)


def needed(label: Tensor | None, classes: int) -> Tensor:
    if label is None:
        raise UsageError(
            f"a network of {classes} classes needs a label for each sample",
            expected="an int64 tensor of shape (N,)",
            actual="None",
            remedy="pass the label, or build the network with classes 0",
        )
    return label


def wide(x: Tensor) -> Tensor:
    """At least fp32: what leaves a network is not rounded to eight bits, even under autocast."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def at_least(lowest: int, **values: int) -> None:
    """Check counts from a configuration.

    Raises:
        UsageError: one is no integer or below `lowest`; the first is named.
    """
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
            raise UsageError(f"networks: {name}", expected=f"an integer of at least {lowest}", actual=repr(value))


def doublings(size: Sequence[int]) -> tuple[tuple[int, int], int]:
    """How a picture grows: (height, width) of the smallest map, whose shorter side is 4 to 7, and doublings.

    32x32 is 4x4 and three doublings; 48x80 is 6x10 and three.

    Args:
        size: (H, W), each 16 to 1024.

    Raises:
        UsageError: no such map exists; the nearest possible size is named.
    """
    if len(size) != 2 or not all(isinstance(side, int) and SIDES[0] <= side <= SIDES[1] for side in size):
        raise UsageError(
            "networks: size",
            expected=f"[height, width], each an integer from {SIDES[0]} to {SIDES[1]}",
            actual=repr(list(size)),
            remedy="choose another size, such as [64, 64]",
        )
    height, width = size
    count = int(math.log2(min(size) // SMALLEST))
    step = 2**count
    if height % step or width % step:
        near = nearest(height, width)
        raise UsageError(
            f"networks: size {height}x{width} cannot be reached by doubling a small map",
            expected=f"multiples of {step}",
            remedy=f"the nearest possible size is {near[0]}x{near[1]}",
        )
    return (height // step, width // step), count


def nearest(height: int, width: int) -> tuple[int, int]:
    """The possible size with the least change of both sides together; of equals, the larger."""
    found = []
    for count in range(2, 9):
        step = 2**count
        lowest, highest = SMALLEST * step, min(2 * SMALLEST * step, SIDES[1] + step) - step

        def snap(side: int, top: int, step: int = step, lowest: int = lowest) -> int:
            return min(max((side + step // 2) // step * step, lowest), top)

        # The shorter side decides the number of doublings; the longer one only has to be a multiple.
        for short, long, turned in ((height, width, False), (width, height, True)):
            a, b = snap(short, highest), snap(long, SIDES[1])
            found.append((b, a) if turned else (a, b))
    return min(found, key=lambda s: (abs(s[0] - height) + abs(s[1] - width), -s[0] * s[1]))
