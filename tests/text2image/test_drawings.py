"""The recipe of drawings in colours: what is held out is new, the main colour becomes the one that is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from skimage.color import rgb2lab

from gantk_text2image.captions import open_captions
from gantk_text2image.recipes import drawings, emoji
from gantk_text2image.recipes.__main__ import main
from gantk_text2image.recipes.drawings import COLOURS, THINGS, Drawing
from gantoolkit.errors import InputError


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Two styles of every thing: a red disc with a black line and a little green leaf."""
    folder = tmp_path / "packages"
    listed = [
        {"name": short, "image": f"{n}.png", "short_names": [short], "unified": str(n)}
        for n, short in enumerate(THINGS.values())
    ]
    for style, red in zip(emoji.STYLES, ((220, 30, 30, 255), (200, 40, 40, 255)), strict=True):
        top = folder / f"{emoji.NAME}{style}"
        pictures = top / "img" / style / str(emoji.DRAWN)
        pictures.mkdir(parents=True)
        (top / "emoji.json").write_text(json.dumps(listed))
        for entry in listed:
            disc(red).save(pictures / str(entry["image"]))
    return folder


def disc(colour: tuple[int, int, int, int]) -> Image.Image:
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    draw.ellipse((8, 8, 56, 56), colour)
    draw.rectangle((30, 20, 32, 44), (0, 0, 0, 255))
    draw.rectangle((40, 0, 50, 8), (60, 160, 60, 255))
    return image


def test_every_thing_and_colour_is_trained_on_in_other_pairs() -> None:
    held = {(t, c) for t in THINGS for c in COLOURS if drawings.held_pair(t, c)}
    assert 0.08 < len(held) / (len(THINGS) * len(COLOURS)) < 0.16
    assert all(any((t, c) not in held for c in COLOURS) for t in THINGS)
    assert all(any((t, c) not in held for t in THINGS) for c in COLOURS)
    assert {c for _, c in held} == set(COLOURS)


@pytest.mark.parametrize("colour", list(COLOURS))
def test_the_main_colour_is_replaced_and_the_rest_stays(colour: str) -> None:
    drawing = Drawing.read(np.asarray(disc((220, 30, 30, 255))))
    painted = drawing.repainted(colour)
    assert np.linalg.norm(rgb2lab(painted)[32, 16] - COLOURS[colour]) < 8  # what a screen has of it
    before = drawing.repainted(None)
    assert np.allclose(painted[30, 31], before[30, 31], atol=0.01)  # the line
    assert np.allclose(painted[4, 45], before[4, 45], atol=0.01)  # the leaf
    assert np.allclose(before[32, 16] * 255, (220, 30, 30), atol=1)


def test_a_grey_drawing_gets_a_colour() -> None:
    painted = Drawing.read(np.asarray(disc((150, 150, 155, 255)))).repainted("blue")
    assert np.linalg.norm(rgb2lab(painted)[32, 16] - COLOURS["blue"]) < 8


def test_what_is_held_out_is_in_no_training_picture(packages: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["drawings", str(out), "--package", str(packages), "--size", "32", "--train", "60", "--test", "20"]
    assert main(words) == 0
    found = open_captions(out)
    assert found.problems == [] and len(found) == 80
    plain = 0
    for index in range(len(found)):
        said = found.attributes(index)
        colour = said.get("colour")
        plain += colour is None
        assert said["thing"] in found.captions(index)[0] and (colour or "") in found.captions(index)[0]
        assert (found.split(index) == "test") == bool(colour and drawings.held_pair(said["thing"], colour))
        assert found.picture(index).shape == (32, 32, 3)
    assert 0 < plain < 60
    card = (out / "README.md").read_text()
    assert "CC-BY 4.0" in card and all(f"{c} {t}" in card for t in THINGS for c in COLOURS if drawings.held_pair(t, c))


def test_picture_i_depends_on_seed_part_and_i_alone(packages: Path, tmp_path: Path) -> None:
    for name, train, seed in (("a", 3, 0), ("b", 5, 0), ("c", 3, 1)):
        drawings.build(tmp_path / name, size=32, package=packages, train=train, test=1, seed=seed)
    first, same, other = ((tmp_path / name / "train" / "00002.png").read_bytes() for name in "abc")
    assert first == same != other


def test_a_thing_that_is_not_in_a_package_is_one_line(packages: Path, tmp_path: Path) -> None:
    next((packages / f"{emoji.NAME}twitter").rglob("0.png")).unlink()
    with pytest.raises(InputError, match=r"has no apple; .*npm pack"):
        drawings.build(tmp_path / "out", package=packages)
    assert not (tmp_path / "out").exists()


def test_articles() -> None:
    assert drawings.captions("apple", None)[:2] == ["an apple", "apple"]
    assert drawings.captions("apple", "red")[0] == "a red apple"
    assert drawings.captions("cherries", "orange")[0] == "orange cherries"
