"""What the critic sees of a sample: itself, or, with few data, a changed one; reals and fakes alike."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from gantoolkit import losses
from gantoolkit.augment import AdaptiveStrength, Augment
from gantoolkit.game import Step


class View:
    """How the critic sees samples.

    Args:
        policy: what may be done, for `Augment`; "" does nothing.
        strength: how often, 0 to 1; None lets the critic's overfitting move it.
        loss: name of the adversarial loss, which says by what overfitting is told.
        ramp_nimg: images in which an adapted strength could go from 0 to 1.

    Attributes:
        adaptive: moves the strength; None where it is fixed or nothing is done. It belongs into the game's state.
    """

    def __init__(self, policy: str, strength: float | None, loss: str, ramp_nimg: int = 25_000) -> None:
        self.augment = Augment(policy) if policy else None
        self.fixed = strength
        self.adaptive: AdaptiveStrength | None = None
        if self.augment is not None and self.fixed is None:
            signal = "sign" if losses.adversarial(loss).centred else "win"
            self.adaptive = AdaptiveStrength(signal, ramp_nimg=ramp_nimg)

    def __call__(self, x: Tensor, rand: Callable[..., Tensor]) -> Tensor:
        """x changed at random; `rand(*shape)` gives uniform numbers, N × shape."""
        if self.augment is None:
            return x
        strength = self.adaptive.p if self.adaptive is not None else self.fixed
        return self.augment(x, strength or 0.0, rand)

    def after_step(self, step: Step) -> None:
        """Move the strength, and log it."""
        assert self.adaptive is not None
        self.adaptive.update(step)
        step.values["augment/strength"] = self.adaptive.p
