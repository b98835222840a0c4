"""Super-resolution: the hooks of this plugin, and nothing heavy."""

from __future__ import annotations

from gantoolkit.hookspecs import hookimpl
from gantoolkit.task import TaskEntry


@hookimpl
def gantk_tasks() -> list[TaskEntry]:
    return [
        TaskEntry(
            "superres", "enlarge pictures by 2, 3 or 4 with more detail", "gantk_superres.task:Superres"
        )
    ]
