"""What every test starts from: no plugins of the developer's own, no models of the user's, no borrowed settings."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gantoolkit import cli, plugins

# Started in the background by a shell, we would ignore Ctrl-C, and so would every process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home without models, and plugins that one test found are gone in the next."""
    monkeypatch.setenv("GANTK_HOME", str(tmp_path_factory.getbasetemp() / "no-home"))
    monkeypatch.delenv(plugins.DISABLED, raising=False)
    plugins.use(None)
    yield
    plugins.use(None)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of five small synthetic photographs: blobs, edges and noise, each a little different."""
    import numpy as np
    from PIL import Image

    folder = tmp_path / "photos"
    folder.mkdir()
    y, x = np.mgrid[0:96, 0:120].astype(np.float32)
    for index in range(5):
        rng = np.random.default_rng(index)
        layers = [np.sin(x / (3 + index + c)) * np.cos(y / (5 + c)) + (x > 40 + 5 * index) for c in range(3)]
        picture = np.stack(layers, 2) * 50 + 110 + rng.normal(0, 6, (96, 120, 3))
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"photo-{index}.png")
    return folder


@pytest.fixture
def gantk(capsys: pytest.CaptureFixture[str]) -> Any:
    """`gantk(...)` → (exit code, stdout, stderr), in this process."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        code = cli.call([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run
