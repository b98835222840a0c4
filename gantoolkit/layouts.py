"""How people lay out pictures and their classes: folders, zips, `labels.csv`, `dataset.json`.

A source is read through a `Store`, a folder or a zip that looks like one; nothing is ever unpacked to disk. What does
not fit is collected as problems (training refuses them, `gantk data check` lists them) and what was decided as notes.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from gantoolkit.decoders import is_picture
from gantoolkit.errors import InputError
from gantoolkit.store import Problem, Store

FILE_COLUMNS = ("file", "filename", "file_name", "image", "image_name", "image_id", "picture", "path", "name", "id")
LABEL_COLUMNS = ("label", "class", "category", "target", "class_name", "class_id", "y")
TABLES = ("labels.csv", "dataset.json")
SHOWN = 10  # problems of one kind are listed up to here, then counted


@dataclass
class Table:
    """What `labels.csv` says.

    Attributes:
        rows: (file, label) of each line.
        whole: each line with all its columns by their names in the header.
        columns: these names, in order; `file` and `label` are the two that count.
        problems: lines that lack a file or a label, which are in no row.
    """

    rows: list[tuple[str, str]] = field(default_factory=list)
    whole: list[dict[str, str]] = field(default_factory=list)
    columns: tuple[str, ...] = ("file", "label")
    file: str = "file"
    label: str = "label"
    problems: list[str] = field(default_factory=list)


@dataclass
class Layout:
    """Which pictures there are, and of which class.

    Attributes:
        store: where they are read from.
        kind: "pictures", "folders as classes", "labels.csv" or "dataset.json".
        names: of the pictures, sorted.
        labels: a class number a picture, or None.
        classes: names of the classes that have pictures; () when unlabelled.
        base: the folder that is taken as the root, with its `/`; "" where it is the root.
        table: what `labels.csv` says, where there is one.
        rows: then the whole row of each picture by column, {} where it has none.
        problems: (file, what is wrong): each one keeps training from starting.
        notes: what was decided, in words.
    """

    store: Store
    kind: str = "pictures"
    names: list[str] = field(default_factory=list)
    labels: list[int] | None = None
    classes: tuple[str, ...] = ()
    base: str = ""
    table: Table | None = None
    rows: list[dict[str, str]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def refuse(self, problems: Sequence[Problem], what: str) -> None:
        """Add problems of one kind, those past the first few as a count."""
        self.problems += problems[:SHOWN]
        if len(problems) > SHOWN:
            self.problems.append((str(self.store.root), f"and {len(problems) - SHOWN:,} more {what}"))


def read_layout(source: Path | Store, labelled: bool = True, *, fewest: int = 2) -> Layout:
    """Find the pictures of a folder or zip and their classes; only tables are read, no picture is opened.

    Args:
        source: the folder or zip.
        labelled: False leaves labels and class folders alone.
        fewest: so many classes or none.

    Raises:
        InputError: no such source, or neither a folder nor a zip.
    """
    store = source if isinstance(source, Store) else Store(source)
    layout = Layout(store)
    layout.refuse(store.problems, "refused files")
    layout.names = [name for name in store.files if is_picture(name)]
    others = sorted(set(store.files) - set(layout.names))
    tables = [name for name in others if PurePosixPath(name).name.lower() in TABLES]
    base = layout.base = common_folder(layout.names + tables)
    if base:
        layout.notes.append(f"everything lies in the folder {base[:-1]}, so that is taken as the root")
    tables = [name for name in tables if "/" not in name[len(base) :]]
    others = [name for name in others if name not in tables]
    if others:
        layout.notes.append(f"{len(others):,} files that are no pictures are left alone (the first: {others[0]})")
    if not labelled:
        layout.notes.append("classes are not read, as asked")
        return layout
    if len(tables) > 1:
        layout.problems.append((tables[1], f"a second table of labels beside {tables[0]}; keep one"))
    elif tables:
        _from_table(layout, tables[0])
    else:
        _from_folders(layout)
    if 0 < len(layout.classes) < fewest:
        layout.notes.append(f"all pictures are of the class {layout.classes[0]}, so they are taken as unlabelled")
        layout.labels, layout.classes = None, ()
    return layout


def common_folder(names: Sequence[str]) -> str:
    """The folder that holds all of these files, with its `/`; "" when that is the root."""
    base = ""
    while names:
        head, slash, _ = names[0][len(base) :].partition("/")
        if not slash or not all(name.startswith(f"{base}{head}/") for name in names):
            return base
        base += f"{head}/"
    return base


def _ordered(classes: Iterable[str]) -> list[str]:
    """Class names in order: as numbers if all are, else as text."""
    found = sorted(set(classes))
    return sorted(found, key=int) if all(name.isascii() and name.isdecimal() for name in found) else found


def _from_folders(layout: Layout) -> None:
    """Folders as classes: the first folder below the root decides, however deep a picture lies."""
    base = layout.base
    inner = [name[len(base) :] for name in layout.names]
    classed = [name.partition("/")[0] if "/" in name else None for name in inner]
    found = _ordered(c for c in classed if c is not None)
    if not found:
        return
    layout.kind = "folders as classes"
    loose = [name for name, c in zip(layout.names, classed, strict=True) if c is None]
    reason = "it lies beside the class folders, so its class is unknown; move it into one"
    layout.refuse([(name, reason) for name in loose], "pictures beside the class folders")
    folders = {f[len(base) :] for f in layout.store.folders if f.startswith(base) and f != base}
    _drop_empty(layout, sorted(f for f in folders - set(found) if "/" not in f))
    if any(name.count("/") > 1 for name in inner):
        layout.notes.append("folders inside a class folder belong to its class")
    number = {name: index for index, name in enumerate(found)}
    layout.classes, layout.labels = tuple(found), [number.get(c or "", -1) for c in classed]


def _drop_empty(layout: Layout, empty: Sequence[str]) -> None:
    if empty:
        shown = ", ".join(empty[:5]) + (", …" if len(empty) > 5 else "")
        layout.notes.append(f"{len(empty)} of the classes have no pictures and are dropped: {shown}")


def _from_table(layout: Layout, table: str) -> None:
    names: Sequence[str] = ()
    layout.kind = PurePosixPath(table).name.lower()
    try:
        text = layout.store.read(table).decode("utf-8-sig")
        if layout.kind == "dataset.json":
            rows, names = parse_json(text)
        else:
            layout.table = parse_csv(text)
            rows = layout.table.rows
            layout.refuse([(table, problem) for problem in layout.table.problems], "such lines")
    except UnicodeDecodeError:
        layout.problems.append((table, "the table is not UTF-8 text"))
        return
    except InputError as error:
        layout.problems.append((table, str(error)))
        return
    if rows is None:
        layout.notes.append(f"{table} holds no labels")
        return
    matched = _match(layout, table, [file for file, _ in rows], [label for _, label in rows])
    found = [None if row is None else rows[row][1] for row in matched]
    if layout.table is not None:
        layout.rows = [{} if row is None else layout.table.whole[row] for row in matched]
    present = _ordered(label for label in found if label is not None)
    if names:
        present = [str(n) for n in range(len(names)) if str(n) in set(present)]
        _drop_empty(layout, [name for n, name in enumerate(names) if str(n) not in set(present)])
    number = {label: index for index, label in enumerate(present)}
    layout.classes = tuple(names[int(label)] if names else label for label in present)
    layout.labels = [-1 if label is None else number[label] for label in found]


def parse_csv(text: str) -> Table:
    """A table with `,`, `;` or tabs, with a header or, if it is two columns, without.

    Raises:
        InputError: no rows, no such columns, quotes that do not close.
    """
    first = text.lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
        table = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(c.strip() for c in row)]
    except csv.Error as error:
        raise InputError(f"the table is malformed: {error}") from error
    if not table:
        raise InputError("the table is empty", expected="rows of file,label")
    header = [cell.lower().replace(" ", "_") for cell in table[0][1]]
    columns = [next((header.index(n) for n in known if n in header), None) for known in (FILE_COLUMNS, LABEL_COLUMNS)]
    found = Table()
    if None not in columns:
        found.columns, table = tuple(table[0][1]), table[1:]
        found.file, found.label = (found.columns[c] for c in columns if c is not None)
    elif len(header) == 2 and is_picture(header[0]):
        columns = [0, 1]
    else:
        raise InputError("the table has no such columns", expected="file,label", actual=",".join(table[0][1])[:80])
    for line, cells in table:
        file, label = (cells[c] if c is not None and c < len(cells) else "" for c in columns)
        if file and label:
            found.rows.append((file, label))
            found.whole.append(dict(zip(found.columns, cells, strict=False)))
        else:
            found.problems.append(f"line {line} lacks a file or a label, expected {len(header)} columns")
    return found


def parse_json(text: str) -> tuple[list[tuple[str, str]] | None, list[str]]:
    """(rows of (file, class number as text) or None, class names) of a `dataset.json` as StyleGAN writes it.

    Raises:
        InputError: not JSON, or not `{"labels": [["file", 0], …]}` with one whole number ≥ 0 a picture.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the file is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError("the file is malformed", expected='{"labels": [["file", 0], …]}')
    names, labels = content.get("classes") or [], content.get("labels")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise InputError('"classes" is malformed', expected="a list of different names")
    if labels is None:
        return None, names
    if not isinstance(labels, list):
        raise InputError('"labels" is malformed', expected='[["file", 0], …]')
    rows = []
    for row in labels:
        good = isinstance(row, list) and len(row) == 2 and isinstance(row[0], str) and type(row[1]) is int
        if not good or row[1] < 0 or (names and row[1] >= len(names)):
            expected = f'["file", class number {f"below {len(names)}" if names else "from 0"}]'
            raise InputError("a row of the labels is malformed", expected=expected, actual=json.dumps(row)[:80])
        rows.append((row[0], str(row[1])))
    return rows, names


def _key(name: str) -> str:
    """Names are compared without `./`, with `/`, and as composed Unicode, which some systems take apart."""
    return unicodedata.normalize("NFC", name.replace("\\", "/").removeprefix("./"))


def find_by_name(names: Sequence[str]) -> Callable[[str], int | None]:
    """Finds a picture's index by its name from the root, else by its last part, else that without suffix."""
    exact: dict[str, int] = {}
    loosely: dict[str, int | None] = {}  # None: several pictures
    for index, name in enumerate(names):
        key = _key(name)
        exact[key] = index
        path = PurePosixPath(key)
        for short in {path.name, path.stem}:
            loosely[short] = None if short in loosely else index
    return lambda name: exact.get(_key(name), loosely.get(_key(name)))


def _match(layout: Layout, table: str, files: Sequence[str], labels: Sequence[str]) -> list[int | None]:
    """The row of each picture, None where no row or several that contradict each other are of it."""
    find = find_by_name([name[len(layout.base) :] for name in layout.names])
    rows: list[int | None] = [None] * len(layout.names)
    lost: list[str] = []
    contrary: dict[int, Problem] = {}
    repeated = 0
    for row, (file, label) in enumerate(zip(files, labels, strict=True)):
        found = find(file)
        if found is None:
            lost.append(file)
        elif (first := rows[found]) is None:
            rows[found] = row
        elif labels[first] == label:
            repeated += 1
        else:
            text = f"{table} gives it two classes, {labels[first]} and {label}"
            contrary.setdefault(found, (layout.names[found], text))
    without = [name for name, row in zip(layout.names, rows, strict=True) if row is None]
    layout.refuse([(table, f"a row names {file!r}, and no such picture is there") for file in lost], "such rows")
    layout.refuse([(name, f"{table} has no row for it") for name in without], "pictures without a row")
    layout.refuse(list(contrary.values()), "pictures with two classes")
    if repeated:
        layout.notes.append(f"{repeated:,} rows of {table} say again what another row said")
    return [None if index in contrary else row for index, row in enumerate(rows)]
