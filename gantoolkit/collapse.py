"""The gauge of collapse: whether a generator's samples are as varied as the real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn

from gantoolkit.alarms import LIMITS, Limits, Probe, Trouble, Watchman
from gantoolkit.ema import averaged
from gantoolkit.errors import UsageError
from gantoolkit.game import Step
from gantoolkit.variety import Axes, variety

Features = Callable[[Tensor], Tensor]


class Collapse(Watchman):
    """Whether the generator's pictures are as varied as the real ones.

    Every `every_nimg` images it draws as many fakes as it has reals and compares them in a feature space.

    Readings: "diversity", mean distance between two fakes over that between two reals; "nearest", the same for the
    median distance to the nearest neighbour (in the spirit of the birthday test, Arora and Zhang 2017,
    arXiv:1706.08224); "recall" and "reach", see `variety`; with labels "worst_diversity" and "worst_reach", within the
    class where each is smallest.

    Args:
        reals: (M, ...) pictures or points on the device where fakes come out; the first `n` are used.
        sample: (n, generator) → n fakes of the reals' shape and range; with labels (n, generator, labels). Use
            `quietly` around the networks.
        features: (N, ...) → (N, F); `Axes(reals)` by default.
        labels: (M,) integers, the reals' classes; -1 is none.
        classes: their names; by default their numbers.
        networks: by their names in the game, what `sample` uses: where the game keeps an average of one, the average is
            looked at, which is what is kept in the end. The networks that play may swing about it.
        n: fakes and reals of a probe.
        every_nimg: images between probes; by default 40 for each fake of a probe.
        seed: of the generator that `sample` gets.
        limits: the lines to draw.

    Raises:
        UsageError: fewer than 16 reals, or labels that don't belong to them.
    """

    kept = ("best", "probe")
    k = 3  # as in the paper

    def __init__(
        self,
        reals: Tensor,
        sample: Callable[..., Tensor],
        features: Features | None = None,
        labels: Tensor | None = None,
        *,
        classes: Sequence[str] = (),
        networks: Mapping[str, nn.Module] = MappingProxyType({}),
        n: int = 256,
        every_nimg: int | None = None,
        seed: int = 0,
        limits: Limits = LIMITS,
    ) -> None:
        if len(reals) < 16 or (labels is not None and len(labels) != len(reals)):
            raise UsageError(
                "the collapse gauge needs real samples, and a label for each if any",
                expected="at least 16",
                actual=f"{len(reals)} reals" + ("" if labels is None else f", {len(labels)} labels"),
            )
        more = "lower the generator's rate, strengthen R1 and R2, or use the relativistic pairing loss (rpgan)"
        troubles = {
            "alike": Trouble(
                "the generator's samples differ only {diversity:.0%} as much as real ones: it has collapsed",
                more,
                limits.probe_patience,
            ),
            "left out": Trouble(
                "the generator reaches only {reach:.0%} of the real samples (its best was {best:.0%}): it leaves out "
                "a part of the data",
                more,
                limits.probe_patience,
            ),
            "class": Trouble(
                "the samples of class {label} differ only {diversity:.0%} as much as real ones: it has collapsed",
                more,
                limits.probe_patience,
            ),
        }
        super().__init__("collapse", limits, troubles)
        self.sample, self.labels = sample, None if labels is None else labels[:n].cpu()
        self.classes, self.networks = classes, networks
        # axes from other reals than those compared: on its own data an axis shows more spread than on any other
        self.features = features or Axes(reals[n:] if len(reals) - n >= 64 else reals)
        with torch.no_grad():
            self.reals = self.features(reals[:n]).float()
        self.probe = Probe(every_nimg or 40 * len(self.reals), seed)
        self.best = 0.0

    def observe(self, step: Step) -> None:
        """When a probe is due: draw fakes, compare, judge."""
        if not self.probe.due(step.nimg):
            return
        n = len(self.reals)
        with torch.no_grad(), averaged(self.networks, step.averages):
            how = () if self.labels is None else (self.labels,)
            fakes = self.features(self.sample(n, self.probe.generator, *how)).float()
            found = variety(fakes, self.reals, self.k)
        self._readings = found
        by_class = self._by_class(fakes)
        if by_class:
            self._readings |= {
                f"worst_{key}": min(row[key] for row in by_class.values()) for key in ("diversity", "reach")
            }
        self.best = max(self.best, found["reach"])
        if self.probe.count <= self.limits.probe_burn_in:
            return
        diversity, reach = found["diversity"], found["reach"]
        (alike, varied), (few, many) = self.limits.diversity, self.limits.reach
        self._look("alike", diversity < alike, diversity > varied, diversity=diversity)
        self._look("left out", reach < few, reach > many, reach=reach, best=self.best)
        if by_class:
            label, row = min(by_class.items(), key=lambda item: item[1]["diversity"])
            worst = row["diversity"]
            name = self.classes[label] if self.classes else label
            self._look("class", worst < alike <= diversity, worst > varied, label=name, diversity=worst)

    def _by_class(self, fakes: Tensor) -> dict[int, dict[str, float]]:
        """The same measures within each class that has enough reals to say something."""
        if self.labels is None:
            return {}
        members = {int(label): self.labels == label for label in self.labels.unique() if label >= 0}
        return {
            label: variety(fakes[rows], self.reals[rows], self.k)
            for label, rows in members.items()
            if int(rows.sum()) >= 8
        }
