"""How strongly to augment: driven by how much the critic overfits, saved with the run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from gantoolkit.errors import UsageError
from gantoolkit.game import Step


class AdaptiveStrength:
    """The strength p of an `Augment`, raised while the critic overfits and lowered while it does not.

    After each `interval_nimg` images p moves by ±(images / ramp_nimg) towards signal = target (ADA, section 3). The
    signals, each 0 without overfitting and 1 with nothing but:

        sign     r_t = E sign D(x) on reals, from "critic/sign" (ADA, eq. 1). For losses whose logits have
                 their zero between real and fake alone (`AdversarialLoss.centred`).
        win      2 P(D(x) > D(G(z))) − 1 over pairs, from "critic/win": E sign of the relative logit, as R3GAN
                 (Huang et al. 2024, arXiv:2501.05441) drives its strength.
        overfit  r_v = (E D(x) − E D(x_held-out)) / (E D(x) − E D(G(z))), from "critic/real", "critic/held_out" and
                 "critic/fake" (ADA, eq. 1); 0 where the critic does not score reals above fakes.

    In a game: `update` in `Game.after_step`, the object in `Game.state`, `p` in the terms.

    Args:
        signal: one of the above.
        target: value of the signal to hold; None for that of `SIGNALS`.
        ramp_nimg: images in which p could go from 0 to 1.
        interval_nimg: images between two moves; the paper's 4 batches of 64.
        p_max: largest p. Above 0.8 changes leak (ADA, section 2.2).
        start: p at first.

    Attributes:
        p: the strength.
        reading: the signal at the latest move; None before the first.

    Raises:
        UsageError: an unknown signal.
    """

    def __init__(
        self,
        signal: str = "sign",
        *,
        target: float | None = None,
        ramp_nimg: int = 500_000,
        interval_nimg: int = 256,
        p_max: float = 0.8,
        start: float = 0.0,
    ) -> None:
        if signal not in SIGNALS:
            raise UsageError("unknown signal for the strength", expected=" or ".join(SIGNALS), actual=repr(signal))
        self.signal, self.ramp_nimg = signal, ramp_nimg
        self.target = SIGNALS[signal][2] if target is None else target
        self.interval_nimg, self.p_max = interval_nimg, p_max
        self.p = start
        self.reading: float | None = None
        self._nimg, self._moved_nimg = 0, 0  # at the latest step; at the latest move
        self._sums: dict[str, list[float]] = {}  # name → [sum of value · images, images]

    def update(self, step: Step) -> None:
        """Take in a step's values; steps without them, or with values that are not finite, only count as images.

        Raises:
            UsageError: ten intervals, and ten steps, went by without the values that the signal is made of.
        """
        images, self._nimg = step.nimg - self._nimg, step.nimg
        names, make, _ = SIGNALS[self.signal]
        for name in names:
            if math.isfinite(value := step.values.get(name, math.nan)):
                total = self._sums.setdefault(name, [0.0, 0])
                total[0] += value * images
                total[1] += images
        since = self._nimg - self._moved_nimg
        if since < self.interval_nimg:
            return
        if missing := [name for name in names if name not in self._sums]:
            if since >= 10 * max(self.interval_nimg, images):
                raise UsageError(
                    f"the strength of augmentation follows {self.signal!r}, and no step gave its values",
                    expected=" and ".join(names),
                    actual="none of " + ", ".join(missing),
                    remedy="record them in the critic's phase with gantoolkit.gauges.watch",
                )
            return
        self.reading = make(*(self._sums[name][0] / self._sums[name][1] for name in names))
        direction = (self.reading > self.target) - (self.reading < self.target)
        self.p = min(max(self.p + direction * since / self.ramp_nimg, 0.0), self.p_max)
        self._moved_nimg, self._sums = self._nimg, {}

    def state_dict(self) -> dict[str, Any]:
        return {
            "p": self.p,
            "reading": self.reading,
            "nimg": self._nimg,
            "moved_nimg": self._moved_nimg,
            "sums": {name: list(total) for name, total in self._sums.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.p, self.reading = state["p"], state["reading"]
        self._nimg, self._moved_nimg = state["nimg"], state["moved_nimg"]
        self._sums = {name: list(total) for name, total in state["sums"].items()}


def _validation(real: float, held_out: float, fake: float) -> float:
    return (real - held_out) / (real - fake) if real > fake else 0.0


SIGNALS: dict[str, tuple[tuple[str, ...], Callable[..., float], float]] = {
    "sign": (("critic/sign",), float, 0.6),  # ADA, section 3
    # A game on 54,000 pictures held .45 in its first fifth and .24 to .31 later; on 200 it rose to .93.
    "win": (("critic/win",), lambda win: 2 * win - 1, 0.4),
    "overfit": (("critic/real", "critic/held_out", "critic/fake"), _validation, 0.6),
}
"""What each signal is made of: names in `Step.values`, the function of their means, and its usual target."""
