"""From accuracies to words: paired differences over repetitions, their interval, and what may be said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from gantoolkit.errors import UsageError
from gantoolkit.metrics import MetricCard

Word = Literal["use it", "no measurable gain", "don't"]
Interval = tuple[float, float]

FEWEST = 5  # repetitions below which a verdict comes with a warning
CONFIDENCE = 0.95
PAIRS = (("both", "classic"), ("gan", "real"), ("classic", "real"))
SAYS = {  # what a pair asks
    ("both", "classic"): "generated pictures on top of classic augmentation",
    ("gan", "real"): "generated pictures on top of the real ones",
    ("classic", "real"): "classic augmentation on top of the real pictures",
}
TIE = 1e-12  # differences of shares nearer than this are equal


@dataclass(frozen=True)
class Gain:
    """What one arm is worth more than another.

    Attributes:
        arm, than: the two arms.
        differences: of their accuracies, one for each repetition, in -1..1.
        mean: of the differences.
        interval: 95 % interval of the mean by Student's t; None where all differences are equal, of whose spread
            nothing is known.
        word: "use it" where the whole interval lies above 0, "don't" where it lies below, else "no measurable gain".
    """

    arm: str
    than: str
    differences: tuple[float, ...]
    mean: float
    interval: Interval | None
    word: Word

    @property
    def text(self) -> str:
        """One sentence with the figures, in points (hundredths of the accuracy)."""
        what = f"{SAYS.get((self.arm, self.than), f'{self.arm} against {self.than}')}: {_points(self.mean)} points"
        times = f"{len(self.differences)} repetitions"
        if self.interval is None:
            equal = "no difference in any" if abs(self.mean) <= TIE else "the same difference in each"
            return f"{what}, {equal} of {times}, so that no interval can be given: {self.word}"
        low, high = self.interval
        return f"{what}, 95 % interval {_points(low)} to {_points(high)}, {times}: {self.word}"


@dataclass(frozen=True)
class Verdict:
    """The answer, and the gains that it rests on.

    Attributes:
        word: of generated pictures: see `judge`.
        text: the answer as a sentence.
        gains: one for each of `PAIRS`, in their order.
        warnings: what weakens it.
    """

    word: Word
    text: str
    gains: tuple[Gain, ...]
    warnings: tuple[str, ...]


def t_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval | None:
    """The interval of a mean, mean ± t(n-1) · s/√n (Student 1908, Biometrika 6(1)); None where all values are equal.

    Raises:
        UsageError: fewer than two values.
    """
    from scipy.stats import t

    given = np.asarray(values, np.float64)
    if given.ndim != 1 or len(given) < 2 or not np.isfinite(given).all():
        raise UsageError(
            "no interval can be made of these values", expected="two finite numbers at least", actual=given
        )
    if np.ptp(given) <= TIE:
        return None
    reach = t.ppf((1 + confidence) / 2, len(given) - 1) * given.std(ddof=1) / np.sqrt(len(given))
    return float(given.mean() - reach), float(given.mean() + reach)


def share_interval(values: Sequence[float]) -> Interval | None:
    """`t_interval` of a mean of shares, cut to 0..1: there is nothing beyond."""
    interval = t_interval(values)
    return None if interval is None else (max(0.0, interval[0]), min(1.0, interval[1]))


def gain(arm: str, than: str, values: Sequence[float], others: Sequence[float]) -> Gain:
    """What `arm` is worth more than `than`; accuracies of the same repetitions in the same order.

    Raises:
        UsageError: sequences of two lengths, or fewer than two repetitions.
    """
    if len(values) != len(others):
        raise UsageError("accuracies are compared in pairs", expected=f"{len(values)} of each", actual=len(others))
    differences = tuple(float(a) - float(b) for a, b in zip(values, others, strict=True))
    interval = t_interval(differences)
    word: Word = "no measurable gain"
    if interval is not None and interval[0] > 0:
        word = "use it"
    elif interval is not None and interval[1] < 0:
        word = "don't"
    return Gain(arm, than, differences, float(np.mean(differences)), interval, word)


def judge(accuracies: Mapping[str, Sequence[float]], doubts: Sequence[str] = (), tests: int | None = None) -> Verdict:
    """The verdict on generated pictures.

    What they add to classic augmentation decides, because classic augmentation is free. Where that cannot be told
    from nothing, harm without classic augmentation is enough to advise against them, but a gain without it is not
    enough to recommend them.

    Args:
        accuracies: of the arms real, classic, gan and both, one for each repetition in the same order, in 0..1.
        doubts: why a gain may not be what it looks like. They are the first warnings, and "use it" is not said
            without them.
        tests: test pictures, the same in every repetition, so that the intervals say nothing of other ones: a verdict
            on a gain smaller than what their number leaves open of one accuracy comes with a warning, in its words.
    """
    gains = tuple(gain(arm, than, accuracies[arm], accuracies[than]) for arm, than in PAIRS)
    on_classic, on_real, _ = gains
    word, text = on_classic.word, on_classic.text
    if word == "no measurable gain" and on_real.word == "don't":
        word, text = "don't", f"{on_real.text}; {on_classic.text}"
    elif on_real.word != word:
        text += f"; {on_real.text}"
    repetitions = len(on_classic.differences)
    warnings = [*doubts]
    if repetitions < FEWEST:
        warnings.append(f"only {repetitions} repetitions: the intervals are wide; {FEWEST} are the least to rely on")
    for each in gains:
        if each.interval is None:
            warnings.append(f"{each.arm} - {each.than}: all differences are equal, which says nothing of their spread")
    said = doubts if word == "use it" else ()
    if tests and word != "no measurable gain":
        told = on_classic if on_classic.word == word else on_real
        reach = _reach(float(np.mean([*accuracies[told.arm], *accuracies[told.than]])), tests)
        if reach > abs(told.mean):
            few = f"the test has only {tests:,} pictures, and others could move an accuracy by {100 * reach:.1f} points"
            warnings.append(few)
            said = [*said, few]
    if said:
        text += f"; but {'; '.join(said)}"
    return Verdict(word, f"{word}. {text[0].upper()}{text[1:]}", gains, tuple(warnings))


def _reach(accuracy: float, n: int) -> float:
    """Half of the 95 % interval of a share of n pictures, by its normal approximation, four pictures added."""
    share = (accuracy * n + 2) / (n + 4)  # Agresti and Coull 1998, The American Statistician 52(2)
    return 1.96 * float(np.sqrt(share * (1 - share) / (n + 4)))


def cards(
    accuracies: Mapping[str, Sequence[float]], verdict: Verdict, n: int, protocol: Mapping[str, str | int | float]
) -> list[MetricCard]:
    """The mean accuracy of each arm and each gain as cards.

    Args:
        n: test pictures.
        protocol: how it was measured.
    """
    facts = {**protocol, "interval": "Student's t over repetitions, 95 %"}
    made = [
        MetricCard("accuracy", float(np.mean(values)), "", n, facts, share_interval(values), of=arm)
        for arm, values in accuracies.items()
    ]
    made += [
        MetricCard(f"gain of {each.arm} over {each.than}", each.mean, "", n, facts, each.interval, of=each.arm)
        for each in verdict.gains
    ]
    return made


def _points(share: float) -> str:
    """A difference of shares in points, never "-0.0"."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"
