"""`gantk eval text2image`, and the scores while training."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from gantk_text2image import attributes
from gantk_text2image.data import Data
from gantk_text2image.options import Text2ImageConfig
from gantk_text2image.painter import to_uint8
from gantoolkit import distributions
from gantoolkit.features import efficientnet_lite0
from gantoolkit.featureset import describe
from gantoolkit.metrics import MetricCard

LEAST = 4  # pictures that a distance between sets can be made of
SMALL = 64  # pixels of the features while training: a twelfth of the work of the usual size
KID_SUBSETS = 20  # while training: the interval is wider, the time a fifth
READ = 128  # pictures whose attributes are read while training
BATCH = 32


# ---- while training ----


def while_training(config: Text2ImageConfig, dataset: Data, networks: Mapping[str, nn.Module]) -> list[MetricCard]:
    """Of pictures of held-out captions at fixed noise: KID first, where there are enough; then attributes of shapes.

    Where nothing is held out, these are training captions, as the split in the protocol says.
    """
    rows = list(dataset.rows("held_out"))
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[: config.score_pictures]]
    real, split = dataset.pictures[rows], "held out" if dataset.test else "training"
    made = _made(config, dataset, networks, [dataset.captions[row][0] for row in rows])
    cards = []
    if len(rows) >= LEAST:
        extractor, content = efficientnet_lite0(SMALL), hashlib.sha256(real.tobytes()).hexdigest()
        known = describe(real, extractor, source="data", split=split, cache=f"{content}-{real.shape}")
        fake = describe(made, extractor, source="generator", split="made")
        cards.append(distributions.kid(known, fake, subsets=KID_SUBSETS))
    described = [dataset.described[row] for row in rows[:READ]]
    if attributes.are_shapes(described):
        read = attributes.Exact()
        cards += attributes.cards(read(described, made[:READ]), {**read.protocol, "captions": split}, of="generator")
    return cards


def _made(
    config: Text2ImageConfig, dataset: Data, networks: Mapping[str, nn.Module], captions: list[str]
) -> np.ndarray:
    """(N, S, S, 3) uint8: a picture of each caption, from fixed noise."""
    prepared = dataset.encoder.prepare(captions)
    z = torch.randn(len(captions), config.latent, generator=torch.Generator().manual_seed(0))
    made = []
    for start in range(0, len(captions), BATCH):
        rows = slice(start, start + BATCH)
        text, mask, noise = (x[rows].to(config.device) for x in (prepared["text"], prepared["mask"], z))
        tokens, sentence = networks["text"](text, mask)
        made.append(to_uint8(networks["generator"](noise, tokens, mask, sentence)))
    return np.concatenate(made)
