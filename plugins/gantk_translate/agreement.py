"""Agreement of classes: what a translation says is where, against segmentation masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gantk_translate import figures
from gantk_translate.layout import Layout, entries_in
from gantk_translate.reading import read, resized
from gantk_translate.sides import Side
from gantoolkit.errors import InputError
from gantoolkit.segmentation import Confusion

Planes = np.ndarray  # (C, H, W) float32, [-1, 1]
Masks = Callable[[int, tuple[int, int]], np.ndarray]  # (which picture, height and width) -> (H, W) classes


@dataclass(frozen=True)
class Agreement:
    """How outputs become classes, and the true ones.

    Attributes:
        classes: all of them.
        classify: an output's planes -> (H, W).
        truth: see `Masks`.
        protocol: how classes were told, for the cards.
    """

    classes: tuple[int, ...]
    classify: Callable[[Planes], np.ndarray]
    truth: Masks
    protocol: figures.Settings = field(default_factory=dict)

    def confusion(self) -> Confusion:
        return Confusion(self.classes)


def of_masks(side: Side, truth: Callable[[int, tuple[int, int]], Planes]) -> Agreement:
    """Where the target itself is a mask."""
    return Agreement(
        side.classes,
        lambda planes: side.decode(planes)[..., 0],
        lambda index, size: side.decode(truth(index, size))[..., 0],
    )


def by_colour(reals: Callable[[], Iterable[Planes]], masks: Masks) -> Agreement:
    """Where pictures have masks beside them: each pixel has the class whose mean colour, in real targets, is nearest.

    A plain rule, and so the card says what share of the real targets' own pixels it gets right: no translation can be
    expected to do better.

    Args:
        reals: goes over the real targets, in order; the rule is fitted on them, not on what is measured.
        masks: the true classes.
    """
    sums: dict[int, np.ndarray] = {}
    counts: dict[int, int] = {}
    for index, planes in enumerate(reals()):
        mask = masks(index, (planes.shape[1], planes.shape[2]))
        for value in np.unique(mask).tolist():
            pixels = planes[:, mask == value].astype(np.float64)
            sums[value] = sums.get(value, 0) + pixels.sum(1)
            counts[value] = counts.get(value, 0) + pixels.shape[1]
    classes = tuple(sorted(sums))
    colours = np.stack([sums[value] / counts[value] for value in classes])
    classify = _nearest(classes, colours)
    confusion = Confusion(classes)
    for index, planes in enumerate(reals()):
        confusion.add(classify(planes), masks(index, (planes.shape[1], planes.shape[2])))
    iou, accuracy = (card.value for card in confusion.cards())
    words: figures.Settings = {
        "classes by": "nearest mean colour",
        "real targets reach": f"IoU {iou:.3f}, accuracy {accuracy:.3f}",
    }
    return Agreement(classes, classify, masks, words)


def _nearest(classes: tuple[int, ...], colours: np.ndarray) -> Callable[[Planes], np.ndarray]:
    """Classes by colours (K, C)."""
    values = np.asarray(classes)

    def classify(planes: Planes) -> np.ndarray:
        # |x − c|² without |x|², which is the same for all
        distance = (colours**2).sum(1)[:, None, None] - 2 * np.tensordot(colours, planes.astype(np.float64), 1)
        return values[distance.argmin(0)]

    return classify


def in_folder(folder: Path, names: list[str]) -> Masks:
    """Masks by the names of pictures.

    Raises:
        InputError: no such folder, two files of one name, or a picture without a mask.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder", expected="a folder of masks")
    layout = Layout(folder)
    found = {entry.name: entry for entry in entries_in(layout, folder)}
    for file, wrong in layout.problems:
        raise InputError(wrong if file in wrong else f"{file}: {wrong}")
    without = [name for name in names if name not in found]
    if without:
        more = f" and {len(without) - 1} others" if len(without) > 1 else ""
        raise InputError(f"{folder} has no mask for {without[0]}{more}", expected="the same names as the inputs")

    def mask(index: int, size: tuple[int, int]) -> np.ndarray:
        values = read(found[names[index]], mask=True).values
        return resized(values, size, mask=True)[..., 0]

    return mask
