"""What a plugin's hooks return: names on offer. Light, since every command reads them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gantoolkit.model import Model
    from gantoolkit.task import Task
    from gantoolkit.texts import TextEncoder


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
        return _imported(self.target)()


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


@dataclass(frozen=True)
class TextEncoderEntry:
    """A text encoder on offer; its module is imported only when the encoder is used.

    Attributes:
        name: what a task's `encoder` option takes. The one called "local" also takes every local folder.
        summary: one line.
        target: "module:Class", or the class itself: a `gantoolkit.texts.TextEncoder`.
        available: None when it can be used, else the one line that says what is missing.
    """

    name: str
    summary: str
    target: str | type[TextEncoder]
    available: Callable[[], str | None] = field(default=lambda: None)

    def load(self) -> type[TextEncoder]:
        """Import the class."""
        return _imported(self.target)


def _imported(target: Any) -> Any:
    """What "module:name" stands for; anything but text is that itself."""
    if not isinstance(target, str):
        return target
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
