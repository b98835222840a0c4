"""Tiles: the same picture as in one piece, whatever the size, the memory or the precision."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gantoolkit.errors import InputError
from gantoolkit.tiling import spans, tiled
from tests.tolerances import TOL


def conv_net(channels_in: int = 3, channels_out: int = 3, scale: int = 2, convs: int = 2) -> nn.Module:
    """Receptive radius: one pixel a convolution."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(channels_in, 8, 3, padding=1)]
    for _ in range(convs - 2):
        layers += [nn.LeakyReLU(0.2), nn.Conv2d(8, 8, 3, padding=1)]
    layers += [nn.LeakyReLU(0.2), nn.Conv2d(8, channels_out * scale**2, 3, padding=1), nn.PixelShuffle(scale)]
    return nn.Sequential(*layers).eval()


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(height * 99 + width).random((height, width, channels), np.float32)


def untiled(network: Any, pixels: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return network(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()


@settings(max_examples=80, deadline=None)
@given(
    height=st.integers(1, 50), width=st.integers(1, 50), tile=st.integers(1, 40), convs=st.integers(2, 5),
    scale=st.integers(1, 3), channels=st.sampled_from([(3, 3), (1, 1), (3, 1)]),
)  # fmt: skip
def test_tiled_is_untiled(
    height: int, width: int, tile: int, convs: int, scale: int, channels: tuple[int, int]
) -> None:
    network = conv_net(*channels, scale, convs)
    pixels = noise(height, width, channels[0])
    shapes = set()

    def watched(x: Tensor) -> Tensor:
        shapes.add(x.shape)
        return network(x)

    seen: list[tuple[int, int]] = []
    out = tiled(watched, pixels, scale=scale, overlap=convs, tile=tile, progress=lambda *p: seen.append(p))
    expected = untiled(network, pixels)
    assert out.shape == expected.shape == (height * scale, width * scale, channels[1])
    assert np.abs(out - expected).max() < TOL["tiled vs untiled, fp32 absolute"]
    assert len(shapes) == 1
    assert seen == sorted(seen) and seen[-1] == (height * width, height * width)


def test_too_small_an_overlap_shows() -> None:
    network = conv_net(convs=5)
    pixels = noise(40, 40)
    out = tiled(network, pixels, scale=2, overlap=3, tile=10)
    assert np.abs(out - untiled(network, pixels)).max() > 10 * TOL["tiled vs untiled, fp32 absolute"]


@settings(max_examples=200, deadline=None)
@given(
    units=st.integers(1, 300),
    tile=st.integers(1, 120),
    overlap=st.integers(0, 40),
    multiple=st.integers(1, 8),
)
def test_spans_cover_an_axis_once_with_all_its_context(units: int, tile: int, overlap: int, multiple: int) -> None:
    length = units * multiple
    cut = spans(length, tile, overlap, multiple)
    assert cut[0].first == 0 and cut[-1].last == length
    assert all(a.last == b.first for a, b in itertools.pairwise(cut))
    assert len({s.end - s.start for s in cut}) == 1
    for s in cut:
        assert s.first < s.last and s.start % multiple == 0 and s.end % multiple == 0
        assert s.start >= 0 and s.end <= length
        assert s.start == 0 or s.first - s.start >= overlap
        assert s.end == length or s.end - s.last >= overlap


@pytest.mark.parametrize("size", [(1, 1), (13, 9), (24, 37)])
def test_sizes_that_a_network_does_not_accept_are_reflected_and_cropped(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    down = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 3 * 4, 3, padding=1), nn.PixelShuffle(2))

    def network(x: Tensor) -> Tensor:
        assert x.shape[2] % 2 == 0 and x.shape[3] % 2 == 0
        return down(x)

    pixels = noise(*size)
    padded = np.pad(pixels, [(0, size[0] % 2), (0, size[1] % 2), (0, 0)], "reflect")
    expected = untiled(down, padded)[: size[0], : size[1]]
    out = tiled(network, pixels, scale=1, overlap=4, tile=6, multiple=2)
    assert out.shape == pixels.shape
    assert np.abs(out - expected).max() < TOL["tiled vs untiled, fp32 absolute"]


def test_a_network_that_shrinks() -> None:
    pixels = noise(22, 31)
    out = tiled(lambda x: nn.functional.avg_pool2d(x, 2), pixels, scale=0.5, overlap=0, tile=6, multiple=2)
    padded = np.pad(pixels, [(0, 0), (0, 1), (0, 0)], "reflect")
    expected = padded.reshape(11, 2, 16, 2, 3).mean((1, 3))
    assert out.shape[0] == 11 and np.abs(out - expected[:, : out.shape[1]]).max() < 1e-6


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
    ],
)
def test_when_memory_runs_out_tiles_shrink_and_the_result_stays(error: Exception) -> None:
    network = conv_net()
    calls: list[tuple[int, bool]] = []

    def scarce(x: Tensor) -> Tensor:
        fits = x.shape[2] * x.shape[3] < 700 or len(calls) == 0  # the first tile still fits
        calls.append((x.shape[2] * x.shape[3], fits))
        if not fits:
            raise error
        return network(x)

    pixels = noise(90, 70)
    out = tiled(scarce, pixels, scale=2, overlap=2, tile=40)
    assert np.abs(out - untiled(network, pixels)).max() < TOL["tiled vs untiled, fp32 absolute"]
    assert sum(not fits for _, fits in calls) <= 2  # it learns: 40 fails, 20 fits
    with pytest.raises(InputError, match="not enough memory"):

        def never(x: Tensor) -> Tensor:
            raise error

        tiled(never, pixels, scale=2, overlap=2, tile=40)


def test_other_errors_are_bugs() -> None:
    def broken(x: Tensor) -> Tensor:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        tiled(broken, noise(8, 8), scale=1, overlap=1)


def test_values_that_are_not_finite_are_redone_in_full_precision() -> None:
    inside = False
    network = conv_net()
    redone = 0

    @contextlib.contextmanager
    def low() -> Iterator[None]:
        nonlocal inside
        inside = True
        yield
        inside = False

    def fragile(x: Tensor) -> Tensor:
        assert inside
        out = network(x)
        if x[0, 0, 0, 0] == pixels[0, 0, 0]:  # only the first tile
            out[0, 0, 3, 3] = float("nan")
        return out

    def full(x: Tensor) -> Tensor:
        nonlocal redone
        assert not inside
        redone += 1
        return network(x)

    pixels = noise(40, 30)
    out = tiled(fragile, pixels, scale=2, overlap=2, tile=12, autocast=low, fallback=full)
    assert redone == 1
    assert np.abs(out - untiled(network, pixels)).max() < TOL["tiled vs untiled, fp32 absolute"]
    for fallback in (None, lambda x: network(x) * float("inf")):
        with pytest.raises(InputError, match="row 0, column 0"):
            tiled(fragile, pixels, scale=2, overlap=2, tile=12, autocast=low, fallback=fallback)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_are_scaled_rounded_and_clipped(dtype: Any) -> None:
    top = np.iinfo(dtype).max
    pixels = np.random.default_rng(0).integers(0, top, (20, 30, 3), dtype, endpoint=True)
    assert np.array_equal(tiled(lambda x: x, pixels, scale=1, overlap=2, tile=7), pixels)
    bright = tiled(lambda x: 3 * x - 1, pixels, scale=1, overlap=0)
    expected = np.clip(np.rint((3.0 * pixels / top - 1) * top), 0, top)
    assert np.abs(bright.astype(float) - expected).max() <= 1
    assert bright.min() == 0 and bright.max() == top
    assert tiled(lambda x: x, pixels, scale=1, overlap=2, out_dtype=np.float32).max() <= 1


def test_the_output_is_the_only_large_thing_in_memory() -> None:
    script = """
import resource, numpy as np, torch
from torch.nn.functional import interpolate
from gantoolkit.tiling import tiled
pixels = np.zeros((1500, 1000, 3), np.uint8)
network = lambda x: interpolate(x, scale_factor=4)
tiled(network, pixels[:400, :400], scale=4, overlap=8, tile=128)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
out = tiled(network, pixels, scale=4, overlap=8, tile=128)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 - out.nbytes / 2**20)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 30  # MB beside the 69 MB of output
