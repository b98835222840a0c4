"""Generation: the hooks of this plugin, and nothing heavy."""

from __future__ import annotations

from gantk_generate import catalog
from gantoolkit import ModelEntry, TaskEntry, hookimpl

GANTK_API = 1


@hookimpl
def gantk_tasks() -> list[TaskEntry]:
    return [TaskEntry("generate", "make new pictures like those in a folder", "gantk_generate.task:Generate")]


@hookimpl
def gantk_models() -> list[ModelEntry]:
    return catalog.entries()
