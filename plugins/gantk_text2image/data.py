"""What a generator that follows words is trained on: pictures of one size, their captions as tensors, and a split.

Shapes: N pictures, S pixels a side, T tokens, K attributes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from gantk_text2image.captions import Captioned, open_captions
from gantk_text2image.options import Text2ImageConfig
from gantk_text2image.pictures import background, coarse, load
from gantoolkit import texts

if TYPE_CHECKING:
    pass

LOOKED_AT = 64  # captions that fill all tokens, to see if some have more
STAND_INS = 64  # pictures to score on where nothing is held out
CANDIDATES = 64  # random rows, of which the one that is most alike says what a picture does not show
PAIRS, LEAST_PAIRS = 512, 16  # of pictures whose distances are measured; fewer say nothing about a data set
Part = Literal["train", "held_out"]


class Data:
    """The training pictures with their captions; the held-out ones beside them. A `gantoolkit.data.Dataset`.

    Rows are positions in `names`, `pictures`, `captions` and `described`; `train` and `test` list rows.

    Attributes:
        names: of the pictures.
        pictures: uint8 (N, S, S, 3), all of them, decoded and fitted once.
        captions: those of each picture, at least one.
        described: the attributes of each picture, {} where there are none.
        train, test: rows; `test` is empty where nothing is kept aside.
        attributes: the values of each attribute that training pictures have, both sorted by name.
        labels: int64 (N, K), the number of the value of each attribute; -1 where a picture has none.
        groups: int64 (N,); pictures that share a caption, or are linked by others that do, have the same number.
        encoder: of the captions; it has learnt from those of training alone.
        notes: what was decided, in words.

    Raises:
        InputError: the folder cannot be used. UsageError: an option that makes no sense.
    """

    def __init__(self, config: Text2ImageConfig, folder: Path) -> None:
        colour = background(config.background)
        found = open_captions(folder)
        self.size, self._mirror, self._dropout = config.size, config.mirror, config.caption_dropout
        self.pictures, damaged = load(found, config.size, config.fit, colour)
        found.refuse(damaged)
        self._found = found
        self.names = tuple(found.names)
        self.captions = tuple(row.captions for row in found.rows)
        self.described: tuple[Mapping[str, str], ...] = tuple(row.attributes for row in found.rows)
        self.train, self.test, note = split(found, config.held_out)
        self._rows = np.array(self.train)
        self.groups = linked(self.captions)
        self.attributes = values_of(self.described[row] for row in self.train)
        self._named = bool(self.attributes) and config.attribute_weight > 0
        self.labels = np.full((len(self.names), len(self.attributes)), -1, np.int64)
        for column, (name, values) in enumerate(self.attributes.items()):
            numbers = {value: number for number, value in enumerate(values)}
            self.labels[:, column] = [numbers.get(row.get(name, ""), -1) for row in self.described]
        self._of_values: dict[tuple[str, ...], np.ndarray] = {}
        if self._named:
            alike: dict[tuple[str, ...], list[int]] = {}
            for row in self.train:
                alike.setdefault(_values(self.described[row]), []).append(row)
            self._of_values = {values: np.array(rows) for values, rows in alike.items()}
        self.encoder = texts.encoder(
            config.encoder,
            list(dict.fromkeys(text for row in self.train for text in self.captions[row])),
            width=config.text_width,
            layers=config.text_layers,
            tokens=config.tokens,
            vocabulary=config.vocabulary,
            tune=config.tune,
        )
        # each text once; "" is what a caption that is left out becomes
        unique = ["", *sorted({text for captions in self.captions for text in captions})]
        self._row_of = {text: row for row, text in enumerate(unique)}
        self._prepared = self.encoder.prepare(unique)
        full = [text for text, mask in zip(unique, self._prepared["mask"], strict=True) if bool(mask.all())]
        self.notes: tuple[str, ...] = (found.layout, *found.notes, note)
        if any(cut(self.encoder, full[:LOOKED_AT])):  # of a few: a frozen network would read all of them once more
            self.notes += (f"there are captions longer than {config.tokens} tokens, which are cut there (--tokens)",)
        if len(set(self.groups[self.train].tolist())) == 1 and not self._named:
            self.notes += ("shared captions link all pictures: none is a wrong one, and captions are not learnt",)
        if config.batch // config.accumulate < 2:
            self.notes += ("one picture at a time: captions are not contrasted with others",)
        if not self.test:
            self.notes += (f"nothing is held out: scores look at {len(self.rows('held_out'))} training pictures",)

    def __len__(self) -> int:
        return len(self.train)

    @property
    def fingerprint(self) -> str:
        """Of the pictures of both parts and of all that is said of them."""
        return self._found.fingerprint

    def item(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        """Training picture `index` with one of its captions.

        Returns:
            "image": float32 (3, S, S) in [-1, 1]; "text" and "mask": a row of what the encoder prepared, of the empty
            text where "dropped" (bool) is True; "group": int64, equal for pictures that share captions; and where
            there are attributes "attributes": int64 (K,), -1 where the picture has none; where the critic names them,
            also "wrong text" and "wrong mask": a caption with another value of some, of which "wrong" (bool) says if
            one was found.
        """
        import torch

        row = self.train[index]
        text = self._said(row, rng)
        dropped = bool(rng.random() < self._dropout)
        mirrored = self._mirror and bool(rng.random() < 0.5)
        item = {**self._example(row, "" if dropped else text, mirrored), "dropped": torch.tensor(dropped)}
        if self._named:
            other = self._contradicting(row, rng)
            place = self._row_of[text if other is None else self._said(other, rng)]
            item["wrong text"], item["wrong mask"] = self._prepared["text"][place], self._prepared["mask"][place]
            item["wrong"] = torch.tensor(other is not None)
        return item

    def _said(self, row: int, rng: np.random.Generator) -> str:
        """One of a picture's captions."""
        return self.captions[row][int(rng.integers(len(self.captions[row])))]

    def _contradicting(self, row: int, rng: np.random.Generator) -> int | None:
        """A training picture whose captions must be wrong for this one, but not easily so.

        Half of the time one with the same values in other places, where there is any: its captions have the same words,
        and only their order tells (Yuksekgonul et al. 2023, arXiv:2210.01936, section 4). Else, of some random ones,
        that with most equal attributes among those that differ in any (hard negatives: Faghri et al. 2018,
        arXiv:1707.05612, section 3.2, by attributes instead of by scores).
        """
        moved = self._moved(row)
        if len(moved) and rng.random() < 0.5:
            return int(moved[int(rng.integers(len(moved)))])
        rows = self._rows[rng.integers(len(self._rows), size=CANDIDATES)]
        own, others = self.labels[row], self.labels[rows]
        known = (own >= 0) & (others >= 0)
        equal = ((own == others) & known).sum(1)
        # nothing contradicts, or they share a caption, which so cannot say what it is that does
        equal[(equal == known.sum(1)) | (self.groups[rows] == self.groups[row])] = -1
        best = int(equal.argmax())
        return None if equal[best] < 0 else int(rows[best])

    def _moved(self, row: int) -> np.ndarray:
        """Training rows that have the same values as this one, not all of the same attributes."""
        rows = self._of_values.get(_values(self.described[row]), self._rows[:0])
        same = (self.labels[rows] == self.labels[row]).all(1)
        return rows[~same & (self.groups[rows] != self.groups[row])]

    def _example(self, row: int, text: str, mirrored: bool = False) -> dict[str, Any]:
        import torch

        pixels = self.pictures[row][:, ::-1] if mirrored else self.pictures[row]
        image = torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32, order="C")).div_(127.5).sub_(1)
        place = self._row_of[text]
        example = {"image": image, "text": self._prepared["text"][place], "mask": self._prepared["mask"][place]}
        example["group"] = torch.tensor(int(self.groups[row]))
        if self.attributes:
            example["attributes"] = torch.from_numpy(self.labels[row])
        return example

    def rows(self, which: Part) -> Sequence[int]:
        """Rows of a part; where nothing is held out, the first training pictures stand in."""
        return self.train if which == "train" else self.test or self.train[:STAND_INS]

    def bank(self, which: Part, count: int) -> dict[str, Any]:
        """`count` pictures at most of a part with their first captions, as batches hold them; always the same ones.

        In random order: the first ones are of all kinds, however the data are sorted. Nothing is mirrored or dropped.
        """
        return self.examples(self.usual(which, count))

    def usual(self, which: Part, count: int) -> list[tuple[int, str]]:
        """The rows of `bank` and their first captions."""
        rows = self.rows(which)
        chosen = [rows[int(i)] for i in np.random.default_rng(0).permutation(len(rows))[:count]]
        return [(row, self.captions[row][0]) for row in chosen]

    def examples(self, pairs: Iterable[tuple[int, str]]) -> dict[str, Any]:
        """Rows with these of the data's captions, as batches hold them; {} of none."""
        import torch

        items = [self._example(row, text) for row, text in pairs]
        return {key: torch.stack([item[key] for item in items]) for key in items[0]} if items else {}

    def variety(self) -> float:
        """How far training pictures of one caption are apart; 0 where hardly any share one.

        The mean absolute difference, from 0 to 2, of pictures of `COARSE` positions a side with values in [-1, 1], over
        up to `PAIRS` random pairs; each picture is in one at most.
        """
        order = self._rows[np.random.default_rng(0).permutation(len(self._rows))].tolist()
        pairs = list(islice(of_one_caption(self.captions, order), PAIRS))
        if len(pairs) < LEAST_PAIRS:
            return 0.0
        a, b = (coarse(self.examples((row, "") for row in rows)["image"]) for rows in zip(*pairs, strict=True))
        return float((a - b).abs().mean())

    def held_out(self) -> tuple[list[str], np.ndarray]:
        """(a caption of each held-out picture, the pictures as uint8 (N, S, S, 3)); see `rows` for which."""
        rows = list(self.rows("held_out"))
        return [self.captions[row][0] for row in rows], self.pictures[rows]


# ---- words ----


def cut(encoder: texts.TextEncoder, said: Sequence[str]) -> list[bool]:
    """Whether each text has more tokens than the encoder reads: its last character changes nothing."""
    if not said:
        return []
    whole, shorter = (encoder.prepare([text.rstrip()[:end] for text in said]) for end in (None, -1))
    same = (whole["text"] == shorter["text"]).flatten(1).all(1)
    return (whole["mask"].all(1) & same).tolist()


def of_one_caption(captions: Sequence[Sequence[str]], order: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Pairs of positions in `captions` that share a text, whatever its case; each is in one at most.

    They come as they are met in `order`.
    """
    waiting: dict[str, int] = {}
    waits: dict[int, list[str]] = {}
    for row in order:
        said = [texts.normalised(text) for text in captions[row]]
        other = next((waiting[text] for text in said if text in waiting), None)
        if other is None:
            waiting.update(dict.fromkeys(said, row))
            waits[row] = said
            continue
        for text in waits.pop(other):
            if waiting.get(text) == other:
                del waiting[text]
        yield other, row


# ---- what is held out ----


def values_of(described: Any) -> dict[str, tuple[str, ...]]:
    """Every attribute's values, both in order, of some pictures' attributes."""
    found: dict[str, set[str]] = {}
    for attributes in described:
        for name, value in attributes.items():
            found.setdefault(name, set()).add(value)
    return {name: tuple(sorted(found[name])) for name in sorted(found)}


def split(found: Captioned, held_out: float) -> tuple[list[int], list[int], str]:
    """(rows to train on, rows kept aside, how that was decided).

    The data's own split wins. Else pictures with equal attributes come to one side, and every value of an attribute
    stays in training: only combinations are new. Without attributes, pictures that share captions stay together, so
    that all held-out captions are new. Sides follow from hashes of attributes and captions.
    """
    own = [found.split(row) for row in range(len(found))]
    rows = list(range(len(found)))
    if any(own):
        test = [row for row in rows if own[row] == "test"]
        train = [row for row in rows if own[row] != "test"]
        if not train:
            return test, [], "all pictures are of the split test, and are trained on"
        return train, test, f"{len(test):,} of {len(rows):,} pictures are held out by the data's own split"
    described = [found.attributes(row) for row in rows]
    held = held_combinations(described, held_out)
    if held:
        keys = [_combination(attributes) for attributes in described]
        what = f"combinations of attributes ({len(held):,} of {len(set(keys)):,})"
    else:
        keys = [found.rows[group].captions[0] for group in linked([row.captions for row in found.rows])]
        held = {key for key in set(keys) if share(key) < held_out}
        held = set() if held == set(keys) else held
        what = "captions"
    test = [row for row in rows if keys[row] in held]
    train = [row for row in rows if keys[row] not in held]
    return train, test, f"{len(test):,} of {len(rows):,} pictures are held out by {what}"


def linked(captions: Sequence[Sequence[str]]) -> np.ndarray:
    """int64 (N,): for each picture the number of the first one that it is linked with by shared captions."""
    parents = list(range(len(captions)))

    def first(row: int) -> int:
        while parents[row] != row:
            parents[row] = parents[parents[row]]
            row = parents[row]
        return row

    owners: dict[str, int] = {}
    for row, said in enumerate(captions):
        for text in said:
            one, other = sorted((first(row), first(owners.setdefault(texts.normalised(text), row))))
            parents[other] = one
    return np.array([first(row) for row in range(len(captions))], np.int64)


def held_combinations(described: Sequence[Mapping[str, str]], held_out: float) -> set[str]:
    """Combinations of attributes to keep aside, such that each single value is in one that is not."""
    combinations = {_combination(attributes): attributes for attributes in described if attributes}
    ordered = sorted(combinations, key=share, reverse=True)  # those to train on first
    held: set[str] = set()
    seen: set[tuple[str, str]] = set()
    for key in ordered:
        values = set(combinations[key].items())
        if share(key) < held_out and values <= seen:
            held.add(key)
        seen |= set() if key in held else values
    return held


def _values(attributes: Mapping[str, str]) -> tuple[str, ...]:
    """What is said of a picture, wherever it belongs."""
    return tuple(sorted(attributes.values()))


def _combination(attributes: Mapping[str, str]) -> str:
    """One text for equal attributes, "" for none."""
    return repr(sorted(attributes.items())) if attributes else ""


def share(key: str) -> float:
    """0 to 1 by a text's hash."""
    return int.from_bytes(hashlib.sha256(key.encode(errors="replace")).digest()[:4], "big") / 2**32
