"""`manifest.jsonl`: a header, then a line for each sample of the result, from which it can be made again.

The header says what all lines share: versions, the data's fingerprint, the policies' settings, the options. A line
holds `file` and `sha256` (and `beside`, name → sha256, where a sample is several files), `index`, `stem`, `policy`,
`source`, `label`, `seed`, `parameters` and `annotation`. While work goes on the same lines are kept in a journal, in
the order in which they were done, so that whatever kills the work loses nothing that is in it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gantoolkit.errors import InputError, UsageError
from gantoolkit.runlog import write_atomically

NAME = "manifest.jsonl"
JOURNAL = "manifest.partial.jsonl"
VERSION = 1
ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
REQUIRED = ("file", "sha256", "index", "stem", "policy", "source", "label", "seed")


def dump(row: Mapping[str, Any]) -> bytes:
    """One line, ASCII, so that file names that are no text survive.

    Raises:
        ValueError, TypeError: a value that JSON does not have.
    """
    return ENCODER.encode(row).encode() + b"\n"


@dataclass
class Manifest:
    """A header and lines by index."""

    header: dict[str, Any]
    lines: dict[int, bytes]

    def rows(self) -> Iterator[dict[str, Any]]:
        """The lines in order, parsed."""
        return (parse(self.lines[index]) for index in sorted(self.lines))

    def write(self, folder: Path) -> None:
        """The whole manifest, all or nothing.

        Raises:
            InputError: the folder is read-only or the disk is full.
        """
        write_atomically(folder / NAME, dump(self.header) + b"".join(self.lines[i] for i in sorted(self.lines)))


def read(path: Path, *, torn: bool = False) -> Manifest:
    """A manifest, or a journal, whose last line may be `torn`.

    Raises:
        InputError: it cannot be read, or is no manifest of this version.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    return understood(content, path, torn=torn)


def understood(content: bytes, path: Path, *, torn: bool = False) -> Manifest:
    """`read`, of a file's content.

    Raises:
        InputError: it is no manifest of this version.
    """
    lines = content.splitlines(keepends=True)
    if torn and lines and not lines[-1].endswith(b"\n"):
        lines.pop()
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        good = isinstance(row, dict) and (number == 1 or _is_row(row))
        if not good:
            raise InputError(f"line {number} of {path} is damaged", expected="a line that gantk run augment wrote")
        rows.append(row)
    if not rows or rows[0].get("manifest") != VERSION:
        actual = rows[0].get("manifest") if rows else "an empty file"
        raise InputError(f"{path} is no manifest that can be read here", expected=f"version {VERSION}", actual=actual)
    kept = {row["index"]: line.rstrip(b"\n") + b"\n" for row, line in zip(rows[1:], lines[1:], strict=True)}
    return Manifest(rows[0], kept)


def parse(line: bytes) -> dict[str, Any]:
    """A line as `dump` took it."""
    return json.loads(line)


def is_inside(name: Any) -> bool:
    """Whether it is a file's name that stays inside the folder that it is looked for in."""
    return isinstance(name, str) and bool(name) and not Path(name).is_absolute() and ".." not in Path(name).parts


def _is_row(row: Mapping[str, Any]) -> bool:
    """A manifest may come from anywhere: what it names is read, made and, with --force, removed."""
    if any(key not in row for key in REQUIRED) or type(row["index"]) is not int:
        return False
    beside = row.get("beside", {})
    if not isinstance(beside, dict) or not all(map(is_inside, [row["file"], *beside])):
        return False
    if not all(isinstance(sha, str) for sha in [row["sha256"], *beside.values()]):
        return False
    plain = is_inside(row["stem"]) and not {"/", "\\"} & set(row["stem"])
    return plain and (row["seed"] is None or type(row["seed"]) is int)


def files(row: Mapping[str, Any]) -> dict[str, str]:
    """Name → sha256 of all files of a line."""
    return {row["file"]: row["sha256"], **row.get("beside", {})}


def intact(folder: Path, row: Mapping[str, Any]) -> bool:
    """Whether all files of a line are there with the contents that it says."""
    try:
        return all(hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha for name, sha in files(row).items())
    except OSError:
        return False


class Journal:
    """The lines that are done, appended to `folder/manifest.partial.jsonl`; one process at a time.

    A line reaches the operating system before `append` returns, so a killed process loses nothing; there is no fsync.

    Args:
        folder: the result's.
        header: what work this is.

    Raises:
        InputError: the folder cannot be written, or the journal there is damaged.
        UsageError: another process is at work there.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any]) -> None:
        self.path = folder / JOURNAL
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab", buffering=0)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise UsageError(f"another command is at work in {folder}", remedy="wait for its end") from error
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {error.strerror or error}") from error
        whole = self.path.read_bytes()
        self._end = whole.rfind(b"\n") + 1
        self._file.truncate(self._end)  # a torn last line
        if not self._end:
            self.append(dump(header))

    def append(self, line: bytes) -> None:
        """Keep a line.

        Raises:
            InputError: the disk is full; nothing of the line is left.
        """
        try:
            left = line
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            self._file.truncate(self._end)
            raise InputError(f"cannot write {self.path}: {error.strerror or error}") from error
        self._end += len(line)

    def close(self) -> None:
        """Let others work here; harmless when called twice."""
        self._file.close()

    def remove(self) -> None:
        """The work is done."""
        self.path.unlink(missing_ok=True)
        self.close()


def is_full(error: OSError) -> bool:
    """Whether no further file can be written, either."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def temporary(folder: Path) -> Path:
    """Where files lie until they are whole and in the journal."""
    return folder / ".gantk-parts"
