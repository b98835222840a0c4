"""What one worker does: make the samples of some rows, and leave their files in a folder of unfinished parts.

A worker holds the source, the sink and the policies, opened once. Whoever runs it (`engines`) gets an outcome a row:
the manifest's line and the parts, which `use` moves to their places, or one line that says why there is none. What
the sample is depends on the row alone, so any number of workers makes the same tree.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gantk_augment import manifest
from gantk_augment.plan import ORIGINAL, Row
from gantoolkit import plugins
from gantoolkit.errors import GantkError
from gantoolkit.samples import Made, Policy, Request, Sample

if TYPE_CHECKING:
    from gantk_augment.source import Source

CHUNK = 16  # rows that a worker is handed at first, or as many as the policy likes together


@dataclass(frozen=True)
class Job:
    """What all workers are told. Picklable.

    Attributes:
        source: the data.
        out: the folder of the result.
        settings: policy → what it is made from.
        suffix: of the files of samples that come from no picture: ".jpg", ".png".
        found_by: how the plugins of the process that asks were found (`gantoolkit.plugins.discover`).
    """

    source: Source
    out: Path
    settings: Mapping[str, Mapping[str, Any]]
    suffix: str
    found_by: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What became of a row.

    Attributes:
        index: the row's.
        line: the manifest's; None when it failed.
        parts: (file, name in the result) of each file.
        error: one line, None when all went well.
        full: no file can be written any more.
    """

    index: int
    line: bytes | None = None
    parts: list[tuple[str, str]] = field(default_factory=list)
    error: str | None = None
    full: bool = False


class Worker:
    """Makes the samples of rows: `Worker(job)(rows)` gives an outcome for each, policy by policy."""

    def __init__(self, job: Job) -> None:
        self.job, self.source = job, job.source
        self.parts = manifest.temporary(job.out)
        offered = plugins.current().augmentations()
        self.policies: dict[str, Policy] = {name: offered[name](values) for name, values in job.settings.items()}
        self._latest: tuple[str, Sample] | None = None

    def __call__(self, rows: Sequence[Row]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for name in dict.fromkeys(row.policy for row in rows):
            together = 1 if name == ORIGINAL else max(1, self.policies[name].chunk)
            for some in chunks([row for row in rows if row.policy == name], together):
                outcomes += [self._kept(row, made) for row, made in zip(some, self._made(some), strict=True)]
        return outcomes

    @cached_property
    def places(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.source.names)}

    def _made(self, rows: Sequence[Row]) -> list[Made | str]:
        """A sample for each row of one policy, or why there is none."""
        requests: dict[int, Request] = {}
        results: dict[int, Made | str] = {}
        for row in rows:
            try:
                sample = None if row.source is None else self._sample(row.source)
                if row.policy == ORIGINAL:
                    assert sample is not None
                    results[row.index] = Made(sample, {})
                else:
                    assert row.seed is not None
                    requests[row.index] = Request(row.seed, sample, row.label)
            except Exception as error:
                results[row.index] = _reason(error)
        if requests:
            results |= self._asked(rows[0].policy, requests)
        return [results[row.index] for row in rows]

    def _asked(self, name: str, requests: Mapping[int, Request]) -> dict[int, Made | str]:
        policy = self.policies[name]
        try:
            made = policy.make(list(requests.values()))
            return {i: _reason(m) if isinstance(m, Exception) else m for i, m in zip(requests, made, strict=True)}
        except Exception as error:  # other people's code at other people's pictures: one must not stop the rest
            if len(requests) == 1:
                return {index: _reason(error) for index in requests}
        return {
            i: result for index, asked in requests.items() for i, result in self._asked(name, {index: asked}).items()
        }

    def _sample(self, name: str) -> Sample:
        """The sample of a picture; neighbours in a plan often share one."""
        if self._latest is None or self._latest[0] != name:
            sample = self.source.sample(self.places[name])
            sample.picture.flags.writeable = False  # others will be made from it
            self._latest = name, sample
        return self._latest[1]

    def _kept(self, row: Row, made: Made | str) -> Outcome:
        """Write a sample's files as parts, and its line."""
        parts: list[tuple[str, str]] = []
        try:
            if not isinstance(made, Made):
                return Outcome(row.index, error=f"{row.source or row.stem}: {made}")
            files, about = self._described(row, made.sample)
            for name, content in files.items():
                parts.append((f"{self.parts}/{row.index}-{len(parts)}", name))
                _write(parts[-1][0], content)
            (file, sha), *beside = [(name, hashlib.sha256(content).hexdigest()) for name, content in files.items()]
            line = {"file": file, "sha256": sha, **({"beside": dict(beside)} if beside else {}), **vars(row)}
            line |= {"parameters": made.parameters, "annotation": {k: v for k, v in about.items() if k not in line}}
            return Outcome(row.index, manifest.dump(line), parts)
        except Exception as error:
            for part, _ in parts:
                Path(part).unlink(missing_ok=True)
            full = isinstance(error, OSError) and manifest.is_full(error)
            return Outcome(row.index, error=f"{row.stem}: {_reason(error)}", full=full)

    def _described(self, row: Row, sample: Sample) -> tuple[dict[str, bytes], dict[str, Any]]:
        """The files of a sample, and what the tables over all samples say of it."""
        place = None if row.source is None else self.places[row.source]
        known = None if place is None else self.source.row(place)
        if row.policy == ORIGINAL:
            assert place is not None and known is not None
            return self.source.files(place), known
        suffix = os.path.splitext(row.source)[1] if row.source else self.job.suffix  # noqa: PTH122 - a hot path
        palette = None if place is None else self.source.palette(place)
        files = self.source.sink.files(row.stem, row.label, sample, suffix, palette)
        return files, self.source.sink.row(next(iter(files)), row.label, sample, known)


def _write(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)  # a third of open()'s cost
    try:
        written = os.write(descriptor, content)
        while written < len(content):  # a nearly full disk takes a part before it refuses
            written += os.write(descriptor, content[written:])
    finally:
        os.close(descriptor)


def _reason(error: BaseException) -> str:
    """Why a row failed, on one line."""
    if isinstance(error, GantkError):
        return str(error)
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, OSError):
        return str(error.strerror or error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def chunks(rows: Sequence[Row], size: int) -> list[Sequence[Row]]:
    """The rows in order, so many at a time."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def set_threads(opencv: int = 0, pytorch: int = 1) -> tuple[int, int]:
    """Threads of this process, by default one: the workers share the cores among them, and sums come out the same.

    Of torch, only if a policy uses it: importing it takes longer than many a run.

    Returns:
        What was set before.
    """
    import cv2

    torch = sys.modules.get("torch")
    before = cv2.getNumThreads(), torch.get_num_threads() if torch else pytorch
    cv2.setNumThreads(opencv)
    if torch:
        torch.set_num_threads(pytorch)
    return before
