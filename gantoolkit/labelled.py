"""Data sets of pictures with or without classes, and of points: what a folder, zip or array becomes in training.

Shapes: N pictures, H, W pixels, C channels (1 grey, 3 RGB, 4 RGBA), D numbers of a point.
"""

from __future__ import annotations

import copy
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from gantoolkit.data import split_by_name
from gantoolkit.errors import GantkError, InputError, UsageError
from gantoolkit.scan import FEWEST, MEMORY, REMEDY, Fit, Size, conform, decode, refuse, scan, target
from gantoolkit.store import Store
from gantoolkit.task import DataReport

Split = Literal["train", "held-out", "all"]


def _rows(
    names: Sequence[str],
    held_out: float,
    split: Split,
    limit: int | None,
    source: object,
    labels: np.ndarray | None = None,
) -> np.ndarray:
    """Indices (ascending) of a split; `limit` keeps those whose names have the smallest hashes.

    Where there are labels, a class of which all samples would be held out is trained on instead.
    """
    if split not in get_args(Split) or not 0 <= held_out < 1 or (limit is not None and limit < 1):
        raise UsageError(
            "such a split makes no sense",
            expected=f"one of {', '.join(get_args(Split))}, a share in [0, 1), a limit of at least 1",
            actual=f"{split}, {held_out}, {limit}",
        )
    rows = list(range(len(names)))
    if split != "all":
        train, held = split_by_name([Path(name) for name in names], held_out)
        if labels is not None:
            learnt = set(train)
            seen = {int(labels[i]) for i in rows if Path(names[i]) in learnt}
            whole = {Path(names[i]) for i in rows if int(labels[i]) not in seen}
            train, held = [*train, *whole], [path for path in held if path not in whole]
        chosen = set(train if split == "train" else held)
        rows = [i for i in rows if Path(names[i]) in chosen]
    if limit is not None and limit < len(rows):
        by_hash = sorted(rows, key=lambda i: hashlib.sha256(f"limit/{names[i]}".encode(errors="replace")).digest())
        rows = sorted(by_hash[:limit])
    if not rows:
        raise InputError(f"no sample of {source} falls into the split {split!r}", remedy="hold out another share")
    return np.array(rows, np.int64)


class LabelledPictures:
    """Pictures of a folder or zip, with their classes where it has any. A `gantoolkit.data.Dataset`.

    Items: {"image": float32 (C, H, W) in [-1, 1], "label": int64 () where there are classes}. Sets up to a gigabyte
    are decoded once; of larger ones each picture when it is asked for.

    Args:
        source: see docs/data.md for the layouts; a store that looks like one of them, too.
        size: (H, W); None: the pictures' own if they share one, else a power of two that suits them.
        channels: 1, 3 or 4; None: 1 if every picture is stored as grey, else 3.
        fit: how pictures of another size come to this one, see `conform`.
        mirror: flip left and right by chance.
        held_out: share of pictures that "train" leaves to "held-out", by file name (`data.split_by_name`).
        split: "train", "held-out" or "all".
        limit: at most so many pictures, picked by the hash of their names.
        labelled: False leaves classes unread.
        possible: (height, width) -> the nearest size that the networks can make, for a `size` of None.

    Attributes:
        size, channels, names, classes: as decided, for this split; classes is () when unlabelled.
        labels: int64 (N,) or None.
        notes: what was decided, in words.

    Raises:
        InputError: the source cannot be used, or the split is empty.
        UsageError: an argument that makes no sense.
    """

    def __init__(
        self,
        source: Path | str | Store,
        *,
        size: Size | None = None,
        channels: int | None = None,
        fit: Fit = "crop",
        mirror: bool = False,
        held_out: float = 0.0,
        split: Split = "train",
        limit: int | None = None,
        labelled: bool = True,
        possible: Callable[[int, int], Size] | None = None,
    ) -> None:
        if channels not in (None, 1, 3, 4) or fit not in get_args(Fit) or (size and min(size) < 1):
            expected = f"channels 1, 3 or 4, a size in pixels, and a fit of {', '.join(get_args(Fit))}"
            raise UsageError("pictures cannot be read so", expected=expected, actual=f"{channels}, {size}, {fit}")
        store = source if isinstance(source, Store) else Path(source)
        self.source = store.root if isinstance(store, Store) else store
        self.fit, self.mirror, self.held_out = fit, mirror, held_out
        found = scan(store, labelled=labelled)
        refuse(self.source, found)
        layout = found.layout
        self._store, self._names, self.classes = layout.store, layout.names, layout.classes
        self._labels = None if layout.labels is None else np.array(layout.labels, np.int64)
        self.size, self.channels, notes = target(found, size, channels, possible)
        self.notes = tuple(layout.notes + notes)
        self._cache: np.ndarray | None = None
        if len(self._names) * self.size[0] * self.size[1] * self.channels <= MEMORY:
            self._cache = np.empty((len(self._names), *self.size, self.channels), np.uint8)
            for index in range(len(self._names)):
                raw = found.kept[index] if found.kept else None
                self._cache[index] = self._prepare(index, raw)
        self._choose(split, limit)

    def with_split(self, split: Split, limit: int | None = None) -> LabelledPictures:
        """Another part of the same source, sharing what was read."""
        other = copy.copy(self)
        other._choose(split, limit)
        return other

    def _choose(self, split: Split, limit: int | None) -> None:
        self._chosen = _rows(self._names, self.held_out, split, limit, self.source, self._labels)
        self.names = tuple(self._names[i] for i in self._chosen)
        self.labels = None if self._labels is None else self._labels[self._chosen]
        self.__dict__.pop("fingerprint", None)

    def __len__(self) -> int:
        return len(self._chosen)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of names, contents, classes and of how pictures are read: other values, another fingerprint.

        Of a folder it reads every file, once.
        """
        digest = hashlib.sha256(repr((self.size, self.channels, self.fit, self.classes)).encode(errors="replace"))
        for index in self._chosen:
            label = None if self._labels is None else int(self._labels[index])
            row = (self._names[index], label, *self._store.stamp(self._names[index]))
            digest.update(repr(row).encode(errors="replace"))
        return digest.hexdigest()

    def _prepare(self, index: int, raw: np.ndarray | None = None) -> np.ndarray:
        if raw is None:
            name = self._names[index]
            try:
                raw, _ = decode(self._store.read(name), name)
            except GantkError as error:
                raise InputError(f"{self.source}: {error}", remedy=REMEDY) from error
        return conform(raw, self.size, self.channels, self.fit)

    def picture(self, index: int) -> np.ndarray:
        """(H, W, C) uint8, not mirrored; do not write into it.

        Raises:
            InputError: the file is damaged or gone (of sets that are not decoded beforehand).
        """
        row = int(self._chosen[index])
        return self._prepare(row) if self._cache is None else self._cache[row]

    def pictures(self, indices: Iterable[int] | None = None) -> Iterator[np.ndarray]:
        """`picture` of each index, of all in order by default."""
        return map(self.picture, range(len(self)) if indices is None else indices)

    def item(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        import torch

        pixels = self.picture(index)
        if self.mirror and rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        image = torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32, order="C"))
        item = {"image": image.div_(127.5).sub_(1)}
        if self.labels is not None:
            item["label"] = torch.tensor(int(self.labels[index]))
        return item


class Points:
    """Rows of an `.npy` array (N, D): data that are no pictures. A `gantoolkit.data.Dataset`.

    Items: {"image": float32 (D,)}, equal to (row - centre) / scale.

    Args:
        source: the `.npy` file.
        scaled: bring all coordinates into [-1, 1], by one factor; False leaves them as they are.
        held_out, split, limit: as of `LabelledPictures`; a row's name is its number.

    Attributes:
        points: float64 (N, D), the rows of this split as they are in the file.
        dimensions: D.
        centre, scale: float64 (D,) and float, the same for every split.
        classes, labels, notes, fingerprint: as of `LabelledPictures`; there are no classes.

    Raises:
        InputError: not a readable array of numbers (N, D) with N ≥ 8, or values that are not finite.
    """

    classes: tuple[str, ...] = ()
    labels: np.ndarray | None = None

    def __init__(
        self, source: Path | str, *, scaled: bool = True, held_out: float = 0.0, split: Split = "train",
        limit: int | None = None,
    ) -> None:  # fmt: skip
        self.source = Path(source)
        rows = _array(self.source)
        low, high = rows.min(0), rows.max(0)
        self.dimensions = rows.shape[1]
        self.centre = (low + high) / 2 if scaled else np.zeros(self.dimensions)
        self.scale = float((high - low).max() / 2) or 1.0 if scaled else 1.0
        self.notes = (f"coordinates are brought into [-1, 1] by one factor, {self.scale:.6g}",) if scaled else ()
        self._all, self.held_out = rows, held_out
        self.points = rows[self._chosen(split, limit)]

    def _chosen(self, split: Split, limit: int | None) -> np.ndarray:
        return _rows([str(n) for n in range(len(self._all))], self.held_out, split, limit, self.source)

    def with_split(self, split: Split, limit: int | None = None) -> Points:
        """Another part of the same source, in the same coordinates."""
        other = copy.copy(self)
        other.points = self._all[self._chosen(split, limit)]
        return other

    def __len__(self) -> int:
        return len(self.points)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(repr((self.centre.tolist(), self.scale)).encode() + self.points.tobytes()).hexdigest()

    def restore(self, values: np.ndarray) -> np.ndarray:
        """What networks speak (..., D) back in the file's own coordinates."""
        return values * self.scale + self.centre

    def item(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        import torch

        return {"image": torch.from_numpy(((self.points[index] - self.centre) / self.scale).astype(np.float32))}


def _array(source: Path) -> np.ndarray:
    """(N, D) float64 of an `.npy` file; pickled objects are never loaded."""
    try:
        rows = np.lib.format.read_array(io.BytesIO(source.read_bytes()), allow_pickle=False)
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror or error}") from error
    except (ValueError, EOFError, SyntaxError, MemoryError) as error:
        raise InputError(f"{source} is no array of numbers, or is damaged", expected="an .npy file (N, D)") from error
    if rows.ndim != 2 or rows.dtype.kind not in "fiub" or 0 in rows.shape:
        actual = f"{rows.dtype} {rows.shape}"
        raise InputError(f"{source} does not hold points", expected="numbers of shape (N, D)", actual=actual)
    if len(rows) < FEWEST:
        raise InputError(f"too few points in {source}", expected=f"at least {FEWEST} rows", actual=len(rows))
    rows = rows.astype(np.float64)  # float32 would round what lies far from 0 before it is centred
    with np.errstate(over="ignore"):  # but networks speak it: what it cannot hold is not finite
        finite = np.isfinite(rows.astype(np.float32))
    if bad := int((~finite).any(1).sum()):
        raise InputError(f"{bad} rows of {source} are not finite", remedy="remove them")
    return rows


def check(
    source: Path | str,
    *,
    size: Size | None = None,
    channels: int | None = None,
    labelled: bool = True,
    possible: Callable[[int, int], Size] | None = None,
) -> DataReport:
    """What training would make of a source and everything that is wrong with it; every picture is decoded.

    Args:
        source, size, channels, labelled, possible: as of `LabelledPictures`.
    """
    source = Path(source)
    try:
        if source.suffix == ".npy":
            points = Points(source)
            facts = {"points": f"{len(points):,} of {points.dimensions} numbers", "handling": "; ".join(points.notes)}
            return DataReport(facts=facts)
        found = scan(source, labelled=labelled, thorough=True)
    except GantkError as error:
        return DataReport(problems=[(str(source), str(error))], usable=False)
    layout = found.layout
    report = DataReport(problems=list(layout.problems), usable=not layout.problems)
    seen = found.shapes[found.shapes[:, 0] > 0]
    report.facts["layout"] = layout.kind
    report.facts["pictures"] = f"{len(layout.names):,}, {len(seen):,} of them readable"
    if layout.labels is not None:
        counts = np.bincount([label for label in layout.labels if label >= 0], minlength=len(layout.classes))
        shown = [f"{name} {count:,}" for name, count in zip(layout.classes, counts, strict=True)]
        report.facts["classes"] = f"{len(shown):,}: " + ", ".join(shown[:12]) + (", …" if len(shown) > 12 else "")
        if len(counts) and counts.max() > 10 * counts.min():
            report.advice.append("the largest class has over 10 times the pictures of the smallest, which will be weak")
    if len(seen):
        small, large = (pick(seen.tolist(), key=lambda s: s[0] * s[1]) for pick in (min, max))
        mixed = (seen[:, :2] != seen[0, :2]).any()
        report.facts["sizes"] = f"{small[1]}×{small[0]}" + (f" to {large[1]}×{large[0]}" if mixed else "")
        (height, width), depth, notes = target(found, size, channels, possible)
        report.facts["training"] = f"{width}×{height}, {depth} channels"
        layout.notes += notes
    if layout.notes:
        report.facts["handling"] = "; ".join(layout.notes)
    if layout.problems:
        report.advice.append("repair, move out or delete what is listed above; training refuses this source until then")
    elif len(seen) < 1000:
        report.advice.append("fewer than 1,000 pictures: train with augmentation, or the critic learns them by heart")
    return report
