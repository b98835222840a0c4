"""Augmentation: the hooks of this plugin, and nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gantoolkit import TaskEntry, hookimpl

if TYPE_CHECKING:
    from gantoolkit.samples import Policy

GANTK_API = 1


@hookimpl
def gantk_tasks() -> list[TaskEntry]:
    return [TaskEntry("augment", "grow a labelled data set, and tell whether it helps", "gantk_augment.task:Augment")]


@hookimpl
def gantk_augmentations() -> dict[str, Callable[[Mapping[str, Any]], Policy]]:
    return {"classic": _classic, "gan": _gan}


def _classic(settings: Mapping[str, Any]) -> Policy:
    from gantk_augment.classic import Classic

    return Classic(settings)


def _gan(settings: Mapping[str, Any]) -> Policy:
    from gantk_augment.gan import Gan

    return Gan(settings)
