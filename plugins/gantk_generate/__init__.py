"""Generation: the hooks of this plugin, and nothing heavy."""

from __future__ import annotations

from gantoolkit import TaskEntry, hookimpl

GANTK_API = 1


@hookimpl
def gantk_tasks() -> list[TaskEntry]:
    return [TaskEntry("generate", "make new pictures like those in a folder", "gantk_generate.task:Generate")]
