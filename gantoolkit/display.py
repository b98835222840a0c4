"""The live display of long work, on stderr, so that stdout stays free for results.

On a terminal it is drawn in place with rich, which is imported only then; lines printed or logged meanwhile
appear above it. Elsewhere (a pipe, a file, CI) it is one plain line every `PLAIN_SECONDS`.
"""

from __future__ import annotations

import json as jsonlib
import textwrap
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from gantoolkit import health
from gantoolkit.readable import Smooth, count, cut, duration, images, on_one_line, percent, short
from gantoolkit.terminal import Every, console, is_terminal, live, say, screen

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.progress import Progress, TaskID

PLAIN_SECONDS = 30.0
EVENTS_SHOWN = 4
WARNING_WIDTH = 300  # characters
SMOOTHING = 0.95  # weight of the past in the losses and norms shown
RATE_SMOOTHING = 0.8  # the rate forgets faster, or the time left would lag behind

_LEVEL_STYLE = {"info": "dim", "warning": "yellow", "error": "bold red"}


class Bar(Protocol):
    """What `progress` hands out."""

    def advance(self, amount: float = 1, note: str = "") -> None:
        """`amount` more units are done; `note` (a file's name, say) is shown beside the bar."""


class TrainingDisplay:
    """The progress of a training run: a bar, rate, time left, smoothed losses, gauges, figures, the latest events.

    Args:
        total_nimg: real images that the whole run will show to the critic.
        quiet: show nothing (with `json`, rows are still printed).
        json: instead of a display, print each row to stdout as one line of JSON.
        stages: the names of the training stages in order.
        title: what is being trained, for example the task's name.
    """

    def __init__(
        self,
        total_nimg: int,
        *,
        quiet: bool = False,
        json: bool = False,
        stages: Sequence[str] = (),
        title: str = "",
    ) -> None:
        self.total_nimg, self.stages, self.title = total_nimg, tuple(stages), title
        self._json, self._silent = json, quiet or json
        self._row: Mapping[str, Any] = {}
        self._smooth: dict[str, Smooth] = {}
        self._events: list[tuple[str, str]] = []
        self._figures: tuple[int, dict[str, str]] = (0, {})  # where they were measured, and each by its name
        self._lock = threading.RLock()  # a signal's handler may report while we draw
        self._stack = ExitStack()
        self._plain: Every | None = None

    def __enter__(self) -> TrainingDisplay:
        if self._silent:
            return self
        if is_terminal():
            self._stack.enter_context(live(self._draw, self))
        else:
            self._plain = Every(PLAIN_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._plain is not None and self._row and not self._plain.just_now:
            say(self._line())
        self._stack.close()

    def update(self, row: Mapping[str, Any]) -> None:
        """Show a row of the run's log (see `gantoolkit.runlog`); cheap, the drawing is done aside."""
        if self._json:
            self._print(row)
        if self._silent:
            return
        if row["kind"] == "step":
            with self._lock:
                self._take(row)
            if self._plain is not None and self._plain.due():
                say(self._line())
            return
        if row["kind"] == "sample":
            return  # many, and they would push the warnings out
        level, text = _event_text(row)
        with self._lock:
            if row["kind"] == "metric":
                self._keep_figure(row)
            else:
                self._keep_event(level, text)
        if self._plain is not None:
            say(f"{level}: {text}")

    def _print(self, row: Mapping[str, Any]) -> None:
        """A row to stdout; when nobody reads it any more, or it is full, the training goes on without."""
        try:
            print(jsonlib.dumps(row, ensure_ascii=False), flush=True)
        except OSError as error:
            self._json = False
            say(f"warning: cannot write to standard output ({error.strerror}): the rows are in the run's log only")

    def _take(self, row: Mapping[str, Any]) -> None:
        if row.get("stage") != self._row.get("stage"):
            self._smooth.clear()  # another stage's losses are other quantities
        self._row = row
        values = {"rate": row.get("rate")}
        for group in ("losses", "grad_norm"):
            values |= {f"{group}/{name}": value for name, value in (row.get(group) or {}).items()}
        for key, value in values.items():
            memory = RATE_SMOOTHING if key == "rate" else SMOOTHING
            self._smooth.setdefault(key, Smooth(memory)).add(value)

    def _keep_event(self, level: str, text: str) -> None:
        """The latest events; news may not push a warning (a gauge's alarm, say) out before older news."""
        self._events.append((level, text))
        if len(self._events) > EVENTS_SHOWN:
            news = (index for index, (known, _) in enumerate(self._events[:-1]) if known == "info")
            del self._events[next(news, 0)]

    def _keep_figure(self, row: Mapping[str, Any]) -> None:
        nimg, known = self._figures
        name = str(row["card"].get("name"))
        self._figures = (row["nimg"], {**(known if nimg == row["nimg"] else {}), name: _figure(row["card"])})

    def _value(self, key: str) -> float | None:
        smooth = self._smooth.get(key)
        return None if smooth is None else smooth.value

    def _seconds_left(self) -> float | None:
        rate = self._value("rate")
        return max(0, self.total_nimg - self._row["nimg"]) / rate if rate else None

    def _stage(self) -> str:
        name = str(self._row.get("stage", ""))
        if name in self.stages and len(self.stages) > 1:
            return f"stage {self.stages.index(name) + 1}/{len(self.stages)} {name}"
        return name

    def _line(self) -> str:
        """The state as one plain line."""
        nimg = self._row["nimg"]
        parts = [f"{percent(nimg, self.total_nimg)}  {nimg}/{self.total_nimg} nimg"]
        parts += [
            f"{short(self._value('rate'))} nimg/s, {duration(self._seconds_left())} left",
            self._stage(),
        ]
        for key, smooth in self._smooth.items():
            if key.startswith("losses/"):
                parts.append(f"{key.removeprefix('losses/')} {short(smooth.value)}")
        parts += [f"{name} {short(value)}" for name, value in health.telling(self._row).items()]
        return "  ".join(part for part in parts if part)

    def _draw(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        with self._lock:
            nimg = self._row.get("nimg", 0)
            heading = Text(on_one_line(self.title or "training"), style="bold", no_wrap=True, overflow="ellipsis")
            if self._row:
                heading.append(f"  {on_one_line(self._stage())}", style="cyan")
                heading.append(f"  step {self._row['step']}", style="dim")
            bar = Table.grid(padding=(0, 2), expand=True)
            bar.add_column(ratio=1)
            for _ in range(4):
                bar.add_column(no_wrap=True, justify="right")
            bar.add_row(
                ProgressBar(total=self.total_nimg, completed=min(nimg, self.total_nimg), pulse=not self._row),
                percent(nimg, self.total_nimg),
                f"{images(nimg)}/{images(self.total_nimg)}",
                f"{short(self._value('rate'))} nimg/s",
                f"{duration(self._seconds_left())} left",
            )
            parts: list[RenderableType] = [heading, bar]
            if self._smooth:
                parts.append(self._losses())
            nimg, figures = self._figures
            for name, words in (
                ("health", [f"{name}\u00a0{short(value)}" for name, value in health.telling(self._row).items()]),
                (f"at {images(nimg)}", [figure.replace(" ", "\u00a0") for figure in figures.values()]),
            ):
                if words:
                    parts.append(_named(name, words))
            for level, text in self._events:
                # a warning's remedy comes last and is shown on further lines; news are cut
                shown = cut(on_one_line(text), WARNING_WIDTH)
                parts.append(Text(shown, _LEVEL_STYLE[level], no_wrap=level == "info", overflow="ellipsis"))
        return Group(*parts)

    def _losses(self) -> RenderableType:
        """A row a phase: its terms' smoothed losses, then its player's gradient norm and learning rate."""
        from rich.table import Table
        from rich.text import Text

        phases: dict[str, list[str]] = {}
        for key, smooth in self._smooth.items():
            group, _, name = key.partition("/")
            phase, _, term = name.partition("/")
            if group == "losses":
                phases.setdefault(phase, []).append(f"{term or phase}\u00a0{short(smooth.value)}")
            elif group == "grad_norm":
                phases.setdefault(name, [])
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(style="bold", no_wrap=True, max_width=16)
        table.add_column(ratio=1)
        table.add_column(style="dim", no_wrap=True)
        table.add_column(style="dim", no_wrap=True)
        for phase, terms in phases.items():
            norm, lr = self._value(f"grad_norm/{phase}"), (self._row.get("lr") or {}).get(phase)
            table.add_row(
                Text(on_one_line(phase)),
                _Words(terms),
                "" if norm is None else f"grad {short(norm)}",
                "" if lr is None else f"lr {short(lr)}",
            )
        return table


class _Words:
    """Words two spaces apart on as many lines as they need.

    A no-break space holds a name and its value together, where rich's own wrapping would part them; what looks
    like rich's markup stays text.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._text = on_one_line("  ".join(words))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        yield Text("\n".join(textwrap.wrap(self._text, options.max_width)))


def _named(name: str, words: Sequence[str]) -> RenderableType:
    """A bold name and words beside it."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(style="bold", no_wrap=True, min_width=9)
    table.add_column(ratio=1)
    table.add_row(Text(name), _Words(words))
    return table


@contextmanager
def progress(total: float | None, unit: str, description: str, quiet: bool = False) -> Iterator[Bar]:
    """Show the progress of a batch of files, tiles or the like, with its rate and the time left.

    A bar opened inside another joins it as a further line. Elsewhere than on a terminal, work that ends
    within `PLAIN_SECONDS` prints nothing.

    Args:
        total: how many units there are; None where nobody knows.
        unit: what is counted, in the plural: "files", "tiles".
        description: what is being done, in a few words.
        quiet: show nothing.
    """
    if quiet or (screen and not isinstance(screen[-1], _Lines)):
        yield _Silent()
    elif not is_terminal():
        yield from _plain_bar(total, unit, description)
    elif screen:
        with screen[-1].bar(total, unit, description) as bar:
            yield bar
    else:
        lines = _Lines()
        with live(lines.progress.get_renderable, lines), lines.bar(total, unit, description) as bar:
            yield bar


class _Silent:
    def advance(self, amount: float = 1, note: str = "") -> None:
        pass


class _Lines:
    """The bars that are on the terminal now, one a line."""

    def __init__(self) -> None:
        from rich import progress as bars
        from rich.table import Column
        from rich.text import Text

        class Pace(bars.ProgressColumn):
            def render(self, task: bars.Task) -> Text:
                left = f"{duration(task.time_remaining)} left"
                end = f"in {duration(task.elapsed)}" if task.finished else left
                return Text(f"{short(task.finished_speed or task.speed)} {task.fields['unit']}/s  {end}")

        self.progress: Progress = bars.Progress(
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(bar_width=None),
            bars.TextColumn("{task.fields[count]}", markup=False),
            Pace(Column(no_wrap=True)),
            expand=True,
            console=console(),
        )

    @contextmanager
    def bar(self, total: float | None, unit: str, description: str) -> Iterator[Bar]:
        task = self.progress.add_task(on_one_line(description), total=total, unit=unit, count=count(0, total))
        outermost = len(self.progress.tasks) == 1
        try:
            yield _Line(self.progress, task, description)
        finally:
            if not outermost:
                self.progress.remove_task(task)


class _Line:
    def __init__(self, progress: Progress, task: TaskID, description: str) -> None:
        self._progress, self._task, self._description = progress, task, description

    def advance(self, amount: float = 1, note: str = "") -> None:
        text = f"{self._description} {note}".strip() if note else self._description
        self._progress.update(self._task, advance=amount, description=cut(on_one_line(text), 28))
        task = self._progress.tasks[self._progress.task_ids.index(self._task)]
        self._progress.update(self._task, count=count(task.completed, task.total))


class _PlainBar:
    def __init__(self, total: float | None, unit: str, description: str) -> None:
        self._total, self._unit, self._description = total, unit, description
        self._done, self._start = 0.0, time.monotonic()
        self._every = Every(PLAIN_SECONDS, first=False)
        self.spoken = False

    def advance(self, amount: float = 1, note: str = "") -> None:
        self._done += amount
        if self._every.due():
            self.say()

    def say(self) -> None:
        self.spoken = True
        rate = self._done / max(time.monotonic() - self._start, 1e-9)
        left = f", {duration((self._total - self._done) / rate)} left" if self._total and rate else ""
        say(f"{self._description}: {count(self._done, self._total)} {self._unit}, {short(rate)}/s{left}")


def _plain_bar(total: float | None, unit: str, description: str) -> Iterator[Bar]:
    bar = _PlainBar(total, unit, description)
    yield bar
    if bar.spoken:
        bar.say()


def _figure(card: Mapping[str, Any]) -> str:
    """{"name": "KID", "value": 0.0123, "interval": [0.011, 0.0135]} → "KID 0.0123 [0.011, 0.0135]"."""
    text = f"{card.get('name')} {short(card.get('value'))}"
    if card.get("interval"):
        text += f" [{', '.join(map(short, card['interval']))}]"
    return f"{text} {card.get('unit') or ''}".rstrip()


def _event_text(row: Mapping[str, Any]) -> tuple[str, str]:
    """The level and the text of a row that is not a step."""
    at = f"{images(row['nimg'])}: "
    if row["kind"] == "metric":
        return "info", at + _figure(row["card"])
    level = row.get("level")
    return level if level in _LEVEL_STYLE else "info", f"{at}{row.get('text', '')}"
