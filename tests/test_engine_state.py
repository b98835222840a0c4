"""The engine's promises about what is kept: saved and restored, and averaged (docs/architecture.md)."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from gantoolkit import checkpoint
from gantoolkit.data import Batches
from gantoolkit.ema import RAMP, Average
from gantoolkit.engine import Engine
from gantoolkit.game import Game, Phase, Player, Term
from tests.games import (
    Points,
    critic_loss,
    differences,
    engine_of,
    generator_loss,
    pull,
    rich_game,
)

# ---- 6: a saved and restored engine goes on bit by bit (killed runs are in test_train) ----


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_restored_engine_goes_on_bit_by_bit(tmp_path, precision, accumulate):
    def fresh(seed: int) -> Engine:
        return engine_of(rich_game(seed), precision=precision, accumulate=accumulate)

    np.random.seed(1)
    torch.manual_seed(1)
    engine = fresh(0)
    for _ in range(3):
        engine.step()
    saved = checkpoint.save(engine.state_dict(), tmp_path / "c")
    reports = [engine.step() for _ in range(4)]
    expected = copy.deepcopy(engine.state_dict())
    assert len(expected["game"][0]["pool"]["kept"])

    np.random.seed(77)
    torch.manual_seed(77)
    other = fresh(5)
    other.step()
    other.load_state_dict(checkpoint.load(saved))
    again = [other.step() for _ in range(4)]
    assert again == reports
    assert differences(other.state_dict(), expected) == []


def test_image_networks_in_channels_last_resume_bit_by_bit(tmp_path):
    def fresh(seed: int) -> Engine:
        torch.manual_seed(seed)
        critic = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.LeakyReLU(), nn.Conv2d(8, 8, 1), nn.Flatten(), nn.Linear(128, 1)
        )
        generator = nn.Sequential(nn.Linear(4, 192), nn.Unflatten(1, (3, 8, 8)), nn.Conv2d(3, 3, 3, 1, 1))
        game = Game(
            [Player("critic", {"critic": critic}), Player("generator", {"generator": generator}, ema_nimg=50)],
            [
                Phase("critic", "critic", [Term("adversarial", critic_loss)]),
                Phase("generator", "generator", [Term("adversarial", generator_loss)]),
            ],
        )
        return Engine(game, Batches(Points(16, (3, 8, 8)), 4))

    engine = fresh(0)
    engine.step()
    saved = checkpoint.save(engine.state_dict(), tmp_path / "c")
    engine.step(), engine.step()
    other = fresh(1)
    other.load_state_dict(checkpoint.load(saved))
    other.step(), other.step()
    assert differences(other.state_dict(), engine.state_dict()) == []
    weight = other.game.networks()["critic"][0].weight
    moment = other.optimizers["critic"].state[weight]["exp_avg"]
    assert moment.stride() == weight.stride() != weight.contiguous().stride()


# ---- 9: EMA ----


def test_average_of_a_constant_follows_its_half_life():
    net = nn.BatchNorm1d(3)
    average = Average({"n": net}, half_life_nimg=100)
    nn.init.constant_(net.weight, 5.0)  # from 1 to 5 at once, then constant
    for step in range(1, 31):
        net.running_mean.fill_(step)
        average.update(10, 10**6 + 10 * step)
        expected = 5 + (1 - 5) * 0.5 ** (10 * step / 100)
        assert average.state["n"]["weight"].tolist() == pytest.approx([expected] * 3, rel=1e-5)
        assert average.state["n"]["running_mean"].tolist() == [step] * 3
    before = average.state["n"]["weight"].clone()
    average.update(0, 10**6)
    assert torch.equal(average.state["n"]["weight"], before)


def test_early_average_forgets_the_random_start():
    net = nn.Linear(1, 1, bias=False)
    average = Average({"n": net}, half_life_nimg=10_000)
    start = net.weight.item()
    nn.init.constant_(net.weight, start + 1)
    average.update(10, 1000)  # half-life RAMP · 1000
    assert float(average.state["n"]["weight"]) == pytest.approx(start + 1 - 0.5 ** (10 / (RAMP * 1000)))


def test_engine_keeps_the_average_over_steps():
    net = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    net.append(net[2].__class__(1, 1))
    game = Game(
        [Player("a", {"a": net}, lr=0.01, ema_nimg=30)], [Phase("p", "a", [Term("t", pull)], repeats=2, batch="fresh")]
    )
    engine = engine_of(game)
    expected = copy.deepcopy(dict(net.state_dict()))
    for step in range(1, 6):
        engine.step()
        decay = 0.5 ** (16 / min(30, max(1, RAMP * 16 * step)))
        for key, value in net.state_dict().items():
            is_parameter = key in dict(net.named_parameters())
            expected[key] = value + (expected[key] - value) * decay if is_parameter else value.clone()
    for key, value in engine.ema["a"].state["a"].items():
        assert torch.allclose(value, expected[key], rtol=1e-5, atol=1e-7), key


def test_tied_weights_are_averaged_under_both_names():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    average = Average({"n": nn.Sequential(first, second)}, 10)
    nn.init.constant_(first.weight, 2.0)
    average.update(10**6, 10**9)
    assert torch.equal(average.state["n"]["0.weight"], average.state["n"]["1.weight"])
    assert average.state["n"]["1.weight"].tolist() == [[2.0, 2.0]] * 2
