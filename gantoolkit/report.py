"""The picture of a run: `RUN/report.html`, one file that needs no network, no script and no other file.

It is drawn from what the run's folder holds: `config.json`, `log.jsonl` (see `gantoolkit.runlog`), `samples/`
and `model/`. A run that is empty, unfinished or damaged gets a report that says so.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from gantoolkit import charts
from gantoolkit import report_parts as parts
from gantoolkit.readable import duration, images, percent
from gantoolkit.report_parts import cell, none, number
from gantoolkit.runlog import read_log, write_atomically

REPORT_NAME = "report.html"
EVENTS_SHOWN = 200

_STYLE = (
    """
:root { color-scheme:light dark; --ink:#1b1f24; --paper:#fff; --faint:#5d6772; --line:#dfe3e8; --card:#f6f8fa;
  --error:#c62828; --warning:#9a6700 }
@media (prefers-color-scheme: dark) { :root { --ink:#e4e8ec; --paper:#14171b; --faint:#9aa5b1; --line:#333a42;
  --card:#1d2127; --error:#ff7b72; --warning:#e3b341 } }
* { box-sizing:border-box }
body { font:15px/1.5 system-ui,"DejaVu Sans",sans-serif; color:var(--ink); background:var(--paper);
  max-width:1180px; margin:0 auto; padding:1.5rem }
h1 { margin:0; font-size:1.6rem; overflow-wrap:anywhere } h2 { font-size:1.15rem; margin:2rem 0 .6rem }
.status { color:var(--faint); margin:.1rem 0 1rem } .status.error { color:var(--error) }
dl { display:grid; grid-template-columns:repeat(auto-fit,minmax(165px,1fr)); gap:.5rem; margin:0 }
dl div { background:var(--card); border-radius:6px; padding:.45rem .7rem; min-width:0 }
dt { color:var(--faint); font-size:.8rem } dd { margin:0; font-weight:600; overflow-wrap:anywhere }
.charts { display:grid; grid-template-columns:repeat(auto-fit,minmax(min(100%,430px),1fr)); gap:1.6rem 2rem }
.samples { display:grid; grid-template-columns:repeat(auto-fill,minmax(min(100%,250px),1fr)); gap:1rem }
.samples img { max-width:100%; height:auto; display:block; border-radius:4px; background:var(--card) }
.samples figcaption { font-weight:400; color:var(--faint) }
.aside img { max-width:100%; height:auto; display:block; border-radius:4px }
.aside figcaption { font-weight:400; color:var(--faint) } .pixels { image-rendering:pixelated }
.alarms { margin:0 0 1rem; padding:0; list-style:none }
.alarms li { border-left:3px solid var(--warning); padding:.1rem .7rem; margin:.4rem 0; overflow-wrap:anywhere }
table { border-collapse:collapse; width:100% } td,th { text-align:left; padding:.3rem .8rem .3rem 0;
  border-bottom:1px solid var(--line); vertical-align:top; overflow-wrap:anywhere }
th { color:var(--faint); font-weight:400 } td.number { white-space:nowrap; font-variant-numeric:tabular-nums }
.figures td.name { font-weight:600 } .figures td.name,.figures th { white-space:nowrap }
@media (max-width:760px) { .figures th { display:none } .figures tr { display:block; padding:.3rem 0;
  border-bottom:1px solid var(--line) } .figures td { display:inline-block; padding:0 .8rem 0 0; border:0 }
  .figures td.protocol { display:block } .at::before { content:"at " } .best::before { content:"best " }
  .figures .n::before { content:"n " } }
tr.warning td.level { color:var(--warning) } tr.error td.level { color:var(--error); font-weight:600 }
pre { background:var(--card); border-radius:6px; padding:.8rem; overflow-x:auto; margin:.5rem 0 }
summary { cursor:pointer } .none { color:var(--faint) }
"""
    + charts.STYLE
)


def write_report(run: Path) -> Path:
    """Write `run/report.html`, replacing an older one atomically, and return its path.

    Reads from `config.json`, where they are there: `task`, `seed`, `versions`, `total_nimg` and `command`
    (the arguments of the training command), each at the top or inside `config`. The last event says how
    the run ended: "run done", "run interrupted" or one of level "error".

    Raises:
        InputError: the folder cannot be written or the disk is full.
    """
    run = Path(run)
    rows = read_log(run)
    config = _read_config(run)
    pictures = _of_kind(rows, "sample")
    sections = [
        _header(run, config, rows),
        _section("Figures", parts.figures(_of_kind(rows, "metric"))),
        _section("Health", parts.healthy(rows)),
        _section("Samples over time", parts.samples(run, pictures)),
        *(_section(title, body) for title, body in parts.asides(run, pictures)),
        _section("Curves", parts.curves(rows) or none("No step has been logged yet.")),
        _section("Events", _events(_of_kind(rows, "event"))),
        _section("Next", _next_commands(run, config, rows)),
        _section("Configuration", _configuration(config)),
    ]
    title = escape(f"{_known(config, 'task') or 'run'}: {run.resolve().name}")
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        # Whatever the run's folder holds, the page loads nothing and runs nothing.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:;'
        " style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    )
    path = run / REPORT_NAME
    write_atomically(path, page.encode("utf-8", "replace"))
    return path


def _read_config(run: Path) -> dict[str, Any]:
    try:
        config = json.loads((run / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def _known(config: Mapping[str, Any], key: str) -> Any:
    inner = config.get("config")
    return config.get(key, inner.get(key) if isinstance(inner, dict) else None)


def _of_kind(rows: Iterable[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["kind"] == kind]


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>" if body else ""


def _status(config: Mapping[str, Any], rows: Sequence[dict[str, Any]], nimg: int) -> str:
    last: Mapping[str, Any] = next((row for row in reversed(rows) if row["kind"] in ("step", "event")), {})
    total = _known(config, "total_nimg")
    known = number(total) and total > 0
    if last.get("text") == "run done" or (known and nimg >= total):
        return "Finished"
    if last.get("level") == "error":
        errors = [row.get("text", "") for row in rows[-5:] if row.get("level") == "error"]
        return f"Stopped at {images(nimg)} images: {errors[0]}"
    if not nimg:
        return "Not started: no step has been logged"
    reached = f"{percent(nimg, total)} of {images(total)}" if known else images(nimg)
    start = "Interrupted" if last.get("text") == "run interrupted" else "Unfinished"
    return f"{start}: {reached} images shown"


def _header(run: Path, config: Mapping[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    steps = _of_kind(rows, "step")
    nimg = steps[-1]["nimg"] if steps else 0
    status, style = _status(config, rows, nimg), "status"
    if status.startswith("Stopped"):
        style = "status error"
    facts = {"stage": steps[-1].get("stage") if steps else None, "nimg": f"{nimg:,}" if steps else None}
    if steps:
        facts["steps"] = f"{steps[-1].get('step', 0):,}"
        facts["training time"] = duration(_seconds_trained(steps))
        facts["last step logged"] = _clock(steps[-1].get("time"))
    facts["seed"] = _known(config, "seed")
    versions = _known(config, "versions")
    facts |= versions if isinstance(versions, dict) else {"version": versions}
    cells = "".join(
        f"<div><dt>{escape(str(name))}</dt><dd>{escape(_fact(value))}</dd></div>"
        for name, value in facts.items()
        if value is not None
    )
    heading = escape(f"{_known(config, 'task') or 'run'}: {run.resolve().name}")
    return f'<h1>{heading}</h1><p class="{style}">{escape(status)}</p><dl>{cells}</dl>'


def _fact(value: Any) -> str:
    return ", ".join(f"{key}: {inner}" for key, inner in value.items()) if isinstance(value, dict) else str(value)


def _seconds_trained(steps: Sequence[Mapping[str, Any]]) -> float:
    """Images over rate, summed: the pauses between a run's parts do not count."""
    seconds, before = 0.0, 0
    for row in steps:
        seconds += (row["nimg"] - before) / row["rate"] if number(row.get("rate")) and row["rate"] > 0 else 0
        before = row["nimg"]
    return seconds


def _clock(seconds: Any) -> str | None:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if number(seconds) else None
    except (OverflowError, ValueError, OSError):
        return None


def _events(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return none("Nothing out of the ordinary.")
    lines = []
    for row in rows[-EVENTS_SHOWN:]:
        level = str(row.get("level", "info"))
        style = level if level in ("warning", "error") else "info"
        cells = cell(images(row["nimg"]), "number") + cell(_clock(row.get("time")) or "", "number")
        cells += cell(level, "level") + f"<td>{escape(str(row.get('text', '')))}</td>"
        lines.append(f'<tr class="{style}">{cells}</tr>')
    more = len(rows) - EVENTS_SHOWN
    note = none(f"The {more} oldest events are only in log.jsonl.") if more > 0 else ""
    head = "<tr><th>nimg</th><th>time</th><th>level</th><th>event</th></tr>"
    return f"{note}<table>{head}{''.join(lines)}</table>"


def _next_commands(run: Path, config: Mapping[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    task, command = _known(config, "task"), _known(config, "command")
    lines = []
    if not rows or _status(config, rows, rows[-1]["nimg"]) != "Finished":
        lines.append("# to go on, run the training command again")
        if isinstance(command, (list, str)) and command:
            lines.append(command if isinstance(command, str) else shlex.join(str(part) for part in command))
    if task and (run / "model").is_dir():
        model = shlex.quote(str(run / "model"))
        lines += ["# use the model", f"gantk run {shlex.quote(str(task))} INPUT --model {model}"]
        lines += ["# look at it", f"gantk models show {model}"]
    if (run / "events").is_dir():
        lines += ["# follow in TensorBoard", f"tensorboard --logdir {shlex.quote(str(run / 'events'))}"]
    return f"<pre>{escape(chr(10).join(lines))}</pre>" if lines else ""


def _configuration(config: Mapping[str, Any]) -> str:
    if not config:
        return none("config.json is missing or cannot be read.")
    text = escape(json.dumps(config, indent=2, ensure_ascii=False))
    return f"<details><summary>config.json, resolved</summary><pre>{text}</pre></details>"
