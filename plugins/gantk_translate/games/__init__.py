"""The games of translation, by name. Each module makes one and cites its paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gantk_translate.options import TranslateConfig
    from gantk_translate.sides import Side
    from gantoolkit.game import Game

MODULES = {
    "pix2pix": "pix2pix",
    "pix2pix-modern": "modern",
    "cyclegan": "cyclegan",
    "cut": "cut",
    "fastcut": "cut",
    "style": "style",
}
PAIRED = ("pix2pix", "pix2pix-modern")  # games that need each picture's partner


HALF, FULL = "half", "adversarial"  # stages


def make(config: TranslateConfig, source: Side, target: Side, stage: str = FULL) -> Game:
    """The game that `config` names; batches have "a" (N, source.planes, h, w) and "b" (N, target.planes, h, w).

    In the stage at half the size it sees every batch's 2x2 means, and the rates do not fall yet.
    """
    module = import_module(f"gantk_translate.games.{MODULES[config.game]}")
    if stage == FULL:
        return module.make(config, source, target)
    first = {"size": config.size // 2, "nimg": config.half_nimg, "steady": 1.0}
    return replace(module.make(config.model_copy(update=first), source, target), prepare=_halved)


def _halved(batch: Mapping[str, Any], rng: object) -> Mapping[str, Any]:
    from torch.nn.functional import avg_pool2d

    return {key: avg_pool2d(planes, 2) for key, planes in batch.items()}
