"""Pairs and pictures that only have the same names are told apart, and it is said where that matters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gantk_translate.check import check
from gantk_translate.likeness import strange
from gantoolkit.cli import call
from tests.translate import tiny_models as tiny
from tests.translate.data_sets import blobs, data, pairs, partner, said, save, with_masks

WORDS = "look no more alike than others"


def numbered_alike(folder: Path, count: int = 12) -> Path:
    for index in range(count):
        save(folder / "A" / f"{index:02d}.png", blobs(index))
        save(folder / "B" / f"{index:02d}.png", partner(blobs(100 + index)))
    return folder


@pytest.mark.parametrize("count", [8, 20, 200])
def test_partners_are_told_from_strangers(count: int) -> None:
    def pair(index: int) -> tuple[np.ndarray, np.ndarray]:
        return blobs(index), partner(blobs(1000 + index, 64, 64))

    assert not strange(count, lambda index: (blobs(index), partner(blobs(index)).astype(np.uint16)[..., :1] * 16))
    assert strange(count, pair)
    assert strange(count, lambda index: (blobs(index), np.zeros((32, 32, 3), np.uint8)))  # nothing to compare
    assert not strange(7, pair)  # too few to tell


def test_training_and_check_say_it(tmp_path: Path) -> None:
    assert said(data(numbered_alike(tmp_path / "alike")), f"{WORDS}, as if they were no pairs: --game cut")
    assert any(WORDS in line and "--no-pairs" in line for line in check(tmp_path / "alike").advice)
    assert not said(data(tmp_path / "alike", game="cut"), WORDS)
    for made in (pairs(tmp_path / "pairs"), with_masks(tmp_path / "masks")):
        assert not said(data(made), WORDS) and not any(WORDS in line for line in check(made).advice)


def test_eval_says_it_and_can_leave_the_pairs_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, model = str(numbered_alike(tmp_path / "alike")), tiny.saved(tmp_path / "m", game="cyclegan")
    words = ["eval", "translate", folder, "-m", model, "--part", "all", "--features", "pixels@8", "--device", "cpu"]
    assert call(words) == 0
    captured = capsys.readouterr()
    assert "12 pairs of" in captured.out and "PSNR" in captured.out and f"{WORDS}, as if" in captured.err
    assert call([*words, "--no-pairs"]) == 0
    captured = capsys.readouterr()
    assert "12 pictures beside 12 of the other side" in captured.out and "PSNR" not in captured.out
    assert WORDS not in captured.err
