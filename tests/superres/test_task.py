"""The superres task: its data, its stages, its scores, the model it makes, and the whole way from photos to use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import gantoolkit
from gantk_superres import networks
from gantk_superres.data import Photos
from gantk_superres.options import SuperresConfig
from gantk_superres.task import Superres
from gantoolkit import images
from gantoolkit.cli import call
from gantoolkit.errors import UsageError
from gantoolkit.model import MAIN, Model, find
from tests.superres import tiny

TINY = ["--preset", "tiny", "--channels", "8", "--blocks", "1", "--patch", "32", "--batch", "2", "--quiet"]


@pytest.fixture
def task() -> Superres:
    return Superres()


def config(**changes: Any) -> SuperresConfig:
    return SuperresConfig(**({"channels": 8, "blocks": 1, "patch": 32, "device": "cpu"} | changes))


def test_photographs_are_asked_for(task: Superres, photos: Path) -> None:
    with pytest.raises(UsageError, match="gantk train superres PHOTOS"):
        task.dataset(config(), None)
    with pytest.raises(UsageError, match="too small for the patch critic, expected at least 24, got 20"):
        task.dataset(config(patch=20, scale=4), photos)
    task.dataset(config(patch=20, scale=4, adversarial_nimg=0), photos)
    with pytest.raises(UsageError, match="multiple of 3"):
        task.dataset(config(scale=3), photos)
    assert isinstance(task.dataset(config(), photos), Photos)


def test_stages(task: Superres) -> None:
    assert [(s.name, s.nimg) for s in task.stages(config(fidelity_nimg=5, adversarial_nimg=7))] == [
        ("fidelity", 5),
        ("adversarial", 7),
    ]
    assert [s.name for s in task.stages(config(fidelity_nimg=0))] == ["adversarial"]
    assert [s.name for s in task.stages(config(adversarial_nimg=0))] == ["fidelity"]
    with pytest.raises(UsageError, match="0 images"):
        task.stages(config(fidelity_nimg=0, adversarial_nimg=0))


def test_every_preset_builds_its_networks(task: Superres) -> None:
    for name, preset in task.presets.items():
        made = SuperresConfig(**preset)
        assert made.patch % made.scale == 0, name
        if made.arch == "compact":
            assert task.game(made, None, "fidelity").networks().keys() == {"generator"}  # type: ignore[arg-type]


def test_scores_lead_with_what_the_stage_is_for(task: Superres, photos: Path) -> None:
    dataset = Photos(photos, 32)
    generator = networks.build(tiny.CONFIG).eval()
    with torch.no_grad():
        fidelity = task.score(config(), dataset, {"generator": generator}, "fidelity")
        adversarial = task.score(config(), dataset, {"generator": generator}, "adversarial")
    assert [card.name for card in fidelity] == ["PSNR-Y", "EffLite0-PD"]
    assert [card.name for card in adversarial] == ["EffLite0-PD", "PSNR-Y"]
    assert fidelity[0].n == len(dataset.held_out)


def test_samples_show_bicubic_network_and_truth(task: Superres, photos: Path) -> None:
    dataset = Photos(photos, 32)
    with torch.no_grad():
        sheet = task.sample(config(), dataset, {"generator": networks.build(tiny.CONFIG)})
    side = dataset.held_out[0].shape[0]
    assert sheet.shape[1] == 3 * side + 4 * 8


def test_a_model_keeps_both_stages(task: Superres, tmp_path: Path) -> None:
    first, second = tiny.state(seed=1), tiny.state(seed=2)
    both = task.model(
        config(), None, {"fidelity": {"generator": first}, "adversarial": {"generator": second, "critic": {}}}
    )
    assert both.weights[MAIN] is second and both.weights["fidelity"] is first
    assert task.model(config(), None, {"fidelity": {"generator": first}}).weights.keys() == {MAIN}
    start = Path(tiny.saved(tmp_path / "start", seed=3))
    begun = task.model(config(init=start), None, {"adversarial": {"generator": second}})
    assert torch.equal(begun.weights["fidelity"]["head.weight"], tiny.state(seed=3)["head.weight"])
    assert begun.config == tiny.CONFIG and begun.task == "superres"


def test_from_photos_to_a_larger_picture(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, small, large = tmp_path / "run", tmp_path / "small.png", tmp_path / "large.png"
    Image.fromarray(np.asarray(Image.open(photos / "photo-0.png"))[:20, :30]).save(small)
    stages = ["--fidelity-nimg", "8", "--adversarial-nimg", "8", "--critic-channels", "8"]
    assert call(["train", "superres", str(photos), "--run", str(run), *TINY, *stages]) == 0
    model = Model.load(run / "model")
    assert model.weights.keys() == {MAIN, "fidelity"}
    assert any(not torch.equal(model.weights[MAIN][k], model.weights["fidelity"][k]) for k in model.weights[MAIN])
    results = []
    for detail in ("0", "1"):
        arguments = ["run", "superres", str(small), "-o", str(large), "-f", "-m", str(run), "--detail", detail]
        assert call([*arguments, "--precision", "fp32"]) == 0
        results.append(images.read(large).pixels)
    assert results[0].shape == (80, 120, 3)
    capsys.readouterr()
    assert call(["eval", "superres", str(photos), "-m", str(run), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["name"] for row in rows] == ["bicubic", str(run)]


@pytest.mark.parametrize(
    ("arguments", "code", "fragment"),
    [
        (("--scale", "5"), 2, "scale"), (("--patch", "33"), 2, "patch"), (("--loss", "guess"), 2, "guess"),
        (("--arch", "rrdb", "--scale", "3", "--patch", "36"), 2, "scale"), (("--init", "nowhere"), 2, "nowhere"),
        (("--patch", "500"), 3, "smaller than a patch"), (("--preset", "fotos"), 2, "photo"),
    ],
)  # fmt: skip
def test_a_training_that_cannot_start_is_one_line(
    photos: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    code: int,
    fragment: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["train", "superres", str(photos), "--run", str(tmp_path / "run"), *TINY, *arguments]
    assert call(words) == code
    errors = capsys.readouterr().err.strip().splitlines()
    assert errors and fragment in errors[-1] and "Traceback" not in "".join(errors)


def test_models_export_and_other_formats(task: Superres, tmp_path: Path) -> None:
    from gantoolkit.testing import RecordingConsole

    with pytest.raises(UsageError, match=r"ends in \.onnx"):
        task.export(tiny.model(), tmp_path / "model.tflite", RecordingConsole())


def test_the_bundled_model_has_both_sets_of_weights() -> None:
    """Without the second one, `--detail` would do nothing and nobody would notice."""
    bundled = find("superres")
    assert bundled.weights.keys() == {MAIN, "fidelity"}
    picture = np.random.default_rng(0).integers(0, 256, (12, 12, 3)).astype(np.uint8)
    faithful, detailed = (gantoolkit.load("superres", detail=detail)(picture) for detail in (0.0, 1.0))
    assert not np.array_equal(faithful, detailed)
