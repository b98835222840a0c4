"""The picture of a run: `RUN/report.html`, one file that needs no network, no script and no other file.

It is drawn from what the run's folder holds: `config.json`, `log.jsonl` (see `gantoolkit.runlog`), `samples/`
and `model/`. A run that is empty, unfinished or damaged gets a report that says so.
"""

from __future__ import annotations

import base64
import io
import json
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from gantoolkit import charts
from gantoolkit.readable import duration, images, percent, short
from gantoolkit.runlog import read_log, write_atomically

REPORT_NAME = "report.html"
SAMPLES_SHOWN = 8  # evenly spaced, the last one included
SAMPLE_WIDTH = 512
EVENTS_SHOWN = 200
PNG_BYTES = 150_000  # a larger sample is embedded as JPEG

_UNITS = {"rate": "nimg/s", "grad_norm": "L2 norm"}
_TITLES = {"rate": "Rate", "grad_norm": "Gradient norms", "lr": "Learning rates"}

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
table { border-collapse:collapse; width:100% } td,th { text-align:left; padding:.3rem .8rem .3rem 0;
  border-bottom:1px solid var(--line); vertical-align:top; overflow-wrap:anywhere }
th { color:var(--faint); font-weight:400 } td.number { white-space:nowrap; font-variant-numeric:tabular-nums }
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
    parts = [
        _header(run, config, rows),
        _section("Figures", _metrics(_of_kind(rows, "metric"))),
        _section("Curves", _charts(rows) or _none("No step has been logged yet.")),
        _section("Samples over time", _samples(run, _of_kind(rows, "sample"))),
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
        f"<title>{title}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
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


def _none(text: str) -> str:
    return f'<p class="none">{text}</p>'


def _status(config: Mapping[str, Any], rows: Sequence[dict[str, Any]], nimg: int) -> str:
    last: Mapping[str, Any] = next((row for row in reversed(rows) if row["kind"] in ("step", "event")), {})
    total = _known(config, "total_nimg")
    known = _number(total) and total > 0
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
        seconds += (row["nimg"] - before) / row["rate"] if _number(row.get("rate")) and row["rate"] > 0 else 0
        before = row["nimg"]
    return seconds


def _clock(seconds: Any) -> str | None:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if _number(seconds) else None
    except (OverflowError, ValueError, OSError):
        return None


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _charts(rows: Sequence[Mapping[str, Any]]) -> str:
    """A chart for each phase's losses, and for each other number or dict of numbers in steps and metrics."""
    groups: dict[tuple[str, str, str], dict[str, list[tuple[float, float | None]]]] = {}
    stages: list[tuple[float, str]] = []

    def add(title: str, unit: str, name: str, nimg: float, value: Any, order: str = "1") -> None:
        if value is None or _number(value):
            groups.setdefault((order, title, unit), {}).setdefault(name, []).append((nimg, value))

    for row in rows:
        nimg = row["nimg"]
        if row["kind"] == "metric" and isinstance(row.get("card"), dict):
            card = row["card"]
            name = str(card.get("name", "metric"))
            add(name, str(card.get("unit") or ""), name, nimg, card.get("value"), "3")
        if row["kind"] != "step":
            continue
        if row.get("stage") and (not stages or stages[-1][1] != row["stage"]):
            stages.append((nimg, str(row["stage"])))
        for key, value in row.items():
            title, unit = _TITLES.get(key, key.replace("_", " ").capitalize()), _UNITS.get(key, "")
            if key in ("nimg", "step", "time"):
                continue
            if key == "losses" and isinstance(value, dict):
                for name, loss in value.items():
                    phase, _, term = name.partition("/")
                    add(f"Losses of {phase}", "", term or phase, nimg, loss, "0")
            elif isinstance(value, dict):
                for name, inner in value.items():
                    add(title, unit, name, nimg, inner)
            else:
                add(title, unit, title, nimg, value)
    # A metric measured once is in the table already; sorting is stable, so each group keeps its order.
    chosen = sorted(
        (item for item in groups.items() if item[0][0] != "3" or len(next(iter(item[1].values()))) > 1),
        key=lambda item: item[0][0],
    )
    drawn = [charts.chart(title, lines, unit=unit, stages=stages) for (_, title, unit), lines in chosen]
    return f'<div class="charts">{"".join(drawn)}</div>' if any(drawn) else ""


def _metrics(rows: Sequence[Mapping[str, Any]]) -> str:
    """The latest card of each name with its protocol."""
    latest = {str(row["card"].get("name")): row for row in rows if isinstance(row.get("card"), dict)}
    if not latest:
        return ""
    lines = []
    for name, row in latest.items():
        card = row["card"]
        value = f"{card['value']:.4g}" if _number(card.get("value")) else "–"
        figure = f"{value} {card.get('unit') or ''}".rstrip()
        cells = [name, figure, images(row["nimg"]), short(card["n"]) if _number(card.get("n")) else "–"]
        protocol = escape(_stated(card.get("protocol")))
        lines.append(f"<tr>{''.join(_cell(cell, 'number') for cell in cells)}<td>{protocol}</td></tr>")
    head = "<tr><th>figure</th><th>value</th><th>at nimg</th><th>n</th><th>protocol</th></tr>"
    return f"<table>{head}{''.join(lines)}</table>"


def _cell(text: str, style: str) -> str:
    return f'<td class="{style}">{escape(text)}</td>'


def _samples(run: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return _none("No sample has been drawn yet.")
    count = min(len(rows), SAMPLES_SHOWN)
    chosen = [rows[round(index * (len(rows) - 1) / max(1, count - 1))] for index in range(count - 1)] + [rows[-1]]
    figures = []
    for row in chosen:
        at = escape(f"at {images(row['nimg'])} images")
        source = _embedded(run, str(row.get("file", "")))
        picture = f'<img alt="sample {at}" src="{source}">' if source else _none("This picture cannot be read.")
        figures.append(f"<figure>{picture}<figcaption>{at}</figcaption></figure>")
    return f'<div class="samples">{"".join(figures)}</div>'


def _embedded(run: Path, file: str) -> str | None:
    """The picture as a data URL of at most `SAMPLE_WIDTH` pixels; None where there is none inside the run."""
    from PIL import Image

    try:
        path = (run / file).resolve()
        if not path.is_relative_to(run.resolve()):
            return None
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        if picture.width > SAMPLE_WIDTH:
            height = max(1, round(picture.height * SAMPLE_WIDTH / picture.width))
            picture = picture.resize((SAMPLE_WIDTH, height), Image.Resampling.LANCZOS)
        data, kind = _encoded(picture, "PNG", optimize=True), "png"
        if len(data) > PNG_BYTES:
            data, kind = _encoded(picture, "JPEG", quality=90, subsampling=0), "jpeg"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _encoded(picture: Any, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _events(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return _none("Nothing out of the ordinary.")
    lines = []
    for row in rows[-EVENTS_SHOWN:]:
        level = str(row.get("level", "info"))
        style = level if level in ("warning", "error") else "info"
        cells = _cell(images(row["nimg"]), "number") + _cell(_clock(row.get("time")) or "", "number")
        cells += _cell(level, "level") + f"<td>{escape(str(row.get('text', '')))}</td>"
        lines.append(f'<tr class="{style}">{cells}</tr>')
    more = len(rows) - EVENTS_SHOWN
    note = _none(f"The {more} oldest events are only in log.jsonl.") if more > 0 else ""
    head = "<tr><th>nimg</th><th>time</th><th>level</th><th>event</th></tr>"
    return f"{note}<table>{head}{''.join(lines)}</table>"


def _stated(protocol: Any) -> str:
    """{"crop": 4, "peak": 255} → "crop 4, peak 255"."""
    if isinstance(protocol, Mapping):
        return ", ".join(f"{key} {value}" for key, value in protocol.items()) or "not stated"
    return str(protocol or "not stated")


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
        return _none("config.json is missing or cannot be read.")
    text = escape(json.dumps(config, indent=2, ensure_ascii=False))
    return f"<details><summary>config.json, resolved</summary><pre>{text}</pre></details>"
