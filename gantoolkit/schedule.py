"""Values that change as training goes on: functions of nimg, the real images shown so far.

A schedule is data (frozen dataclasses), so that a config can hold one and a run can be repeated from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Schedule = Callable[[int], float]


@dataclass(frozen=True)
class Constant:
    """The same `value` for ever."""

    value: float

    def __call__(self, nimg: int) -> float:
        return self.value


@dataclass(frozen=True)
class Cosine:
    """From `start` to `end` over `over_nimg` images along half a cosine, after a linear warm-up from 0."""

    start: float
    end: float
    over_nimg: int
    warmup_nimg: int = 0

    def __call__(self, nimg: int) -> float:
        warm = min(1.0, (nimg + 1) / self.warmup_nimg) if self.warmup_nimg else 1.0
        done = min(1.0, nimg / max(1, self.over_nimg))
        return warm * (self.end + (self.start - self.end) * 0.5 * (1 + math.cos(math.pi * done)))


@dataclass(frozen=True)
class Linear:
    """From `start` to `end` in a straight line between `after_nimg` and `after_nimg + over_nimg`."""

    start: float
    end: float
    over_nimg: int
    after_nimg: int = 0

    def __call__(self, nimg: int) -> float:
        done = min(1.0, max(0.0, (nimg - self.after_nimg) / max(1, self.over_nimg)))
        return self.start + (self.end - self.start) * done


def schedule(value: float | Schedule) -> Schedule:
    """A number is a constant schedule; a schedule is itself."""
    return value if callable(value) else Constant(float(value))
