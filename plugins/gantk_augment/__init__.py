"""Augmentation: the hooks of this plugin, and nothing heavy.

What other libraries' pipelines take is here too, and needs its library only when it is asked for:

    from gantk_augment import GANAugment
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gantoolkit import TaskEntry, hookimpl

if TYPE_CHECKING:
    from gantoolkit.samples import Policy

GANTK_API = 1

_WHERE = {
    "Augmented": "streams",
    "GANAugment": "transforms",
    "GANAugmentBatch": "batches",
    "GANSampler": "resampling",
    "ModelTransform": "transforms",
    "SyntheticPictures": "synthetic",
    "hf_transform": "records",
    "seed_worker": "streams",
    "wds_transform": "records",
}

if TYPE_CHECKING:
    from gantk_augment.pipelines.batches import GANAugmentBatch
    from gantk_augment.pipelines.records import hf_transform, wds_transform
    from gantk_augment.pipelines.resampling import GANSampler
    from gantk_augment.pipelines.streams import Augmented, seed_worker
    from gantk_augment.pipelines.synthetic import SyntheticPictures
    from gantk_augment.pipelines.transforms import GANAugment, ModelTransform


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


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(importlib.import_module(f"gantk_augment.pipelines.{_WHERE[name]}"), name)
    raise AttributeError(f"module 'gantk_augment' has no attribute {name!r}")


__all__ = [
    "Augmented",
    "GANAugment",
    "GANAugmentBatch",
    "GANSampler",
    "ModelTransform",
    "SyntheticPictures",
    "hf_transform",
    "seed_worker",
    "wds_transform",
]
