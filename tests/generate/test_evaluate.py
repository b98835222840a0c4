"""`gantk eval generate`: cards of models and of picture folders, kept and compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gantoolkit.cli import call


def evaluate(data: Path, *words: object) -> int:
    return call(["eval", "generate", str(data), "--features", "pixels@16", *map(str, words)])


def rows(text: str) -> dict[str, dict[str, object]]:
    cards = [json.loads(line)["card"] for line in text.splitlines()]
    return {str(card["name"]): card for card in cards}


def test_a_set_against_itself_is_perfect_and_a_model_is_not(
    shapes: Path, saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(shapes, "--fakes", shapes, "-n", 48, "--json") == 0
    same = rows(capsys.readouterr().out)
    assert evaluate(shapes, "-m", saved, "-n", 48, "--json") == 0
    noise = rows(capsys.readouterr().out)
    frechet = next(name for name in same if "Fréchet" in name and "∞" not in name)
    recall = next(name for name in same if "recall" in name)
    assert abs(same[frechet]["value"]) < 1e-6 < noise[frechet]["value"]  # type: ignore[arg-type, operator]
    assert same[recall]["value"] == 1.0 and noise[recall]["value"] < 0.5  # type: ignore[operator]
    assert "pixels@16" in str(same[frechet]["protocol"])


def test_cards_are_kept_and_mismatched_ones_refused(
    shapes: Path, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "cards.json"
    assert evaluate(shapes, "-m", saved, "-n", 40, "--save", kept) == 0
    assert evaluate(shapes, "-m", saved, "-n", 40, "--save", kept) == 2  # nothing is overwritten
    capsys.readouterr()
    assert evaluate(shapes, "-m", saved, "-n", 40, "--truncation", 0.5, "--against", kept) == 0
    heard = capsys.readouterr()
    assert "against" in heard.out and "not compared" not in heard.err
    assert evaluate(shapes, "-m", saved, "-n", 30, "--against", kept) == 2
    assert "not compared" in capsys.readouterr().err
    kept.write_text("[{]")
    assert evaluate(shapes, "-m", saved, "-n", 30, "--against", kept) == 3


def test_copies_are_found(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Held-out pictures are no copies; the training pictures themselves are."""
    training, held_out = tmp_path / "training", tmp_path / "held-out"
    for place, files in ((training, slice(0, None, 2)), (held_out, slice(1, None, 2))):
        place.mkdir()
        for file in sorted(shapes.rglob("*.png"))[files]:
            (place / f"{file.parent.name}-{file.name}").write_bytes(file.read_bytes())
    assert evaluate(held_out, "--fakes", training, "--training", training, "--json", "-n", 24) == 0
    memorised = next(card for name, card in rows(capsys.readouterr().out).items() if "memor" in name)
    assert memorised["value"] > 0.9  # type: ignore[operator]


def test_a_sheet_shows_neighbours(shapes: Path, saved: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    assert evaluate(shapes, "-m", saved, "-n", 24, "--sheet", sheet, "--quiet") == 0
    assert np.asarray(Image.open(sheet)).shape[2] == 3
    assert evaluate(shapes, "-m", saved, "-n", 24, "--sheet", sheet, "--quiet") == 2


def test_what_cannot_be_measured_is_said_on_one_line(
    shapes: Path, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["eval", "generate"]) == 2
    assert evaluate(tmp_path / "nowhere", "-m", saved) == 3
    assert evaluate(shapes, "-m", saved, "-n", 24, "--features", "no-such") in (2, 3)
    heard = capsys.readouterr().err
    assert "Traceback" not in heard and len(heard.strip().splitlines()) == 3
