"""A data set to grow, by the layout it has: its samples, their files, and what its tables say of each."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from gantk_augment import coco, codec
from gantk_augment.sink import Sink
from gantoolkit.errors import InputError
from gantoolkit.samples import Sample
from gantoolkit.store import Problem, Store

Kind = Literal["folder", "csv", "coco", "pairs"]
# names of columns that say where something is in the picture, in lower case: x, y_max, bbox, lefteye_x, ...
PLACE = re.compile(
    r"[xy][ _]?(min|max|\d|tl|br|cent(er|re))?|(min|max|c|cent(er|re))[ _]?[xy]|.*[ _][xy]\d*|left|top|right|bottom"
    r"|.*(bbox|box(es)?\b|polygon|keypoint|landmark|segmentation).*|rle|encodedpixels"
)


@dataclass
class Source:
    """The usable samples of a data set, and what is wrong with the others. Picklable; safe after a fork.

    Attributes:
        kind: "folder" (with or without classes), "csv", "coco" or "pairs".
        store: the files.
        sink: writes samples in this layout.
        base: the folder in the store that is taken as the root, with its `/`.
        names: of the pictures, below the root, sorted.
        labels: the class of each, None where it has none.
        classes: that the labels come from; () without labels.
        categories: of objects, by the number in `Thing.category`; {} without.
        problems: (file, what is wrong): what is left out, or was put right. Damaged pictures are found by `sample`.
        notes: what was decided, in words.
    """

    kind: Kind
    store: Store
    sink: Sink
    base: str = ""
    names: tuple[str, ...] = ()
    labels: Sequence[str | None] = ()
    classes: tuple[str, ...] = ()
    categories: Mapping[int, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.store.root

    def __len__(self) -> int:
        return len(self.names)

    def label(self, index: int) -> str | None:
        """The class of a sample, without decoding it."""
        return self.labels[index]

    def raw(self, name: str) -> bytes:
        """A file's content.

        Raises:
            InputError: it cannot be read.
        """
        return self.store.read(self.base + name)

    def sample(self, index: int) -> Sample:
        """The picture and its targets.

        Raises:
            InputError: a file is damaged, or the targets do not fit the picture.
        """
        name = self.names[index]
        return Sample(codec.decode(self.raw(name), name), self.labels[index])

    def palette(self, index: int) -> bytes | None:
        """The colours of a sample's mask of ids, RGB; None where it has none."""
        return None

    def file_names(self, index: int) -> tuple[str, ...]:
        """The files of an original, the picture first."""
        return (self.names[index],)

    def files(self, index: int) -> dict[str, bytes]:
        """The files of an original, name → content, byte for byte.

        Raises:
            InputError: one cannot be read.
        """
        return {name: self.raw(name) for name in self.file_names(index)}

    def row(self, index: int) -> dict[str, Any]:
        """What `Sink.finish` has to know of an original: its name, its label and what else the data set says of it."""
        return {"file": self.names[index], "label": self.labels[index]}

    def made(self, folder: Path, lines: Sequence[Mapping[str, Any]]) -> Source:
        """The samples of a result, by lines of its manifest; nothing else in the folder is looked at."""
        names, labels = tuple(line["file"] for line in lines), [line["label"] for line in lines]
        told = self._told([line["annotation"] for line in lines])
        return replace(self, store=Store(folder, names), base="", names=names, labels=labels, **told)

    def _told(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What this layout keeps of samples besides, from what `row` says of each."""
        return {}

    @cached_property
    def fingerprint(self) -> str:
        """A hash of names, annotations and contents. Of a folder it reads every file, once."""
        digest = hashlib.sha256(repr((self.kind, self.classes, self.categories)).encode())
        for index in range(len(self)):
            digest.update(repr((self.row(index), [*map(self._stamp, self.file_names(index))])).encode())
        return digest.hexdigest()

    def _stamp(self, name: str) -> tuple[int, int] | None:
        """None for a file that cannot be read: it is told of when its turn comes, and the rest goes on."""
        try:
            return self.store.stamp(self.base + name)
        except InputError:
            return None


@dataclass
class Table(Source):
    """`labels.csv`, whose other columns stay with their pictures."""

    rows: Sequence[Mapping[str, str]] = ()

    def row(self, index: int) -> dict[str, Any]:
        return {**super().row(index), "columns": dict(self.rows[index])}

    def _told(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {"rows": [row["columns"] for row in rows]}

    @property
    def places(self) -> list[str]:
        """The columns that by their names and numbers say where something is in the picture: nothing moves them."""
        others = [c for c in self.sink.columns if c not in (self.sink.file, self.sink.label)]
        named = [column for column in others if PLACE.fullmatch(column.strip().lower())]
        return [column for column in named if any(map(str.isdigit, self._first(column)))]

    def _first(self, column: str) -> str:
        return next((value for row in self.rows if (value := row.get(column, ""))), "")


@dataclass
class Coco(Source):
    """Pictures with objects in them: `images` and tidy `annotations` by index, `partners` of keypoints by category."""

    images: Sequence[Mapping[str, Any]] = ()
    annotations: Sequence[Sequence[Mapping[str, Any]]] = ()
    partners: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    def row(self, index: int) -> dict[str, Any]:
        told = {"image": dict(self.images[index]), "annotations": [dict(a) for a in self.annotations[index]]}
        return {**super().row(index), **told}

    def _told(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {"images": [row["image"] for row in rows], "annotations": [row["annotations"] for row in rows]}

    def sample(self, index: int) -> Sample:
        name, said = self.names[index], coco.size_of(self.images[index])
        picture = codec.decode(self.raw(name), name)
        height, width = picture.shape[:2]
        if said not in (None, (height, width)):
            assert said is not None
            expected = f"{said[1]} x {said[0]}, as its annotations say"
            raise InputError(f"{name} has another size", expected=expected, actual=f"{width} x {height}")
        try:
            things = tuple(coco.to_thing(a, height, width, self.partners) for a in self.annotations[index])
        except InputError as error:
            raise InputError(f"a mask of {name} is damaged: {error}") from error
        return Sample(picture, things=things)


@dataclass
class Pairs(Source):
    """`images/` with `masks/` of the same stems: `masks` by index."""

    masks: Sequence[str] = ()

    def file_names(self, index: int) -> tuple[str, ...]:
        return self.names[index], self.masks[index]

    def row(self, index: int) -> dict[str, Any]:
        return {**super().row(index), "mask": self.masks[index]}

    def _told(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {"masks": [row["mask"] for row in rows]}

    def palette(self, index: int) -> bytes | None:
        return codec.palette(self.raw(self.masks[index]))

    def sample(self, index: int) -> Sample:
        name, beside = self.file_names(index)
        picture = codec.decode(self.raw(name), name)
        mask = codec.decode_mask(self.raw(beside), beside)
        if mask.shape[:2] != picture.shape[:2]:
            (height, width), (h, w) = picture.shape[:2], mask.shape[:2]
            raise InputError(
                f"{beside} has another size than its picture", expected=f"{width} x {height}", actual=f"{w} x {h}"
            )
        return Sample(picture, mask=mask)
