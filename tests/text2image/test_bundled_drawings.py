"""The bundled model: small, at once, and of the colour that is said, also where training never had that pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage.color import rgb2lab

import gantoolkit
from gantk_text2image import catalog, use
from gantk_text2image.options import RunOptions
from gantk_text2image.recipes.drawings import COLOURS, PLURAL, THINGS, captions, held_pair
from gantk_text2image.task import Text2Image
from gantoolkit.images import read
from gantoolkit.model import find
from gantoolkit.testing import RecordingConsole


def colour_of(picture: np.ndarray) -> str:
    """The recipe's colour that is nearest to most of what is not white."""
    lab = rgb2lab(picture)
    seen = lab[(np.abs(lab - (100, 0, 0)) > (12, 12, 12)).any(-1)]
    names = list(COLOURS)
    nearest = np.linalg.norm(seen[:, None] - np.array([COLOURS[name] for name in names]), axis=2).argmin(1)
    return names[int(np.bincount(nearest, minlength=len(names)).argmax())]


def test_it_is_small_and_says_what_it_is() -> None:
    model = find("text2image")
    assert model.name == "drawings" and model.config["generator"]["size"] == 64
    for file in (catalog.WEIGHTS / "drawings").glob("*.safetensors"):
        assert file.stat().st_size <= 4_000_000
    for heading in ("## Data and licence", "## Recipe and budget", "## Figures", "## Known failures"):
        assert heading in model.card


def test_it_knows_its_words() -> None:
    paint = gantoolkit.load("text2image", device="cpu")
    for thing in THINGS:
        assert paint.unknown(captions(thing, "blue")[0]) == []
    assert paint.unknown("a turquoise zeppelin") == ["turquoise", "zeppelin"]


@pytest.mark.parametrize("colour", list(COLOURS))
def test_new_pairs_have_the_colour_that_is_said(colour: str) -> None:
    paint = gantoolkit.load("text2image", device="cpu")
    prompts = [captions(thing, colour)[0] for thing in THINGS if held_pair(thing, colour) and thing not in PLURAL]
    found = [colour_of(picture) for prompt in prompts for picture in paint(prompt, number=2)]
    assert sum(name == colour for name in found) >= 0.6 * len(found), found


def test_without_words_it_shows_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    console = RecordingConsole()
    assert Text2Image().run(RunOptions(device="cpu"), console) == 0
    rows = [row for row in console.results if "prompt" in row]
    assert [row["prompt"] for row in rows] == list(use.SAMPLES)
    assert read(Path(rows[0]["path"])).pixels.shape == (64, 64, 3)
