"""Small games, data and a task that the core's tests play; torchrun runs it as a script (tests/test_distributed)."""

from __future__ import annotations

import copy
import itertools
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from gantoolkit import distributed
from gantoolkit.data import Batches
from gantoolkit.engine import Engine, Settings
from gantoolkit.game import Context, Game, Phase, Player, Term
from gantoolkit.model import Model
from gantoolkit.task import Stage, Task, TrainConfig


class Points:
    """Rows of numbers; each look at a row adds its own noise."""

    def __init__(self, count: int = 48, shape: Sequence[int] = (2,)) -> None:
        self.rows = torch.randn(count, *shape, generator=torch.Generator().manual_seed(3))

    def __len__(self) -> int:
        return len(self.rows)

    def item(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        noise = torch.from_numpy(rng.normal(0, 0.1, tuple(self.rows.shape[1:])).astype(np.float32))
        return {"x": self.rows[index] + noise, "index": index}


def mlp(*sizes: int, seed: int = 0) -> nn.Sequential:
    """Linear layers with leaky ReLUs between them, the same for the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), nn.LeakyReLU(0.2))]
    return nn.Sequential(*layers[:-1])


def fake(ctx: Context) -> Tensor:
    return ctx.share("fake", lambda: ctx.networks["generator"](ctx.randn(4)), owner="generator").float()


def critic_loss(ctx: Context) -> Tensor:
    judge = ctx.networks["critic"]
    return (F.softplus(-judge(ctx["x"])) + F.softplus(judge(fake(ctx)))).mean()


def generator_loss(ctx: Context) -> Tensor:
    return F.softplus(-ctx.networks["critic"](fake(ctx))).mean()


def penalty(ctx: Context) -> Tensor:
    x = ctx["x"].detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(ctx.networks["critic"](x).sum(), x, create_graph=True)
    return slope.square().sum(1).mean()


def simple_game(*, r1_every: int = 1, **player: Any) -> Game:
    """A critic with a penalty against a generator, all of them small."""
    critic_terms = [Term("adversarial", critic_loss), Term("r1", penalty, 0.5, every=r1_every, fp32=True)]
    return Game(
        [
            Player("critic", {"critic": mlp(2, 16, 16, 1, seed=1)}, lr=2e-3, **player),
            Player("generator", {"generator": mlp(4, 16, 16, 2, seed=2)}, lr=1e-3, **player),
        ],
        [
            Phase("critic", "critic", critic_terms),
            Phase("generator", "generator", [Term("adversarial", generator_loss)]),
        ],
    )


class Pool:
    """Fakes of earlier steps, each handed out again by chance (Shrivastava et al. 2017): a part with a state."""

    def __init__(self) -> None:
        self.kept = torch.zeros(0, 2)

    def swap(self, rows: Tensor) -> Tensor:
        self.kept = torch.cat([self.kept, rows.detach().float()])[-24:]
        return self.kept[torch.randperm(len(self.kept))[: len(rows)]]

    def state_dict(self) -> dict[str, Any]:
        return {"kept": self.kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.kept = state["kept"]


def rich_game(seed: int = 0) -> Game:
    """Everything that has a state: dropout, batch and spectral norm, lazy terms, a pool, global random numbers."""
    torch.manual_seed(seed)
    pool = Pool()
    critic = nn.Sequential(
        spectral_norm(nn.Linear(2, 16)), nn.LeakyReLU(0.2), nn.Dropout(0.2), spectral_norm(nn.Linear(16, 1))
    )
    generator = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))

    def old_fakes(ctx: Context) -> Tensor:
        jitter = float(np.random.normal(0, 0.01))
        return F.softplus(ctx.networks["critic"](pool.swap(fake(ctx)) + jitter)).mean()

    terms = [Term("adversarial", critic_loss), Term("pool", old_fakes), Term("r1", penalty, 0.1, every=3, fp32=True)]
    return Game(
        [
            Player("critic", {"critic": critic}, lr=2e-3, betas=(0.5, 0.9)),
            Player("generator", {"generator": generator}, lr=1e-3, ema_nimg=100),
        ],
        [
            Phase("critic", "critic", terms, repeats=2, batch="fresh"),
            Phase("generator", "generator", [Term("adversarial", generator_loss)], every=2),
        ],
        state={"pool": pool},
    )


class ToyConfig(TrainConfig):
    stage_nimg: int = 240


class Toy(Task):
    """A two-stage task whose model keeps the generator."""

    name = "toy"
    summary = "a line of points"
    Config = ToyConfig
    scores: Sequence[float] = ()

    def dataset(self, config: Any, folder: Path | None) -> Points:
        return Points()

    def stages(self, config: Any) -> Sequence[Stage]:
        return [Stage("first", config.stage_nimg), Stage("second", config.stage_nimg)]

    def game(self, config: Any, dataset: Any, stage: str) -> Game:
        game = rich_game(int(torch.randint(100, ())))
        if pause := float(os.environ.get("PAUSE", "0")):  # time for a killer to aim
            game.prepare = lambda batch, generator: time.sleep(pause) or batch
        return game

    def model(self, config: Any, dataset: Any, weights: Mapping[str, Mapping[str, Any]]) -> Model:
        return Model(self.name, {}, {"model": weights["second"]["generator"]})


def flat(tree: Any, path: str = "") -> dict[str, Any]:
    """Every leaf of a state by its path."""
    if isinstance(tree, Mapping):
        items: Any = tree.items()
    elif isinstance(tree, (list, tuple)):
        items = enumerate(tree)
    else:
        return {path: tree}
    return {key: leaf for name, node in items for key, leaf in flat(node, f"{path}/{name}").items()}


def differences(one: Any, other: Any) -> list[str]:
    """The paths at which two states are not the same, bit by bit."""
    a, b = flat(one), flat(other)

    def same(x: Any, y: Any) -> bool:
        if isinstance(x, Tensor):
            return isinstance(y, Tensor) and x.dtype == y.dtype and x.shape == y.shape and bool(torch.equal(x, y))
        return bool(x == y)

    return sorted(a.keys() ^ b.keys()) + [key for key in a.keys() & b.keys() if not same(a[key], b[key])]


class Recorder(torch.optim.SGD):
    """Plain gradient descent that remembers every gradient it was given."""

    def __init__(self, parameters: Any, lr: float, betas: Any) -> None:
        super().__init__(parameters, lr=lr)
        self.seen: list[list[Tensor]] = []

    def step(self, closure: Any = None) -> None:
        self.seen.append([p.grad.clone() for group in self.param_groups for p in group["params"] if p.grad is not None])
        super().step(closure)


def relative(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm().clamp_min(1e-12))


def play_together(folder: Path) -> None:
    """What each process of tests/test_distributed does; the leader writes what it saw."""
    team = distributed.join()
    game = simple_game(r1_every=2, optimizer=Recorder, ema_nimg=50.0)
    with torch.no_grad():  # only the leader's weights count
        for network in game.networks().values():
            for parameter in network.parameters():
                parameter.mul_(1 + team.rank)
    batches = Batches(Points(), 8, rank=team.rank, world=team.world)
    engine = Engine(game, batches, Settings(accumulate=2), team)
    rows, take = [], batches.next
    batches.next = lambda: rows.append(take()) or rows[-1]  # type: ignore[method-assign, func-returns-value]
    steps = [engine.step() for _ in range(5)]

    image = torch.full((2, 3, 4, 4), float(team.rank)).to(memory_format=torch.channels_last)
    team.same_([image])
    flags = team.any(team.rank == team.world - 1), team.any(False)
    gathered = team.gather(team.rank)
    report = {
        "rows": team.gather([batch["index"].tolist() for batch in rows]),
        "weights": {name: dict(net.state_dict()) for name, net in game.networks().items()},
        "ema": {name: state for average in engine.ema.values() for name, state in average.state.items()},
        "gradients": {name: optimizer.seen for name, optimizer in engine.optimizers.items()},  # type: ignore[attr-defined]
        "losses": [step.losses for step in steps],
        "nimg": engine.nimg,
        "warnings": engine.warnings(),
        "same": float(image.abs().max()),
        "flags": flags,
        "gathered": gathered,
        "rng": len(engine.state_dict()["rng"]),
    }
    if team.leader:
        torch.save(report, folder / f"world{team.world}.pt")
    team.barrier()
    distributed.leave()


def engine_of(game: Game, batch: int = 8, **options: Any) -> Engine:
    return Engine(game, Batches(Points(), batch), Settings(**options))


def weights(game: Game) -> dict[str, Any]:
    return copy.deepcopy({name: dict(net.state_dict()) for name, net in game.networks().items()})


def pull(ctx: Context) -> torch.Tensor:
    """A loss that any network has a gradient of."""
    return next(iter(ctx.player.networks.values()))(ctx["x"]).square().mean()


if __name__ == "__main__":
    play_together(Path(sys.argv[1]))
