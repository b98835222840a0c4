"""What has seen the test pictures: the sources of synthetic pictures, as far as their manifest says, and models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from gantk_augment import manifest
from gantk_augment.arms import Labelled
from gantk_augment.fit import Fitted, fingerprint, model_hash
from gantk_augment.plan import ORIGINAL
from gantk_augment.shards import is_sharded, opened, sample_key
from gantoolkit.errors import GantkError
from gantoolkit.labelled import LabelledPictures
from gantoolkit.model import find
from gantoolkit.store import Store

Origin = Literal["copy", "train", "test", "unknown"]
Held = Sequence[tuple[LabelledPictures, np.ndarray]]  # pictures, and which of them (bool) are test pictures


@dataclass(frozen=True)
class Listed:
    """What a data set's own manifest says of its pictures.

    Attributes:
        header: of the manifest; {} where there is none.
        rows: the manifest's of each picture, None where it has none.
    """

    header: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any] | None]

    @property
    def made(self) -> int:
        """How many pictures `gantk run augment` made anew."""
        return sum(row is not None and row["policy"] != ORIGINAL for row in self.rows)

    def told(self, *keys: str) -> Any:
        """A value inside the header, None where it is not there: a manifest may come from anywhere."""
        value: Any = self.header
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value


def listed(read: LabelledPictures) -> Listed:
    """The manifest in a folder, in a zip or beside shards; one that is damaged says nothing."""
    if read.source.is_file() and is_sharded(read.source):  # a single shard: its manifest, if any, is of all of them
        return Listed({}, [None] * len(read))
    store = Store(read.source)
    for name in store.files:
        if PurePosixPath(name).name != manifest.NAME:
            continue
        try:
            found = manifest.understood(store.read(name), Path(name))
        except GantkError:
            continue
        if is_sharded(read.source):
            keys: set[str] = set()
            by_key = {sample_key(row["file"], keys): row for row in found.rows()}
            return Listed(found.header, [by_key.get(PurePosixPath(picture).stem) for picture in read.names])
        base = name.removesuffix(manifest.NAME)
        rows = {base + row["file"]: row for row in found.rows()}
        return Listed(found.header, [rows.get(picture) for picture in read.names])
    return Listed({}, [None] * len(read))


def origins(
    made: Labelled, says: Listed, real: LabelledPictures, train: Labelled, test: Labelled, held: Held
) -> list[Origin]:
    """Where each synthetic picture comes from: a copy, made from a training or from a test picture, or unknown.

    A picture that a model made comes from all that the model was fitted on, so from a test picture if one is among it.

    Args:
        made: the synthetic pictures, of `says`' rows.
        real: the data, whose names the manifest may use.
        train, test: the training and the test pictures, in the size of `made`.
        held: where the test pictures were read.
    """
    prints = [fingerprint(picture) for picture in made.pictures]
    of: dict[str, Origin] = {fingerprint(picture): "train" for picture in train.pictures}
    of |= {fingerprint(picture): "test" for picture in test.pictures}
    # a copy in the tree shows what its source looked like; without one, the data do if they are still the same
    sources = {
        row["source"]: own for row, own in zip(says.rows, prints, strict=True) if row and row["policy"] == ORIGINAL
    }
    wanted = {row["source"] for row in says.rows if row and row["source"] is not None}
    if wanted - sources.keys():
        sources = _by_name(says, real) | sources
    drawn: Origin = "unknown"
    if any(row and row["policy"] == "gan" for row in says.rows):
        drawn = _drawn(says, held)

    def origin(row: Mapping[str, Any] | None) -> Origin:
        if row is None:
            return "unknown"
        if row["policy"] == ORIGINAL:
            return "copy"
        if row["policy"] == "gan":
            return drawn
        return of.get(sources.get(row["source"], ""), "unknown")

    return [origin(row) for row in says.rows]


def _by_name(says: Listed, real: LabelledPictures) -> dict[str, str]:
    """The fingerprint of each picture of the data by its name in the manifest; {} if that is of other data."""
    from gantk_augment.source import open_source

    source = open_source(real.source)
    if says.told("data", "fingerprint") != source.fingerprint:
        return {}
    places = {name: index for index, name in enumerate(real.names)}
    return {name: fingerprint(real.picture(places[source.base + name])) for name in source.names}


def _drawn(says: Listed, held: Held) -> Origin:
    """Of the pictures by a manifest's model, if it is still where it was, and still the same."""
    try:
        model = find(None, says.told("policies", "gan", "model"))
        if model_hash(model) != says.told("models", "gan"):
            return "unknown"
        fitted = Fitted(model)
    except GantkError:
        return "unknown"
    if not fitted.trained_on:
        return "unknown"
    return "test" if known(fitted, held) else "train"


def known(model: Fitted, held: Held) -> int:
    """How many test pictures the model was fitted on: they are read as it read them."""
    count = 0
    for read, rows in held:
        same = read.size == model.size and read.channels == model.channels
        again = read if same else LabelledPictures(opened(read.source), size=model.size, channels=model.channels)
        count += sum(model.knows(picture) for picture in again.pictures(np.flatnonzero(rows)))
    return count


def strangers(model: Fitted, source: Path) -> int:
    """How many pictures the model was fitted on that are not in the data."""
    read = LabelledPictures(opened(source), size=model.size, channels=model.channels)
    return len(model.trained_on - {fingerprint(picture) for picture in read.pictures()})
