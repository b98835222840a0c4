"""One body over every model that comes with the distribution."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gantoolkit
from gantoolkit import model as models
from gantoolkit.errors import GantkError
from gantoolkit.model import Model
from gantoolkit.plugins import discover

BUNDLED = {"superres": "photo-x4", "generate": "fashion-32", "translate": "line-art", "text2image": "drawings"}
WIDTH = {"superres": "channels", "generate": "width", "translate": "channels", "text2image": "width"}


def test_all_weights_in_the_wheel_are_among_them() -> None:
    kept = Path(__file__).parents[1].glob("plugins/gantk_*/weights/*/config.json")
    assert {path.parent.name for path in kept} == set(BUNDLED.values())


@pytest.mark.parametrize("task", BUNDLED)
def test_loading_moves_no_random_numbers(task: str) -> None:
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]
    gantoolkit.load(task, device="cpu")
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # type: ignore[index]


@pytest.mark.parametrize("value", ["4", 0, -1, 2.5, None, [1], 7, 10**9])
@pytest.mark.parametrize("task", BUNDLED)
def test_a_config_edited_by_hand_ends_in_one_line(task: str, value: Any) -> None:
    found = models.find(task, BUNDLED[task])
    config = dict(found.config)
    inner = dict(config.get("generator", config)) | {WIDTH[task]: value}
    config = config | {"generator": inner} if "generator" in config else inner
    with pytest.raises(GantkError, match="by hand") as caught:
        discover(installed=False).task(task).load(Model(task, config, found.weights, name="by hand"))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
