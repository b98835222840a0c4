"""The games of translation, by name. Each module makes one and cites its paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gantoolkit.errors import InputError, UsageError

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

    Raises:
        UsageError: options that do not suit the game or the sides, a model to start from that goes the other way only.
        InputError: a model to start from that does not fit.
    """
    module = import_module(f"gantk_translate.games.{MODULES[config.game]}")
    if stage == HALF:
        game = replace(module.make(config.halved(), source, target), prepare=_halved)
    else:
        game = module.make(config, source, target)
    if config.init is not None:
        _start(game, config.init, config.direction)
    return game


def _start(game: Game, init: Path, direction: str) -> None:
    """Load a model's weights into the networks that translate; a later stage goes on from the stage before."""
    from gantk_translate.task import OTHER_WAY
    from gantoolkit.model import MAIN, find

    model, networks = find("translate", init), game.networks()
    weights, own = model.weights, model.config["direction"]
    there, back = (MAIN, OTHER_WAY) if own == direction else (OTHER_WAY, MAIN)
    if there not in weights:
        raise UsageError(
            f"the model {init} to start from goes one way only", expected=own, actual=direction,
            remedy=f"--direction {own}, or change the names of the folders A and B",
        )  # fmt: skip
    if model.config.get("generator", {}).get("rectified"):
        raise InputError(
            f"the model {init} is an imported U-Net, which joins its maps in another way than trainings do"
        )
    for name, variant in (("generator", there), ("back", back)):
        if name in networks and variant in weights:
            try:
                networks[name].load_state_dict(dict(weights[variant]))
            except RuntimeError as error:
                raise InputError(
                    f"the model {init} does not fit the generator that is to start from it",
                    expected="the same sides and generator options",
                    remedy="give the options of its config.json",
                ) from error


def _halved(batch: Mapping[str, Any], rng: object) -> Mapping[str, Any]:
    from torch.nn.functional import avg_pool2d

    return {key: avg_pool2d(planes, 2) for key, planes in batch.items()}
