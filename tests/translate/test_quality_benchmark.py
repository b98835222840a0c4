"""The benchmark of quality: what games without pairs see holds none, and its table reads what was measured."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import translate_quality as quality


def of_names(folder: Path, names: list[str]) -> Path:
    """A folder of pairs; A is dark, B is light."""
    for part in ("train", "test"):
        for side, level in (("A", 20), ("B", 200)):
            (folder / part / side).mkdir(parents=True)
            for name in names:
                Image.fromarray(np.full((64, 64, 3), level, np.uint8)).save(folder / part / side / f"{name}.png")
    return folder


def test_no_drawing_is_on_both_sides_of_the_unpaired_view(tmp_path: Path) -> None:
    pairs = of_names(tmp_path / "pairs", [f"1F6{n:02d}" for n in range(9)])
    quality.unlink(pairs, tmp_path / "unpaired", "line-art")
    seen = [{file.name.split("-", 1)[1] for file in (tmp_path / f"unpaired/train/{side}").iterdir()} for side in "AB"]
    assert not seen[0] & seen[1]
    assert seen[0] | seen[1] == {file.name for file in (pairs / "train" / "A").iterdir()}
    level = [np.asarray(Image.open(next((tmp_path / f"unpaired/train/{side}").iterdir()))).mean() for side in "AB"]
    assert level == [20, 200]
    assert len(list((tmp_path / "unpaired" / "test" / "A").iterdir())) == 9


def test_no_place_is_on_both_sides_of_the_unpaired_view(tmp_path: Path) -> None:
    names = [f"x{left:04d}-y0100" for left in range(0, 1800, 32)]
    quality.unlink(of_names(tmp_path / "pairs", names), tmp_path / "unpaired", "maps")
    ground = []
    for side in "AB":
        covered = np.zeros(2000, bool)
        for file in (tmp_path / "unpaired" / "train" / side).iterdir():
            left = int(file.name.split("-x")[1][:4])
            covered[left : left + 64] = True
        ground.append(covered)
    assert all(covered.sum() > 600 for covered in ground)
    assert not (ground[0] & ground[1]).any()


def test_the_table_has_baselines_first_and_a_dash_for_the_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--table", "--out", str(tmp_path), "--json", str(tmp_path / "table.json")]
    monkeypatch.setattr(sys, "argv", ["translate_quality.py", *words])
    with pytest.raises(SystemExit, match="nothing is measured"):
        quality.main()
    arguments = Namespace(out=tmp_path, data="line-art", size=64, nimg=20_000, seed=0)
    run = quality.run_of("cut", arguments)
    run.mkdir()
    (run / "cpu-seconds.txt").write_text("120")
    cards = [{"of": way, "name": "KID", "value": 0.1, "interval": [0.05, 0.15]} for way in ("cut-run", "identity")]
    (run / "cards.json").write_text(json.dumps(cards))
    quality.main()
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert [(row["way"], row["learnt from"], row["CPU minutes"]) for row in rows] == [
        ("identity", "nothing", "–"),
        ("cut", "two sides", 2.0),
    ]
    assert "| 0.05..0.15" in capsys.readouterr().out


def test_only_drawings_keep_their_lines() -> None:
    assert quality.suits("pix2pix-modern-lines", "line-art")
    assert not quality.suits("pix2pix-modern-lines", "maps")
    assert all(quality.suits(name, "maps") for name in ("pix2pix", "cyclegan", "cut"))
