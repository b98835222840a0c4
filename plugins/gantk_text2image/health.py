"""The gauges of a training: who wins, how the losses run, the variety of fakes under real captions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gantk_text2image.data import Data
from gantk_text2image.options import Text2ImageConfig
from gantoolkit import gauges as core
from gantoolkit.game import Gauge

PROBE = 256  # pictures of a look
LEAST = 16  # fewer say nothing about variety


def gauges(config: Text2ImageConfig, dataset: Data, networks: Mapping[str, nn.Module]) -> list[Gauge]:
    """The usual gauges over the game's networks by name; fakes are made of the captions of the reals beside them.

    Held-out captions are new combinations, for which a critic must score lower than for what it knows: no measure of
    overfitting is made of them.
    """
    bank = {key: value.to(config.device) for key, value in dataset.bank("train", 2 * PROBE).items()}
    if len(bank["image"]) < LEAST:
        return core.standard()
    generator, reader = networks["generator"], networks["text"]

    def sample(n: int, random: torch.Generator) -> Tensor:
        z = torch.randn(n, config.latent, generator=random).to(config.device)
        with core.quietly(generator, reader):
            tokens, sentence = reader(bank["text"][:n], bank["mask"][:n])
            return generator(z, tokens, bank["mask"][:n], sentence).float()

    return core.standard(reals=bank["image"], sample=sample)
