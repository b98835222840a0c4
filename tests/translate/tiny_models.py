"""Small translators with random weights: quick, on disk, and with every kind of side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from gantk_translate import networks
from gantk_translate.sides import Side
from gantk_translate.task import OTHER_WAY
from gantoolkit.model import MAIN, Model

RESIDUAL = {"arch": "residual", "channels": 4, "blocks": 1, "levels": 1, "patch": 1, "attention": False}
ATTENTIVE = {**RESIDUAL, "levels": 3, "attention": True}
RESNET = {"arch": "resnet", "channels": 4, "blocks": 1, "norm": "instance"}
ADAIN = {"arch": "adain", "channels": 4, "blocks": 2}
COLOUR = Side()
GREY = Side(channels=1)
DEEP = Side(channels=1, dtype="uint16", high=65535.0)
MASK = Side("mask", 1, "uint8", 0.0, 7.0, (0, 3, 7))


def state(built: dict[str, Any], seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights that let every part of the network matter."""
    torch.manual_seed(seed)
    network = networks.build_generator(built)
    for name, value in network.named_parameters():
        if value.ndim > 1:
            torch.nn.init.normal_(value, std=0.7 * value[0].numel() ** -0.5)
        elif "temperature" not in name:
            torch.nn.init.normal_(value, std=0.1)
    return {key: value.detach().clone() for key, value in network.state_dict().items()}


def model(
    built: dict[str, Any] = RESIDUAL,
    source: Side = COLOUR,
    target: Side = COLOUR,
    *,
    back: bool = False,
    **config: Any,
) -> Model:
    """A model from A to B; with `back` it also goes from B to A."""
    there = {**built, "planes": [source.planes, target.planes]}
    weights = {MAIN: state(there)}
    if back:
        weights[OTHER_WAY] = state({**built, "planes": [target.planes, source.planes]}, seed=1)
    known = {
        "generator": there, "source": source.to_dict(), "target": target.to_dict(), "game": "pix2pix",
        "direction": "AtoB", "size": 32, "fit": "resize", "held_out": 0.1,
    }  # fmt: skip
    return Model("translate", known | config, weights, name="tiny")


def photo(height: int = 24, width: int = 20, channels: int = 3) -> np.ndarray:
    """Smooth colours, (H, W, C) uint8."""
    y, x = np.mgrid[:height, :width]
    waves = [128 + 60 * np.sin(x / (3 + c)) + 50 * np.cos(y / (5 - c)) for c in range(channels)]
    return np.stack(waves, 2).astype(np.uint8)


def saved(folder: Path, **options: Any) -> str:
    """The folder of a model on disk, for `--model`."""
    return str(model(**options).save(folder, half=False))


def network_of(model: Model) -> Any:
    network = networks.build_generator(model.config["generator"])
    network.load_state_dict(model.weights[MAIN])
    return network.eval().requires_grad_(False)


def planes_of(pixels: np.ndarray) -> np.ndarray:
    return (pixels.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1).astype(np.float32)
