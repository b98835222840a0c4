"""Hugging Face `datasets` and WebDataset: albumentations on their records, each from a seed of its own."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gantk_augment.pipelines import transforms  # sets what albumentations must find before it is imported
from gantk_augment.pipelines.making import derive
from gantk_augment.pipelines.streams import augment, worker_seed
from gantoolkit.errors import UsageError

A = transforms.A


class _Records:
    """Changes the picture of a record. It pickles as its recipe, so that equal ones have equal fingerprints."""

    def __init__(self, compose: Any, image: str, label: str, seed: int) -> None:
        if isinstance(compose, str | Path):
            compose = transforms.GANAugment(compose)
        self.compose, self.image, self.label, self.seed = compose, image, label, seed
        self._draws = 0

    def _changed(self, picture: Any, label: Any, key: int | str | None) -> Any:
        """The picture, changed as its key says; without a key as at no other draw."""
        if key is None:
            self._draws += 1
            content = zlib.crc32(np.asarray(picture).tobytes())  # forked copies of us count alike
            seed = derive(self.seed, "draw", worker_seed(), self._draws, content)
        else:
            seed = derive(self.seed, "key", key)
        values = {"image": picture} if label is None else {"image": picture, "label": label}
        return augment(self.compose, values, seed)["image"]

    def __getstate__(self) -> dict[str, Any]:
        kinds = {type(transform) for transform in _flat(self.compose)}  # named, so that a new process imports them
        state = {**self.__dict__, "compose": A.to_dict(self.compose), "_draws": 0}
        return {**state, "_kinds": sorted(kinds, key=lambda kind: (kind.__module__, kind.__qualname__))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({key: value for key, value in state.items() if key != "_kinds"})
        self.compose = A.from_dict(state["compose"])


def _flat(transform: Any) -> Iterator[Any]:
    yield transform
    for inner in getattr(transform, "transforms", ()):
        yield from _flat(inner)


class _HuggingFace(_Records):
    def __call__(self, batch: Mapping[str, Any], index: Sequence[int] | int | None = None) -> dict[str, Any]:
        """The batch, or the single example, with other pictures."""
        if self.image not in batch:
            raise UsageError(f"no column {self.image!r}", expected="the pictures' column", actual=", ".join(batch))
        pictures, labels = batch[self.image], batch.get(self.label)
        if not isinstance(pictures, list):
            return {**batch, self.image: self._changed(pictures, labels, index)}  # type: ignore[arg-type]
        rows = range(len(pictures))
        keys = [None for _ in rows] if index is None else list(index)  # type: ignore[arg-type]
        of = [None for _ in rows] if labels is None else labels
        return {**batch, self.image: [self._changed(pictures[row], of[row], keys[row]) for row in rows]}


class _WebDataset(_Records):
    def __init__(self, compose: Any, image: str, label: str, seed: int, epoch: int | None) -> None:
        super().__init__(compose, image, label, seed)
        self.epoch = epoch

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """The sample with another picture."""
        name = next((name for name in self.image.split(";") if name in sample), None)
        if name is None:
            actual = ", ".join(key for key in sample if not key.startswith("__"))
            raise UsageError(f"the sample {sample.get('__key__')!r} has no picture", expected=self.image, actual=actual)
        key = None if self.epoch is None else f"{self.epoch}/{sample['__key__']}"
        return {**sample, name: self._changed(sample[name], sample.get(self.label), key)}


def hf_transform(compose: Any, image_column: str = "image", label_column: str = "label", seed: int = 0) -> _HuggingFace:
    """A function for Hugging Face's `dataset.set_transform` and `dataset.map`.

    With `map(…, with_indices=True)` a row's change comes from (seed, its index) alone, whatever the batch size and
    the number of processes; and the fingerprint stays, so that the cache is found again. With `set_transform` each
    access draws anew, in the workers of a `DataLoader` too.

    Args:
        compose: an albumentations `Compose` or transform, or a model for `GANAugment`.
        image_column: pictures, as the feature `Image` gives them, or arrays.
        label_column: goes to the compose as `label`, where there is such a column.
        seed: of everything random.
    """
    return _HuggingFace(compose, image_column, label_column, seed)


def wds_transform(
    compose: Any, image: str = "png;jpg;jpeg;webp", label: str = "cls", seed: int = 0, epoch: int | None = None
) -> _WebDataset:
    """A function for WebDataset: `WebDataset(shards).decode("rgb8").map(wds_transform(compose))`.

    Args:
        compose: an albumentations `Compose` or transform, or a model for `GANAugment`.
        image, label: names of a sample's parts; of several names the first that is there.
        seed: of everything random.
        epoch: makes a sample's change a function of (seed, epoch, its key), whoever reads it and in whatever order;
            None: each draw anew.
    """
    return _WebDataset(compose, image, label, seed, epoch)
