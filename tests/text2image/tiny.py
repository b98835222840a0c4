"""A model of 32² that has learnt nothing, with all its layers awake, from a dozen pictures with captions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gantk_text2image import game
from gantk_text2image.data import Data
from gantk_text2image.options import Text2ImageConfig
from gantoolkit.model import Model
from tests.text2image.data_sets import with_jsonl

TINY: dict[str, Any] = {
    "size": 32, "channels": 8, "critic_channels": 8, "latent": 4, "text_width": 8, "text_layers": 1, "tokens": 10,
    "vocabulary": 300, "device": "cpu", "precision": "fp32",
}  # fmt: skip


@dataclass
class Made:
    config: Text2ImageConfig
    data: Data
    networks: dict[str, nn.Module]
    model: Model


def made(folder: Path) -> Made:
    """Everything about the model; the pictures go into the folder."""
    torch.manual_seed(0)
    config = Text2ImageConfig(**TINY)
    data = Data(config, with_jsonl(folder))
    networks = game.make(config, data).networks()
    with torch.no_grad():
        for parameter in (p for network in networks.values() for p in network.parameters()):
            if not parameter.any():
                parameter.normal_(std=0.3)
    for network in networks.values():
        network.eval().requires_grad_(False)
    weights = {name: network.state_dict() for name, network in networks.items()}
    return Made(config, data, networks, game.model(config, data, weights))
