"""`gantk eval superres`: known answers, their protocol, and what cannot be measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gantk_superres.enlarge import Enlarger
from gantk_superres.evaluate import lowered
from gantoolkit import images, metrics
from gantoolkit.cli import call
from gantoolkit.images import Picture
from gantoolkit.resample import resize_array
from tests.superres import tiny


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(seed).normal(0, 8, (height, width, 3))
    waves = np.stack([np.sin(x / (6 + c)) + np.cos(y / (9 - c) + seed) for c in range(3)], 2)
    return (waves * 40 + 128 + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture
def truths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    monkeypatch.chdir(tmp_path)
    pictures = {"a.png": photo(64, 72), "b.png": photo(71, 67, seed=3)}
    Path("hr").mkdir()
    for name, picture in pictures.items():
        images.write(Picture(picture), Path("hr") / name)
    tiny.saved(Path("model"), fidelity=True)
    return pictures


def evaluated(*arguments: str, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert call(["eval", "superres", *arguments, "--json", "--precision", "fp32"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {row["name"]: row for row in rows}


def values(row: dict[str, Any]) -> dict[str, float]:
    return {card["name"]: card["value"] for card in row["cards"]}


@pytest.mark.parametrize("scale", [4, 3])
def test_resamplers_give_what_is_computed_by_hand(truths: dict[str, np.ndarray], scale: int, capsys: Any) -> None:
    rows = evaluated("hr", "--vs", "bicubic,lanczos", "-m", "model", "-s", str(scale), capsys=capsys)
    assert list(rows)[:2] == ["bicubic", "lanczos"] and len(rows) == 3
    for name, kernel in (("bicubic", "bicubic"), ("lanczos", "lanczos3")):
        figures: dict[str, list[float]] = {}
        for truth in truths.values():
            height, width = (side // scale * scale for side in truth.shape[:2])
            truth = truth[:height, :width]
            large = resize_array(resize_array(truth, (height // scale, width // scale)), (height, width), kernel=kernel)
            for metric in (metrics.psnr, metrics.ssim):
                for channel in ("y", "rgb"):
                    card = metric(large, truth, channel=channel, crop=scale)
                    figures.setdefault(card.name, []).append(card.value)
            card = metrics.perceptual(large, truth, crop=scale)
            figures.setdefault(card.name, []).append(card.value)
        got = values(rows[name])
        assert got.keys() == figures.keys() and len(got) == 5
        for key, expected in figures.items():
            assert got[key] == pytest.approx(np.mean(expected), rel=2e-3), (name, key)


def test_a_model_is_measured_on_what_run_would_write(truths: dict[str, np.ndarray], capsys: Any) -> None:
    rows = evaluated("hr", "-m", "model", "--detail", "0.5", "--crop", "2", capsys=capsys)
    enlarge = Enlarger(tiny.model(fidelity=True), detail=0.5, precision="fp32")
    truth = {name: picture[: len(picture) // 4 * 4, : picture.shape[1] // 4 * 4] for name, picture in truths.items()}
    large = [enlarge(lowered(picture, 4, "bicubic", 0)) for picture in truth.values()]
    expected = metrics.psnr(large, list(truth.values()), crop=2)
    row = rows["model"]
    assert values(row)["PSNR-Y"] == pytest.approx(expected.value, abs=1e-6)
    assert row["cards"][0]["n"] == 2 and row["cards"][0]["protocol"]["crop"] == 2


def test_the_table_says_its_protocol(truths: dict[str, np.ndarray], capsys: Any) -> None:
    assert call(["eval", "superres", "hr", "--vs", "bicubic", "-m", "model", "--sheet", "new/sheet.png"]) == 0
    said = capsys.readouterr().out
    assert "2 pictures, ×4, bicubic input (antialiased, as MATLAB's imresize), 8 bit, crop 4 px" in said
    for part in ("PSNR-Y: channel BT.601", "SSIM-RGB: channel sRGB", "EffLite0-PD: features", "sheet: new/sheet.png"):
        assert part in said
    sheet = images.read("new/sheet.png").pixels
    assert sheet.shape[1] > 3 * 2 * 64  # bicubic, model, truth, at twice their size
    with_seed = evaluated("hr/a.png", "-m", "model", "--degradation", "light", "--seed", "5", capsys=capsys)
    assert "light input (seed 5" in with_seed["bicubic"]["protocol"]


def test_degraded_inputs_follow_their_seed(truths: dict[str, np.ndarray], capsys: Any) -> None:
    def psnr(seed: int) -> float:
        arguments = ("hr", "-m", "model", "--degradation", "second-order", "--seed", str(seed))
        return values(evaluated(*arguments, capsys=capsys)["bicubic"])["PSNR-Y"]

    first = psnr(1)
    assert first == psnr(1) and first != psnr(2)
    same = photo(64, 64)
    assert not np.array_equal(lowered(same, 4, "second-order", 1), lowered(same, 4, "second-order", 2))


def test_folders_within_folders_grey_and_deep_pictures(truths: dict[str, np.ndarray], capsys: Any) -> None:
    Path("hr/deep").mkdir()
    Image.fromarray(truths["a.png"]).convert("L").save("hr/deep/grey.png")
    images.write(Picture(truths["a.png"].astype(np.uint16) * 257), "hr/deep/deep.tif")
    flat = evaluated("hr", "-m", "model", capsys=capsys)["bicubic"]["cards"][0]["n"]
    deep = evaluated("hr", "-r", "-m", "model", capsys=capsys)["bicubic"]["cards"][0]["n"]
    assert (flat, deep) == (2, 4)
    one, other = (
        values(evaluated(name, "-m", "model", capsys=capsys)["bicubic"]) for name in ("hr/a.png", "hr/deep/deep.tif")
    )
    assert one == other


def test_the_smallest_picture_that_passes_can_be_measured(truths: dict[str, np.ndarray], capsys: Any) -> None:
    Image.fromarray(photo(24, 24)).save("least.png")
    assert values(evaluated("least.png", "-m", "model", capsys=capsys)["bicubic"])["EffLite0-PD"] > 0


def test_a_constant_picture_is_reached_exactly(truths: dict[str, np.ndarray], capsys: Any) -> None:
    Image.new("RGB", (48, 48), (90, 120, 150)).save("flat.png")
    figures = values(evaluated("flat.png", "-m", "model", capsys=capsys)["bicubic"])
    assert figures["PSNR-Y"] is None and figures["SSIM-Y"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "code", "fragment"),
    [
        ((), 2, "no pictures were named"),
        (("nowhere.png",), 3, "nowhere.png"),
        (("bad.png",), 3, "bad.png"),
        (("hr", "bad.png"), 3, "bad.png"),
        (("small.png",), 3, "small.png is too small to be measured, expected at least 24 pixels"),
        (("small.png", "--crop", "2"), 3, "small.png is too small to be measured, expected at least 20 pixels"),
        (("hr", "--crop", "40"), 3, "--crop"),
        (("empty",), 3, "no pictures in empty"),
        (("hr", "--vs", "bicubik"), 2, "bicubik"),
        (("hr", "--sheet", "taken.png"), 2, "taken.png exists already"),
        (("hr", "--sheet", "sheet.psd"), 2, "sheet.psd"),
        (("hr", "-s", "7"), 2, "7"),
        (("hr", "--detail", "3"), 2, "detail"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    truths: dict[str, np.ndarray], arguments: tuple[str, ...], code: int, fragment: str, capsys: Any
) -> None:
    Path("bad.png").write_bytes(b"no picture")
    Path("empty").mkdir()
    Path("taken.png").write_text("mine")
    Image.fromarray(photo(18, 40)).save("small.png")
    assert call(["eval", "superres", *arguments, "-m", "model"]) == code
    captured = capsys.readouterr()
    assert fragment in captured.err and captured.out == ""
    assert Path("taken.png").read_text() == "mine"
