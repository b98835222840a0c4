"""`gantk eval generate`: cards of models and of picture folders, kept and compared."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gantk_generate.evaluate import Made, _can_classify, _classified
from gantk_generate.sampler import Sampler
from gantoolkit import classify
from gantoolkit.cli import call
from gantoolkit.errors import UsageError
from gantoolkit.labelled import LabelledPictures
from gantoolkit.metrics import compare
from gantoolkit.runlog import read_log


def evaluate(data: Path | str, *words: object) -> int:
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


def plain(folder: Path, count: int = 8) -> Path:
    """Pictures without classes."""
    folder.mkdir()
    for index in range(count):
        Image.fromarray(np.full((16, 16, 3), index * 20, np.uint8)).save(folder / f"{index}.png")
    return folder


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["plain", "--accuracy"], 2, "real pictures without classes"),
        (["shapes", "--fakes", "plain"], 3, "too few to measure, expected 20 pictures, got 8"),
        (["shapes", "-n", "19"], 2, "--number: should be greater than or equal to 20"),
        (["shapes", "--training", "shapes/"], 2, "--training names the real pictures"),
        (["shapes", "--fakes", "plain", "--model", "saved"], 2, "two things to measure"),
        (["shapes", "--sheet", "sheet.txt"], 2, "no picture format for sheet.txt"),
        (["shapes", "--sheet", "plain"], 2, "no picture format for plain"),
        (["shapes", "--save", "plain"], 2, "the name of a file, got a folder"),
        (["shapes", "--save", "plain/0.png/cards.json"], 3, "plain/0.png is no folder"),
        (["shapes", "--save", f"{'long' * 100}.json"], 3, "File name too long"),
    ],
)
def test_what_cannot_be_done_is_said_before_pictures_are_made(
    words: list[str], code: int, says: str, shapes: Path, saved: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("pictures were made")
        yield

    plain(tmp_path / "plain")
    (tmp_path / "shapes").symlink_to(shapes)
    (tmp_path / "saved").symlink_to(saved)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Sampler, "pictures", never)
    model = [] if "--fakes" in words else ["-m", "saved"]
    assert evaluate(*words, *model) == code
    assert says in capsys.readouterr().err


def test_pictures_too_small_for_ms_ssim_are_measured_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for side in ("real", "made"):
        (tmp_path / side).mkdir()
        for index in range(24):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / side / f"{index}.png")
    words = ["--fakes", tmp_path / "made"]
    assert evaluate(tmp_path / "real", *words) == 0
    heard = capsys.readouterr().out
    assert "below 11 pixels a side hold no window of MS-SSIM" in heard and "Fr\u00e9chet" in heard


def test_hardly_any_pictures_end_a_training_with_a_model_and_no_score(tmp_path: Path) -> None:
    words = ["--run", tmp_path / "run", "--held-out", "0.7", "--nimg", "8", "--batch", "4", "--channels", "16"]
    words += ["--critic-channels", "16", "--latent", "8", "--quiet"]
    assert call(["train", "generate", str(plain(tmp_path / "data", 12)), *map(str, words)]) == 0
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    assert not [row for row in read_log(tmp_path / "run") if row["kind"] == "metric"]


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
    there = Made(24, pictures, 1 - labels, ("light", "dark"), "a model")
    score = classify.classification_accuracy_score
    monkeypatch.setattr(classify, "classification_accuracy_score", partial(score, nimg=600))
    monkeypatch.setattr(classify, "fit_classifier", partial(classify.fit_classifier, nimg=3000))
    first, sure = _classified(pictures, there, real, seed=0)
    assert first.value > 0.9
    assert sure.name == "Classifier-IS" and 1.5 < sure.value <= 2  # sure of each, and both are there
    others = _classified(pictures[::-1], Made(24, pictures[::-1], labels[::-1], real.classes, "another"), real, seed=0)
    for one, other in zip((first, sure), others, strict=True):
        assert "→" in compare(one, other).text  # figures of two models can be compared
    dark = [picture for picture, label in zip(pictures, labels, strict=True) if label == 0]
    alone = Made(len(dark), dark, np.zeros(len(dark), np.int64), ("dark",), "one class")
    assert _classified(dark, alone, real, seed=0)[1].value < 1.1  # of the two classes only one is ever made
    with pytest.raises(UsageError, match="lack a class"):
        _can_classify(Made(24, pictures, labels, ("dark", "grey"), "a model"), real)
