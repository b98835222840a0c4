"""Line charts as inline SVG, coloured by the page's style sheet: small and without scripts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from gantoolkit.readable import images, short

Point = tuple[float, float]

WIDTH, HEIGHT = 560, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 22, 20, 36  # the room for ticks and their numbers
MAX_POINTS = 800
COLOURS = 8  # the style sheet has --c0 … --c7
LOG_ABOVE = 100.0  # a logarithmic axis where values span more than two decades
LARGEST = 1e30  # what lies beyond is drawn there, and what is nearer to 0 than its inverse at 0
LOG_DECADES = 6  # and no more than so many decades below the largest

STYLE = """
:root { --c0:#0072b2; --c1:#d55e00; --c2:#009e73; --c3:#cc79a7; --c4:#8a6d00; --c5:#2f9fd0; --c6:#7b4fb3;
  --c7:#555 }
@media (prefers-color-scheme: dark) { :root { --c0:#58a9e8; --c1:#f08c4a; --c2:#3fc79a; --c3:#e59cc6;
  --c4:#e0c040; --c5:#8fd4f5; --c6:#b99af0; --c7:#aaa } }
figure { margin:0; min-width:0 } figcaption { font-weight:600; margin-bottom:.2rem }
figcaption small { font-weight:400; color:var(--faint) }
svg { width:100%; height:auto; display:block } svg text { font-size:12px; fill:var(--faint) }
svg .grid { stroke:var(--line) } svg .stage { stroke:var(--faint); stroke-dasharray:2 4 }
svg polyline { fill:none; stroke:var(--s); stroke-linejoin:round } svg .raw { opacity:.28; stroke-width:1 }
svg .smooth { stroke-width:2 } svg .dot { fill:var(--s) } svg .bad { fill:var(--error) }
svg .band { fill:var(--s); stroke:var(--s); fill-opacity:.16; stroke-opacity:.3 }
svg .alarm line { stroke:var(--ink); stroke-dasharray:5 3 } svg .alarm path { fill:var(--warning) }
.legend { list-style:none; display:flex; flex-wrap:wrap; gap:.1rem 1rem; margin:.2rem 0 0; padding:0 }
.legend li::before { content:""; display:inline-block; width:.9rem; height:.2rem; background:var(--s);
  vertical-align:middle; margin-right:.4rem } .legend small { color:var(--faint) }
.noted { display:block } .noted li { padding-left:1.3rem; text-indent:-1.3rem }
"""


def chart(
    title: str,
    series: Mapping[str, Sequence[tuple[float, float | None]]],
    *,
    unit: str = "",
    stages: Sequence[tuple[float, str]] = (),
    bands: Mapping[str, Sequence[tuple[float, float, float]]] | None = None,
    alarms: Sequence[tuple[float, str]] = (),
    notes: Mapping[str, str] | None = None,
) -> str:
    """A `<figure>`: each series as a faint raw line below a smoothed one, with axes, ticks and a legend.

    Args:
        title: the heading; escaped, as all names are.
        series: {name: [(nimg, value)]} in order of nimg; None marks a value that was not finite.
        unit: of the values, shown beside the title.
        stages: [(first nimg, name)] of the training's stages, drawn as dotted lines.
        bands: {name of a series: [(nimg, low, high)]}, intervals drawn as a band behind the series.
        alarms: [(nimg, text)], drawn as thin vertical lines that say their text when pointed at.
        notes: {name of a series: what it means}, in the legend.
    """
    bands, notes = bands or {}, notes or {}
    finite = {name: [(x, _tame(y)) for x, y in points if y is not None] for name, points in series.items()}
    finite = {name: points for name, points in finite.items() if points}
    lost = sorted({x for points in series.values() for x, y in points if y is None})
    every = [point for points in finite.values() for point in points]
    if not every:
        return ""
    ends = [_tame(end) for name in finite for _, *interval in bands.get(name, ()) for end in interval]
    y_axis = _Axis([y for _, y in every] + ends, TOP + _plot_height(), TOP, logarithmic=None)
    marked = [x for x, _ in [*every, *alarms]]
    x_axis = _Axis(marked + lost, LEFT, WIDTH - RIGHT, logarithmic=False)
    scale = ", logarithmic" if y_axis.logarithmic else ""
    note = f" <small>{escape(unit)}{scale if unit else scale[2:]}</small>" if unit or scale else ""
    body = _grid(x_axis, y_axis)
    shown = [(nimg, name) for nimg, name in stages if len(stages) > 1 and x_axis.holds(nimg)]
    for nimg, name in shown:
        x = x_axis.at(nimg)
        body.append(f'<line class="stage" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{TOP + _plot_height()}"/>')
        body.append(f'<text x="{x:.1f}" y="{TOP - 7}">{escape(name)}</text>')
    body += _alarms(alarms, x_axis)
    legend = []
    for index, (name, points) in enumerate(finite.items()):
        smooth = smoothed(points)
        body.append(f'<g style="--s:var(--c{index % COLOURS})">')
        if bands.get(name):
            body.append(_band(bands[name], x_axis, y_axis))
        if len(points) == 1:
            x, y = points[0]
            body.append(f'<circle class="dot" r="3" cx="{x_axis.at(x):.1f}" cy="{y_axis.at(y):.1f}"/>')
        else:
            body.append(_polyline("raw", thinned(points), x_axis, y_axis))
            body.append(_polyline("smooth", thinned(smooth), x_axis, y_axis))
        body.append("</g>")
        text = f"{escape(name)} <b>{short(smooth[-1][1])}</b>"
        text += f" <small>{escape(notes[name])}</small>" if name in notes else ""
        legend.append(f'<li style="--s:var(--c{index % COLOURS})">{text}</li>')
    style = "legend noted" if notes else "legend"
    for x in lost[: MAX_POINTS // 8]:
        at = x_axis.at(x)
        body.append(f'<path class="bad" d="M{at - 4:.1f} {TOP}h8l-4 7z"><title>not finite</title></path>')
    return (
        f"<figure><figcaption>{escape(title)}{note}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(body)}</svg>'
        f'<ul class="{style}">{"".join(legend)}</ul></figure>'
    )


def smoothed(points: Sequence[Point]) -> list[Point]:
    """The exponential moving average over a fiftieth of the points, without the bias of its start."""
    memory = 1 - 1 / max(1.0, len(points) / 50)
    total = weight = 0.0
    result = []
    for x, y in points:
        total, weight = memory * total + (1 - memory) * y, memory * weight + (1 - memory)
        result.append((x, total / weight))
    return result


def thinned(points: Sequence[Point], limit: int = MAX_POINTS) -> list[Point]:
    """At most `limit` of the points: the lowest and the highest of each bucket, so that no spike is lost."""
    if len(points) <= limit:
        return list(points)
    buckets = limit // 2
    result = []
    for index in range(buckets):
        bucket = points[index * len(points) // buckets : (index + 1) * len(points) // buckets]
        result += sorted({min(bucket, key=lambda point: point[1]), max(bucket, key=lambda point: point[1])})
    return result


class _Axis:
    """A linear or logarithmic map from values to pixels, with round ticks.

    Args:
        values: what must fit; at least one.
        start, end: the pixels of the smallest and the largest value.
        logarithmic: None chooses: where positive values span more than `LOG_ABOVE`.
    """

    def __init__(self, values: Sequence[float], start: float, end: float, logarithmic: bool | None) -> None:
        low, high = min(values), max(values)
        positive = min((value for value in values if value > 0), default=0.0)
        spans = low >= 0 and positive > 0 and high / positive > LOG_ABOVE
        self.logarithmic = spans if logarithmic is None else logarithmic
        if self.logarithmic:
            low = max(positive, high / 10**LOG_DECADES)
            low, high = 10 ** math.floor(math.log10(low)), high * 1.1
        elif high - low <= 1e-9 * max(abs(low), abs(high)):
            pad = abs(low) / 2 or 0.5
            low, high = low - pad, high + pad
        self._low, self._high, self._start, self._end = low, high, start, end

    def at(self, value: float) -> float:
        """The pixel of `value`; what lies below a logarithmic axis is drawn at its foot."""
        low, high = self._low, self._high
        if self.logarithmic:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
        return self._start + (value - low) / (high - low) * (self._end - self._start)

    def holds(self, value: float) -> bool:
        return self._low <= value <= self._high

    def ticks(self) -> list[float]:
        """Round numbers within the axis: decades, or four to eight multiples of 1, 2 or 5."""
        if self.logarithmic:
            first, last = round(math.log10(self._low)), math.floor(math.log10(self._high))
            return [10.0**power for power in range(first, last + 1)]
        rough = (self._high - self._low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        tick = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.8)
        first = math.ceil(self._low / tick - 1e-9)
        last = math.floor(self._high / tick + 1e-9)
        return [index * tick for index in range(first, last + 1)]


def _tame(value: float) -> float:
    """`value` within what arithmetic on axes bears: a diverging run's numbers may not stop its report."""
    return max(-LARGEST, min(LARGEST, value)) if abs(value) > 1 / LARGEST else 0.0


def _plot_height() -> int:
    return HEIGHT - TOP - BOTTOM


def _grid(x_axis: _Axis, y_axis: _Axis) -> list[str]:
    bottom = TOP + _plot_height()
    parts = []
    for value in y_axis.ticks():
        y = y_axis.at(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{short(value)}</text>')
    for value in x_axis.ticks():
        x = x_axis.at(value)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{images(value)}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">nimg: real images shown</text>')
    return parts


def _alarms(alarms: Sequence[tuple[float, str]], x_axis: _Axis) -> list[str]:
    """One mark a pixel: a gauge that keeps warning may not hide the curves."""
    texts: dict[int, str] = {}
    for nimg, text in alarms:
        texts.setdefault(round(x_axis.at(nimg)), text)
    return [
        f'<g class="alarm"><title>{escape(text)}</title><path d="M{x - 5} {TOP - 9}h10l-5 9z"/>'
        f'<line x1="{x}" x2="{x}" y1="{TOP}" y2="{TOP + _plot_height()}"/></g>'
        for x, text in texts.items()
    ]


def _band(intervals: Sequence[tuple[float, float, float]], x_axis: _Axis, y_axis: _Axis) -> str:
    upper = [(x, _tame(high)) for x, _, high in intervals]
    lower = [(x, _tame(low)) for x, low, _ in reversed(intervals)]
    places = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in upper + lower)
    return f'<polygon class="band" points="{places}"/>'


def _polyline(kind: str, points: Sequence[Point], x_axis: _Axis, y_axis: _Axis) -> str:
    places = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in points)
    return f'<polyline class="{kind}" points="{places}"/>'
