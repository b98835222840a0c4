"""`gantk models`, `gantk data` and `gantk doctor`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from gantoolkit import __version__
from gantoolkit.model import Model
from tests.generate.shapes import draw_shapes


def test_models_come_in_are_listed_shown_and_go_out(
    gantk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gantk_superres import networks

    monkeypatch.setenv("GANTK_HOME", str(tmp_path / "home"))
    network = networks.build({"arch": "srvgg", "scale": 2, "channels": 8, "convs": 1})
    torch.save({"params": network.state_dict()}, tmp_path / "their net.pth")
    code, shown, error = gantk("models", "import", tmp_path / "their net.pth", "--name", "theirs")
    assert (code, error) == (0, "") and "next: gantk run superres --model theirs" in shown
    assert gantk("models", "import", tmp_path / "their net.pth", "--name", "theirs")[0] == 2
    assert gantk("models", "import", tmp_path / "their net.pth", "--name", "theirs", "--force")[0] == 0
    rows = {row["name"]: row for row in json.loads(gantk("models", "list", "--json")[1])}
    assert rows["theirs"]["task"] == "superres" and rows["photo-x4"]["default"]
    people = gantk("models", "list", "--task", "superres")[1]
    assert "* photo-x4 " in people and "  theirs " in people
    described = json.loads(gantk("models", "show", "theirs", "--json")[1])
    assert described["network"]["scale"] == 2 and "Imported from their net.pth" in described["card"]
    shown = gantk("models", "show", "theirs")[1]
    assert "scale 2" in shown and "# their net" in shown
    # what the exporter writes is tests/test_export.py's; here only who is asked to write what
    with monkeypatch.context() as patch:
        patch.setattr("gantk_superres.enlarge.export_onnx", lambda model, target: target.write_text(model.name))
        code, shown, error = gantk("models", "export", "theirs", tmp_path / "t.onnx")
    assert code == 0 and (tmp_path / "t.onnx").read_text() == "their net" and "parity" in shown, error
    assert gantk("models", "export", "theirs", tmp_path / "t.onnx")[0] == 2
    assert gantk("models", "export", "theirs", tmp_path / "t.xyz")[0] == 2


def test_an_import_does_not_hide_a_model_that_is_on_offer(
    gantk: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gantk_superres import networks

    monkeypatch.setenv("GANTK_HOME", str(tmp_path / "home"))
    network = networks.build({"arch": "srvgg", "scale": 2, "channels": 8, "convs": 1})
    torch.save(network.state_dict(), tmp_path / "photo-x4.pth")
    code, _, error = gantk("models", "import", tmp_path / "photo-x4.pth")
    assert code == 2 and "choose another name with --name" in error and not (tmp_path / "home").exists()
    code, shown, _ = gantk("models", "import", tmp_path / "photo-x4.pth", "--name", "a b")
    assert code == 0 and "next: gantk run superres --model 'a b'\n" in shown


def test_a_hostile_file_is_refused_and_not_executed(gantk: Any, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"params": Evil()}, tmp_path / "evil.pth")
    code, _, error = gantk("models", "import", tmp_path / "evil.pth")
    assert code == 3 and "evil.pth" in error and not (tmp_path / "ran").exists()


def test_data_check_says_what_it_sees(gantk: Any, photos: Path) -> None:
    (photos / "torn.png").write_bytes(b"\x89PNG")
    code, shown, _ = gantk("data", "check", photos, "--task", "superres")
    assert code == 3 and "problem" in shown and "torn.png" in shown
    code, shown, _ = gantk("data", "check", photos, "--json", "--task", "superres")
    report = json.loads(shown)
    assert code == 3 and not report["usable"] and len(report["problems"]) >= 1


def test_without_a_task_data_check_asks_every_task_that_can_say(gantk: Any, tmp_path: Path) -> None:
    draw_shapes(tmp_path / "shapes", 8)  # pictures of 16²: enough to generate, too small to enlarge
    code, shown, _ = gantk("data", "check", tmp_path / "shapes")
    assert code == 0 and "generate: usable" in shown and "superres: not usable" in shown
    code, shown, _ = gantk("data", "check", tmp_path / "shapes", "--json")
    reports = json.loads(shown)
    assert code == 0 and reports["generate"]["usable"] and not reports["superres"]["usable"]
    assert gantk("data", "check", tmp_path / "nowhere")[0] == 3


def test_doctor_describes_the_installation(gantk: Any) -> None:
    code, shown, _ = gantk("doctor", "--json")
    facts = json.loads(shown)
    assert code == 0 and facts["gantoolkit"] == __version__ and facts["torch"] == torch.__version__
    assert facts["plugins"]["superres"] == "loaded (gantoolkit)"
    assert facts["models"]["superres/photo-x4"]
    code, shown, _ = gantk("doctor")
    assert code == 0 and all(title in shown for title in ("devices:", "packages:", "plugins:", "models:"))


def test_a_model_that_breaks_its_promise_does_not_break_the_doctor(gantk: Any, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(
        "from gantoolkit import ModelEntry, hookimpl\n"
        "@hookimpl\ndef gantk_models(): return [ModelEntry('odd', 'x', '', dict, available=lambda: 1 / 0)]\n"
    )
    why = "broken: ZeroDivisionError: division by zero"
    code, shown, _ = gantk("--plugins-dir", tmp_path, "doctor", "--json")
    assert code == 0 and json.loads(shown)["models"]["x/odd"] == why
    code, shown, _ = gantk("--plugins-dir", tmp_path, "models", "list")
    assert code == 0 and f"not installed: {why}" in shown and "photo-x4" in shown
    code, _, error = gantk("--plugins-dir", tmp_path, "models", "show", "odd")
    assert code == 5 and error == "error: the model 'odd' cannot be loaded: ZeroDivisionError: division by zero\n"


def test_a_trained_run_is_a_model_by_its_folder(gantk: Any, tmp_path: Path) -> None:
    Model("superres", {"scale": 3}, {"model": {"w": torch.ones(2)}}, name="mine").save(tmp_path / "run" / "model")
    assert "scale 3" in gantk("models", "show", tmp_path / "run")[1]
