"""The contract of a plugin's task: its configuration, its game, its data, and what a user does with the result.

A task is a class without state. The core trains it (`gantoolkit.train`), the CLI shows it, and both see only what
stands here. Options of `gantk train`, `gantk run` and `gantk eval` are pydantic models: their fields, types and
descriptions make the command line, the TOML schema and the tables in the docs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from gantoolkit.entries import TaskEntry
from gantoolkit.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from gantoolkit.data import Dataset
    from gantoolkit.game import Game
    from gantoolkit.metrics import MetricCard
    from gantoolkit.model import Model

Device = str
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Seed = Annotated[int, Field(ge=0, le=2**62)]  # what is added to one still fits every generator of random numbers


class Options(BaseModel):
    """Base of everything a user can set: frozen; unknown keys, and numbers that are not finite, are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def option(default: Any, description: str, *flags: str, **constraints: Any) -> Any:
    """A field with its help text and, besides `--field-name`, more flags (`"-o"`).

    The flag `"ARGUMENT"` makes the field a positional argument (a list takes any number).
    """
    return Field(default, description=description, json_schema_extra={"flags": list(flags)}, **constraints)


class TrainConfig(Options):
    """What every task's training can be told. A task adds its own fields."""

    batch: PositiveInt = option(16, "real images a step, all processes together")
    seed: Seed = option(0, "seed of everything random")
    device: Device = option("auto", "cpu, cuda, mps or auto")
    precision: Precision = option("auto", "of the networks: fp32, bf16, fp16 or auto (bf16 where it is fast)")
    accumulate: PositiveInt = option(1, "micro-batches a move: less memory, same gradient")
    channels_last: bool = option(True, "memory layout that convolutions like")
    compile: bool = option(False, "run the networks through torch.compile")
    workers: int = option(0, "processes that prepare data; 0 does it in the training process", ge=0)
    threads: int = option(0, "CPU threads; 0 leaves it to torch", ge=0)
    log_nimg: PositiveInt = option(1_000, "images between two lines of the log")
    sample_nimg: PositiveInt = option(20_000, "images between two sample pictures")
    score_nimg: PositiveInt = option(50_000, "images between two evaluations")
    checkpoint_nimg: PositiveInt = option(20_000, "images between two checkpoints")
    keep: PositiveInt = option(2, "newest checkpoints to keep, besides the best")
    on_alarm: Literal["warn", "stop", "rollback"] = option("warn", "what to do when a gauge of the game gives alarm")


# of a training, those that change no result (threads: but for rounding): a run goes on with others
FREE = frozenset({"log_nimg", "sample_nimg", "score_nimg", "checkpoint_nimg", "keep", "threads", "workers", "on_alarm"})


@dataclass(frozen=True)
class Stage:
    """One part of a training with a game of its own; networks of the same name go on from the stage before."""

    name: str
    nimg: int


@dataclass
class DataReport:
    """What `gantk data check` found: facts, problems by file, and what to do next."""

    facts: dict[str, str] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)
    usable: bool = True


class Console(ABC):
    """How a task speaks while it works; the CLI and the tests bring their own."""

    @abstractmethod
    def say(self, text: str) -> None:
        """One line for people (nothing when quiet)."""

    @abstractmethod
    def warn(self, text: str) -> None:
        """One line on stderr, even when quiet."""

    @abstractmethod
    def result(self, row: Mapping[str, Any]) -> None:
        """One result for scripts: a JSON line with `--json`."""

    @abstractmethod
    def progress(self, total: int, unit: str, description: str) -> Any:
        """A context manager with `advance(n)` that shows rate and time left."""


class Task(ABC):
    """One task. Subclass it, offer it through the hook `gantk_tasks`.

    What a task does not offer (training, running, evaluating) it leaves as None, and the CLI says so.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    Config: ClassVar[type[TrainConfig] | None] = None
    RunOptions: ClassVar[type[Options] | None] = None
    EvalOptions: ClassVar[type[Options] | None] = None
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    # ---- training ----

    def dataset(self, config: Any, folder: Path | None) -> Dataset:
        """What to train on. `folder` is None when the user gave none (a task may make its own data).

        Raises:
            InputError: the data cannot be used.
        """
        raise UsageError(f"the task {self.name!r} cannot be trained")

    def check(self, folder: Path) -> DataReport:
        """What the task sees in a folder of data; never raises for bad files, it lists them."""
        raise UsageError(f"the task {self.name!r} does not check data")

    def stages(self, config: Any) -> Sequence[Stage]:
        """The parts of a training, in order; at least one."""
        raise UsageError(f"the task {self.name!r} cannot be trained")

    def game(self, config: Any, dataset: Dataset, stage: str) -> Game:
        """The game of one stage, with new networks; the trainer carries trained ones over by name."""
        raise UsageError(f"the task {self.name!r} cannot be trained")

    def sample(
        self, config: Any, dataset: Dataset, networks: Mapping[str, nn.Module]
    ) -> np.ndarray | Mapping[str, np.ndarray] | None:
        """A picture (H×W×3 uint8) of what the networks do at fixed inputs; None when there is nothing to show.

        Several pictures come as a mapping by name ("samples" first, say, then "nearest neighbours"): the report
        shows the first one over time and the latest of each other. `networks` are averaged where the player keeps
        an average, in eval mode and under no_grad.
        """
        return None

    def score(
        self, config: Any, dataset: Dataset, networks: Mapping[str, nn.Module], stage: str
    ) -> Sequence[MetricCard]:
        """Held-out figures while training; the first one decides which checkpoint is the best."""
        return []

    def model(self, config: Any, dataset: Any, weights: Mapping[str, Mapping[str, Any]]) -> Model | None:
        """What the user keeps. `weights` maps stage → network → state dict, for each stage that was played.

        `dataset` is what it was trained on: its classes and sizes may belong to the model.
        """
        return None

    # ---- use ----

    def load(self, model: Model, **options: Any) -> Callable[..., Any]:
        """A callable that applies the model in Python."""
        raise UsageError(f"the task {self.name!r} has no Python call")

    def run(self, options: Any, console: Console) -> int:
        """Do the task's job for `gantk run`; returns an exit code."""
        raise UsageError(f"the task {self.name!r} cannot be run")

    def evaluate(self, options: Any, console: Console) -> int:
        """Measure for `gantk eval`; returns an exit code."""
        raise UsageError(f"the task {self.name!r} has no evaluation")

    def export(self, model: Model, target: Path, console: Console) -> None:
        """Write the model in another format, checked for parity; the suffix of `target` says which."""
        raise UsageError(f"the task {self.name!r} exports no models")

    def import_model(self, path: Path) -> Model:
        """A model made from another toolkit's weights.

        Raises:
            InputError: unknown or hostile file.
        """
        raise UsageError(f"the task {self.name!r} imports no models")


__all__ = [
    "Console",
    "DataReport",
    "Device",
    "Options",
    "Precision",
    "Seed",
    "Stage",
    "Task",
    "TaskEntry",
    "TrainConfig",
    "option",
]
