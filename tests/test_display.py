"""The live display: quiet when told, plain in a pipe, within 80 columns on a terminal, gone without trace."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from typing import Any

import pytest

from gantoolkit import display
from gantoolkit.display import TrainingDisplay, progress
from gantoolkit.readable import duration, images, on_one_line, percent, short


def step(nimg: int, stage: str = "adversarial", adversarial: float | None = 0.5) -> dict[str, Any]:
    return {"kind": "step", "nimg": nimg, "step": nimg // 4, "stage": stage, "rate": 10.0,
            "losses": {"critic/adversarial": adversarial, "generator/adversarial": 0.25,
                       "generator/pixel": 0.125},
            "grad_norm": {"critic": 1.5, "generator": None}, "lr": {"critic": 2e-4}}  # fmt: skip


WARNING = {"kind": "event", "nimg": 40, "level": "warning", "text": "step 10 skipped"}


def on_a_terminal(code: str, columns: int = 80) -> tuple[int, str, str]:
    """Run Python `code` with stderr on a terminal and stdout in a pipe: its status, stderr and stdout."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": os.pathsep.join([".", *sys.path])}
    for name in ("COLUMNS", "LINES"):
        environment.pop(name, None)
    with subprocess.Popen(
        [sys.executable, "-c", code], stderr=theirs, stdout=subprocess.PIPE, env=environment
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:
                break
            if not piece:
                break
            shown += piece
        assert process.stdout is not None
        results = process.stdout.read().decode()
    os.close(ours)
    return process.returncode, shown.decode(), results


def lines_of(shown: str) -> list[str]:
    """The lines of a terminal's stream without its control sequences."""
    return re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown))


TRAIN = f"""
import logging, sys, time
logging.basicConfig(level=logging.INFO)
from gantoolkit.display import TrainingDisplay
step = {step(0)!r}
with TrainingDisplay(1000, stages=["fidelity", "adversarial"], title="superres") as shown:
    for nimg in range(100, 501, 100):
        shown.update(step | {{"nimg": nimg}})
    shown.update({WARNING!r} | {{"text": "skipped \\x1b[2J " + "long " * 40}})
    print("a result")
    logging.info("a logged line")
    time.sleep(0.3)
    FINAL
"""


def test_on_a_terminal_it_fits_and_leaves_stdout_alone() -> None:
    status, shown, results = on_a_terminal(TRAIN.replace("FINAL", "pass"))
    assert status == 0 and results == "a result\n"
    lines = lines_of(shown)
    text = "\n".join(lines)
    assert "INFO:root:a logged line" in lines
    assert "superres  stage 2/2 adversarial  step 0" in text
    (bar,) = {line.strip() for line in lines if "50%" in line}
    assert re.search(r"━ +50%  500/1k  10 nimg/s  0:50 left$", bar)
    assert re.search(r"critic +adversarial\u00a00\.5 +grad 1\.5 +lr 2e-4", text)
    assert re.search(r"generator +adversarial\u00a00\.25  pixel\u00a00\.125", text)
    assert "40: skipped ?[2J long" in text and "\x1b[2J" not in shown
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("columns", [40, 60, 132])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    _, shown, _ = on_a_terminal(TRAIN.replace("FINAL", "pass"), columns)
    assert max(map(len, lines_of(shown))) <= columns


def test_an_exception_gives_the_terminal_back() -> None:
    status, shown, _ = on_a_terminal(TRAIN.replace("FINAL", "raise RuntimeError('boom')"))
    assert status == 1 and "RuntimeError: boom" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert shown.index("Traceback") > shown.rindex("\x1b[?25h"), "the traceback was written into the display"


def test_nested_bars_share_the_terminal() -> None:
    code = """
import time
from gantoolkit.display import progress
with progress(3, "files", "Upscaling") as files:
    for index in range(3):
        with progress(2, "tiles", "in tiles") as tiles:
            for _ in range(2):
                tiles.advance()
            time.sleep(0.3)
        files.advance(note=f"[red]photo-{index}.png")
        print(index)
"""
    status, shown, results = on_a_terminal(code)
    assert status == 0 and results == "0\n1\n2\n"
    lines = lines_of(shown)
    assert any(re.search(r"Upscaling \[red\]photo-2\.png +━+ +3/3 .* files/s  in 0:0\d", line) for line in lines)
    assert any(re.search(r"in tiles .*2/2", line) for line in lines)
    assert max(map(len, lines)) <= 80


def test_in_a_pipe_it_is_one_plain_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    with TrainingDisplay(1000, stages=["fidelity", "adversarial"]) as shown:
        for nimg in range(10, 701, 10):
            now[0] += 1
            shown.update(step(nimg))
            if nimg == 40:
                shown.update(WARNING)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert [line.split()[0] for line in lines] == ["1%", "warning:", "31%", "61%", "70%"]
    assert lines[1] == "warning: 40: step 10 skipped"
    assert lines[2] == (
        "31%  310/1000 nimg  10 nimg/s, 1:09 left  stage 2/2 adversarial  "
        "critic/adversarial 0.5  generator/adversarial 0.25  generator/pixel 0.125"
    )


def test_a_non_finite_loss_is_seen_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingDisplay(100) as shown:
        shown.update(step(4, adversarial=None))
    assert "critic/adversarial –" in capsys.readouterr().err


def test_losses_are_smoothed_and_start_anew_with_a_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingDisplay(10_000) as shown:
        shown.update(step(4, "fidelity", 100.0))
        shown.update(step(8, "fidelity", 0.0))
        assert "critic/adversarial 48.7" in shown._line()  # 0.95·100 / (0.95 + 1)
        shown.update(step(12, "adversarial", 3.0))
        assert "critic/adversarial 3 " in shown._line()
    capsys.readouterr()


GAUGES = {"equilibrium/real": 3.0, "equilibrium/win": 0.521, "collapse/diversity": 0.91, "mine/[red]x": 7.0}
ALARM = {"kind": "event", "nimg": 12_000, "level": "warning",
         "text": "collapse: the samples differ only 20% as much as real ones: it has collapsed; lower the "
                 "generator's rate, strengthen R1 and R2"}  # fmt: skip


def card(nimg: int, name: str, value: float | None, **more: Any) -> dict[str, Any]:
    return {"kind": "metric", "nimg": nimg, "card": {"name": name, "value": value, **more}}


def drawn(*rows: dict[str, Any], width: int = 100) -> list[str]:
    """The lines that the live display shows after these rows."""
    from rich.console import Console

    shown = TrainingDisplay(1000)
    for row in rows:
        shown.update(row)
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(shown._draw())
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().replace("\u00a0", " ").splitlines()]


def test_the_most_telling_readings_are_on_one_line() -> None:
    lines = drawn(step(4) | {"gauges": GAUGES})
    assert "health     win 0.521  diversity 0.91  real 3  [red]x 7" in lines
    assert not [line for line in drawn(step(4)) if "health" in line]
    assert "health     win –" in drawn(step(4) | {"gauges": {"equilibrium/win": None}})


@pytest.mark.parametrize("width", [30, 34, 46])
def test_a_narrow_terminal_parts_no_name_from_its_value(width: int) -> None:
    lines = drawn(step(4) | {"gauges": GAUGES}, card(4, "FD", 23.4, interval=[22, 25]), ALARM, width=width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert all(word in text for word in ("win 0.521", "diversity 0.91", "[red]x 7", "FD 23.4"))


def test_an_alarm_is_shown_with_its_remedy_and_stays() -> None:
    news = [{"kind": "event", "nimg": 13_000 + n, "level": "info", "text": f"news {n}"} for n in range(9)]
    lines = drawn(step(4), ALARM, *news, width=60)
    text = " ".join(lines)
    assert "12k: collapse: the samples differ only 20%" in text and "strengthen R1 and R2" in text
    assert "news 8" in text and "news 5" not in text
    warnings = [ALARM | {"nimg": n} for n in range(9)]
    text = " ".join(drawn(step(4), *warnings, news[0], width=200))
    assert "news 0" in text and "8: collapse" in text and "5: collapse" not in text


def test_figures_measured_together_stand_together() -> None:
    first = card(100, "FD", 30.0, interval=[29.0, 31.25], unit="")
    lines = drawn(step(4), first, card(100, "KID", None), card(100, "PSNR-Y", 27.125, unit="dB"))
    assert "at 100     FD 30 [29, 31.2]  KID –  PSNR-Y 27.1 dB" in lines
    assert "at 200     KID 0.5" in drawn(step(4), first, card(200, "KID", 0.5))


def test_in_a_pipe_gauges_alarms_and_figures_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingDisplay(1000) as shown:
        shown.update(step(4) | {"gauges": GAUGES})
        shown.update(ALARM)
        shown.update(card(12_000, "FD", 30.0, interval=[29.0, 31.25]))
    line, alarm, figure = capsys.readouterr().err.splitlines()
    assert line.endswith("generator/pixel 0.125  win 0.521  diversity 0.91  real 3  [red]x 7")
    assert alarm == f"warning: 12k: {ALARM['text']}" and figure == "info: 12k: FD 30 [29, 31.2]"


def test_quiet_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingDisplay(100, quiet=True) as shown:
        shown.update(step(4))
        shown.update(WARNING)
    with progress(2, "files", "x", quiet=True) as bar:
        bar.advance()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("quiet", [False, True])
def test_json_prints_each_row_to_stdout(capsys: pytest.CaptureFixture[str], quiet: bool) -> None:
    rows = [step(4, adversarial=None), WARNING]
    with TrainingDisplay(100, json=True, quiet=quiet) as shown:
        for row in rows:
            shown.update(row)
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == rows and err == ""


def test_a_bar_in_a_pipe_speaks_only_of_long_work(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    with progress(5, "files", "Short") as bar:
        for _ in range(5):
            bar.advance()
    assert capsys.readouterr().err == ""
    with progress(50, "files", "Long\x1b[2J") as bar:
        for _ in range(50):
            now[0] += 1
            bar.advance()
    with progress(None, "files", "Endless") as bar:
        now[0] += 40
        bar.advance(80)
    assert capsys.readouterr().err.splitlines() == [
        "Long?[2J: 30/50 files, 1/s, 0:20 left",
        "Long?[2J: 50/50 files, 1/s, 0:00 left",
        "Endless: 80 files, 2/s",
        "Endless: 80 files, 2/s",
    ]


def test_an_error_inside_a_bar_is_not_swallowed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), progress(5, "files", "x"):
        raise KeyError("x")
    assert capsys.readouterr().err == ""


def test_without_a_terminal_rich_is_not_imported() -> None:
    code = (
        "import sys; from gantoolkit.display import progress\n"
        "with progress(2, 'files', 'x') as bar: bar.advance()\n"
        "print('rich' in sys.modules, 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False False\n"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (duration(71), "1:11"), (duration(3671), "1:01:11"), (duration(50 * 3600), "2 d 2 h"),
        (duration(None), "–:––"),
        (images(999), "999"), (images(12_000), "12k"), (images(1_240_000), "1.24M"), (images(25e9), "25000M"),
        (short(0.000123456), "1.23e-4"), (short(12345.6), "12346"), (short(-3.14159), "-3.14"),
        (short(None), "–"),
        (percent(1, 4), "25%"), (percent(0, 0), "100%"),
        (on_one_line("a\nb\x1b[1m\udcff"), "a?b?[1m?"),
    ],
)  # fmt: skip
def test_numbers_are_readable(said: str, expected: str) -> None:
    assert said == expected
