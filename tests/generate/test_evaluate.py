"""`gantk eval generate`: cards of models and of picture folders, kept and compared."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gantk_generate.evaluate import Made, _classified
from gantk_generate.sampler import Sampler
from gantoolkit import classify
from gantoolkit.cli import call
from gantoolkit.errors import UsageError
from gantoolkit.labelled import LabelledPictures
from gantoolkit.metrics import compare


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
    cards = json.loads(kept.read_text())
    for card in cards:
        card["value"] += 0.25  # what is kept is larger, so the new ones are lower
    kept.write_text(json.dumps(cards))
    assert evaluate(shapes, "-m", saved, "-n", 40, "--against", kept) == 0
    heard = capsys.readouterr()
    told = [line for line in heard.out.splitlines() if line.startswith("against ")]
    assert len(told) == len(cards) and "not compared" not in heard.err
    for card, line in zip(cards, told, strict=True):
        assert ("worse" if card["higher_is_better"] else "better") in line and "-0.25" in line, line
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


def test_what_cannot_be_classified_is_said_before_pictures_are_made(
    tmp_path: Path, saved: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    for index in range(8):
        Image.fromarray(np.full((16, 16, 3), index * 30, np.uint8)).save(plain / f"{index}.png")
    monkeypatch.setattr(Sampler, "pictures", None)  # would fail
    assert evaluate(plain, "-m", saved, "--accuracy") == 2
    assert "without labels" in capsys.readouterr().err


def test_classes_go_together_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made pictures of a model that has the same classes in another order."""
    rng = np.random.default_rng(0)
    for name, level in (("dark", 30), ("light", 220)):
        (tmp_path / name).mkdir()
        for index in range(12):
            pixels = np.clip(level + rng.normal(0, 10, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    real = LabelledPictures(tmp_path, size=(16, 16))
    assert real.classes == ("dark", "light")
    pictures = [*real.pictures(np.arange(24))]
    labels = real.labels
    assert labels is not None
    there = Made(pictures, 1 - labels, ("light", "dark"), "a model")
    score = classify.classification_accuracy_score
    monkeypatch.setattr(classify, "classification_accuracy_score", partial(score, nimg=600))
    monkeypatch.setattr(classify, "fit_classifier", partial(classify.fit_classifier, nimg=3000))
    first, sure = _classified(pictures, there, real, seed=0)
    assert first.value > 0.9
    assert sure.name == "Classifier-IS" and 1.5 < sure.value <= 2  # sure of each, and both are there
    others = _classified(pictures[::-1], Made(pictures[::-1], labels[::-1], real.classes, "another"), real, seed=0)
    for one, other in zip((first, sure), others, strict=True):
        assert "→" in compare(one, other).text  # figures of two models can be compared
    dark = [picture for picture, label in zip(pictures, labels, strict=True) if label == 0]
    alone = Made(dark, np.zeros(len(dark), np.int64), ("dark",), "one class")
    assert _classified(dark, alone, real, seed=0)[1].value < 1.1  # of the two classes only one is ever made
    with pytest.raises(UsageError, match="lack a class"):
        _classified(pictures, Made(pictures, labels, ("dark", "grey"), "a model"), real, seed=0)
