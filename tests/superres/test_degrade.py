"""Degradations: seeded by their generator alone, faithful to their equations, rows apart."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gantk_superres import degrade
from gantk_superres.degrade import LIGHT, SETTINGS, Pass, SecondOrder, bicubic, degradation, second_order
from gantk_superres.jpeg import jpeg
from gantoolkit.errors import UsageError
from gantoolkit.resample import resize


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int = 6, height: int = 48, width: int = 64) -> Tensor:
    """Smooth random colour pictures."""
    return resize(torch.rand(n, 3, 8, 8, generator=seeded()), (height, width)).clamp(0, 1)


@pytest.mark.parametrize("name", ["bicubic", *SETTINGS])
def test_only_the_generator_decides(name: str) -> None:
    hr, before = pictures(), torch.get_rng_state()
    first, again, other = (degradation(name)(hr, 4, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name == "bicubic")
    assert first.shape == (6, 3, 12, 16) and first.dtype == torch.float32
    assert torch.equal((first * 255).round() / 255, first) and first.min() >= 0 and first.max() <= 1


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_degraded_picture_still_shows_the_scene(name: str, scale: int) -> None:
    hr = 0.25 + 0.5 * resize(pictures(16, 12, 16), (96, 120))
    clean = bicubic(hr, scale)
    for seed in range(4):
        low = degradation(name)(hr, scale, seeded(seed))
        assert low.shape == clean.shape
        assert torch.allclose(low.mean((2, 3)), clean.mean((2, 3)), atol=0.1)  # no colour shift
        error = (low - clean).square().mean((1, 2, 3)).sqrt() * 255
        assert error.min() > 0.3 and (error.max() < 16 or name == "second-order")


def test_bicubic_is_the_resampler_in_eight_bits() -> None:
    hr = pictures(2)
    assert torch.equal(bicubic(hr, 4), (resize(hr, (12, 16)).clamp(0, 1) * 255).round() / 255)


def test_rows_are_drawn_apart_and_never_mix() -> None:
    row = pictures(1).expand(4, -1, -1, -1)
    low = degradation("light")(row, 4, seeded())
    assert all(not torch.equal(low[0], low[i]) for i in (1, 2, 3))
    # Without noise, whose number of draws depends on the picture, a changed neighbour changes nothing.
    quiet = SecondOrder((replace(LIGHT, gaussian=(0, 0), poisson=(0, 0), quality=(80, 80)),), 0.0)
    first = pictures(4)
    second = torch.cat([1 - first[:1], first[1:]])
    a, b = (second_order(hr, 4, seeded(), quiet) for hr in (first, second))
    assert torch.equal(a[1:], b[1:]) and not torch.equal(a[0], b[0])


def test_kernels_sum_to_one_and_keep_the_centre() -> None:
    for kernels in (degrade.blur_kernels(64, (0.2, 3.0), seeded()), degrade.sinc_kernels(64, seeded())):
        assert kernels.shape == (64, 21, 21)
        assert torch.allclose(kernels.sum((1, 2)), torch.ones(64), atol=1e-5)
        assert torch.allclose(kernels, kernels.flip(1, 2), atol=1e-6)
    # Most kernels are round Gaussians: with one sigma, their profile is known.
    kernels = degrade.blur_kernels(64, (1.0, 1.0), seeded())
    ratio = kernels[:, 10, 11] / kernels[:, 10, 10]
    assert ((ratio - math.exp(-0.5)).abs() < 1e-5).float().mean() > 0.5
    turned = degrade.blur_kernels(64, (0.5, 3.0), seeded())
    assert not torch.allclose(turned, turned.transpose(1, 2), atol=1e-3)


def test_sinc_kernels_ring_and_pass_low_frequencies_only() -> None:
    kernels = degrade.sinc_kernels(64, seeded())
    assert (kernels.amin((1, 2)) < 0).float().mean() > 0.9
    response = torch.fft.fft2(kernels, (64, 64)).abs()
    assert (response[:, 0, 2] - 1).abs().max() < 0.3  # two of 64 cycles: well below the lowest cutoff, π/3
    assert response[:, 32, 32].mean() < 0.3  # the corner, π√2: above the highest


def flat_noise(kind: str, step: Pass) -> Tensor:
    """Noise in 8-bit levels on many flat rows of level 100, with one kind switched off by its strength."""
    step = replace(step, **{kind: (0.0, 0.0)})
    flat = torch.full((32, 3, 32, 32), 100 / 255)
    return (degrade._noisy(flat, step, seeded()) - flat) * 255


@pytest.mark.parametrize(("off", "sigma"), [("poisson", 10.0), ("gaussian", 2.0 * 10.0)])
@pytest.mark.parametrize("grey", [0.0, 1.0])
def test_noise_has_the_stated_strength(off: str, sigma: float, grey: float) -> None:
    # Poisson noise of strength 2 at level 100 deviates by 2·√100.
    noise = flat_noise(off, Pass(gaussian=(10.0, 10.0), poisson=(2.0, 2.0), grey=grey))
    spread = noise.flatten(1).std(1)
    there = spread > 1e-3
    assert 6 <= int(there.sum()) <= 26  # about half of the rows
    assert torch.allclose(spread[there], torch.tensor(sigma), rtol=0.1)
    assert torch.equal(noise[:, 0], noise[:, 1]) == bool(grey)


@pytest.mark.parametrize("quality", [30, 60, 95])
def test_jpeg_does_what_a_jpeg_file_does(quality: int) -> None:
    hr = (pictures(2, 50, 70) + 0.05 * torch.randn(2, 3, 50, 70, generator=seeded())).clamp(0, 1)
    hr = (hr * 255).round() / 255
    found = jpeg(hr, torch.tensor([float(quality), 5.0]))
    file = io.BytesIO()
    Image.fromarray((hr[0].permute(1, 2, 0) * 255).round().byte().numpy()).save(
        file, "JPEG", quality=quality, subsampling="4:2:0"
    )
    stored = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255
    damage = (stored - hr[0]).abs().mean()
    assert (found[0] - stored).abs().mean() < 0.3 * damage
    assert (found[0] - hr[0]).abs().mean().item() == pytest.approx(damage.item(), rel=0.05)
    assert (found[1] - hr[1]).abs().mean() > damage  # each row has its own quality


def test_jpeg_of_flat_pictures_and_alone() -> None:
    flat = torch.full((1, 3, 20, 20), 128 / 255)
    assert torch.equal(jpeg(flat, torch.tensor([10.0])), flat)
    hr = pictures(3)
    quality = torch.tensor([20.0, 50.0, 90.0])
    assert torch.equal(jpeg(hr, quality)[1:2], jpeg(hr[1:2], quality[1:2]))


def test_misuse_is_named() -> None:
    with pytest.raises(UsageError, match=r"multiples of 3, got 64×48.*63×48"):
        bicubic(pictures(1), 3)
    with pytest.raises(UsageError, match="did you mean light"):
        degradation("ligth")
