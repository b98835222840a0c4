"""Trainings on disk: killed, interrupted, damaged, diverging, and always ending where a run left alone ends."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from gantoolkit import checkpoint
from gantoolkit.errors import Interrupted, TrainingError, UsageError
from gantoolkit.game import Term
from gantoolkit.plugins import Plugins
from gantoolkit.runlog import read_log
from gantoolkit.train import ROLL_BACKS, Training
from tests.games import Toy, ToyConfig, differences

ROOT = Path(__file__).parents[1]
OPTIONS: dict[str, Any] = {
    "threads": 1,  # as the children have: other sums round otherwise
    "batch": 8,
    "device": "cpu",
    "precision": "fp32",
    "log_nimg": 16,
    "checkpoint_nimg": 40,
    "sample_nimg": 10**9,
    "score_nimg": 10**9,
}


def training(run: Path, task: Toy | None = None, **options: Any) -> Training:
    return Training(task or Toy(), ToyConfig(**OPTIONS | options), None, run, plugins=Plugins())


def result(run: Path) -> dict[str, Any]:
    """What a finished run leaves, bit by bit: the networks of each stage, and the model's file."""
    final = checkpoint.load(checkpoint.newest(run / "checkpoints"))
    model = (run / "model" / "model.safetensors").read_bytes()
    steps = [
        {key: value for key, value in row.items() if key not in ("time", "rate")}
        for row in read_log(run)
        if row["kind"] == "step"
    ]
    return {"finished": final["finished"], "played": final["played"], "model": model.hex(), "steps": steps}


def events(run: Path) -> list[str]:
    return [row["text"] for row in read_log(run) if row["kind"] == "event"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run left alone."""
    run = tmp_path_factory.mktemp("alone") / "run"
    training(run).play()
    return result(run)


def test_a_run_leaves_what_it_promises(tmp_path, alone):
    run = tmp_path / "run"
    outcome = training(run).play()
    assert (outcome.run, outcome.model, outcome.nimg) == (run, run / "model", 480)
    assert json.loads((run / "config.json").read_text())["config"]["batch"] == 8
    assert (run / "report.html").is_file()
    assert alone["played"][0] == alone["played"][1]
    assert {row["stage"] for row in alone["steps"]} == {"first", "second"}
    assert len(checkpoint.listed(run / "checkpoints")) == 2
    assert differences(result(run), alone) == []  # and it can be repeated


def test_stages_go_on_from_the_averaged_networks(tmp_path):
    starts: list[Any] = []

    class Watched(Toy):
        def sample(self, config, dataset, networks):
            starts.append({name: {k: v.clone() for k, v in n.state_dict().items()} for name, n in networks.items()})

    run = tmp_path / "run"
    training(run, Watched(), stage_nimg=64).play()
    finished = checkpoint.load(checkpoint.newest(run / "checkpoints"))["finished"]
    assert len(starts) == 4
    assert differences(starts[1], finished["first"]) == []
    assert differences(starts[2], finished["first"]) == []
    assert differences(starts[2], starts[0])


def test_a_finished_run_has_nothing_left_to_do(tmp_path, alone, monkeypatch):
    run = tmp_path / "run"
    training(run).play()
    monkeypatch.setattr("gantoolkit.engine.Engine.step", lambda self: pytest.fail("played on"))
    outcome = training(run).play()
    assert outcome.nimg == 480
    assert differences(result(run), alone) == []


def stop_at(task_run: Training, nimg: int, number: int = signal.SIGTERM) -> None:
    """Send this process a signal when the log reaches `nimg`."""
    before = task_run.on_row

    def on_row(row: Any) -> None:
        before(row)
        if row.get("kind") == "step" and row["nimg"] >= nimg and not getattr(task_run, "told", False):
            task_run.told = True  # type: ignore[attr-defined]
            os.kill(os.getpid(), number)

    task_run.on_row = on_row


@pytest.mark.parametrize("number, at", [(signal.SIGTERM, 100), (signal.SIGINT, 300)])
def test_a_signal_saves_at_the_steps_end_and_the_run_goes_on(tmp_path, alone, number, at):
    run = tmp_path / "run"
    first = training(run)
    stop_at(first, at, number)
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match=f"stopped by {signal.Signals(number).name}.*the same command"):
        first.play()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    saved = checkpoint.newest(run / "checkpoints").name
    assert at <= int(saved[5:]) < at + 32
    assert events(run)[-1] == "run interrupted"
    training(run).play()
    assert f"resumed at {int(saved[5:])} images from {saved}" in events(run)
    assert differences(result(run), alone) == []


@pytest.mark.parametrize("options", [{"precision": "bf16"}, {"accumulate": 2}, {"workers": 1}, {"precision": "fp16"}])
def test_interrupted_runs_of_other_settings_end_alike(tmp_path, options):
    training(tmp_path / "alone", stage_nimg=120, **options).play()
    cut = training(tmp_path / "cut", stage_nimg=120, **options)
    stop_at(cut, 150)
    with pytest.raises(Interrupted):
        cut.play()
    training(tmp_path / "cut", stage_nimg=120, **options).play()
    assert differences(result(tmp_path / "cut"), result(tmp_path / "alone")) == []


def test_a_damaged_checkpoint_is_passed_over_and_made_again(tmp_path, alone):
    run = tmp_path / "run"
    first = training(run)
    stop_at(first, 360)
    with pytest.raises(Interrupted):
        first.play()
    newest, before = checkpoint.listed(run / "checkpoints")
    data = bytearray((newest / "state.safetensors").read_bytes())
    data[len(data) // 2] ^= 1
    (newest / "state.safetensors").write_bytes(data)
    second = training(run)
    stop_at(second, 360)  # at the same place again
    with pytest.raises(Interrupted):
        second.play()
    text = events(run)
    assert any(f"checkpoint {newest.name} is damaged" in line and "does not match its hash" in line for line in text)
    assert any(f"from {before.name}" in line for line in text)
    assert checkpoint.newest(run / "checkpoints") == newest
    training(run).play()
    assert differences(result(run), alone) == []


# ---- SIGKILL ----

CHILD = """
import sys
from pathlib import Path
from tests.test_train import training
training(Path(sys.argv[1])).play()
"""


def kill_at(run: Path, nimg: int, delay: float) -> None:
    """Start the run in a child; `delay` seconds after its log has reached `nimg`, SIGKILL it."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "plugins")])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PAUSE": "0.03"}
    command = [sys.executable, "-c", CHILD, str(run)]
    child = subprocess.Popen(command, cwd=ROOT, env=env, text=True, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and child.poll() is None:
        rows = read_log(run) if run.is_dir() else []
        if rows and rows[-1]["nimg"] >= nimg:
            break
        time.sleep(0.005)
    time.sleep(delay)
    child.kill()
    _, errors = child.communicate()
    assert child.returncode == -signal.SIGKILL, f"the child was not killed in time: {errors[-2000:]}"


def survives(run: Path, alone: dict[str, Any], kills: list[tuple[int, float]]) -> None:
    """Kill a run at the given places, end it, and compare it with one left alone."""
    for nimg, delay in kills:
        kill_at(run, nimg, delay)
    assert not (run / "model").exists(), "killed too late"
    training(run).play()
    assert differences(result(run), alone) == []
    assert not list((run / "checkpoints").glob("*.tmp"))


def test_a_killed_run_ends_as_one_left_alone(tmp_path, alone):
    chance = random.Random()
    before_the_first_checkpoint, later = chance.choice((0, 16)), chance.choice((64, 160, 304))
    places = [before_the_first_checkpoint, later]
    survives(tmp_path / "run", alone, [(nimg, chance.uniform(0, 0.1)) for nimg in places])


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(10))
def test_killed_at_any_moment(tmp_path, alone, attempt):
    chance = random.Random()
    places = sorted(chance.randrange(0, 400) for _ in range(3))
    survives(tmp_path / "run", alone, [(nimg, chance.uniform(0, 0.15)) for nimg in places])


# ---- divergence ----


class Flawed(Toy):
    """A term that is not finite from an image on, as long as the critic's rate is above `cured_below`."""

    def __init__(self, from_nimg: int, cured_below: float) -> None:
        self.from_nimg, self.cured_below = from_nimg, cured_below
        self.trainer: Training | None = None

    def game(self, config: Any, dataset: Any, stage: str) -> Any:
        game = super().game(config, dataset, stage)
        phase = game.phases[0]

        def flaw(ctx: Any) -> torch.Tensor:
            engine = self.trainer.engine if self.trainer else None
            bad = engine is not None and ctx.nimg > self.from_nimg and engine.rate_scale > self.cured_below
            return ctx.networks["critic"](ctx["x"]).mean() * (float("nan") if bad else 0.0)

        phase.terms.append(Term("flaw", flaw))
        return game


def flawed(run: Path, from_nimg: int, cured_below: float) -> Training:
    task = Flawed(from_nimg, cured_below)
    task.trainer = training(run, task)
    return task.trainer


def test_a_diverging_run_goes_back_at_half_the_rate(tmp_path):
    run = tmp_path / "run"
    assert flawed(run, 110, cured_below=0.3).play().nimg == 480
    text = events(run)
    backs = [line for line in text if line.startswith("rolled back")]
    assert [line[-5:] for line in backs] == [" ×0.5", "×0.25"] * 2  # in each stage
    assert all("nimg-" in line and "moves in a row were not finite, last in term critic/flaw" in line for line in backs)
    good = int(backs[0].split("nimg-")[1][:9])
    assert 40 < good <= 110  # saved before the failures, not amid them
    rates = {row["nimg"]: row["lr"]["critic"] for row in read_log(run) if row["kind"] == "step"}
    first = [nimg for nimg in rates if nimg <= good]
    later = [nimg for nimg in rates if good < nimg <= 240]
    plain = 2e-3 * 3 / 4  # corrected for a lazy term
    assert [rates[n] for n in first] == pytest.approx([plain] * len(first))
    assert [rates[n] for n in later] == pytest.approx([plain / 4] * len(later))


def test_a_run_that_keeps_diverging_stops_with_a_clear_error(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(TrainingError, match=f"diverged in term critic/flaw, after {ROLL_BACKS} roll-backs; lower"):
        flawed(run, 110, cured_below=0.0).play()
    assert sum(line.startswith("rolled back") for line in events(run)) <= ROLL_BACKS
    assert events(run)[-1] == "run failed"


def test_divergence_before_the_first_checkpoint(tmp_path):
    with pytest.raises(TrainingError, match="no checkpoint to go back to"):
        flawed(tmp_path / "run", 0, cured_below=0.0).play()


def test_a_failed_start_does_not_keep_the_mended_command_from_its_folder(tmp_path, alone):
    class Large(Toy):
        def game(self, config, dataset, stage):
            if config.batch > 8:
                raise UsageError("too large a batch")
            return super().game(config, dataset, stage)

    run = tmp_path / "runs" / "run"
    with pytest.raises(UsageError, match="too large"):
        training(run, Large(), batch=16).play()
    assert not run.exists()
    training(run, Large()).play()
    assert differences(result(run), alone) == []
    with pytest.raises(UsageError, match="another batch"):
        training(run, Large(), batch=16).play()
    assert differences(result(run), alone) == []


def test_a_failed_start_leaves_what_was_there_before(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(TypeError):
        training(tmp_path, type("Broken", (Toy,), {"game": None})()).play()
    assert (tmp_path / "mine.txt").read_text() == "mine"


# ---- looking at the networks ----


def test_looking_leaves_no_trace_in_the_run(tmp_path, alone):
    import numpy as np

    from gantoolkit.metrics import MetricCard

    class Looking(Toy):
        values = iter([1.0, 3.0, 2.0, 2.5, 9.0, 1.0, 1.0, 1.0, 1.0, 1.0])

        def sample(self, config, dataset, networks):
            assert not any(network.training for network in networks.values())
            torch.rand(3), np.random.rand(2), random.random()
            return np.zeros((4, 4, 3), np.uint8)

        def score(self, config, dataset, networks, stage):
            torch.rand(1)
            return [MetricCard("quality", next(self.values))]

    run = tmp_path / "run"
    training(run, Looking(), sample_nimg=50, score_nimg=64, keep=1).play()
    seen = result(run)
    assert differences(seen, alone) == []
    assert len(list((run / "samples").glob("*.png"))) >= 8
    best = checkpoint.load(checkpoint.newest(run / "checkpoints"))["best"]
    assert best["stage"] == "second"
    assert (run / "checkpoints" / best["checkpoint"]).is_dir()
    assert len(checkpoint.listed(run / "checkpoints")) <= 2


def test_the_largest_seed_trains(tmp_path):
    assert training(tmp_path / "run", seed=2**62, stage_nimg=8).play().nimg == 32
