"""What training would make of a folder: the layout, both sides, which game fits, and everything that is wrong."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from gantk_translate import likeness
from gantk_translate.data import STRANGE, split
from gantk_translate.layout import WHOLE, Both, Entry, Layout, look
from gantk_translate.options import TranslateConfig
from gantk_translate.reading import MOST_CLASSES, Survey, of_different_sizes, read
from gantoolkit.errors import GantkError, InputError
from gantoolkit.task import DataReport

FEW = 50  # pictures of a side: fewer are learnt by heart
Shape = tuple[int, ...]


def check(folder: Path) -> DataReport:
    """Look at every picture of both sides as it is.

    Masks are pictures here, and said to look like masks. What is listed as a problem, training refuses; what it refuses
    only of masks is advice. What is said of values is of all parts, while training takes the range of its own.
    """
    report = DataReport()
    try:
        layout = look(folder)
    except InputError as error:
        return DataReport(problems=[(str(folder), str(error))], usable=False)
    report.problems += layout.problems
    if not layout.parts:
        report.usable = False
        return report
    report.facts["layout"] = layout.form
    report.facts["pictures"] = ", ".join(_counted(layout))
    masks: dict[str, _Looked] = {}
    shapes: dict[Entry, Shape] = {}
    for side, name in enumerate("AB"):
        looked = _Looked(name, [entry for pair in layout.parts.values() for entry in pair[side]])
        report.problems += looked.problems
        shapes |= looked.shapes
        if looked.shapes:
            report.facts[f"side {name}"] = looked.fact()
        if looked.looks_like_mask:
            masks[name] = looked
        else:
            layout.notes += looked.survey.notes
    report.problems += layout.unmatched + _uneven(layout, shapes)
    learnt: Both = ([], [])
    if not layout.problems:
        try:
            learnt, _, notes = split(layout, TranslateConfig().held_out)
            layout.notes += notes
        except InputError as error:
            report.problems.append((str(folder), str(error)))
    if layout.notes:
        report.facts["handling"] = "; ".join(layout.notes)
    report.usable = not report.problems
    _advise(report, layout, "".join(masks), _unlearnt(masks, learnt))
    return report


class _Looked:
    """What is in the files of one side."""

    def __init__(self, name: str, entries: Sequence[Entry]) -> None:
        self.survey = Survey(name)
        self.shapes: dict[Entry, Shape] = {}
        self.problems: list[tuple[str, str]] = []
        self.classes: dict[Entry, set[int]] = {}  # values, while they may be classes
        self.found: set[int] = set()
        self.looks_like_mask = True
        for entry in entries:
            try:
                values = read(entry)
                self.survey.add(entry, values)
                self.shapes[entry] = values.values.shape
                self._classes(entry)
            except GantkError as error:
                self.problems.append((str(entry.file), str(error)))
        self.looks_like_mask &= len(self.found) > 1
        try:
            if self.shapes and not self.looks_like_mask:
                self.survey.side()
        except InputError as error:
            self.problems.append((str(entries[0].file.parent), str(error)))

    def _classes(self, entry: Entry) -> None:
        """Collect the values as long as they are few and whole numbers."""
        if not self.looks_like_mask:
            return
        try:
            values = read(entry, mask=True).values
        except InputError:  # colours, fractions
            self.looks_like_mask = False
            return
        self.classes[entry] = set(np.unique(values).tolist())
        self.found |= self.classes[entry]
        self.looks_like_mask = len(self.found) <= MOST_CLASSES

    def fact(self) -> str:
        """Sizes, channels, bit depth and range, in words."""
        sizes = sorted({shape[:2] for shape in self.shapes.values()}, key=lambda size: size[0] * size[1])
        (height, width), (h, w) = sizes[0], sizes[-1]
        size = f"{width}×{height}" + (f" to {w}×{h}" if len(sizes) > 1 else "")
        if self.looks_like_mask:
            return f"{size}, as of masks: classes {', '.join(map(str, sorted(self.found)))}"
        channels = " or ".join(str(count) for count in sorted(self.survey.channels))
        types = " or ".join(sorted({dtype for _, dtype in self.survey.seen}))
        kinds = " and ".join(sorted({f"{kind}s" for kind, _ in self.survey.seen}))
        return f"{kinds} of {size}, {channels} × {types}, values {self.survey.low:g} to {self.survey.high:g}"


def _counted(layout: Layout) -> list[str]:
    """Pictures of each part, in words."""
    texts = []
    for part, (a, b) in layout.parts.items():
        what = f"{len(a):,} pairs" if layout.paired else f"{len(a):,} in A and {len(b):,} in B"
        texts.append(what if part == WHOLE else f"{part}: {what}")
    return texts


def _uneven(layout: Layout, shapes: dict[Entry, Shape]) -> list[tuple[str, str]]:
    """Pairs of other proportions, which no game takes as pairs, and a note on those of other sizes."""
    if not layout.paired:
        return []
    pairs = [p for both in layout.parts.values() for p in zip(*both, strict=True) if p[0] in shapes and p[1] in shapes]
    sizes = [(shapes[a], shapes[b]) for a, b in pairs]
    wrong = [of_different_sizes(pair, size, "resize") for pair, size in zip(pairs, sizes, strict=True)]
    other = sum(size[0][:2] != size[1][:2] for size in sizes) - sum(text is not None for text in wrong)
    if other:
        layout.notes.append(f"{other} pairs are of two sizes: --fit resize trains on them, --fit crop does not")
    return [(str(pair[0].file), text) for pair, text in zip(pairs, wrong, strict=True) if text]


def _unlearnt(masks: Mapping[str, _Looked], learnt: Both) -> list[str]:
    """Sides of masks with classes that no mask to train on has, which `--masks` refuses; a line each."""
    lines = []
    for name, looked in masks.items():
        known = set().union(*(looked.classes.get(entry, ()) for entry in learnt["AB".index(name)]))
        new = [(entry, sorted(classes - known)) for entry, classes in looked.classes.items() if classes - known]
        if known and new:
            entry, values = new[0]
            more = f" (and {len(new) - 1} others)" if len(new) > 1 else ""
            shown = ", ".join(map(str, values))
            lines.append(
                f"no mask to train on has the class {shown} of {entry}{more}, so that --masks {name} refuses it: "
                "have some of that class to train on"
            )
    return lines


def _strange(layout: Layout) -> bool:
    pairs = [pair for both in layout.parts.values() for pair in zip(*both, strict=True)]
    return likeness.strange(len(pairs), lambda index: (read(pairs[index][0]).values, read(pairs[index][1]).values))


def _advise(report: DataReport, layout: Layout, masks: str, unlearnt: list[str]) -> None:
    """Which game fits, and the next command."""
    folder = shlex.quote(str(layout.folder))
    only_pairing = len(report.problems) == len(layout.unmatched) > 0
    if report.problems:
        report.advice.append("repair, rename or move out what is listed above; training refuses it")
    if only_pairing:
        report.advice.append(f"or train without pairs: gantk train translate {folder} --game cut")
    if not report.usable:
        return
    if min(map(len, layout.parts.get("train") or layout.parts[WHOLE])) < FEW:
        report.advice.append(f"fewer than {FEW} pictures of a side: expect a model that suits these only")
    report.advice += unlearnt
    if layout.paired and _strange(layout):
        report.advice.append(f"{STRANGE}: --game cut learns without pairs, `gantk eval --no-pairs` measures without")
    masks = "" if unlearnt else masks
    if masks:
        sides = " and ".join(masks)
        report.advice.append(f"side {sides} looks like masks of classes; --masks {masks} learns them as such")
    if layout.paired:
        report.advice.append(
            "games that fit: pix2pix-modern (pairs), pix2pix as in its paper; both learn from the pairs"
        )
        command = f"gantk train translate {folder}"
    else:
        report.advice.append("games that fit: cut (one way, quicker), cyclegan (both ways), style (styles of B)")
        command = f"gantk train translate {folder} --game cut"
    report.advice.append(f"next: {command}" + (f" --masks {masks}" if masks else ""))
