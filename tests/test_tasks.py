"""One body over every task that this project registers: the conformance class that plugin authors inherit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from gantk_augment import fit
from gantoolkit.cli import call
from gantoolkit.game import Game
from gantoolkit.plugins import discover
from gantoolkit.task import Task, TrainConfig, option
from gantoolkit.testing import RecordingConsole, TaskConformance
from tests.games import Toy
from tests.generate.shapes import draw_shapes
from tests.text2image.data_sets import with_jsonl
from tests.text2image.tiny import TINY
from tests.translate.data_sets import pairs

OURS = [name for record in discover(installed=False).records for name in record.tasks]


class TestSuperres(TaskConformance):
    task = "superres"
    overrides: ClassVar[dict[str, Any]] = {
        "channels": 8,
        "blocks": 1,
        "critic_channels": 8,
        "patch": 32,
        "batch": 2,
        "fidelity_nimg": 4,
        "adversarial_nimg": 4,
        "penalty_every": 2,
    }

    @pytest.fixture
    def data(self, photos: Path) -> Path:
        return photos

    def use(self, loaded: Any) -> None:
        picture = np.zeros((9, 7, 3), np.uint8)
        assert loaded(picture).shape == (36, 28, 3)


class TestGenerate(TaskConformance):
    task = "generate"
    overrides: ClassVar[dict[str, Any]] = {
        "channels": 16,
        "critic_channels": 16,
        "latent": 8,
        "batch": 4,
        "nimg": 8,
        "augment": "color,translation",
        "score_pictures": 16,
        "features": "pixels@16",
    }

    @pytest.fixture
    def data(self, tmp_path: Path) -> Path:
        return draw_shapes(tmp_path / "shapes", 24)

    def use(self, loaded: Any) -> None:
        assert [picture.shape for picture in loaded(2)] == [(16, 16, 3)] * 2


class TestAugment(TaskConformance):
    task = "augment"
    overrides: ClassVar[dict[str, Any]] = {
        "channels": 16,
        "batch": 4,
        "nimg": 8,
        "classifier_nimg": 256,
        "folds": 2,
        "confidence": 0.0,
        "outliers": 0.0,
    }

    @pytest.fixture
    def data(self, tmp_path: Path) -> Path:
        return draw_shapes(tmp_path / "shapes", 12)

    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fit, "CANDIDATES", 64)
        monkeypatch.setattr(fit, "SCORED", 16)

    def use(self, loaded: Any) -> None:
        pictures, parameters = loaded(["disc", "square"], [0, 1])
        assert pictures.shape == (2, 16, 16, 3) and [how["seed"] for how in parameters] == [0, 1]


class TestText2Image(TaskConformance):
    task = "text2image"
    overrides: ClassVar[dict[str, Any]] = {
        **TINY,
        "batch": 4,
        "nimg": 8,
        "penalty_every": 2,
        "match_penalty": 1.0,
        "attribute_weight": 0.5,
        "augment": "color,translation",
        "held_out": 0.3,
        "score_pictures": 8,
    }

    @pytest.fixture
    def data(self, tmp_path: Path) -> Path:
        return with_jsonl(tmp_path / "captioned", 24)

    def use(self, loaded: Any) -> None:
        assert [picture.shape for picture in loaded(["a red bar", "green, left"], number=2)] == [(32, 32, 3)] * 4


class TestTranslate(TaskConformance):
    task = "translate"
    overrides: ClassVar[dict[str, Any]] = {
        "size": 16,
        "batch": 2,
        "nimg": 8,
        "channels": 8,
        "blocks": 1,
        "levels": 2,
        "critic_channels": 8,
        "critic_layers": 2,
        "penalty_every": 2,
        "score_pictures": 2,
    }

    @pytest.fixture
    def data(self, tmp_path: Path) -> Path:
        return pairs(tmp_path / "pairs", 12)

    def use(self, loaded: Any) -> None:
        assert loaded(np.zeros((9, 7, 3), np.uint8)).shape == (9, 7, 3)


class TestTranslateWithoutPairs(TestTranslate):
    """CycleGAN: two generators under one optimizer, two critics, pools, a model that goes both ways."""

    overrides: ClassVar[dict[str, Any]] = {
        "game": "cyclegan",
        "size": 16,
        "batch": 2,
        "nimg": 8,
        "channels": 8,
        "blocks": 1,
        "critic_channels": 8,
        "critic_layers": 2,
        "pool": 3,
        "score_pictures": 4,
    }


class TestContrast(TestTranslate):
    """CUT: a third player."""

    overrides: ClassVar[dict[str, Any]] = {
        **{k: v for k, v in TestTranslateWithoutPairs.overrides.items() if k != "pool"},
        "game": "cut",
        "nce_patches": 8,
    }


class DescribedConfig(TrainConfig):
    stage_nimg: int = option(32, "points a stage")
    pause: float = option(0.0, "seconds that a batch takes")


class DescribedToy(Toy):
    Config = DescribedConfig


class TestToy(TaskConformance):
    """A task that is only a class, as an author starts with; its game has a pool and lazy terms."""

    task = DescribedToy
    overrides: ClassVar[dict[str, Any]] = {"batch": 8}


def test_every_task_of_ours_is_held_to_the_promises() -> None:
    held = {cls.task for cls in TaskConformance.__subclasses__() if cls.__name__.startswith("Test")}
    assert OURS and set(OURS) <= held


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("verb", ["run", "train", "eval"])
def test_every_task_explains_itself(name: str, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call([verb, name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"Usage: gantk {verb} {name}" in shown and "PydanticUndefined" not in shown


def test_the_console_keeps_what_it_hears() -> None:
    console = RecordingConsole()
    console.say("a")
    console.warn("b")
    console.result({"path": Path("x")})
    with console.progress(3, "files", "working") as bar:
        bar.advance(1)
    assert (console.said, console.warned, console.results) == (["a"], ["b"], [{"path": "x"}])
    with pytest.raises(TypeError):
        console.result({("a", "b"): 1})


class Forgetful(DescribedToy):
    """Its game keeps a random number outside what is saved."""

    def game(self, config: Any, dataset: Any, stage: str) -> Game:
        game, drawn = super().game(config, dataset, stage), []

        def prepare(batch: Mapping[str, Any], generator: torch.Generator) -> Mapping[str, Any]:
            drawn.append(0)
            return {**batch, "x": batch["x"] + len(drawn)}

        game.prepare = prepare
        return game


class FloatPictures(DescribedToy):
    def sample(self, config: Any, dataset: Any, networks: Any) -> Any:
        return np.zeros((4, 4, 3))


class Nameless(DescribedToy):
    name = "Not A Name"


@pytest.mark.parametrize(
    ("task", "promise", "wants"),
    [
        (Forgetful, "test_a_saved_game_goes_on_as_if_nothing_had_happened", ["data", "tmp_path"]),
        (FloatPictures, "test_samples_are_pictures", ["data"]),
        (Nameless, "test_it_has_a_name_and_a_summary", []),
        (Toy, "test_every_option_is_described", []),
    ],
)
def test_a_broken_promise_is_noticed(task: type[Task], promise: str, wants: list[str], tmp_path: Path) -> None:
    made = task()
    values: dict[str, Any] = {"data": None, "tmp_path": tmp_path}
    arguments = {name: values[name] for name in wants}
    if wants:
        assert made.Config is not None
        config = made.Config(batch=8, device="cpu", precision="fp32")
        arguments |= {"config": config, "stages": made.stages(config)}
    conformance = type("Case", (TaskConformance,), {"task": task})()
    with pytest.raises(AssertionError):
        getattr(conformance, promise)(made, **arguments)
