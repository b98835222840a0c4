"""The contrast of patches: known answers, who gets gradients, and places that everyone agrees on."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gantk_translate.contrast import gathered, mirrored, patch_nce, places
from gantk_translate.networks.projection import Projection
from gantoolkit.draws import Draws
from gantoolkit.errors import UsageError
from gantoolkit.game import Context, Phase, Player
from tests.tolerances import TOL

LOSS = TOL["loss, known answer"]


def context(seed: int = 0, *, world: int = 1, rank: int = 0, start: int = 0, stop: int = 4, full: int = 4) -> Context:
    """What a term sees of rows start:stop of one process's `full` rows."""
    draws = Draws(torch.Generator().manual_seed(seed), world=world, rank=rank, device=torch.device("cpu"))
    draws.rows(start, stop, full)
    nobody = Player("generator", {})
    return Context({}, {}, 0, Phase("generator", "generator", []), nobody, draws, {}, {}, {}, {}, lambda _: False)


@pytest.mark.parametrize("temperature", [0.07, 0.5, 2.0])
@pytest.mark.parametrize("number", [2, 5])
def test_features_that_tell_every_place(number: int, temperature: float) -> None:
    """q = k, orthonormal: one cosine of 1, S − 1 of 0, so that the loss is log(1 + (S − 1) exp(−1/τ))."""
    same = torch.eye(number).expand(3, -1, -1)
    expected = math.log1p((number - 1) * math.exp(-1 / temperature))
    assert patch_nce(same, same, temperature).item() == pytest.approx(expected, rel=1e-5, abs=LOSS)


def test_features_that_tell_nothing() -> None:
    alike = torch.ones(2, 7, 4) / 2
    assert patch_nce(alike, alike, 0.07).item() == pytest.approx(math.log(7), abs=LOSS)


def test_a_query_that_points_at_another_place() -> None:
    key = torch.eye(2)[None]
    assert patch_nce(key.flip(1), key, 0.5).item() == pytest.approx(math.log1p(math.exp(2)), abs=LOSS)


def test_negatives_are_of_the_same_picture() -> None:
    q, k = torch.nn.functional.normalize(torch.randn(2, 3, 6, 8, generator=torch.Generator().manual_seed(1)), dim=-1)
    alone = torch.stack([patch_nce(q[i : i + 1], k[i : i + 1], 0.1) for i in range(3)])
    assert patch_nce(q, k, 0.1).item() == pytest.approx(alone.mean().item(), abs=LOSS)


def test_only_the_query_gets_a_gradient() -> None:
    q, k = torch.randn(2, 1, 4, 3, generator=torch.Generator().manual_seed(1)).unbind()
    q.requires_grad_(), k.requires_grad_()
    patch_nce(q, k, 0.07).backward()
    assert q.grad is not None and q.grad.abs().min() > 0
    assert k.grad is None


def test_mixed_precision_does_not_round_the_cosines() -> None:
    q, k = torch.nn.functional.normalize(torch.randn(2, 2, 16, 8, generator=torch.Generator().manual_seed(1)), dim=-1)
    plain = patch_nce(q, k, 0.07)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(patch_nce(q, k, 0.07), plain)


def test_other_places_are_refused() -> None:
    with pytest.raises(UsageError, match="same places"):
        patch_nce(torch.zeros(1, 4, 3), torch.zeros(1, 1, 3), 0.07)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 100), st.integers(0, 2**31))
def test_places_are_inside_and_none_is_twice(height: int, width: int, number: int, seed: int) -> None:
    index = places(context(seed), torch.zeros(4, 2, height, width), number)
    assert index.shape == (4, min(number, height * width))
    assert all(min(row) >= 0 and max(row) < height * width and len(set(row)) == len(row) for row in index.tolist())


def test_every_place_is_as_likely() -> None:
    many = places(context(stop=4000, full=4000), torch.zeros(1, 1, 3, 3), 3)
    shares = many.flatten().bincount(minlength=9) / 4000
    assert (shares - 1 / 3).abs().max() < 0.04  # five standard deviations of a share of 1/3 in 4000


def test_micro_batches_and_processes_look_at_the_same_places() -> None:
    maps = torch.zeros(1, 2, 5, 6)
    whole = places(context(), maps, 7)
    halves = [places(context(start=start, stop=start + 2), maps, 7) for start in (0, 2)]
    joined = [places(context(world=2, rank=rank, stop=2, full=2), maps, 7) for rank in (0, 1)]
    assert torch.equal(torch.cat(halves), whole) and torch.equal(torch.cat(joined), whole)
    assert len({tuple(row) for row in whole.tolist()}) == 4  # samples have their own


@given(st.integers(1, 6), st.integers(1, 7))
def test_places_follow_a_flip(height: int, width: int) -> None:
    maps = torch.arange(2.0 * 3 * height * width).view(2, 3, height, width)
    index = torch.arange(height * width).expand(2, -1)
    seen = torch.stack([maps[0].flip(2), maps[1]])  # the first was mirrored
    turned = torch.tensor([True, False])
    assert torch.equal(gathered(seen, mirrored(index, width, turned)), gathered(maps, index))


def test_gathered_by_hand() -> None:
    maps = torch.arange(24.0).view(1, 2, 3, 4)
    assert gathered(maps, torch.tensor([[0, 5, 11]])).tolist() == [[[0, 12], [5, 17], [11, 23]]]


def test_projections_have_length_one_and_a_perceptron_each() -> None:
    torch.manual_seed(0)
    network = Projection([3, 8])
    made = network([torch.randn(2, 5, 3), torch.randn(2, 4, 8)])
    assert [tuple(x.shape) for x in made] == [(2, 5, 256), (2, 4, 256)]
    assert all((x.norm(dim=-1) - 1).abs().max() < LOSS for x in made)
    assert sum(p.numel() for p in network.parameters()) == sum(c * 256 + 256 + 256 * 256 + 256 for c in (3, 8))
    layers: Any = network.layers
    by_hand = layers[1][2](layers[1][0](torch.ones(1, 1, 8)).clamp_min(0))
    expected = by_hand / by_hand.norm()
    assert (network([torch.ones(1, 1, 3), torch.ones(1, 1, 8)])[1] - expected).abs().max() < LOSS
