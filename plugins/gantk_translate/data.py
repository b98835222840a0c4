"""What a translator is trained on: pairs, or two sides; and the examples that scores look at."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from gantk_translate import games
from gantk_translate.layout import WHOLE, Both, Entry, Layout, find
from gantk_translate.options import Direction, TranslateConfig
from gantk_translate.reading import Survey, conform, read, resized, sizes_differ
from gantk_translate.sides import Side
from gantoolkit.data import split_by_name
from gantoolkit.errors import InputError

MEMORY = 2**30  # bytes of decoded pictures of a side that are kept
STAND_INS = 8  # pictures to score on where nothing is held out
Part = Literal["test", "train", "all"]


class Pictures(Sequence[np.ndarray]):
    """Values of entries, each (H, W, C), decoded when it is asked for."""

    def __init__(self, entries: Sequence[Entry], load: Callable[[Entry], np.ndarray]) -> None:
        self.entries, self._load = list(entries), load

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> Pictures: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | Pictures:
        if isinstance(index, slice):
            return Pictures(self.entries[index], self._load)
        return self._load(self.entries[index])


@dataclass(frozen=True)
class Examples:
    """What scores look at.

    Attributes:
        paired: targets[i] belongs to sources[i].
        names: of the sources.
        sources, targets: (H, W, C) as read; transparency is laid on white, masks are their classes (H, W, 1).
    """

    paired: bool
    names: list[str]
    sources: Sequence[np.ndarray]
    targets: Sequence[np.ndarray]


class Data:
    """The training pictures of both sides, with the direction applied: source is "a" in items, target "b".

    Pairs are drawn together where the game learns from pairs; the other games get a target by chance.

    Attributes:
        source, target: what the files of each side hold.
        paired: items are pairs.
        size: of an item, in pixels a side.
        notes: what was decided, in words.

    Raises:
        InputError: the folder cannot be used, or holds no pairs for a game that needs them.
    """

    def __init__(self, config: TranslateConfig, folder: Path) -> None:
        self.paired, self.size = config.game in games.PAIRED, config.size
        self.layout = find(folder, pairs=self.paired)
        if self.paired and not self.layout.paired:
            raise InputError(
                f"{folder} holds no pairs, which {config.game} learns from ({self.layout.form})",
                expected="the same names on both sides",
                remedy="rename them, or train without pairs with --game cut",
            )
        train, held, notes = split(self.layout, config.held_out)
        swapped = config.direction == "BtoA"
        names, self._train, self._held = "BA" if swapped else "AB", _in(train, swapped), _in(held, swapped)
        self._fit, self._mirror, self._turn = config.fit, config.mirror, config.turn
        self._large = round(config.size * config.jitter) if config.fit == "resize" else config.size
        surveys = [Survey(name, config.masks != "none" and name in config.masks) for name in names]
        self._kept: list[list[np.ndarray | None]] = [[], []]
        shapes = [self._look(side, survey) for side, survey in enumerate(surveys)]
        if self.paired:
            for entries, pair in zip(zip(*self._train, strict=True), zip(*shapes, strict=True), strict=True):
                if wrong := sizes_differ(entries, pair, config.fit):
                    raise InputError(wrong, remedy="bring both to one size")
        self.source, self.target = self.sides = tuple(survey.side() for survey in surveys)  # type: ignore[assignment]
        for side, survey in enumerate(surveys):
            notes += survey.notes + self._sizes(survey.name, shapes[side])
            self._kept[side] = [v if v is None else conform(v, self.sides[side]) for v in self._kept[side]]
            self._refuse_unknown_classes(side)
        self.notes = (self.layout.form, *self.layout.notes, *notes)

    def __len__(self) -> int:
        return len(self._train[0])

    def item(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        """{"a": (source.planes, size, size), "b": (target.planes, size, size)} float32 in [-1, 1].

        A random window, mirrored and turned by chance; the same of both where they are a pair.
        """
        import torch

        other = index if self.paired else int(rng.integers(len(self._train[1])))
        first, second = self._values(0, index), self._values(1, other)
        chance = self._chance(first.shape, rng)
        cut = [self._cut(first, chance), self._cut(second, chance if self.paired else self._chance(second.shape, rng))]
        planes = (torch.from_numpy(side.encode(values)) for side, values in zip(self.sides, cut, strict=True))
        return dict(zip("ab", planes, strict=True))

    def held_out(self) -> Examples:
        """The pictures kept aside; where there are none, the first few of the training pictures."""
        loads = [_loader(side.kind == "mask", side) for side in self.sides]
        entries = [entries or self._train[side][:STAND_INS] for side, entries in enumerate(self._held)]
        return Examples(
            self.layout.paired,
            [e.name for e in entries[0]],
            Pictures(entries[0], loads[0]),
            Pictures(entries[1], loads[1]),
        )

    def standard(self, values: np.ndarray, side: Side) -> np.ndarray:
        """A whole picture (H, W, C) as items have it, without chance: (size, size, C), resized or the middle window."""
        mask = side.kind == "mask"
        if self._fit == "resize":
            return resized(values, (self.size, self.size), mask)
        values = _enlarged(values, self.size, mask)
        top, left = ((n - self.size) // 2 for n in values.shape[:2])
        return values[top : top + self.size, left : left + self.size]

    # ---- pictures in memory ----

    def _look(self, side: int, survey: Survey) -> list[tuple[int, ...]]:
        """Decode all pictures of a side once: their shapes; as many as fit are kept as items need them."""
        shapes, volume = [], 0
        for entry in self._train[side]:
            found = read(entry, survey.mask)
            survey.add(entry, found)
            shapes.append(found.values.shape)
            values = self._prepared(found.values, survey.mask) if volume <= MEMORY else None
            volume += 0 if values is None else values.nbytes
            self._kept[side].append(values if volume <= MEMORY else None)
        return shapes

    def _prepared(self, values: np.ndarray, mask: bool) -> np.ndarray:
        """A picture as windows are cut out of it; a copy, that holds no more than itself."""
        if self._fit == "resize":
            values = resized(values, (self._large, self._large), mask)
        return np.array(_enlarged(values, self.size, mask))

    def _values(self, side: int, index: int) -> np.ndarray:
        kept = self._kept[side][index]
        if kept is not None:
            return kept
        mask = self.sides[side].kind == "mask"
        values = conform(read(self._train[side][index], mask).values, self.sides[side])
        return self._prepared(values, mask)

    def _sizes(self, name: str, shapes: Sequence[tuple[int, ...]]) -> list[str]:
        """What becomes of pictures of other sizes, in words."""
        small = sum(min(shape[:2]) < self.size for shape in shapes)
        stretched = sum(max(shape[:2]) > 1.02 * min(shape[:2]) for shape in shapes)
        if self._fit == "crop":
            text = f"side {name}: {small} pictures are smaller than {self.size}×{self.size} and are enlarged"
            return [text] if small else []
        text = (
            f"side {name}: {stretched} pictures are not square and are stretched to it; --fit crop cuts windows instead"
        )
        return [text] if stretched else []

    def _refuse_unknown_classes(self, side: int) -> None:
        if self.sides[side].kind == "mask":
            for entry in self._held[side]:
                refuse_unknown_classes(entry, self.sides[side].classes)

    # ---- geometry ----

    def _chance(self, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[int, int, bool, int]:
        """(top, left, mirrored, quarter turns) of a window."""
        top, left = (int(rng.integers(n - self.size + 1)) for n in shape[:2])
        return top, left, self._mirror and bool(rng.integers(2)), int(rng.integers(4)) if self._turn else 0

    def _cut(self, values: np.ndarray, chance: tuple[int, int, bool, int]) -> np.ndarray:
        top, left, mirrored, turns = chance
        window = values[top : top + self.size, left : left + self.size]
        return np.rot90(window[:, ::-1] if mirrored else window, turns)


def _enlarged(values: np.ndarray, size: int, mask: bool) -> np.ndarray:
    """A picture whose shorter side has at least `size` pixels."""
    height, width = values.shape[:2]
    if min(height, width) >= size:
        return values
    scale = size / min(height, width)
    return resized(values, (max(size, round(height * scale)), max(size, round(width * scale))), mask)


def _in(both: Both, swapped: bool) -> Both:
    return (both[1], both[0]) if swapped else both


def _loader(mask: bool, side: Side | None = None) -> Callable[[Entry], np.ndarray]:
    def load(entry: Entry) -> np.ndarray:
        values = read(entry, mask).values
        return values if side is None else conform(values, side)

    return load


def refuse_unknown_classes(entry: Entry, classes: Sequence[int]) -> None:
    """Nothing if a mask has no other classes.

    Raises:
        InputError: naming the file and the classes.
    """
    unknown = np.setdiff1d(read(entry, mask=True).values, classes)
    if unknown.size:
        shown = ", ".join(map(str, unknown[:5].tolist()))
        raise InputError(
            f"{entry} has classes that no training mask has", expected=", ".join(map(str, classes)), actual=shown
        )


# ---- parts ----


def split(layout: Layout, held_out: float) -> tuple[Both, Both, list[str]]:
    """(to train on, kept aside, notes): the folder's own parts, else by the names of the files.

    All slices of a volume, and both pictures of a pair, come to one side of the split.

    Raises:
        InputError: parts without one to train on.
    """
    parts = layout.parts
    if WHOLE not in parts and "train" not in parts:
        raise InputError(f"{layout.folder} has no pictures to train on", expected="train/", actual=", ".join(parts))
    whole = parts.get("train") or parts[WHOLE]
    for name in ("val", "test"):
        if name in parts:
            return whole, parts[name], [f"scores while training look at {name}/"]
    if layout.paired:
        kept = _kept_by_name(whole[0], held_out)
        train, held = (tuple([e for e, k in zip(s, kept, strict=True) if k is w] for s in whole) for w in (False, True))
    else:
        kept_of = [_kept_by_name(side, held_out) for side in whole]
        train, held = (
            tuple([e for e, k in zip(s, kept, strict=True) if k is w] for s, kept in zip(whole, kept_of, strict=True))
            for w in (False, True)
        )
    if not all(train) or not all(held):  # of a few pictures, a tenth may be none
        few = tuple(side[:STAND_INS] for side in whole)
        return whole, ([], []), [f"nothing is held out: scores look at {len(few[0])} of the training pictures"]
    return train, held, [f"{len(held[0])} of {len(whole[0])} pictures are held out by name"]  # type: ignore[return-value]


def _kept_by_name(entries: Sequence[Entry], held_out: float) -> list[bool]:
    held = set(split_by_name(sorted({e.file for e in entries}), held_out)[1])
    return [e.file in held for e in entries]


def examples(
    folder: Path,
    part: Part,
    *,
    direction: Direction = "AtoB",
    held_out: float = 0.1,
    masks: str = "none",
    number: int = 0,
    pairs: bool = True,
) -> Examples:
    """Pictures to score a model on.

    Args:
        folder: pairs or two sides, as for training.
        part: "test" is the folder's own test or val, else what training kept aside; "train" the rest; "all" both.
        direction, held_out, masks: as in `TranslateConfig`.
        number: at most so many, picked by the hash of their names; 0 takes all.
        pairs: False where partners do not matter, see `layout.find`.

    Raises:
        InputError: the folder cannot be used, or the part is empty.
    """
    layout = find(folder, pairs=pairs)
    if part == "all":
        both = tuple([entry for pair in layout.parts.values() for entry in pair[side]] for side in (0, 1))
    elif part == "test" and "test" in layout.parts:
        both = layout.parts["test"]
    else:
        train, held, _ = split(layout, held_out)
        both = train if part == "train" else held
    if not all(both):
        raise InputError(f"{folder} has no pictures in the part {part!r}", remedy="score on others with --part all")
    first = _some(both[0], number)
    second = [both[1][i] for i in first] if layout.paired else [both[1][i] for i in _some(both[1], number)]
    entries, names = ([both[0][i] for i in first], second), "AB"
    if direction == "BtoA":
        entries, names = entries[::-1], "BA"
    sources, targets = (
        Pictures(e, _loader(masks != "none" and n in masks)) for e, n in zip(entries, names, strict=True)
    )
    return Examples(layout.paired, [entry.name for entry in entries[0]], sources, targets)


def _some(entries: Sequence[Entry], number: int) -> list[int]:
    """Positions of `number` entries, in order; all for 0. More entries move few others in or out."""

    def drawn(index: int) -> bytes:
        return hashlib.sha256(f"some/{entries[index].name}".encode(errors="replace")).digest()

    return sorted(sorted(range(len(entries)), key=drawn)[: number or None])
