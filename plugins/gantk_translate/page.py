"""The page of `gantk eval translate --page`: figures, what they mean, and pictures; one file without scripts."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np

from gantk_translate.show import fitting
from gantk_translate.trial import Measured
from gantoolkit.metrics import MetricCard

Example = tuple[str, Sequence[np.ndarray]]  # its caption; input, output and target as (H, W, 3) uint8
PNG_BYTES = 150_000  # a larger picture is embedded as JPEG
MEANINGS = {
    "-PD": "Perceptual distance: how different output and target look to a network trained on photographs. 0 is equal.",
    "PSNR": "Signal to noise: how near the numbers of output and target are, pixel by pixel. It likes blur.",
    "SSIM": "Structural similarity of output and target in small windows. 1 is equal.",
    "KID": "Kernel distance of all outputs to all real targets, as sets: do they look like pictures of that kind? The "
    "interval holds it with 95 % confidence; ways whose intervals overlap may not differ at all.",
    "Fréchet": "Distance of the same two sets as two Gaussians of features. It falls with the number of pictures: "
    "compare only figures of one number.",
    "edge-SSIM": "Content kept: similarity of the edges of input and output. The input itself has 1, so this says that "
    "the content stayed, not that anything was translated.",
    "mean IoU": "Agreement of classes: overlap of each class with the truth over their union, the mean over classes.",
    "pixel accuracy": "Share of pixels of the right class. A class that covers most of the pictures rules it.",
    "cycle error": "What is lost on the way to the other side and back again: 0 is nothing.",
}
GROUPS = (
    ("The best", "on which the model is best"),
    ("The middle", "around the median"),
    ("The worst", "on which it fails most"),
)
_STYLE = """
:root { color-scheme:light dark; --ink:#1b1f24; --paper:#fff; --faint:#5d6772; --line:#dfe3e8; --best:#1a7f37 }
@media (prefers-color-scheme: dark) { :root { --ink:#e4e8ec; --paper:#14171b; --faint:#9aa5b1; --line:#333a42;
  --best:#4ac26b } }
* { box-sizing:border-box }
body { font:15px/1.5 system-ui,"DejaVu Sans",sans-serif; color:var(--ink); background:var(--paper); max-width:1100px;
  margin:0 auto; padding:1.5rem } h1 { font-size:1.6rem; margin:0 } h2 { font-size:1.15rem; margin:2rem 0 .6rem }
.wide { overflow-x:auto } table { border-collapse:collapse; width:100% }
td,th { text-align:left; padding:.3rem .8rem .3rem 0; border-bottom:1px solid var(--line); vertical-align:top }
th { color:var(--faint); font-weight:400 } td.number { white-space:nowrap; font-variant-numeric:tabular-nums }
.best { color:var(--best); font-weight:600 } small { color:var(--faint); display:block }
figure { margin:0 0 1rem } figcaption { color:var(--faint); overflow-wrap:anywhere }
.row { display:flex; gap:.5rem } .row img { flex:1; min-width:0; max-width:360px; height:auto; object-fit:contain }
dt { font-weight:600 } dd { margin:0 0 .6rem }
"""


def page(
    rows: Sequence[Measured], protocol: Sequence[str], groups: Sequence[Sequence[Example]], *, paired: bool
) -> str:
    """The page as HTML.

    Args:
        rows: the model, then what it is compared with.
        protocol: how it was measured, a line each.
        groups: examples of the best third, the middle and the worst third of the pictures.
        paired: what pictures are ordered by: distance from the truth, else how many of the input's edges are kept.
    """
    model = rows[0].name
    order = "perceptual distance from the target" if paired else "content kept, because there are no targets"
    columns = ", ".join(("input", "output", "target")[: 3 if paired else 2])
    sections = [f"<h1>{escape(model)}: figures of a translation</h1>", _lines(protocol)]
    sections += ["<h2>Figures</h2>", _table(rows), _meanings(rows)]
    sections.append(f"<h2>Pictures</h2><p>Each row: {columns}. Chosen by {order}, failures included.</p>")
    for (title, words), group in zip(GROUPS, groups, strict=True):
        if group:
            sections.append(f"<h2>{title}</h2><p>Pictures {words}.</p>{''.join(map(_figure, group))}")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:;'
        " style-src 'unsafe-inline'\">"
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(model)}: figures</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(sections)}</body></html>\n"
    )


def thirds(marks: Sequence[float], most: int) -> list[list[int]]:
    """Places of the best of the best third, of the middle of the middle one and of the worst of the worst one.

    Args:
        marks: one a picture, lower is better.
        most: places of each third; fewer pictures give fewer, each once.
    """
    best, middle, worst = (third.tolist() for third in np.array_split(np.argsort(marks, kind="stable"), 3))
    start = max(0, (len(middle) - most) // 2)
    return [best[:most], middle[start : start + most], worst[-most:]]


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _table(rows: Sequence[Measured]) -> str:
    """A row a way; the best of each figure is marked, unless all are equal."""
    cards: dict[str, list[MetricCard]] = {}
    for row in rows:
        for card in row.cards:
            cards.setdefault(card.name, []).append(card)
    head = "".join(f"<th>{escape(n)} {'↑' if c[0].higher_is_better else '↓'}</th>" for n, c in cards.items())
    body = []
    for row in rows:
        known = {card.name: card for card in row.cards}
        cells = "".join(_cell(known.get(name), of) for name, of in cards.items())
        body.append(f"<tr><td>{escape(row.name)}</td>{cells}</tr>")
    return f'<div class="wide"><table><tr><th></th>{head}</tr>{"".join(body)}</table></div>'


def _cell(card: MetricCard | None, among: Sequence[MetricCard]) -> str:
    if card is None:
        return '<td class="number">–</td>'
    values = [other.value for other in among]
    best = max(values) if card.higher_is_better else min(values)
    differ = min(values) < max(values) and card.name != "edge-SSIM"  # which the input itself wins
    style = "number best" if card.value == best and differ else "number"
    interval = f"<small>[{card.interval[0]:.4f}, {card.interval[1]:.4f}]</small>" if card.interval else ""
    return f'<td class="{style}">{card.value:.4f} {escape(card.unit)}{interval}</td>'


def _meanings(rows: Sequence[Measured]) -> str:
    """What each figure of the table says, and its settings."""
    cards = {card.name: card for row in rows for card in row.cards}
    parts = []
    for name, card in cards.items():
        meaning = MEANINGS.get(name) or next((text for key, text in MEANINGS.items() if key in name), "")
        facts = ", ".join(f"{key} {value}" for key, value in card.protocol.items())
        parts.append(f"<dt>{escape(name)}</dt><dd>{escape(meaning)}<small>n {card.n}, {escape(facts)}</small></dd>")
    return f"<dl>{''.join(parts)}</dl>"


def _figure(example: Example) -> str:
    name, pictures = example
    shown = "".join(
        f'<img alt="{what} of {escape(name)}" src="{_embedded(picture)}">'
        for what, picture in zip(("input", "output", "target"), pictures, strict=False)
    )
    return f'<figure><div class="row">{shown}</div><figcaption>{escape(name)}</figcaption></figure>'


def _embedded(picture: np.ndarray) -> str:
    """A picture as a data URL: without loss where that is small."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(fitting(picture)))
    png, jpeg = io.BytesIO(), io.BytesIO()
    image.save(png, "PNG", optimize=True)
    if png.tell() <= PNG_BYTES:
        return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
    image.save(jpeg, "JPEG", quality=90, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"
