"""What a translator is trained on: pairs, or two sides; and the examples that scores look at."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from gantk_translate import games, likeness
from gantk_translate.layout import WHOLE, Both, Entry, Layout, find
from gantk_translate.options import Direction, TranslateConfig
from gantk_translate.reading import conform, of_different_sizes, read, resized
from gantk_translate.sides import Side
from gantk_translate.stock import Stock, at_scale
from gantoolkit.data import fingerprint, split_by_name
from gantoolkit.errors import InputError

STRANGE = "pictures of the same name look no more alike than others, as if they were no pairs"
LOOKED_AT = 32  # pictures that tell whether line art is clean
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
        halved: the running stage plays at half the size, and so do scores and samples.
        notes: what was decided, in words.

    Raises:
        InputError: the folder cannot be used, or holds no pairs for a game that needs them.
    """

    def __init__(self, config: TranslateConfig, folder: Path) -> None:
        self.paired, self.size, self._fit = config.game in games.PAIRED, config.size, config.fit
        self.halved = False
        layout = find(folder, pairs=self.paired)
        if self.paired and not layout.paired:
            raise InputError(
                f"{folder} holds no pairs, which {config.game} learns from ({layout.form})",
                expected="the same names on both sides",
                remedy="rename them, or train without pairs with --game cut",
            )
        train, held, notes = split(layout, config.held_out)
        stocks = [Stock(name, train[i], held[i], config) for i, name in enumerate("AB")]
        if self.paired:
            pairs = zip(*(stock.train + stock.held for stock in stocks), strict=True)
            for pair, shapes in zip(pairs, zip(*(stock.shapes for stock in stocks), strict=True), strict=True):
                if wrong := of_different_sizes(pair, shapes, config.fit):
                    raise InputError(wrong, remedy="bring both to one size")
            if likeness.strange(len(train[0]), lambda index: (stocks[0].values(index), stocks[1].values(index))):
                notes.append(f"{STRANGE}: --game cut learns without pairs")
        elif layout.paired:
            notes.append("the game takes targets by chance; --game pix2pix-modern would learn from the pairs")
        self.folder = folder
        self._stocks = stocks if config.direction == "AtoB" else stocks[::-1]
        self.source, self.target = (stock.side for stock in self._stocks)
        self._examples_paired = layout.paired
        self.notes = (layout.form, *layout.notes, *notes, *(note for stock in stocks for note in stock.notes))

    def __len__(self) -> int:
        return len(self._stocks[0].train)

    @cached_property
    def fingerprint(self) -> str:
        """Of the files of both sides, of those to train on and those kept aside; see `gantoolkit.data.fingerprint`."""
        files = [entry.file for stock in self._stocks for entry in (*stock.train, *stock.held)]
        return fingerprint(dict.fromkeys(files), self.folder)

    def item(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        """{"a": (source.planes, size, size), "b": (target.planes, size, size)} float32 in [-1, 1].

        A random window, mirrored and turned by chance; the same of both where they are a pair.
        """
        import torch

        source, target = self._stocks
        first = source.values(index)
        second = target.values(index if self.paired else int(rng.integers(len(target.train))))
        chance = source.chance(first.shape, rng)
        windows = {
            "a": (source, source.cut(first, chance)),
            "b": (target, target.cut(second, chance if self.paired else target.chance(second.shape, rng))),
        }
        return {key: torch.from_numpy(stock.side.encode(window)) for key, (stock, window) in windows.items()}

    def held_out(self) -> Examples:
        """The pictures kept aside; where there are none, the first few of the training pictures."""
        entries = [stock.held or stock.train[:STAND_INS] for stock in self._stocks]
        sources, targets = (
            Pictures(chosen, _loader(stock.side.kind == "mask", stock.side))
            for chosen, stock in zip(entries, self._stocks, strict=True)
        )
        return Examples(self._examples_paired, [entry.name for entry in entries[0]], sources, targets)

    def clean(self) -> bool:
        """Whether the sources are clean line art, so that other sketches are made clean before a model sees them."""
        from gantk_translate import composing

        source = self._stocks[0]
        chosen = np.linspace(0, len(source.train) - 1, min(len(source.train), LOOKED_AT)).round().astype(int).tolist()
        return composing.clean(source.side.encode(self.standard(source.values(i), source.side)) for i in chosen)

    def standard(self, values: np.ndarray, side: Side) -> np.ndarray:
        """A whole picture (H, W, C) as games see it, without chance: resized or the middle window; (size, size, C)."""
        mask, played = side.kind == "mask", self.size // 2 if self.halved else self.size
        values = at_scale(values, self.size if self._fit == "crop" else played, self._fit, mask)
        if self._fit == "crop":
            top, left = ((n - self.size) // 2 for n in values.shape[:2])
            values = values[top : top + self.size, left : left + self.size]
        return values if values.shape[:2] == (played, played) else resized(values, (played, played), mask)


def _loader(mask: bool, side: Side | None = None) -> Callable[[Entry], np.ndarray]:
    def load(entry: Entry) -> np.ndarray:
        values = read(entry, mask).values
        return values if side is None else conform(entry, values, side)

    return load


# ---- parts ----


def split(layout: Layout, held_out: float) -> tuple[Both, Both, list[str]]:
    """(to train on, kept aside, notes): the folder's own parts, else by the names of the files.

    All slices of a volume, and both pictures of a pair, come to one side of the split. Nothing is kept aside where
    that would leave a side of either part empty.

    Raises:
        InputError: parts without one to train on.
    """
    parts = layout.parts
    whole = parts.get("train") or parts.get(WHOLE)
    if whole is None:
        raise InputError(f"{layout.folder} has no part to train on", expected="train", actual=" and ".join(parts))
    for name in ("val", "test"):
        if name in parts:
            return whole, parts[name], [f"scores while training look at the part {name}"]
    kept = [_kept_by_name(whole[0], held_out)]
    kept.append(kept[0] if layout.paired else _kept_by_name(whole[1], held_out))
    train, held = (
        [[e for e, k in zip(side, flags, strict=True) if k is wanted] for side, flags in zip(whole, kept, strict=True)]
        for wanted in (False, True)
    )
    if not all(train + held):  # of a few pictures, a tenth may be none
        few = min(STAND_INS, len(whole[0]))
        return whole, ([], []), [f"nothing is held out: scores look at {few} of the training pictures"]
    note = f"{len(held[0])} of {len(whole[0])} {'pairs' if layout.paired else 'pictures of A'} are held out by name"
    return (train[0], train[1]), (held[0], held[1]), [note]


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
    matched: bool = True,
) -> Examples:
    """Pictures to score a model on.

    Args:
        folder: pairs or two sides, as for training.
        part: "test" is the folder's own test or val, else what training kept aside; "train" the rest; "all" both.
        direction, held_out, masks: as in `TranslateConfig`.
        number: at most so many, picked by the hash of their names; 0 takes all.
        pairs: False where partners do not matter, see `layout.find`.
        matched: False where the same names mean nothing: what is chosen is the same, but it is no pairs.

    Raises:
        InputError: the folder cannot be used, or the part is empty.
    """
    layout = find(folder, pairs=pairs)
    if part == "all":
        both = tuple([entry for inside in layout.parts.values() for entry in inside[side]] for side in (0, 1))
    elif part == "test" and "test" in layout.parts:
        both = layout.parts["test"]
    else:
        train, held, _ = split(layout, held_out)
        both = train if part == "train" else held
    if not all(both):
        raise InputError(f"{folder} has no pictures in the part {part!r}", remedy="score on all with --part all")
    chosen = [_some(both[0], number)]
    chosen.append(chosen[0] if layout.paired else _some(both[1], number))
    sides = [
        Pictures([entries[i] for i in rows], _loader(masks != "none" and name in masks))
        for name, entries, rows in zip("AB", both, chosen, strict=True)
    ]
    sources, targets = sides if direction == "AtoB" else sides[::-1]
    return Examples(layout.paired and matched, [entry.name for entry in sources.entries], sources, targets)


def _some(entries: Sequence[Entry], number: int) -> list[int]:
    """Positions of `number` entries, in order; all for 0. More entries move few others in or out."""

    def drawn(index: int) -> bytes:
        return hashlib.sha256(f"some/{entries[index].name}".encode(errors="replace")).digest()

    return sorted(sorted(range(len(entries)), key=drawn)[: number or None])
