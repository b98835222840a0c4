"""What every pipeline shares: models that are loaded once a process, labelled pictures from them, and seeds.

Transforms keep a model's name and never the model: they pickle as a few words, and a worker loads what it needs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache, lru_cache, reduce
from pathlib import Path
from typing import Any

import numpy as np

import gantoolkit
from gantk_augment.fit import Fitted
from gantk_augment.plan import sample_seed
from gantoolkit.errors import InputError, UsageError
from gantoolkit.model import CONFIG, find
from gantoolkit.paths import expanded
from gantoolkit.scan import conform

BLOCK = 16  # pictures made at once: a generator runs passes of this many rows, also for a single one
TURNS = 5  # asked of a model whose filters refuse all its samples for a row


def derive(seed: int, *parts: int | str) -> int:
    """A seed, 0 to 2^63 - 1, that belongs to these numbers and words in this order: their hash."""
    return reduce(sample_seed, parts, seed)


def fitted(model: str | Path, device: str = "cpu") -> Fitted:
    """The generator of a model of augment, or of generate with classes: a name, a model folder or a run.

    Raises:
        UsageError: no such model.
        InputError: it makes no labelled pictures.
    """
    return _loaded(None, str(model), _stamp(model), json.dumps({"device": device}))


def applied(task: str, model: str | None, options: dict[str, Any]) -> Any:
    """`gantoolkit.load(task, model, **options)`, once a process."""
    return _loaded(task, model, _stamp(model), json.dumps(options, sort_keys=True))


@lru_cache(maxsize=8)
def _loaded(task: str | None, model: str | None, stamp: int, options: str) -> Any:
    if task is None:
        return Fitted(find(None, model), **json.loads(options))
    return gantoolkit.load(task, model, **json.loads(options))


def _stamp(model: str | Path | None) -> int:
    """When the model in a folder was written, so that a newer one under the same name is noticed; 0 for others."""
    folder = expanded(model or "")
    for place in (folder / CONFIG, folder / "model" / CONFIG):
        if model and place.is_file():
            return place.stat().st_mtime_ns
    return 0


def plain(label: Any, classes: Sequence[str] | None = None) -> str | int:
    """A label as a generator takes it; `classes` says what the numbers in the data stand for.

    Raises:
        UsageError: it is no single name or number, or a number beyond the classes.
    """
    array = np.asarray(label)
    value = array.item() if array.size == 1 else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int):
        raise UsageError("this label cannot be used", expected="a name or a number", actual=repr(label)[:40])
    if classes is None or isinstance(value, str):
        return value
    if not 0 <= value < len(classes):
        raise UsageError("this label stands for no class", expected=f"0 to {len(classes) - 1}", actual=value)
    return classes[value]


def make(generator: Fitted, labels: Sequence[str | int], seeds: Sequence[int]) -> list[np.ndarray]:
    """Pictures, uint8 H,W,C; each depends on its label and seed alone.

    Raises:
        UsageError: an unknown class.
        InputError: hardly a picture of a class passes the model's filters.
    """
    made: dict[int, np.ndarray] = {}
    for turn in range(TURNS):  # of a good model nearly all pass at once; the first turn's seeds are the rows' own
        rows = [row for row in range(len(labels)) if row not in made]
        if not rows:
            break
        asked = [derive(seeds[row], turn) if turn else seeds[row] for row in rows]
        pictures, parameters = generator.pictures([labels[row] for row in rows], asked)
        made |= {row: pictures[i] for i, row in enumerate(rows) if parameters[i] is not None}
    if len(made) < len(labels):
        label = next(labels[row] for row in range(len(labels)) if row not in made)
        raise InputError(
            f"the model {generator.name!r} hardly makes pictures of class {label!r} that pass its filters",
            remedy="fit it for longer, or with a lower --confidence",
        )
    return [made[row] for row in range(len(labels))]


def one(model: str, device: str, label: str | int, seed: int, variety: int | None) -> np.ndarray:
    """One picture. With `variety` there are so many of a class, made a block at a time and kept in memory."""
    if variety is None:
        return make(fitted(model, device), [label], [seed])[0]
    block, row = divmod(seed % variety, BLOCK)
    return _block(model, device, _stamp(model), label, block * BLOCK, min(variety, (block + 1) * BLOCK))[row]


@cache
def _block(model: str, device: str, stamp: int, label: str | int, start: int, stop: int) -> list[np.ndarray]:
    return make(fitted(model, device), [label] * (stop - start), range(start, stop))


def like(picture: np.ndarray, other: np.ndarray) -> np.ndarray:
    """A picture, uint8 H,W,C, in the shape and type of another: uint8, uint16, or floating point in [0, 1].

    Raises:
        UsageError: a type or number of channels that pictures do not have.
    """
    channels = other.shape[2] if other.ndim == 3 else 1
    if channels not in (1, 3, 4) or not (other.dtype in (np.uint8, np.uint16) or other.dtype.kind == "f"):
        actual = f"{other.dtype} {other.shape}"
        raise UsageError("no picture", expected="H,W or H,W,C with 1, 3 or 4 channels, uint8 or float", actual=actual)
    made = conform(picture, (other.shape[0], other.shape[1]), channels, "stretch").reshape(other.shape)
    if other.dtype == np.uint16:
        return made.astype(np.uint16) * 257
    return made if other.dtype == np.uint8 else (made / 255).astype(other.dtype)
