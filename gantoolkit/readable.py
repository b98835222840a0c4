"""Numbers, times and foreign text as people read them, in the terminal and in a run's report."""

from __future__ import annotations


class Smooth:
    """An exponential moving average without the bias of its start (Adam, Kingma & Ba 2015, section 3)."""

    def __init__(self, memory: float) -> None:
        self._memory, self._sum, self._weight = memory, 0.0, 0.0
        self._finite = True

    def add(self, value: float | None) -> None:
        self._finite = value is not None
        if value is not None:
            self._sum = self._memory * self._sum + (1 - self._memory) * value
            self._weight = self._memory * self._weight + (1 - self._memory)

    @property
    def value(self) -> float | None:
        """The average; None while the latest number was missing or not finite, so that trouble is seen."""
        return self._sum / self._weight if self._finite and self._weight else None


def on_one_line(text: str) -> str:
    """`text` on one line, without anything that could steer a terminal: a file's name may hold escapes."""
    return "".join(char if char.isprintable() or char == "\u00a0" else "?" for char in text)


def cut(text: str, width: int) -> str:
    """`text` in at most `width` characters."""
    return text if len(text) <= width else text[: width - 1] + "…"


def percent(done: float, total: float) -> str:
    """0.5 of 2 → "25%"."""
    return f"{100 * done / total:.0f}%" if total else "100%"


def images(nimg: float) -> str:
    """12000 → "12k", 1240000 → "1.24M"."""
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if nimg >= size:
            return f"{nimg / size:.3g}{suffix}" if nimg < 1000 * size else f"{nimg / size:.0f}{suffix}"
    return f"{nimg:.0f}"


def count(done: float, total: float | None) -> str:
    """3 of 12 → "3/12"; "3" where nobody knows the total."""
    return f"{done:g}" if total is None else f"{done:g}/{total:g}"


def short(value: float | None) -> str:
    """Three significant digits: readable at a glance, seldom wider than seven characters."""
    if value is None:
        return "–"
    if 0 < abs(value) < 1e-3:
        digits, power = f"{value:.2e}".split("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:.0f}" if 1000 <= abs(value) < 1e5 else f"{value:.3g}"


def duration(seconds: float | None) -> str:
    """3671 → "1:01:11", 71 → "1:11"; days are written out."""
    if seconds is None:
        return "–:––"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
