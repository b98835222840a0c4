"""The modern translator and its critic: sizes, starts, what each pixel sees, and how the input joins the output."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gantk_translate import networks
from gantk_translate.networks.critics import MultiScaleCritic, PatchCritic
from gantk_translate.networks.residual import ResidualGenerator
from gantk_translate.options import TranslateConfig
from gantoolkit.errors import UsageError
from tests.tolerances import TOL


def awake(network: torch.nn.Module) -> torch.nn.Module:
    """The network with weights that are zero at the start made small, so that every layer counts."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return network.eval()


@pytest.mark.parametrize("patch", [1, 2, 4])
@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("attention", [False, True])
def test_any_multiple_goes_in_and_comes_out(patch: int, levels: int, attention: bool) -> None:
    network = awake(ResidualGenerator((1, 3), 8, 1, levels, patch, attention))
    assert network.multiple == patch * 2**levels
    for rows, columns in [(1, 1), (3, 2)]:
        size = (rows * network.multiple, columns * network.multiple)
        made = network(torch.rand(2, 1, *size) * 2 - 1)
        assert made.shape == (2, 3, *size) and made.dtype == torch.float32 and made.abs().max() <= 1


@pytest.mark.parametrize("patch", [1, 2, 4])
@pytest.mark.parametrize(("blocks", "levels"), [(1, 1), (2, 1), (1, 2)])
def test_no_pixel_sees_farther_than_the_overlap(patch: int, blocks: int, levels: int) -> None:
    network = awake(ResidualGenerator((1, 1), 8, blocks, levels, patch, attention=False)).double()
    overlap = network.overlap
    middle = -(-overlap // network.multiple) * network.multiple
    x = torch.rand(1, 1, network.multiple, 2 * middle + network.multiple, dtype=torch.float64, requires_grad=True)
    network(x)[..., middle].sum().backward()
    seen = x.grad[0, 0].abs().sum(0).nonzero().flatten()
    assert middle - overlap <= seen.min() < middle - overlap // 4  # what is claimed is needed, within reason
    assert seen.max() <= middle + overlap


def test_attention_sees_the_whole_picture_and_says_so() -> None:
    network = awake(ResidualGenerator((1, 1), 8, 1, 1, 2))
    assert network.overlap is None
    x = torch.rand(1, 1, 8, 128, requires_grad=True)
    network(x)[..., 0].sum().backward()
    assert x.grad[..., -1].abs().sum() > 0


def test_a_row_is_the_same_alone_and_in_a_batch() -> None:
    network = awake(ResidualGenerator((3, 3), 8, 1, 2, 2))
    x = torch.rand(3, 3, 16, 24) * 2 - 1
    alone = torch.cat([network(row[None]) for row in x])
    assert (network(x) - alone).abs().max() < TOL["row alone vs in a batch, absolute"]


def test_ink_stays_ink_and_paper_takes_the_paint() -> None:
    network = awake(ResidualGenerator((1, 3), 8, 1, 1, 2, compose="multiply"))
    x = torch.ones(1, 1, 8, 8)
    x[..., 3, :] = -1
    made, layer = network(x), network.layer(x)
    assert (made[..., 3, :] == -1).all()
    assert torch.allclose(made[..., :3, :], layer[..., :3, :], atol=TOL["loss, known answer"])
    half = network.composed(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8))
    assert torch.allclose(half, torch.full((1, 3, 8, 8), -0.5))  # .5 of .5 is .25


@pytest.mark.parametrize("planes", [(1, 3), (3, 3)])
def test_chroma_keeps_the_brightness(planes: tuple[int, int]) -> None:
    network = awake(ResidualGenerator(planes, 8, 1, 1, 2, compose="chroma"))
    x = torch.rand(1, planes[0], 8, 8) * 0.2 - 0.1  # far from the range's ends, where nothing is clipped
    colours = network.composed(torch.rand(1, 2, 8, 8) * 0.2 - 0.1, x)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    luma = x if planes[0] == 1 else (x * weights).sum(1, keepdim=True)
    assert torch.allclose((colours * weights).sum(1, keepdim=True), luma, atol=TOL["loss, known answer"])
    assert torch.equal(network(x), network.composed(network.layer(x), x))
    grey = network.composed(torch.zeros(1, 2, 8, 8), x)
    assert torch.allclose(grey, luma.expand(-1, 3, -1, -1), atol=TOL["loss, known answer"])


def test_chroma_is_that_of_bt601() -> None:
    """Pure red, green and blue: Cb and Cr by the standard's own matrix give the colours back."""
    network = ResidualGenerator((1, 3), 8, 1, 1, 2, compose="chroma")
    colours = torch.eye(3).view(3, 3, 1, 1)
    red, green, blue = (colours[:, i : i + 1] for i in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = torch.cat([0.5 * (blue - luma) / (1 - 0.114), 0.5 * (red - luma) / (1 - 0.299)], 1)
    made = network.composed(2 * chroma, 2 * luma - 1)
    assert torch.allclose(made, 2 * colours - 1, atol=TOL["loss, known answer"])


@pytest.mark.parametrize(("compose", "planes"), [("multiply", (2, 3)), ("chroma", (2, 3)), ("chroma", (1, 1))])
def test_sides_that_cannot_be_composed_are_refused(compose: str, planes: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match=f"compose '{compose}' does not suit"):
        ResidualGenerator(planes, 8, 1, 1, 2, compose=compose)


def test_the_patch_critic_sees_seventy_pixels() -> None:
    """Isola et al. 2017: C64-C128-C256-C512 with 4x4 windows judges 70x70 patches."""
    critic = PatchCritic(1, 2, 3)
    x = torch.rand(1, 1, 256, 256, requires_grad=True)
    (logits,) = critic(x)
    assert logits.shape == (1, 1, 30, 30)
    logits[0, 0, 15, 15].backward()
    seen = x.grad[0, 0].abs().sum(0).nonzero().flatten()
    assert int(seen.max() - seen.min()) + 1 == 70


def test_each_scale_sees_a_halved_picture() -> None:
    critic = MultiScaleCritic(4, 8, 3, 2)
    x = torch.rand(2, 4, 32, 48)
    logits, maps = critic(x), critic.features(x)
    assert [tuple(m.shape) for m in logits] == [(2, 1, 4, 6), (2, 1, 2, 3)]
    assert [len(scale) for scale in maps] == [4, 4] and all(
        torch.equal(a, b[-1]) for a, b in zip(logits, maps, strict=True)
    )
    halved = torch.nn.functional.avg_pool2d(x, 2)
    assert torch.equal(critic.critics[1](halved)[-1], logits[1])


@pytest.mark.parametrize(
    "settings", [{}, {"attention": False, "compose": "multiply"}, {"game": "pix2pix", "blocks": 3}]
)
def test_a_config_builds_its_generator_again(settings: dict[str, Any]) -> None:
    config = TranslateConfig(channels=8, **settings)
    built = networks.generator_config(config, 3, 3)
    one, other = networks.build_generator(built), networks.build_generator(built)
    other.load_state_dict(one.state_dict())
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(one.eval()(x), other.eval()(x))


def test_an_unknown_generator_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="unknown generator"):
        networks.build_generator({"arch": "mirror"})
