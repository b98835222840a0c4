"""What a network does to colours at low frequencies is put back, and nothing else is touched."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gantoolkit
from gantk_superres import colour
from gantk_superres.enlarge import Enlarger
from tests.superres import tiny
from tests.superres.tiny import photo


def _local_means(large: np.ndarray, scale: int) -> np.ndarray:
    """The low frequencies of both pictures are compared through this: blocks, then a 33² mean."""
    from scipy import ndimage

    small = large.reshape(large.shape[0] // scale, scale, large.shape[1] // scale, scale, -1).mean((1, 3))
    return ndimage.uniform_filter(small, (33, 33, 0), mode="nearest")


@pytest.mark.parametrize("tile", [0, 24])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_shift_of_colours_is_put_back(tile: int, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = photo(64, 56).astype(np.float32) / 255 * 0.6 + 0.2
    image = image if dtype == "float32" else (image * np.iinfo(dtype).max).astype(dtype)
    top = 1 if dtype == "float32" else np.iinfo(dtype).max
    enlarger = Enlarger(tiny.model(residual=0.0), tile=tile, precision="fp32")
    network, tint = enlarger.network, torch.tensor([0.06, -0.05, 0.03])[None, :, None, None]
    enlarger._run = enlarger._run_deep = lambda pixels: network(pixels) * 0.9 + tint
    wanted = _local_means(image / top, 1)

    def shift() -> float:
        return float(np.abs(_local_means(enlarger(image).astype(np.float64) / top, 4) - wanted).max())

    assert shift() < 0.01
    monkeypatch.setattr(colour, "keep", lambda large, pixels: None)
    assert shift() > 0.05  # what it is without


def test_a_network_that_keeps_colours_is_left_alone() -> None:
    bicubic = Enlarger(tiny.model(residual=0.0), precision="fp32")
    image = photo(40, 40)
    given = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        raw = (bicubic.network(given)[0].permute(1, 2, 0) * 255).round().clamp(0, 255).byte().numpy()
    assert np.array_equal(bicubic(image), raw)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 20), st.sampled_from([1, 2, 3, 4]), st.integers(0, 1000))
def test_colours_of_strips_equal_those_of_the_whole(height: int, width: int, scale: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.random((height, width, 3), np.float32)
    large = rng.random((height * scale, width * scale, 3), np.float32)
    small, big = (torch.from_numpy(a.copy()).permute(2, 0, 1)[None] for a in (pixels, large))
    difference = small - torch.nn.functional.avg_pool2d(big, scale)
    shift = colour.drift(difference)
    whole = big + torch.nn.functional.interpolate(shift, scale_factor=scale, mode="bilinear")
    colour.keep(large, pixels)
    assert np.abs(large - whole[0].permute(1, 2, 0).numpy()).max() < 1e-5


def test_colours_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Far less than the bundled network over the same picture."""
    enlarger, image = gantoolkit.load("superres"), photo(256, 256)
    enlarger(image)
    spent = []
    keep = colour.keep

    def timed(*arguments: np.ndarray) -> None:
        started = time.process_time()
        keep(*arguments)
        spent.append(time.process_time() - started)

    monkeypatch.setattr(colour, "keep", timed)
    shares = []
    for _ in range(3):  # the best of three: a busy machine slows one of them or the other
        started = time.process_time()
        enlarger(image)
        shares.append(spent[-1] / (time.process_time() - started))
    assert min(shares) < 0.25
