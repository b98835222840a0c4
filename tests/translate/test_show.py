"""Sheets of what a translator does, and scores while training, on real folders with networks of known answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gantk_translate import evaluate, show
from gantk_translate.data import Data
from gantk_translate.options import TranslateConfig


def picture(seed: int, side: int = 32) -> np.ndarray:
    """Blocks of random colours: edges, and no two alike; (side, side, 3) uint8."""
    colours = np.random.default_rng(seed).integers(20, 236, (4, 4, 3), dtype=np.uint8)
    return colours.repeat(side // 4, 0).repeat(side // 4, 1)


def pairs(folder: Path, count: int = 5, part: str = "test") -> Path:
    """A folder of pairs, B being the negative of A."""
    for index in range(2 * count):
        for side in "AB":
            place = folder / ("train" if index < count else part) / side
            place.mkdir(parents=True, exist_ok=True)
            pixels = picture(index)
            Image.fromarray(pixels if side == "A" else 255 - pixels).save(place / f"{index:02}.png")
    return folder


def config(**changed: Any) -> TranslateConfig:
    return TranslateConfig(**{"size": 32, "jitter": 1.0, "game": "pix2pix", **changed})


class Negative(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return -x


class Stylish(nn.Module):
    """What style games have: a second picture."""

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        return (content + style) / 2


def cells(sheet: np.ndarray, rows: int, columns: int) -> list[list[np.ndarray]]:
    """The pictures of a sheet of squares of 96 pixels, at their places."""
    gap = 8
    head = (sheet.shape[0] - gap) // rows - 96 - gap
    tops = [gap + head + row * (96 + head + gap) for row in range(rows)]
    lefts = [gap + column * (96 + gap) for column in range(columns)]
    return [[sheet[top : top + 96, left : left + 96] for left in lefts] for top in tops]


def enlarged(pixels: np.ndarray) -> np.ndarray:
    return pixels.repeat(3, 0).repeat(3, 1)


def test_triptychs_hold_their_pictures_row_by_row() -> None:
    rows = [(picture(1), picture(2)), (picture(3), picture(4))]
    sheet = show.triptychs(rows, ("input", "output"))
    assert sheet.dtype == np.uint8
    for row, found in zip(rows, cells(sheet, 2, 2), strict=True):
        for one, other in zip(row, found, strict=True):
            assert np.array_equal(enlarged(one), other)


def test_large_pictures_are_shown_smaller() -> None:
    shown = show.fitting(np.full((30, 1024, 3), 77, np.uint8))
    assert shown.shape == (15, 512, 3) and (shown == 77).all()


def test_pairs_show_input_output_and_target(tmp_path: Path) -> None:
    data = Data(config(), pairs(tmp_path))
    sheet = show.while_training(config(), data, {"generator": Negative()})
    for index, (before, after, truth) in enumerate(cells(sheet, 5, 3)):
        assert np.array_equal(before, enlarged(picture(5 + index)))
        assert np.array_equal(after, truth) and np.array_equal(truth, 255 - before)


@pytest.mark.parametrize(
    ("game", "networks", "columns"),
    [
        ("cut", {"generator": Negative()}, ("a", "out")),
        ("cyclegan", {"generator": Negative(), "back": Negative()}, ("a", "out", "a")),
        ("style", {"generator": Stylish()}, ("a", "b", "mix")),
    ],
)
def test_games_without_pairs_show_what_they_have(
    game: str, networks: dict[str, nn.Module], columns: tuple[str, ...], tmp_path: Path
) -> None:
    for index in range(14):
        for side in "AB":
            place = tmp_path / f"{'train' if index < 7 else 'test'}{side}"
            place.mkdir(exist_ok=True)
            Image.fromarray(picture(index + 50 * (side == "B"))).save(place / f"{side}{index:02}.png")
    data = Data(config(game=game), tmp_path)
    sheet = show.while_training(config(game=game), data, networks)
    for index, row in enumerate(cells(sheet, 6, len(columns))):
        a, b = picture(7 + index), picture(57 + index)
        expected = {"a": a, "b": b, "out": 255 - a, "mix": (a / 2 + b / 2)}
        for name, cell in zip(columns, row, strict=True):
            assert np.abs(enlarged(expected[name]) - cell.astype(float)).max() <= (0.5 if name == "mix" else 0)
    assert np.array_equal(sheet, show.while_training(config(game=game), data, networks))


def test_grey_masks_and_other_sizes_are_shown_in_colours(tmp_path: Path) -> None:
    for index in range(8):
        for side in "AB":
            place = tmp_path / side
            place.mkdir(exist_ok=True)
            grey = np.full((48, 48), 40 + index, np.uint8) if side == "A" else np.eye(48, dtype=np.uint8) * 3
            Image.fromarray(grey).save(place / f"{index}.png")
    settings = config(masks="B", held_out=0.3)
    data = Data(settings, tmp_path)

    class ToClasses(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x, -x], 1)

    sheet = show.while_training(settings, data, {"generator": ToClasses()})
    assert sheet is not None and sheet.ndim == 3 and sheet.shape[2] == 3
    cards = evaluate.while_training(settings, data, {"generator": ToClasses()})
    assert [card.name for card in cards] == ["mean IoU", "pixel accuracy", "EffLite0-PD"]


# ---- scores while training ----


def test_the_truth_scores_perfectly_and_perceptual_distance_comes_first(tmp_path: Path) -> None:
    data = Data(config(), pairs(tmp_path))
    cards = evaluate.while_training(config(), data, {"generator": Negative()})
    assert [card.name for card in cards] == ["EffLite0-PD", "PSNR-RGB", "SSIM-RGB"]
    assert cards[0].value == 0 and cards[1].value == float("inf") and cards[2].value == pytest.approx(1)
    assert all(card.n == 5 and card.protocol["size"] == 32 for card in cards) and not cards[0].higher_is_better
    worse = evaluate.while_training(config(score_pictures=2), data, {"generator": nn.Identity()})
    assert worse[0].value > 0.01 and worse[1].value < 20 and worse[0].n == 2


def test_without_pairs_the_kernel_distance_comes_first(tmp_path: Path) -> None:
    settings = config(game="cut")
    data = Data(settings, pairs(tmp_path, count=8))
    same = evaluate.while_training(settings, data, {"generator": nn.Identity()})
    right = evaluate.while_training(settings, data, {"generator": Negative()})
    assert [card.name for card in same] == ["KID", "edge-SSIM"]
    assert same[0].protocol["features"] == "EffLite0@64" and same[0].protocol["real_n"] == 8
    assert right[0].value < same[0].value  # the very pictures of the other side
    assert same[1].value == pytest.approx(1) and right[1].value == pytest.approx(1, abs=1e-3)


def test_too_few_pictures_for_a_set_still_score(tmp_path: Path) -> None:
    settings = config(game="cut")
    data = Data(settings, pairs(tmp_path, count=3))
    cards = evaluate.while_training(settings, data, {"generator": nn.Identity()})
    assert [card.name for card in cards] == ["edge-SSIM"]
