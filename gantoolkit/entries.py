"""What a plugin's hooks return: names on offer. Light, since every command reads them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gantoolkit.model import Model
    from gantoolkit.task import Task


@dataclass(frozen=True)
class TaskEntry:
    """A task on offer; its module is imported only when the task is used.

    Attributes:
        name: what users type.
        summary: one line for `gantk --help`.
        target: "module:Class", or the class itself.
    """

    name: str
    summary: str
    target: str | type[Task]

    def load(self) -> Task:
        """Import and make the task."""
        import importlib

        if not isinstance(self.target, str):
            return self.target()
        module, _, name = self.target.partition(":")
        return getattr(importlib.import_module(module), name)()


@dataclass(frozen=True)
class ModelEntry:
    """A model that a plugin offers by name; nothing is read before `load`.

    Attributes:
        name: what `--model` takes.
        task: the task it belongs to.
        summary: one line for `gantk models list`.
        load: makes the model.
        licence: of the weights.
        available: None when it can be used, else the one line that says what is missing.
        default: the task's model when the user names none.
    """

    name: str
    task: str
    summary: str
    load: Callable[[], Model]
    licence: str = ""
    available: Callable[[], str | None] = field(default=lambda: None)
    default: bool = False
