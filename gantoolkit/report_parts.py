"""The parts of `report.html` that show measurements: figures, curves, health and pictures, each as HTML.

Rows are those of `gantoolkit.runlog.read_log`; whatever they hold, it is shown as text or passed over.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from gantoolkit import charts, health
from gantoolkit.readable import images, short

Row = Mapping[str, Any]
Points = list[tuple[float, float | None]]

SAMPLES_SHOWN = 8  # evenly spaced, the last one included
SAMPLE_WIDTH = 512
ASIDE_WIDTH, ASIDE_HEIGHT = 1132, 560  # pixels of the page that a picture of its own may take
PNG_BYTES = 150_000  # a larger sample is embedded as JPEG
ALARMS_SHOWN = 12

_UNITS = {"rate": "nimg/s", "grad_norm": "L2 norm"}
_TITLES = {"rate": "Rate", "grad_norm": "Gradient norms", "lr": "Learning rates"}


def none(text: str) -> str:
    """A paragraph that says what is not there."""
    return f'<p class="none">{text}</p>'


def number(value: Any) -> bool:
    """Whether `value` is a finite number that a chart can place."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")


def cell(text: str, style: str) -> str:
    """One cell of a table; the text is escaped."""
    return f'<td class="{style}">{escape(text)}</td>'


# ---- figures ----


def figures(rows: Sequence[Row]) -> str:
    """A table of the latest card of each name, with its interval and protocol, and the best of those alike."""
    cards: dict[str, list[Row]] = {}
    for row in rows:
        if isinstance(row.get("card"), dict):
            cards.setdefault(str(row["card"].get("name")), []).append(row)
    if not cards:
        return ""
    often = any(len(measured) > 1 for measured in cards.values())
    lines = []
    for name, measured in cards.items():
        row, card = measured[-1], measured[-1]["card"]
        up = card.get("higher_is_better")
        arrow = (" ↑" if up else " ↓") if isinstance(up, bool) else ""
        count = short(card["n"]) if number(card.get("n")) else "–"
        cells = cell(name + arrow, "name") + cell(_value(card), "number")
        cells += cell(images(row["nimg"]), "number at") + (cell(_best(measured), "number best") if often else "")
        cells += cell(count, "number n") + cell(stated(card.get("protocol")), "protocol")
        lines.append(f"<tr>{cells}</tr>")
    best = "<th>best</th>" if often else ""
    head = f"<tr><th>figure</th><th>latest</th><th>at nimg</th>{best}<th>n</th><th>protocol</th></tr>"
    return f'<table class="figures">{head}{"".join(lines)}</table>'


def _value(card: Row) -> str:
    text = f"{card['value']:.4g}" if number(card.get("value")) else "–"
    interval = _interval(card)
    text += f" [{interval[0]:.4g}, {interval[1]:.4g}]" if interval else ""
    return f"{text} {card.get('unit') or ''}".rstrip()


def _interval(card: Row) -> tuple[float, float] | None:
    found = card.get("interval")
    if isinstance(found, list) and len(found) == 2 and all(map(number, found)):
        return found[0], found[1]
    return None


def _best(measured: Sequence[Row]) -> str:
    """The best figure and where it was; only figures of the latest one's protocol can be compared with it."""
    last = measured[-1]["card"]
    alike = [
        row
        for row in measured
        if number(row["card"].get("value"))
        and all(row["card"].get(k) == last.get(k) for k in ("protocol", "n", "unit"))
    ]
    if not alike or not isinstance(last.get("higher_is_better"), bool):
        return "–"
    best = (max if last["higher_is_better"] else min)(alike, key=lambda row: row["card"]["value"])
    return f"{best['card']['value']:.4g} at {images(best['nimg'])}"


def stated(protocol: Any) -> str:
    """{"crop": 4, "peak": 255} → "crop 4, peak 255"."""
    if isinstance(protocol, Mapping):
        return ", ".join(f"{key} {value}" for key, value in protocol.items()) or "not stated"
    return str(protocol or "not stated")


# ---- health ----


def healthy(rows: Sequence[Row]) -> str:
    """The alarms in words, then a chart for each gauge and unit with its alarms marked; "" without gauges."""
    gauges: dict[tuple[str, str], dict[str, Points]] = {}
    for row in rows:
        for name, value in health.readings(row).items() if row["kind"] == "step" else ():
            if value is None or number(value):
                gauge, _, reading = name.partition("/")
                lines = gauges.setdefault((gauge, health.UNITS.get(name, "")), {})
                lines.setdefault(reading or gauge, []).append((row["nimg"], value))
    alarms = health.alarms(rows)
    if not gauges and not alarms:
        return ""
    drawn = [
        charts.chart(
            gauge.replace("_", " ").capitalize(),
            lines,
            unit=unit,
            stages=_stages(rows),
            alarms=[(nimg, f"{images(nimg)}: {text}") for nimg, whose, text in alarms if whose == gauge],
            notes={name: note for name in lines if (note := health.MEANINGS.get(f"{gauge}/{name}"))},
        )
        for (gauge, unit), lines in sorted(gauges.items(), key=lambda item: item[0][1] != "")
    ]
    return _alarms(alarms) + f'<div class="charts">{"".join(drawn)}</div>'


def _alarms(alarms: Sequence[tuple[int, str, str]]) -> str:
    """What the gauges said: a gauge that says the same again gets one line."""
    if not alarms:
        return none("No gauge gave alarm.")
    said: dict[str, list[int]] = {}
    for nimg, _, text in alarms:
        said.setdefault(text, []).append(nimg)
    lines = []
    for text, at in list(said.items())[-ALARMS_SHOWN:]:
        often = f", {len(at)} times until {images(at[-1])}" if len(at) > 1 else ""
        lines.append(f"<li><b>At {images(at[0])} images{often}:</b> {escape(text)}</li>")
    more = len(said) - ALARMS_SHOWN
    note = none(f"The {more} oldest alarms are only in log.jsonl.") if more > 0 else ""
    return f'{note}<ul class="alarms">{"".join(lines)}</ul>'


# ---- curves ----


def curves(rows: Sequence[Row]) -> str:
    """A chart for each phase's losses, and for each other number or dict of numbers in steps and metrics."""
    groups: dict[tuple[str, str, str], dict[str, Points]] = {}
    bands: dict[str, list[tuple[float, float, float]]] = {}

    def add(title: str, unit: str, name: str, nimg: float, value: Any, order: str = "1") -> None:
        if value is None or number(value):
            groups.setdefault((order, title, unit), {}).setdefault(name, []).append((nimg, value))

    for row in rows:
        nimg = row["nimg"]
        if row["kind"] == "metric" and isinstance(row.get("card"), dict):
            card = row["card"]
            name = str(card.get("name", "metric"))
            add(name, str(card.get("unit") or ""), name, nimg, card.get("value"), "3")
            if interval := _interval(card):
                bands.setdefault(name, []).append((nimg, *interval))
        if row["kind"] != "step":
            continue
        for key, value in row.items():
            title, unit = _TITLES.get(key, key.replace("_", " ").capitalize()), _UNITS.get(key, "")
            if key in ("nimg", "step", "time", "gauges"):
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
    drawn = [
        charts.chart(title, lines, unit=unit, stages=_stages(rows), bands=bands if order == "3" else None)
        for (order, title, unit), lines in chosen
    ]
    return f'<div class="charts">{"".join(drawn)}</div>' if any(drawn) else ""


def _stages(rows: Sequence[Row]) -> list[tuple[float, str]]:
    """Where each stage begins."""
    stages: list[tuple[float, str]] = []
    for row in rows:
        if row["kind"] == "step" and row.get("stage") and (not stages or stages[-1][1] != str(row["stage"])):
            stages.append((row["nimg"], str(row["stage"])))
    return stages


# ---- pictures ----


def samples(run: Path, rows: Sequence[Row]) -> str:
    """The main pictures over time."""
    rows = [row for row in rows if not row.get("aside")]
    if not rows:
        return none("No sample has been drawn yet.")
    count = min(len(rows), SAMPLES_SHOWN)
    chosen = [rows[round(index * (len(rows) - 1) / max(1, count - 1))] for index in range(count - 1)] + [rows[-1]]
    return f'<div class="samples">{"".join(_figure(run, row, SAMPLE_WIDTH) for row in chosen)}</div>'


def asides(run: Path, rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The latest of each other picture, as (title, HTML)."""
    latest = {str(row.get("name") or "further pictures"): row for row in rows if row.get("aside")}
    return [
        (escape(name[:1].upper() + name[1:]), f'<div class="aside">{_figure(run, row, ASIDE_WIDTH)}</div>')
        for name, row in latest.items()
    ]


def _figure(run: Path, row: Row, width: int) -> str:
    at = escape(f"at {images(row['nimg'])} images")
    alt = escape(f"{row.get('name') or 'sample'} at {images(row['nimg'])} images")
    source = _embedded(run, str(row.get("file", "")), width)
    if source is None:
        picture = none("This picture cannot be read.")
    else:
        data, size = source
        # Small pictures of their own are enlarged by whole pixels, as far as the page has room.
        factor = min(ASIDE_WIDTH // size[0], ASIDE_HEIGHT // size[1]) if width == ASIDE_WIDTH else 1
        large = f' width="{size[0] * factor}" class="pixels"' if factor > 1 else ""
        picture = f'<img alt="{alt}" src="{data}"{large}>'
    return f"<figure>{picture}<figcaption>{at}</figcaption></figure>"


def _embedded(run: Path, file: str, width: int) -> tuple[str, tuple[int, int]] | None:
    """The picture as a data URL, at most `width` pixels wide, and its size; None where there is none inside the run."""
    from PIL import Image

    try:
        path = (run / file).resolve()
        if not path.is_relative_to(run.resolve()):
            return None
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        if picture.width > width:
            height = max(1, round(picture.height * width / picture.width))
            picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        data, kind = _encoded(picture, "PNG", optimize=True), "png"
        if len(data) > PNG_BYTES * width // SAMPLE_WIDTH:
            data, kind = _encoded(picture, "JPEG", quality=90, subsampling=0), "jpeg"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}", picture.size


def _encoded(picture: Any, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()
