"""The exponential moving average of networks that is kept beside the trained ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

RAMP = 0.05  # the half-life is at most this share of nimg: the average must not remember the random start


class Average:
    """Parameters averaged with a half-life in images, buffers copied. Karras et al. 2018, section 3, and 2020.

    Args:
        networks: name -> module; only read.
        half_life_nimg: images after which what the average held counts half; early in a run at most `RAMP` · nimg.
    """

    def __init__(self, networks: Mapping[str, nn.Module], half_life_nimg: float) -> None:
        self.half_life_nimg = float(half_life_nimg)
        self.state = {
            name: {key: value.detach().clone() for key, value in network.state_dict().items()}
            for name, network in networks.items()
        }
        # state_dict knows which tensors are kept; a parameter or buffer under two names is averaged under both
        parameters: list[tuple[Tensor, Tensor]] = []
        buffers: list[tuple[Tensor, Tensor]] = []
        for name, network in networks.items():
            named = [
                (parameters, network.named_parameters(remove_duplicate=False)),
                (buffers, network.named_buffers(remove_duplicate=False)),
            ]
            for pairs, tensors in named:
                pairs += [(self.state[name][k], t.data) for k, t in tensors if k in self.state[name]]
        self._averages, self._parameters = [a for a, _ in parameters], [p for _, p in parameters]
        self._copies, self._buffers = [a for a, _ in buffers], [b for _, b in buffers]

    @torch.no_grad()
    def update(self, images: int, nimg: int) -> None:
        """Move the average after `images` more images: p̄ ← p + (p̄ − p)·½^(images / half-life)."""
        if not images:
            return
        half_life = min(self.half_life_nimg, max(1.0, nimg * RAMP))
        torch._foreach_lerp_(self._averages, self._parameters, 1 - 0.5 ** (images / half_life))
        if self._copies:
            torch._foreach_copy_(self._copies, self._buffers)

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        for name, tensors in state.items():
            for key, value in tensors.items():
                self.state[name][key].copy_(value)


@contextmanager
def averaged(networks: Mapping[str, nn.Module], averages: Mapping[str, Mapping[str, Tensor]]) -> Iterator[None]:
    """Networks by name with the weights that `averages` has for them, and afterwards with their own again.

    Args:
        networks: by their names in the game.
        averages: of some of them, state dicts as `Average.state` has them; see `game.Step`.

    Nothing is copied: what writes to a network meanwhile (batch norm in training mode) writes to the averages.
    """
    own: list[tuple[Tensor, Tensor]] = []
    try:
        for name, network in networks.items():
            for key, tensor in network.state_dict(keep_vars=True).items():
                if (average := averages.get(name, {}).get(key)) is not None:
                    own.append((tensor, tensor.data))
                    tensor.data = average
        yield
    finally:
        for tensor, data in reversed(own):  # a tensor under two names has its own data in the first entry
            tensor.data = data
