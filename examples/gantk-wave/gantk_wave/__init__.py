"""The hooks. Importing this file runs at every start of `gantk`, so it imports nothing heavy."""

from gantoolkit import TaskEntry, hookimpl


@hookimpl
def gantk_tasks():
    return [TaskEntry("wave", "learn the sound of a plucked string", "gantk_wave.task:Wave")]
