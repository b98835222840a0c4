"""Find the samples of a data set to grow in whatever layout it comes, and what is wrong with it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from gantk_augment import coco, codec
from gantk_augment.kinds import Coco, Pairs, Source, Table
from gantk_augment.shards import opened
from gantk_augment.sink import Sink
from gantoolkit.decoders import is_picture
from gantoolkit.errors import InputError
from gantoolkit.layouts import TABLES, Layout, common_folder, find_by_name, parse_csv, read_layout
from gantoolkit.store import Problem, Store
from gantoolkit.task import DataReport

__all__ = ["Source", "check", "open_source"]

IMAGES, MASKS = "images/", "masks/"
UNREAD = {  # labels of layouts that are not read, and how to tell them from captions and notes of that suffix
    ".txt": ("YOLO", re.compile(rb"\s*\d+(\s+-?\d*\.?\d+(e-?\d+)?){4,}\s*(\n|$)")),
    ".xml": ("Pascal VOC", re.compile(rb"[^\0]{,200}<annotation[\s>]")),
}


def open_source(path: Path) -> Source:
    """Find the samples of a folder, a zip or tar shards; of pictures at most headers are read.

    Raises:
        InputError: no such source, or nothing in it is usable.
    """
    store = opened(path)
    for name in [name for name in store.files if not _writable(name)]:
        store.files.remove(name)
        store.problems.append((ascii(name), "the name is not plain text, and no table could hold it"))
    # a layout that fits no picture is damaged, and not another layout
    source = next(found for layout in (_coco, _pairs, _labelled) if (found := layout(store)) is not None)
    if source.kind != "coco":
        source.problems += _unread(store)
    if source.kind == "folder" and not source.classes:
        source.problems += _unread_tables(store)
    if not source.names:
        problem = f": {source.problems[0][0]}: {source.problems[0][1]}" if source.problems else ""
        raise InputError(f"nothing in {path} is usable{problem}", expected="pictures, with their labels")
    alone = [name for name, count in Counter(source.labels).items() if count == 1 and name is not None]
    if alone:
        source.notes.append(f"{len(alone)} of the classes have a single picture: {_some(alone)}")
    return source


def _unread(store: Store) -> list[Problem]:
    """Label files beside pictures that would be left behind, a line for each kind."""
    found: list[Problem] = []
    for suffix, (layout, looks) in UNREAD.items():
        files = [name for name in store.files if name.lower().endswith(suffix)]
        stems = {PurePosixPath(name).stem for name in store.files if is_picture(name)} if files else set()
        files = [name for name in files if PurePosixPath(name).stem in stems]
        if looks.match(_content(store, files)):
            found.append((files[0], f"{len(files):,} label files of {layout} are not read; convert them to COCO"))
    return found


def _unread_tables(store: Store) -> list[Problem]:
    """Tables that say of which class pictures are, under a name that nothing is read by."""
    found: list[Problem] = []
    for name in store.files:
        if name.lower().endswith((".csv", ".tsv")) and PurePosixPath(name).name.lower() not in TABLES:
            with suppress(InputError, UnicodeDecodeError):
                parse_csv(store.read(name).decode("utf-8-sig"))
                found.append((name, f"these labels are not read; call the table {TABLES[0]}"))
    return found


def _content(store: Store, names: Sequence[str]) -> bytes:
    """Of the first file that holds anything and can be read; of a picture without objects YOLO's file is empty."""
    for name in names:
        with suppress(InputError):
            if content := store.read(name).strip():
                return content
    return b""


def _writable(name: str) -> bool:
    """Whether tables and manifests can hold the name: UTF-8 without line breaks and the like."""
    return not re.search(r"[\x00-\x1f\ud800-\udfff]", name)


def _labelled(store: Store) -> Source:
    """Pictures in class folders or with a table of labels, or with neither."""
    layout = read_layout(store, fewest=1)
    base, place, labels, table = layout.base, "", layout.labels, layout.table
    if labels is None and base:  # its name may be a class, or nothing: it stays
        layout.notes[0] = f"all pictures lie in the one folder {base[:-1]}: no classes"
        base, place = "", base
    unread = labels is None and layout.kind == "labels.csv"  # nothing is known of any picture
    usable = [] if unread else [i for i in range(len(layout.names)) if labels is None or labels[i] >= 0]
    names = tuple(layout.names[i][len(base) :] for i in usable)
    found: dict[str, Any] = {
        "base": base, "names": names, "classes": layout.classes, "problems": layout.problems, "notes": layout.notes,
        "labels": [None if labels is None else layout.classes[labels[i]] for i in usable],
    }  # fmt: skip
    if layout.kind not in TABLES or labels is None:
        return Source("folder", store, Sink("folder", layout.classes, place), **found)
    if table is None:
        layout.notes.append("what dataset.json says is written as labels.csv")
        rows = [{"file": name, "label": label} for name, label in zip(names, found["labels"], strict=True)]
        sink = Sink("csv", layout.classes, common_folder(names), "labels.csv")
    else:
        rows = [layout.rows[i] for i in usable]
        sink = Sink("csv", layout.classes, common_folder(names), "labels.csv", table.columns, table.file, table.label)
    return Table("csv", store, sink, **found, rows=rows)


def _coco(store: Store) -> Source | None:
    """Pictures with an annotation file of COCO's, or None."""
    tables = [n for n in store.files if n.lower().endswith(".json") and PurePosixPath(n).name.lower() not in TABLES]
    if not tables:
        return None
    layout = Layout(store)
    pictures = [name for name in store.files if is_picture(name)]
    base = common_folder(pictures + tables)
    documents: dict[str, coco.Document] = {}
    damaged = []
    beside = {str(PurePosixPath(name).with_suffix("")) for name in pictures}
    for name in tables:
        own = str(PurePosixPath(name).with_suffix("")) in beside  # deep down, of one picture: there may be millions
        if own and name.count("/", len(base)) > 1:
            continue
        text = ""
        try:
            text = store.read(name).decode("utf-8-sig", "replace")
            if document := coco.parse(text):
                documents[name] = document
        except InputError as error:
            store.problems.append((name, str(error)))
            damaged += [(name, error.what)] if coco.STARTS.search(text) else []
    if not documents and damaged:  # what it said of each picture would be left behind
        name, why = damaged[0]
        remedy = "it may be cut short: repair it, or move it away, and the pictures grow without it"
        raise InputError(f"the annotations in {name} of {store.root} cannot be read: {why}", remedy=remedy)
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
    return Coco(
        "coco", store, sink, base, tuple(names[i] for i in sorted(found)), [None] * len(found),
        categories=document.categories, problems=layout.problems, notes=layout.notes,
        images=images, annotations=annotations, partners=document.partners,
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
    stems = of[IMAGES].keys() & of[MASKS].keys()
    both = {of[IMAGES][stem]: of[MASKS][stem] for stem in stems}
    names = tuple(sorted(both))
    layout.refuse(beside, "pictures beside these folders")
    layout.refuse(twice, "second pictures of a stem")
    for folder, other in ((IMAGES, "mask"), (MASKS, "picture")):
        alone = [(base + name, f"it has no {other}") for stem, name in of[folder].items() if stem not in stems]
        layout.refuse(alone, f"files without a {other}")
    return Pairs(
        "pairs", store, Sink("pairs", place=IMAGES), base, names, [None] * len(names),
        problems=layout.problems, notes=layout.notes, masks=[both[name] for name in names],
    )  # fmt: skip


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
