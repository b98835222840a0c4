"""What gauges say, in words: the meaning of known readings, the most telling ones, and which events are alarms.

A reading's name is "gauge/reading". Plugins may bring gauges that are not listed here; they are shown all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# The most telling first: a terminal has room for a few.
MEANINGS = {
    "equilibrium/win": "how often the critic rates a real above a fake: ½ is balance, 1 a critic that always wins",
    "collapse/diversity": "how far apart two fakes are, against two reals: 1 is as varied, 0 always the same picture",
    "collapse/reach": "the share of reals with a fake near them, poor fakes allowed for: it falls when modes are lost",
    "equilibrium/overfitting": "how far held-out reals are rated below training ones: 0 is alike, 1 as low as fakes",
    "instability/gradient": "gradient norms against what was usual in this run: 1 is usual",
    "collapse/recall": "the share of reals within the neighbourhood of a fake",
    "collapse/worst_diversity": "the diversity within the class where it is smallest",
    "collapse/worst_reach": "the reach within the class where it is smallest",
    "collapse/nearest": "how far fakes are from their nearest neighbours, against reals: 0 is copies of one picture",
    "equilibrium/known": "how often the critic rates a training picture above a held-out one: ½ without overfitting",
    "equilibrium/win_held_out": "how often the critic rates a held-out real above a fake",
    "equilibrium/gradient": "the generator's gradient norm against its largest: near 0 it learns nothing",
    "equilibrium/distance": "how far the critic's wins are from ½",
    "equilibrium/real": "of training reals",
    "equilibrium/fake": "of fakes",
    "equilibrium/held_out": "of held-out reals",
    "equilibrium/sign": "of training reals: 1 where the critic takes all for real",
    "equilibrium/sign_fake": "of fakes: −1 where the critic takes all for fake",
    "equilibrium/sign_held_out": "of held-out reals",
    "instability/oscillation": "how much a loss swings about its trend, against what was usual: 1 is usual",
    "instability/turbulence": "how much gradient norms jump from step to step: 1 is by factors of ten",
    "instability/nonfinite": "the share of steps with a move that was not finite",
}
# Readings on a scale of their own; each unit of a gauge gets a chart.
UNITS = dict.fromkeys(("equilibrium/real", "equilibrium/fake", "equilibrium/held_out"), "mean logit")
UNITS |= dict.fromkeys(
    ("equilibrium/sign", "equilibrium/sign_fake", "equilibrium/sign_held_out"), "mean sign of logits"
)
GAUGES = frozenset(name.partition("/")[0] for name in MEANINGS)
TELLING = 5  # readings on a terminal's line
ROLLED_BACK = "rolled back to "


def readings(row: Mapping[str, Any]) -> dict[str, Any]:
    """The gauges' readings in a row of the log; {} where it has none."""
    found = row.get("gauges")
    return found if isinstance(found, dict) else {}


def telling(row: Mapping[str, Any]) -> dict[str, float | None]:
    """The row's `TELLING` most telling readings by their short names: known ones first, then as logged.

    None stands for a reading that was not finite.
    """
    known = readings(row)
    order = [name for name in MEANINGS if name in known] + [name for name in known if name not in MEANINGS]
    kept = [name for name in order if known[name] is None or isinstance(known[name], (int, float))]
    return {name.partition("/")[2] or name: known[name] for name in kept[:TELLING]}


def alarms(rows: Iterable[Mapping[str, Any]]) -> list[tuple[int, str, str]]:
    """The gauges' alarms among a log's rows as (nimg, gauge, text).

    An alarm is a warning whose text starts with the name of a gauge (one of `GAUGES`, or one that has readings),
    or with a roll-back that names it: what came after the checkpoint, the alarm too, is then gone from the log.
    """
    rows = list(rows)
    names = GAUGES | {name.partition("/")[0] for row in rows for name in readings(row)}
    found = []
    for row in rows:
        if row.get("kind") == "event" and row.get("level") == "warning":
            text = str(row.get("text", ""))
            start, colon, rest = text.partition(": ")
            gauge = rest.partition(": ")[0] if start.startswith(ROLLED_BACK) else start
            if colon and gauge in names:
                found.append((row["nimg"], gauge, text))
    return found
