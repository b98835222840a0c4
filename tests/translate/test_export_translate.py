"""Models as ONNX: the same numbers at two sizes, and the other runtimes through `--backend`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gantk_translate import networks
from gantk_translate.translator import Translator, export_onnx
from gantoolkit.cli import call
from gantoolkit.export import onnx_runner
from gantoolkit.inference import Backend
from gantoolkit.model import MAIN, Model
from tests.tolerances import TOL
from tests.translate import tiny_models as tiny

pytest.importorskip("onnxruntime")
BACKENDS: tuple[Backend, ...] = ("torch", "onnx", "openvino")
BUILT = {
    "attention": tiny.ATTENTIVE,
    "chroma": {**tiny.RESIDUAL, "compose": "chroma"},
    "resnet": tiny.RESNET,
    "unet": {"arch": "unet", "channels": 4, "blocks": 3, "norm": "batch", "dropout": 0.5},
}


def network_of(model: Model) -> nn.Module:
    network = networks.build_generator(model.config["generator"])
    network.load_state_dict(model.weights[MAIN])
    return network.eval().requires_grad_(False)


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILT)
def test_the_exported_model_gives_the_same_at_another_size(name: str, tmp_path: Path) -> None:
    model = tiny.model(BUILT[name])
    parity = export_onnx(model, tmp_path / "m.onnx")
    assert parity.max_abs <= TOL["onnx parity, absolute"] and len(parity.sizes) == 2
    x = torch.rand(1, 3, 64, 56) * 2 - 1
    expected = network_of(model)(x)
    assert (onnx_runner(tmp_path / "m.onnx")(x) - expected).abs().max() <= TOL["onnx parity, absolute"]


@pytest.mark.slow
def test_a_style_is_a_second_input(tmp_path: Path) -> None:
    pytest.importorskip("gantk_translate.networks.adain")
    import onnxruntime

    model = tiny.model(tiny.ADAIN, game="style")
    export_onnx(model, tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    assert [entry.name for entry in session.get_inputs()] == ["image", "style"]
    x, style = torch.rand(1, 3, 64, 56), torch.rand(1, 3, 40, 48)
    expected = network_of(model)(x, style)
    assert (onnx_runner(tmp_path / "m.onnx")(x, style) - expected).abs().max() <= TOL["onnx parity, absolute"]


@pytest.mark.slow
@pytest.mark.parametrize("compose", ["none", "multiply"])
def test_other_runtimes_give_the_same(compose: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setenv("GANTK_HOME", str(tmp_path))
    model = tiny.model({**tiny.RESIDUAL, "compose": compose})
    made = [
        Translator(model, backend=kind, precision="fp32", tile=48)(tiny.photo(90, 100)).astype(int) for kind in BACKENDS
    ]
    assert all(np.abs(made[0] - other).max() <= 1 for other in made[1:])
    assert len(list((tmp_path / "cache").glob("*.onnx"))) == 1


def test_the_command_line_exports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also: a model that goes both ways exports its own."""
    folder = tiny.saved(tmp_path / "m", built={**tiny.RESIDUAL, "compose": "multiply"}, back=True)
    assert call(["models", "export", folder, str(tmp_path / "m.onnx")]) == 0
    assert "parity: max abs difference" in capsys.readouterr().out
    x = torch.rand(1, 3, 40, 24) * 2 - 1
    expected = network_of(tiny.model({**tiny.RESIDUAL, "compose": "multiply"}, back=True))(x)
    assert (onnx_runner(tmp_path / "m.onnx")(x) - expected).abs().max() <= TOL["onnx parity, absolute"]
    assert call(["models", "export", folder, str(tmp_path / "m.pt")]) == 2
