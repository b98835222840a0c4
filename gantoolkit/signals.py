"""Ctrl-C and SIGTERM, noted until work has come to a point where it can stop."""

from __future__ import annotations

import signal
from typing import Any

ASKING = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Listens while it is entered, and is true from the first signal on; a second Ctrl-C stops at once.

    Outside the main thread it hears nothing: whoever runs us there handles signals.

    Attributes:
        name: of the signal that came, "SIGINT" or "SIGTERM"; "" before.
    """

    def __init__(self) -> None:
        self.name = ""
        self._before: dict[signal.Signals, Any] = {}

    def __bool__(self) -> bool:
        return bool(self.name)

    def __enter__(self) -> Stop:
        try:
            self._before = {number: signal.signal(number, self._note) for number in ASKING}
        except ValueError:  # not in the main thread
            self._before = {}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: object) -> None:
        if self and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name
