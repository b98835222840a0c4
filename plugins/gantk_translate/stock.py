"""The pictures of one side, decoded once and kept as windows are cut out of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gantk_translate.layout import Entry
from gantk_translate.options import TranslateConfig
from gantk_translate.reading import Survey, conform, read, resized
from gantk_translate.sides import Side

MEMORY = 2**29  # bytes of decoded pictures that are kept; others are decoded whenever they are asked for

Chance = tuple[int, int, bool, int]  # top, left, mirrored, quarter turns of a window


class Stock:
    """The pictures of one side.

    Args:
        name: "A" or "B".
        train, held: pictures to train on, and those kept aside, which are looked at but not kept in memory.
        config: sizes and chance.

    Attributes:
        side: what the training pictures have in common.
        shapes: (H, W, C) of each, training pictures first.
        notes: what was decided, in words.

    Raises:
        InputError: a picture that cannot be read or does not go with the others; it is named.
    """

    def __init__(self, name: str, train: Sequence[Entry], held: Sequence[Entry], config: TranslateConfig) -> None:
        self.name, self.train, self.held = name, list(train), list(held)
        self.size, self.fit, self.mirror, self.turn = config.size, config.fit, config.mirror, config.turn
        self._large = round(config.size * config.jitter)
        survey = Survey(name, config.masks != "none" and name in config.masks)
        self._mask = survey.mask
        self._kept: list[np.ndarray | None] = []
        self.shapes, volume = [], 0
        for entry in self.train:
            found = read(entry, survey.mask)
            survey.add(entry, found)
            self.shapes.append(found.values.shape)
            values = self._prepared(found.values) if volume <= MEMORY else None
            volume += 0 if values is None else values.nbytes
            self._kept.append(values)
        self.side: Side = survey.side()
        self._kept = [v if v is None else conform(e, v, self.side) for e, v in zip(self.train, self._kept, strict=True)]
        for entry in self.held:  # what is wrong with them is said now, and not hours later when scores look at them
            values = conform(entry, read(entry, survey.mask).values, self.side)
            self.shapes.append(values.shape)
        self.notes = survey.notes + self._of_sizes()

    def values(self, index: int) -> np.ndarray:
        """Training picture `index` (H, W, C) in the side's type, at least `size` pixels a side."""
        kept = self._kept[index]
        if kept is not None:
            return kept
        entry = self.train[index]
        return self._prepared(conform(entry, read(entry, self._mask).values, self.side))

    def chance(self, shape: tuple[int, ...], rng: np.random.Generator) -> Chance:
        """A window of a picture of that shape."""
        top, left = (int(rng.integers(n - self.size + 1)) for n in shape[:2])
        return top, left, self.mirror and bool(rng.integers(2)), int(rng.integers(4)) if self.turn else 0

    def cut(self, values: np.ndarray, chance: Chance) -> np.ndarray:
        """That window: (size, size, C)."""
        top, left, mirrored, turns = chance
        window = values[top : top + self.size, left : left + self.size]
        return np.rot90(window[:, ::-1] if mirrored else window, turns)

    def _prepared(self, values: np.ndarray) -> np.ndarray:
        """A picture as windows are cut out of it; a copy, that holds no more than itself."""
        size = self._large if self.fit == "resize" else self.size
        return np.array(at_scale(values, size, self.fit, self._mask))

    def _of_sizes(self) -> list[str]:
        """What becomes of pictures of other sizes, in words."""
        shapes = self.shapes[: len(self.train)]
        if self.fit == "crop":
            small = sum(min(shape[:2]) < self.size for shape in shapes)
            text = f"{small} pictures are smaller than {self.size}×{self.size} and are enlarged"
            return [f"side {self.name}: {text}"] if small else []
        uneven = sum(max(shape[:2]) > 1.02 * min(shape[:2]) for shape in shapes)
        text = f"{uneven} pictures are not square and are stretched to it; --fit crop cuts windows instead"
        return [f"side {self.name}: {text}"] if uneven else []


def at_scale(values: np.ndarray, size: int, fit: str, mask: bool) -> np.ndarray:
    """A whole picture (H, W, C) at the scale that training shows it: (size, size, C), or its own with `fit` "crop".

    Its own scale is enlarged where the shorter side has fewer than `size` pixels.
    """
    height, width = values.shape[:2]
    if fit == "resize":
        return resized(values, (size, size), mask)
    if min(height, width) >= size:
        return values
    scale = size / min(height, width)
    return resized(values, (max(size, round(height * scale)), max(size, round(width * scale))), mask)
