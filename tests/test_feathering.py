"""Tiles that fade into each other: one tile is the network, weights sum to one, memory that runs out is met."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gantoolkit.errors import InputError
from gantoolkit.feathering import feathered, windows

RNG = np.random.default_rng(0)
PLAIN: dict[str, Any] = {
    "encode": lambda window: window.transpose(2, 0, 1).astype(np.float32),
    "decode": lambda planes: planes.transpose(1, 2, 0),
}


def apply(network: Callable[..., Any], pixels: np.ndarray, **options: Any) -> np.ndarray:
    return feathered(network, pixels, **{"tile": 16, "blend": 4, **PLAIN, **options})


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 70), st.integers(1, 70), st.integers(1, 40), st.integers(0, 12), st.sampled_from([1, 2, 8])
)  # fmt: skip
def test_a_network_that_changes_nothing_gives_the_picture(
    height: int, width: int, tile: int, blend: int, multiple: int
) -> None:
    pixels = RNG.normal(size=(height, width, 2)).astype(np.float32)
    seen = []

    def network(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.shape)
        assert x.shape[2] % multiple == x.shape[3] % multiple == 0
        return x

    made = apply(network, pixels, tile=tile, blend=blend, multiple=multiple)
    assert made.shape == pixels.shape and np.abs(made - pixels).max() < 1e-5
    assert seen


def test_one_tile_is_the_network_on_the_whole() -> None:
    pixels = RNG.normal(size=(20, 30, 1)).astype(np.float32)
    assert np.allclose(apply(lambda x: x - x.mean(), pixels, tile=64), pixels - pixels.mean(), atol=1e-6)


def test_tiles_of_other_levels_meet_in_a_ramp_without_a_step() -> None:
    """Each tile answers its own mean; between the middles of two tiles the answer goes in a straight line."""
    pixels = np.repeat(np.arange(64, dtype=np.float32)[None, :, None], 16, 0)
    made = apply(lambda x: x.mean().expand(x.shape), pixels, tile=16, blend=4)[8, :, 0]
    steps = np.diff(made)
    assert made[0] < 20 and made[-1] > 44
    assert steps.min() > -1e-5 and steps.max() <= 16 / 8 + 1e-4  # 16 levels between means over a ramp of 8 pixels


def test_the_result_has_the_type_that_decode_makes_and_progress_reaches_the_end() -> None:
    told = []
    made = apply(
        lambda x: x[:, :1],
        RNG.random((40, 33, 3)),
        decode=lambda planes: (planes > 0.5).astype(np.uint16)[0, ..., None],
        progress=lambda done, total: told.append((done, total)),
    )
    assert made.dtype == np.uint16 and made.shape == (40, 33, 1) and set(np.unique(made)) == {0, 1}
    assert told[-1][0] == told[-1][1] == len(told) > 1


def test_memory_that_runs_out_halves_the_tile() -> None:
    pixels = RNG.normal(size=(64, 64, 1)).astype(np.float32)

    def tight(x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] > 40:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return x

    assert np.abs(apply(tight, pixels, tile=100) - pixels).max() < 1e-5

    def hopeless(x: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(InputError, match="not enough memory"):
        apply(hopeless, pixels, tile=100)

    def broken(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="do not match"):
        apply(broken, pixels)


def test_output_that_is_not_finite_is_done_again_or_refused() -> None:
    pixels = RNG.normal(size=(20, 20, 1)).astype(np.float32)
    assert np.allclose(apply(lambda x: x * float("nan"), pixels, fallback=lambda x: x), pixels, atol=1e-6)
    with pytest.raises(InputError, match="not finite at row 0, column 0"):
        apply(lambda x: x * float("nan"), pixels)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 60), st.integers(1, 4000), st.integers(0, 100), st.sampled_from([1, 2, 8, 64, 256])
)  # fmt: skip
def test_windows_are_no_longer_than_asked_for_and_overlap_enough(
    blocks: int, tile: int, blend: int, multiple: int
) -> None:
    """A network of large multiples must not get windows much larger than its memory was reckoned for."""
    length = blocks * multiple
    found = windows(length, tile, blend, multiple)
    assert found[0].start == 0 and found[-1].stop == length
    (size,) = {len(window) for window in found}
    assert size % multiple == 0 and size <= max(tile + 2 * blend, 2 * blend + multiple)
    for one, other in pairwise(found):
        assert one.start < other.start <= one.stop - 2 * blend
