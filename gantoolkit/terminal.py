"""The terminal that displays share: who draws on it, redrawing in place, and plain lines elsewhere; all on stderr."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from gantoolkit.readable import on_one_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

screen: list[Any] = []  # who draws on the terminal now; a nested bar joins it or stays silent


class Every:
    """True at most once in so many seconds."""

    def __init__(self, seconds: float, first: bool = True) -> None:
        self._seconds, self._next = seconds, time.monotonic() + (0 if first else seconds)
        self.just_now = False

    def due(self) -> bool:
        now = time.monotonic()
        self.just_now = now >= self._next
        if self.just_now:
            self._next = now + self._seconds
        return self.just_now


def is_terminal() -> bool:
    """Whether stderr is a terminal that can be drawn on."""
    return sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def console() -> Console:
    """rich's console on stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


@contextmanager
def live(draw: Callable[[], RenderableType], owner: object) -> Iterator[None]:
    """Redraw `draw()` four times a second at the terminal's foot until the block ends, however it ends."""
    from rich.live import Live

    # Redirecting a stdout that is no terminal would send results to stderr.
    with (
        Live(get_renderable=draw, console=console(), refresh_per_second=4, redirect_stdout=sys.stdout.isatty()),
        _logging_follows(),
    ):
        screen.append(owner)
        try:
            yield
        finally:
            screen.remove(owner)


@contextmanager
def _logging_follows() -> Iterator[None]:
    """Let log handlers that hold the terminal's streams write above the display, not through it."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    streams = {id(sys.__stderr__): sys.stderr, id(sys.__stdout__): sys.stdout}
    moved = [
        (handler, handler.stream)
        for logger in loggers
        for handler in getattr(logger, "handlers", ())
        if isinstance(handler, logging.StreamHandler) and id(handler.stream) in streams
    ]
    try:
        for handler, stream in moved:
            handler.setStream(streams[id(stream)])
        yield
    finally:
        for handler, stream in moved:
            handler.setStream(stream)


def say(line: str) -> None:
    """One plain line on stderr; nobody who reads it any more (`2>&1 | head`) does not end the work."""
    with suppress(OSError):
        print(on_one_line(line), file=sys.stderr, flush=True)
