"""Random streams that do not repeat: albumentations in the workers of a torch `DataLoader`.

A transform draws from generators of its own. A forked worker gets a copy of them, so that all workers draw the same
numbers, and without persistent workers the same again in the next epoch.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.context import get_spawning_popen
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, get_worker_info

from gantk_augment.pipelines.making import derive
from gantoolkit.errors import UsageError


def augment(compose: Any, values: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """`compose(**values)` with all that is random in it from `seed`; PIL pictures come back as such.

    Args:
        compose: an albumentations `Compose` or transform.
        values: `image`, and whatever else the compose takes.

    Raises:
        UsageError: the picture is neither an array H,W or H,W,C nor of PIL.
    """
    picture = values.get("image")
    if not isinstance(picture, np.ndarray | Image.Image):
        actual = type(picture).__name__
        raise UsageError("this picture cannot be augmented", expected="an array H,W,C or a PIL image", actual=actual)
    compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
    done: dict[str, Any] = compose(**{key: _array(value) for key, value in values.items()})
    for key, value in values.items():
        if isinstance(value, Image.Image) and isinstance(done[key], np.ndarray):
            done[key] = Image.fromarray(done[key])
    return done


def _array(value: Any) -> Any:
    if not isinstance(value, Image.Image):
        return value
    return np.array(value if value.mode in ("L", "RGB", "RGBA") else value.convert("RGB"))


class Augmented(Dataset):
    """A data set whose pictures an albumentations compose changes anew at each draw, and never the same way twice.

    What is random in a draw comes from (seed, epoch, index, how often the item was drawn in that epoch). The draws are
    counted in memory that worker processes share, so that the number of workers, their order, and whether they persist
    leave no trace: with a seed the same loop gives the same pictures.

    Args:
        dataset: of tuples (picture, label, …), mappings with `image` (all of it goes to the compose: label, mask,
            bboxes, …), or bare pictures. A picture is an array H,W or H,W,C, or a PIL image.
        compose: an albumentations `Compose` or transform; it gets `image`, and `label` where there is one.
        seed: None takes one from torch's global generator, another in each process that did not seed it.
    """

    def __init__(self, dataset: Any, compose: Any, seed: int | None = None) -> None:
        self.dataset, self.compose = dataset, compose
        self.seed = int(torch.empty((), dtype=torch.int64).random_()) if seed is None else seed
        self._draws = _shared([0] * (len(dataset) + 1))  # of each item in this epoch; the last one is the epoch

    def __len__(self) -> int:
        return len(self.dataset)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch. Needed where several training processes share the data (call it as `DistributedSampler`'s),
        and to repeat or to go on with an epoch of another run; elsewhere an item's own draws are counted on."""
        with self._draws.get_lock():
            self._draws[:] = [0] * len(self) + [epoch]

    def __getitem__(self, index: int) -> Any:
        index = range(len(self))[index]
        with self._draws.get_lock():
            nth, epoch = self._draws[index], self._draws[-1]
            self._draws[index] = nth + 1
        seed, item = derive(self.seed, epoch, index, nth), self.dataset[index]
        if isinstance(item, Mapping):
            return augment(self.compose, item, seed)
        if not isinstance(item, Sequence):
            return augment(self.compose, {"image": item}, seed)["image"]
        named = {"image": item[0], **({"label": item[1]} if len(item) > 1 else {})}
        return (augment(self.compose, named, seed)["image"], *item[1:])

    def __getstate__(self) -> dict[str, Any]:
        """A worker that is being spawned counts with us; any other copy counts on by itself."""
        return {**self.__dict__, "_draws": self._draws[:] if get_spawning_popen() is None else self._draws}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self._draws, list):
            self._draws = _shared(self._draws)


def _shared(values: list[int]) -> Any:
    """Numbers and a lock that forked and spawned processes share."""
    return get_context("spawn").Array("q", values)


def worker_seed() -> int:
    """What torch gave this `DataLoader` worker for this epoch (anew for each, unless workers persist); else 0."""
    info = get_worker_info()
    return info.seed if info else 0


def seed_worker(worker_id: int) -> None:
    """`DataLoader(…, worker_init_fn=seed_worker)`: transforms inside your own data set draw numbers of their own.

    Every albumentations transform that the worker's data set holds, in whatever attribute, list or data set inside it,
    starts from torch's seed of this worker and epoch, and its place. `torch.manual_seed` makes that reproducible.
    """
    info = get_worker_info()
    for number, transform in enumerate(_transforms(info.dataset if info else None)):
        seed = derive(worker_seed(), number)
        transform.set_random_state(np.random.default_rng(seed), random.Random(seed))


def _transforms(root: Any) -> Iterator[Any]:
    """The outermost transforms that can be reached from an object."""
    ahead, seen = [root], set()
    while ahead:
        thing = ahead.pop()
        if id(thing) in seen or isinstance(thing, str | bytes | np.ndarray | torch.Tensor | type):
            continue
        seen.add(id(thing))
        if hasattr(thing, "set_random_state") and hasattr(thing, "to_dict_private"):
            yield thing
        elif isinstance(thing, Mapping):
            ahead += thing.values()
        elif isinstance(thing, list | tuple):
            ahead += thing
        elif hasattr(thing, "__dict__"):
            ahead += vars(thing).values()
