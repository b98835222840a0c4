"""Faster convolutions are the plain ones: same parameters, outputs and gradients, equal but for rounding."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gantk_translate.networks import convolutions, layers, tiles
from gantoolkit import checkpoint
from tests.tolerances import TOL
from tests.translate import playing

CLOSE = TOL["fast convolution, fp64 relative"]

CONVOLUTIONS: list[tuple[tuple[Any, ...], dict[str, Any], tuple[int, ...]]] = [
    ((64, 64, 3, 1, 1), {"padding_mode": "reflect"}, (2, 64, 9, 10)),  # tiles that end within the map
    ((64, 64, 3, 1, 1), {"padding_mode": "replicate", "bias": False}, (1, 64, 4, 5)),
    ((64, 70, 3, 1, 1), {}, (1, 64, 8, 8)),
    ((64, 70, 4, 1, 1), {}, (2, 64, 9, 10)),
    ((8, 3, 7, 1, 3), {"padding_mode": "reflect"}, (2, 8, 11, 12)),
    ((8, 3, 7, 1, 3), {}, (2, 8, 11, 12)),
    ((6, 9, 4, 2, 1), {}, (2, 6, 10, 12)),  # by a matrix product
    ((6, 9, 4, 2, 1), {}, (2, 6, 40, 24)),  # torch's own, more positions
    ((6, 9, 3, 2, 1), {}, (2, 6, 11, 12)),
    ((6, 9, 3, 2, 1), {"bias": False}, (2, 6, 40, 40)),
    ((6, 9, 3, 2, 1), {"padding_mode": "reflect"}, (2, 6, 8, 8)),
    ((6, 9, 3, 1, 1), {}, (2, 6, 8, 8)),
    ((6, 9, 3, 1, 2), {"dilation": 2, "groups": 3}, (2, 6, 8, 8)),
]
TRANSPOSED: list[tuple[tuple[Any, ...], tuple[int, ...]]] = [
    ((6, 9, 4, 2, 1), (2, 6, 5, 6)),
    ((6, 9, 4, 2, 1), (2, 6, 12, 12)),
    ((6, 3, 4, 2, 1), (2, 6, 12, 12)),  # few planes come out
    ((6, 9, 3, 2, 1, 1), (2, 6, 5, 6)),
    ((6, 9, 3, 2, 1, 1), (2, 6, 20, 20)),
    ((6, 9, 3, 1, 1), (2, 6, 5, 6)),
]


def looked_at(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """Output, gradients of everything, and gradients of a gradient's length (as penalties need them)."""
    x = x.detach().requires_grad_()
    y = layer(x)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
    first = torch.autograd.grad((y * weights).sum(), [x, *layer.parameters()])
    slope = torch.autograd.grad(layer(x).pow(3).sum(), x, create_graph=True)[0]
    second = torch.autograd.grad(slope.pow(2).sum(), [x, *layer.parameters()])
    return [y, *first, *second]


def check(plain: nn.Module, fast: nn.Module, x: Tensor) -> None:
    fast.load_state_dict(plain.state_dict())
    for layout in (torch.contiguous_format, torch.channels_last):
        plain.to(memory_format=layout)  # type: ignore[call-overload]
        fast.to(memory_format=layout)  # type: ignore[call-overload]
        given = x.contiguous(memory_format=layout)
        for expected, got in zip(looked_at(plain, given), looked_at(fast, given), strict=True):
            assert got.shape == expected.shape
            assert (got - expected).norm() <= CLOSE * expected.norm()


@pytest.mark.parametrize(("arguments", "options", "shape"), CONVOLUTIONS)
def test_convolutions_are_torchs(arguments: tuple[Any, ...], options: dict[str, Any], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    plain, fast = (kind(*arguments, **options).double() for kind in (nn.Conv2d, convolutions.Conv2d))
    check(plain, fast, torch.randn(shape, dtype=torch.double))


@pytest.mark.parametrize(("arguments", "shape"), TRANSPOSED)
def test_transposed_convolutions_are_torchs(arguments: tuple[Any, ...], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    plain, fast = (kind(*arguments).double() for kind in (nn.ConvTranspose2d, convolutions.ConvTranspose2d))
    check(plain, fast, torch.randn(shape, dtype=torch.double))


def test_instance_norm_has_torchs_second_derivatives() -> None:
    torch.manual_seed(0)
    check(nn.InstanceNorm2d(5), layers.InstanceNorm(5), torch.randn(3, 5, 6, 7, dtype=torch.double))


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": Tensor.contiguous,
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "part": lambda x: F.pad(x, (0, 2, 0, 1)).contiguous(memory_format=torch.channels_last)[:, :, :-1, :-2],
}


@pytest.mark.parametrize("gradient", LAYOUTS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("precision", [torch.double, torch.bfloat16])
def test_instance_norm_is_that_of_its_equation(batch: int, layout: str, gradient: str, precision: torch.dtype) -> None:
    """Ulyanov et al. 2016 (arXiv:1607.08022), eq. 2, and its gradient, whatever lies in memory how."""
    torch.manual_seed(0)
    x, g = (torch.randn(batch, 5, 6, 7, dtype=precision) for _ in range(2))
    truth = x.double().requires_grad_()
    centred = truth - truth.mean((2, 3), keepdim=True)
    expected = centred / (centred.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
    (of_truth,) = torch.autograd.grad(expected, truth, g.double())
    given = LAYOUTS[layout](x).detach().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
        got = layers.InstanceNorm(5)(given)
    (of_given,) = torch.autograd.grad(got, given, LAYOUTS[gradient](g))
    close = CLOSE if precision is torch.double else TOL["instance norm, bf16 relative"]
    assert (got - expected).norm() <= close * expected.norm()
    assert (of_given - of_truth).norm() <= close * of_truth.norm()


@pytest.mark.parametrize(("m", "r"), [(4, 3), (2, 3), (4, 4), (3, 2)])
def test_tiles_have_the_gradients_they_say(m: int, r: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 2, 6, 5, dtype=torch.double, requires_grad=True)
    weight = torch.randn(3, 2, r, r, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: tiles.conv2d(x, w, 1, m), (x, weight))


def test_the_matrices_are_those_of_the_paper() -> None:
    """F(2, 3) of Lavin and Gray, eq. 7, whose rows may differ in sign and order."""
    known = tiles.forms(2, 3, torch.double)
    d, g = torch.tensor([1.0, 2, -1, 3]).double(), torch.tensor([0.5, -2, 4]).double()
    made = known.outputs @ ((known.filters @ g) * (known.inputs @ d))
    assert torch.allclose(made, torch.tensor([1 * 0.5 - 4 - 4, 2 * 0.5 + 2 + 12]).double())
    assert sorted(known.filters.abs().sum(1).tolist()) == [1, 1, 1.5, 1.5]


def test_single_precision_stays_near_the_truth() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(1, 64, 20, 20), torch.randn(64, 64, 3, 3)
    truth = F.conv2d(x.double(), weight.double(), padding=1)
    made = tiles.conv2d(x, weight, 1, 4)
    assert (made - truth).norm() <= TOL["fast convolution, fp32 relative"] * truth.norm()


def test_mixed_precision_and_exports_take_the_plain_way() -> None:
    x = torch.randn(1, 64, 8, 8)
    layer = convolutions.Conv2d(64, 64, 3, 1, 1)
    assert convolutions.plain_cpu(x) and layer(x).grad_fn.name() != "ConvolutionBackward0"
    with torch.autocast("cpu", torch.bfloat16):
        assert not convolutions.plain_cpu(x)
        assert layer(x).dtype == torch.bfloat16
    program = torch.export.export(layer, (x,))
    assert "conv2d" in str(program.graph)
    assert not convolutions.plain_cpu(x.to("meta"))


@pytest.mark.parametrize("resumed", [True, False])
@pytest.mark.parametrize("channels_last", [True, False])
def test_fused_updates_are_the_plain_ones(channels_last: bool, resumed: bool, tmp_path: Path) -> None:
    """A game with such layers, a checkpoint between, and going on, perhaps in another layout of memory."""

    def play(folder: Path, optimizer: Any, *layouts: bool) -> list[Tensor]:
        state = None
        for layout in layouts:
            game = playing.make(chosen)
            for player in game.players:
                player.optimizer = optimizer
            engine = playing.engine_of(game, chosen, channels_last=layout)
            if state is not None:
                engine.load_state_dict(checkpoint.load(state))
            engine.step()
            engine.step()
            state = checkpoint.save(engine.state_dict(), folder / f"{engine.nimg}")
        return [parameter for network in game.networks().values() for parameter in network.parameters()]

    chosen = playing.config("pix2pix", channels=8, critic_channels=64, dropout=0.0)
    plain = partial(torch.optim.Adam, fused=False)
    with playing.in_fp64():
        for name in ("plain", "fused"):
            (tmp_path / name).mkdir()
        expected = play(tmp_path / "plain", plain, False, False)
        got = play(tmp_path / "fused", None, channels_last, resumed)
    for one, other in zip(expected, got, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-9)
