"""What items hold: windows in [-1, 1] that depend on their generator alone, the same of both pictures of a pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.translate.data_sets import (
    blobs,
    data,
    item,
    joined,
    maps,
    pairs,
    refused,
    said,
    save,
    two_sides,
)

# ---- geometry ----


@pytest.mark.parametrize("fit", ["crop", "resize"])
def test_pairs_are_cut_mirrored_and_turned_alike(tmp_path: Path, fit: str) -> None:
    pictures = data(maps(tmp_path), fit=fit, turn=True, held_out=0)
    seen = set()
    for seed in range(50):
        made = item(pictures, seed % 4, seed)
        y, x = made["a"][0], made["a"][1]
        torch.testing.assert_close(made["b"], torch.stack([x, -torch.ones_like(x), y]), atol=0, rtol=0)
        steps = [int(np.sign((t[-1, 0] - t[0, 0]).item())) for t in (y, x)]
        steps += [int(np.sign((t[0, -1] - t[0, 0]).item())) for t in (y, x)]
        seen.add(tuple(steps))
    assert len(seen) == 8  # all turns, mirrored or not


def test_windows_have_the_pictures_own_scale_with_crop(tmp_path: Path) -> None:
    pictures = data(maps(tmp_path), fit="crop", mirror=False, held_out=0)
    tops, lefts = set(), set()
    for seed in range(300):
        values = torch.round((item(pictures, 0, seed)["a"] + 1) * 127.5).int() // 4
        assert (values[0].diff(dim=0) == 1).all() and (values[1].diff(dim=1) == 1).all()
        tops.add(int(values[0, 0, 0]))
        lefts.add(int(values[1, 0, 0]))
    assert tops == set(range(25)) and lefts == set(range(9))


def test_the_whole_picture_is_there_with_resize(tmp_path: Path) -> None:
    pictures = data(maps(tmp_path), jitter=1, mirror=False, held_out=0)
    made, again = item(pictures, 0, 0)["a"], item(pictures, 0, 1)["a"]
    torch.testing.assert_close(made, again, atol=0, rtol=0)
    values = (made + 1) * 127.5 / 4
    assert values[0, 0, 0] < 2 and values[0, -1, 0] > 37 and values[1, 0, -1] > 22
    assert said(pictures, "4 pictures are not square and are stretched")


def test_jitter_leaves_room_for_a_window(tmp_path: Path) -> None:
    pictures = data(maps(tmp_path), jitter=1.5, mirror=False, held_out=0)
    corners = {tuple(item(pictures, 0, seed)["a"][:2, 0, 0].tolist()) for seed in range(1000)}
    assert len(corners) == 9 * 9  # 24 - 16 + 1 places on each axis


def test_items_depend_on_their_generator_alone(tmp_path: Path) -> None:
    for game in ("pix2pix", "cut"):
        pictures = data(pairs(tmp_path, 12), game=game, turn=True)
        first = item(pictures, 3, 7)
        item(pictures, 5, 1)
        again, other = item(pictures, 3, 7), item(pictures, 3, 8)
        assert all(torch.equal(first[key], again[key]) for key in "ab")
        assert not torch.equal(first["a"], other["a"])


def test_small_pictures_are_enlarged(tmp_path: Path) -> None:
    pictures = data(maps(tmp_path), size=32, fit="crop")
    assert item(pictures)["a"].shape == (3, 32, 32) and said(pictures, "smaller than 32×32 and are enlarged")


# ---- pairs or not ----


@pytest.mark.parametrize("make", [pairs, joined])
def test_b_is_the_partner_of_a(tmp_path: Path, make: Any) -> None:
    pictures = data(make(tmp_path), jitter=1, size=32, held_out=0)
    assert pictures.paired and len(pictures) == 12
    made = item(pictures, 4)
    torch.testing.assert_close(made["b"], -made["a"].flip(0), atol=1e-6, rtol=0)


def test_directions_swap_the_sides(tmp_path: Path) -> None:
    pairs(tmp_path)
    there, back = (data(tmp_path, direction=way, turn=True) for way in ("AtoB", "BtoA"))
    one, other = item(there, 2, 5), item(back, 2, 5)
    assert torch.equal(one["a"], other["b"]) and torch.equal(one["b"], other["a"])
    assert there.held_out().names == back.held_out().names
    np.testing.assert_array_equal(there.held_out().sources[0], back.held_out().targets[0])


def test_unpaired_targets_are_drawn_by_chance(tmp_path: Path) -> None:
    two_sides(tmp_path, 4, 30)
    pictures = data(tmp_path, game="cyclegan", jitter=1, mirror=False, size=32, held_out=0)
    assert (
        not pictures.paired
        and len(pictures) == 4
        and len(data(tmp_path, game="cut", direction="BtoA", held_out=0)) == 30
    )
    drawn = [item(pictures, 0, seed) for seed in range(300)]
    assert len({made["a"].numpy().tobytes() for made in drawn}) == 1
    assert len({made["b"].numpy().tobytes() for made in drawn}) == 30


def test_unpaired_sides_may_differ_in_size_and_channels(tmp_path: Path) -> None:
    two_sides(tmp_path, 3)
    for index in range(3):
        save(tmp_path / "trainB" / f"b-{index:02d}.png", blobs(index, 50, 20, 1))
    made = item(data(two_sides(tmp_path / "x", 3), game="cut", fit="crop"))
    assert made["a"].shape == (3, 16, 16)
    for index in range(3, 12):
        (tmp_path / "trainB" / f"b-{index:02d}.png").unlink(missing_ok=True)
    made = item(data(tmp_path, game="cut", fit="crop", turn=True))
    assert made["a"].shape == (3, 16, 16) and made["b"].shape == (1, 16, 16)


def test_a_game_of_pairs_wants_pairs(tmp_path: Path) -> None:
    two_sides(tmp_path)
    for game in ("pix2pix", "pix2pix-modern"):
        refused(tmp_path, "holds no pairs", game, "same names", "--game cut", game=game)


def test_pairs_may_be_played_without(tmp_path: Path) -> None:
    pictures = data(pairs(tmp_path), game="cut")
    assert not pictures.paired and pictures.held_out().paired and said(pictures, "takes targets by chance")
