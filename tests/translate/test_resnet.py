"""CycleGAN's generator: its shape is the paper's, tiles are exact without normalisation, CUT's features are its own."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gantk_translate.networks.resnet import Residual, ResNet
from gantoolkit.tiling import tiled
from tests.tolerances import TOL


def lively(network: ResNet, factor: float = 4.0) -> ResNet:
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.weight.mul_(factor)
    return network


@pytest.mark.parametrize("norm", ["none", "batch", "instance"])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (12, 20), (64, 32)])
def test_sizes_stay(norm: str, height: int, width: int) -> None:
    network = ResNet([2, 3], 4, 2, norm)
    made = network(torch.randn(1, 2, height, width))
    assert made.shape == (1, 3, height, width) and made.abs().max() <= 1
    assert network.multiple == 4
    assert network.overlap == (27 if norm == "none" else None)


def test_the_papers_network_has_its_size() -> None:
    network = ResNet([3, 3])
    before_norms = 64 + 128 + 256 + 9 * 2 * 256 + 128 + 64  # biases that a normalisation would take away again
    assert sum(p.numel() for p in network.parameters()) == 11_378_179 - before_norms


def test_the_output_is_what_the_paper_describes() -> None:
    torch.manual_seed(0)
    network, x = lively(ResNet([2, 3], 4, 1)), torch.randn(2, 2, 8, 12)
    with torch.no_grad():
        got = network(x)
        w = list(network.state_dict().values())
    stem, first_down, second_down, one, two, first_up, second_up, head, bias = w

    def norm(x: torch.Tensor) -> torch.Tensor:
        return (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt()

    def mirrored(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.conv2d(F.pad(x, [weight.shape[2] // 2] * 4, "reflect"), weight)

    y = norm(mirrored(x, stem)).relu()
    for weight in (first_down, second_down):
        y = norm(F.conv2d(y, weight, None, 2, 1)).relu()
    y = y + norm(mirrored(norm(mirrored(y, one)).relu(), two))
    for weight in (first_up, second_up):
        y = norm(F.conv_transpose2d(y, weight, None, 2, 1, 1)).relu()
    expected = (mirrored(y, head) + bias[:, None, None]).tanh()
    assert expected.std() > 0.05
    assert (got - expected).abs().max() < TOL["row alone vs in a batch, absolute"]


def farthest(x: torch.Tensor, network: nn.Module, tile: int, overlap: int) -> float:
    """The largest difference between the picture in tiles and whole."""
    pixels = x[0].permute(1, 2, 0).numpy()
    with torch.no_grad():
        whole = network(x)[0].permute(1, 2, 0).numpy()
        parts = tiled(network, pixels, scale=1, overlap=overlap, tile=tile, multiple=4)
    assert whole.std() > 0.05
    return float(abs(parts - whole).max())


@pytest.mark.parametrize("blocks", [1, 2])
def test_tiles_are_exact_without_normalisation(blocks: int) -> None:
    torch.manual_seed(0)
    network, x = lively(ResNet([3, 3], 4, blocks, "none"), 7).eval(), torch.rand(1, 3, 120, 100)
    assert network.overlap is not None
    assert farthest(x, network, 16, network.overlap) < TOL["tiled vs untiled, fp32 absolute"]
    assert farthest(x, network, 16, network.overlap // 2) > 10 * TOL["tiled vs untiled, fp32 absolute"]


@pytest.mark.parametrize("blocks", [1, 3])
def test_the_overlap_is_how_far_the_network_looks(blocks: int) -> None:
    network, side = ResNet([1, 1], 2, blocks, "none"), 160
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_().add_(1e-3)  # nothing cancels, no ReLU closes
    x = torch.ones(1, 1, side, 8, requires_grad=True)
    network.head.register_forward_hook(lambda *given: given[2] * 1e-3)  # tanh must keep a slope
    start, stop = 64, 96  # a core that tiles may have: multiples of 4
    slopes = torch.autograd.grad(network.double()(x.double())[:, :, start:stop].sum(), x)[0].abs().sum((0, 1, 3))
    seen = slopes.nonzero().flatten()
    assert network.overlap == max(start - int(seen[0]), int(seen[-1]) - stop + 1)


def test_features_are_the_maps_on_the_way() -> None:
    torch.manual_seed(0)
    network, x = lively(ResNet([3, 3], 4, 9)), torch.randn(2, 3, 16, 24)
    assert network.layers == (0, 1, 2, 3, 7)
    calls: list[str] = []
    for module in network.modules():
        if isinstance(module, Residual):
            module.register_forward_hook(lambda *_: calls.append("block"))
    maps = network.features(x, network.layers)
    assert len(calls) == 5  # no further than asked
    assert [tuple(m.shape) for m in maps] == [
        (2, 3, 16, 24), (2, 8, 8, 12), (2, 16, 4, 6), (2, 16, 4, 6), (2, 16, 4, 6),
    ]  # fmt: skip
    assert torch.equal(maps[0], x)
    with torch.no_grad():
        first = network.downs[0](network.stem(x))
        second = network.downs[1](network.rests[0](first))
        blocks = [network.rests[1](second)]
        for block in network.blocks:
            blocks.append(block(blocks[-1]))
    for got, expected in zip(maps, [x, first, second, blocks[1], blocks[5]], strict=True):
        assert torch.equal(got, expected)


@pytest.mark.parametrize("norm", ["none", "instance"])
def test_output_and_features_come_in_one_pass(norm: str) -> None:
    torch.manual_seed(0)
    network, x = lively(ResNet([3, 3], 4, 3, norm)), torch.randn(1, 3, 8, 8)
    assert network.layers == (0, 1, 2, 3, 5)
    assert ResNet([3, 3], 4, 1).layers == (0, 1, 2, 3)
    output, maps = network.traced(x, (5, 1))
    assert torch.equal(output, network(x))
    for a, b in zip(maps, network.features(x, (5, 1)), strict=True):
        assert torch.equal(a, b)
