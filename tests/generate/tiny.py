"""Small networks of every architecture."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import torch
from torch import nn

from gantk_generate.networks import Critic, Generator, build_critic, build_generator

TINY: dict[str, dict[str, Any]] = {
    "dcgan": {"arch": "dcgan", "size": [16, 16], "latent": 8, "width": 4},
    "dcgan upsample": {"arch": "dcgan", "size": [16, 16], "latent": 8, "width": 4, "upsample": True, "pool": True},
    "dcgan spectral": {
        "arch": "dcgan",
        "size": [16, 16],
        "latent": 8,
        "width": 4,
        "batch_norm": False,
        "spectral_norm": True,
    },
    "residual": {"arch": "residual", "size": [16, 16], "latent": 8, "width": 8, "group": 4},
    "residual patches": {
        "arch": "residual",
        "size": [32, 32],
        "latent": 8,
        "width": 8,
        "group": 4,
        "patch": 2,
        "finish": 4,
    },
    "style": {"arch": "style", "size": [16, 16], "latent": 8, "width": 4, "mapping_layers": 2},
    "mlp": {"arch": "mlp", "features": 2, "latent": 8, "width": 16},
}


Network = TypeVar("Network", bound=nn.Module)


def pair(config: dict[str, Any], seed: int = 0) -> tuple[Generator, Critic]:
    """Both networks of a configuration that went through JSON, as it does in a model's folder."""
    torch.manual_seed(seed)
    config = json.loads(json.dumps(config))
    return build_generator(config), build_critic(config)


def awake(network: Network) -> Network:
    """The network with no parameter at zero, and norms that have seen data: a start at rest hides what is behind it."""
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        if not parameter.detach().any():
            parameter.data.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_var is not None
            module.running_var.fill_(0.01)
    return network
