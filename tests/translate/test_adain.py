"""Adaptive instance normalisation: exact statistics, and a generator that keeps what has no other style."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gantk_translate.networks.adain import AdaIN, adain, statistics
from gantoolkit.errors import UsageError
from tests.tolerances import TOL

LOSS = TOL["loss, known answer"]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def busy(**changes: int) -> AdaIN:
    """A generator whose decoder already draws."""
    torch.manual_seed(0)
    network = AdaIN([3, 3], **({"channels": 8, "blocks": 2} | changes))
    with torch.no_grad():
        network.head.weight.normal_(0, 0.05)
    return network


def test_statistics_by_hand() -> None:
    mean, deviation = statistics(torch.tensor([[[[1.0, 3.0], [5.0, 7.0]], [[2.0, 2.0], [2.0, 2.0]]]]))
    assert mean.flatten().tolist() == [4, 2]
    assert deviation.flatten().tolist() == pytest.approx([(5 + 1e-5) ** 0.5, 1e-5**0.5], rel=1e-6)


def test_the_styles_statistics_come_out() -> None:
    content, style = noise(3, 4, 9, 7) * 2 + 5, noise(3, 4, 6, 5, seed=1) - 1
    made = adain(content, style)
    assert made.shape == content.shape
    for got, wanted in zip(statistics(made), statistics(style), strict=True):
        assert (got - wanted).abs().max() < 1e-5  # ε in both square roots
    # what is where stays: the same picture up to a scale and a shift of each channel
    a, b = (x.flatten(2) - x.flatten(2).mean(2, keepdim=True) for x in (made, content))
    assert torch.nn.functional.cosine_similarity(a, b, dim=2).min() > 1 - 1e-5


def test_a_map_in_its_own_style_is_itself() -> None:
    content = noise(2, 3, 5, 5)
    assert (adain(content, content) - content).abs().max() < LOSS
    assert torch.equal(adain(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2)), torch.ones(1, 1, 3, 3))  # nothing to see


@settings(max_examples=15)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_any_multiple_goes_in(blocks: int, height: int, width: int, other: int, another: int) -> None:
    network = busy(blocks=blocks)
    k = network.multiple
    assert k == 2**blocks
    x, style = noise(1, 3, k * height, k * width), noise(1, 3, k * other, k * another, seed=1)
    with torch.no_grad():
        made = network(x, style)
    assert made.shape == x.shape and made.abs().max() <= 1


def test_the_start_is_an_exchange_of_colours() -> None:
    x, style = noise(2, 3, 16, 16).clamp(-1, 1) / 2, noise(2, 3, 8, 8, seed=1).clamp(-1, 1) / 4
    made = AdaIN([3, 3], 8, 2)(x, style)
    colours = adain(x, style)
    assert (made - colours).abs().mean() < 0.25 * (x - colours).abs().mean()


def test_style_comes_through_features_too() -> None:
    """Two styles of the same colours: the picture's statistics agree, those of the features do not."""
    smooth = torch.linspace(-1, 1, 256).view(1, 1, 16, 16).repeat(1, 3, 1, 1)
    rough = smooth.flatten()[:256][torch.randperm(256, generator=torch.Generator().manual_seed(0))]
    rough = rough.view(1, 1, 16, 16).repeat(1, 3, 1, 1)
    x = noise(1, 3, 16, 16) / 3
    with torch.no_grad():
        network = busy()
        assert (network(x, smooth) - network(x, rough)).abs().max() > 1e-3


def test_each_picture_has_its_own_style() -> None:
    network, x, style = busy(), noise(2, 3, 16, 16), noise(2, 3, 16, 16, seed=1)
    with torch.no_grad():
        alone = torch.cat([network(x[i : i + 1], style[i : i + 1]) for i in range(2)])
        assert (network(x, style) - alone).abs().max() < TOL["row alone vs in a batch, absolute"]


def test_other_channels_out_than_in_are_refused() -> None:
    with pytest.raises(UsageError, match="keeps the picture's channels"):
        AdaIN([1, 3])
