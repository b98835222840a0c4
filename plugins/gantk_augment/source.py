"""A data set to grow: its pictures with all that is known of them, in whatever layout they come."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from gantk_augment import codec
from gantk_augment.sink import Sink
from gantoolkit.errors import InputError
from gantoolkit.layouts import Layout, Store, common_folder, read_layout
from gantoolkit.samples import Sample
from gantoolkit.task import DataReport

Kind = Literal["folder", "csv", "coco", "pairs"]
Problem = tuple[str, str]


@dataclass
class Source:
    """The usable samples of a data set, and what is wrong with the others. Picklable; safe after a fork.

    Attributes:
        kind: "folder" (with or without classes), "csv", "coco" or "pairs".
        store: the files.
        base: the folder in the store that is taken as the root, with its `/`.
        names: of the pictures, below the root, sorted.
        labels: the class of each, None where it has none.
        classes: that the labels come from; () without labels.
        problems: (file, what is wrong): what is left out, or was put right. Damaged pictures are found by `sample`.
        notes: what was decided, in words.
        sink: writes samples in this layout.
    """

    kind: Kind
    store: Store
    sink: Sink
    base: str = ""
    names: tuple[str, ...] = ()
    labels: Sequence[str | None] = ()
    classes: tuple[str, ...] = ()
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

    def row(self, index: int) -> dict[str, Any]:
        """What `Sink.finish` has to know of an original: its name, label and annotations, as they came."""
        return self.sink.row(self.names[index], self.labels[index])

    @cached_property
    def fingerprint(self) -> str:
        """A hash of names, annotations and contents. Of a folder it reads every file, once."""
        digest = hashlib.sha256(repr((self.kind, self.classes)).encode(errors="replace"))
        for index, name in enumerate(self.names):
            row = (name, self.row(index), *self.store.stamp(self.base + name))
            digest.update(repr(row).encode(errors="replace"))
        return digest.hexdigest()


@dataclass
class _Table(Source):
    """`labels.csv`, whose other columns stay with their pictures."""

    rows: Sequence[Mapping[str, str]] = ()

    def row(self, index: int) -> dict[str, Any]:
        return {**self.sink.row(self.names[index], self.labels[index]), "columns": dict(self.rows[index])}


def open_source(path: Path) -> Source:
    """Find the samples of a folder, zip or tar shards; no picture is opened.

    Raises:
        InputError: no such source, or nothing in it is usable.
    """
    source = _labelled(read_layout(Store(path), fewest=1))
    if not source.names:
        problem = f": {source.problems[0][0]}: {source.problems[0][1]}" if source.problems else ""
        raise InputError(f"nothing in {path} is usable{problem}", expected="pictures, with their labels")
    return source


def _labelled(layout: Layout) -> Source:
    """Pictures in class folders or with a table of labels, or with neither."""
    base, labels = layout.base, layout.labels
    rows = [
        (
            name[len(base) :],
            None if labels is None else layout.classes[labels[i]],
            layout.rows[i] if layout.rows else {},
        )
        for i, name in enumerate(layout.names)
        if labels is None or labels[i] >= 0
    ]
    names = tuple(name for name, _, _ in rows)
    if labels is None and layout.kind != "pictures":
        names, rows = (), []
    kind: Kind = "csv" if layout.kind == "labels.csv" else "folder"
    found: dict[str, Any] = {
        "sink": Sink(kind, layout.classes, place=common_folder(names) if kind == "csv" else ""),
        "base": base, "names": names, "labels": [label for _, label, _ in rows], "classes": layout.classes,
        "problems": layout.problems, "notes": layout.notes,
    }  # fmt: skip
    if kind == "csv":
        return _Table(kind, layout.store, **found, rows=[row for _, _, row in rows])
    return Source(kind, layout.store, **found)


def check(path: Path) -> DataReport:
    """Everything that is wrong with a data set, and what it holds; every picture is decoded."""
    try:
        source = open_source(path)
    except InputError as error:
        return DataReport(problems=[(str(path), str(error))], usable=False)
    report = DataReport(problems=list(source.problems))
    for index, name in enumerate(source.names):
        try:
            source.sample(index)
        except InputError as error:
            report.problems.append((name, str(error)))
    report.facts["layout"] = source.kind
    report.facts["pictures"] = f"{len(source.names):,}"
    return report
