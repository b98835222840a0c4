"""Gauges of an adversarial game's health: equilibrium, instability and collapse, with alarms in plain words.

    Equilibrium   who wins, and whether the critic only knows its training pictures by heart
    Instability   gradients and losses that run away or swing, moves that were not finite
    Collapse      a generator whose pictures are too much alike, or that leaves out a part of the data (`collapse`)

A term calls `watch` with the critic's logits; `standard` makes the usual gauges for a game. A gauge looks at windows of
steps, or at probes every so many images; an alarm needs several bad looks in a row and comes once, until as many good
ones have passed. Gauges change nothing in the game, and their whole state is in the checkpoints.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

import torch
from torch import Tensor, nn

from gantoolkit.alarms import LIMITS, Limits, Probe, Trouble, Windowed
from gantoolkit.collapse import Collapse, Features
from gantoolkit.game import Context, Gauge, Step

Judge = Callable[[torch.Generator], tuple[Tensor, Tensor, Tensor]]


# ---- what a term writes ----


def watch(ctx: Context, real: Tensor, fake: Tensor, held_out: Tensor | None = None) -> None:
    """Put what the gauges need to know of the critic's logits, (N, ...), into `ctx.values`; no graph, no sync."""
    ctx.values.update(verdicts(real, fake, held_out))


@torch.no_grad()
def verdicts(real: Tensor, fake: Tensor, held_out: Tensor | None = None) -> dict[str, Tensor]:
    """Scalars that say how the critic judges; logits (N, ...) of any shape, a map counts with its mean.

    "critic/real", "/fake", "/held_out": mean logits.
    "critic/sign", "/sign_fake", "/sign_held_out": mean signs; the first is r_t of Karras et al. 2020
    (arXiv:2006.06676, eq. 1), which drives ADA.
    "critic/win": P(D(real) > D(fake)) over all pairs, ties count half: ½ at equilibrium. The critic's accuracy
    without a threshold: relativistic losses leave the logits' level open, so that signs mean little there.
    "critic/win_held_out": the same for held-out reals; "critic/known": P(D(real) > D(held out)), ½ without overfitting.
    """
    real, fake = _scores(real), _scores(fake)
    found = {
        "critic/real": real.mean(),
        "critic/fake": fake.mean(),
        "critic/sign": real.sign().mean(),
        "critic/sign_fake": fake.sign().mean(),
        "critic/win": _above(real, fake),
    }
    if held_out is not None:
        held_out = _scores(held_out)
        found |= {
            "critic/held_out": held_out.mean(),
            "critic/sign_held_out": held_out.sign().mean(),
            "critic/win_held_out": _above(held_out, fake),
            "critic/known": _above(real, held_out),
        }
    return found


def _scores(logits: Tensor) -> Tensor:
    return logits.detach().float().flatten(1).mean(1) if logits.ndim > 1 else logits.detach().float()


def _above(a: Tensor, b: Tensor) -> Tensor:
    """P(a > b) + ½ P(a = b) over all pairs: the area under the ROC curve (Mann and Whitney 1947)."""
    return ((a[:, None] - b[None]).sign().mean() + 1) / 2


@contextmanager
def quietly(*networks: nn.Module) -> Iterator[None]:
    """Look at networks without a trace: eval mode, no gradients; modes and global random numbers are put back."""
    modes = [(module, module.training) for network in networks for module in network.modules()]
    cuda = {p.get_device() for network in networks for p in network.parameters() if p.is_cuda}
    with torch.random.fork_rng(devices=sorted(cuda)), torch.no_grad():
        for network in networks:
            network.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


# ---- the gauges ----


class Equilibrium(Windowed):
    """Who wins: the critic's verdicts (see `watch`) and how hard the generator still pushes.

    Readings: "win", "distance" (|win − ½|), "real", "fake", "sign", "sign_fake" as window means; "gradient", the
    generator's gradient norm against its largest; with held-out reals "held_out", "sign_held_out", "win_held_out",
    "known", and "overfitting", r_v = (E D(train) − E D(held out)) / (E D(train) − E D(fake)), Karras et al. 2020
    (arXiv:2006.06676, eq. 1).

    Args:
        generator: the player that is to be kept moving.
        judge: random numbers → logits of training reals, fakes and held-out reals, each (N, ...), under the
            augmentation of training; use `quietly`. None: held-out logits come from `watch`, or not at all.
        every_nimg: images between two calls of `judge`.
        seed: of the random numbers that `judge` gets.
        limits: the lines to draw.
    """

    kept = (*Windowed.kept, "strongest", "probe")

    def __init__(
        self,
        generator: str = "generator",
        judge: Judge | None = None,
        *,
        every_nimg: int = 16_000,
        seed: int = 0,
        limits: Limits = LIMITS,
    ) -> None:
        troubles = {
            "won": Trouble(
                "the critic tells real from fake in {win:.1%} of all pairs and the generator's gradient is down to "
                "{gradient:.1g} of its largest: the generator learns nothing any more",
                "use a non-saturating or relativistic loss, a stronger R1, or a lower rate for the critic",
                limits.patience,
            ),
            "lost": Trouble(
                "the critic takes fakes for real in {lost:.0%} of all pairs: it no longer guides the generator",
                "raise the critic's rate or size, or lower R1 or the generator's rate",
                limits.patience,
            ),
            "overfit": Trouble(
                "the critic knows its training pictures by heart: it scores {known:.0%} of them above held-out ones "
                "(overfitting rate {rate:.2f}), and pulls the generator towards copies",
                "add pictures, turn on augmentation (ADA), strengthen R1, or take a smaller critic",
                limits.probe_patience if judge else limits.patience,
            ),
        }
        super().__init__("equilibrium", limits, troubles)
        self.generator, self.judge = generator, judge
        self.probe = Probe(every_nimg, seed)
        self.strongest = 0.0

    def observe(self, step: Step) -> None:
        """Collect a step's verdicts; at a window's end, judge."""
        self._add({name.removeprefix("critic/"): v for name, v in step.values.items() if name.startswith("critic/")})
        if self.generator in step.grad_norm:
            self._add({"gradient": step.grad_norm[self.generator]})
        if self.judge is not None and self.probe.due(step.nimg):
            found = verdicts(*self.judge(self.probe.generator))
            values = torch.stack(list(found.values())).tolist()
            numbers = {k.removeprefix("critic/"): v for k, v in zip(found, values, strict=True)}
            self._judge_overfitting(numbers)
        self._end_of_step()

    def _close(self, seen: Mapping[str, list[float]]) -> None:
        means = {name: statistics.fmean(values) for name, values in seen.items()}
        gradient = means.pop("gradient", None)
        if gradient is not None:
            self.strongest = max(self.strongest, gradient)
            means["gradient"] = gradient / self.strongest if self.strongest else 0.0
        self._readings.update(means)
        if "held_out" in means:
            self._judge_overfitting(means)
        if "win" not in means:
            return
        win, gradient = means["win"], means.get("gradient", 1.0)
        self._readings["distance"] = abs(win - 0.5)
        if self.settled:
            (won, unwon), (gone, back), (lost, unlost) = self.limits.won, self.limits.vanished, self.limits.lost
            self._look("won", win > won and gradient < gone, win < unwon or gradient > back, win=win, gradient=gradient)
            self._look("lost", win < lost, win > unlost, lost=1 - win)

    def _judge_overfitting(self, means: Mapping[str, float]) -> None:
        gap = means["real"] - means["fake"]
        rate = (means["real"] - means["held_out"]) / gap if gap > 0 else 0.0
        self._readings |= {name: means[name] for name in ("held_out", "sign_held_out", "win_held_out", "known")}
        self._readings["overfitting"] = rate
        (high, low), (many, few) = self.limits.overfit, self.limits.known
        known = means["known"]
        self._look("overfit", rate > high and known > many, rate < low or known < few, known=known, rate=rate)


class Instability(Windowed):
    """Whether the game runs away or swings.

    What is usual for a run is the median of the windows before, `memory` of them at most.

    Readings: "gradient", a window's median gradient norm against the usual, of the player where it is largest;
    "oscillation", the deviation of a loss from its trend against the usual, of the loss where it is largest;
    "turbulence", the standard deviation of log₁₀ of the gradient norm from step to step (1: by factors of ten), of the
    player where it is largest; "nonfinite", the share of steps with a move that was not finite.

    Args:
        limits: the lines to draw.
    """

    kept = (*Windowed.kept, "usual", "largest")
    memory = 40
    floor = 1e-6  # of the largest norm: what is below has vanished, and how it trembles there says nothing

    def __init__(self, *, limits: Limits = LIMITS) -> None:
        lower = "lower the learning rates, strengthen R1, or clip the gradients"
        patience = limits.patience
        troubles = {
            "surge": Trouble("the gradient is {surge:.0f} times what was usual: the game runs away", lower, patience),
            "turbulence": Trouble(
                "the gradient's size jumps by a factor of {factor:.0f} from step to step: the game swings",
                lower,
                patience,
            ),
            "nonfinite": Trouble(
                "{share:.0%} of the last steps had a move that was not finite",
                "lower the learning rates, or use --set precision=fp32",
                2,
            ),
        }
        super().__init__("instability", limits, troubles)
        self.usual: dict[str, list[float]] = {}
        self.largest: dict[str, float] = {}

    def observe(self, step: Step) -> None:
        """Collect a step's norms and losses; at a window's end, judge."""
        self._add({f"norm/{player}": norm for player, norm in step.grad_norm.items()})
        self._add({f"loss/{name}": loss for name, loss in step.losses.items()})
        self._add({"nonfinite": float(bool(step.skipped))})
        self._end_of_step()

    def _close(self, seen: Mapping[str, list[float]]) -> None:
        surges, swings, turbulences = [0.0], [0.0], [0.0]
        for name, numbers in seen.items():
            if name.startswith("norm/"):
                self.largest[name] = largest = max(self.largest.get(name, 0.0), *numbers)
                surges.append(self._against_usual(name, statistics.median(numbers)))
                if largest:
                    logs = [math.log10(max(number, self.floor * largest)) for number in numbers]
                    turbulences.append(statistics.pstdev(logs))
            elif name.startswith("loss/"):
                swings.append(self._against_usual(name, _deviation(numbers)))
        surge, turbulence, share = max(surges), max(turbulences), statistics.fmean(seen["nonfinite"])
        self._readings = {"gradient": surge, "oscillation": max(swings), "turbulence": turbulence, "nonfinite": share}
        limits = self.limits
        self._look("nonfinite", share > limits.nonfinite[0], share <= limits.nonfinite[1], share=share)
        if self.settled:
            self._look("surge", surge > limits.surge[0], surge < limits.surge[1], surge=surge)
            rough, smooth = limits.turbulence
            self._look("turbulence", turbulence > rough, turbulence < smooth, factor=10**turbulence)

    def _against_usual(self, name: str, number: float) -> float:
        before = self.usual.setdefault(name, [])
        usual = statistics.median(before) if before else number
        self.usual[name] = [*before, number][-self.memory :]
        return number / usual if usual else 1.0


def _deviation(numbers: Sequence[float]) -> float:
    """Standard deviation about the straight line through the numbers."""
    if len(numbers) < 3:
        return 0.0
    times = range(len(numbers))
    slope, start = statistics.linear_regression(times, numbers)
    return statistics.pstdev([number - start - slope * t for t, number in zip(times, numbers, strict=True)])


def standard(
    *,
    reals: Tensor | None = None,
    sample: Callable[..., Tensor] | None = None,
    judge: Judge | None = None,
    features: Features | None = None,
    labels: Tensor | None = None,
    classes: Sequence[str] = (),
    networks: Mapping[str, nn.Module] = MappingProxyType({}),
    generator: str = "generator",
    seed: int = 0,
    limits: Limits = LIMITS,
) -> list[Gauge]:
    """The usual gauges of a game: equilibrium and instability, and collapse where there are 16 reals and a sampler.

    See `Equilibrium` for `generator` and `judge`, `Collapse` for `reals`, `sample`, `features`, `labels`, `classes` and
    `networks`.
    """
    gauges: list[Gauge] = [Equilibrium(generator, judge, seed=seed + 1, limits=limits), Instability(limits=limits)]
    if reals is not None and sample is not None and len(reals) >= 16:
        collapse = Collapse(
            reals, sample, features, labels, classes=classes, networks=networks, seed=seed + 2, limits=limits
        )
        gauges.append(collapse)
    return gauges
