"""Tar files as WebDataset writes them, read like a folder: by name, at any time, without unpacking.

Format: https://github.com/webdataset/webdataset, "The WebDataset Format": files of one sample stand together and share
their name up to the first dot of the last part.
"""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path, PurePosixPath

from gantoolkit.store import Problem, piece


class Shards:
    """All files of some tar files, as `gantoolkit.store.Store` has those of a folder.

    Attributes:
        root: where the tar files are, or the only one.
        files: names in the order of the tar files.
        problems: tar files that are damaged or packed, and names that stand twice.
    """

    def __init__(self, root: Path, shards: list[Path]) -> None:
        self.root = root
        self.files: list[str] = []
        self.problems: list[Problem] = []
        self._places: dict[str, tuple[Path, int, int]] = {}  # shard, offset, bytes
        for shard in shards:
            self._list(shard)

    def _list(self, shard: Path) -> None:
        try:
            with tarfile.open(shard, "r:") as archive:
                for member in archive:
                    if not member.isfile() or PurePosixPath(member.name).name.startswith("."):
                        continue
                    if member.name in self._places:
                        other = self._places[member.name][0].name
                        self.problems.append(
                            (f"{shard.name}/{member.name}", f"a second file of this name, see {other}")
                        )
                        continue
                    self._places[member.name] = (shard, member.offset_data, member.size)
                    self.files.append(member.name)
        except (OSError, tarfile.TarError, EOFError, ValueError) as error:
            what = f"not a plain tar file, or damaged: {error}"
            self.problems.append((shard.name, what))

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            InputError: it cannot be read, or the tar file ends before it does.
        """
        return piece(*self._places[name])

    def stamp(self, name: str) -> tuple[int, int]:
        """(bytes, CRC-32) of a file."""
        content = self.read(name)
        return len(content), zlib.crc32(content)


def key(name: str) -> tuple[str, str]:
    """("folder/000123", "seg.png") of "folder/000123.seg.png": the sample and what the file is of it."""
    path = PurePosixPath(name)
    first, _, rest = path.name.partition(".")
    return str(path.with_name(first)) if first else name, rest.lower()
