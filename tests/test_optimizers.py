"""Fused Adam makes the plain one's updates, whatever the layouts of parameters, gradients and moments."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gantoolkit import checkpoint, optimizers

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
SHAPES = [(8, 6, 4, 4), (8, 1, 3, 3), (1, 6, 3, 1), (8, 6, 1, 1), (7, 5), (5,), ()]


def weights(layout: str) -> list[nn.Parameter]:
    rng = torch.Generator().manual_seed(0)
    return [nn.Parameter(laid(torch.randn(shape, generator=rng, dtype=torch.double), layout)) for shape in SHAPES]


def laid(tensor: Tensor, layout: str) -> Tensor:
    return tensor.contiguous(memory_format=LAYOUTS[layout]) if tensor.ndim == 4 else tensor


def learn(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], layout: str, seed: int) -> None:
    """A few steps with gradients of that layout."""
    rng = torch.Generator().manual_seed(seed)
    for _ in range(4):
        for parameter in parameters:
            drawn = torch.randn(parameter.shape, generator=rng, dtype=torch.double)
            parameter.grad = laid(drawn * drawn.abs(), layout)
        optimizer.step()


@pytest.mark.parametrize("kind", ["Adam", "AdamW"])
@pytest.mark.parametrize("resumed", LAYOUTS)
@pytest.mark.parametrize("gradients", LAYOUTS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_do_not_matter(kind: str, layout: str, gradients: str, resumed: str, tmp_path: Path) -> None:
    """Four steps, a checkpoint, and four more with parameters that may have another layout by then."""
    plain = weights("contiguous")
    truth = getattr(torch.optim, kind)(plain, lr=0.1, fused=False)
    learn(truth, plain, "contiguous", 1)
    learn(truth, plain, "contiguous", 2)

    first = weights(layout)
    optimizer = getattr(optimizers, kind)(first, lr=0.1, fused=True)
    learn(optimizer, first, gradients, 1)
    saved = checkpoint.save({"adam": optimizer.state_dict(), "weights": [p.data for p in first]}, tmp_path / "nimg-4")
    state = checkpoint.load(saved)
    then = [nn.Parameter(laid(tensor, resumed)) for tensor in state["weights"]]
    optimizer = getattr(optimizers, kind)(then, lr=0.1, fused=True)
    optimizer.load_state_dict(state["adam"])
    learn(optimizer, then, gradients, 2)
    for expected, got in zip(plain, then, strict=True):
        assert got.stride() == laid(got, resumed).stride()
        assert torch.allclose(got, expected, rtol=1e-9, atol=1e-12)
    for parameter, values in optimizer.state.items():
        moments = [values["exp_avg"], values["exp_avg_sq"]]
        assert all(moment.stride() == parameter.stride() for moment in moments), parameter.shape


def test_a_gradient_is_not_copied_in_memory_order() -> None:
    """What fused Adam works on is contiguous, and shares its memory with what belongs to the parameter."""
    parameter = weights("channels_last")[0]
    optimizer = optimizers.Adam([parameter], fused=True)
    learn(optimizer, [parameter], "channels_last", 1)
    lists: list[list[Tensor]] = [[] for _ in range(6)]
    optimizer._init_group(optimizer.param_groups[0], *lists)
    state = optimizer.state[parameter]
    assert parameter.grad is not None
    owners = [parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"]]
    for owner, (shown,) in zip(owners, lists[:4], strict=True):
        assert shown.is_contiguous() and shown.data_ptr() == owner.data_ptr()
