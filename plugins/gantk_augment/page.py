"""`verdict.html`: the answer, the arms and gains with their intervals, and samples; one file without scripts."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from gantk_augment.arms import ARMS
from gantk_augment.verdict import Verdict, share_interval
from gantoolkit import charts
from gantoolkit.metrics import MetricCard

NAME = "verdict.html"
WIDTH, ROW, LEFT, RIGHT, TOP, BOTTOM = 640, 44, 150, 24, 10, 38  # pixels of a plot
SAYS = {
    "real": "the training pictures as they are",
    "classic": "the training pictures, each changed by the recipe whenever it is shown",
    "gan": "training pictures and generated ones",
    "both": "training pictures and generated ones, each changed by the recipe whenever it is shown",
}
TONES = {"use it": "good", "no measurable gain": "even", "don't": "bad"}

_STYLE = (
    """
:root { color-scheme:light dark; --ink:#1b1f24; --paper:#fff; --faint:#5d6772; --line:#dfe3e8; --card:#f6f8fa;
  --error:#c62828; --warning:#9a6700; --good:#1a7f37 }
@media (prefers-color-scheme: dark) { :root { --ink:#e4e8ec; --paper:#14171b; --faint:#9aa5b1; --line:#333a42;
  --card:#1d2127; --error:#ff7b72; --warning:#e3b341; --good:#4ac26b } }
* { box-sizing:border-box }
body { font:15px/1.5 system-ui,"DejaVu Sans",sans-serif; color:var(--ink); background:var(--paper); max-width:980px;
  margin:0 auto; padding:1.5rem } h1 { font-size:1.6rem; margin:0 } h2 { font-size:1.15rem; margin:2rem 0 .6rem }
.answer { border-left:5px solid var(--tone); background:var(--card); padding:.7rem 1rem; margin:1rem 0 }
.answer b { color:var(--tone); font-size:1.25rem } .good { --tone:var(--good) } .even { --tone:var(--faint) }
.bad { --tone:var(--error) } .warning { border-left:3px solid var(--warning); padding:.1rem .7rem; margin:.4rem 0 }
table { border-collapse:collapse; width:100% } td,th { text-align:left; padding:.3rem .8rem .3rem 0;
  border-bottom:1px solid var(--line); vertical-align:top; overflow-wrap:anywhere } th { color:var(--faint);
  font-weight:400 } td.number { white-space:nowrap; font-variant-numeric:tabular-nums }
img { max-width:100%; height:auto; image-rendering:pixelated } .plots svg { max-width:720px }
svg .zero { stroke:var(--ink); stroke-dasharray:4 3 } svg .reach { stroke:var(--s); stroke-width:3 }
svg .one { fill:var(--s); opacity:.35 } svg .name { fill:var(--ink); font-size:13px } small { color:var(--faint) }
"""
    + charts.STYLE
)


def page(
    verdict: Verdict,
    accuracies: Mapping[str, Sequence[float]],
    figures: Sequence[MetricCard],
    gauges: Sequence[MetricCard],
    protocol: Mapping[str, str | int | float],
    sheet: np.ndarray | None,
) -> str:
    """The page as HTML.

    Args:
        accuracies: of each arm, one for each repetition, in 0..1.
        figures: of arms and gains; gauges: of the generated pictures.
        protocol: how it was measured.
        sheet: H×W×3 uint8, generated pictures above their nearest training pictures; None where there are none.
    """
    answer, _, reason = verdict.text.partition(". ")
    warnings = "".join(f'<p class="warning">{escape(text)}</p>' for text in verdict.warnings)
    arms = {name: (values, share_interval(values)) for name, values in accuracies.items()}
    gains = {f"{g.arm} − {g.than}": (g.differences, g.interval) for g in verdict.gains}
    sections = [
        "<h1>Does augmentation help on these pictures?</h1>",
        f'<div class="answer {TONES[verdict.word]}"><b>{escape(answer)}</b><br>{escape(reason)}</div>{warnings}',
        '<h2>Arms</h2><div class="plots">' + dots("Accuracy on real test pictures", arms, unit="%") + "</div>",
        '<h2>Gains</h2><div class="plots">' + dots("Difference of accuracies", gains, unit="points", zero=True),
        "</div><ul>" + "".join(f"<li>{escape(each.text)}</li>" for each in verdict.gains) + "</ul>",
        "<h2>Generated pictures</h2>" + _pictures(sheet) + (_table(gauges) if gauges else ""),
        "<h2>Protocol</h2>" + _protocol(protocol, figures),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:;'
        " style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>verdict: {escape(verdict.word)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(sections)}</body></html>\n"
    )


def dots(
    title: str,
    rows: Mapping[str, tuple[Sequence[float], tuple[float, float] | None]],
    *,
    unit: str,
    zero: bool = False,
) -> str:
    """A `<figure>`: for each row its values as faint dots, their mean, and the interval of the mean as a line.

    A row has the colour of the arm that its name begins with.

    Args:
        rows: {name: (values, interval)} in 0..1, shown times 100.
        unit: of the axis.
        zero: mark 0 by a line, and let the axis hold it.
    """
    shown = {
        name: ([100 * v for v in values], [100 * end for end in interval] if interval else [])
        for name, (values, interval) in rows.items()
    }
    ends = [x for values, interval in shown.values() for x in [*values, *interval]] + ([0.0] if zero else [])
    room = max(0.5, (max(ends) - min(ends)) * 0.06)
    low, high = min(ends) - room, max(ends) + room
    height = TOP + BOTTOM + ROW * len(shown)
    foot = height - BOTTOM

    def at(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    body = []
    for tick in _ticks(low, high):
        body.append(f'<line class="grid" x1="{at(tick):.1f}" x2="{at(tick):.1f}" y1="{TOP}" y2="{foot}"/>')
        body.append(f'<text x="{at(tick):.1f}" y="{foot + 16}" text-anchor="middle">{tick:g}</text>')
    body.append(f'<text x="{WIDTH - RIGHT}" y="{height - 4}" text-anchor="end">{escape(unit)}</text>')
    if zero:
        body.append(f'<line class="zero" x1="{at(0):.1f}" x2="{at(0):.1f}" y1="{TOP}" y2="{foot}"/>')
    for index, (name, (values, interval)) in enumerate(shown.items()):
        colour = next((place for place, arm in enumerate(ARMS) if name.startswith(arm)), len(ARMS))
        y = TOP + ROW * (index + 0.5)
        mean = sum(values) / len(values)
        text = f"{mean:+.1f}" if zero else f"{mean:.1f}"
        body.append(f'<g style="--s:var(--c{colour})"><title>{escape(name)}: {text} {unit}</title>')
        body.append(
            f'<text class="name" x="{LEFT - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(name)} {text}</text>'
        )
        body += [f'<circle class="one" r="3.5" cx="{at(value):.1f}" cy="{y + 9:.1f}"/>' for value in values]
        if interval:
            first, last = map(at, interval)
            body.append(f'<line class="reach" x1="{first:.1f}" x2="{last:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        body.append(f'<circle class="dot" r="5.5" cx="{at(mean):.1f}" cy="{y:.1f}"/></g>')
    note = "mean, 95 % interval of the mean, single repetitions"
    return (
        f"<figure><figcaption>{escape(title)} <small>{escape(unit)}: {note}</small></figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">{"".join(body)}</svg></figure>'
    )


def _ticks(low: float, high: float) -> list[float]:
    """Five to ten round numbers between two ends."""
    rough = (high - low) / 6
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.8)
    return [round(n * step, 10) + 0.0 for n in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]


def _pictures(sheet: np.ndarray | None) -> str:
    from PIL import Image

    if sheet is None:
        return "<p>No generated picture passed the model's filters.</p>"
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    says = "Above: generated pictures of the first repetition. Below each: the training pictures nearest to it."
    return f'<p>{says}</p><img alt="generated pictures and their neighbours" src="data:image/png;base64,{data}">'


def _table(figures: Sequence[MetricCard]) -> str:
    rows = []
    for card in figures:
        interval = f" [{card.interval[0]:.3f}, {card.interval[1]:.3f}]" if card.interval else ""
        facts = escape(", ".join(f"{key} {value}" for key, value in card.protocol.items()))
        name = escape(f"{card.name} {'↑' if card.higher_is_better else '↓'}")
        rows.append(
            f'<tr><td class="number">{name}</td><td class="number">{card.value:.3f}{interval}</td><td>{facts}</td></tr>'
        )
    return f"<table><tr><th>figure</th><th>value</th><th>protocol</th></tr>{''.join(rows)}</table>"


def _protocol(protocol: Mapping[str, str | int | float], figures: Sequence[MetricCard]) -> str:
    n = figures[0].n if figures else 0
    arms = "".join(f"<li><b>{arm}</b>: {SAYS[arm]}</li>" for arm in ARMS)
    facts = "".join(
        f"<tr><td>{escape(key)}</td><td>{escape(str(value))}</td></tr>"
        for key, value in {**protocol, "test pictures": f"{n:,}, real, none of them used in any fit"}.items()
    )
    return (
        f"<p>One small classifier was fitted for each arm and repetition, from the same start and for equally many "
        f"steps, and tested on the same {n:,} real pictures:</p><ul>{arms}</ul>"
        "<p>Differences are taken within a repetition. Each interval holds the mean over repetitions with 95 % "
        "confidence (Student's t); it covers the drawing of the training pictures where they are drawn anew, the "
        "generator and the fits, and not the choice of test pictures. “Use it” is said only where the whole interval "
        f"lies above 0, “don't” only where it lies below.</p><table>{facts}</table>"
    )
