"""The style-based networks: their layers against the paper's equations."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from gantk_generate.networks.style import Filter, ModulatedConv, minibatch_deviation
from gantoolkit.errors import UsageError
from tests.generate.tiny import TINY, awake, pair
from tests.tolerances import TOL


def test_modulated_convolution_equals_one_set_of_weights_a_sample() -> None:
    """Karras et al. 2020, eq. 1 and 3, as written there: a grouped convolution with N sets of weights."""
    layer = ModulatedConv(6, 5, 3, 4).double()
    x, w = torch.randn(3, 6, 7, 8, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    weight = layer.weight * layer.scale * layer.style(w)[:, None, :, None, None]
    weight = weight / (weight.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
    expected = F.conv2d(x.reshape(1, 18, 7, 8), weight.reshape(15, 6, 3, 3), padding=1, groups=3).reshape(3, 5, 7, 8)
    torch.testing.assert_close(layer(x, w), expected, rtol=0, atol=1e-12)


def test_demodulation_gives_unit_variance_whatever_the_style() -> None:
    torch.manual_seed(0)
    layer = ModulatedConv(64, 16, 3, 8)
    x = torch.randn(4, 64, 64, 64)
    with torch.no_grad():
        spread = layer(x, torch.tensor([0.1, 1, 10, 100])[:, None] * torch.randn(4, 8))[:, :, 1:-1, 1:-1].std((2, 3))
    assert (spread - 1).abs().max() < TOL["demodulated deviation"]


def test_filters_are_the_paper_s() -> None:
    x = torch.randn(2, 3, 8, 6, dtype=torch.float64)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 8
    kernel = torch.outer(taps, taps).expand(3, 1, 4, 4)
    halve = Filter((8, 6), (4, 3), start=-1, stride=2).double()
    torch.testing.assert_close(halve(x), F.conv2d(x, kernel, stride=2, padding=1, groups=3), rtol=0, atol=1e-12)
    blur = Filter((8, 6), (9, 7), start=-2).double()
    torch.testing.assert_close(blur(x), F.conv2d(x, kernel, padding=2, groups=3), rtol=0, atol=1e-12)
    # Between zeros, with gain 2 an axis, a constant stays what it is.
    zeros = F.conv_transpose2d(torch.ones(1, 1, 6, 6), torch.ones(1, 1, 1, 1), stride=2)
    zeros = F.pad(zeros, (0, 2, 0, 2))
    up = Filter((13, 13), (12, 12), start=-1, gain=2.0)(zeros)
    torch.testing.assert_close(up[..., 2:-2, 2:-2], torch.ones(1, 1, 8, 8))


def test_minibatch_deviation_tells_a_collapsed_batch_for_any_batch_size() -> None:
    for n in (1, 2, 3, 5, 6, 8):
        varied, same = torch.randn(n, 2, 4, 4), torch.randn(1, 2, 4, 4).expand(n, -1, -1, -1)
        assert minibatch_deviation(varied).shape == (n, 3, 4, 4)
        assert minibatch_deviation(same)[:, 2].max() < 1e-3
    assert minibatch_deviation(torch.randn(8, 64, 4, 4))[:, 64].mean() == pytest.approx(0.8, abs=0.1)


def test_noise_is_random_while_training_and_fixed_after() -> None:
    generator = awake(pair(TINY["style"])[0])
    z = torch.randn(2, 8)
    with torch.no_grad():
        assert not torch.equal(generator(z), generator(z))
        generator.eval()
        assert torch.equal(generator(z), generator(z))
        w = generator.mapping(z)
        assert not torch.equal(generator.synthesis(w, "none"), generator.synthesis(w))
        maps = [layer.noise[None, None] for layer in generator.styled]
        assert [tuple(m.shape[1:]) for m in maps] == generator.noise_shapes
        assert torch.allclose(generator.synthesis(w, maps), generator.synthesis(w), atol=1e-6)
    with pytest.raises(UsageError, match="noise"):
        generator.synthesis(w, "some")


def test_style_mapping_gives_one_w_a_layer() -> None:
    generator = pair(TINY["style"] | {"size": [32, 64]})[0]
    w = generator.mapping(torch.randn(5, 8))
    assert w.shape == (5, 8, 8)  # four sizes of map
    assert torch.equal(w[:, 0], w[:, -1])
