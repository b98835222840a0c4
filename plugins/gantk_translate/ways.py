"""The ways that a model goes: its own, and back again if it has learnt that, too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gantk_translate import networks
from gantk_translate.sides import Side
from gantk_translate.task import OTHER_WAY
from gantoolkit import export, foreign
from gantoolkit.errors import UsageError
from gantoolkit.model import MAIN, Model

LEAST = 8  # sizes are brought up to multiples of it: reflection needs something to reflect


@dataclass(frozen=True)
class Way:
    """One direction of a model."""

    generator: Any
    source: Side
    target: Side


def choose(model: Model, direction: str | None) -> Way:
    """The way asked for, its generator in eval mode; None is the way the model was trained.

    Raises:
        UsageError: a way the model does not go.
        InputError: weights that do not fit the network that the model describes.
    """
    own = model.config["direction"]
    if direction not in (None, "AtoB", "BtoA"):
        raise UsageError("unknown direction", expected="AtoB or BtoA", actual=direction)
    back = direction not in (None, own)
    if back and OTHER_WAY not in model.weights:
        raise UsageError(
            f"the model {model.name} goes one way only", expected=own, actual=direction,
            remedy="a model of the game cyclegan goes both ways",
        )  # fmt: skip
    built: Mapping[str, Any] = model.config["generator"]
    sides = [Side.from_dict(model.config[name]) for name in ("source", "target")]
    if back:
        sides.reverse()
        built = {**built, "planes": list(reversed(built["planes"]))}
    state, supported = model.weights[OTHER_WAY if back else MAIN], "a generator of the task translate"
    return Way(foreign.filled(f"the model {model.name}", built, networks.build_generator, supported, state), *sides)


def to_onnx(network: nn.Module, target: Path, planes: int, multiple: int, styled: bool) -> export.Parity:
    """Write a network of `planes` channels as ONNX, with a second input "style" if it is `styled`.

    Returns the parity at two sizes, each the first multiple from some small number of pixels on.
    """
    a, b, c, d = (-(-side // multiple) * multiple for side in (32, 40, 48, 24))
    example = torch.zeros(1, planes, a, a)
    others = {"style": torch.zeros(1, planes, a, b)} if styled else {}
    checks = ((1, planes, a, b), (2, planes, c + multiple, d))
    return export.to_onnx(network, target, example, others=others, check_sizes=checks)
