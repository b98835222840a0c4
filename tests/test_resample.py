"""Resampling: MATLAB's `imresize` worked out by hand, and an independent dense reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gantoolkit.errors import UsageError
from gantoolkit.resample import KERNELS, resize, resize_array, weights
from tests.tolerances import TOL

KERNEL_NAMES = sorted(KERNELS)


def kernel_value(name: str, x: float) -> float:
    """The kernels once more, as scalar formulas."""
    x = abs(x)
    if name == "bilinear":
        return max(0.0, 1 - x)
    if name == "lanczos3":
        if x < 1e-12:
            return 1.0
        return 3 * math.sin(math.pi * x) * math.sin(math.pi * x / 3) / (math.pi * x) ** 2 if x < 3 else 0.0
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def dense_matrix(n: int, m: int, name: str, antialias: bool = True) -> np.ndarray:
    """(m, n): every pixel of a far-reaching mirrored signal is weighed, one at a time, from 1-based u."""
    scale = m / n
    shrink = min(scale, 1.0) if antialias else 1.0
    reach = math.ceil(KERNELS[name][1] / shrink) + 2
    matrix = np.zeros((m, n))
    for x in range(1, m + 1):
        u = x / scale + 0.5 * (1 - 1 / scale)
        for k in range(math.floor(u) - reach, math.ceil(u) + reach + 1):
            source = k
            while not 1 <= source <= n:
                source = 1 - source if source < 1 else 2 * n + 1 - source
            matrix[x - 1, source - 1] += kernel_value(name, shrink * (u - k))
    return matrix / matrix.sum(1, keepdims=True)


def test_halving_an_impulse_by_hand() -> None:
    # Output i sits at u = 2 i + .5: its taps are .5, 1.5, 2.5, 3.5 away, half that on the widened cubic.
    half = np.array([kernel_value("bicubic", d) for d in (0.25, 0.75, 1.25, 1.75)]) / 2
    assert half == pytest.approx([0.43359375, 0.11328125, -0.03515625, -0.01171875])
    signal = torch.zeros(1, 1, 1, 8, dtype=torch.float64)
    signal[..., 2] = 1
    out = resize(signal, (1, 4)).flatten()
    # The impulse at 2 is 1.5 away from output 0, and its mirror image at -3 is 3.5 away.
    expected = [half[1] + half[3], half[0], half[2], 0.0]
    assert out.numpy() == pytest.approx(expected, abs=TOL["resample, float64 absolute"])


def test_enlarging_a_ramp_by_hand() -> None:
    # Keys' cubic reproduces a ramp exactly inside; at the border the edge pixel is repeated.
    out = resize(torch.arange(8.0, dtype=torch.float64).reshape(1, 1, 1, 8), (1, 16)).flatten().numpy()
    position = (np.arange(16) + 0.5) / 2 - 0.5
    assert out[4:12] == pytest.approx(position[4:12], abs=TOL["resample, float64 absolute"])
    # Output 0 is at u = -.25: taps -2, -1 (mirrored to 1, 0), 0, 1.
    w = [kernel_value("bicubic", d) for d in (1.75, 0.75, 0.25, 1.25)]
    assert out[0] == pytest.approx(w[0] * 1 + w[1] * 0 + w[2] * 0 + w[3] * 1)
    assert out[0] < 0 < out[2]


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("kernel", KERNEL_NAMES)
@pytest.mark.parametrize("sizes", [((9, 13), (4, 6)), ((5, 3), (20, 7)), ((150, 7), (40, 21)), ((6, 6), (6, 5))])
def test_agrees_with_the_dense_reference(
    kernel: str, sizes: tuple[tuple[int, int], tuple[int, int]], antialias: bool
) -> None:
    (height, width), (h, w) = sizes
    x = torch.rand(2, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows, columns = dense_matrix(height, h, kernel, antialias), dense_matrix(width, w, kernel, antialias)
    expected = np.einsum("hH,wW,ncHW->nchw", rows, columns, x.numpy())
    out = resize(x, (h, w), kernel, antialias)
    assert out.shape == (2, 3, h, w)
    assert np.abs(out.numpy() - expected).max() < TOL["resample, float64 absolute"]


@given(n=st.integers(1, 60), m=st.integers(1, 60), kernel=st.sampled_from(KERNEL_NAMES))
@settings(max_examples=60, deadline=None)
def test_weights_are_normalised_in_range_and_symmetric(n: int, m: int, kernel: str) -> None:
    index, weight = weights(n, m, kernel)
    assert index.shape == weight.shape and len(index) == m
    assert index.min() >= 0 and index.max() < n
    assert np.allclose(weight.sum(1), 1)
    dense = np.zeros((m, n))
    np.add.at(dense, (np.arange(m)[:, None], index), weight)
    assert np.allclose(dense, dense[::-1, ::-1], atol=TOL["resample, float64 absolute"])
    assert np.allclose(dense, dense_matrix(n, m, kernel), atol=TOL["resample, float64 absolute"])


def test_a_given_scale_moves_the_grid() -> None:
    # imresize(A, 0.4) of 9 pixels gives ceil(3.6) = 4 and keeps 0.4, not 4 / 9: u = (i + .5) / .4 - .5.
    index, weight = weights(9, 4, "bilinear", 0.4)
    by_hand = {k: kernel_value("bilinear", 0.4 * (3.25 - k)) for k in range(1, 6)}
    for k, value in zip(index[1], weight[1], strict=True):
        assert value == pytest.approx(by_hand.get(k, 0.0) / sum(by_hand.values()))
    assert not np.array_equal(weight, weights(9, 4, "bilinear")[1])


@pytest.mark.parametrize("kernel", KERNEL_NAMES)
def test_constants_and_same_size_are_kept(kernel: str) -> None:
    x = torch.full((1, 2, 11, 7), 0.3)
    assert torch.allclose(resize(x, (23, 3), kernel), torch.full((1, 2, 23, 3), 0.3))
    noise = torch.rand(1, 1, 5, 6)
    assert torch.equal(resize(noise, (5, 6), kernel), noise)


def test_dtype_memory_layout_autocast_and_gradient() -> None:
    x = torch.rand(2, 3, 12, 10)
    out = resize(x, (5, 20))
    half = resize(x.bfloat16(), (5, 20))
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, resize(x.bfloat16().float(), (5, 20)).bfloat16())
    assert torch.equal(resize(x.to(memory_format=torch.channels_last), (5, 20)), out)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(resize(x, (5, 20)), out)
    small = torch.rand(1, 1, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: resize(t, (2, 7)), small)


@pytest.mark.parametrize("kernel", KERNEL_NAMES)
@pytest.mark.parametrize("size", [(300, 21), (50, 180), (200, 180), (1, 1)])
def test_strips_give_what_one_piece_gives(size: tuple[int, int], kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gantoolkit.resample.STRIP_VALUES", 5000)
    pixels = np.random.default_rng(0).random((200, 90, 3), np.float32)
    whole = resize(torch.from_numpy(pixels).permute(2, 0, 1)[None], size, kernel)[0].permute(1, 2, 0).numpy()
    strips = resize_array(pixels, size, kernel)
    assert strips.dtype == np.float32 and strips.shape == (*size, 3)
    assert np.abs(strips - whole).max() < TOL["resample, float32 absolute"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_round_and_clip(dtype: type) -> None:
    top = np.iinfo(dtype).max
    step = np.zeros((4, 16, 1), dtype)
    step[:, 8:] = top
    out = resize_array(step, (4, 64))
    real = resize(torch.from_numpy(step.astype(np.float32)).permute(2, 0, 1)[None], (4, 64))[0, 0].numpy()
    assert real.min() < -1 and real.max() > top + 1  # the cubic overshoots, so clipping is put to the test
    assert out.dtype == dtype
    assert np.array_equal(out[..., 0], np.clip(np.rint(real), 0, top).astype(dtype))


def test_bad_requests_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="bicubic or bilinear or lanczos3"):
        resize(torch.rand(1, 1, 4, 4), (2, 2), "nearest")
    with pytest.raises(UsageError, match="at least 1 pixel"):
        resize(torch.rand(1, 1, 4, 4), (0, 2))
