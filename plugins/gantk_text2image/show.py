"""Sheets of pictures under their prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from gantk_text2image.networks import TEXT
from gantk_text2image.options import Text2ImageConfig
from gantk_text2image.painter import to_uint8
from gantoolkit.images import contact_sheet

if TYPE_CHECKING:
    from gantk_text2image.data import Data

LEAST_SIDE = 128  # pixels: smaller pictures are shown larger by whole factors
LETTER, LETTERS = 6, 30  # pixels of a letter over a small picture; over a larger one letters grow, and so many fit
ROWS, EACH = 6, 3  # prompts of a sheet while training, and pictures of each


def sheet(pictures: Sequence[np.ndarray], captions: Sequence[str], columns: int) -> np.ndarray:
    """Pictures (S, S, 3) uint8 in rows, each under its caption, which is cut to fit; (H, W, 3) uint8."""
    factor = -(-LEAST_SIDE // max(picture.shape[0] for picture in pictures))
    cells = [picture.repeat(factor, 0).repeat(factor, 1) for picture in pictures]
    letters = min(cells[0].shape[1] // LETTER, LETTERS)
    short = (text if len(text) <= letters else f"{text[: letters - 1].rstrip()}…" for text in captions)
    return contact_sheet(cells, columns, list(short))


def while_training(
    config: Text2ImageConfig, dataset: Data, networks: Mapping[str, nn.Module]
) -> Mapping[str, np.ndarray]:
    """ "samples": held-out captions, always the same, with the real picture and what fixed noise makes of them."""
    captions, pictures = dataset.held_out()
    chosen = np.random.default_rng(0).permutation(len(captions))[:ROWS]
    random = torch.Generator().manual_seed(0)
    z = torch.randn(EACH, config.latent, generator=random).to(config.device)
    cells, under = [], []
    for index in chosen:
        prepared = {key: value.to(config.device) for key, value in dataset.encoder.prepare([captions[index]]).items()}
        tokens, sentence = networks[TEXT](prepared["text"], prepared["mask"])
        rows = [x.expand(EACH, *x.shape[1:]) for x in (tokens, prepared["mask"], sentence)]
        made = to_uint8(networks["generator"](z, *rows))
        cells += [pictures[index], *made]
        under += [captions[index], *[""] * EACH]
    return {"samples": sheet(cells, under, EACH + 1)}
