"""The run's log: valid JSON whatever the numbers, and exact after a kill."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gantoolkit.errors import InputError
from gantoolkit.runlog import LOG_NAME, RunLog, numbers, read_log, write_atomically
from tests.tolerances import TOL

LOSSES = {"critic/adversarial": 0.69, "critic/r1": 0.01, "generator/adversarial": 0.7}


def write_steps(log: RunLog, first: int, last: int, batch: int = 4) -> None:
    """A deterministic run: what step s writes depends on s alone; every fifth step adds the other kinds."""
    for step in range(first, last + 1):
        nimg = step * batch
        log.step(nimg, step, "adversarial", rate=10.0, losses={"critic/adversarial": 1 / step})
        if step % 5 == 0:
            log.event(nimg, f"gauge at {step}", "warning")
            log.metric(nimg, {"name": "PSNR", "value": 20 + step, "unit": "dB", "n": 2, "protocol": "Y"})
            log.sample(nimg, f"samples/nimg-{nimg:09d}.png")


def timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "time"} for row in rows]


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    before = time.time()
    with RunLog(tmp_path / "run", tensorboard=False) as log:
        row = log.step(
            64, 1, "fidelity", rate=12.5, losses=LOSSES, grad_norm={"critic": np.float32(0.5)},
            lr={"critic": 2e-4}, gauges={"equilibrium": 0.25}, loss_scale=1024,
        )  # fmt: skip
        log.event(64, "step 1 skipped: critic/r1 is not finite", "warning")
        log.metric(64, {"name": "PSNR-Y", "value": 27.25, "unit": "dB", "n": 12, "protocol": "crop 4"})
        log.sample(64, tmp_path / "run" / "samples" / "nimg-000000064.png")
    rows = read_log(tmp_path / "run")
    assert rows[0] == row
    assert before <= row["time"] <= time.time()
    assert timeless(rows) == [
        {"kind": "step", "nimg": 64, "step": 1, "stage": "fidelity", "rate": 12.5, "losses": LOSSES,
         "grad_norm": {"critic": 0.5}, "lr": {"critic": 2e-4}, "gauges": {"equilibrium": 0.25},
         "loss_scale": 1024},
        {"kind": "event", "nimg": 64, "level": "warning", "text": "step 1 skipped: critic/r1 is not finite"},
        {"kind": "metric", "nimg": 64,
         "card": {"name": "PSNR-Y", "value": 27.25, "unit": "dB", "n": 12, "protocol": "crop 4"}},
        {"kind": "sample", "nimg": 64, "file": "samples/nimg-000000064.png"},
    ]  # fmt: skip
    assert not (tmp_path / "run" / "events").exists()


def test_non_finite_numbers_are_null_and_named(tmp_path: Path) -> None:
    with RunLog(tmp_path, tensorboard=False) as log:
        log.step(1, 1, "s", losses={"critic/r1": math.nan, "critic/a": 1.0}, lr={"critic": np.float64("-inf")})
    line = (tmp_path / LOG_NAME).read_text()
    (row,) = (json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON")),)
    assert row["losses"] == {"critic/r1": None, "critic/a": 1.0} and row["lr"] == {"critic": None}
    assert row["nonfinite"] == ["losses.critic/r1", "lr.critic"]


def test_a_value_that_json_cannot_say_is_named(tmp_path: Path) -> None:
    with RunLog(tmp_path, tensorboard=False) as log, pytest.raises(TypeError, match=r"object at gauges\.odd"):
        log.step(1, 1, "s", gauges={"odd": object()})
    assert read_log(tmp_path) == []


@given(st.text(), st.text())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_survives_on_one_line(tmp_path: Path, text: str, key: str) -> None:
    (tmp_path / LOG_NAME).unlink(missing_ok=True)
    with RunLog(tmp_path, tensorboard=False) as log:
        log.event(3, text + "\n\udcff", note={key: text})
    assert (tmp_path / LOG_NAME).read_bytes().count(b"\n") == 1
    (row,) = read_log(tmp_path)
    assert row["text"] == text + "\n\udcff" and row["note"] == {key: text}


@given(data=st.data(), last=st.integers(1, 30))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_killed_anywhere_and_resumed_equals_undisturbed(tmp_path: Path, data: st.DataObject, last: int) -> None:
    """Cut the log at any byte after any checkpoint; the resumed log equals that of a run left alone."""
    checkpoint = data.draw(st.integers(0, last), label="checkpoint's step")
    (tmp_path / LOG_NAME).unlink(missing_ok=True)
    with RunLog(tmp_path, tensorboard=False) as log:
        write_steps(log, 1, checkpoint)
        safe = log.path.stat().st_size
        write_steps(log, checkpoint + 1, last)
        undisturbed = read_log(tmp_path)
    whole = log.path.read_bytes()
    reached = data.draw(st.floats(0, 1), label="share of the later bytes that reached the disk")
    cut = safe + round(reached * (len(whole) - safe))
    log.path.write_bytes(whole[:cut])

    with RunLog(tmp_path, tensorboard=False) as log:
        survivors = len(read_log(tmp_path))
        dropped = log.truncate_after(checkpoint * 4, checkpoint)
        assert log.path.read_bytes() == whole[:safe]
        assert dropped == survivors - len(read_log(tmp_path))
        write_steps(log, checkpoint + 1, last)
    assert timeless(read_log(tmp_path)) == timeless(undisturbed)
    assert [path.name for path in tmp_path.iterdir()] == [LOG_NAME]


def test_steps_that_show_no_new_images_are_told_apart_by_step(tmp_path: Path) -> None:
    with RunLog(tmp_path, tensorboard=False) as log:
        for step in (1, 2, 3):
            log.step(8, step, "s")
        assert log.truncate_after(8, 2) == 1
    assert [row["step"] for row in read_log(tmp_path)] == [1, 2]


@pytest.mark.parametrize("tail", [b'{"kind":"step","nimg":8,"st', b"\0\0\0\0", b"\xff\xfe{", b"[[[[[[", b'{"kind":3}'])
def test_a_broken_tail_is_dropped_and_writing_goes_on(tmp_path: Path, tail: bytes) -> None:
    with RunLog(tmp_path, tensorboard=False) as log:
        write_steps(log, 1, 2)
    with log.path.open("ab") as file:
        file.write(tail)
    assert [row["step"] for row in read_log(tmp_path)] == [1, 2]
    with RunLog(tmp_path, tensorboard=False) as log:
        write_steps(log, 3, 3)
    assert [row["step"] for row in read_log(tmp_path)] == [1, 2, 3]
    assert all(json.loads(line) for line in log.path.read_bytes().splitlines())


def test_a_last_line_that_lacks_only_its_newline_is_kept(tmp_path: Path) -> None:
    with RunLog(tmp_path, tensorboard=False) as log:
        write_steps(log, 1, 2)
    log.path.write_bytes(log.path.read_bytes()[:-1])
    with RunLog(tmp_path, tensorboard=False) as log:
        write_steps(log, 3, 3)
    assert [row["step"] for row in read_log(tmp_path)] == [1, 2, 3]


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_is_never_fatal(tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / LOG_NAME).write_bytes(garbage)
    assert all(isinstance(row, dict) for row in read_log(tmp_path))
    with RunLog(tmp_path, tensorboard=False) as log:
        log.truncate_after(0, 0)
        write_steps(log, 1, 1)
    assert read_log(tmp_path)[-1]["step"] == 1


def test_no_log_is_an_empty_log(tmp_path: Path) -> None:
    assert read_log(tmp_path) == [] and read_log(tmp_path / "nowhere") == []


def test_a_killed_process_loses_no_row(tmp_path: Path) -> None:
    script = (
        "import os, sys, pathlib; from gantoolkit.runlog import RunLog\n"
        "log = RunLog(pathlib.Path(sys.argv[1]), tensorboard=False)\n"
        "for step in range(1, 51): log.step(step, step, 's')\n"
        "os.kill(os.getpid(), 9)"
    )
    result = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert result.returncode == -9
    assert [row["step"] for row in read_log(tmp_path)] == list(range(1, 51))


def test_an_unwritable_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="resume"):
        RunLog(tmp_path / "file" / "run", tensorboard=False)


def test_a_full_disk_says_so_and_the_torn_line_is_mended(tmp_path: Path) -> None:
    script = (
        "import resource, sys, pathlib; from gantoolkit.errors import InputError\n"
        "from gantoolkit.runlog import RunLog\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    with RunLog(pathlib.Path(sys.argv[1]), tensorboard=False) as log:\n"
        "        for step in range(1, 100): log.step(step, step, 's')\n"
        "except InputError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert "log.jsonl, got File too large; free space" in result.stdout and result.stderr == ""
    assert (tmp_path / LOG_NAME).stat().st_size == 1000
    steps = [row["step"] for row in read_log(tmp_path)]
    assert steps == list(range(1, len(steps) + 1)) and len(steps) >= 5
    with RunLog(tmp_path, tensorboard=False) as log:
        log.step(99, 99, "s")
    assert [row["step"] for row in read_log(tmp_path)] == [*steps, 99]


def test_atomic_writing_leaves_the_old_file_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "config.json"
    write_atomically(target, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old" and list(tmp_path.iterdir()) == [target]


def test_what_cannot_be_written_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for place in ("gone/x.json", "file/x.json"):
        folder = (tmp_path / place).parent
        with pytest.raises(InputError, match=rf"cannot write .*there is no folder {re.escape(str(folder))}; make it"):
            write_atomically(tmp_path / place, b"new")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="it is a folder, expected the name of a file"):
        write_atomically(tmp_path / "folder", b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_numbers_are_those_worth_a_curve() -> None:
    row = {"nimg": 4, "step": 1, "time": 1.0, "stage": "s", "rate": 2.0, "losses": {"a/b": 1.0, "a/c": None}}
    assert list(numbers(row | {"on": True})) == [("rate", 2.0), ("losses/a/b", 1.0)]


def test_tensorboard_gets_the_scalars_and_hides_dropped_ones(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        for step in (1, 2, 3):
            log.step(step * 4, step, "s", rate=5.0, losses={"critic/adversarial": step / 2})
        log.metric(12, {"name": "PSNR", "value": 30.0})
        log.truncate_after(8, 2)
        log.step(12, 3, "s", losses={"critic/adversarial": 7.0})
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "events")).Reload()
    points = [(point.step, point.value) for point in events.Scalars("losses/critic/adversarial")]
    assert points == [(4, 0.5), (8, 1.0), (12, 7.0)]
    assert [point.value for point in events.Scalars("rate")] == [5.0, 5.0]


def test_a_missing_tensorboard_is_logged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.event_file_writer", None)
    with RunLog(tmp_path) as log:
        write_steps(log, 1, 3)
    assert [row["text"] for row in read_log(tmp_path) if row["kind"] == "event"] == [
        "TensorBoard is not installed: no events/ are written"
    ]


def test_importing_loads_nothing_heavy() -> None:
    code = "import sys, gantoolkit.runlog; print(sorted({'torch', 'tensorboard', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_a_row_costs_next_to_nothing(tmp_path: Path) -> None:
    numbers = {
        "losses": {f"critic/term{index}": 0.1 * index for index in range(8)},
        "grad_norm": {"critic": 1.0, "generator": 0.5},
        "lr": {"critic": 1e-4, "generator": 1e-4},
    }
    with RunLog(tmp_path, tensorboard=False) as log:
        costs = []
        for step in range(1, 401):
            start = time.perf_counter()
            log.step(step, step, "adversarial", rate=10.0, **numbers)
            costs.append(time.perf_counter() - start)
    assert sorted(costs)[len(costs) // 2] * 1e3 < TOL["log row without TensorBoard, ms"]
