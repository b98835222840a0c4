"""From a folder to a model: what training takes and refuses, what it leaves, and that it repeats itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gantk_generate.networks import build_generator
from gantk_generate.options import GenerateConfig
from gantk_generate.presets import PRESETS
from gantk_generate.task import Generate, network_config
from gantoolkit import checkpoint
from gantoolkit.cli import call
from gantoolkit.errors import GantkError, UsageError
from gantoolkit.model import MAIN, Model
from tests.games import differences
from tests.generate.conftest import NETWORK
from tests.generate.shapes import draw_shapes
from tests.tolerances import TOL

SMALL = ["--channels", "16", "--critic-channels", "16", "--latent", "8", "--batch", "4", "--precision", "fp32"]
QUICK = [*SMALL, "--set", "score_pictures=16", "--set", "features=pixels@16", "--threads", "1", "--quiet"]


def train(data: Path, run: Path, *words: object) -> int:
    return call(["train", "generate", str(data), "--run", str(run), *QUICK, *map(str, words)])


def test_the_whole_way(shapes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train(shapes, run, "--nimg", 32, "--preset", "few") == 0
    model = Model.load(run / "model")
    assert model.config["labels"] == ["disc", "square"] and model.config["size"] == [16, 16]
    names = {path.name.split("nimg")[0] for path in (run / "samples").iterdir()}
    assert names == {"", "interpolation-", "nearest-neighbours-"}
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    cards = {row["card"]["name"] for row in rows if row["kind"] == "metric"}
    assert any("Fréchet" in name for name in cards) and any("recall" in name for name in cards)
    last = [row for row in rows if row["kind"] == "step"][-1]
    assert "augment/strength" in last["values"] and "critic/win" in last["values"]
    assert call(["run", "generate", "-m", str(run), "-n", "2", "-o", str(tmp_path / "out"), "--quiet"]) == 0
    assert Image.open(tmp_path / "out" / "0000-disc.png").size == (16, 16)


def test_interrupted_and_resumed_is_undisturbed_with_ada(shapes: Path, tmp_path: Path) -> None:
    """A run of 24 images in one go, and one that had only its checkpoint of 12 images, end in the same state."""
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    words = ["--nimg", 24, "--preset", "few", "--set", "ramp_nimg=64", "--checkpoint-nimg", 12, "--set", "keep=9"]
    assert train(shapes, whole, *words) == 0
    assert train(shapes, resumed, *words) == 0
    for folder in sorted((resumed / "checkpoints").iterdir())[1:]:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    assert [p.name for p in (resumed / "checkpoints").iterdir()] == ["nimg-000000012"]
    assert train(shapes, resumed, *words) == 0
    states = [checkpoint.load(checkpoint.newest(run / "checkpoints")) for run in (whole, resumed)]
    assert not differences(states[0]["finished"], states[1]["finished"])
    assert (whole / "model" / "model.safetensors").read_bytes() == (
        resumed / "model" / "model.safetensors"
    ).read_bytes()


def test_points_train_too(tmp_path: Path) -> None:
    np.save(tmp_path / "points.npy", np.random.default_rng(0).normal(size=(64, 2)))
    assert train(tmp_path / "points.npy", tmp_path / "run", "--preset", "points", "--nimg", 16) == 0
    assert len(list((tmp_path / "run" / "samples").iterdir())) == 2
    assert call(["run", "generate", "-m", str(tmp_path / "run"), "-n", "2", "-o", str(tmp_path / "out")]) == 0
    assert np.load(tmp_path / "out" / "points.npy").shape == (2, 2)


def test_points_on_a_line_train_too(tmp_path: Path) -> None:
    np.save(tmp_path / "line.npy", np.random.default_rng(0).normal(size=(64, 1)))
    assert train(tmp_path / "line.npy", tmp_path / "run", "--preset", "points", "--nimg", 16) == 0


def test_sizes_that_networks_cannot_make_become_the_nearest_and_it_is_said(tmp_path: Path) -> None:
    rng, folder = np.random.default_rng(0), tmp_path / "data"
    folder.mkdir()
    for index in range(10):
        Image.fromarray(rng.integers(0, 256, (20, 37, 4), np.uint8)).save(folder / f"{index}.png")
    config = GenerateConfig(device="cpu", held_out=0.0)
    data = Generate().dataset(config, folder)
    assert data.train.size == (20, 36) and data.train.picture(0).shape == (20, 36, 3)
    assert any("36×20 is the nearest" in note for note in data.notes)
    assert Generate().check(folder).facts["training"] == "36×20, 3 channels"
    run = tmp_path / "run"
    assert train(folder, run, "--nimg", 8, "--picture-channels", 4) == 0  # with alpha, scores and all
    assert "36×20 is the nearest" in (run / "log.jsonl").read_text()
    with pytest.raises(UsageError, match="nearest possible size"):  # what was asked for is not changed
        task, asked = Generate(), config.model_copy(update={"height": 20, "width": 37})
        task.game(asked, task.dataset(asked, folder), "adversarial")


def test_every_preset_builds_its_networks(shapes: Path) -> None:
    for name, preset in PRESETS.items():
        if preset.get("arch") != "mlp":
            config = GenerateConfig(**{**preset, "channels": 16, "critic_channels": 16, "device": "cpu"})
            task = Generate()
            data = task.dataset(config, shapes)
            assert network_config(config, data)["classes"] == 2, name
            assert task.game(config, data, "adversarial").networks().keys() == {"generator", "critic"}


def test_classes_can_be_left_out(shapes: Path) -> None:
    data = Generate().dataset(GenerateConfig(conditional=False, device="cpu"), shapes)
    assert data.classes == () and "label" not in data.item(0, np.random.default_rng(0))


def test_wrong_words_are_said_before_the_pictures_are_read(tmp_path: Path) -> None:
    wrongs = (
        {"loss": "hingee"},
        {"augment": "colour"},
        {"height": 32},
        {"features": "nosuch"},
        {"spectral_norm": True},
        {"path_length": 2.0},
    )
    for wrong in wrongs:
        with pytest.raises(UsageError):
            Generate().dataset(GenerateConfig(device="cpu", **wrong), draw_shapes(tmp_path / str(wrong), 8))
    with pytest.raises(UsageError, match="gantk train generate"):
        Generate().dataset(GenerateConfig(), None)


def corrupt(folder: Path) -> None:
    (folder / "disc" / "003.png").write_bytes((folder / "disc" / "003.png").read_bytes()[:60])


def mixed(folder: Path) -> None:
    Image.fromarray(np.zeros((20, 31, 3), np.uint8)).save(folder / "disc" / "wide.png")
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(folder / "disc" / "grey.png")
    Image.fromarray(np.zeros((16, 16, 4), np.uint8)).save(folder / "square" / "alpha.png")


def empty_class(folder: Path) -> None:
    (folder / "triangle").mkdir()


def three(folder: Path) -> None:
    for file in sorted(folder.rglob("*.png"))[3:]:
        file.unlink()


def wrong_labels(folder: Path) -> None:
    (folder / "labels.csv").write_text("file,label\ndisc/000.png,disc\ndisc/nowhere.png,disc\n")


@pytest.mark.parametrize(
    ("spoil", "trains"),
    [(corrupt, False), (mixed, True), (empty_class, True), (three, False), (wrong_labels, False)],
)
def test_check_and_train_agree_on_bad_data(
    spoil: Any, trains: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = draw_shapes(tmp_path / "data", 12)
    spoil(folder)
    report = Generate().check(folder)
    code = train(folder, tmp_path / "run", "--nimg", 4)
    heard = capsys.readouterr().err
    assert (code == 0) is trains is report.usable
    if not trains:
        assert code == 3 and heard.startswith("error:") and len(heard.strip().splitlines()) == 1, heard
        assert not (tmp_path / "run").exists()
    if spoil is corrupt:
        assert any("003.png" in file for file, _ in report.problems) and "003.png" in heard


def test_no_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(GantkError):
        Generate().dataset(GenerateConfig(device="cpu"), tmp_path / "nowhere")


@pytest.mark.parametrize("classes", [0, 2])
def test_onnx_takes_noise_and_classes(tmp_path: Path, saved: Path, classes: int) -> None:
    from gantoolkit.export import onnx_runner

    folder = saved
    if not classes:
        plain, folder = NETWORK | {"classes": 0}, tmp_path / "plain"
        Model("generate", plain, {MAIN: build_generator(plain).state_dict()}, name="plain").save(folder)
    assert call(["models", "export", str(folder), str(tmp_path / "made.onnx")]) == 0
    model = Model.load(folder)
    sampler = Generate().load(model, device="cpu")
    z, labels = sampler.latents(2, seed=5), torch.tensor([1, 0]) if classes else None
    made = onnx_runner(tmp_path / "made.onnx")(z, *([] if labels is None else [labels.float()]))
    with torch.inference_mode():
        expected = sampler.generator(z, labels)
        swapped = sampler.generator(z, 1 - labels) if labels is not None else expected + 1
    assert torch.allclose(made, expected, atol=TOL["onnx parity, absolute"])
    assert not torch.allclose(made, swapped, atol=0.01)
