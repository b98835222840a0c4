"""gantoolkit: generative adversarial networks as plugins.

What a plugin author or a notebook user needs is here, and importing it imports nothing heavy:

    import gantoolkit
    enlarge = gantoolkit.load("superres")
    picture = enlarge(picture)              # numpy, PIL or tensor in, the same out
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "Constant": "schedule",
    "Context": "game",
    "Cosine": "schedule",
    "Game": "game",
    "Linear": "schedule",
    "Model": "model",
    "ModelEntry": "entries",
    "Options": "task",
    "Phase": "game",
    "Player": "game",
    "Stage": "task",
    "Task": "task",
    "TaskEntry": "entries",
    "Term": "game",
    "TextEncoderEntry": "entries",
    "TrainConfig": "task",
    "hookimpl": "hookspecs",
    "option": "task",
}

if TYPE_CHECKING:
    from gantoolkit.entries import TextEncoderEntry
    from gantoolkit.game import Context, Game, Phase, Player, Term
    from gantoolkit.hookspecs import hookimpl
    from gantoolkit.model import Model, ModelEntry
    from gantoolkit.schedule import Constant, Cosine, Linear
    from gantoolkit.task import Options, Stage, Task, TaskEntry, TrainConfig, option


def load(task: str, model: str | Path | None = None, **options: Any) -> Any:
    """A trained model as a callable.

    Args:
        task: "superres" or any other task.
        model: a name from `gantk models list`, a model folder or a run; None for the task's own.
        options: what the task's `load` takes (superres: detail, scale, device, precision, tile, …).

    Raises:
        UsageError: no such task or model.
    """
    from gantoolkit.model import find
    from gantoolkit.plugins import current

    loaded = current().task(task)
    return loaded.load(find(task, model), **options)


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(f"gantoolkit.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'gantoolkit' has no attribute {name!r}")


__all__ = [
    "Constant",
    "Context",
    "Cosine",
    "Game",
    "Linear",
    "Model",
    "ModelEntry",
    "Options",
    "Phase",
    "Player",
    "Stage",
    "Task",
    "TaskEntry",
    "Term",
    "TextEncoderEntry",
    "TrainConfig",
    "hookimpl",
    "load",
    "option",
]
