"""Models on disk, and `gantk run translate` on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gantk_translate.sides import Side
from gantoolkit.cli import call
from tests.translate import tiny_models as tiny

Run = Callable[..., int]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    ct, mr = Side("array", 1, "uint16", 0.0, 4100.0), Side("array", 1, "int16", -1000.0, 3000.0)
    for name, made in {
        "colour": tiny.model(),
        "both": tiny.model(target=tiny.GREY, back=True),
        "lines": tiny.model({**tiny.RESIDUAL, "compose": "multiply"}),
        "mask": tiny.model(target=tiny.MASK),
        "from-mask": tiny.model(source=tiny.MASK),
        "deep": tiny.model(source=ct, target=ct),
        "modality": tiny.model(source=ct, target=mr),
    }.items():
        made.save(folder / name, half=False)
    return folder


@pytest.fixture
def gantk(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `gantk run translate ARGUMENTS` in an empty folder with one of the models."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, model: str = "colour") -> int:
        return call(["run", "translate", *map(str, arguments), "-m", str(models / model)])

    return run
