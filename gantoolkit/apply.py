"""A model applied to many files: plan, read, apply, write, and say what became of each.

What `gantk run` does in every task that turns a file into a file.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from gantoolkit import filejobs, images
from gantoolkit.errors import InputError
from gantoolkit.filejobs import STANDARD, Job, Result
from gantoolkit.task import Console

__all__ = ["FileOptions", "Pictures", "Progress", "opened", "to_files"]

Progress = Callable[[int, int], None]  # called with (done, in all)


class FileOptions(Protocol):
    """What a user says about files; the options of `gantk run` of a task have these and more."""

    @property
    def inputs(self) -> Sequence[str]: ...
    @property
    def out(self) -> str | None: ...
    @property
    def format(self) -> str | None: ...
    @property
    def quality(self) -> int: ...
    @property
    def recursive(self) -> bool: ...
    @property
    def force(self) -> bool: ...


class Pictures:
    """How files are told, read and written: as pictures. A task with other files has a subclass.

    Attributes:
        endings: suffix → format of what can be written; a result keeps its input's suffix if it is one of them.
        otherwise: the suffix of the other results.
    """

    endings: Mapping[str, str] = images.WRITABLE
    otherwise: str = ".png"

    def accepts(self, path: Path) -> bool:
        """Whether a file in a folder is an input (it is not opened)."""
        return images.is_picture(path)

    def read(self, source: Path | bytes) -> Any:
        """What a file, or standard input, holds."""
        return images.read(source)

    def check(self, held: Any, size: tuple[int, int], target: Path | BinaryIO, options: FileOptions) -> None:
        """Refuse what was read where its file cannot hold what it becomes: a picture of `size` (height, width)."""
        images.check(held, self._format(held, target, options), size)

    def write(self, made: Any, target: Path | BinaryIO, options: FileOptions) -> None:
        """A result to its file, or to standard output."""
        kind = self._format(made, target, options)
        images.write(made, target, format=kind, quality=options.quality, force=options.force)

    def _format(self, picture: Any, target: Path | BinaryIO, options: FileOptions) -> str:
        if isinstance(target, Path):
            return images.format_for(target)
        known = picture.format in self.endings.values()
        return images.format_for(None, options.format or (picture.format if known else self.endings[self.otherwise]))

    def size(self, held: Any) -> tuple[int, int]:
        """(height, width) of what was read or made."""
        height, width = held.pixels.shape[:2]
        return height, width


def to_files(
    apply: Callable[[Any, Progress], Any],
    options: FileOptions,
    console: Console,
    *,
    model: str,
    suffix: str,
    files: Pictures | None = None,
    becomes: Callable[[tuple[int, int]], tuple[int, int]] | None = None,
) -> int:
    """Apply a model to every file that the options name; a file that fails says so, and the others go on.

    Args:
        apply: what was read and a function to tell progress → what to write.
        options: inputs, where results go and how they are written.
        console: gets a line and a JSON row a file, and a summary of several. When a result goes to standard output,
            nothing else does.
        model: its name, for the rows.
        suffix: added to names when there is no `options.out`.
        files: how files are read and written; as pictures by default.
        becomes: (height, width) of an input → those of its result: what a file cannot hold is then refused before
            the work and not after it.

    Returns:
        0 all done, 3 the only file failed, 4 some of several failed.

    Raises:
        UsageError, InputError: what was asked for makes no sense, see `filejobs.plan`.
    """
    started = time.perf_counter()
    files = files or Pictures()
    jobs = filejobs.plan(
        options.inputs,
        options.out,
        suffix=suffix,
        format=options.format,
        recursive=options.recursive,
        force=options.force,
        accepts=files.accepts,
        endings=files.endings,
        otherwise=files.otherwise,
    )

    def work(job: Job) -> dict[str, Any]:
        held, made = _one(job, apply, options, console, files, becomes)
        before, after = files.size(held), files.size(made)
        return {"model": model, "input_size": [before[1], before[0]], "size": [after[1], after[0]]}

    def done(result: Result) -> None:
        if result.target != STANDARD:  # there stdout is the picture and nothing else
            console.result(result.to_dict())
        if result.error:
            console.warn(f"error: {result.error}")
        elif result.target != STANDARD:
            width, height = result.details["size"]
            console.say(f"{result.source} → {result.target}  {width}×{height}, {result.seconds:.1f} s")

    summary = filejobs.run_jobs(jobs, work, on_result=done)
    if len(jobs) > 1:
        seconds = time.perf_counter() - started
        console.say(f"{len(jobs) - len(summary.failed)} of {len(jobs)} pictures done in {seconds:.1f} s")
    return summary.exit_code


def _one(
    job: Job,
    apply: Callable[[Any, Progress], Any],
    options: FileOptions,
    console: Console,
    files: Pictures,
    becomes: Callable[[tuple[int, int]], tuple[int, int]] | None,
) -> tuple[Any, Any]:
    """Read, apply, write; what was read and what was made of it."""
    name = "stdin" if job.source == STANDARD else job.source.name
    target = opened(sys.stdout, "output").buffer if job.target == STANDARD else job.target
    held = files.read(opened(sys.stdin, "input").buffer.read() if job.source == STANDARD else job.source)
    if becomes is not None:
        files.check(held, becomes(files.size(held)), target, options)
    with console.progress(1, "picture", name) as bar:
        before = 0.0

        def progress(done: int, total: int) -> None:
            nonlocal before
            bar.advance(done / total - before)
            before = done / total

        made = apply(held, progress)
    files.write(made, target, options)
    return held, made


def opened(stream: Any, name: str) -> Any:
    """A standard stream, sys.stdin or sys.stdout, where the process was given one.

    Raises:
        InputError: it was closed.
    """
    if stream is None:
        raise InputError(f"standard {name} is closed")
    return stream
