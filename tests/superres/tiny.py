"""Small upscalers for tests: quick, on disk, and of a known answer where that helps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from gantk_superres import networks
from gantoolkit.model import MAIN, Model

CONFIG = {"arch": "compact", "scale": 4, "channels": 8, "blocks": 1}


def state(config: dict = CONFIG, *, residual: float = 0.005, seed: int = 0) -> dict[str, torch.Tensor]:
    """Weights whose last layer is random and `residual` large; 0 is exactly bicubic for `compact`."""
    torch.manual_seed(seed)
    network = networks.build(config)
    if config["arch"] == "compact":
        torch.nn.init.normal_(network.tail.weight, std=residual)
    return {key: value.detach().clone() for key, value in network.state_dict().items()}


def model(config: dict = CONFIG, *, residual: float = 0.005, seed: int = 0, fidelity: bool = False) -> Model:
    """A model; with `fidelity` it has both sets of weights."""
    weights = {MAIN: state(config, residual=residual, seed=seed)}
    if fidelity:
        weights["fidelity"] = state(config, residual=0.0, seed=seed)
    return Model("superres", config, weights, name="tiny")


def saved(folder: Path, **options: object) -> str:
    """The folder of a model on disk, for `--model`."""
    return str(model(**options).save(folder, half=False))  # type: ignore[arg-type]


def photo(height: int, width: int, channels: int = 3) -> np.ndarray:
    """Smooth colours with noise, uint8."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (5 + c)) + np.cos(y / (7 - c)) for c in range(channels)]
    return (
        (np.stack(waves, axis=2) * 40 + 128 + np.random.default_rng(0).normal(0, 6, (height, width, channels)))
        .clip(0, 255)
        .astype(np.uint8)
    )
