"""The log of a run: `RUN/log.jsonl`, one JSON object a line, and the same scalars for TensorBoard.

Four kinds of row, each with `nimg` (real images shown to the critic so far):

    {"kind": "step", "nimg", "step", "stage", "time", "rate", "losses": {"critic/adversarial": 0.69, …},
     "grad_norm": {player: …}, "lr": {player: …}, …}       any further numbers or dicts of numbers are kept
    {"kind": "event", "nimg", "time", "level": "info" | "warning" | "error", "text"}
    {"kind": "metric", "nimg", "time", "card": {"name", "value", "unit", "n", "protocol"}}
    {"kind": "sample", "nimg", "time", "file": "samples/nimg-000012000.png"}

`time` is in seconds since 1970, `rate` in nimg/s. JSON has no NaN: a non-finite number is written as null and
its path ("losses.critic/adversarial") is listed under "nonfinite". A line is written by one call and never
changed afterwards, except that a resumed run drops the rows that its checkpoint does not know.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from gantoolkit.errors import InputError

if TYPE_CHECKING:
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

LOG_NAME = "log.jsonl"
Level = Literal["info", "warning", "error"]


def read_log(folder: Path) -> list[dict[str, Any]]:
    """All rows of the run in `folder`, oldest first; [] when there is no log yet.

    Lines that are not whole JSON objects (a process killed while writing) are passed over.
    """
    return [row for row, _ in _rows(Path(folder) / LOG_NAME)]


def write_atomically(path: Path, data: bytes | Callable[[BinaryIO], object]) -> None:
    """Replace `path` by `data`, such that a reader or a crash sees the old file or the new one, never a part.

    Args:
        path: the file.
        data: its content, or what writes it to a stream.

    Raises:
        InputError: the folder is missing or cannot be written, or the disk is full; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data) if isinstance(data, bytes) else data(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritten(path, error) from error
        raise


class RunLog:
    """Append rows to `folder/log.jsonl`, and their numbers to `folder/events/` for TensorBoard.

    An existing log is continued; a half-written last line is removed first. Each line reaches the operating
    system before the method returns, so a killed process loses nothing; there is no fsync.

    Args:
        folder: the run's folder; made when missing.
        tensorboard: also write TensorBoard events. Without the package, the log says so and goes on.

    Raises:
        InputError: the log cannot be written (read-only folder, full disk).
    """

    def __init__(self, folder: Path, tensorboard: bool = True) -> None:
        self.folder = Path(folder)
        self.path = self.folder / LOG_NAME
        self._tensorboard = tensorboard
        self._writer: EventFileWriter | None = None
        self._purge_nimg: int | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = self._open()
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def step(
        self,
        nimg: int,
        step: int,
        stage: str,
        *,
        rate: float | None = None,
        losses: Mapping[str, Any] | None = None,
        grad_norm: Mapping[str, Any] | None = None,
        lr: Mapping[str, Any] | None = None,
        **extra: Any,
    ) -> dict[str, Any]:
        """Write one step and return the row as written (numbers, or None where they were not finite).

        Args:
            nimg, step: real images and steps so far, this one included.
            stage: the name of the training stage.
            rate: real images a second.
            losses: {"phase/term": value}; numbers or one-element tensors, here as below.
            grad_norm, lr: {player: value}.
            extra: further numbers or dicts of numbers (gauges, loss scales, …); each gets its own chart.
        """
        row: dict[str, Any] = {"kind": "step", "nimg": nimg, "step": step, "stage": stage}
        row |= {"time": time.time(), "rate": rate}
        row |= {"losses": losses or {}, "grad_norm": grad_norm or {}, "lr": lr or {}, **extra}
        row = self._write(row)
        self._scalars(row)
        return row

    def event(self, nimg: int, text: str, level: Level = "info", **extra: Any) -> dict[str, Any]:
        """Write something that happened (a skipped step, a rollback, a resume) and return its row."""
        row = {"kind": "event", "nimg": nimg, "time": time.time(), "level": level, "text": text, **extra}
        return self._write(row)

    def metric(self, nimg: int, card: Mapping[str, Any], **extra: Any) -> dict[str, Any]:
        """Write a measured figure with its protocol and return its row.

        Args:
            card: {"name", "value", "unit", "n", "protocol"}; further keys are kept.
        """
        row = {"kind": "metric", "nimg": nimg, "time": time.time(), "card": card, **extra}
        row = self._write(row)
        self._scalars({"nimg": nimg, "metrics": {str(card.get("name", "metric")): row["card"].get("value")}})
        return row

    def sample(self, nimg: int, file: str | Path, **extra: Any) -> dict[str, Any]:
        """Write that a sample picture exists and return its row.

        Args:
            file: the picture, absolute or relative to the run's folder; stored relative where it lies inside.
        """
        path = Path(file)
        if path.is_absolute() and path.is_relative_to(self.folder.absolute()):
            path = path.relative_to(self.folder.absolute())
        row = {"kind": "sample", "nimg": nimg, "time": time.time(), "file": path.as_posix(), **extra}
        return self._write(row)

    def truncate_after(self, nimg: int, step: int) -> int:
        """Drop the rows written after a checkpoint at (`nimg`, `step`); return how many were dropped.

        With this a resumed run's log has the same steps as the log of a run left alone. A row is later when
        its nimg is larger, or equal with a larger step. TensorBoard hides the dropped points too.
        """
        self.close()
        kept, dropped = [], 0
        for row, line in _rows(self.path):
            if _later(row, nimg, step):
                dropped += 1
            else:
                kept.append(line + b"\n")
        if dropped:
            write_atomically(self.path, b"".join(kept))
        self._file = self._open()
        self._purge_nimg = nimg + 1
        return dropped

    def close(self) -> None:
        """Close the log and TensorBoard's events; harmless when called twice."""
        self._file.close()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self) -> Any:
        """The log opened for appending, after its last line was made whole or removed."""
        end = self.path.read_bytes() if self.path.exists() else b""
        file = self.path.open("ab", buffering=0)  # unbuffered: a line is one write, whole or visibly not
        tail = end.rpartition(b"\n")[2]
        if tail and _parse(tail) is None:
            file.truncate(len(end) - len(tail))
        elif tail:
            file.write(b"\n")
        return file

    def _write(self, row: Mapping[str, Any]) -> dict[str, Any]:
        nonfinite: list[str] = []
        clean: dict[str, Any] = {key: plain(value, key, nonfinite) for key, value in row.items()}
        if nonfinite:
            clean["nonfinite"] = nonfinite
        line = json.dumps(clean, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        try:
            while data:  # a nearly full disk takes a part of the line
                data = data[self._file.write(data) :]
        except OSError as error:
            raise _unwritable(self.path, error) from error
        return clean

    def _scalars(self, row: Mapping[str, Any]) -> None:
        # One event holds all of a row's numbers: SummaryWriter's one event a number costs 40 times as much.
        if not self._tensorboard:
            return
        try:
            from tensorboard.compat.proto.event_pb2 import Event, SessionLog
            from tensorboard.compat.proto.summary_pb2 import Summary
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError:
            self._tensorboard = False
            self.event(row["nimg"], "TensorBoard is not installed: no events/ are written", "warning")
            return
        now = time.time()
        try:
            if self._writer is None:
                self._writer = EventFileWriter(str(self.folder / "events"), flush_secs=30)
                if self._purge_nimg is not None:
                    start = SessionLog(status=SessionLog.START)
                    self._writer.add_event(Event(wall_time=now, step=self._purge_nimg, session_log=start))
            values = [Summary.Value(tag=tag, simple_value=value) for tag, value in numbers(row)]
            self._writer.add_event(Event(wall_time=now, step=row["nimg"], summary=Summary(value=values)))
        except OSError as error:
            raise _unwritable(self.folder / "events", error) from error


class SilentLog:
    """The log of the processes that do not lead: nothing is written."""

    def __enter__(self) -> SilentLog:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def step(self, *args: Any, **values: Any) -> dict[str, Any]:
        return {}

    event = metric = sample = truncate_after = step


def numbers(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The finite numbers of a row that are worth a curve, as ("group/name", value) or ("name", value)."""
    for key, value in row.items():
        if key in ("nimg", "step", "time"):
            continue
        if isinstance(value, Mapping):
            yield from ((f"{key}/{name}", number) for name, number in value.items() if _is_number(number))
        elif _is_number(value):
            yield key, value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def plain(value: Any, path: str, nonfinite: list[str]) -> Any:
    """`value` as JSON can say it: non-finite numbers become None, and their paths are added to `nonfinite`.

    Raises:
        TypeError: it holds what JSON has no word for.
    """
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        nonfinite.append(path)
        return None
    if value is None or isinstance(value, (str, int)):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(inner, f"{path}.{key}", nonfinite) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner, f"{path}.{index}", nonfinite) for index, inner in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "item"):  # NumPy scalars and one-element tensors
        return plain(value.item(), path, nonfinite)
    raise TypeError(f"a log row cannot hold {type(value).__name__} at {path}")


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(row, dict) and isinstance(row.get("kind"), str) and isinstance(row.get("nimg"), int)
    return row if whole else None


def _rows(path: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Each whole row of a log with its own bytes."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            row = _parse(line)
            if row is not None:
                yield row, line.rstrip(b"\r\n")


def _later(row: Mapping[str, Any], nimg: int, step: int) -> bool:
    return bool((row["nimg"], row.get("step") or 0) > (nimg, step))


def _unwritable(path: Path, error: OSError) -> InputError:
    """For what belongs to a run, which makes its own folder and can be resumed."""
    return InputError(
        f"cannot write {path}",
        actual=error.strerror or str(error),
        remedy="free space or make the folder writable, then run the same command again to resume",
    )


def _unwritten(path: Path, error: OSError) -> InputError:
    """For any other file."""
    what = f"cannot write {path}"
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return InputError(f"{what}: there is no folder {path.parent}", remedy="make it, or write elsewhere")
    if isinstance(error, IsADirectoryError):
        return InputError(f"{what}: it is a folder", expected="the name of a file")
    return InputError(what, actual=error.strerror or str(error), remedy="free space or make the folder writable")
