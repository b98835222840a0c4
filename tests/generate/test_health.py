"""What the gauges of a generator's training keep of the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gantk_generate import health
from gantk_generate.data import Data
from gantk_generate.options import GenerateConfig
from gantoolkit.variety import Axes, coarse
from gantoolkit.view import View
from tests.generate.shapes import draw_shapes


@pytest.fixture
def data(tmp_path: Path) -> Data:
    return Data(GenerateConfig(held_out=0.3, mirror=True), draw_shapes(tmp_path / "shapes", 60))


def test_bytes_come_back_as_the_pictures_that_they_were(data: Data) -> None:
    bank = health._Bank.of(data, "train", 30, "cpu")
    known = data.bank("train", 30)
    assert bank.images.dtype == torch.uint8 and bank.labels is not None
    assert torch.equal(bank.shown(slice(0, 30)), known["image"]) and torch.equal(bank.labels, known["label"])
    assert torch.equal(bank.coarse, coarse(known["image"]))


def test_points_are_kept_as_they_are(tmp_path: Path) -> None:
    np.save(tmp_path / "points.npy", np.random.default_rng(0).normal(size=(80, 2)))
    data = Data(GenerateConfig(arch="mlp"), tmp_path / "points.npy")
    assert torch.equal(health._Bank.of(data, "train", 30, "cpu").shown(slice(0, 30)), data.bank("train", 30)["image"])


def test_axes_see_the_same_of_coarse_pictures() -> None:
    pictures = torch.rand(40, 3, 40, 24, generator=torch.Generator().manual_seed(0))
    axes = Axes(pictures)
    assert torch.equal(Axes(coarse(pictures)).axes, axes.axes) and torch.equal(axes(coarse(pictures)), axes(pictures))


class Mean(nn.Module):
    """Scores pictures, and makes them from two numbers; it remembers how many it was shown at most."""

    most = 0

    def forward(self, x: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        self.most = max(self.most, len(x))
        return x[:, :1, None, None].expand(-1, 3, 16, 16) if x.ndim == 2 else x.mean((1, 2, 3))


def test_a_look_shows_few_pictures_at_once_and_judges_all(data: Data) -> None:
    generator, critic = Mean(), Mean()
    found = health.gauges(GenerateConfig(latent=2, device="cpu"), data, generator, critic, View("", None, "rpgan"))
    judge = next(gauge.judge for gauge in found if hasattr(gauge, "judge"))
    scores = judge(torch.Generator().manual_seed(0))
    count = min(len(data), len(data.held_out))
    assert [len(values) for values in scores] == [count] * 3 and count > health.AT_ONCE
    assert torch.allclose(scores[0], data.bank("train", count)["image"].mean((1, 2, 3)))
    assert torch.allclose(scores[2], data.bank("held_out", count)["image"].mean((1, 2, 3)))
    assert generator.most == critic.most == health.AT_ONCE
