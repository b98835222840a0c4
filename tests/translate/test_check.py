"""What `gantk data check` says of a folder: both sides, the game that fits, and everything that is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gantk_translate.check import check
from gantk_translate.data import Data
from gantk_translate.options import TranslateConfig
from gantoolkit.errors import InputError
from tests.translate.data_sets import blobs, joined, pairs, save, scans, two_sides, with_masks


def advice(folder: Path) -> str:
    report = check(folder)
    assert report.usable and not report.problems
    return " | ".join(report.advice)


def test_pairs(tmp_path: Path) -> None:
    report = check(pairs(tmp_path, 12))
    assert report.usable and not report.problems
    assert report.facts["layout"] == "A/, B/: pairs of the same name" and report.facts["pictures"] == "12 pairs"
    assert report.facts["side A"] == "pictures of 32×32, 3 × uint8, values 40 to 239"
    assert "taken as pairs" in report.facts["handling"] and "held out by name" in report.facts["handling"]
    assert any("pix2pix-modern" in line for line in report.advice)
    assert report.advice[-1] == f"next: gantk train translate {tmp_path}"


def test_two_sides(tmp_path: Path) -> None:
    two_sides(tmp_path, 4, 6)
    assert check(tmp_path).facts["pictures"] == "train: 4 in A and 6 in B"
    assert "cut" in advice(tmp_path) and "cyclegan" in advice(tmp_path) and "--game cut" in advice(tmp_path)


def test_side_by_side(tmp_path: Path) -> None:
    report = check(joined(tmp_path, 4))
    assert "side-by-side" in report.facts["layout"] and report.facts["pictures"] == "4 pairs"


def test_masks_are_noticed(tmp_path: Path) -> None:
    with_masks(tmp_path, classes=(0, 1, 3))
    assert "classes 0, 1, 3" in check(tmp_path).facts["side B"]
    assert "--masks B learns" in advice(tmp_path) and advice(tmp_path).endswith("--masks B")
    assert "masks" not in check(tmp_path).facts["side A"]


def test_a_class_that_only_held_out_masks_have_is_said(tmp_path: Path) -> None:
    with_masks(tmp_path / "train", 4)
    with_masks(tmp_path / "test", 3, classes=(0, 1, 7))
    said = advice(tmp_path)
    assert f"no mask to train on has the class 7 of {tmp_path / 'test' / 'B' / '00.png'}" in said
    assert "so that --masks B refuses it" in said and said.endswith(f"next: gantk train translate {tmp_path}")
    with pytest.raises(InputError, match="unknown classes, expected 0, 1, 3, got 7"):
        Data(TranslateConfig(size=16, masks="B"), tmp_path)


def test_bit_depth_and_range(tmp_path: Path) -> None:
    report = check(scans(tmp_path, low=100, high=4095))
    assert report.facts["side A"] == "pictures of 32×32, 1 × uint16, values 100 to 4095"
    assert "side A: values from 100 to 4095, scaled from 100 to 4100" in report.facts["handling"]


def test_sizes_and_mixed_channels(tmp_path: Path) -> None:
    pairs(tmp_path, 3)
    for side in "AB":
        save(tmp_path / side / "big.png", blobs(0, 40, 60, 1))
    report = check(tmp_path)
    assert report.facts["side A"].startswith("pictures of 32×32 to 60×40, 1 or 3 × uint8")
    assert "1 of 4 pictures are grey and become colour" in report.facts["handling"]


def test_everything_wrong_is_listed_by_file_and_training_refuses_it(tmp_path: Path) -> None:
    pairs(tmp_path, 8)
    (tmp_path / "A" / "02.png").write_bytes(b"hello")
    (tmp_path / "B" / "03.png").unlink()
    save(tmp_path / "B" / "04.png", blobs(0, 20, 32))
    report = check(tmp_path)
    assert not report.usable
    assert {Path(file).relative_to(tmp_path).as_posix() for file, _ in report.problems} == {
        "A/02.png",
        "A/03.png",
        "A/04.png",
    }
    assert any("B/04.png (32×20)" in text and "A/04.png (32×32)" in text for _, text in report.problems)
    assert not any(line.startswith("next") for line in report.advice)
    with pytest.raises(InputError):
        Data(TranslateConfig(size=16), tmp_path)


def test_pairs_that_only_lack_partners_may_train_without(tmp_path: Path) -> None:
    pairs(tmp_path, 8)
    (tmp_path / "B" / "03.png").unlink()
    report = check(tmp_path)
    assert not report.usable and any("--game cut" in line for line in report.advice)
    assert len(Data(TranslateConfig(size=16, game="cut"), tmp_path)) > 0


def test_pairs_of_two_sizes_are_said(tmp_path: Path) -> None:
    pairs(tmp_path, 3)
    save(tmp_path / "B" / "01.png", blobs(0, 64, 64))
    assert "1 pairs are of two sizes" in check(tmp_path).facts["handling"]


def test_sides_that_do_not_go_together(tmp_path: Path) -> None:
    pairs(tmp_path, 3)
    save(tmp_path / "A" / "01.png", np.zeros((32, 32, 4), np.uint8))
    save(tmp_path / "B" / "02.png", blobs(1, 32, 32, 1))
    assert "side A: 1 pictures have transparency" in check(tmp_path).facts["handling"]
    (tmp_path / "B" / "02.png").unlink()
    save(tmp_path / "B" / "02.npy", np.ones((32, 32)))
    report = check(tmp_path)
    assert not report.usable and any("mixes pictures and arrays" in text for _, text in report.problems)


def test_parts_without_one_to_train_on(tmp_path: Path) -> None:
    pairs(tmp_path / "x" / "test", 3)
    pairs(tmp_path / "x" / "val", 3)
    report = check(tmp_path)
    assert not report.usable and any("no part to train on" in text for _, text in report.problems)


def test_no_layout(tmp_path: Path) -> None:
    report = check(tmp_path / "nowhere")
    assert not report.usable and "does not exist" in report.problems[0][1]
    assert not check(tmp_path).usable


def test_the_task_asks_it(tmp_path: Path) -> None:
    from gantk_translate.task import Translate

    assert Translate().check(pairs(tmp_path, 3)) == check(tmp_path)
