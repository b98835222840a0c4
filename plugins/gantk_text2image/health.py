"""The gauges of a training: who wins, how the losses run, the variety of fakes under real captions and under one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gantk_text2image.data import Data
from gantk_text2image.options import Text2ImageConfig
from gantoolkit import gauges as core
from gantoolkit.game import Gauge

PROBE = 256  # pictures of a look
LEAST = 16  # fewer say nothing about variety
SHARED, EACH = 8, 16  # captions that many real pictures share, at most, and pictures of each: half of a look


def gauges(config: Text2ImageConfig, dataset: Data, networks: Mapping[str, nn.Module]) -> list[Gauge]:
    """The usual gauges over the game's networks by name; fakes are made of the captions of the reals beside them.

    Held-out captions are new combinations, for which a critic must score lower than for what it knows: no measure of
    overfitting is made of them.
    """
    bank = dataset.bank("train", 2 * PROBE)
    if len(bank["image"]) < LEAST:
        return core.standard()
    names, rows = shared(dataset)
    more = dataset.examples((row, name) for name, group in zip(names, rows, strict=True) for row in group)
    bank = {key: torch.cat([more[key], bank[key]] if more else [bank[key]]).to(config.device) for key in bank}
    labels = torch.full((len(bank["image"]),), -1)
    labels[: len(names) * EACH] = torch.arange(len(names)).repeat_interleave(EACH)
    generator, reader = networks["generator"], networks["text"]

    def sample(n: int, random: torch.Generator, labels: Tensor) -> Tensor:
        z = torch.randn(n, config.latent, generator=random).to(config.device)
        with core.quietly(generator, reader):
            tokens, sentence = reader(bank["text"][:n], bank["mask"][:n])
            return generator(z, tokens, bank["mask"][:n], sentence).float()

    return core.standard(reals=bank["image"], sample=sample, labels=labels, classes=names)


def shared(dataset: Data) -> tuple[list[str], list[list[int]]]:
    """(captions that `EACH` training pictures or more have, the most frequent first; so many rows of each)."""
    said = Counter(text for row in dataset.train for text in dataset.captions[row])
    rows: dict[str, list[int]] = {}
    taken: set[int] = set()
    for text, count in said.most_common():
        if count < EACH or len(rows) == SHARED:
            break
        found = [row for row in dataset.train if text in dataset.captions[row] and row not in taken][:EACH]
        if len(found) == EACH:  # not another wording of one that is there
            rows[text] = found
            taken.update(row for row in dataset.train if text in dataset.captions[row])
    return list(rows), list(rows.values())
