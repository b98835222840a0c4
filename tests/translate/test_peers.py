"""The classic games are those of their papers: played by hand from the description, every loss is the same."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import translate_peers

from gantk_translate.options import TranslateConfig
from tests.tolerances import TOL
from tests.translate.playing import in_fp64

STEPS = 50  # the rates fall from the middle on
GAMES: dict[str, dict[str, Any]] = {
    "pix2pix": {"size": 64, "blocks": 6, "dropout": 0.0},
    # at the paper's rate rounding alone grows past 1e-2 within 50 steps of fp64, between two runs of either
    "cyclegan": {"size": 32, "blocks": 2, "pool": 5, "lr": 2e-5},
}


@pytest.mark.slow
@pytest.mark.parametrize("game", GAMES)
def test_a_game_is_the_one_that_peers_play(game: str) -> None:
    options = {"channels": 16, "critic_channels": 16, "ema_nimg": 0, "nimg": STEPS, **GAMES[game]}
    config = TranslateConfig.model_validate({"game": game, **options})
    with in_fp64():
        ways = translate_peers.peers(config), translate_peers.ours(config)
        theirs, ours = ([way() for _ in range(STEPS)] for way in ways)
    assert max(translate_peers.apart(theirs, ours)) < TOL["the same game in fp64, relative"]
