"""Text to image: the hooks of this plugin, and nothing heavy."""

from __future__ import annotations

from gantk_text2image import catalog
from gantoolkit import ModelEntry, TaskEntry, TextEncoderEntry, hookimpl

GANTK_API = 1


@hookimpl
def gantk_tasks() -> list[TaskEntry]:
    return [TaskEntry("text2image", "make pictures from words", "gantk_text2image.task:Text2Image")]


@hookimpl
def gantk_models() -> list[ModelEntry]:
    return catalog.entries()


@hookimpl
def gantk_text_encoders() -> list[TextEncoderEntry]:
    return catalog.encoders()
