"""Models on disk, and `gantk run superres` on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gantoolkit.cli import call
from tests.superres import tiny

Run = Callable[..., int]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.saved(folder / "flat", residual=0.0)  # draws nothing: bicubic
    tiny.saved(folder / "tiny", fidelity=True)
    return folder


@pytest.fixture
def gantk(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `gantk run superres ARGUMENTS` in an empty folder with the model that draws nothing."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, model: str = "flat") -> int:
        words = ["run", "superres", *map(str, arguments), "-m", str(models / model)]
        return call(words)

    return run
