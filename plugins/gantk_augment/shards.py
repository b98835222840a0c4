"""WebDataset's tar shards: read as if they were a folder in one of the other layouts, and written.

A sample is the files of one shard with the same key, which is their name up to the first dot: `0001.jpg` with
`0001.cls` (its class), `0001.json` (its columns or objects) or `0001.mask.png`.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from gantk_augment import coco
from gantoolkit.archives import DATE
from gantoolkit.decoders import READABLE, is_picture
from gantoolkit.errors import InputError
from gantoolkit.layouts import LABEL_COLUMNS
from gantoolkit.runlog import write_atomically
from gantoolkit.store import Store, leads_out, piece

SAMPLES = 1000  # in a shard
MASK = "mask."
Member = tuple[Path, int, int]  # shard, first byte, bytes


def is_sharded(path: Path) -> bool:
    """Whether this is a tar, or a folder of tars without pictures or folders beside them."""
    if not path.is_dir() or not os.access(path, os.R_OK):
        return path.suffix.lower() == ".tar" and path.exists()
    if not _shards(path):
        return False
    visible = [p for p in path.iterdir() if not p.name.startswith(".")]
    return not any(p.is_dir() or is_picture(p) for p in visible)


def opened(path: Path) -> Store:
    """The files of a folder, a zip or shards.

    Raises:
        InputError: no such source, or it cannot be read.
    """
    return TarStore(path) if is_sharded(path) else Store(path)


def _shards(path: Path) -> list[Path]:
    names = (name for name in os.listdir(path) if name.lower().endswith(".tar"))  # noqa: PTH208 - there may be millions
    return [path / name for name in sorted(names) if not name.startswith(".")]


class TarStore(Store):
    """Tar shards as a folder: of classes, with `labels.csv`, with `annotations.json`, or of pairs.

    Args:
        root: a tar, or a folder with tars in it.

    Raises:
        InputError: a shard cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.folders, self.problems = root, set(), []
        self._members: dict[str, Member] = {}
        self._made: dict[str, bytes] = {}
        samples: dict[str, dict[str, Member]] = {}
        for shard in [root] if root.is_file() else _shards(root):
            self._index(shard, samples)
        self._arrange(samples)
        self.files = sorted([*self._members, *self._made])

    def _index(self, shard: Path, samples: dict[str, dict[str, Member]]) -> None:
        here: dict[str, dict[str, Member]] = {}
        try:
            with tarfile.open(shard, "r:") as archive:
                for entry in archive:
                    parts, problem = entry.name.removeprefix("./").split("/"), None
                    if entry.isdir() or parts[-1].startswith("."):
                        continue
                    folder, (key, _, kind) = parts[:-1], parts[-1].partition(".")
                    if not all(parts) or leads_out(entry.name):
                        problem = "the name leads out of the archive"
                    elif not entry.isfile():
                        problem = "a link or a device instead of a file"
                    elif kind.lower() in here.get(key := "/".join([*folder, key]), {}) or key in samples:
                        problem = "two samples of this name"
                    if problem:
                        self.problems.append((f"{shard.name}/{entry.name}", problem))
                    else:
                        here.setdefault(key, {})[kind.lower()] = (shard, entry.offset_data, entry.size)
        except (OSError, tarfile.TarError, ValueError) as error:
            raise InputError(f"cannot read {shard}: {error}", remedy="the shard may be damaged or cut short") from error
        samples |= here

    def _arrange(self, samples: Mapping[str, Mapping[str, Member]]) -> None:
        """Give each picture the name that says what its sample says."""
        masked = any(_mask(files) for files in samples.values())
        table: list[dict[str, str]] = []
        images: list[dict[str, Any]] = []
        categories: dict[Any, Any] = {}
        unread: Counter[str] = Counter()  # files of samples by kind, captions for one
        for key, files in samples.items():
            kind = next((kind for kind in files if f".{kind}" in READABLE), None)
            if kind is None:
                self.problems.append((key, f"a sample without a picture, only {', '.join(sorted(files))}"))
                continue
            name = f"images/{key}.{kind}" if masked else f"{key}.{kind}"
            if mask := _mask(files):
                self._members[f"masks/{key}.{mask.removeprefix(MASK)}"] = files[mask]
            left = [k for k in files if k not in (kind, mask, "json", "cls")]
            unread.update(left)
            told = self._json(key, files)
            if isinstance(told.get("annotations"), list):
                categories |= {
                    c["id"]: c for c in told.pop("categories", []) if isinstance(c, dict) and type(c.get("id")) is int
                }
                images.append({**told, "file_name": name})
            elif any(str(column).lower() in LABEL_COLUMNS for column in told):
                table.append({**{column: str(value) for column, value in told.items()}, "file": name})
            elif "cls" in files:
                label = piece(*files["cls"]).decode("utf-8", "replace").strip()
                if not label or label in (".", "..") or {"/", "\\", "\0"} & set(label):
                    self.problems.append((f"{key}.cls", f"the class {label[:40]!r} cannot be the name of a folder"))
                    continue
                name = f"{label}/{name}"
            self._members[name] = files[kind]
        for kind, count in sorted(unread.items()):
            self.problems.append((f"*.{kind}", f"{count:,} such files of samples are not read, and left behind"))
        self._made = _tables(table, images, list(categories.values()))

    def _json(self, key: str, files: Mapping[str, Member]) -> dict[str, Any]:
        if "json" not in files:
            return {}
        try:
            told = json.loads(piece(*files["json"]))
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            self.problems.append((f"{key}.json", "not JSON of one sample"))
        return told if isinstance(told, dict) else {}

    def read(self, name: str) -> bytes:
        return self._made[name] if name in self._made else piece(*self._members[name])

    def stamp(self, name: str) -> tuple[int, int]:
        content = self.read(name)
        return len(content), zlib.crc32(content)


def _mask(files: Mapping[str, Member]) -> str | None:
    """Which of a sample's files is its mask."""
    return next((k for k in files if k.startswith(MASK) and f".{k.removeprefix(MASK)}" in READABLE), None)


def _tables(
    table: Sequence[Mapping[str, str]], images: Sequence[Mapping[str, Any]], categories: Sequence[Mapping[str, Any]]
) -> dict[str, bytes]:
    """The tables that shards have in parts, as other layouts have them in one file."""
    made = {}
    if table:
        text = io.StringIO()
        columns = dict.fromkeys(column for row in table for column in row)
        writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
        made["labels.csv"] = text.getvalue().encode()
    if images:
        rows = [(image, [thing for thing in image["annotations"] if isinstance(thing, dict)]) for image in images]
        bare = [({k: v for k, v in image.items() if k != "annotations"}, things) for image, things in rows]
        made["annotations.json"] = coco.write({"categories": list(categories)}, bare)
    return made


def pack_webdataset(
    folder: Path, rows: Iterable[Mapping[str, Any]], target: Path, *, head: Mapping[str, Any] | None = None
) -> list[Path]:
    """Write a grown data set as shards `data-000000.tar`, …; the same content gives the same bytes.

    Args:
        folder: the data set, in a folder.
        rows: what `Sink.row` and `Source.row` say of each sample, in order.
        target: the folder of the shards; made where it is missing.
        head: `Sink.head`, for COCO: its categories go along with each sample.

    Returns:
        The shards in order.

    Raises:
        InputError: a file is not there, or a shard cannot be written.
    """
    target.mkdir(parents=True, exist_ok=True)
    shards: list[Path] = []
    keys: set[str] = set()
    remaining = iter(rows)
    while some := list(itertools.islice(remaining, SAMPLES)):
        shards.append(target / f"data-{len(shards):06d}.tar")

        def fill(stream: BinaryIO, some: Sequence[Mapping[str, Any]] = some) -> None:
            with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
                for row in some:
                    _add(archive, sample_key(row["file"], keys), folder, row, head or {})

        write_atomically(shards[-1], fill)
    return shards


def sample_key(name: str, keys: set[str]) -> str:
    """A key from a picture's name that no other sample has: without folders' slashes and dots, which would end it.

    Pictures ask in the order of their rows; `keys` takes the answer.
    """
    plain = key = str(PurePosixPath(name).with_suffix("")).replace("/", "_").replace(".", "_")
    number = 2
    while key in keys:
        key, number = f"{plain}-{number}", number + 1
    keys.add(key)
    return key


def _add(archive: tarfile.TarFile, key: str, folder: Path, row: Mapping[str, Any], head: Mapping[str, Any]) -> None:
    """One sample's files, sorted by name."""
    picture = PurePosixPath(row["file"])
    files = {picture.suffix[1:].lower(): _read(folder / picture)}
    if row.get("label") is not None:
        files["cls"] = row["label"].encode()
    if "columns" in row:
        files["json"] = _dump(row["columns"])
    elif "annotations" in row:
        told = {"annotations": row["annotations"], "categories": head.get("categories", [])}
        files["json"] = _dump({**row["image"], **told})
    elif "mask" in row:
        files[MASK + PurePosixPath(row["mask"]).suffix[1:].lower()] = _read(folder / row["mask"])
    for kind, content in sorted(files.items()):
        entry = tarfile.TarInfo(f"{key}.{kind}")  # belongs to nobody, of the year 1970
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))


def pack_zip(folder: Path, target: Path) -> None:
    """Write all visible files of a folder as a zip, sorted and undated; the same files give the same bytes.

    Raises:
        InputError: a file cannot be read, or the zip cannot be written.
    """
    names = Store(folder).files

    def fill(stream: BinaryIO) -> None:
        with zipfile.ZipFile(stream, "w") as archive:  # pictures are packed already
            for name in names:
                archive.writestr(zipfile.ZipInfo(name, DATE), _read(folder / name))

    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, fill)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _dump(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=True, sort_keys=True).encode()
