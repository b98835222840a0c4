"""The example plugin as a stranger uses it: installed from its own pyproject, driven by real `gantk` processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gantoolkit.testing import TaskConformance

EXAMPLE = Path(__file__).parent.parent / "examples" / "gantk-minimal"


class Installed:
    """The example in a folder of its own; `gantk(...)` runs there and returns what it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = folder / "site"
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
        subprocess.run([*command, "--target", str(self.site), str(EXAMPLE)], check=True, timeout=120)

    def gantk(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "gantoolkit", *arguments],
            env={**os.environ, "PYTHONPATH": str(self.site), "OMP_NUM_THREADS": "1"},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert done.returncode == code, done.stderr
        return done.stdout or done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("example"))


@pytest.fixture
def importable(installed: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(installed.site)


@pytest.mark.usefixtures("importable")
class TestRing(TaskConformance):
    """What the example's own author would write."""

    task = "ring"
    overrides = {"nimg": 64, "batch": 16}  # noqa: RUF012 - as in the docs

    def use(self, loaded: object) -> None:
        points = loaded(5)  # type: ignore[operator]
        assert points.shape == (5, 2) and np.isfinite(points).all()


def test_it_is_listed_with_its_distribution(installed: Installed) -> None:
    rows = json.loads(installed.gantk("plugins", "list", "--json"))
    ring = next(row for row in rows if row["name"] == "ring")
    assert ring == {
        "name": "ring",
        "source": "gantk-minimal",
        "version": "0.1.0",
        "status": "loaded",
        "error": "",
        "tasks": ["ring"],
    }
    assert "learn eight Gaussians on a ring" in installed.gantk("--help")


def test_it_trains_resumes_and_runs_like_ours(installed: Installed) -> None:
    short = ["train", "ring", "--run", "short", "--nimg", "640", "--checkpoint-nimg", "192"]
    assert "next:   gantk run ring --model short/model" in installed.gantk(*short)
    first = (installed.folder / "short" / "model" / "model.safetensors").read_bytes()
    shutil.rmtree(installed.folder / "short" / "model")
    shutil.rmtree(max((installed.folder / "short" / "checkpoints").glob("nimg-*")))
    installed.gantk(*short)
    assert (installed.folder / "short" / "model" / "model.safetensors").read_bytes() == first
    assert "resumed at" in (installed.folder / "short" / "log.jsonl").read_text()
    installed.gantk("run", "ring", "-m", "short", "-n", "7", "-o", "points.csv")
    assert np.loadtxt(installed.folder / "points.csv", delimiter=",").shape == (7, 2)
    assert set(json.loads(installed.gantk("eval", "ring", "-m", "short", "--json"))) == {"modes", "hits"}


def test_a_mistake_is_explained(installed: Installed) -> None:
    assert "--model is required" in installed.gantk("run", "ring", code=2)


@pytest.mark.slow
def test_it_learns_the_ring(installed: Installed) -> None:
    installed.gantk("train", "ring", "--run", "ring", "--threads", "1")
    found = json.loads(installed.gantk("eval", "ring", "-m", "ring", "--json"))
    assert found["modes"] >= 7


def test_its_readme_shows_the_commands_that_were_tried_here() -> None:
    readme = (EXAMPLE / "README.md").read_text()
    assert all(command in readme for command in ("gantk train ring --run", "gantk run ring -m", "gantk eval ring -m"))
    assert len(readme.splitlines()) <= 12


def test_it_uses_public_names_only_and_stays_small() -> None:
    import ast

    import gantoolkit

    lines = 0
    for path in (EXAMPLE / "gantk_minimal").glob("*.py"):
        lines += sum(1 for line in path.read_text().splitlines() if line.strip())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gantoolkit"):
                assert node.module == "gantoolkit"
                assert {alias.name for alias in node.names} <= {*gantoolkit.__all__, "losses"}
    assert lines < 110
