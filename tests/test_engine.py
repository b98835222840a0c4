"""The engine's promises about moves, one by one (docs/architecture.md); see also test_stepbatch and test_engine_*."""

from __future__ import annotations

import copy
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gantoolkit.data import Batches
from gantoolkit.engine import Engine, Settings
from gantoolkit.errors import UsageError
from gantoolkit.game import Context, Game, Phase, Player, Term
from tests.games import (
    Points,
    Pool,
    Recorder,
    differences,
    engine_of,
    pull,
    relative,
    rich_game,
    simple_game,
    weights,
)
from tests.tolerances import TOL

# ---- 1: only the active player moves ----


def test_only_the_active_player_has_gradients_and_moves():
    game = simple_game(r1_every=2)
    looks = []

    def spy(phase: Phase, own: str, other: str) -> Phase:
        def fn(ctx: Context, term: Term) -> torch.Tensor:
            flags = {n: {p.requires_grad for p in net.parameters()} for n, net in game.networks().items()}
            clean = all(p.grad is None for net in game.networks().values() for p in net.parameters())
            looks.append((flags[own], flags[other], clean))
            return term.fn(ctx)

        terms = [Term(t.name, lambda c, t=t: fn(c, t), t.weight, t.every, t.fp32) for t in phase.terms]
        return Phase(phase.name, phase.player, terms)

    game.phases = [spy(game.phases[0], "critic", "generator"), spy(game.phases[1], "generator", "critic")]
    engine = engine_of(game)
    looks.clear()
    moved, move = [], engine._move

    def watched(phase: Phase, terms: list[Term]) -> Any:
        before, report = weights(game), move(phase, terms)
        moved.append((phase.player, {d.split("/")[1] for d in differences(before, weights(game))}))
        return report

    engine._move = watched  # type: ignore[method-assign]
    for _ in range(4):
        engine.step()
    lazy, plain = ["critic", "critic", "generator"], ["critic", "generator"]
    assert moved == [(player, {player}) for player in [*lazy, *plain] * 2]
    assert len(looks) == 10
    assert all(look == ({True}, {False}, True) for look in looks)
    assert all(p.grad is None and not p.requires_grad for n in game.networks().values() for p in n.parameters())


def test_a_frozen_parameter_stays_frozen():
    game = simple_game()
    frozen = game.networks()["critic"][0].weight.requires_grad_(False)
    before = frozen.clone()
    engine = engine_of(game)
    engine.step()
    assert torch.equal(frozen, before)
    assert all(frozen is not p for p in engine.trainable["critic"])


def test_nothing_to_train_is_said():
    game = simple_game()
    engine_of(game)  # leaves the networks frozen outside of its moves
    with pytest.raises(UsageError, match="'critic' has nothing to train"):
        engine_of(game)


# ---- 2: as often as they say ----

phases_strategy = st.lists(
    st.tuples(
        st.integers(1, 4),
        st.integers(1, 3),
        st.sampled_from(["same", "fresh"]),
        st.lists(st.integers(1, 5), max_size=2),
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=40, deadline=None)
@given(rows=phases_strategy, steps=st.integers(1, 9))
def test_phases_and_terms_fire_as_often_as_they_say(rows, steps):
    calls: Counter[str] = Counter()

    def counting(name: str):
        def fn(ctx: Context) -> torch.Tensor:
            calls[name] += 1
            return pull(ctx)

        return fn

    game = Game(
        [Player(f"p{i}", {f"n{i}": nn.Linear(2, 1)}) for i in range(len(rows))],
        [
            Phase(
                f"f{i}",
                f"p{i}",
                [Term(f"{j}", counting(f"{i}/{j}"), every=k) for j, k in enumerate([1, *lazy])],
                every=every,
                repeats=repeats,
                batch=batch,
            )
            for i, (every, repeats, batch, lazy) in enumerate(rows)
        ],
    )
    engine = engine_of(game, batch=4)
    calls.clear()
    for _ in range(steps):
        engine.step()
    drawn = 0
    for step in range(steps):
        have = False
        for every, repeats, batch, _ in rows:
            if step % every == 0:
                drawn += repeats if batch == "fresh" else int(not have)
                have = True
    assert engine.nimg == 4 * drawn
    for i, (every, repeats, _, lazy) in enumerate(rows):
        plays = math.ceil(steps / every) * repeats
        assert engine.counters[f"f{i}"].plays == plays
        assert [calls[f"{i}/{j}"] for j in range(1 + len(lazy))] == [math.ceil(plays / k) for k in [1, *lazy]]


# ---- 3: lazy terms ----


@pytest.mark.parametrize("k", [4, 16])
def test_optimizer_is_corrected_for_lazy_terms(k):
    game = Game(
        [Player("a", {"a": nn.Linear(2, 1)}, lr=0.01, betas=(0.5, 0.99))],
        [Phase("a", "a", [Term("x", pull), Term("lazy", pull, every=k)])],
    )
    engine = engine_of(game)
    engine.step()
    (group,) = engine.optimizers["a"].param_groups
    c = k / (k + 1)
    assert (group["lr"], *group["betas"]) == pytest.approx((0.01 * c, 0.5**c, 0.99**c))


def test_lazy_gradient_is_weighted_by_its_interval():
    net = nn.Linear(2, 1)
    start = copy.deepcopy(net)
    player = Player("a", {"a": net}, lr=0.1, optimizer=Recorder)
    game = Game([player], [Phase("a", "a", [Term("x", pull), Term("lazy", pull, weight=0.5, every=3)])])
    engine = engine_of(game)
    engine.step()
    plain, lazy = engine.optimizers["a"].seen
    x = Batches(Points(), 8).next()["x"]
    start(x).square().mean().backward()
    assert relative(plain[0], start.weight.grad) < 1e-6
    moved = copy.deepcopy(start)
    with torch.no_grad():
        for p, g in zip(moved.parameters(), plain, strict=True):
            p -= 0.1 * 0.75 * g  # c = 3/4
    moved.zero_grad()
    (1.5 * moved(x).square().mean()).backward()
    assert relative(lazy[0], moved.weight.grad) < 1e-5


# ---- 4: micro-batches ----


@pytest.mark.parametrize("accumulate", [2, 4])
def test_micro_batches_give_the_full_batchs_gradient(accumulate):
    runs = []
    for parts in (1, accumulate):
        game = simple_game(r1_every=2, optimizer=Recorder)
        engine = engine_of(game, accumulate=parts)
        steps = [engine.step() for _ in range(4)]
        runs.append((engine, steps))
    (full, full_steps), (cut, cut_steps) = runs
    assert full.nimg == cut.nimg
    for name, optimizer in full.optimizers.items():
        seen = cut.optimizers[name].seen
        assert len(optimizer.seen) == len(seen) == (6 if name == "critic" else 4)
        for a, b in zip(optimizer.seen, seen, strict=True):
            for x, y in zip(a, b, strict=True):
                assert relative(y, x) < TOL["accumulated gradient, relative"]
    for a, b in zip(full_steps, cut_steps, strict=True):
        assert a.losses == pytest.approx(b.losses, rel=1e-5)
    assert torch.equal(full.generator.get_state(), cut.generator.get_state())


def test_warnings_name_what_cannot_hold():
    game = rich_game()
    game.phases[1].terms[0].__dict__["couples_batch"] = True
    assert engine_of(copy.deepcopy(game)).warnings() == []
    text = engine_of(game, accumulate=2).warnings()
    assert [line.split(":")[0] for line in text] == [
        "term generator/adversarial couples the samples of a batch",
        "network critic drops out at random",
        "network generator normalises over the batch",
    ]
    assert "2 micro-batches on 1 processes" in text[0]


def test_clipping_bounds_the_gradient_and_reports_it_unclipped():
    net = nn.Linear(2, 1)
    player = Player("a", {"a": net}, lr=0.1, clip_norm=0.01, optimizer=Recorder)
    engine = engine_of(Game([player], [Phase("a", "a", [Term("x", lambda c: 100 * pull(c))])]))
    step = engine.step()
    seen = torch.cat([g.flatten() for g in engine.optimizers["a"].seen[0]])
    assert float(seen.norm()) == pytest.approx(0.01, rel=1e-3)
    assert step.grad_norm["a"] > 1


# ---- 11: what is built late ----


class SelfBuilt(nn.Module):
    """Builds its layer when it sees its first input."""

    layer: nn.Linear

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not hasattr(self, "layer"):
            self.layer = nn.Linear(x.shape[1], 1, device=x.device)
            self.register_buffer("mean", torch.zeros(1))
        return self.layer(x)


@pytest.mark.parametrize(
    "make, count",
    [
        (lambda: nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d(), nn.LazyLinear(1)), 6),
        (lambda: nn.Sequential(nn.Linear(2, 3), SelfBuilt()), 4),
    ],
)
def test_late_parts_exist_before_optimizers_averages_and_weights(make, count):
    def fresh(**options: Any) -> Engine:
        game = Game([Player("a", {"a": make()}, lr=0.01, ema_nimg=10)], [Phase("p", "a", [Term("t", pull)])])
        return Engine(game, Batches(Points(), 8), Settings(), **options)

    engine = fresh()
    net = engine.game.networks()["a"]
    parameters = list(net.parameters())
    assert len(parameters) == count
    (group,) = engine.optimizers["a"].param_groups
    assert {id(p) for p in group["params"]} == {id(p) for p in parameters}
    assert engine.ema["a"].state["a"].keys() == net.state_dict().keys()
    before = weights(engine.game)
    engine.step()
    assert len(differences(before, weights(engine.game))) >= count - 1  # a bias before a norm has no gradient
    assert differences(engine.ema["a"].state["a"], before["a"])

    other = fresh(weights=before)  # what a later stage of a training does
    assert differences(weights(other.game), before) == []
    assert differences(other.ema["a"].state["a"], before["a"]) == []
    other.load_state_dict(engine.state_dict())
    assert differences(weights(other.game), weights(engine.game)) == []


def test_a_part_that_no_term_builds_is_named():
    game = Game([Player("a", {"a": nn.Linear(2, 1), "idle": nn.LazyLinear(1)})], [Phase("p", "a", [Term("t", pull)])])
    with pytest.raises(UsageError, match="no term uses all of network 'idle'"):
        engine_of(game)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_dry_run_leaves_no_trace(accumulate):
    game, batches = rich_game(), Batches(Points(), 8)
    pool = game.state["pool"]
    assert isinstance(pool, Pool)
    torch.manual_seed(5)
    np.random.seed(5)
    before = weights(game), torch.get_rng_state(), np.random.get_state()[1].tolist()
    engine = Engine(game, batches, Settings(accumulate=accumulate, seed=3))
    assert differences(before, (weights(game), torch.get_rng_state(), np.random.get_state()[1].tolist())) == []
    assert torch.equal(engine.generator.get_state(), torch.Generator().manual_seed(3).get_state())
    assert batches.state_dict() == {"position": 0}
    assert len(pool.kept) == 0
    assert (engine.nimg, engine.steps, engine.batch.parts) == (0, 0, [])
    assert all(p.grad is None for net in game.networks().values() for p in net.parameters())
    assert engine.batches.next()["index"].tolist() == Batches(Points(), 8).next()["index"].tolist()


def test_the_dry_run_shows_terms_the_images_of_the_first_step():
    """A weight or a term that divides by nimg works from the start."""
    seen = []
    term = Term("t", lambda ctx: seen.append(ctx.nimg) or pull(ctx) / ctx.nimg, weight=lambda nimg: 1 / nimg)
    engine = engine_of(Game([Player("a", {"a": nn.Linear(2, 1)})], [Phase("p", "a", [term])]))
    engine.step()
    assert len(seen) == 2 and seen[0] == seen[1] == engine.nimg > 0
