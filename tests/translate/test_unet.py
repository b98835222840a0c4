"""pix2pix's U-Net: its shape is the paper's, and in use a picture's translation is its own."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gantk_translate.networks.unet import UNet
from tests.tolerances import TOL


def lively(network: nn.Module, factor: float = 4.0) -> nn.Module:
    """Larger weights than at the start, so that differences show."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.weight.mul_(factor)
    return network


@pytest.mark.parametrize("norm", ["none", "batch", "instance"])
@pytest.mark.parametrize(("blocks", "height", "width"), [(1, 2, 6), (2, 4, 4), (3, 16, 40), (5, 32, 64)])
def test_sizes_stay(norm: str, blocks: int, height: int, width: int) -> None:
    network = UNet([3, 2], 4, blocks, norm, 0.5)
    assert (network.multiple, network.overlap) == (2**blocks, None)
    made = network(torch.randn(1, 3, height, width))  # training, a batch of one: the innermost map may be one position
    assert made.shape == (1, 2, height, width) and made.abs().max() <= 1


def test_the_papers_network_has_its_size() -> None:
    network = UNet([3, 3])
    assert sum(p.numel() for p in network.parameters()) == 54_414_531
    widths = [down[0].out_channels for down in network.downs]
    assert widths == [64, 128, 256, 512, 512, 512, 512, 512]
    assert [up[0].in_channels for up in network.ups] + [network.head.in_channels] == [
        512, 1024, 1024, 1024, 1024, 512, 256, 128,
    ]  # fmt: skip


def test_where_norms_and_dropout_are() -> None:
    network = UNet([3, 3], 2, 6, "batch", 0.5)

    def have(parts: nn.ModuleList, kind: type[nn.Module]) -> list[bool]:
        return [any(isinstance(module, kind) for module in part.modules()) for part in parts]

    assert have(network.downs, nn.BatchNorm2d) == [False, True, True, True, True, False]
    assert have(network.ups, nn.BatchNorm2d) == [True] * 5
    assert have(network.ups, nn.Dropout) == [True, True, True, False, False]
    assert not any(have(UNet([3, 3], 2, 6, "batch", 0.0).ups, nn.Dropout))


def test_the_output_is_what_the_paper_describes() -> None:
    torch.manual_seed(0)
    network, x = lively(UNet([3, 2], 4, 3, "batch", 0.0)), torch.randn(2, 3, 8, 16)
    with torch.no_grad():
        got = network(x)
        w = dict(network.named_parameters())

    def down(x: torch.Tensor, i: int, norm: bool = False) -> torch.Tensor:
        x = F.conv2d(x, w[f"downs.{i}.0.weight"], w.get(f"downs.{i}.0.bias"), 2, 1)
        return F.leaky_relu(batch_norm(x) if norm else x, 0.2)

    def up(x: torch.Tensor, i: int) -> torch.Tensor:
        return batch_norm(F.conv_transpose2d(x, w[f"ups.{i}.0.weight"], None, 2, 1)).relu()

    def batch_norm(x: torch.Tensor) -> torch.Tensor:
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), correction=0, keepdim=True)
        return (x - mean) / (var + 1e-5).sqrt()

    one = down(x, 0)
    two = down(one, 1, norm=True)
    three = down(two, 2)
    inner = torch.cat([up(three, 0), two], 1)
    outer = torch.cat([up(inner, 1), one], 1)
    expected = F.conv_transpose2d(outer, w["head.weight"], w["head.bias"], 2, 1).tanh()
    assert expected.std() > 0.05
    assert (got - expected).abs().max() < TOL["row alone vs in a batch, absolute"]


@pytest.mark.parametrize("norm", ["none", "batch", "instance"])
def test_in_use_a_picture_does_not_depend_on_others(norm: str) -> None:
    torch.manual_seed(0)
    network, x = lively(UNet([3, 3], 4, 3, norm, 0.5)).eval(), torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        together, alone = network(x), torch.cat([network(row[None]) for row in x])
        assert (together - alone).abs().max() < TOL["row alone vs in a batch, absolute"]
        assert torch.equal(network(x), together)  # nothing is dropped


def test_in_use_it_normalises_as_in_training_with_one_picture() -> None:
    torch.manual_seed(0)
    network, x = lively(UNet([3, 3], 4, 3, "batch", 0.0)), torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        trained, used = network(x), network.eval()(x)
    assert (trained - used).abs().max() < TOL["row alone vs in a batch, absolute"]


def test_the_innermost_map_counts_though_it_is_one_position() -> None:
    torch.manual_seed(0)
    network, x = lively(UNet([1, 1], 4, 3, "batch", 0.0)), torch.randn(1, 1, 8, 8)
    before = network(x)
    with torch.no_grad():
        network.downs[2][0].bias.add_(torch.randn(16))
    assert (network(x) - before).abs().max() > 1e-3
