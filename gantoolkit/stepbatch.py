"""The batch of a step: drawn, placed on the device and cut into micro-batches, with what terms share of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gantoolkit.distributed import Team
from gantoolkit.draws import Draws
from gantoolkit.errors import UsageError
from gantoolkit.game import Phase, Prepare, Shared


class Batches(Protocol):
    """Where real data comes from: an endless source whose position can be saved."""

    def next(self) -> Mapping[str, Any]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> Any: ...


@dataclass
class StepBatch:
    """What the phases of a step look at.

    Args:
        batches: where it is drawn from.
        prepare: `Game.prepare`.
        team: the processes that have its other rows.
        device: where it goes; channels_last: the memory layout of its 4-D tensors there.
        accumulate: micro-batches that it is cut into.
        seed: of the random numbers that `prepare` gets.

    Attributes:
        parts: the micro-batches; none between the steps.
        shared: for each of them what `Context.share` keeps, by key; noise: the random numbers that belong to a key.
        later: phases of this step that are still to come.
    """

    batches: Batches
    prepare: Prepare | None
    team: Team
    device: torch.device
    channels_last: bool
    accumulate: int
    seed: int
    parts: list[Mapping[str, Any]] = field(default_factory=list)
    shared: list[dict[str, Shared]] = field(default_factory=list)
    noise: dict[str, Draws] = field(default_factory=dict)
    later: Sequence[Phase] = ()

    def draw(self, nimg: int) -> int:
        """Take the next one, `nimg` images having been shown; how many images it has on all processes together.

        Raises:
            UsageError: it does not divide into the micro-batches.
        """
        batch = {key: self._placed(value) for key, value in self.batches.next().items()}
        if self.prepare is not None:
            seed = np.random.SeedSequence((self.seed, nimg, self.team.rank)).generate_state(1)
            generator = torch.Generator(self.device).manual_seed(int(seed[0]))
            batch = {key: self._placed(value) for key, value in self.prepare(batch, generator).items()}
        rows, count = batch_size(batch), self.accumulate
        if rows % count:
            raise UsageError(
                "the batch does not divide into micro-batches",
                expected=f"a multiple of accumulate={count}",
                actual=f"{rows} samples a process",
            )
        size = rows // count
        self.parts = [
            {k: v[i * size : (i + 1) * size] if _is_list(v) and len(v) == rows else v for k, v in batch.items()}
            for i in range(count)
        ]
        self.shared, self.noise = [{} for _ in range(count)], {}
        return rows * self.team.world

    def forget(self) -> None:
        """Free it and what was kept of it, graphs included."""
        self.parts, self.shared, self.noise = [], [], {}

    def draws(self, generator: torch.Generator) -> Draws:
        """Random numbers for its rows, whatever the number of micro-batches and processes."""
        return Draws(generator, world=self.team.world, rank=self.team.rank, device=self.device)

    def keeps_graph(self, owner: str) -> bool:
        """Whether a later phase of this step will train `owner` on this very batch, in one piece."""
        for phase in self.later if len(self.parts) == 1 else ():
            if phase.batch == "fresh":
                return False
            if phase.player == owner:
                return True
        return False

    def _placed(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        layout = torch.channels_last if self.channels_last and value.ndim == 4 else torch.preserve_format
        return value.to(self.device, non_blocking=True, memory_format=layout)


def batch_size(batch: Mapping[str, Any]) -> int:
    """Samples in a batch: the first dimension of its first tensor (or the length of its first list)."""
    return next(len(value) for value in batch.values() if _is_list(value))


def _is_list(value: Any) -> bool:
    return value.ndim > 0 if isinstance(value, Tensor) else isinstance(value, (list, tuple))
