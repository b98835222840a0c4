"""A small labelled folder, and a model trained on it for a few steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gantk_generate import networks
from gantoolkit.model import MAIN, Model

NETWORK = {"arch": "residual", "latent": 8, "width": 16, "size": [16, 16], "channels": 3, "patch": 2}


def draw_shapes(folder: Path, each: int = 24) -> Path:
    """Discs and squares of 16², a folder a class, each picture a little different."""
    y, x = np.mgrid[0:16, 0:16]
    for kind in ("disc", "square"):
        (folder / kind).mkdir(parents=True)
        for index in range(each):
            rng = np.random.default_rng((index, kind == "disc"))
            cy, cx, r = 5 + 6 * rng.random(), 5 + 6 * rng.random(), 3 + 2 * rng.random()
            dy, dx = np.abs(y - cy), np.abs(x - cx)
            inside = dy**2 + dx**2 < r**2 if kind == "disc" else np.maximum(dy, dx) < r
            picture = np.where(inside[..., None], rng.integers(100, 256, 3), rng.integers(0, 60, 3))
            Image.fromarray(picture.astype(np.uint8)).save(folder / kind / f"{index:03d}.png")
    return folder


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_shapes(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditional model with drawn weights: it shows coloured noise, the same for the same seed."""
    config = NETWORK | {"classes": 2}
    torch.manual_seed(0)
    generator = networks.build_generator(config)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    model = Model("generate", config | {"labels": ["disc", "square"]}, {MAIN: generator.state_dict()}, name="shapes")
    return model.save(tmp_path_factory.mktemp("models") / "shapes")
