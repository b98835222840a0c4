"""Sheets: captions that fit, and what a training shows of itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gantk_text2image import show
from gantk_text2image.painter import to_uint8
from gantk_text2image.task import Text2Image
from tests.text2image.tiny import made


@pytest.mark.parametrize("side", [32, 64, 256])
def test_captions_stay_over_their_pictures(side: int) -> None:
    grey = np.full((side, side, 3), 128, np.uint8)
    one = show.sheet([grey, grey], ["two small red squares above a large blue circle, " * 9, ""], 2)
    cell = max(side, show.LEAST_SIDE)
    assert one.shape[1] == 2 * cell + 24
    over_second = one[: -cell - 8, cell + 16 :]
    assert (over_second == 255).all()


@pytest.mark.parametrize("text", ["赤いりんご" * 20, "👩‍👩‍👧 مرحبا", "a" * 10_000, "two\nlines", ""])
def test_any_caption_is_drawn(text: str) -> None:
    assert show.sheet([np.zeros((32, 32, 3), np.uint8)], [text], 1).ndim == 3


def test_a_training_shows_held_out_captions_beside_real_pictures(tmp_path: Path) -> None:
    one = made(tmp_path / "data")
    with torch.no_grad():
        sheets = Text2Image().sample(one.config, one.data, one.networks)
        again = Text2Image().sample(one.config, one.data, one.networks)
        assert isinstance(sheets, dict) and isinstance(again, dict)
        assert np.array_equal(sheets["samples"], again["samples"])
        captions, pictures = one.data.held_out()
        first = np.random.default_rng(0).permutation(len(captions))[0]
        prepared = one.data.encoder.prepare([captions[first]])
        tokens, sentence = one.networks["text"](prepared["text"], prepared["mask"])
        z = torch.randn(show.EACH, one.config.latent, generator=torch.Generator().manual_seed(0))
        expected = to_uint8(one.networks["generator"](z[:1], tokens, prepared["mask"], sentence))[0]
    sheet, rows = sheets["samples"], min(show.ROWS, len(captions))
    head = (sheet.shape[0] - 8) // rows - 128 - 8
    assert sheet.shape[1] == 4 * 128 + 5 * 8
    real, fake = (sheet[8 + head : 8 + head + 128 : 4, left : left + 128 : 4] for left in (8, 8 + 136))
    assert np.array_equal(real, pictures[first])
    assert np.abs(fake.astype(int) - expected).max() <= 1
