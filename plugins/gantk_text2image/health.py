"""The gauges of a training: who wins, how the losses run, the variety of fakes under real captions and under one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gantk_text2image.data import Data
from gantk_text2image.networks import TEXT
from gantk_text2image.options import Text2ImageConfig
from gantoolkit import gauges as core
from gantoolkit.game import Gauge
from gantoolkit.variety import coarse

PROBE = 256  # pictures of a look
LEAST = 16  # fewer say nothing about variety
SHARED, EACH = 8, 16  # captions that many real pictures share, at most, and pictures of each: half of a look
AT_ONCE = 32  # pictures made together


def gauges(config: Text2ImageConfig, dataset: Data, networks: Mapping[str, nn.Module]) -> list[Gauge]:
    """The usual gauges over the game's networks by name; fakes are made of the captions of the reals beside them.

    Held-out captions are new combinations, for which a critic must score lower than for what it knows: no measure of
    overfitting is made of them.
    """
    names, rows = shared(dataset)
    pairs = [(row, name) for name, group in zip(names, rows, strict=True) for row in group]
    chosen = {row for row, _ in pairs}
    pairs += [pair for pair in dataset.usual("train", 2 * PROBE) if pair[0] not in chosen]
    if len(pairs) < LEAST:
        return core.standard()
    parts = []
    for start in range(0, len(pairs), AT_ONCE):  # all pictures at once would need more memory than a step
        bank = dataset.examples(pairs[start : start + AT_ONCE])
        parts.append((coarse(bank["image"]), bank["text"], bank["mask"]))
    reals, text, mask = (torch.cat(column).to(config.device) for column in zip(*parts, strict=True))
    labels = torch.full((len(pairs),), -1)
    labels[: len(names) * EACH] = torch.arange(len(names)).repeat_interleave(EACH)
    generator, reader = networks["generator"], networks[TEXT]

    def sample(n: int, random: torch.Generator, labels: Tensor) -> Tensor:
        z = torch.randn(n, config.latent, generator=random).to(config.device)
        made = []
        with core.quietly(generator, reader):
            for start in range(0, n, AT_ONCE):
                part = slice(start, min(start + AT_ONCE, n))
                tokens, sentence = reader(text[part], mask[part])
                made.append(coarse(generator(z[part], tokens, mask[part], sentence)))
        return torch.cat(made)

    players = {"generator": generator, TEXT: reader}
    return core.standard(reals=reals, sample=sample, labels=labels, classes=names, networks=players)


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
