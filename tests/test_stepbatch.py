"""What a step's batch keeps: promise 10, one forward pass of the generator; noise of its own; its preparation."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gantoolkit.data import Batches
from gantoolkit.engine import Engine, Settings
from gantoolkit.errors import UsageError
from gantoolkit.game import Context, Game, Phase, Player, Term
from tests.games import (
    Points,
    critic_loss,
    differences,
    engine_of,
    generator_loss,
    pull,
    simple_game,
)


def test_a_batch_that_does_not_divide():
    with pytest.raises(UsageError, match="a multiple of accumulate=3"):
        engine_of(simple_game(), accumulate=3)


def count_forwards(game: Game, name: str = "generator") -> list[bool]:
    calls: list[bool] = []
    game.networks()[name].register_forward_pre_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    return calls


def test_shared_fakes_equal_the_loop_that_makes_them_twice():
    game = simple_game()
    hand = copy.deepcopy(game.networks())
    calls = count_forwards(game)
    engine = Engine(game, Batches(Points(), 8), Settings(seed=4))
    calls.clear()
    for _ in range(5):
        engine.step()
    assert len(calls) == 5

    critic, generator = hand["critic"], hand["generator"]
    adam = {"betas": (0.0, 0.99), "eps": 1e-8, "fused": True}
    d_optimizer = torch.optim.Adam(critic.parameters(), 2e-3, **adam)
    g_optimizer = torch.optim.Adam(generator.parameters(), 1e-3, **adam)
    batches, noise = Batches(Points(), 8), torch.Generator().manual_seed(4)
    for _ in range(5):
        x, z = batches.next()["x"], torch.randn(8, 4, generator=noise)
        y = x.clone().requires_grad_(True)
        loss = (F.softplus(-critic(x)) + F.softplus(critic(generator(z).detach()))).mean()
        (slope,) = torch.autograd.grad(critic(y).sum(), y, create_graph=True)
        d_optimizer.zero_grad()
        (loss + 0.5 * slope.square().sum(1).mean()).backward()
        d_optimizer.step()
        loss = F.softplus(-critic(generator(z))).mean()
        g_optimizer.zero_grad()
        loss.backward()
        g_optimizer.step()
    trained = {name: net.state_dict() for name, net in game.networks().items()}
    assert differences(trained, {name: net.state_dict() for name, net in hand.items()}) == []


def shared_game(*phases: Phase) -> tuple[Game, list[bool]]:
    game = simple_game()
    game.phases = list(phases)
    return game, count_forwards(game)


D = Phase("critic", "critic", [Term("t", critic_loss)])


G = Phase("generator", "generator", [Term("t", generator_loss)])


G_LAZY = Phase("generator", "generator", [Term("t", generator_loss), Term("u", generator_loss, every=2)])


@pytest.mark.parametrize(
    "phases, expected",
    [
        ((D, G), [True]),
        ((G, D), [True]),  # the critic sees the fakes from before the generator's move
        ((D,), [False]),  # nobody trains the generator: no graph
        ((Phase("critic", "critic", D.terms, repeats=3), G), [True]),
        ((Phase("critic", "critic", D.terms, repeats=3, batch="fresh"), G), [False, False, True]),
        ((D, Phase("generator", "generator", G.terms, batch="fresh")), [False, True]),
        ((D, Phase("generator", "generator", G.terms, repeats=2)), [True, True]),
        ((D, G_LAZY), [True, True]),
        ((D, Phase("fresh", "critic", D.terms, batch="fresh"), G), [False, True]),
    ],
)
def test_how_often_the_generator_runs(phases, expected):
    game, calls = shared_game(*phases)
    engine = engine_of(game)
    calls.clear()
    engine.step()
    assert calls == expected
    assert engine.batch.shared == []  # graphs are freed with the step


def test_a_value_made_anew_has_the_noise_of_its_batch():
    noise: list[torch.Tensor] = []

    def make(ctx: Context) -> torch.Tensor:
        def run() -> torch.Tensor:
            noise.append(ctx.randn(4))
            return ctx.networks["generator"](noise[-1])

        return F.softplus(-ctx.networks["critic"](ctx.share("fake", run, owner="generator"))).mean()

    game, _ = shared_game(Phase("generator", "generator", [Term("t", make)], repeats=2))
    engine = engine_of(game)
    noise.clear()
    engine.step()
    engine.step()
    assert len(noise) == 4
    assert torch.equal(noise[0], noise[1])
    assert not torch.equal(noise[1], noise[2])


def test_terms_share_by_memo_within_a_move():
    game = simple_game()
    calls = count_forwards(game, "critic")

    def logits(ctx: Context) -> torch.Tensor:
        return ctx.memo("real", lambda: ctx.networks["critic"](ctx["x"]))

    game.phases = [
        Phase("p", "critic", [Term("a", lambda c: logits(c).mean()), Term("b", lambda c: logits(c).square().mean())])
    ]
    engine = engine_of(game)
    calls.clear()
    engine.step(), engine.step()
    assert len(calls) == 2


def test_phases_may_draw_noise_of_different_shapes():
    def draws(*shape: int):
        return lambda ctx: pull(ctx) + ctx.randn(*shape).mean() * 0 + ctx.randint(5, *shape).float().mean() * 0

    game = Game(
        [Player("a", {"a": nn.Linear(2, 1)}), Player("b", {"b": nn.Linear(2, 1)})],
        [
            Phase("a", "a", [Term("t", draws(3))]),
            Phase("b", "b", [Term("t", lambda c: pull(c) * (c.rand(7).shape == (8, 7)))]),
        ],
    )
    assert engine_of(game).step().losses["b/t"] > 0


def test_prepare_runs_once_a_batch_with_its_own_random_numbers():
    seen: list[float] = []

    def prepare(batch: Any, generator: torch.Generator) -> Any:
        seen.append(float(torch.rand((), generator=generator)))
        return {"x": batch["x"] * 0 + seen[-1]}

    game = simple_game()
    game.prepare = prepare
    engine = engine_of(game)
    state = copy.deepcopy(engine.state_dict())
    seen.clear()
    for _ in range(3):
        engine.step()
    first = list(seen)
    assert len(set(first)) == 3
    engine.load_state_dict(state)
    seen.clear()
    for _ in range(3):
        engine.step()
    assert seen == first
