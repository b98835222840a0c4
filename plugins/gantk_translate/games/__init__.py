"""The games of translation, by name. Each module makes one and cites its paper."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from gantoolkit.game import Game

if TYPE_CHECKING:
    from gantk_translate.options import TranslateConfig
    from gantk_translate.sides import Side

MODULES = {
    "pix2pix": "pix2pix",
    "pix2pix-modern": "modern",
    "cyclegan": "cyclegan",
    "cut": "cut",
    "fastcut": "cut",
    "style": "style",
}
PAIRED = ("pix2pix", "pix2pix-modern")  # games that need each picture's partner


def make(config: TranslateConfig, source: Side, target: Side) -> Game:
    """The game that `config` names; batches have "a" (N, source.planes, h, w) and "b" (N, target.planes, h, w)."""
    module = import_module(f"gantk_translate.games.{MODULES[config.game]}")
    return module.make(config, source, target)
