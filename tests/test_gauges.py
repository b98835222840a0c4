"""Gauges: known answers, alarms that come when and only when they should, exact resume, and no trace in the game."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gantoolkit import checkpoint
from gantoolkit.alarms import LIMITS, Limits, Trouble
from gantoolkit.data import Batches
from gantoolkit.engine import Engine
from gantoolkit.game import Context, Game, Step
from gantoolkit.gauges import Collapse, Equilibrium, Instability, quietly, verdicts, watch
from gantoolkit.rng import seed_everything
from tests.games import Points, critic_loss, differences, fake, rich_game
from tests.tolerances import TOL

WINDOW = LIMITS.window
CLOSE = TOL["gauge, known answer"]


def steps(count: int, start: int = 0, **report: Any) -> Iterable[Step]:
    """Steps of 64 images that all report the same."""
    for index in range(start, start + count):
        yield Step(64 * (index + 1), index + 1, **report)


def windows(gauge: Any, count: int, **report: Any) -> list[str]:
    """Show a gauge whole windows of the same step; the texts of its alarms."""
    for step in steps(count * WINDOW, **report):
        gauge.observe(step)
    return [alarm.text for alarm in gauge.alarms()]


def values(**numbers: float) -> dict[str, float]:
    return {f"critic/{name}": value for name, value in numbers.items()}


# ---- what a term writes ----


def test_verdicts_are_those_counted_by_hand() -> None:
    real, fakes, held_out = (
        torch.tensor([[2.0], [1.0], [-1.0]]),
        torch.tensor([[1.0], [-3.0], [-4.0]]),
        torch.zeros(3, 1),
    )
    found = {name: float(value) for name, value in verdicts(real, fakes, held_out).items()}
    # nine pairs: 2 beats all three, 1 ties once and beats two, -1 beats two
    wanted = {
        "real": 2 / 3, "fake": -2.0, "sign": 1 / 3, "sign_fake": -1 / 3, "win": 7.5 / 9,
        "held_out": 0.0, "sign_held_out": 0.0, "win_held_out": 2 / 3, "known": 2 / 3,
    }  # fmt: skip
    assert found == pytest.approx(values(**wanted), abs=CLOSE)


def test_a_map_of_scores_counts_with_its_mean() -> None:
    maps, means = torch.randn(6, 1, 3, 3), torch.randn(6, 1, 3, 3)
    whole, each = verdicts(maps, means), verdicts(maps.mean((1, 2, 3)), means.mean((1, 2, 3)))
    assert all(float(whole[name] - each[name]) == pytest.approx(0, abs=CLOSE) for name in each)


def test_verdicts_carry_no_graph() -> None:
    real = torch.randn(4, 1, requires_grad=True)
    assert not any(value.requires_grad for value in verdicts(real, real * 2).values())


def test_quietly_leaves_no_trace() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout())
    network[2].eval()  # modes may differ within a network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    random = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError), quietly(network):
        assert not network.training and not network[1].training
        assert not network(torch.randn(4, 2)).requires_grad
        raise ZeroDivisionError
    assert torch.equal(random, torch.get_rng_state())
    assert [module.training for module in network.modules()] == [True, True, True, False]
    assert not differences(before, network.state_dict())


# ---- alarms ----


def test_trouble_comes_once_an_episode() -> None:
    trouble = Trouble("", "", patience=3)
    looks = "bb.bbbbb" + "gg" + "bbbb" + "ggg" + "bb" + "b"  # b bad, g good, . neither
    rung = [index for index, look in enumerate(looks) if trouble.look(look == "b", look == "g")]
    # not after two; after three, once; two good looks do not end the episode, three do
    assert rung == [5, 19]


def test_each_alarm_of_equilibrium_comes_for_its_reason_only() -> None:
    healthy = {"values": values(win=0.75, real=1.0, fake=0.0), "grad_norm": {"generator": 1.0}}
    strong = {"values": values(win=1.0, real=1.0, fake=0.0), "grad_norm": {"generator": 0.5}}
    faded = {"values": values(win=0.5, real=0.0, fake=0.0), "grad_norm": {"generator": 1e-9}}
    gone = {"values": values(win=1.0, real=9.0, fake=-9.0), "grad_norm": {"generator": 1e-9}}
    losing = {"values": values(win=0.1, real=0.0, fake=1.0), "grad_norm": {"generator": 1.0}}
    for report, wanted in [(healthy, ""), (strong, ""), (faded, ""), (gone, "learns nothing"), (losing, "no longer")]:
        gauge = Equilibrium()
        assert not windows(gauge, LIMITS.burn_in, **healthy)  # the largest gradient is seen here
        found = windows(gauge, 3 * LIMITS.patience, **report)
        assert len(found) == bool(wanted) and all(wanted in text for text in found), report


def test_equilibrium_reads_means_of_a_window() -> None:
    gauge = Equilibrium()
    assert gauge.readings() == {}
    for index, step in enumerate(steps(WINDOW, values={})):
        step.values = values(win=0.5 + 0.4 * (index % 2), real=2.0, fake=-1.0, sign=0.5, sign_fake=math.nan)
        step.grad_norm = {"critic": 7.0, "generator": 2.0}
        gauge.observe(step)
    found = gauge.readings()
    wanted = {"win": 0.7, "distance": 0.2, "real": 2.0, "fake": -1.0, "sign": 0.5, "gradient": 1.0}
    assert found == pytest.approx({f"equilibrium/{name}": value for name, value in wanted.items()}, abs=CLOSE)


@pytest.mark.parametrize(("held_out", "fires"), [(4.5, False), (-1.0, True)])
def test_a_critic_that_knows_its_pictures_by_heart(held_out: float, fires: bool) -> None:
    """r_v = (5 − held out) / (5 − (−3)): 1/16 and 6/8."""

    def judge(random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        noise = 0.1 * torch.randn(3, 64, 1, generator=random)
        return 5 + noise[0], -3 + noise[1], held_out + noise[2]

    gauge = Equilibrium(judge=judge, every_nimg=640)
    for step in steps(10 * LIMITS.probe_patience):
        gauge.observe(step)
    assert len(gauge.alarms()) == fires
    assert gauge.readings()["equilibrium/overfitting"] == pytest.approx((5 - held_out) / 8, abs=0.02)
    assert gauge.readings()["equilibrium/win_held_out"] == 1


def test_held_out_logits_may_come_with_the_steps() -> None:
    gauge = Equilibrium()
    report = values(win=1.0, real=4.0, fake=0.0, held_out=1.0, sign_held_out=1.0, win_held_out=0.9, known=0.95)
    assert not windows(gauge, LIMITS.patience - 1, values=report)
    assert len(windows(gauge, 4, values=report)) == 1
    assert gauge.readings()["equilibrium/overfitting"] == pytest.approx(0.75, abs=CLOSE)


def test_a_surge_is_told_from_a_drift() -> None:
    for growth, wanted in [(1.02, 0), (3.0, 1)]:
        gauge, norm = Instability(), 1.0
        for index in range(LIMITS.burn_in + 2 * LIMITS.patience):
            norm *= growth if index > LIMITS.burn_in else 1.0
            for step in steps(WINDOW, grad_norm={"critic": norm}, losses={"critic/adversarial": 1.0}):
                gauge.observe(step)
        assert len(gauge.alarms()) == wanted, growth


@pytest.mark.parametrize(("factor", "fires"), [(1.5, False), (1e2, True)])
def test_turbulence_is_the_deviation_in_decades(factor: float, fires: bool) -> None:
    gauge = Instability()
    for index, step in enumerate(steps((LIMITS.burn_in + LIMITS.patience) * WINDOW)):
        step.grad_norm = {"generator": factor ** (index % 2), "critic": 1.0}
        gauge.observe(step)
    assert len(gauge.alarms()) == fires
    assert gauge.readings()["instability/turbulence"] == pytest.approx(math.log10(factor) / 2, abs=CLOSE)


def test_what_has_vanished_may_tremble() -> None:
    gauge = Instability()
    for index, step in enumerate(steps(40 * WINDOW)):
        step.grad_norm = {"generator": 1.0 if index < WINDOW else 1e-20 * 100 ** (index % 2)}
        gauge.observe(step)
    assert not gauge.alarms() and gauge.readings()["instability/turbulence"] == 0


def test_oscillation_is_against_what_was_usual_and_trends_are_none() -> None:
    gauge = Instability()
    for index, step in enumerate(steps(3 * WINDOW)):
        size = 5.0 if index >= 2 * WINDOW else 1.0
        step.losses = {"critic/adversarial": 3.0 + 0.01 * index + size * (-1) ** index, "generator/adversarial": 1.0}
        gauge.observe(step)
    assert gauge.readings()["instability/oscillation"] == pytest.approx(5, abs=CLOSE)


def test_moves_that_are_not_finite_count() -> None:
    gauge = Instability()
    once = list(steps(WINDOW))
    once[3].skipped = ["term critic/adversarial"]
    once[3].grad_norm, once[3].losses = {"critic": math.nan}, {"critic/adversarial": math.inf}
    for step in [*once, *once]:
        gauge.observe(step)
    assert gauge.readings()["instability/nonfinite"] == pytest.approx(1 / WINDOW, abs=CLOSE)
    assert not gauge.alarms()
    assert len(windows(gauge, 5, skipped=["term critic/adversarial"])) == 1
    assert all(math.isfinite(value) for value in gauge.readings().values())


# ---- in a game ----


def watched(gauges: bool) -> Game:
    """A game with everything that has a state; the same with gauges that look at it often."""
    game = rich_game()
    generator, critic = (game.networks()[name] for name in ("generator", "critic"))
    critic_phase = game.phases[0]

    def judged(ctx: Context) -> Tensor:
        if gauges:
            watch(ctx, *(quiet(critic, x) for x in (ctx["x"], fake(ctx), ctx["x"] + 1)))
        return critic_loss(ctx)

    def sample(n: int, random: torch.Generator) -> Tensor:
        with quietly(generator):
            return generator(torch.randn(n, 4, generator=random))

    def judge(random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        with quietly(critic):
            return critic(rows), critic(sample(32, random)), critic(torch.randn(32, 2, generator=random))

    object.__setattr__(critic_phase.terms[0], "fn", judged)
    rows = Points().rows
    if gauges:
        often = Limits(window=10, burn_in=0, patience=1, probe_burn_in=0, probe_patience=1)
        equilibrium, instability = Equilibrium(judge=judge, every_nimg=50, limits=often), Instability(limits=often)
        collapse = Collapse(rows, sample, networks={"generator": generator}, every_nimg=30, limits=often)
        game.gauges = [equilibrium, instability, collapse]
    return game


def quiet(network: nn.Module, x: Tensor) -> Tensor:
    with quietly(network):
        return network(x)


def played(game: Game, count: int) -> Engine:
    seed_everything(5)
    engine = Engine(game, Batches(Points(), 8))
    for _ in range(count):
        engine.step()
    return engine


def weights(engine: Engine) -> Mapping[str, Any]:
    state = engine.state_dict()
    return {key: value for key, value in state.items() if key != "gauges"}


def test_gauges_leave_the_game_bit_for_bit_alone() -> None:
    alone, with_gauges = played(watched(False), 22), played(watched(True), 22)
    assert not differences(weights(alone), weights(with_gauges))
    names = {name for gauge in with_gauges.game.gauges for name in gauge.readings()}
    assert {"equilibrium/win", "equilibrium/overfitting", "instability/turbulence", "collapse/reach"} <= names


def test_gauges_resume_exactly(tmp_path: Any) -> None:
    through = played(watched(True), 7)
    checkpoint.save(through.state_dict(), tmp_path / "saved")
    for _ in range(16):
        through.step()
    resumed = Engine(watched(True), Batches(Points(), 8))
    resumed.load_state_dict(checkpoint.load(tmp_path / "saved"))
    for _ in range(16):
        resumed.step()
    assert not differences(through.state_dict(), resumed.state_dict())
    for one, other in zip(through.game.gauges, resumed.game.gauges, strict=True):
        assert one.readings() == other.readings()


def test_a_checkpoint_from_before_an_alarm_is_asked_for_keeps_it(tmp_path: Any) -> None:
    one, other = Instability(), Instability()
    for step in steps(2 * WINDOW, skipped=["term critic/adversarial"]):
        one.observe(step)
    checkpoint.save(one.state_dict(), tmp_path / "saved")
    other.load_state_dict(checkpoint.load(tmp_path / "saved"))
    assert other.alarms() == one.alarms() != []


def test_an_episode_that_has_begun_goes_on_after_a_resume() -> None:
    report = {"values": values(win=0.1), "grad_norm": {"generator": 1.0}}
    one, other = Equilibrium(), Equilibrium()
    assert not windows(one, LIMITS.burn_in + LIMITS.patience - 1, **report)
    other.load_state_dict(one.state_dict())
    assert len(windows(other, 1, **report)) == len(windows(one, 1, **report)) == 1
    other = Equilibrium()
    other.load_state_dict(one.state_dict())
    assert not windows(other, 30, **report)  # said before the interruption


# ---- games that truly fail ----


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "benchmarks"))
    return importlib.import_module("gauge_zoo")


def test_a_vanished_gradient_fires_and_the_same_game_with_a_better_loss_does_not(zoo: Any) -> None:
    run = next(run for run in zoo.RUNS if run.truth is zoo.stands_still)
    failing = zoo.play(dataclasses.replace(run, steps=1000), seed=0)
    better = zoo.play(dataclasses.replace(run, steps=400, loss="nonsaturating"), seed=0)
    assert run.truth(failing)[0] and {gauge for _, gauge, _ in failing.alarms} == {"equilibrium"}
    assert not run.truth(better)[0] and not better.alarms


@pytest.mark.slow
@pytest.mark.parametrize("index", range(7))
def test_the_whole_zoo(zoo: Any, index: int) -> None:
    fine, row = zoo.judge_run(zoo.play(zoo.RUNS[index], seed=2))
    assert fine, row
