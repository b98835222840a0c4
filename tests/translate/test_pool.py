"""The pool of earlier outputs: what it keeps, what it shows, and that nobody else changes that."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gantk_translate.pool import Pool
from gantoolkit import checkpoint
from gantoolkit.draws import Draws
from gantoolkit.game import Context, Phase, Player


def context(draws: Draws) -> Context:
    player: Any = Player("critic", {})
    return Context(
        networks={}, batch={}, nimg=0, phase=Phase("critic", "critic", []), player=player, draws=draws,
        shared={}, noise={}, moves={}, trainable={}, keep_graph=lambda owner: False,
    )  # fmt: skip


def pictures(step: int, rows: int) -> torch.Tensor:
    """Each is constant, its value told by step and row."""
    return (step * rows + torch.arange(rows)).float()[:, None, None, None].expand(rows, 1, 2, 2).clone()


def shown(pools: list[Pool], steps: int, rows: int, *, parts: int = 1, seed: int = 0) -> list[list[int]]:
    """What each step shows of `rows` pictures that one pool a process gets in `parts` micro-batches."""
    world, result = len(pools), []
    generators = [torch.Generator().manual_seed(seed) for _ in pools]
    for step in range(steps):
        whole, seen = pictures(step, rows), []
        own = rows // world
        for rank, (pool, generator) in enumerate(zip(pools, generators, strict=True)):
            draws = Draws(generator, world=world, rank=rank, device=torch.device("cpu"))
            size = own // parts
            for part in range(parts):
                draws.rows(part * size, (part + 1) * size, own)
                first = rank * own + part * size
                seen += pool.swap(context(draws), whole[first : first + size])[:, 0, 0, 0].int().tolist()
        result.append(seen)
    return result


def test_no_room_passes_through() -> None:
    pool, made = Pool(0), torch.randn(2, 1, 2, 2, requires_grad=True)
    draws = Draws(torch.Generator(), world=1, rank=0, device=torch.device("cpu"))
    draws.rows(0, 2, 2)
    got = pool.swap(context(draws), made)
    assert torch.equal(got, made) and not got.requires_grad
    assert pool.state_dict() == {}


def test_until_it_is_full_it_shows_what_is_new() -> None:
    pool = Pool(5)
    assert shown([pool], 5, 1) == [[0], [1], [2], [3], [4]]
    assert pool.state_dict()["0"][:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]


def test_then_half_of_what_it_shows_is_from_before_and_goes_once() -> None:
    pool, steps = Pool(10), 2000
    seen = [row for (row,) in shown([pool], steps, 1)]
    old = [row for step, row in enumerate(seen) if row != step]
    assert all(row < step for step, row in enumerate(seen) if row != step)
    assert len(set(old)) == len(old)  # its place was taken, so it does not come back
    assert 0.46 < len(old) / (steps - 10) < 0.54  # 4 standard deviations are 0.045
    kept = pool.state_dict()["0"][:, 0, 0, 0].int().tolist()
    assert len(kept) == 10
    ages = [step - row for step, row in enumerate(seen) if row != step]
    assert 17 < sum(ages) / len(ages) < 23  # each place is taken with chance 1/20 a step


@pytest.mark.parametrize(("world", "parts"), [(1, 2), (1, 4), (2, 1), (2, 2), (4, 1)])
def test_processes_and_micro_batches_see_the_pictures_of_one(world: int, parts: int) -> None:
    whole = shown([Pool(8)], 40, 4)
    assert shown([Pool(8) for _ in range(world)], 40, 4, parts=parts) == whole
    assert whole != [[4 * step + row for row in range(4)] for step in range(40)]


def test_room_is_shared_by_the_rows() -> None:
    for room, rows, places in [(8, 4, 2), (50, 4, 12), (2, 4, 1), (50, 1, 50)]:
        pool = Pool(room)
        shown([pool], 60, rows)
        assert {row: len(kept) for row, kept in pool.state_dict().items()} == {str(r): places for r in range(rows)}


def test_the_seed_decides() -> None:
    assert shown([Pool(4)], 40, 2, seed=1) != shown([Pool(4)], 40, 2, seed=2)


def test_it_goes_on_from_a_checkpoint(tmp_path) -> None:
    def after(pool: Pool) -> list[list[int]]:
        return shown([pool], 30, 2, seed=5)

    pool, other = Pool(6), Pool(6)
    shown([pool], 20, 2)
    saved = checkpoint.save({"pool": pool.state_dict()}, tmp_path / "c")
    shown([other], 3, 2, seed=9)
    other.load_state_dict(checkpoint.load(saved)["pool"])
    assert after(other) == after(pool)


def test_what_is_not_finite_is_not_kept() -> None:
    pool, made = Pool(4), pictures(0, 2)
    made[1, 0, 0, 0] = float("nan")
    draws = Draws(torch.Generator(), world=1, rank=0, device=torch.device("cpu"))
    draws.rows(0, 2, 2)
    assert pool.swap(context(draws), made)[1].isnan().any()
    assert list(pool.state_dict()) == ["0"]


def test_later_changes_of_a_picture_do_not_reach_the_pool() -> None:
    pool, made = Pool(4), pictures(0, 1)
    draws = Draws(torch.Generator(), world=1, rank=0, device=torch.device("cpu"))
    draws.rows(0, 1, 1)
    pool.swap(context(draws), made)
    made.fill_(9)
    assert pool.state_dict()["0"].sum() == 0
