"""What a plugin author's tests import: a console that records, and the promises that every task keeps.

    from gantoolkit.testing import TaskConformance

    class TestRing(TaskConformance):
        task = "ring"
        overrides = {"nimg": 256, "batch": 16}

Needs pytest. Everything runs on the CPU with a game of a few steps; nothing is downloaded.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from gantoolkit.errors import GantkError, UsageError
from gantoolkit.plugins import current
from gantoolkit.task import Console, Options, Stage, Task, TrainConfig


class RecordingConsole(Console):
    """A console for tests: what a task says, warns and reports is kept in lists."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.warned: list[str] = []
        self.results: list[Mapping[str, Any]] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)

    def result(self, row: Mapping[str, Any]) -> None:
        self.results.append(json.loads(json.dumps(row, default=str)))  # what cannot be JSON fails here

    @contextmanager
    def progress(self, total: float | None, unit: str, description: str) -> Iterator[Any]:
        yield _Bar()


class _Bar:
    def advance(self, amount: float = 1, note: str = "") -> None:
        pass


class TaskConformance:
    """Promises of every task. Inherit it in a class whose name starts with `Test`.

    Attributes:
        task: the name of an installed task, or its class.
        overrides: options that make a training last a second: little data, small networks, a few steps.

    Override the fixture `data` when the task needs a folder to train on, and `use` to call the trained model.
    """

    task: ClassVar[str | type[Task]] = ""
    overrides: ClassVar[Mapping[str, Any]] = {}

    # ---- what an author brings ----

    @pytest.fixture
    def data(self, tmp_path: Path) -> Path | None:
        """The folder to train on; None for a task that makes its own data."""
        return None

    def use(self, loaded: Any) -> None:
        """Apply the trained model, as `task.load` returns it, to some input."""
        assert callable(loaded)

    # ---- what the tests share ----

    @pytest.fixture(autouse=True)
    def _abstract(self) -> None:
        if not self.task:
            pytest.skip("a base class: no task is set")

    @pytest.fixture
    def made(self) -> Task:
        return current().task(self.task) if isinstance(self.task, str) else self.task()

    @pytest.fixture
    def config(self, made: Task) -> Any:
        if made.Config is None:
            pytest.skip("the task is not trained")
        return made.Config(**{"device": "cpu", "precision": "fp32", **self.overrides})

    # ---- names and options ----

    def test_it_has_a_name_and_a_summary(self, made: Task) -> None:
        assert made.name and made.name == made.name.strip().lower() and " " not in made.name
        assert made.summary and "\n" not in made.summary
        if isinstance(self.task, str):
            entry = next(entry for entry in current().tasks() if entry.name == self.task)
            assert (entry.name, entry.summary) == (made.name, made.summary)

    def test_every_option_is_described(self, made: Task) -> None:
        for model in _models(made):
            bare = [name for name, field in model.model_fields.items() if not field.description]
            assert not bare, f"{model.__name__}: no description of {', '.join(bare)}"

    def test_unknown_options_are_refused(self, made: Task) -> None:
        from pydantic import ValidationError

        for model in _models(made):
            with pytest.raises(ValidationError, match=r"(?i)extra"):
                model(**{"no_such_option": 1})

    def test_options_become_a_command_line(self, made: Task) -> None:
        import click

        from gantoolkit.cli.options import parameters

        for model in _models(made):
            names = [flag for parameter in parameters(model) for flag in parameter.opts]
            assert len(set(names)) == len(names), f"{model.__name__}: an option's name is taken twice"
            command = click.Command(made.name, params=parameters(model))
            assert command.get_help(click.Context(command))

    def test_the_config_survives_json_and_toml(self, config: TrainConfig) -> None:
        as_json = config.model_dump(mode="json")
        assert type(config)(**json.loads(json.dumps(as_json))) == config
        toml = "\n".join(f"{key} = {json.dumps(value)}" for key, value in as_json.items() if value is not None)
        assert type(config)(**tomllib.loads(toml)) == config

    def test_presets_make_sense(self, made: Task) -> None:
        if made.presets:
            assert made.Config is not None, "presets of a task that is not trained"
        for name, preset in made.presets.items():
            assert made.Config is not None and made.stages(made.Config(**preset)), name

    # ---- the game ----

    @pytest.fixture
    def stages(self, made: Task, config: Any) -> list[Stage]:
        stages = list(made.stages(config))
        assert stages, "a training needs at least one stage"
        assert len({stage.name for stage in stages}) == len(stages), "two stages have one name"
        assert all(stage.nimg > 0 for stage in stages)
        return stages

    def test_a_phase_moves_its_own_player_only(
        self, made: Task, config: Any, stages: list[Stage], data: Path | None
    ) -> None:
        dataset = made.dataset(config, data)
        for stage in stages:
            for index in range(len(made.game(config, dataset, stage.name).phases)):
                game = made.game(config, dataset, stage.name)  # a game anew: an engine keeps what it plays
                phase = game.phases[index]
                engine = _engine(dataclasses.replace(game, phases=[phase]), config, dataset)
                before = _parameters(game)
                engine.step()
                moved = {name for name, values in _parameters(game).items() if values != before[name]}
                own = set(game.player(phase.player).networks)
                assert moved, f"{stage.name}/{phase.name} moves nothing"
                assert moved <= own, f"{stage.name}/{phase.name} moves {', '.join(moved - own)} too"

    def test_a_saved_game_goes_on_as_if_nothing_had_happened(
        self, made: Task, config: Any, stages: list[Stage], data: Path | None, tmp_path: Path
    ) -> None:
        from gantoolkit import checkpoint

        dataset = made.dataset(config, data)
        for stage in stages:
            first = _engine(made.game(config, dataset, stage.name), config, dataset)
            for _ in range(2):
                first.step()
            saved = checkpoint.save(first.state_dict(), tmp_path / "saved" / stage.name)
            for _ in range(2):
                first.step()
            second = _engine(made.game(config, made.dataset(config, data), stage.name), config, dataset)
            second.load_state_dict(checkpoint.load(saved))
            for _ in range(2):
                second.step()
            assert not _differences(first.state_dict(), second.state_dict())

    def test_a_fingerprint_tells_data_apart(self, made: Task, config: Any, data: Path | None) -> None:
        first = getattr(made.dataset(config, data), "fingerprint", None)
        if first is None or data is None:
            return  # a run then knows its data by their number only
        assert isinstance(first, str) and getattr(made.dataset(config, data), "fingerprint", None) == first
        files = sorted(path for path in data.rglob("*") if path.is_file() and not path.name.startswith("."))
        pairs = [
            (a, b)
            for a, b in itertools.pairwise(sorted(files, key=lambda path: (path.suffix, path)))
            if a.suffix == b.suffix and a.read_bytes() != b.read_bytes()
        ]
        for one, other in pairs:  # not every file need be one of the data
            contents = one.read_bytes(), other.read_bytes()
            one.write_bytes(contents[1])
            other.write_bytes(contents[0])
            if getattr(made.dataset(config, data), "fingerprint", None) != first:
                return
        assert not pairs, f"files of {data} were swapped, and the fingerprint stayed"

    def test_samples_are_pictures(self, made: Task, config: Any, stages: list[Stage], data: Path | None) -> None:
        import numpy as np
        import torch

        dataset = made.dataset(config, data)
        for stage in stages:
            networks = made.game(config, dataset, stage.name).networks()
            with torch.no_grad():
                for network in networks.values():
                    network.eval()
                pictures, again = (_pictures(made.sample(config, dataset, networks)) for _ in range(2))
            assert list(pictures) == list(again), f"{stage.name}: other names when drawn again"
            for name, picture in pictures.items():
                where = f"{stage.name}/{name}"
                assert isinstance(name, str) and name.strip() and not set(name) & set("/\\"), (
                    f"{where}: not a file name"
                )
                assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3, where
                assert np.array_equal(picture, again[name]), f"{where}: the inputs are not fixed"

    # ---- a whole training, and what comes out ----

    def test_a_training_ends_in_a_model_that_loads_and_works(
        self, made: Task, config: Any, data: Path | None, tmp_path: Path
    ) -> None:
        import torch

        from gantoolkit.model import Model
        from gantoolkit.plugins import Plugins
        from gantoolkit.train import Training

        outcome = Training(made, config, data, tmp_path / "run", plugins=Plugins()).play()
        assert outcome.nimg >= sum(stage.nimg for stage in made.stages(config))
        again = Training(made, config, data, tmp_path / "run", plugins=Plugins()).play()
        assert again.nimg == outcome.nimg, "a finished run goes on when it is asked again"
        if outcome.model is None:
            assert type(made).model is Task.model, "a task that makes models made none"
            return
        model = Model.load(outcome.model)
        assert model.task == made.name
        copy = Model.load(model.save(tmp_path / "copy", half=False))
        assert copy.config == model.config
        for variant, state in model.weights.items():
            assert all(torch.equal(value, copy.weights[variant][key]) for key, value in state.items())
        if type(made).load is not Task.load:
            self.use(made.load(model))

    # ---- mistakes ----

    def test_mistakes_are_explained(self, made: Task, tmp_path: Path) -> None:
        """A model that is not there ends in one line and an exit code, not in a traceback."""
        from gantoolkit.cli.options import validated

        for model, act in [(made.RunOptions, made.run), (made.EvalOptions, made.evaluate)]:
            if model is None:
                with pytest.raises(UsageError):
                    act(None, RecordingConsole())
            elif "model" in model.model_fields:
                with pytest.raises(GantkError):
                    act(validated(model, {"model": str(tmp_path / "no-such-model")}), RecordingConsole())


def _models(task: Task) -> list[type[Options]]:
    return [model for model in (task.Config, task.RunOptions, task.EvalOptions) if model is not None]


def _engine(game: Any, config: TrainConfig, dataset: Any) -> Any:
    from gantoolkit.data import Batches
    from gantoolkit.engine import Engine, Settings

    settings = Settings(device="cpu", precision="fp32", channels_last=config.channels_last, seed=config.seed)
    return Engine(game, Batches(dataset, config.batch, seed=config.seed), settings)


def _pictures(shown: Any) -> dict[str, Any]:
    """What `Task.sample` gave as pictures by name."""
    if shown is None:
        return {}
    return dict(shown) if isinstance(shown, Mapping) else {"samples": shown}


def _parameters(game: Any) -> dict[str, bytes]:
    """Network → its parameters' bytes."""
    return {
        name: b"".join(parameter.detach().numpy().tobytes() for parameter in network.parameters())
        for name, network in game.networks().items()
    }


def _differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two state trees differ in any bit."""
    import torch

    if isinstance(one, torch.Tensor):
        same = one.dtype == other.dtype and one.shape == other.shape and bool(torch.equal(one, other))
        return [] if same else [path]
    if isinstance(one, Mapping):
        keys = one.keys() | other.keys()
        return [d for key in keys for d in _differences(one.get(key), other.get(key), f"{path}/{key}")]
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        return [d for i, (a, b) in enumerate(zip(one, other, strict=True)) for d in _differences(a, b, f"{path}/{i}")]
    return [] if one == other else [path]


__all__ = ["RecordingConsole", "TaskConformance"]
