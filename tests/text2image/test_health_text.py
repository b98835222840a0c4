"""The gauges of a training of text to image: one picture for all words is seen."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gantk_text2image import health
from gantk_text2image.data import Data
from gantk_text2image.options import Text2ImageConfig
from gantk_text2image.task import Text2Image
from gantoolkit.data import Batches
from gantoolkit.engine import Engine, Settings
from gantoolkit.game import Step
from tests.text2image import data_sets, tiny


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


def test_one_picture_a_caption_is_seen(tmp_path: Path) -> None:
    """A generator that draws the right bar again and again, where the real ones of a caption have any colour."""
    config = Text2ImageConfig(**tiny.TINY | {"held_out": 0})
    said = ["a bar on the left", "a bar in the middle", "a bar on the right"]
    folder = data_sets.with_jsonl(tmp_path, 192, attributes={})
    lines = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    for index, line in enumerate(lines):
        line["captions"] = [said[index // 4 % 3]]
    (folder / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = Data(config, folder)
    names, rows = health.shared(data)
    assert sorted(names) == sorted(said) and [len(group) for group in rows] == [health.EACH] * 3
    assert all(data.captions[row] == (name,) for name, group in zip(names, rows, strict=True) for row in group)

    class Draws(nn.Module):
        """A real picture by the text, with `noise` of it."""

        def __init__(self, noise: float) -> None:
            super().__init__()
            self.noise = noise

        def forward(self, z: Tensor, tokens: Tensor, mask: Tensor, sentence: Tensor) -> Tensor:
            return sentence.reshape(-1, 3, 32, 32) + self.noise * z[:, :1, None, None]

    class Reads(nn.Module):
        def forward(self, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
            rows = {name: data.captions.index((name,)) for name in said}
            ids = {data.encoder.prepare([name])["text"][0].numpy().tobytes(): row for name, row in rows.items()}
            pictures = [data.pictures[ids[row.numpy().tobytes()]] / 127.5 - 1 for row in text]
            return text, torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).flatten(1).float()

    found = {}
    for noise in (0.0, 1.0):
        collapse = health.gauges(config, data, {"generator": Draws(noise), "text": Reads()})[-1]
        collapse.observe(Step(nimg=1_000_000, step=1))
        found[noise] = collapse.readings()
    assert found[0.0]["collapse/worst_diversity"] == 0 < found[0.0]["collapse/diversity"]
    assert found[1.0]["collapse/worst_diversity"] > 0.5


def test_training_has_gauges_that_read_the_critic(made: tiny.Made) -> None:
    game = Text2Image().game(made.config, made.data, "adversarial")
    step = Engine(game, Batches(made.data, 4, seed=0), Settings(device="cpu", precision="fp32")).step()
    assert 0 <= step.values["critic/win"] <= 1
    assert [gauge.name for gauge in game.gauges] == ["equilibrium", "instability", "collapse"]
