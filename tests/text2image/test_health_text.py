"""The gauges of a training of text to image: one picture for all words is seen."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gantk_text2image import health
from gantk_text2image.task import Text2Image
from gantoolkit.data import Batches
from gantoolkit.engine import Engine, Settings
from gantoolkit.game import Step
from tests.text2image import tiny


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tiny.Made:
    made = tiny.made(tmp_path_factory.mktemp("data") / "data")
    rows = made.data.train
    made.data.train = (list(rows) * 40)[:40]  # enough of them for a look at their variety
    return made


def diversity(made: tiny.Made, generator: nn.Module) -> float:
    collapse = health.gauges(made.config, made.data, made.networks | {"generator": generator})[-1]
    collapse.observe(Step(nimg=1_000_000, step=1))
    return collapse.readings()["collapse/diversity"]


def test_one_picture_for_all_words_is_seen(made: tiny.Made) -> None:
    alike = copy.deepcopy(made.networks["generator"])
    with torch.no_grad():
        alike.pixels.weight.zero_()  # type: ignore[union-attr, operator]
    assert diversity(made, alike) == 0 < diversity(made, made.networks["generator"])


def test_training_has_gauges_that_read_the_critic(made: tiny.Made) -> None:
    game = Text2Image().game(made.config, made.data, "adversarial")
    step = Engine(game, Batches(made.data, 4, seed=0), Settings(device="cpu", precision="fp32")).step()
    assert 0 <= step.values["critic/win"] <= 1
    assert [gauge.name for gauge in game.gauges] == ["equilibrium", "instability", "collapse"]
