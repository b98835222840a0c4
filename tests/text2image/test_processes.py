"""`gantk train text2image` and `gantk run text2image` as processes: offline, killed on the way, one picture a seed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gantk_text2image.painter import Painter
from gantoolkit.cli import call
from gantoolkit.model import Model
from gantoolkit.runlog import read_log
from tests.text2image.data_sets import with_jsonl
from tests.text2image.tiny import TINY

OPTIONS = {
    **TINY, "batch": 4, "nimg": 32, "penalty_every": 2, "score_pictures": 4, "log_nimg": 4, "checkpoint_nimg": 12,
    "threads": 1,
}  # fmt: skip
TRAIN = [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items()]
OFFLINE = """
import socket, sys
from gantoolkit.cli import call

def refuse(event, arguments):
    if event in ("socket.__new__", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        raise RuntimeError("a socket was made")

sys.addaudithook(refuse)
try:
    socket.socket()
except RuntimeError:
    sys.exit(call(sys.argv[1:]))
"""
KILLS = """
import os, signal
from gantoolkit import hookimpl

@hookimpl
def gantk_on_step(row):
    if row["nimg"] >= 20:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def process(script: str, *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`gantk` with these arguments, its own order of hashes, and this process's number of threads."""
    env = {**os.environ, "PYTHONHASHSEED": "1", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, *(["-c", script] if script else ["-m", "gantoolkit"]), *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=250)


def test_from_a_folder_to_pictures_of_new_words_without_a_socket(tmp_path: Path) -> None:
    with_jsonl(tmp_path / "set", 24)
    trained = process(OFFLINE, "train", "text2image", "set", "--run", "run", *TRAIN, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    samples = sorted((tmp_path / "run/samples").glob("*.png"))
    assert len(samples) == 2, "before the first step and after the last"
    assert all(Image.open(sample).size[0] > 4 * 128 for sample in samples)
    words = ("a red bar, left", "зелёный 🍎")
    options = ("-m", "run", "-n", 2, "-o", "out", "--device=cpu")
    used = process(OFFLINE, "run", "text2image", *words, *options, cwd=tmp_path)
    assert used.returncode == 0 and "does not know зелёный, 🍎" in used.stderr, used.stderr
    painter = Painter(Model.load(tmp_path / "run/model"), "cpu")
    names = ["a-red-bar-left-0000.png", "a-red-bar-left-0001.png", "зелёный-0000.png", "зелёный-0001.png"]
    for name, picture in zip(names, painter(words, number=2), strict=True):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / name)), picture)
    assert (tmp_path / "out/grid.png").exists()


def test_a_killed_training_ends_in_the_model_of_one_left_alone(tmp_path: Path) -> None:
    """The encoder is learnt from the captions anew in each process, and has to be the same one, bit for bit."""
    folder = with_jsonl(tmp_path / "set", 24)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/kills.py").write_text(KILLS)
    train = ("train", "text2image", str(folder), "--quiet", *TRAIN, "--run")
    killed = process("", "--plugins-dir", "plugins", *train, tmp_path / "cut", cwd=tmp_path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "cut/model").exists()
    for run in ("alone", "cut"):
        assert call([*train, str(tmp_path / run)]) == 0
    events = [row["text"] for row in read_log(tmp_path / "cut") if row["kind"] == "event"]
    assert any("resumed at 12 images" in text for text in events)
    models = [tmp_path / run / "model" for run in ("alone", "cut")]
    alone, cut = ({path.name: path.read_bytes() for path in model.iterdir()} for model in models)
    assert "model.safetensors" in alone and "text.safetensors" in alone
    assert alone == cut


@pytest.mark.slow
def test_a_run_becomes_an_onnx_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = with_jsonl(tmp_path / "set")
    assert call(["train", "text2image", str(folder), "--quiet", *TRAIN, "--run", str(tmp_path / "run")]) == 0
    assert call(["models", "export", str(tmp_path / "run"), str(tmp_path / "painter.onnx")]) == 0
    assert "parity" in capsys.readouterr().out and (tmp_path / "painter.onnx").stat().st_size > 10_000
