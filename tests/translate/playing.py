"""Small games of translation, for tests; torchrun runs it as a script (test_cyclegan: two processes)."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gantk_translate import games
from gantk_translate.options import TranslateConfig
from gantk_translate.sides import Side
from gantoolkit import distributed
from gantoolkit.data import Batches
from gantoolkit.engine import Engine, Settings
from gantoolkit.game import Game
from tests.games import Recorder, relative
from tests.tolerances import TOL

SMALL: dict[str, Any] = {
    "size": 16, "channels": 4, "blocks": 2, "critic_channels": 4, "critic_layers": 1, "batch": 4, "device": "cpu",
}  # fmt: skip


class Pictures:
    """Noise with a pattern that depends on the index; each look at a picture adds its own noise."""

    def __init__(self, planes: tuple[int, int] = (3, 3), size: int = 16, count: int = 24) -> None:
        rng = np.random.default_rng(3)
        sides = (torch.from_numpy(rng.uniform(-1, 1, (count, c, size, size))) for c in planes)
        self.a, self.b = (side.to(torch.get_default_dtype()) for side in sides)

    def __len__(self) -> int:
        return len(self.a)

    def item(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        shift = rng.uniform(-0.1, 0.1)
        return {"a": self.a[index] - shift, "b": self.b[index] + shift}


def config(game: str, **changes: Any) -> TranslateConfig:
    return TranslateConfig(game=game, **(SMALL | changes))


def make(chosen: TranslateConfig, planes: tuple[int, int] = (3, 3), seed: int = 0) -> Game:
    """The game, its weights from the seed; larger than at the papers' start, so that every term says something."""
    torch.manual_seed(seed)
    game = games.make(chosen, *(Side(channels=count) for count in planes))
    with torch.no_grad():
        for network in game.networks().values():
            for module in network.modules():
                if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                    module.weight.mul_(4)
    return game


def engine_of(game: Game, chosen: TranslateConfig, planes: tuple[int, int] = (3, 3), **settings: Any) -> Engine:
    return Engine(game, Batches(Pictures(planes), chosen.batch), Settings(**settings))


def first_batch(chosen: TranslateConfig, planes: tuple[int, int] = (3, 3)) -> Mapping[str, Any]:
    """What an engine of `engine_of` sees in its first step."""
    return Batches(Pictures(planes), chosen.batch).next()


def moved(game: Game, phase: str, chosen: TranslateConfig) -> dict[str, list[bool]]:
    """For each network, which of its parameters one step of that phase alone moves."""
    alone = Game(game.players, [p for p in game.phases if p.name == phase], state=game.state)
    engine = engine_of(alone, chosen)
    before = copy.deepcopy({name: list(net.parameters()) for name, net in game.networks().items()})
    engine.step()
    return {
        name: [not torch.equal(a, b) for a, b in zip(before[name], net.parameters(), strict=True)]
        for name, net in game.networks().items()
    }


@contextmanager
def in_fp64() -> Iterator[None]:
    """Everything in fp64, where rounding stays below what a mistake would do, however normalisations magnify it."""
    usual = torch.get_default_dtype()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "float", torch.Tensor.double)
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(usual)


def recorded(game: Game) -> Game:
    """The game, played with plain gradient descent that remembers its gradients."""
    for player in game.players:
        player.optimizer, player.lr = Recorder, 1e-3
    return game


EXACT: dict[str, dict[str, Any]] = {  # what the promises about processes and micro-batches hold for
    "pix2pix": {"norm": "instance", "dropout": 0.0},
    "cyclegan": {"pool": 8},
}


def played(game: str, team: distributed.Team | None = None, accumulate: int = 1) -> dict[str, Any]:
    """The gradients and losses of a few steps in fp64, the state of the game after them, and warnings."""
    team = team or distributed.Team()
    with in_fp64():
        chosen = config(game, **EXACT[game])
        batches = Batches(Pictures(), chosen.batch, rank=team.rank, world=team.world)
        engine = Engine(recorded(make(chosen)), batches, Settings(accumulate=accumulate), team)
        losses = [engine.step().losses for _ in range(5)]
        return {
            "gradients": {name: optimizer.seen for name, optimizer in engine.optimizers.items()},  # type: ignore[attr-defined]
            "losses": losses,
            "state": engine.state_dict()["game"],
            "warnings": engine.warnings(),
        }


def same_moves(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Two plays had the same losses and gradients, up to rounding, and nothing to warn of."""
    assert one["warnings"] == other["warnings"] == []
    for a, b in zip(one["losses"], other["losses"], strict=True):
        assert a == pytest.approx(b, rel=1e-6)
    for name, moves in one["gradients"].items():
        assert len(moves) == len(other["gradients"][name]) == 5
        for a, b in zip(moves, other["gradients"][name], strict=True):
            whole, parts = torch.cat([g.flatten() for g in a]), torch.cat([g.flatten() for g in b])
            assert relative(parts, whole) < TOL["parts of a batch in fp64, relative"], name


def play_together(folder: Path) -> None:
    """Each game, played by every process; the leader writes what it saw."""
    team = distributed.join()
    report = {name: played(name, team) for name in EXACT}
    if team.leader:
        torch.save(report, folder / f"world{team.world}.pt")
    team.barrier()
    distributed.leave()


if __name__ == "__main__":
    play_together(Path(sys.argv[1]))
