"""`gantk run generate` and the Python call: pictures by seed and class, sheets, animations, projection."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gantoolkit
from gantk_generate.sampler import Sampler
from gantoolkit import images
from gantoolkit.cli import call
from gantoolkit.errors import UsageError
from gantoolkit.model import Model


@pytest.fixture
def sampler(saved: Path) -> Sampler:
    return gantoolkit.load("generate", saved)


def run(saved: Path, *words: object) -> int:
    return call(["run", "generate", "-m", str(saved), *map(str, words)])


def test_the_same_seed_is_the_same_picture_however_many_are_made(sampler: Sampler) -> None:
    alone = [sampler(1, seed=seed, label=seed % 2)[0] for seed in range(64)]
    together = sampler(64, label=[0, 1])
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
    assert len({picture.tobytes() for picture in together}) == 64


def test_numbers_of_arrays_are_seeds_and_classes(sampler: Sampler) -> None:
    known = sampler(2, seed=3, label=0)
    for seed, label in ((np.int64(3), np.uint8(0)), (np.array([3, 4]), np.array([0])), (3, np.array([0, 0]))):
        assert all(np.array_equal(a, b) for a, b in zip(known, sampler(2, seed=seed, label=label), strict=True))


def test_files_and_the_python_call_agree_for_1_and_64(saved: Path, sampler: Sampler, tmp_path: Path) -> None:
    assert run(saved, "-n", 64, "-o", tmp_path / "many", "--quiet") == 0
    assert run(saved, "-n", 1, "--seed", 41, "--class", "square", "-o", tmp_path / "one", "--quiet") == 0
    files = sorted(p.name for p in (tmp_path / "many").iterdir())
    assert len(files) == 65 and files[0] == "0000-disc.png" and files[-1] == "grid.png"
    many, one = tmp_path / "many" / "0041-square.png", tmp_path / "one" / "0041-square.png"
    assert many.read_bytes() == one.read_bytes()
    assert np.array_equal(np.asarray(Image.open(one)), sampler(1, seed=41, label=1)[0])


def test_classes_by_name_and_number(sampler: Sampler) -> None:
    assert np.array_equal(sampler(1, label="square")[0], sampler(1, label=1)[0])
    assert np.array_equal(sampler(1, label="Square")[0], sampler(1, label=1)[0])
    assert not np.array_equal(sampler(1, label="square")[0], sampler(1, label="disc")[0])
    with pytest.raises(UsageError, match="0 disc, 1 square"):
        sampler(1, label="circle")
    with pytest.raises(UsageError, match="unknown class"):
        sampler(1, label=2)


def test_names_that_are_numbers_are_names(saved: Path) -> None:
    """Digits from 1 on: the number 1 is a place, the text "1" a name, and all in turn are all of them."""
    model = Model.load(saved)
    named = Sampler(replace(model, config=model.config | {"labels": ["1", "2"]}), "cpu")
    assert named.labels(4).tolist() == [0, 1, 0, 1]  # type: ignore[union-attr]
    assert named.labels(2, [1, "1"]).tolist() == [1, 0]  # type: ignore[union-attr]
    assert named.labels(1, "0").tolist() == [0]  # type: ignore[union-attr]


def test_a_model_without_classes_takes_no_class(saved: Path) -> None:
    model = Model.load(saved)
    weights = {key: value for key, value in model.weights["model"].items() if "embedding" not in key}
    weights["dense.weight"] = weights["dense.weight"][:, :8]
    config = {key: value for key, value in model.config.items() if key != "labels"} | {"classes": 0}
    plain = Sampler(Model("generate", config, {"model": weights}, name="plain"))
    assert plain(2)[0].shape == (16, 16, 3)
    with pytest.raises(UsageError, match="no classes"):
        plain(1, label=0)


def test_truncation_brings_pictures_together(sampler: Sampler) -> None:
    def spread(truncation: float) -> float:
        pictures = np.stack(sampler(16, label=0, truncation=truncation)).astype(float)
        return float(pictures.std(0).mean())

    assert spread(0.0) == 0.0
    assert spread(0.5) < spread(1.0)


def test_nothing_is_overwritten_without_force(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(saved, "-n", 2, "-o", tmp_path / "out", "--quiet") == 0
    assert run(saved, "-n", 2, "-o", tmp_path / "out", "--quiet") == 2
    assert "exists already" in capsys.readouterr().err
    assert run(saved, "-n", 2, "-o", tmp_path / "out", "--quiet", "--force") == 0
    (tmp_path / "file").write_text("")
    assert run(saved, "-o", tmp_path / "file") == 2


def test_only_the_grid(saved: Path, tmp_path: Path) -> None:
    assert run(saved, "-n", 5, "--grid", "-o", tmp_path, "--quiet") == 0
    assert [p.name for p in tmp_path.iterdir()] == ["grid.png"]


def test_json_rows(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(saved, "-n", 2, "-o", tmp_path, "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row.get("seed") for row in rows] == [0, 1, None] and rows[2]["sheet"].endswith("grid.png")


@pytest.mark.parametrize("name", ["walk.gif", "walk.mp4"])
def test_an_animation_moves(saved: Path, tmp_path: Path, name: str) -> None:
    import cv2

    target = tmp_path / name
    assert run(saved, "-n", 3, "--interpolate", target, "--quiet") == 0
    if name.endswith("gif"):
        frames = Image.open(target).n_frames  # type: ignore[attr-defined]
    else:
        frames = int(cv2.VideoCapture(str(target)).get(cv2.CAP_PROP_FRAME_COUNT))
    assert frames == 3 * 16
    assert run(saved, "-n", 1, "--interpolate", tmp_path / "other.gif", "--quiet") == 2
    assert run(saved, "-n", 3, "--interpolate", tmp_path / "walk.avi", "--quiet") in (2, 3)
    assert not (tmp_path / "walk.avi").exists()


def test_directions_and_mixing_are_sheets(saved: Path, tmp_path: Path) -> None:
    assert run(saved, "--directions", 2, "-o", tmp_path, "--quiet") == 0
    assert Image.open(tmp_path / "directions.png").mode == "RGB"
    # the residual pair has one latent for all layers: there are no styles to mix
    assert run(saved, "--mix", "-o", tmp_path, "--quiet") == 2


def test_any_picture_can_be_projected_and_what_is_none_is_said(saved: Path, tmp_path: Path) -> None:
    text, deep = tmp_path / "text.png", tmp_path / "deep.tif"
    text.write_text("hello")
    images.write(images.Picture(np.random.default_rng(0).random((20, 30, 1), np.float32)), deep)
    for file, code in ((text, 3), (tmp_path, 3), (deep, 0)):
        assert run(saved, "--project", file, "-o", tmp_path / "out", "--quiet") == code


def test_projection_finds_a_picture_of_its_own(saved: Path, sampler: Sampler, tmp_path: Path) -> None:
    picture = tmp_path / "own.png"
    Image.fromarray(sampler(1, seed=7, label=0)[0]).save(picture)
    torch.set_num_threads(1)
    assert run(saved, "--project", picture, "--class", "disc", "-o", tmp_path / "out", "--quiet") == 0
    assert (tmp_path / "out" / "projection.png").is_file()


def test_the_bundled_model_shows_a_sheet_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["run", "generate", "-n", "10", "-o", str(tmp_path)]) == 0
    heard = capsys.readouterr().out
    assert "fashion-32" in heard and "next: gantk train generate" in heard
    assert len(list(tmp_path.glob("*.png"))) == 11
    picture = np.asarray(Image.open(tmp_path / "0007-sneaker.png"))
    assert picture.shape == (32, 32) and picture.std() > 20  # grey, and not empty


def test_points_come_in_the_coordinates_of_their_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    far = np.random.default_rng(0).normal((1e8, -3e8), (1.0, 0.5), (400, 2))  # float32 would leave nothing of it
    np.save("far.npy", far)
    assert call(["train", "generate", "far.npy", "--nimg", "64"]) == 2
    assert "--preset points learns points" in capsys.readouterr().err
    words = ["--preset", "points", "--nimg", "20000", "--run", "run", "--quiet", "--score-nimg", "1000000"]
    assert call(["train", "generate", "far.npy", *words]) == 0
    assert call(["run", "generate", "-m", "run", "-n", "300"]) == 0
    assert "300 points of 2 coordinates" in capsys.readouterr().out
    made = np.load("gantk-generate/points.npy")
    assert made.shape == (300, 2) and made.dtype == np.float64
    assert np.abs(made.mean(0) - far.mean(0)).max() < 1 and (np.abs(made - far.mean(0)) < 8).all()
    assert call(["run", "generate", "-m", "run"]) == 2  # it is there
    assert call(["run", "generate", "-m", "run", "-o", "new", "--interpolate", "x.gif", "--grid"]) == 2
    assert "makes points, and knows no --interpolate, --grid" in capsys.readouterr().err
    sampler = gantoolkit.load("generate", model="run")
    assert (sampler.points(3) == made[:3]).all() and (sampler.points(2, seed=np.int64(1)) == made[1:3]).all()
    with pytest.raises(UsageError, match=r"makes points.*\.points\(n\)"):
        sampler(1)
