"""The files of a folder or a zip, read alike; nothing is ever unpacked to disk, and hostile names are refused."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from gantoolkit.errors import InputError

LARGEST = 2**30  # bytes of one file in a zip
BOMB, RATIO = 2**26, 200  # files past so many bytes that are so many times larger than packed are refused

Problem = tuple[str, str]  # file, what is wrong


class Store:
    """The visible files of a folder or a zip, by relative names with `/`. Picklable; safe after a fork.

    Args:
        root: the folder or the zip.
        files: of a folder, the names to read, where they are known; else all files are looked for.

    Attributes:
        root: the folder or the zip.
        files: names of all files, sorted; hidden ones (`.x`, `__MACOSX`) are left out.
        folders: names of folders, empty ones included where the source knows them.
        problems: files of a zip that are refused by their names or sizes.

    Raises:
        InputError: no such source, or neither a folder nor a readable zip.
    """

    def __init__(self, root: Path, files: Iterable[str] | None = None) -> None:
        self.root = root
        self.files: list[str] = sorted(files or ())
        self.folders: set[str] = set()
        self.problems: list[Problem] = []
        self._open: tuple[int, zipfile.ZipFile] | None = None
        self._unpacked = files is not None or root.is_dir()
        if files is not None:
            return
        try:
            if self._unpacked:
                self._walk()
            elif not root.exists():
                raise InputError(f"{root} does not exist", remedy="name a folder or a zip of pictures")
            elif zipfile.is_zipfile(root):
                self._list()
            else:
                raise InputError(f"cannot read {root}", expected="a folder or a zip")
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise InputError(f"cannot read {root}: {error}", remedy="the file may be damaged or cut short") from error
        self.files.sort()

    def _walk(self) -> None:
        seen = set()

        def unread(error: OSError) -> None:
            name = Path(error.filename).relative_to(self.root).as_posix()
            if name == ".":
                raise error
            self.problems.append((name, f"the folder cannot be read: {error.strerror}"))

        for folder, below, files in os.walk(self.root, onerror=unread, followlinks=True):
            real = os.path.realpath(folder)
            if real in seen:  # a link that leads back
                below.clear()
                continue
            seen.add(real)
            below[:] = sorted(name for name in below if not _hidden(name))
            base = Path(folder).relative_to(self.root).as_posix()
            prefix = "" if base == "." else f"{base}/"
            self.folders.update(prefix + name for name in below)
            self.files += [prefix + name for name in files if not _hidden(name)]

    def _list(self) -> None:
        entries = self._zip().infolist()
        count = Counter(entry.filename for entry in entries)
        for entry in {entry.filename: entry for entry in entries}.values():
            parts = entry.filename.split("/")
            problem = None
            if leads_out(entry.filename):
                problem = "the name leads out of the archive"
            elif any(_hidden(part) for part in parts):
                continue
            elif count[entry.filename] > 1:
                problem = "two files of this name in the archive"
            elif entry.flag_bits & 1:
                problem = "the file is encrypted"
            elif entry.file_size > min(LARGEST, max(BOMB, RATIO * entry.compress_size)):
                problem = f"{entry.file_size:,} bytes packed in {entry.compress_size:,}: a zip bomb"
            if problem:
                self.problems.append((entry.filename, problem))
            elif entry.is_dir():
                self.folders.add(entry.filename.rstrip("/"))
            else:
                self.files.append(entry.filename)

    def _zip(self) -> zipfile.ZipFile:
        """The open archive of this very process: a file position must not be shared across a fork."""
        if self._open is None or self._open[0] != os.getpid():
            self._open = (os.getpid(), zipfile.ZipFile(self.root))
        return self._open[1]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": None}

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            InputError: it cannot be read or unpacked.
        """
        try:
            if not self._unpacked:
                return self._zip().read(name)
            with open(f"{self.root}/{name}", "rb", buffering=0) as file:  # noqa: PTH123 - Path's costs twice as much
                return file.read()
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, EOFError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"cannot read {name} of {self.root}: {reason}") from error

    def stamp(self, name: str) -> tuple[int, int]:
        """(bytes, CRC-32) of a file: from a zip's directory, or by reading it."""
        if not self._unpacked:
            entry = self._zip().getinfo(name)
            return entry.file_size, entry.CRC
        content = self.read(name)
        return len(content), zlib.crc32(content)


def piece(file: Path, offset: int, size: int) -> bytes:
    """`size` bytes of a file from `offset` on: a member of a tar file that is not packed.

    Raises:
        InputError: it cannot be read, or ends before.
    """
    try:
        with file.open("rb") as stream:
            stream.seek(offset)
            content = stream.read(size)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from error
    if len(content) < size:
        raise InputError(f"{file} is cut short")
    return content


def leads_out(name: str) -> bool:
    """Whether a name in an archive is of a place outside it, on any system: absolute, with `..`, `\\` or a drive."""
    parts = name.split("/")
    return not parts[0] or ".." in parts or "\\" in name or parts[0][1:2] == ":"


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
