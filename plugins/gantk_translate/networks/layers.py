"""Layers that several networks of translation are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gantk_translate.networks.convolutions import on_cpu


class BatchNorm(nn.BatchNorm2d):
    """Statistics of the batch in training; in use each picture is a batch of its own.

    Isola et al. 2017 (arXiv:1611.07004), section 3.3, normalise with the test batch's statistics, not with averages
    kept from training. Taken picture by picture, a result does not depend on what else is translated with it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return super().forward(x)
        return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)


class InstanceNorm(nn.InstanceNorm2d):
    """`nn.InstanceNorm2d` without learnt parameters; on a CPU correct in every layout, and several times as fast.

    Torch copies a map in channels_last to the contiguous layout. Of a single picture it then takes a gradient in
    channels_last for one in the contiguous layout, and gives a wrong one (torch 2.13, any precision). The batch norm of
    each picture, which is the same, keeps the layout and has the right gradient.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not on_cpu(x):
            return super().forward(x)
        made = [F.batch_norm(one, None, None, training=True, eps=self.eps) for one in x.split(1)]
        return made[0] if len(made) == 1 else torch.cat(made)


def norm(kind: str, channels: int) -> nn.Module:
    """The normalisation of that name: "none", "batch" or "instance" (without a learnt scale, as its papers have it)."""
    match kind:
        case "batch":
            return BatchNorm(channels)
        case "instance":
            return InstanceNorm(channels)
    return nn.Identity()


def layer(conv: nn.Module, kind: str, channels: int, activation: nn.Module, dropout: float = 0.0) -> nn.Sequential:
    """Convolution, normalisation, dropout and activation, in this order; `channels` are those that come out."""
    steps = [conv, norm(kind, channels)]
    if dropout:
        steps.append(nn.Dropout(dropout))
    return nn.Sequential(*steps, activation)


def start(network: nn.Module) -> None:
    """Weights of all convolutions from N(0, .02), biases 0: both papers' start (Isola et al. 2017, section 6.2)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
