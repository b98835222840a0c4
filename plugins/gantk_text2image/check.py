"""What training would make of pictures with captions, and everything that is wrong with them."""

from __future__ import annotations

import shlex
from pathlib import Path

from gantk_text2image.captions import Captioned, open_captions
from gantk_text2image.data import split, values_of
from gantk_text2image.options import Text2ImageConfig
from gantoolkit import texts
from gantoolkit.errors import GantkError
from gantoolkit.task import DataReport

FEW = 1_000  # pictures: fewer are learnt by heart
SHOWN = 8  # values of an attribute


def check(folder: Path) -> DataReport:
    """Look at every picture and every caption; what is listed as a problem, training refuses."""
    try:
        found = open_captions(folder)
    except GantkError as error:
        return DataReport(problems=[(str(folder), str(error))], usable=False)
    report = DataReport(problems=list(found.problems))
    report.facts["layout"] = found.layout
    report.facts["pictures"] = f"{len(found):,} with captions"
    if found.names:
        _pictures(report, found)
        _words(report, found)
        _attributes(report, found)
        report.facts["held out"] = split(found, Text2ImageConfig().held_out)[2]
    if found.notes:
        report.facts["handling"] = "; ".join(found.notes)
    report.usable = not report.problems
    _advise(report, found, folder)
    return report


def _pictures(report: DataReport, found: Captioned) -> None:
    """Sizes and transparency; damaged ones are problems."""
    sizes: set[tuple[int, int]] = set()
    clear = 0
    for row, name in enumerate(found.names):
        try:
            height, width, channels = found.picture(row).shape
        except GantkError as error:
            report.problems.append((name, str(error)))
            continue
        sizes.add((width, height))
        clear += channels in (2, 4)
    if not sizes:
        return
    low, *_, high = sorted(sizes, key=lambda size: size[0] * size[1]) * 2
    report.facts["sizes"] = f"{low[0]}×{low[1]}" + (f" to {high[0]}×{high[1]}" if len(sizes) > 1 else "")
    if clear:
        report.facts["transparency"] = f"{clear:,} pictures, laid on white or on --background"


def _words(report: DataReport, found: Captioned) -> None:
    """How much is said, and in how many words."""
    counts = [len(row.captions) for row in found.rows]
    unique = {text for row in found.rows for text in row.captions}
    each = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    report.facts["captions"] = f"{sum(counts):,}, {each} a picture, {len(unique):,} different"
    report.facts["words"] = f"{len(texts.known_words(unique)):,} different"
    longest = max(sum(texts.is_word(word) for word in texts.words(text)) for text in unique)
    report.facts["longest caption"] = f"{longest:,} words"
    tokens = Text2ImageConfig().tokens
    if longest > tokens:
        report.advice.append(f"captions of more than {tokens} tokens are cut; read more with --tokens {2 * tokens}")


def _attributes(report: DataReport, found: Captioned) -> None:
    """Their values, and how many combinations of them there are."""
    described = [row.attributes for row in found.rows]
    for name, values in values_of(described).items():
        shown = ", ".join(values[:SHOWN]) + (" …" if len(values) > SHOWN else "")
        report.facts[f"attribute {name}"] = f"{len(values):,} values: {shown}"
    if any(described):
        combinations = {tuple(sorted(attributes.items())) for attributes in described}
        report.facts["combinations"] = f"{len(combinations):,} of attributes"


def _advise(report: DataReport, found: Captioned, folder: Path) -> None:
    """What to do next."""
    if report.problems:
        report.advice.append("repair, rename or move out what is listed above; training refuses it")
        return
    few = len(found) < FEW
    if few:
        report.advice.append(f"fewer than {FEW:,} pictures: expect a model that suits these only")
    report.advice.append(f"next: gantk train text2image {shlex.quote(str(folder))}" + (" --preset few" if few else ""))
