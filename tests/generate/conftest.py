"""A small labelled folder, and a model trained on it for a few steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gantk_generate import networks
from gantoolkit.model import MAIN, Model
from tests.generate.shapes import draw_shapes

NETWORK = {"arch": "residual", "latent": 8, "width": 16, "size": [16, 16], "channels": 3, "patch": 2}


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
