"""Several processes give what one process gives on the joined batch: proved with gloo on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gantoolkit.distributed import Team
from tests.games import differences, play_together, relative
from tests.tolerances import TOL

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins")])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "-m", "tests.games", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    play_together(folder)
    return [torch.load(folder / f"world{world}.pt") for world in (1, 2)]


def test_two_processes_give_the_gradient_of_one(reports):
    one, two = (report["gradients"] for report in reports)
    assert {name: len(moves) for name, moves in one.items()} == {"critic": 8, "generator": 5}
    for name, moves in one.items():
        for a, b in zip(moves, two[name], strict=True):
            whole, parts = torch.cat([g.flatten() for g in a]), torch.cat([g.flatten() for g in b])
            assert relative(parts, whole) < TOL["distributed gradient, relative"]


def test_two_processes_end_with_the_same_networks_and_averages(reports):
    one, two = reports
    for kind in ("weights", "ema"):
        for name, state in one[kind].items():
            for key, value in state.items():
                assert relative(two[kind][name][key], value) < TOL["distributed gradient, relative"], (kind, name, key)
    assert differences(one["weights"], one["ema"])  # the average is not the network


def test_each_process_takes_its_rows_and_nimg_counts_them_all(reports):
    one, two = reports
    (whole,) = one["rows"]
    assert [a + b for a, b in zip(*two["rows"], strict=True)] == whole
    assert one["nimg"] == two["nimg"] == 40


def test_logged_losses_are_those_of_the_joined_batch(reports):
    one, two = reports
    for a, b in zip(one["losses"], two["losses"], strict=True):
        assert a == pytest.approx(b, rel=1e-5)


def test_messages_between_processes(reports):
    _, two = reports
    assert two["same"] == 0.0  # the leader's picture, channels last
    assert two["flags"] == (True, False)
    assert two["gathered"] == [0, 1]
    assert two["rng"] == 2  # each has random numbers of its own


def test_one_process_needs_no_group():
    team, tensor = Team(), torch.ones(2)
    team.mean_([tensor])
    team.same_([tensor])
    team.barrier()
    assert (team.leader, team.gather(3), team.any(True), team.any(False)) == (True, [3], True, False)
    assert tensor.tolist() == [1, 1]
