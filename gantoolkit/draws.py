"""Random numbers that do not depend on how a batch is cut: into micro-batches, or over processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Draws:
    """Random numbers of one move: drawn for the joined batch of all processes and micro-batches, then sliced.

    Every process seeds its generator alike, so that N processes (or k micro-batches) see the rows that one process
    with the whole batch would see.
    """

    def __init__(self, generator: torch.Generator, *, world: int, rank: int, device: torch.device) -> None:
        self.generator, self.world, self.rank, self.device = generator, world, rank, device
        self._made: list[Tensor] = []
        self._next = 0
        self.start, self.stop, self.full = 0, 0, 0

    def rows(self, start: int, stop: int, full: int) -> None:
        """From here on serve rows start:stop of this process's `full` rows; the draws start over."""
        self.start, self.stop, self.full = start, stop, full
        self._next = 0

    def beside(self, other: Draws | None) -> Draws:
        """Other draws (new ones by default) at the same rows."""
        draws = other or Draws(self.generator, world=self.world, rank=self.rank, device=self.device)
        draws.rows(self.start, self.stop, self.full)
        return draws

    def take(self, draw: Callable[[Sequence[int], torch.Generator], Tensor], shape: Sequence[int]) -> Tensor:
        """The numbers of the rows that are served, of those drawn for all."""
        everything = self.alike(draw, (self.full * self.world, *shape))
        offset = self.rank * self.full
        return everything[offset + self.start : offset + self.stop].to(self.device, non_blocking=True)

    def alike(self, draw: Callable[[Sequence[int], torch.Generator], Tensor], shape: Sequence[int]) -> Tensor:
        """Numbers on the CPU that are the same for all rows."""
        if self._next == len(self._made):
            self._made.append(draw(shape, self.generator))
        self._next += 1
        return self._made[self._next - 1]
