"""What training sees in a folder of photographs, and that `gantk data check` says the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gantk_superres import data
from gantk_superres.data import LEAST, Patches, Photos, centre, check, rgb
from gantoolkit import images
from gantoolkit.cli import call
from gantoolkit.errors import InputError
from gantoolkit.images import Picture


def photo(path: Path, width: int = 40, height: int = 32, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)).save(path)
    return path


def folder_of(tmp_path: Path, *sizes: tuple[int, int]) -> Path:
    for index, (width, height) in enumerate(sizes):
        photo(tmp_path / f"{index}.png", width, height, index)
    return tmp_path


# ---- patches ----


def test_patches_are_windows_of_the_pictures_turned_and_flipped(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    ramp = np.arange(24 * 24, dtype=np.uint16).reshape(24, 24)
    pixels = np.stack([ramp // 24 * 10, ramp % 24 * 10, ramp * 0], 2).astype(np.uint8)  # red is y, green is x
    Image.fromarray(pixels).save(file)
    patches, seen = Patches([file], 8), set()
    for seed in range(60):
        patch = patches.item(0, np.random.default_rng(seed))["hr"]
        assert patch.shape == (3, 8, 8) and patch.dtype == torch.uint8
        y, x = patch[0].int() // 10, patch[1].int() // 10
        steps = (int(y[1, 0] - y[0, 0]), int(y[0, 1] - y[0, 0]), int(x[1, 0] - x[0, 0]), int(x[0, 1] - x[0, 0]))
        assert sorted(map(abs, steps)) == [0, 0, 1, 1]
        seen.add(steps)
    assert len(seen) == 8


def test_a_patch_depends_on_its_generator_alone(tmp_path: Path) -> None:
    patches = Patches([photo(tmp_path / "a.png")], 16)
    first, again, other = (patches.item(0, np.random.default_rng(seed))["hr"] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_large_pictures_are_seen_more_often_and_detail_is_preferred(tmp_path: Path) -> None:
    files = [photo(tmp_path / "large.png", 64, 64), photo(tmp_path / "small.png", 16, 16)]
    assert len(Patches(files, 16)) == 16 + 1
    half = np.zeros((32, 128, 3), np.uint8)
    half[:, 64:] = np.random.default_rng(0).integers(0, 256, (32, 64, 3))
    Image.fromarray(half).save(tmp_path / "half.png")
    empty = {}
    for windows in (1, 3):
        patches = Patches([tmp_path / "half.png"], 32, windows)
        empty[windows] = sum(not patches.item(0, np.random.default_rng(seed))["hr"].any() for seed in range(100))
    assert 20 < empty[1] < 50 and empty[3] < 15  # a third of all windows are empty; three in a row rarely are


def test_any_depth_and_channel_count_becomes_8_bit_rgb(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16, 1)
    images.write(Picture(ramp), tmp_path / "deep.png")
    assert np.array_equal(rgb(tmp_path / "deep.png")[:, :, 1].ravel(), np.arange(256))
    images.write(Picture((ramp / 65535).astype(np.float32)), tmp_path / "float.tif")
    assert np.array_equal(rgb(tmp_path / "float.tif")[:, :, 2].ravel(), np.arange(256))
    Image.fromarray(rgb(tmp_path / "deep.png")).convert("RGBA").save(tmp_path / "alpha.png")
    assert rgb(tmp_path / "alpha.png").shape == (16, 16, 3)


@pytest.mark.parametrize(("size", "side"), [((50, 40), 36), ((12, 300), 12), ((64, 64), 48)])
def test_centres_suit_every_scale(size: tuple[int, int], side: int) -> None:
    cut = centre(np.zeros((*size, 3), np.uint8), 48)
    assert cut.shape[:2] == (side, side) and side % 12 == 0


# ---- folders ----


def test_scores_come_from_files_that_training_does_not_see(tmp_path: Path) -> None:
    photos = Photos(folder_of(tmp_path, *[(20, 20)] * 40), 12)
    known = {picture.tobytes() for picture in photos.pictures}
    assert 0 < len(photos.held_out) <= 8
    assert len(photos.pictures) < 40
    assert not any(centre(rgb(tmp_path / f"{i}.png"), 12).tobytes() in known for i in range(40))
    assert all(held.shape == (12, 12, 3) for held in photos.held_out)


def test_a_handful_of_files_serves_for_both(tmp_path: Path) -> None:
    files = [photo(tmp_path / name, 24, 24) for name in ("a.png", "b.png")]
    assert data._split(files) == (files, files)  # by name, neither would be held out
    photos = Photos(tmp_path, 16)
    assert len(photos.pictures) == len(photos.held_out) == 2
    assert check(tmp_path, 16).facts["split"] == "2 to train on, 2 of the same to score on"


def corrupt(tmp_path: Path) -> Path:
    folder_of(tmp_path, (40, 40), (40, 40))
    (tmp_path / "broken.png").write_bytes((tmp_path / "0.png").read_bytes()[:400])
    return tmp_path


def text(tmp_path: Path) -> Path:
    (folder_of(tmp_path, (40, 40)) / "letter.jpg").write_text("Dear all")
    return tmp_path


ODD = {
    "empty": (lambda path: path, "no pictures in"),
    "no pictures": (lambda path: (path / "notes.txt").write_text("x") and path, "no pictures in"),
    "missing": (lambda path: path / "nowhere", "is not a folder"),
    "a file": (lambda path: photo(path / "a.png"), "is not a folder"),
    "corrupt": (corrupt, "broken.png"),
    "text": (text, "letter.jpg"),
    "too small": (lambda path: folder_of(path, (15, 40), (9, 9)), "smaller than a patch of 16×16"),
    "mixed": (lambda path: folder_of(path, (40, 40), (40, 15), (40, 40)), "40×15 is smaller"),
    "held out too small": (lambda path: folder_of(path, *[(9, 9) if i == 9 else (20, 20) for i in range(40)]), "9×9"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_check_finds_wrong_training_refuses(name: str, tmp_path: Path) -> None:
    make, fragment = ODD[name]
    folder = make(tmp_path)
    report = check(folder, 16)
    assert not report.usable and report.problems
    assert any(fragment in f"{file} {problem}" for file, problem in report.problems)
    assert not any("next" in line for line in report.advice)
    with pytest.raises(InputError) as refused:
        Photos(folder, 16)
    assert fragment in str(refused.value) and "\n" not in str(refused.value)


def test_what_check_finds_right_training_takes(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, *[(40 + i, 32) for i in range(30)])
    (folder / "notes.txt").write_text("not looked at")
    (folder / ".hidden.png").write_bytes(b"")
    report = check(folder, 16)
    assert report.usable and not report.problems
    photos = Photos(folder, 16)
    assert report.facts["pictures"] == "30 files, 30 usable"
    assert report.facts["sizes"].startswith("40×32 to 69×32")
    assert report.facts["split"].startswith(f"{len(photos.pictures)} to train on, {len(photos.held_out)}, held out")
    assert report.advice[-1] == f"next: gantk train superres {folder}"


def test_tiny_patches_need_pictures_that_every_scale_divides(tmp_path: Path) -> None:
    assert Photos(folder_of(tmp_path, (LEAST, LEAST)), 4).held_out[0].shape == (12, 12, 3)
    photo(tmp_path / "tiny.png", 8, 8)
    assert not check(tmp_path, 4).usable


# ---- the command ----


def test_data_check_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = folder_of(tmp_path / "good", (140, 130), (150, 128))
    assert call(["data", "check", str(good), "--task", "superres"]) == 0
    said = capsys.readouterr().out
    assert "2 files, 2 usable" in said and "expect a model that suits these only" in said
    bad = corrupt(tmp_path / "bad")
    assert call(["data", "check", str(bad), "--json", "--task", "superres"]) == 3
    report = json.loads(capsys.readouterr().out)
    assert {Path(file).name for file, _ in report["problems"]} == {"0.png", "1.png", "broken.png"}
    assert call(["data", "check", str(tmp_path / "nowhere")]) == 3


@pytest.mark.parametrize("make", [corrupt, text, lambda path: folder_of(path, (9, 9))])
def test_training_on_a_bad_folder_is_one_line(make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    folder = make(tmp_path / "photos")
    arguments = ["train", "superres", str(folder), "--run", str(tmp_path / "run"), "--preset", "tiny", "--patch", "24"]
    assert call([*arguments, "--quiet"]) == 3
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and errors[0].startswith("error: ")
    assert data.check(folder, 24).problems
