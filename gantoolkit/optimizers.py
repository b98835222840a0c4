"""Adam for parameters of any memory layout.

torch's fused Adam reads a parameter, its gradient and its moments on a CPU as they lie in memory: where their layouts
differ, it silently makes wrong updates. In a layout that is not the contiguous one it copies each gradient first, for
nothing, and takes two and a half times as long (torch 2.13). So all that belongs to a parameter is kept in its layout,
and shown to torch with the dimensions in the order of memory, as which it is contiguous.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gantoolkit.game import Player
from gantoolkit.schedule import schedule


class _InMemoryOrder(torch.optim.Optimizer):
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Moments saved in another layout take that of their parameters."""
        super().load_state_dict(state_dict)
        for parameter, values in self.state.items():
            for name, value in values.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)

    def _init_group(self, group: dict[str, Any], parameters: list[Tensor], *given: Any) -> Any:
        """What torch's steps work on: parameters with a gradient, and what belongs to each, by position."""
        answer = super()._init_group(group, parameters, *given)  # type: ignore[misc]
        lists = [parameters, *(tensors for tensors in given if isinstance(tensors, list))]
        for i, parameter in enumerate(parameters):
            order = sorted(range(parameter.ndim), key=parameter.stride, reverse=True)
            if parameter.permute(order).is_contiguous():
                for tensors in lists:
                    if i < len(tensors) and tensors[i].shape == parameter.shape:
                        tensors[i] = tensors[i].permute(order).contiguous()
        return answer


class Adam(_InMemoryOrder, torch.optim.Adam):
    """`torch.optim.Adam`."""


class AdamW(_InMemoryOrder, torch.optim.AdamW):
    """`torch.optim.AdamW`."""


def optimizer_of(player: Player, parameters: list[nn.Parameter], correction: float) -> torch.optim.Optimizer:
    """The optimizer that a player asks for, its rate and betas corrected for its lazy terms (`lazy_correction`)."""
    betas = (player.betas[0] ** correction, player.betas[1] ** correction)
    rate = schedule(player.lr)(0) * correction
    if player.optimizer is not None:
        return player.optimizer(parameters, lr=rate, betas=betas)
    make: Callable[..., torch.optim.Optimizer] = AdamW if player.weight_decay else Adam
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda", "mps") for p in parameters)
    return make(parameters, lr=rate, betas=betas, eps=player.eps, weight_decay=player.weight_decay, fused=fused)
