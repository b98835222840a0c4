"""Steps in half precision: terms with second derivatives stay in fp32, the others come close to it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from gantk_text2image import game
from gantk_text2image.data import Data
from gantk_text2image.options import Text2ImageConfig
from gantoolkit.data import Batches
from gantoolkit.engine import Engine, Settings
from gantoolkit.game import Step
from tests.text2image.data_sets import with_jsonl
from tests.text2image.tiny import TINY
from tests.tolerances import TOL

# a low rate: Adam's first moves have its full size whichever way a gradient near 0 points, and no precision keeps that
ALL: dict[str, Any] = {
    **TINY, "batch": 4, "penalty_every": 1, "match_penalty": 1.0, "attribute_weight": 1.0, "lr": 1e-4,
}  # fmt: skip


def steps(folder: Path, precision: Any, count: int = 2) -> list[Step]:
    """The first steps of a game with every term, whose encoder is the real one: it runs in half precision, too."""
    torch.manual_seed(0)
    config = Text2ImageConfig(**(ALL | {"precision": precision}))
    data = Data(config, folder)
    engine = Engine(game.make(config, data), Batches(data, config.batch), Settings("cpu", precision))
    return [engine.step() for _ in range(count)]


def test_steps_in_half_precision_are_close_to_those_in_full(tmp_path: Path) -> None:
    folder = with_jsonl(tmp_path)
    half, full = steps(folder, "bf16"), steps(folder, "fp32")
    assert {"critic/r1", "critic/r2", "critic/match penalty", "critic/attributes"} <= half[0].losses.keys()
    for one, other in zip(half, full, strict=True):
        assert not one.skipped
        slopes = [{**step.losses, "critic/match penalty": step.losses["critic/match penalty"] ** (1 / game.POWER)}
                  for step in (one, other)]  # fmt: skip
        assert slopes[0] == pytest.approx(slopes[1], rel=TOL["half-precision step, relative"])
    assert half[0].losses != full[0].losses, "it was not played in half precision"


def test_captions_of_different_lengths_are_finite_in_fp16(tmp_path: Path) -> None:
    """Tokens that are not there are zeros, which no length divides."""
    first, second = steps(with_jsonl(tmp_path), "fp16")
    assert all(math.isfinite(value) for step in (first, second) for value in step.losses.values())
    assert not [where for where in first.skipped + second.skipped if "overflow" not in where]
