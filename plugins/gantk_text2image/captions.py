"""Pictures with captions as people keep them: a text beside each picture, a table, or WebDataset's tar files.

Nothing is skipped in silence: what cannot be used is a problem with the file's name, what was decided is a note.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from gantk_text2image import tables
from gantk_text2image.shards import Shards, key
from gantk_text2image.tables import Row
from gantoolkit.decoders import is_picture
from gantoolkit.errors import InputError
from gantoolkit.store import Problem, Store

FEWEST = 8  # pictures; fewer are a mistake, not a data set
LONG = 1_000  # characters of a caption that are worth a note
Said = tuple[dict[str, Row], set[str]]  # by picture; pictures whose problem is listed already
REMEDY = "`gantk data check` lists all that is wrong"


@dataclass
class Captioned:
    """Pictures and what is said of them, in the order of their names. No picture is opened before it is asked for.

    Attributes:
        store: where the files are read from.
        layout: how they lie there, in words.
        names: of the pictures, sorted.
        problems: (file, what is wrong): each one keeps training from starting.
        notes: what was decided, in words.
    """

    store: Store | Shards
    layout: str = ""
    names: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)

    def picture(self, index: int) -> np.ndarray:
        """(H, W, C) uint8, upright; C 2 and 4 end with alpha.

        Raises:
            InputError: it is damaged or gone.
        """
        from gantoolkit.scan import decode

        name = self.names[index]
        return decode(self.store.read(name), name)[0]

    def captions(self, index: int) -> tuple[str, ...]:
        """At least one."""
        return self.rows[index].captions

    def attributes(self, index: int) -> Mapping[str, str]:
        """{} where there are none."""
        return self.rows[index].attributes

    def split(self, index: int) -> str | None:
        """ "train", "test" or None."""
        return self.rows[index].split

    @cached_property
    def fingerprint(self) -> str:
        """A hash of names, contents and all that is said: it reads every file."""
        digest = hashlib.sha256()
        for name, row in zip(self.names, self.rows, strict=True):
            facts = (name, self.store.stamp(name), row.captions, sorted(row.attributes.items()), row.split)
            digest.update(repr(facts).encode(errors="replace"))
        return digest.hexdigest()

    def refuse(self, more: Sequence[Problem] = ()) -> None:
        """Raises InputError if there are problems (or `more`): the first one, and how many others."""
        problems = [*self.problems, *more]
        if problems:
            file, text = problems[0]
            others = f" (and {len(problems) - 1:,} more problems)" if len(problems) > 1 else ""
            line = text if file in text else f"{file}: {text}"
            raise InputError(f"{self.store.root} cannot be trained on: {line}{others}", remedy=REMEDY)


def open_captions(folder: Path | str) -> Captioned:
    """Find pictures and captions.

    Args:
        folder: a folder or zip of pictures with a `.txt` beside each or one table of captions; or a tar file, or a
            folder of them.

    Raises:
        InputError: no such source, or neither a folder nor an archive.
        UsageError: a table in Parquet, and pyarrow is not installed.
    """
    root = Path(folder)
    shards = sorted(root.glob("*.tar")) if root.is_dir() else [root] if root.suffix == ".tar" and root.exists() else []
    store = Shards(root, shards) if shards else Store(root)
    found = Captioned(store, problems=list(store.problems))
    pictures = [name for name in store.files if is_picture(name)]
    if isinstance(store, Shards):
        said, blamed = _from_shards(found, pictures)
    else:
        names = [name for name in store.files if PurePosixPath(name).name.lower() in tables.NAMES]
        said, blamed = _from_tables(found, pictures, names) if names else _from_texts(found, pictures)
    for name in sorted(pictures):
        row = said.get(name)
        if row is None or not row.captions:
            if name not in blamed:
                empty = row is not None
                found.problems.append((name, "the caption is empty" if empty else "a picture without a caption"))
            continue
        row.captions = tuple(dict.fromkeys(row.captions))
        found.names.append(name)
        found.rows.append(row)
    if shards and root.is_dir() and (loose := sum(is_picture(name) for name in Store(root).files)):
        found.notes.append(f"{loose:,} pictures beside the tar files are left out")
    _notes(found)
    if len(found) < FEWEST:
        what = f"only {len(found)} pictures with captions" if found.names else "no pictures with captions"
        found.problems.append((str(root), f"{what} in {root}, expected at least {FEWEST}"))
    return found


def _notes(found: Captioned) -> None:
    if empty := sum(row.empty for row in found.rows):
        found.notes.append(f"{empty:,} empty captions are left out where a picture has others")
    if long := sum(len(text) > LONG for row in found.rows for text in row.captions):
        found.notes.append(f"{long:,} captions have more than {LONG:,} characters; what is read of them is cut")
    some = sum(row.split is not None for row in found.rows)
    if 0 < some < len(found):
        found.notes.append(f"{len(found) - some:,} pictures name no split and are trained on")


def _from_texts(found: Captioned, pictures: list[str]) -> Said:
    """A `.txt` beside each picture, of the same name, a caption a line."""
    found.layout = "a .txt beside each picture"
    beside = defaultdict(list)
    for name in pictures:
        beside[str(PurePosixPath(name).with_suffix(""))].append(name)
    said: dict[str, Row] = {}
    blamed: set[str] = set()
    for text in (name for name in found.store.files if name.lower().endswith(".txt")):
        owners = beside.get(str(PurePosixPath(text).with_suffix("")), [])
        if not owners:
            found.problems.append((text, "a caption without a picture"))
            continue
        for other in owners[1:]:
            found.problems.append((other, f"the same name as {owners[0]}: one text, two pictures"))
            blamed.add(other)
        try:
            said[owners[0]] = tables.lines(tables.decoded(found.store.read(text)))
        except InputError as error:
            found.problems.append((text, str(error)))
            blamed.add(owners[0])
    return said, blamed


def _from_tables(found: Captioned, pictures: list[str], names: list[str]) -> Said:
    """One table of all pictures; several rows of one picture are several captions."""
    table, *others = sorted(
        names, key=lambda name: (name.count("/"), tables.NAMES.index(PurePosixPath(name).name.lower()))
    )
    found.layout = f"the table {table}"
    found.problems += [(other, f"a second table beside {table}; keep one") for other in others]
    base, known = PurePosixPath(table).parent, set(pictures)
    said: dict[str, Row] = {}
    blamed: set[str] = set()
    places: dict[str, str] = {}
    try:
        for place, row in tables.read(table.lower(), found.store.read(table)):
            if isinstance(row, InputError):
                found.problems.append((f"{table} {place}", str(row)))
                continue
            name = str(base / row.file.replace("\\", "/")).removeprefix("./")
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                found.problems.append((f"{table} {place}", f"{row.file} leads out of the folder"))
            elif name not in known:
                found.problems.append((f"{table} {place}", f"a caption without a picture: no {row.file}"))
            elif name not in said:
                said[name], places[name] = row, place
            elif (said[name].attributes, said[name].split) != (row.attributes, row.split):
                what = f"{row.file} has other attributes or another split than at {places[name]}"
                found.problems.append((f"{table} {place}", what))
            else:
                said[name].captions += row.captions
                said[name].empty += row.empty
    except InputError as error:
        found.problems.append((table, str(error)))
    if texts := sum(name.lower().endswith(".txt") for name in found.store.files):
        found.notes.append(f"{texts:,} .txt files are left alone: captions are in {table}")
    return said, blamed


def _from_shards(found: Captioned, pictures: list[str]) -> Said:
    """Samples of tar files: a picture with `.txt`, `.json` or both."""
    found.layout = "tar files of WebDataset"
    of: dict[str, str] = {}
    blamed: set[str] = set()
    for name in pictures:
        sample = key(name)[0]
        if sample in of:
            found.problems.append((name, f"a second picture of the sample {sample}"))
            blamed.add(name)
        of.setdefault(sample, name)
    said: dict[str, Row] = {}
    for file in found.store.files:
        sample, kind = key(file)
        if kind not in ("txt", "json"):
            continue
        if sample not in of:
            found.problems.append((file, "a caption without a picture"))
            continue
        try:
            content = found.store.read(file)
            row = tables.lines(tables.decoded(content)) if kind == "txt" else tables.sample(content)
        except InputError as error:
            found.problems.append((file, str(error)))
            blamed.add(of[sample])
            continue
        whole = said.setdefault(of[sample], Row())
        whole.captions += row.captions
        whole.attributes |= row.attributes
        whole.split, whole.empty = row.split or whole.split, whole.empty + row.empty
    return said, blamed
