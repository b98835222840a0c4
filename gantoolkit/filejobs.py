"""Many files in, one result a file: what to read, where to write, and what became of each.

A file that fails says so on one line and the others go on; a bug stops everything with its traceback.
"""

from __future__ import annotations

import glob
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gantoolkit.arrays import kind_of
from gantoolkit.encoders import WRITABLE
from gantoolkit.errors import GantkError, InputError, UsageError
from gantoolkit.images import format_for, is_picture
from gantoolkit.paths import expanded

Accepts = Callable[[Path], bool]
STANDARD = Path("-")  # standard input as a source, standard output as a target
# of pictures and documents that are not written here: no folder is meant by a name that ends so
FOREIGN = (".avif", ".heic", ".heif", ".jfif", ".jp2", ".jxl", ".pdf", ".psd", ".svg")


@dataclass(frozen=True)
class Job:
    """One file to work on; `error` if it is known beforehand that it cannot be done."""

    source: Path
    target: Path
    error: GantkError | None = None


@dataclass(frozen=True)
class Result:
    """What became of a job: `error` is one line or None, `details` is what the work returned."""

    source: Path
    target: Path
    seconds: float
    error: str | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON's own types."""
        return {
            "source": str(self.source),
            "target": str(self.target),
            "seconds": round(self.seconds, 3),
            "error": self.error,
            **self.details,
        }


@dataclass(frozen=True)
class Summary:
    """The results of a batch, in the order of its jobs."""

    results: list[Result]

    @property
    def failed(self) -> list[Result]:
        return [result for result in self.results if result.error is not None]

    @property
    def exit_code(self) -> int:
        """0 all done, 3 the only file failed, 4 some or all of several failed."""
        if not self.failed:
            return 0
        return 3 if len(self.results) == 1 else 4

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON's own types."""
        return {
            "done": len(self.results) - len(self.failed),
            "failed": len(self.failed),
            "results": [result.to_dict() for result in self.results],
        }


def expand(inputs: Sequence[str], recursive: bool, accepts: Accepts = is_picture) -> list[Path]:
    """The picture files that `inputs` name, each once, in order.

    Args:
        inputs: files (taken as they are), folders (their pictures, sorted), globs, `-` for standard input;
            `~` is the home folder.
        recursive: look into folders inside folders.
        accepts: which files of a folder or a glob count.

    Raises:
        InputError: an input that does not exist, matches nothing, or is a folder without pictures.
    """
    entries = _expand(inputs, recursive, accepts)
    for entry in entries:
        if entry.error:
            raise entry.error
    return [entry.file for entry in entries]


@dataclass(frozen=True)
class _Entry:
    """A file to work on, the folder that its place below is kept of, why it cannot be done; `found`, not named."""

    file: Path
    root: Path
    error: InputError | None = None
    found: bool = False


def _expand(inputs: Sequence[str], recursive: bool, accepts: Accepts) -> list[_Entry]:
    """Every file that the inputs name, once; an input that names none is an entry with an error."""
    found: dict[str | Path, _Entry] = {}
    for given in inputs:
        for entry in _named(given, recursive, accepts):
            found.setdefault(entry.file if entry.file == STANDARD else os.path.abspath(entry.file), entry)  # noqa: PTH100
    return list(found.values())


def _named(given: str, recursive: bool, accepts: Accepts) -> list[_Entry]:
    if given == "-":
        return [_Entry(STANDARD, STANDARD.parent)]
    path = expanded(given)
    # A file whose own name holds brackets is that file and not a pattern.
    named = [path]
    if not _exists(path):  # `Path.glob` takes no absolute pattern
        named = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
    if not named:
        error = InputError(f"{given} does not exist", remedy="check the name; quote patterns with * or ?")
        return [_Entry(path, path.parent, error)]
    pictures: list[_Entry] = []
    for entry in named:
        if entry.is_dir():
            inside = entry.rglob("*") if recursive else entry.iterdir()
            try:
                files = sorted(p for p in inside if accepts(p) and p.is_file() and is_visible(p.relative_to(entry)))
            except OSError as failure:
                error = InputError(f"cannot look into {entry}: {failure.strerror or failure}")
                return [_Entry(entry, entry.parent, error)]
            pictures += [_Entry(file, entry, found=True) for file in files]
        elif len(named) == 1 or accepts(entry):
            pictures.append(_Entry(entry, entry.parent, found=entry != path))
    if not pictures:
        remedy = None if recursive else "look into its folders with --recursive"
        return [_Entry(path, path.parent, InputError(f"{given} holds no pictures", remedy=remedy))]
    return pictures


def is_visible(path: Path) -> bool:
    """Whether neither the file nor a folder on the way to it is hidden."""
    return not any(part.startswith(".") for part in path.parts)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long, a folder that may not be searched: opening it will say so
        return False


def _real(path: Path) -> str:
    return os.path.realpath(path)  # of links in a circle Path.resolve makes a RuntimeError


def plan(
    inputs: Sequence[str],
    out: str | None,
    *,
    suffix: str,
    format: str | None = None,
    recursive: bool = False,
    force: bool = False,
    accepts: Accepts = is_picture,
    endings: Mapping[str, str] = WRITABLE,
    otherwise: str = ".png",
) -> list[Job]:
    """Where each input's result goes; nothing is written yet.

    Args:
        inputs, recursive, accepts: see `expand`.
        out: a file if there is one input and the name ends as a picture or an array; `-` for standard output; else
            a folder, in which the places of the inputs below their folders are kept. None: beside each input.
        suffix: added to the name when there is no `out` (`photo.jpg` becomes `photo_x4.jpg` with "_x4").
        format: of the results ("png", "jpg", ...); None: that of the input if it can be written, else `otherwise`.
        force: existing results may be overwritten; without it such a job fails, and only that job.
        endings: suffix -> format of what can be written.
        otherwise: the suffix of a result whose input's suffix is not among them.

    Among several inputs, one that does not exist or holds no pictures is a job with an error. What is found in a folder
    or by a pattern is left out where it is from an earlier run: beside the input that it is the result of, whatever
    the number in the suffix was, or in `out` below the folder that is looked through.

    Raises:
        InputError: the only input does not exist or holds no pictures.
        UsageError: two inputs with one result, a result that is its own input, an unknown format, a file that cannot
            hold the result, an empty name, a suffix with a folder in it.
    """
    if "" in inputs or out == "":
        raise UsageError("an empty name was given", remedy="say . for this folder; check the variable it came from")
    if re.search(r"[/\\]", suffix):
        raise UsageError(f"the suffix {suffix} holds a folder", remedy="name a folder with -o")
    entries = _expand(inputs, recursive, accepts)
    if len(entries) == 1 and entries[0].error:
        raise entries[0].error
    if format:
        _format(format, endings)
    naming = _Naming(out, suffix, format, len(entries) == 1, endings, otherwise)
    entries = _without_earlier(entries, naming)
    jobs: list[Job] = []
    owners: dict[str, Path] = {}  # result -> the input that it is of
    for entry in entries:
        source = entry.file
        target = naming.target(source, entry.root)
        error: GantkError | None = entry.error
        if not error and target != STANDARD:
            key = _real(target)
            if source != STANDARD and key == _real(source):
                raise UsageError(f"{source} would be overwritten by its own result", remedy="choose another -o")
            if key in owners:
                raise UsageError(
                    f"{owners[key]} and {source} would both be written to {target}",
                    remedy="rename one, or run them one at a time",
                )
            owners[key] = source
            if _exists(target) and not force:
                error = InputError(f"{target} exists already", remedy="overwrite it with --force")
        jobs.append(Job(source, target, error))
    for entry in entries:
        result_of = owners.get(_real(entry.file)) if entry.file != STANDARD and not entry.error else None
        if result_of:
            raise UsageError(f"the result of {result_of} would overwrite the input {entry.file}")
    return jobs


def _without_earlier(entries: list[_Entry], naming: _Naming) -> list[_Entry]:
    """Without what was found and is the result of an earlier run, maybe with another number in its suffix."""
    if naming.out not in (None, "-"):
        out = Path(_real(expanded(str(naming.out))))
        above = {root for root in {entry.root for entry in entries} if Path(_real(root)) in out.parents}
        return [e for e in entries if not (e.found and e.root in above and out in Path(_real(e.file)).parents)]
    number = re.sub(r"\d+(\\\.\d+)?", lambda _: r"\d+(\.\d+)?", re.escape(naming.suffix))
    made = re.compile(f"(?<=.){number}$") if naming.suffix else None
    stems = {entry.file.parent / naming.split(entry.file)[0] for entry in entries}

    def is_result(entry: _Entry) -> bool:
        stem = naming.split(entry.file)[0]
        match = made.search(stem) if made and entry.found else None
        return bool(match and entry.file.parent / stem[: match.start()] in stems)

    return [entry for entry in entries if not is_result(entry)]


@dataclass(frozen=True)
class _Naming:
    """How results are named; the fields are arguments of `plan`."""

    out: str | None
    suffix: str
    format: str | None
    single: bool
    endings: Mapping[str, str]
    otherwise: str

    def target(self, source: Path, root: Path) -> Path:
        stem, ending = self.split(source)
        if self.out == "-" or (self.out is None and source == STANDARD):
            if not self.single:
                raise UsageError("standard output takes one picture", remedy="name a folder with -o")
            return STANDARD
        if self.out is None:
            return source.with_name(f"{stem}{self.suffix}{ending}")
        path = expanded(self.out)
        asked = _ending(path.name, self.endings)
        if self.single and asked and not path.is_dir():
            if self.format and self.endings[asked.lower()] != _format(self.format, self.endings):
                raise UsageError(f"{path} and --format {self.format} say different things", remedy="leave one out")
            return path
        foreign = path.suffix.lower() in FOREIGN
        if self.single and not path.is_dir() and (is_picture(path) or kind_of(path) or foreign):
            wanted = f"a name that ends in {', '.join(sorted(self.endings))}"
            raise UsageError(f"-o {path} cannot hold this result", expected=wanted)
        if path.is_file():
            raise UsageError(f"{path} is a file", expected="a folder, because there are several inputs")
        if source == STANDARD:
            return path / f"stdin{ending}"
        return path / source.relative_to(root).with_name(stem + ending)

    def split(self, source: Path) -> tuple[str, str]:
        """The name without its suffix, and the suffix of its result."""
        ending = _ending(source.name, self.endings)
        stem = source.name[: -len(ending)] if ending else source.stem
        ending = ending or self.otherwise
        if self.format and self.endings[ending.lower()] != _format(self.format, self.endings):
            ending = "." + self.format.lower().lstrip(".")
        return stem, ending


def _ending(name: str, endings: Mapping[str, str]) -> str:
    """The longest of the endings that a name has, as it is written there (a.nii.GZ: .nii.GZ); "" if none."""
    found = max((len(ending) for ending in endings if name.lower().endswith(ending)), default=0)
    return name[len(name) - found :]


def _format(name: str, endings: Mapping[str, str]) -> str:
    """The format that `--format` names, if it can hold the results."""
    kind = format_for(None, name)
    if kind not in endings.values():
        raise UsageError(f"--format {name} cannot hold these results", expected=", ".join(sorted(endings)))
    return kind


def run_jobs(
    jobs: Sequence[Job],
    work: Callable[[Job], dict[str, Any]],
    *,
    on_result: Callable[[Result], None] | None = None,
) -> Summary:
    """Do the jobs in order; what a user or a machine can cause fails that job alone.

    Args:
        jobs: from `plan`.
        work: reads the source, writes the target, returns details for the report.
        on_result: called after each job.

    Raises:
        KeyboardInterrupt, and whatever else is a bug in `work`.
    """
    results = []
    for job in jobs:
        started, error, details = time.perf_counter(), None, {}
        try:
            if job.error:
                raise job.error
            details = work(job)
        except GantkError as failure:
            error = str(failure)
            if job.source != STANDARD and str(job.source) not in error:
                error = f"{job.source}: {error}"
        except OSError as failure:
            where = failure.filename or job.source
            error = f"{where}: {failure.strerror or failure}"
        except MemoryError:
            error = f"{job.source}: not enough memory"
        result = Result(job.source, job.target, time.perf_counter() - started, error, details)
        results.append(result)
        if on_result:
            on_result(result)
    return Summary(results)
