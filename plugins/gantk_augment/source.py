"""A data set to grow: its pictures with all that is known of them, in whatever layout they come."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from gantk_augment import coco, codec
from gantk_augment.shards import TarStore, is_sharded
from gantk_augment.sink import Sink
from gantoolkit.decoders import is_picture
from gantoolkit.errors import InputError
from gantoolkit.layouts import TABLES, Layout, Store, common_folder, find_by_name, read_layout
from gantoolkit.samples import Sample
from gantoolkit.task import DataReport

Kind = Literal["folder", "csv", "coco", "pairs"]
Problem = tuple[str, str]
IMAGES, MASKS = "images/", "masks/"


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

    @cached_property
    def fingerprint(self) -> str:
        """A hash of names, annotations and contents. Of a folder it reads every file, once."""
        digest = hashlib.sha256(repr((self.kind, self.classes, self.categories)).encode())
        for index in range(len(self)):
            stamps = [self.store.stamp(self.base + name) for name in self.file_names(index)]
            digest.update(repr((self.row(index), stamps)).encode())
        return digest.hexdigest()


@dataclass
class _Table(Source):
    """`labels.csv`, whose other columns stay with their pictures."""

    rows: Sequence[Mapping[str, str]] = ()

    def row(self, index: int) -> dict[str, Any]:
        return {**super().row(index), "columns": dict(self.rows[index])}


@dataclass
class _Coco(Source):
    """Pictures with objects in them: `images` and tidy `annotations` by index."""

    images: Sequence[Mapping[str, Any]] = ()
    annotations: Sequence[Sequence[Mapping[str, Any]]] = ()

    def row(self, index: int) -> dict[str, Any]:
        told = {"image": dict(self.images[index]), "annotations": [dict(a) for a in self.annotations[index]]}
        return {**super().row(index), **told}

    def sample(self, index: int) -> Sample:
        name, said = self.names[index], coco.size_of(self.images[index])
        picture = codec.decode(self.raw(name), name)
        height, width = picture.shape[:2]
        if said not in (None, (height, width)):
            assert said is not None
            expected = f"{said[1]} x {said[0]}, as its annotations say"
            raise InputError(f"{name} has another size", expected=expected, actual=f"{width} x {height}")
        try:
            things = tuple(coco.to_thing(annotation, height, width) for annotation in self.annotations[index])
        except InputError as error:
            raise InputError(f"a mask of {name} is damaged: {error}") from error
        return Sample(picture, things=things)


@dataclass
class _Pairs(Source):
    """`images/` with `masks/` of the same stems: `masks` by index."""

    masks: Sequence[str] = ()

    def file_names(self, index: int) -> tuple[str, ...]:
        return self.names[index], self.masks[index]

    def row(self, index: int) -> dict[str, Any]:
        return {**super().row(index), "mask": self.masks[index]}

    def sample(self, index: int) -> Sample:
        name, beside = self.file_names(index)
        picture = codec.decode(self.raw(name), name)
        mask, _ = codec.decode_mask(self.raw(beside), beside)
        if mask.shape[:2] != picture.shape[:2]:
            (height, width), (h, w) = picture.shape[:2], mask.shape[:2]
            raise InputError(
                f"{beside} has another size than its picture", expected=f"{width} x {height}", actual=f"{w} x {h}"
            )
        return Sample(picture, mask=mask)


def open_source(path: Path) -> Source:
    """Find the samples of a folder, a zip or tar shards; of pictures at most headers are read.

    Raises:
        InputError: no such source, or nothing in it is usable.
    """
    store = TarStore(path) if is_sharded(path) else Store(path)
    for name in [name for name in store.files if not _writable(name)]:
        store.files.remove(name)
        store.problems.append((ascii(name), "the name is not plain text, and no table could hold it"))
    source = _coco(store) or _pairs(store) or _labelled(store)
    if not source.names:
        problem = f": {source.problems[0][0]}: {source.problems[0][1]}" if source.problems else ""
        raise InputError(f"nothing in {path} is usable{problem}", expected="pictures, with their labels")
    alone = [name for name, count in Counter(source.labels).items() if count == 1 and name is not None]
    if alone:
        source.notes.append(f"{len(alone)} of the classes have a single picture: {_some(alone)}")
    return source


def _writable(name: str) -> bool:
    """Whether tables and manifests can hold the name: UTF-8 without line breaks and the like."""
    return not any(ord(character) < 32 or 0xD800 <= ord(character) < 0xE000 for character in name)


def _labelled(store: Store) -> Source:
    """Pictures in class folders or with a table of labels, or with neither."""
    layout = read_layout(store, fewest=1)
    base, labels, table = layout.base, layout.labels, layout.table
    unread = labels is None and layout.kind == "labels.csv"  # nothing is known of any picture
    usable = [] if unread else [i for i in range(len(layout.names)) if labels is None or labels[i] >= 0]
    names = tuple(layout.names[i][len(base) :] for i in usable)
    found: dict[str, Any] = {
        "base": base, "names": names, "classes": layout.classes, "problems": layout.problems, "notes": layout.notes,
        "labels": [None if labels is None else layout.classes[labels[i]] for i in usable],
    }  # fmt: skip
    if layout.kind not in TABLES or labels is None:
        return Source("folder", store, Sink("folder", layout.classes), **found)
    if table is None:
        layout.notes.append("what dataset.json says is written as labels.csv")
        rows = [{"file": name, "label": label} for name, label in zip(names, found["labels"], strict=True)]
        sink = Sink("csv", layout.classes, common_folder(names), "labels.csv")
    else:
        rows = [layout.rows[i] for i in usable]
        place = common_folder(names)
        sink = Sink("csv", layout.classes, place, "labels.csv", table.columns, table.file, table.label)
    return _Table("csv", store, sink, **found, rows=rows)


def _coco(store: Store) -> Source | None:
    """Pictures with an annotation file of COCO's, or None."""
    layout = Layout(store)
    pictures = [name for name in store.files if is_picture(name)]
    tables = [n for n in store.files if n.lower().endswith(".json") and PurePosixPath(n).name.lower() not in TABLES]
    base = common_folder(pictures + tables)
    documents: dict[str, coco.Document] = {}
    for name in tables:
        try:
            if name.count("/", len(base)) < 2 and (document := coco.parse(store.read(name).decode("utf-8", "replace"))):
                documents[name] = document
        except InputError as error:
            store.problems.append((name, str(error)))
    if not documents:
        return None
    (table, document), *others = documents.items()
    layout.refuse(store.problems, "refused files")
    layout.refuse([(name, f"a second annotation file beside {table}; it is left alone") for name, _ in others], "such")
    for kind, texts in document.problems.items():
        layout.refuse([(table, text) for text in texts], f"such problems of {kind}")
    names = [name[len(base) :] for name in pictures]
    folder = common_folder(names)
    find, find_below = find_by_name(names), find_by_name([name[len(folder) :] for name in names])
    found: dict[int, str] = {}
    lost, twice = [], []
    for file in document.images:
        index = first if (first := find(file)) is not None else find_below(file)
        if index is None:
            lost.append((table, f"it lists {file!r}, and no such picture is there"))
        elif index in found:
            twice.append((pictures[index], f"{table} lists it as {found[index]!r} and as {file!r}"))
        else:
            found[index] = file
    without = [(name, f"{table} does not list it") for i, name in enumerate(pictures) if i not in found]
    layout.refuse(lost, "such pictures")
    layout.refuse(without, "pictures that are not listed")
    layout.refuse(twice, "pictures that are listed twice")
    images, annotations, wrong = [], [], []
    for index, file in sorted(found.items()):
        image, size = document.images[file], coco.size_of(document.images[file])
        if size is None and document.annotations[file]:
            size = codec.size_of(store.read(pictures[index]))
        tidied = [coco.tidy(annotation, document.categories, size) for annotation in document.annotations[file]]
        wrong += [(f"{table}: {file}", text) for _, texts in tidied for text in texts]
        images.append({key: value for key, value in image.items() if key != "id"})
        annotations.append([{k: v for k, v in a.items() if k not in ("id", "image_id")} for a, _ in tidied if a])
    layout.refuse(wrong, "such problems of annotations")
    roots = {names[index].removesuffix(file) for index, file in found.items() if names[index].endswith(file)}
    place = roots.pop() if len(roots) == 1 else folder
    sink = Sink("coco", place=place, table=table[len(base) :], head=document.head)
    return _Coco(
        "coco", store, sink, base, tuple(names[i] for i in sorted(found)), [None] * len(found),
        categories=document.categories, problems=layout.problems, notes=layout.notes,
        images=images, annotations=annotations,
    )  # fmt: skip


def _pairs(store: Store) -> Source | None:
    """`images/` and `masks/`, or None."""
    pictures = [name for name in store.files if is_picture(name)]
    base = common_folder(pictures)
    inner = [name[len(base) :] for name in pictures]
    if {name.partition("/")[0] + "/" for name in inner if "/" in name} != {IMAGES, MASKS}:
        return None
    layout = Layout(store)
    layout.refuse(store.problems, "refused files")
    of: dict[str, dict[str, str]] = {IMAGES: {}, MASKS: {}}  # folder → stem → name
    beside, twice = [], []
    for name in inner:
        folder = name.partition("/")[0] + "/"
        stem = str(PurePosixPath(name).with_suffix("")).removeprefix(folder)
        if folder not in of:
            beside.append((base + name, f"it lies beside {IMAGES} and {MASKS}"))
        elif stem in of[folder]:
            twice.append((base + name, f"a second one of the stem {stem}, beside {of[folder][stem]}"))
        else:
            of[folder][stem] = name
    both = {of[IMAGES][stem]: of[MASKS][stem] for stem in of[IMAGES].keys() & of[MASKS].keys()}
    alone = {folder: [name for stem, name in found.items() if stem not in both] for folder, found in of.items()}
    names = tuple(sorted(both))
    layout.refuse(beside, "pictures beside these folders")
    layout.refuse(twice, "second pictures of a stem")
    for folder, other in ((IMAGES, "mask"), (MASKS, "picture")):
        lonely = [(base + n, f"it has no {other}") for n in alone[folder] if n not in both and n not in both.values()]
        layout.refuse(lonely, f"files without a {other}")
    sink = Sink("pairs", place=IMAGES, palette=_palette(store, base + both[names[0]]) if names else None)
    return _Pairs(
        "pairs", store, sink, base, names, [None] * len(names), problems=layout.problems, notes=layout.notes,
        masks=[both[name] for name in names],
    )  # fmt: skip


def _palette(store: Store, name: str) -> bytes | None:
    try:
        return codec.decode_mask(store.read(name), name)[1]
    except InputError:  # said when the sample is asked for
        return None


def check(path: Path) -> DataReport:
    """Everything that is wrong with a data set, and what it holds; every picture is decoded."""
    try:
        source = open_source(path)
    except InputError as error:
        return DataReport(problems=[(str(path), str(error))], usable=False)
    report = DataReport(problems=list(source.problems))
    sizes, kinds, things, damaged = set(), Counter[str](), 0, 0
    for index, name in enumerate(source.names):
        try:
            sample = source.sample(index)
        except InputError as error:
            report.problems.append((name, str(error)))
            damaged += 1
            continue
        height, width, channels = sample.picture.shape
        sizes.add((height * width, f"{width}×{height}"))
        kinds[{1: "grey", 3: "RGB", 4: "RGBA"}[channels] + f" {8 * sample.picture.itemsize} bits"] += 1
        things += len(sample.things)
    report.usable = damaged < len(source)
    report.facts["layout"] = source.kind
    report.facts["pictures"] = f"{len(source):,}, {len(source) - damaged:,} of them readable"
    if source.classes:
        counts = Counter(source.labels)
        report.facts["classes"] = f"{len(counts):,}: " + _some([f"{c} {counts[c]:,}" for c in source.classes], 12)
    if things:
        report.facts["objects"] = f"{things:,} of {len(source.categories):,} categories"
    if sizes:
        report.facts["sizes"] = " to ".join(dict.fromkeys([min(sizes)[1], max(sizes)[1]]))
        report.facts["kinds"] = ", ".join(f"{kind}: {count:,}" for kind, count in sorted(kinds.items()))
    if source.notes:
        report.facts["handling"] = "; ".join(source.notes)
    if report.problems:
        report.advice.append("what is listed above is left out or was put right; the rest can be used")
    return report


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
