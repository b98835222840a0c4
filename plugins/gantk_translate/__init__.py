"""Image-to-image translation: the hooks of this plugin, and nothing heavy."""

from __future__ import annotations

from gantk_translate import catalog
from gantoolkit import ModelEntry, TaskEntry, hookimpl

GANTK_API = 1


@hookimpl
def gantk_tasks() -> list[TaskEntry]:
    return [TaskEntry("translate", "turn pictures of one kind into another kind", "gantk_translate.task:Translate")]


@hookimpl
def gantk_models() -> list[ModelEntry]:
    return catalog.entries()
