"""Super-resolution: the hooks of this plugin, and nothing heavy."""

from __future__ import annotations

from gantk_superres import catalog
from gantoolkit import ModelEntry, TaskEntry, hookimpl

GANTK_API = 1


@hookimpl
def gantk_tasks() -> list[TaskEntry]:
    return [TaskEntry("superres", "enlarge pictures by 2, 3 or 4 with more detail", "gantk_superres.task:Superres")]


@hookimpl
def gantk_models() -> list[ModelEntry]:
    return catalog.entries()
