"""When a gauge speaks up: limits, troubles that come once, windows of steps, probes every so many images."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from gantoolkit.game import Alarm, Stateful


@dataclass(frozen=True)
class Limits:
    """Where the gauges draw their lines. Each pair is (an alarm beyond this, healthy again within this).

    Chosen on the zoo of failing and healthy games (benchmarks/gauge_zoo.py) with seed 0, checked on seeds 2 to 4.
    """

    window: int = 50
    """Steps of a window: long enough for a mean of win rates to be good to .02 at batch 16."""
    burn_in: int = 10
    """Windows without a verdict: at the start a critic wins always and losses swing, in healthy games, too."""
    patience: int = 8
    """Bad windows in a row before an alarm: longer than what a healthy game needs to recover."""
    probe_burn_in: int = 8
    """Probes without a verdict: an untrained generator's pictures are all alike."""
    probe_patience: int = 4
    """Bad probes in a row before an alarm."""
    won: tuple[float, float] = (0.99, 0.97)
    """Win rate. Alone no failure: many good runs have strong critics; see `vanished`."""
    vanished: tuple[float, float] = (1e-2, 5e-2)
    """The generator's gradient norm against its largest. A gradient also fades at equilibrium, where the critic is
    flat, but nobody wins there."""
    lost: tuple[float, float] = (0.3, 0.4)
    """Win rate: below ½ the critic prefers fakes. A little below is the lag of a critic that follows."""
    overfit: tuple[float, float] = (0.6, 0.4)
    """Overfitting rate r_v: 0 is none, 1 scores held-out reals as fakes."""
    known: tuple[float, float] = (0.8, 0.7)
    """Chance that a training picture scores above a held-out one, ½ for a critic that knows neither. Guards r_v,
    whose denominator is noise when real and fake score alike."""
    surge: tuple[float, float] = (10.0, 3.0)
    """Median gradient norm against the usual one; a healthy game's drifts by factors of two."""
    turbulence: tuple[float, float] = (0.6, 0.45)
    """Standard deviation of log₁₀ of the gradient norm within a window: below .15 in healthy games, up to .43 where a
    critic without penalty wins all but always and its loss comes in spikes."""
    nonfinite: tuple[float, float] = (0.05, 0.0)
    """Share of a window's steps with a move that was not finite; a single one is said by the run's log already."""
    diversity: tuple[float, float] = (0.4, 0.5)
    """Mean distance of fakes against that of reals; blurred but healthy pictures are above .7 when the burn-in ends."""
    reach: tuple[float, float] = (0.5, 0.7)
    """Share of the reals that the fakes come near to: half of the data is missing; healthy games are above .9."""


LIMITS = Limits()


class Trouble:
    """One kind of trouble: an alarm after `patience` bad looks in a row, and once until as many good ones passed."""

    def __init__(self, text: str, remedy: str, patience: int) -> None:
        self.text, self.remedy, self.patience = text, remedy, patience
        self.bad = self.good = 0
        self.on = False

    def look(self, bad: bool, good: bool) -> bool:
        """One more look; `good` is more than not bad (hysteresis). Whether this is the moment for the alarm."""
        self.bad = self.bad + 1 if bad else 0
        self.good = self.good + 1 if good else 0
        if self.on:
            self.on = self.good < self.patience
            return False
        self.on = self.bad >= self.patience
        return self.on


class Watchman:
    """The common part of the gauges: readings, troubles and state.

    Args:
        name: of the gauge; its readings are "name/reading".
        limits: the lines to draw.
    """

    kept: tuple[str, ...] = ()  # attributes that are part of the state

    def __init__(self, name: str, limits: Limits, troubles: Mapping[str, Trouble]) -> None:
        self.name, self.limits, self.troubles = name, limits, dict(troubles)
        self._readings: dict[str, float] = {}
        self._raised: list[list[str]] = []

    def readings(self) -> dict[str, float]:
        """The latest numbers, as "name/reading"."""
        return {f"{self.name}/{key}": value for key, value in self._readings.items()}

    def alarms(self) -> list[Alarm]:
        """What has gone wrong since this was asked last."""
        raised, self._raised = self._raised, []
        return [Alarm(self.name, text, remedy) for text, remedy in raised]

    def _look(self, trouble: str, bad: bool, good: bool, **numbers: Any) -> None:
        """One more look at a trouble; its text may name the numbers."""
        known = self.troubles[trouble]
        if known.look(bad, good):
            self._raised.append([known.text.format(**numbers), known.remedy])

    def state_dict(self) -> dict[str, Any]:
        """JSON values and tensors; a gauge that loads them goes on exactly."""
        return {
            "readings": dict(self._readings),
            "raised": copy.deepcopy(self._raised),
            "troubles": {name: [t.bad, t.good, t.on] for name, t in self.troubles.items()},
            "kept": {name: _saved(getattr(self, name)) for name in self.kept},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a saved state."""
        state = copy.deepcopy(dict(state))
        self._readings, self._raised = state["readings"], state["raised"]
        for name, (bad, good, on) in state["troubles"].items():
            known = self.troubles[name]
            known.bad, known.good, known.on = bad, good, on
        for name in self.kept:
            part = getattr(self, name)
            if isinstance(part, Stateful):
                part.load_state_dict(state["kept"][name])
            else:
                setattr(self, name, state["kept"][name])


def _saved(part: Any) -> Any:
    return part.state_dict() if isinstance(part, Stateful) else copy.deepcopy(part)


class Windowed(Watchman, ABC):
    """A gauge of windows: collects finite numbers by name over `limits.window` steps, then calls `_close`."""

    kept: tuple[str, ...] = ("steps", "windows", "seen")

    def __init__(self, name: str, limits: Limits, troubles: Mapping[str, Trouble]) -> None:
        super().__init__(name, limits, troubles)
        self.steps = self.windows = 0
        self.seen: dict[str, list[float]] = {}

    def _add(self, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            if math.isfinite(value):
                self.seen.setdefault(name, []).append(value)

    def _end_of_step(self) -> None:
        self.steps += 1
        if self.steps == self.limits.window:
            seen, self.seen, self.steps = self.seen, {}, 0
            self.windows += 1
            self._close(seen)

    @property
    def settled(self) -> bool:
        """Whether the burn-in is over."""
        return self.windows > self.limits.burn_in

    @abstractmethod
    def _close(self, seen: Mapping[str, list[float]]) -> None:
        """Look at a window's numbers by name."""


class Probe:
    """Says when a probe is due, every so many images, and has random numbers of its own."""

    def __init__(self, every_nimg: int, seed: int) -> None:
        self.every_nimg, self.at, self.count = every_nimg, 0, 0
        self.generator = torch.Generator().manual_seed(seed)

    def due(self, nimg: int) -> bool:
        if nimg // self.every_nimg == self.at // self.every_nimg:
            return False
        self.at = nimg
        self.count += 1
        return True

    def state_dict(self) -> dict[str, Any]:
        return {"at": self.at, "count": self.count, "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.at, self.count = state["at"], state["count"]
        self.generator.set_state(state["generator"])
