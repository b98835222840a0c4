"""The engine's promises about numbers: mixed precision, and what is not finite (docs/architecture.md)."""

from __future__ import annotations

import copy
from collections import Counter

import pytest
import torch
from torch import nn

from gantoolkit.engine import Diverged
from gantoolkit.errors import UsageError
from gantoolkit.game import Context, Game, Phase, Player, Term
from tests.games import (
    differences,
    engine_of,
    mlp,
    pull,
    weights,
)

# ---- 7: mixed precision ----


@pytest.mark.parametrize(
    "precision, dtype", [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_fp32_terms_leave_mixed_precision(precision, dtype):
    seen = {}

    def look(name: str):
        def fn(ctx: Context) -> torch.Tensor:
            out = ctx.networks["a"](ctx["x"])
            seen[name] = out.dtype
            return out.float().square().mean()

        return fn

    game = Game(
        [Player("a", {"a": mlp(2, 8, 1)}, lr=0.01)],
        [
            Phase(
                "a",
                "a",
                [
                    Term("exact", look("exact"), fp32=True),
                    Term("fast", look("fast")),
                    Term("lazy", look("lazy"), every=2, fp32=True),
                ],
            )
        ],
    )
    engine = engine_of(game, precision=precision)
    losses = [engine.step().losses["a/fast"] for _ in range(60)]
    assert seen == {"exact": torch.float32, "fast": dtype, "lazy": torch.float32}
    assert losses[-1] < 0.5 * losses[0]
    assert {p.dtype for p in game.networks()["a"].parameters()} == {torch.float32}
    assert engine.scalers["a"].is_enabled() is (precision == "fp16")


def test_fp16_overflow_lowers_the_scale_and_is_counted():
    game = Game(
        [Player("a", {"a": nn.Linear(2, 1)}, lr=1e-3)],
        [Phase("a", "a", [Term("big", lambda ctx: 300 * ctx.networks["a"](ctx["x"]).mean())])],
    )
    engine = engine_of(game, precision="fp16", patience=2)
    before = weights(game)
    step = engine.step()
    assert "fp16 overflow" in step.skipped[0]
    assert engine.scalers["a"].get_scale() == 2**15
    assert differences(before, weights(game)) == []
    for _ in range(12):  # many in a row, and yet no divergence
        engine.step()
    assert engine.counters["a"].skipped >= 3
    assert engine.moves["a"] == 13 - engine.counters["a"].skipped > 0
    assert differences(before, weights(game))


# ---- 8: what is not finite ----


def broken_game(bad: set[int], *, gradient: bool = False, lazy: bool = False) -> tuple[Game, Counter[str]]:
    """A game whose term `flaw` is not finite at chosen plays (counted from the dry run's, -1)."""
    plays: Counter[str] = Counter({"flaw": -1})

    def flaw(ctx: Context) -> torch.Tensor:
        play = plays["flaw"]
        plays["flaw"] += 1
        out = ctx.networks["a"](ctx["x"])
        if play not in bad:
            return out.square().mean()
        if gradient:  # √0 is finite, its slope is not
            return torch.sqrt(out.square().sum() * 0)
        return out.mean() * float("nan")

    terms = [Term("flaw", flaw, every=2), Term("fine", pull)] if lazy else [Term("fine", pull), Term("flaw", flaw)]
    net = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    return Game(
        [Player("a", {"a": net}, ema_nimg=100), Player("b", {"b": nn.Linear(2, 1)})],
        [Phase("a", "a", terms), Phase("b", "b", [Term("fine", pull)])],
    ), plays


@pytest.mark.parametrize("gradient, where", [(False, "term a/flaw"), (True, "the gradient of a in a")])
def test_a_move_that_is_not_finite_is_skipped_counted_and_named(gradient, where):
    game, _ = broken_game({1, 3}, gradient=gradient)
    engine = engine_of(game)
    skipped, states = [], []
    for _ in range(5):
        before = copy.deepcopy((engine.optimizers["a"].state_dict()["state"], weights(game)["a"]))
        other = weights(game)["b"]
        step = engine.step()
        after = engine.optimizers["a"].state_dict()["state"], weights(game)["a"]
        skipped.append(step.skipped)
        states.append(differences(before, after) == [])
        assert differences(other, weights(game)["b"])  # the other player goes on
    assert skipped == [[], [where], [], [where], []]
    assert states == [False, True, False, True, False]
    assert engine.counters["a"].skipped == 2
    assert engine.moves == {"a": 3, "b": 5}
    assert all(t.isfinite().all() for t in weights(game)["a"].values())


def test_batch_statistics_do_not_remember_a_broken_batch():
    game, _ = broken_game(set())
    engine = engine_of(game)
    engine.step()
    norm = game.networks()["a"][1]
    before = norm.running_mean.clone()
    take = engine.batches.next
    engine.batches.next = lambda: {"x": take()["x"] * float("nan")}
    assert engine.step().skipped == ["term a/fine", "term b/fine"]
    assert torch.equal(norm.running_mean, before)
    assert torch.equal(engine.ema["a"].state["a"]["1.running_mean"], before)


@pytest.mark.parametrize("gradient", [False, True])
def test_several_in_a_row_diverge_though_others_go_on(gradient):
    game, _ = broken_game(set(range(3, 99)), gradient=gradient)
    engine = engine_of(game, patience=4)
    with pytest.raises(Diverged, match="4 moves in a row were not finite") as caught:
        for _ in range(20):
            engine.step()
    assert engine.counters["a"].plays == 3 + 3
    assert caught.value.where == ("the gradient of a in a" if gradient else "term a/flaw")
    assert all(p.grad is None for net in game.networks().values() for p in net.parameters())


def test_not_in_a_row_does_not_diverge():
    game, _ = broken_game({0, 1, 3, 4, 6, 7, 9, 10})
    engine = engine_of(game, patience=3)
    for _ in range(12):
        engine.step()
    assert engine.counters["a"].skipped == 8


def test_a_lazy_term_diverges_though_the_plain_ones_go_on():
    game, _ = broken_game(set(range(99)), lazy=True)
    engine = engine_of(game, patience=3)
    with pytest.raises(Diverged) as caught:
        for _ in range(20):
            engine.step()
    assert caught.value.where == "term a/flaw"
    assert engine.steps == 4  # plays 0, 2 and 4


def test_a_term_that_is_no_scalar_is_named():
    game = Game(
        [Player("a", {"a": nn.Linear(2, 1)})], [Phase("p", "a", [Term("t", lambda c: c.networks["a"](c["x"]))])]
    )
    with pytest.raises(UsageError, match=r"term p/t is not a scalar.*\(8, 1\)"):
        engine_of(game)
