"""CycleGAN's game: its terms are the paper's formulas, nothing is computed twice, and it goes on bit by bit."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from gantk_translate import games
from gantk_translate.sides import Side
from gantk_translate.task import OTHER_WAY
from gantoolkit import checkpoint
from gantoolkit.errors import UsageError
from gantoolkit.model import MAIN, Model
from tests.games import differences, relative
from tests.tolerances import TOL
from tests.translate import playing

ROOT = Path(__file__).parents[2]


def test_the_game_is_the_papers() -> None:
    game = playing.make(playing.config("cyclegan"))
    assert {player.name: list(player.networks) for player in game.players} == {
        "generator": ["generator", "back"], "critic": ["critic", "critic_back"],
    }  # fmt: skip
    generator, critic = game.phases
    # with the losses that the core halves by their definition: (D - 1)² of the generators, half of it of the critics
    assert {term.name: term.weight for term in generator.terms} == {
        "adversarial": 2.0, "cycle": 10.0, "identity": 5.0,
        "adversarial_back": 2.0, "cycle_back": 10.0, "identity_back": 5.0,
    }  # fmt: skip
    assert {term.name: term.weight for term in critic.terms} == {"adversarial": 1.0, "adversarial_back": 1.0}
    assert game.state["pool_b"].room == game.state["pool_a"].room == 50


def test_terms_without_weight_are_not_computed() -> None:
    generator, _ = playing.make(playing.config("cyclegan", identity_weight=0)).phases
    assert [term.name for term in generator.terms] == ["adversarial", "cycle", "adversarial_back", "cycle_back"]
    generator, _ = playing.make(playing.config("cyclegan", identity_weight=0, cycle_weight=0)).phases
    assert [term.name for term in generator.terms] == ["adversarial", "adversarial_back"]
    generator, _ = playing.make(playing.config("cyclegan", cycle_weight=0)).phases  # identity is a share of it
    assert [term.name for term in generator.terms] == ["adversarial", "adversarial_back"]


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_a_training_starts_from_the_weights_of_its_direction(direction: str, tmp_path: Path) -> None:
    states = [playing.make(playing.config("cyclegan"), seed=i).networks()["generator"].state_dict() for i in (1, 2)]
    known = {"direction": "AtoB"}
    Model("translate", known, {MAIN: states[0], OTHER_WAY: states[1]}).save(tmp_path / "m", half=False)
    chosen = playing.config("cyclegan", init=tmp_path / "m", direction=direction)
    networks = games.make(chosen, Side(), Side()).networks()
    for name, state in zip(("generator", "back"), states if direction == "AtoB" else states[::-1], strict=True):
        assert not differences(networks[name].state_dict(), state)


def by_hand(nets: dict[str, Any], batch: Any, identity: bool) -> dict[str, torch.Tensor]:
    a, b, expected = batch["a"], batch["b"], {}
    ways = [("", "generator", "back", "critic", a, b), ("_back", "back", "generator", "critic_back", b, a)]
    for suffix, there, back, critic, source, target in ways:
        fake = nets[there](source)
        (real_scores,), (fake_scores,) = nets[critic](target), nets[critic](fake)
        expected[f"generator/adversarial{suffix}"] = (fake_scores - 1).square().mean() / 2
        expected[f"generator/cycle{suffix}"] = (nets[back](fake) - source).abs().mean()  # eq. 2
        expected[f"critic/adversarial{suffix}"] = ((real_scores - 1).square().mean() + fake_scores.square().mean()) / 2
        if identity:
            expected[f"generator/identity{suffix}"] = (nets[there](target) - target).abs().mean()
    return expected


@pytest.mark.parametrize("changes", [{}, {"norm": "none"}, {"norm": "batch"}, {"identity_weight": 0.0}])
def test_the_first_step_reports_what_is_computed_by_hand(changes: dict[str, Any]) -> None:
    chosen = playing.config("cyclegan", lr=1e-12, **changes)
    planes = (1, 4) if chosen.identity_weight == 0 else (3, 3)
    game, batch = playing.make(chosen, planes), playing.first_batch(chosen, planes)
    nets = {name: copy.deepcopy(net).train() for name, net in game.networks().items()}
    with torch.no_grad():
        expected = by_hand(nets, batch, chosen.identity_weight > 0)
    got = playing.engine_of(game, chosen, planes).step().losses
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name] == pytest.approx(value.item(), rel=1e-5), name


@pytest.mark.parametrize(
    ("phase", "own"), [("generator", ["generator", "back"]), ("critic", ["critic", "critic_back"])]
)
def test_only_the_moving_players_networks_move(phase: str, own: list[str]) -> None:
    chosen = playing.config("cyclegan")
    for name, parameters in playing.moved(playing.make(chosen), phase, chosen).items():
        assert any(parameters) == (name in own), name
        assert name != "generator" or all(parameters) == (phase == "generator")


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize(("cycle", "identity", "passes"), [(10.0, 0.5, 3), (10.0, 0.0, 2), (0.0, 0.5, 1)])
def test_generators_run_as_often_as_the_formula_needs(
    accumulate: int, norm: str, cycle: float, identity: float, passes: int
) -> None:
    """Translation, there and back again, identity: each sample once a generator and term, none for critics."""
    chosen = playing.config("cyclegan", cycle_weight=cycle, identity_weight=identity, norm=norm)
    game, rows = playing.make(chosen), {"generator": 0, "back": 0}
    engine = playing.engine_of(game, chosen, accumulate=accumulate)

    def count(name: str) -> Any:
        def hook(network: Any, given: Any, made: torch.Tensor) -> None:
            rows[name] += len(made)

        return hook

    for name in rows:
        game.networks()[name].register_forward_hook(count(name))
    for _ in range(2):
        engine.step()
    assert rows == {"generator": 2 * passes * chosen.batch, "back": 2 * passes * chosen.batch}


def test_critics_see_the_outputs_of_before_the_generators_moved() -> None:
    chosen = playing.config("cyclegan", pool=0, lr=0.1)
    game, batch, seen = playing.make(chosen), playing.first_batch(chosen), []
    with torch.no_grad():
        before = game.networks()["generator"](batch["a"])
    engine = playing.engine_of(game, chosen)
    game.networks()["critic"].register_forward_pre_hook(lambda net, given: seen.append(given[0]))
    engine.step()
    assert [len(x) for x in seen] == [4, 8]  # the generators' phase; real and shown in one pass
    assert (seen[1][:4] - batch["b"]).abs().max() == 0
    assert (seen[1][4:] - before).abs().max() < TOL["row alone vs in a batch, absolute"]
    with torch.no_grad():
        assert (game.networks()["generator"](batch["a"]) - before).abs().max() > 1e-3


@pytest.mark.parametrize("accumulate", [1, 2])
def test_it_goes_on_bit_by_bit_with_its_pools(tmp_path: Path, accumulate: int) -> None:
    chosen = playing.config("cyclegan", pool=8)

    def fresh(seed: int) -> playing.Engine:
        return playing.engine_of(playing.make(chosen, seed=seed), chosen, accumulate=accumulate)

    engine = fresh(0)
    for _ in range(4):
        engine.step()
    saved = checkpoint.save(engine.state_dict(), tmp_path / "c")
    before = engine.state_dict()["game"][0]
    assert [len(kept) for kept in before["pool_b"].values()] == [2] * 4
    reports = [engine.step() for _ in range(3)]
    assert differences(before, engine.state_dict()["game"][0])  # pictures were exchanged
    other = fresh(1)
    other.step()
    other.load_state_dict(checkpoint.load(saved))
    assert [other.step() for _ in range(3)] == reports
    assert differences(other.state_dict(), engine.state_dict()) == []


def test_micro_batches_give_the_full_batchs_gradient_with_pools() -> None:
    playing.same_moves(playing.played("cyclegan"), playing.played("cyclegan", accumulate=2))


def test_two_processes_are_one_with_their_pools(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "-m", "tests.translate.playing", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    playing.play_together(tmp_path)
    one, two = (torch.load(tmp_path / f"world{world}.pt") for world in (1, 2))
    for game in playing.EXACT:
        playing.same_moves(one[game], two[game])
    (whole,), parts = one["cyclegan"]["state"], two["cyclegan"]["state"]
    for pool in ("pool_a", "pool_b"):
        assert [list(part[pool]) for part in parts] == [["0", "1"], ["2", "3"]]  # each process keeps its rows' pictures
        for part in parts:
            for row, kept in part[pool].items():
                assert relative(kept, whole[pool][row]) < TOL["parts of a batch in fp64, relative"]


def test_sides_of_different_planes_have_no_identity() -> None:
    with pytest.raises(UsageError, match="--identity-weight 0"):
        playing.make(playing.config("cyclegan"), (1, 3))
    game = playing.make(playing.config("cyclegan", identity_weight=0.0), (1, 3))
    assert [net.head.out_channels for net in game.players[0].networks.values()] == [3, 1]
