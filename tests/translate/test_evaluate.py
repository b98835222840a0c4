"""`gantk eval translate`: known answers of baselines, classes and cycles; its files; what cannot be measured."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gantk_translate import page
from gantk_translate.reading import resized
from gantk_translate.sides import Side
from gantk_translate.translator import Translator
from gantoolkit import arrays, metrics
from gantoolkit.arrays import Array
from gantoolkit.cli import call
from tests.tolerances import TOL
from tests.translate import tiny_models as tiny

SIDE = 32
MATRIX = np.array([[0.5, 0.2, 0.0], [0.1, 0.6, 0.1], [0.0, 0.3, 0.4]])


def picture(seed: int) -> np.ndarray:
    """Blocks of random colours, (32, 32, 3) uint8."""
    colours = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return colours.repeat(SIDE // 8, 0).repeat(SIDE // 8, 1)


def recoloured(pixels: np.ndarray) -> np.ndarray:
    return np.rint(pixels @ MATRIX.T + 20).astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, pixels)
    else:
        Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels).save(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """data/ with pairs of A and its map of colours; same/ with equal pairs; apart/ without pairs; and a model."""
    monkeypatch.chdir(tmp_path)
    for index in range(10):
        part = "train" if index < 4 else "test"
        save(Path(f"data/{part}/A/{index}.png"), picture(index))
        save(Path(f"data/{part}/B/{index}.png"), recoloured(picture(index)))
        for side in "AB":
            save(Path(f"same/{part}/{side}/{index}.png"), picture(index))
        save(Path(f"apart/{part}A/a{index}.png"), picture(index))
        save(Path(f"apart/{part}B/b{index}.png"), recoloured(picture(index + 20)))
    tiny.saved(Path("model"))
    return tmp_path


def evaluated(*arguments: str, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    """{way: {figure: card}}; sets are compared by their pixels, which is quick."""
    capsys.readouterr()
    assert call(["eval", "translate", "--features", "pixels@8", "--json", "--device", "cpu", *arguments]) == 0, (
        capsys.readouterr().err
    )
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {row["name"]: {card["name"]: card for card in row["cards"]} for row in rows}


# ---- pairs ----


def test_identity_of_equal_pairs_is_perfect(folder: Path, capsys: Any) -> None:
    rows = evaluated("same", "-m", "model", "--features", "efficientnet-lite0@64", capsys=capsys)
    assert list(rows) == ["tiny", "identity", "affine"]
    names = ["EffLite0-PD", "PSNR-RGB", "SSIM-RGB", "edge-SSIM", "KID", "Fréchet"]
    for way in ("identity", "affine"):
        cards = rows[way]
        assert list(cards) == names
        assert cards["EffLite0-PD"]["value"] == 0 and cards["PSNR-RGB"]["value"] is None  # infinite
        assert cards["SSIM-RGB"]["value"] == pytest.approx(1) and cards["edge-SSIM"]["value"] == pytest.approx(1)
        assert cards["Fréchet"]["value"] == pytest.approx(0, abs=1e-4)
    assert rows["tiny"]["EffLite0-PD"]["value"] > 0.01


def test_a_map_of_colours_is_found_and_the_model_is_measured_on_what_run_would_write(folder: Path, capsys: Any) -> None:
    rows = evaluated("data", "-m", "model", capsys=capsys)
    truths = [recoloured(picture(index)) for index in range(4, 10)]
    assert rows["affine"]["PSNR-RGB"]["value"] > 50  # rounding to 8 bits is all that is left
    assert rows["identity"]["PSNR-RGB"]["value"] == pytest.approx(
        metrics.psnr([picture(i) for i in range(4, 10)], truths, "rgb").value
    )
    translator = Translator(tiny.model(), device="cpu")
    outputs = [translator(picture(index)) for index in range(4, 10)]
    card = rows["tiny"]["EffLite0-PD"]
    assert card["value"] == pytest.approx(metrics.perceptual(outputs, truths).value, abs=TOL["loss, known answer"])
    assert card["n"] == 6 and card["of"] == "tiny"
    assert (card["protocol"]["part"], card["protocol"]["direction"]) == ("test", "AtoB")
    kid = rows["identity"]["KID"]
    assert kid["interval"][0] <= kid["value"] <= kid["interval"][1] and kid["protocol"]["real_n"] == 6


def test_number_and_part_choose_the_pictures(folder: Path, capsys: Any) -> None:
    few = evaluated("data", "-m", "model", "-n", "3", capsys=capsys)["identity"]
    assert few["PSNR-RGB"]["n"] == 3 and "KID" not in few  # three are too few for a set
    assert evaluated("data", "-m", "model", "--part", "train", capsys=capsys)["identity"]["PSNR-RGB"]["n"] == 4
    assert evaluated("data", "-m", "model", "--part", "all", capsys=capsys)["identity"]["PSNR-RGB"]["n"] == 10


def test_deep_values_are_scaled_by_the_sides_range(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    side = Side("array", 1, "uint16", 1000.0, 3000.0)
    noise = np.random.default_rng(0).integers(1200, 3000, (6, 24, 24, 1)).astype(np.uint16)
    for index, values in enumerate(noise):
        save(Path(f"ct/{'train' if index < 2 else 'test'}/A/{index}.npy"), values)
        save(Path(f"ct/{'train' if index < 2 else 'test'}/B/{index}.npy"), values - 100)
    tiny.saved(Path("model"), source=side, target=side, size=24)
    rows = evaluated("ct", "-m", "model", capsys=capsys)
    # an offset of 100 in a range of 2000
    assert rows["identity"]["PSNR-VALUES"]["value"] == pytest.approx(20 * math.log10(20), abs=1e-4)
    exact = rows["affine"]["PSNR-VALUES"]["value"]
    assert exact is None or exact > 60  # None is infinite
    assert rows["identity"]["PSNR-VALUES"]["protocol"]["channel"] == "values scaled to [0, 1]"


@pytest.mark.parametrize(("fit", "size", "said"), [("resize", 16, "16×16"), ("crop", 48, "own, at least 48")])
def test_pictures_are_looked_at_as_in_training(folder: Path, fit: str, size: int, said: str, capsys: Any) -> None:
    model = tiny.model(size=size, fit=fit)
    model.save(Path("scaled"), half=False)
    card = evaluated("data", "-m", "scaled", capsys=capsys)["tiny"]["PSNR-RGB"]
    inputs = [resized(picture(index), (size, size)) for index in range(4, 10)]  # 32 are fewer than 48
    truths = [resized(recoloured(picture(index)), (size, size)) for index in range(4, 10)]
    outputs = [Translator(model, device="cpu")(x) for x in inputs]
    assert card["value"] == pytest.approx(metrics.psnr(outputs, truths, "rgb").value, abs=1e-4)
    assert card["protocol"]["size"] == said


def test_a_model_of_windows_is_measured_at_the_pictures_own_scale(folder: Path, capsys: Any) -> None:
    model = tiny.model(size=16, fit="crop")
    model.save(Path("windows"), half=False)
    card = evaluated("data", "-m", "windows", capsys=capsys)["tiny"]["PSNR-RGB"]
    outputs = [Translator(model, device="cpu")(picture(index)) for index in range(4, 10)]
    truths = [recoloured(picture(index)) for index in range(4, 10)]
    assert card["value"] == pytest.approx(metrics.psnr(outputs, truths, "rgb").value, abs=1e-4)


# ---- classes ----


def test_targets_that_are_masks_are_compared_by_class(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    classes = np.array([0, 3, 7], np.uint8)
    for index in range(6):
        part = "train" if index < 3 else "test"
        mask = classes[np.random.default_rng(index).integers(0, 3, (24, 24))]
        colours = np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250]], np.uint8)[np.searchsorted(classes, mask)]
        save(Path(f"cells/{part}/A/{index}.png"), colours)
        save(Path(f"cells/{part}/B/{index}.png"), mask)
    tiny.saved(Path("model"), target=tiny.MASK, size=24)
    rows = evaluated("cells", "-m", "model", capsys=capsys)
    assert list(rows) == ["tiny", "affine"]  # colours are no classes
    assert rows["affine"]["mean IoU"]["value"] == 1 and rows["affine"]["pixel accuracy"]["value"] == 1
    assert rows["tiny"]["mean IoU"]["value"] < 0.9 and "PSNR-RGB" not in rows["tiny"]
    assert call(["eval", "translate", "cells", "-m", "model", "--features", "pixels@8"]) == 0
    assert "identity: not applicable: colours are no classes" in capsys.readouterr().out


def test_masks_beside_pictures_are_read_by_colour(folder: Path, capsys: Any) -> None:
    # dark pixels of B are class 1; a third of the picture has a colour that belongs to the other class
    for index in range(4, 10):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[:, 12:] = 1
        flat = np.where(mask[..., None] == 1, 30, 220).astype(np.uint8).repeat(3, 2)
        flat[:, 12:16] = 220
        save(Path(f"relief/test/B/{index}.png"), flat)
        save(Path(f"relief/test/A/{index}.png"), flat if index < 9 else 250 - flat)
        save(Path(f"masks/{index}.png"), mask)
    save(Path("relief/train/A/0.png"), picture(0))
    save(Path("relief/train/B/0.png"), picture(1))
    card = evaluated("relief", "-m", "model", "--masks", "masks", capsys=capsys)["identity"]["pixel accuracy"]
    real = (12 + 16) / 32  # what the rule gets right of the targets themselves
    assert card["protocol"]["real targets reach"].endswith(f"accuracy {real:.3f}")
    assert card["value"] == pytest.approx((5 * real + (1 - real)) / 6, abs=1e-6)  # five are right, one is a negative


def test_slices_of_volumes_have_masks_in_volumes(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    pytest.importorskip("nibabel")
    monkeypatch.chdir(tmp_path)
    classes = np.random.default_rng(0).integers(0, 2, (4, 24, 20, 1)).astype(np.uint8)
    for part, volume in (("train", "1.nii.gz"), ("test", "2.nii.gz")):
        for side in "AB":
            arrays.write([Array(1000 * m.astype(np.uint16)) for m in classes], f"ct/{part}/{side}/{volume}")
    arrays.write([Array(m) for m in classes], "masks/2.nii.gz")
    side = Side("array", 1, "uint16", 0.0, 1000.0)
    tiny.saved(Path("model"), source=side, target=side, fit="crop", size=16)
    card = evaluated("ct", "-m", "model", "--masks", "masks", capsys=capsys)["identity"]["pixel accuracy"]
    assert card["value"] == 1 and card["protocol"]["real targets reach"] == "IoU 1.000, accuracy 1.000"
    arrays.write([Array(m) for m in classes[:3]], "masks/2.nii.gz", force=True)
    assert call(["eval", "translate", "ct", "-m", "model", "--masks", "masks"]) == 3
    assert "masks has no mask for 2#003" in capsys.readouterr().err
    save(Path("masks/a.png"), classes[0]), save(Path("masks/a.npy"), classes[0])
    assert call(["eval", "translate", "ct", "-m", "model", "--masks", "masks"]) == 3
    assert "has the name of a.npy; keep one" in capsys.readouterr().err


# ---- two sides ----


def test_without_pairs_sets_and_content_are_compared(folder: Path, capsys: Any) -> None:
    tiny.saved(Path("cut"), game="cut")
    rows = evaluated("apart", "-m", "cut", capsys=capsys)
    assert list(rows["identity"]) == ["edge-SSIM", "KID", "Fréchet"]
    assert rows["identity"]["edge-SSIM"]["value"] == pytest.approx(1)
    assert rows["affine"]["Fréchet"]["value"] < rows["identity"]["Fréchet"]["value"]
    assert "cycle error" not in rows["tiny"]


def test_models_that_go_both_ways_have_a_cycle_error(folder: Path, capsys: Any) -> None:
    model = tiny.model(back=True, game="cyclegan")
    model.save(Path("cycle"), half=False)
    rows = evaluated("apart", "-m", "cycle", "--direction", "BtoA", capsys=capsys)
    there, back = (Translator(model, direction=way, device="cpu") for way in ("BtoA", "AtoB"))
    inputs = [recoloured(picture(index + 20)) for index in range(4, 10)]
    expected = np.mean([np.abs(back(there(x)).astype(float) - x).mean() / 255 for x in inputs])
    card = rows["tiny"]["cycle error"]
    assert card["value"] == pytest.approx(expected, abs=1e-6) and card["protocol"]["direction"] == "BtoA"
    assert "cycle error" not in rows["identity"] and not card["higher_is_better"]


def test_styles_come_from_the_picture_that_was_named(folder: Path, capsys: Any) -> None:
    tiny.saved(Path("style"), built=tiny.ADAIN, game="style")
    save(Path("style.png"), picture(99))
    card = evaluated("apart", "-m", "style", "--style", "style.png", capsys=capsys)["tiny"]["edge-SSIM"]
    translator = Translator(tiny.model(tiny.ADAIN, game="style"), style=Path("style.png"), device="cpu")
    inputs = [picture(index) for index in range(4, 10)]
    expected = metrics.edge_similarity(inputs, [translator(x) for x in inputs]).value
    assert card["value"] == pytest.approx(expected, abs=TOL["loss, known answer"])
    assert list(evaluated("data", "-m", "style", "--style", "style.png", capsys=capsys)["tiny"]) == [
        "edge-SSIM", "KID", "Fréchet",
    ]  # fmt: skip  # the other side's picture of the same name is another style
    assert call(["eval", "translate", "apart", "-m", "style"]) == 2
    assert "--style" in capsys.readouterr().err


# ---- what is written ----


class Parsed(HTMLParser):
    """Tags that are open, pictures and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(dict(attrs))
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_table_the_cards_the_sheet_and_the_page(folder: Path, capsys: Any) -> None:
    written = ("--save", "new/cards.json", "--sheet", "new/sheet.png", "--page", "new/page.html")
    assert call(["eval", "translate", "data", "-m", "model", "--features", "pixels@8", *written]) == 0
    said = capsys.readouterr().out
    assert "6 pairs of data, part test, seed 0" in said and "size of the pictures: 32×32, as in training" in said
    assert "affine: a map of colours fitted by least squares on 4 training pictures" in said
    assert re.search(r"PSNR-RGB \(higher is better\): n 6, channel sRGB", said)
    cards = json.loads(Path("new/cards.json").read_text())
    assert len(cards) == 18 and {card["of"] for card in cards} == {"tiny", "identity", "affine"}
    sheet = np.array(Image.open("new/sheet.png"))
    assert sheet.shape[1] == 3 * (96 + 8) + 8  # input, output and target
    found = Parsed(Path("new/page.html").read_text())
    assert not found.open and "Content kept" in found.text and "The worst" in found.text
    assert len(found.pictures) == 6 * 3  # each of the six pictures once
    for shown in found.pictures:
        assert str(shown["src"]).startswith("data:image/png;base64,")
    order = [float(text) for text in re.findall(r"perceptual distance (\d\.\d+)", found.text)]
    assert len(order) == 6 and order == sorted(order)
    assert "http" not in Path("new/page.html").read_text().replace("http-equiv", "")


def test_the_page_is_safe_whatever_names_say(folder: Path) -> None:
    name = '<img src=x onerror="alert(1)">'
    shown = page.page([page.Measured(name, [])], [name], [[(name, [picture(0)])], [], []], paired=False)
    assert "<img src=x" not in shown and "onerror=&quot;" in shown and "The middle" not in shown
    assert len(Parsed(shown).pictures) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9, 40])
def test_thirds_are_ordered_and_show_no_picture_twice(count: int) -> None:
    marks = np.random.default_rng(count).permutation(count).astype(float)
    best, middle, worst = page.thirds(marks.tolist(), 4)
    shown = [marks[index] for index in best + middle + worst]
    assert shown == sorted(shown) and len(set(shown)) == len(shown) <= 12
    assert shown[0] == 0 and (count < 3 or shown[-1] == count - 1)


# ---- what cannot be measured ----


@pytest.mark.parametrize(
    ("arguments", "code", "fragment"),
    [
        ((), 2, "no pictures were named"),
        (("nowhere",), 3, "nowhere does not exist"),
        (("data", "--features", "efficientnet"), 2, "no features are called"),
        (("data", "--direction", "BtoA"), 2, "goes one way only"),
        (("data", "--sheet", "taken.png"), 2, "taken.png exists already"),
        (("data", "--sheet", "sheet.psd"), 2, "sheet.psd"),
        (("data", "--save", "taken.png"), 2, "taken.png exists already"),
        (("data", "--page", "taken.png"), 2, "taken.png exists already"),
        (("data", "--masks", "nowhere"), 3, "nowhere is not a folder"),
        (("data", "--masks", "masks"), 3, "masks has no mask for 4 and 5 others"),
        (("untested",), 3, "no pictures in the part 'test'"),
        (("many",), 3, "other channels, expected 3, got 4"),
        (("damaged",), 3, "damaged/test/A/1.png"),
        (("deep",), 3, "another type of numbers, expected uint8, got uint16"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    folder: Path, arguments: tuple[str, ...], code: int, fragment: str, capsys: Any
) -> None:
    Path("taken.png").write_text("mine")
    Path("masks").mkdir()
    for side in "AB":
        save(Path(f"untested/train/{side}/1.png"), picture(1))
        save(Path(f"many/test/{side}/1.npy"), np.zeros((24, 24, 4), np.uint8))
        save(Path(f"many/train/{side}/1.npy"), np.zeros((24, 24, 4), np.uint8))
        for part in ("train", "test"):
            save(Path(f"damaged/{part}/{side}/1.png"), picture(1))
            save(Path(f"deep/{part}/{side}/1.png"), picture(1)[..., 0].astype(np.uint16) * 257)
    Path("damaged/test/A/1.png").write_bytes(b"no picture")
    assert call(["eval", "translate", *arguments, "-m", "model"]) == code
    captured = capsys.readouterr()
    assert fragment in captured.err and captured.out == "" and "Traceback" not in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert Path("taken.png").read_text() == "mine" and not Path("sheet.psd").exists()


def test_masks_without_pairs_are_refused(folder: Path, capsys: Any) -> None:
    tiny.saved(Path("cut"), game="cut")
    assert call(["eval", "translate", "apart", "-m", "cut", "--masks", "data"]) == 2
    assert "--masks needs pairs" in capsys.readouterr().err
