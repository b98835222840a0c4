"""`gantk run superres` as a process: pipes, interrupts, memory, and beside other people's plugins."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gantoolkit import images
from gantoolkit.cli import call
from tests.superres.files import names, process, save


def test_standard_input_and_output(models: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "a.png")
    piped = [subprocess.PIPE] * 3
    running = process(models, "-", "-o", "-", "--json", stdin=piped[0], stdout=piped[1], stderr=piped[2])
    empty = process(models, "-", "-o", "-", stdin=piped[0], stdout=piped[1], stderr=piped[2])
    with Path("/dev/full").open("wb") as full:
        unwritten = process(models, str(source), "-o", "-", stdout=full, stderr=piped[2])
    out, err = running.communicate(source.read_bytes(), timeout=100)
    assert running.returncode == 0 and images.read(out).pixels.shape == (48, 40, 3)
    assert out.endswith(b"IEND\xaeB`\x82") and b"error" not in err
    out, err = empty.communicate(b"", timeout=100)
    assert (empty.returncode, out) == (3, b"") and b"empty file" in err
    _, err = unwritten.communicate(timeout=100)
    assert unwritten.returncode == 3 and b"No space left" in err and b"Traceback" not in err
    assert names(tmp_path) == {"a.png"}


def test_an_interrupt_leaves_whole_files_only(models: Path, tmp_path: Path) -> None:
    save(tmp_path / "in" / "0.png")
    for index in range(1, 800):
        (tmp_path / "in" / f"{index}.png").hardlink_to(tmp_path / "in" / "0.png")
    running = process(models, "in", "-o", "out", "--json", cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None
    assert json.loads(running.stdout.readline())["error"] is None
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130 and err.decode().strip().splitlines()[-1] == "interrupted"
    made = names(tmp_path / "out")
    assert 0 < len(made) < 800 and all(name.endswith(".png") for name in made)
    assert all(images.read(tmp_path / "out" / name).pixels.shape == (48, 40, 3) for name in made)


# ---- other people's plugins ----


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    folder.mkdir()
    entry = "[TaskEntry('superres', 'mine', 'x:Y')]"
    offer = f"from gantoolkit import TaskEntry, hookimpl\n@hookimpl\ndef gantk_tasks():\n    return {entry}\n"
    hook = "from gantoolkit import hookimpl\n@hookimpl\ndef gantk_dreams():\n    return []\n"
    (folder / "fails.py").write_text("import a_module_that_is_not_there\n")
    (folder / "same_name.py").write_text(offer)
    (folder / "gantk_superres.py").write_text(offer)
    (folder / "unknown_hook.py").write_text(hook)
    (folder / "old_api.py").write_text("GANTK_API = 0\n")
    return folder


def test_broken_plugins_do_not_stop_us(
    models: Path, strangers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = save(tmp_path / "a.png")
    assert call(["--plugins-dir", str(strangers), "run", "superres", str(source), "-m", str(models / "flat")]) == 0
    assert images.read(tmp_path / "a_x4.png").pixels.shape == (48, 40, 3)
    capsys.readouterr()
    assert call(["--plugins-dir", str(strangers), "plugins", "list", "--json"]) == 0
    listed = capsys.readouterr().out
    for name in ("fails", "same_name", "gantk_superres", "unknown_hook", "old_api"):
        assert name in listed


# ---- large pictures ----


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_12_megapixels_fit_in_the_stated_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Peak memory of a 12-megapixel JPEG enlarged to 192 megapixels: below 700 MB + 2.2 × the output's bytes."""
    from skimage import data

    rng = np.random.default_rng(0)
    big = np.asarray(Image.fromarray(data.coffee()).resize((4000, 3000), Image.Resampling.LANCZOS)).astype(np.int16)
    big += rng.integers(-6, 7, big.shape, np.int16)
    Image.fromarray(big.clip(0, 255).astype(np.uint8)).save(tmp_path / "big.jpg", quality=92)
    script = (
        "import resource, subprocess, sys\n"
        "code = subprocess.call([sys.executable, '-m', 'gantoolkit', 'run', 'superres', 'big.jpg', '-o', 'out.png'])\n"
        "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    code, peak = map(int, done.stdout.split()[-2:])
    assert code == 0
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # Pillow's own limit is below 192 megapixels
    with Image.open(tmp_path / "out.png") as large:
        assert large.size == (16_000, 12_000)
    assert peak * 1024 < 700e6 + 2.2 * 16_000 * 12_000 * 3
