"""What a run does with its gauges: readings in the log, alarms that warn, stop or roll back, state that resumes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gantoolkit import checkpoint
from gantoolkit.data import Batches
from gantoolkit.engine import Engine, Settings
from gantoolkit.errors import TrainingError, UsageError
from gantoolkit.game import Alarm, Game, Step
from gantoolkit.plugins import Plugins
from gantoolkit.runlog import read_log
from gantoolkit.train import ROLL_BACKS, Training
from tests.games import Points, Toy, ToyConfig, differences, simple_game
from tests.test_train import OPTIONS, events


class Bell:
    """Counts steps; gives alarm once, after so many images, as long as `forget` does not make it ring again."""

    name = "bell"

    def __init__(self, at: int = 120) -> None:
        self.at, self.seen, self.rung, self._new = at, 0, False, False

    def observe(self, step: Step) -> None:
        self.seen += 1
        if step.nimg >= self.at and not self.rung:
            self.rung = self._new = True

    def readings(self) -> dict[str, float]:
        return {"bell/seen": float(self.seen)}

    def alarms(self) -> list[Alarm]:
        new, self._new = self._new, False
        return [Alarm(self.name, "it rings", "open the door")] if new else []

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen, "rung": self.rung}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen, self.rung = state["seen"], state["rung"]


class Ringing(Toy):
    """The toy with a bell."""

    def game(self, config: Any, dataset: Any, stage: str) -> Game:
        return dataclasses.replace(super().game(config, dataset, stage), gauges=[Bell()])


def play(run: Path, **options: Any) -> None:
    config = ToyConfig(**{**OPTIONS, "stage_nimg": 160} | options)
    Training(Ringing(), config, None, run, plugins=Plugins()).play()


def test_an_alarm_warns_once_a_stage_and_readings_are_in_the_log(tmp_path: Path) -> None:
    play(tmp_path / "run")
    assert events(tmp_path / "run").count("bell: it rings; open the door") == 2
    rows = [row for row in read_log(tmp_path / "run") if row["kind"] == "step"]
    assert rows[0]["gauges"] == {"bell/seen": 1.0} and rows[-1]["gauges"]["bell/seen"] > 5


def test_an_alarm_can_stop_a_run_which_goes_on_when_asked_again(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"gauge 'bell'.*it rings.*open the door"):
        play(tmp_path / "run", on_alarm="stop")
    assert checkpoint.newest(tmp_path / "run" / "checkpoints")
    play(tmp_path / "run", on_alarm="warn")
    play(tmp_path / "whole")
    states = [checkpoint.load(checkpoint.newest(tmp_path / r / "checkpoints")) for r in ("run", "whole")]
    assert not differences(states[0]["finished"], states[1]["finished"])


def test_an_alarm_can_roll_back_at_half_the_rate(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=f"bell: it rings, after {ROLL_BACKS} roll-backs"):
        play(tmp_path / "run", on_alarm="rollback")
    said = [text for text in events(tmp_path / "run") if text.startswith("rolled back")]
    assert [text.rpartition("×")[2] for text in said] == ["0.5", "0.25", "0.125"]


def test_gauges_are_in_the_checkpoint_and_old_ones_without_them_load() -> None:
    def engine() -> Engine:
        return Engine(dataclasses.replace(simple_game(), gauges=[Bell()]), Batches(Points(), 8), Settings())

    first = engine()
    for _ in range(3):
        first.step()
    state = first.state_dict()
    second = engine()
    second.load_state_dict(state)
    assert second.game.gauges[0].readings() == {"bell/seen": 3.0}
    del state["gauges"]
    third = engine()
    third.load_state_dict(state)
    assert third.game.gauges[0].readings() == {"bell/seen": 0.0}


def test_two_gauges_of_one_name_are_refused() -> None:
    with pytest.raises(UsageError, match="gauge 'bell' is named twice"):
        dataclasses.replace(simple_game(), gauges=[Bell(), Bell()])


@pytest.mark.parametrize("accumulate", [1, 4])
def test_values_are_means_over_micro_batches(accumulate: int) -> None:
    game = simple_game()
    term = game.phases[0].terms[0]

    def noted(ctx: Any) -> torch.Tensor:
        ctx.values["mean"] = ctx["x"].mean()
        ctx.values["count"] = 2.0
        return term.fn(ctx)

    first = dataclasses.replace(game.phases[0], terms=[dataclasses.replace(term, fn=noted)])
    heard: list[Step] = []
    played = dataclasses.replace(game, phases=[first, game.phases[1]], after_step=heard.append)
    batches = Batches(Points(), 8)
    expected = Batches(Points(), 8).next()["x"].mean().item()
    step = Engine(played, batches, Settings(accumulate=accumulate)).step()
    assert step.values["mean"] == pytest.approx(expected, rel=1e-5) and step.values["count"] == 2.0
    assert heard == [step]


def test_several_named_samples(tmp_path: Path) -> None:
    class Showing(Toy):
        def sample(self, config: Any, dataset: Any, networks: Any) -> Any:
            return {"samples": np.zeros((4, 4, 3), np.uint8), "nearest neighbours": np.ones((4, 6, 3), np.uint8)}

    config = ToyConfig(**{**OPTIONS, "stage_nimg": 32, "sample_nimg": 32})
    Training(Showing(), config, None, tmp_path / "run", plugins=Plugins()).play()
    rows = [row for row in read_log(tmp_path / "run") if row["kind"] == "sample"]
    assert {(row["name"], row.get("aside", False)) for row in rows} == {
        ("samples", False),
        ("nearest neighbours", True),
    }
    assert all((tmp_path / "run" / row["file"]).is_file() for row in rows)
    assert "Nearest neighbours" in (tmp_path / "run" / "report.html").read_text()
