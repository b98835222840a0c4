"""The result on disk while it grows: what is done stays done, whatever happens, and nothing is there in part.

A worker leaves whole files among the unfinished parts; then comes the line in the journal, then each file moves to
its place. A command that was stopped anywhere on that way is repeated: lines whose files are not there with the right
contents are dropped and made again, and parts without a line are thrown away.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gantk_augment import manifest
from gantk_augment.manifest import JOURNAL, NAME, Journal, Manifest
from gantk_augment.work import Outcome
from gantoolkit.errors import GantkError, InputError, UsageError
from gantoolkit.runlog import write_atomically

if TYPE_CHECKING:
    from gantk_augment.sink import Sink

OTHER = "name another folder with -o, or replace it with --force"


class Tree:
    """A folder that is this command's.

    Args:
        folder: made when missing.
        header: which command's result it is.
        force: another command's result is removed, all that its manifest lists; other files stay.

    Attributes:
        done: the lines whose files are there.

    Raises:
        UsageError: it holds something else, or another process is at work there.
        InputError: it cannot be written.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any], force: bool = False) -> None:
        self.folder, self.header = folder, dict(header)
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file", expected="a folder", remedy="name another one with -o")
        try:
            before = self._before(force)
            self.journal = Journal(folder, self.header)
            shutil.rmtree(manifest.temporary(folder), ignore_errors=True)
            manifest.temporary(folder).mkdir()
        except OSError as error:
            raise InputError(f"cannot write to {folder}: {error.strerror or error}") from error
        kept = {i: line for i, line in before.lines.items() if manifest.intact(folder, manifest.parse(line))}
        self.done = Manifest(self.header, kept)

    def _before(self, force: bool) -> Manifest:
        """What earlier calls of this command left, after what is of another command was refused or removed."""
        found = Manifest(self.header, {})
        for name in (NAME, JOURNAL):
            path = self.folder / name
            if not path.is_file() or not path.stat().st_size:
                continue
            try:
                earlier = manifest.read(path, torn=name == JOURNAL)
                changed = [key for key in self.header if earlier.header.get(key) != self.header[key]]
            except InputError as error:
                if not force:
                    raise InputError(str(error), remedy=OTHER) from error
                path.unlink()
                continue
            if not changed:
                found.lines |= earlier.lines
            elif not force:
                raise UsageError(f"{self.folder} holds a result of other {', '.join(changed)}", remedy=OTHER)
            else:
                self._remove(earlier)
                path.unlink()
        ours = found.lines or (self.folder / JOURNAL).exists()
        if not ours and not force and self.folder.is_dir() and any(self.folder.iterdir()):
            raise UsageError(f"{self.folder} is not empty, and nothing that can be gone on with", remedy=OTHER)
        return found

    def _remove(self, earlier: Manifest) -> None:
        names = [name for row in earlier.rows() for name in manifest.files(row)]
        tables = earlier.header.get("tables")
        for name in [*names, *filter(manifest.is_inside, tables if isinstance(tables, list) else ())]:
            (self.folder / name).unlink(missing_ok=True)
        for folder in sorted({parent for name in names for parent in Path(name).parents}, reverse=True):
            with suppress(OSError):  # not empty: it holds what is not ours
                (self.folder / folder).rmdir() if folder != Path() else None

    def take(self, outcome: Outcome) -> None:
        """Keep what a worker made.

        Raises:
            InputError: the disk is full, or the folder cannot be written any more.
        """
        assert outcome.line is not None
        self.journal.append(outcome.line)
        try:
            for part, name in outcome.parts:
                self._place(part, name)
        except OSError as error:
            raise InputError(f"cannot write {error.filename2 or error.filename}: {error.strerror}") from error
        self.done.lines[outcome.index] = outcome.line

    def _place(self, part: str, name: str) -> None:
        target = f"{self.folder}/{name}"  # os.replace of text costs half of what Path's does, once a file
        try:
            os.replace(part, target)  # noqa: PTH105
        except FileNotFoundError:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            os.replace(part, target)  # noqa: PTH105

    def finish(self, sink: Sink) -> None:
        """Write the tables over all samples and the manifest; the journal has served its time.

        Raises:
            InputError: the disk is full, or the folder cannot be written any more.
        """
        for name, content in sink.finish(self.described()).items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / name, content)
        self.done.write(self.folder)
        self.journal.remove()
        self.close()

    def described(self) -> Iterator[dict[str, Any]]:
        """The samples as `Sink.finish` takes them, in order."""
        for row in self.done.rows():
            yield {"file": row["file"], "label": row["label"], **row["annotation"]}

    def close(self) -> None:
        """Leave the folder to others; a folder in which nothing was done goes away."""
        self.journal.close()
        shutil.rmtree(manifest.temporary(self.folder), ignore_errors=True)
        if not self.done.lines:
            (self.folder / JOURNAL).unlink(missing_ok=True)
            with suppress(OSError):
                self.folder.rmdir()


def is_full(error: GantkError) -> bool:
    """Whether the disk was the cause."""
    return isinstance(error.__cause__, OSError) and manifest.is_full(error.__cause__)
