"""Earlier outputs of a generator that a critic sees again, so that it does not forget what it has learnt of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gantoolkit.game import Context


class Pool:
    """A pool of earlier pictures: Shrivastava et al. 2017 (arXiv:1612.07828), section 2.3.

    As Zhu et al. 2017 (arXiv:1703.10593), section 4, use it: until the pool is full, a new picture is kept and shown;
    then with chance one half an earlier one is shown, whose place the new one takes, else the new one.

    The room is divided among the rows of the joined batch, at least one place each: a row only meets pictures of the
    same row. A batch of one has the pool of the papers; and whatever the number of processes and of micro-batches, a
    run sees the same pictures. A process keeps those of its rows. A run that goes on with another number of processes
    fills the places of rows that are new to a process anew.

    Args:
        room: pictures, all rows together; 0 passes everything through.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.kept: dict[int, list[Tensor]] = {}

    def swap(self, ctx: Context, made: Tensor) -> Tensor:
        """What the critic sees in place of `made`, both (N, C, H, W) and without a graph; N is `ctx.size`.

        Pictures with values that are not finite are shown, but not kept.
        """
        made = made.detach()
        if not self.room:
            return made
        chances = ctx.rand(2).tolist()
        sound = made.isfinite().flatten(1).all(1).tolist()
        places = max(1, self.room // (ctx.draws.full * ctx.draws.world))
        first = ctx.draws.rank * ctx.draws.full + ctx.draws.start
        shown = made.clone()
        for row, (chance, place) in enumerate(chances):
            kept = self.kept.setdefault(first + row, [])
            if sound[row] and len(kept) < places:
                kept.append(made[row].to("cpu", copy=True))  # where a resumed pool's are, too
            elif sound[row] and chance < 0.5:
                index = int(place * places)
                shown[row] = kept[index]
                kept[index] = made[row].to("cpu", copy=True)
        return shown

    def state_dict(self) -> dict[str, Any]:
        return {str(row): torch.stack(kept) for row, kept in self.kept.items() if kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.kept = {int(row): list(kept) for row, kept in state.items()}
