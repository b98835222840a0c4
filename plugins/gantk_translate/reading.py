"""One picture of a side as numbers, what all pictures of a side have in common, and how they change size.

Values are (H, W, C) in the type that the file has.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gantk_translate.layout import Entry
from gantk_translate.sides import Side
from gantoolkit import arrays, images
from gantoolkit.decoders import quiet
from gantoolkit.errors import InputError

MOST_CLASSES = 64  # a mask with more is a picture, or a mask that was blurred by JPEG
NARROW = 0.5  # of a type's range: what uses less is scaled by what it uses


@dataclass(frozen=True)
class Values:
    """What a file holds.

    Attributes:
        values: (H, W, C); transparency is laid on white.
        kind: "picture" or "array", as `Side.kind`; a mask is either.
        alpha: there was transparency.
    """

    values: np.ndarray
    kind: str = "picture"
    alpha: bool = False


def read(entry: Entry, mask: bool = False) -> Values:
    """The values of one picture; of a mask the classes, (H, W, 1).

    Raises:
        InputError: it cannot be read, has an odd width where it should have two halves, or is a mask in colours.
    """
    if arrays.is_array(entry.file):
        found = Values(arrays.read(entry.file, entry.slice).values, "array")
    else:
        indices = palette(entry.file) if mask else None
        found = _picture(entry, mask) if indices is None else Values(indices)
    values = found.values
    if entry.half:
        middle = values.shape[1] // 2
        values = values[:, :middle] if entry.half == "left" else values[:, -middle:]
    if mask:
        values = classes_of(values, str(entry))
    return Values(values, found.kind, found.alpha)


def classes_of(values: np.ndarray, name: str) -> np.ndarray:
    """The classes of a mask, (H, W, 1) of whole numbers, from what its file holds, (H, W, C).

    Raises:
        InputError: it has colours or fractions; `name` says which mask.
    """
    if (values != values[..., :1]).any():
        raise InputError(
            f"{name} is a mask in colours", expected="one number a pixel",
            remedy="give each colour a number, the same in all files, and save these as a grey PNG",
        )  # fmt: skip
    values = values[..., :1]
    if values.dtype.kind == "f":
        if (values != np.rint(values)).any():
            raise InputError(f"{name} is a mask with fractions", expected="whole numbers")
        values = values.astype(np.int32)
    return values


def palette(source: Path | bytes) -> np.ndarray | None:
    """Indices of a palette (H, W, 1), which `images.read` turns into colours; None for other pictures."""
    from PIL import Image

    try:
        with quiet(), Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            return np.array(image)[..., None] if image.mode == "P" else None
    except Exception:  # `images.read` says in one line what is wrong
        return None


def _picture(entry: Entry, mask: bool) -> Values:
    picture = images.read(entry.file)
    pixels, alpha = picture.pixels, picture.alpha
    if pixels.dtype == np.float32 and not np.isfinite(pixels).all():
        raise InputError(f"{entry} has values that are not finite", remedy="replace NaN and infinity by numbers")
    if alpha is None or mask:
        return Values(pixels, alpha=alpha is not None)
    top = 1.0 if pixels.dtype == np.float32 else float(np.iinfo(pixels.dtype).max)
    share = alpha[..., None].astype(np.float32) / np.float32(top)
    laid = pixels * share + np.float32(top) * (1 - share)
    laid = laid if pixels.dtype == np.float32 else np.rint(laid)
    return Values(laid.astype(pixels.dtype), alpha=True)


# ---- what a side has in common ----


@dataclass
class Survey:
    """Collects what the training pictures of a side have in common; `side` sums it up.

    Attributes:
        name: "A" or "B", for messages.
        mask: the side is classes.
        notes: what was decided, in words, once `side` was called.
    """

    name: str
    mask: bool = False
    notes: list[str] = field(default_factory=list)
    seen: dict[tuple[str, str], Entry] = field(default_factory=dict)  # (kind, type) -> the first such picture
    channels: dict[int, Entry] = field(default_factory=dict)
    classes: dict[int, Entry] = field(default_factory=dict)
    low: float = math.inf
    high: float = -math.inf
    count: int = 0
    alpha: int = 0
    grey: int = 0

    def add(self, entry: Entry, found: Values) -> None:
        """Count one picture in.

        Raises:
            InputError: a mask with more classes than masks have.
        """
        values = found.values
        self.count += 1
        self.alpha += found.alpha
        self.grey += values.shape[2] == 1
        self.seen.setdefault((found.kind, values.dtype.name), entry)
        self.channels.setdefault(values.shape[2], entry)
        if self.mask:
            for value in np.unique(values).tolist():
                self.classes.setdefault(value, entry)
            if len(self.classes) > MOST_CLASSES:
                raise InputError(
                    f"{entry}: side {self.name} has more than {MOST_CLASSES} values, too many for classes",
                    remedy="save masks without loss (PNG), one number a class, or leave --masks out",
                )
        self.low, self.high = min(self.low, values.min().item()), max(self.high, values.max().item())

    def side(self) -> Side:
        """What all of it comes to.

        Raises:
            InputError: kinds, types or channels that do not go together (two files are named), or one value everywhere.
        """
        kind, dtype, channels = self._kind(), self._dtype(), self._channels()
        if self.mask:
            classes = tuple(sorted(self.classes))
            if len(classes) == 1:
                where = self.classes[classes[0]].file.parent
                raise InputError(f"the masks in {where} have one class only", expected="two or more", actual=classes[0])
            self.notes.append(f"side {self.name}: masks of {len(classes)} classes: {', '.join(map(str, classes))}")
            return Side("mask", 1, dtype.name, float(classes[0]), float(classes[-1]), classes)
        if self.alpha:
            self.notes.append(f"side {self.name}: {self.alpha} pictures have transparency and are laid on white")
        low, high = self._range(dtype)
        return Side("array" if kind == "array" else "picture", channels, dtype.name, low, high, alpha=self.alpha > 0)

    def _kind(self) -> str:
        kinds = {kind: entry for (kind, _), entry in self.seen.items()}
        if len(kinds) > 1 and not self.mask:
            raise InputError(
                f"side {self.name} mixes pictures and arrays", expected="one kind of file",
                actual=f"{kinds['picture']} and {kinds['array']}",
            )  # fmt: skip
        return next(iter(kinds))

    def _dtype(self) -> np.dtype:
        types = {dtype: entry for (_, dtype), entry in self.seen.items()}
        common = np.result_type(*types)
        if len(types) == 1 or self.mask:
            return common
        if "array" not in self._kind():
            shown = " and ".join(f"{entry} ({dtype})" for dtype, entry in list(types.items())[:2])
            raise InputError(f"side {self.name} mixes bit depths", expected="one", actual=shown)
        self.notes.append(f"side {self.name}: types {', '.join(sorted(types))} become {common}")
        return common

    def _channels(self) -> int:
        found = sorted(self.channels)
        if len(found) == 1 or self.mask:
            return found[0]
        if found == [1, 3]:
            self.notes.append(f"side {self.name}: {self.grey} of {self.count} pictures are grey and become colour")
            return 3
        shown = " and ".join(f"{self.channels[n]} ({n})" for n in found[:2])
        raise InputError(f"side {self.name} mixes numbers of channels", expected="one", actual=shown)

    def _range(self, dtype: np.dtype) -> tuple[float, float]:
        """0 and the type's top for pictures that use it, else what was seen, rounded outwards to two digits."""
        is_picture = "picture" in self._kind()
        if is_picture and dtype == np.uint8:
            return 0.0, 255.0
        top = 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)
        fits = self.low >= 0 and self.high <= top
        if is_picture and fits and (self.high - self.low >= NARROW * top or dtype.kind == "f"):
            return 0.0, top
        if self.low == self.high:
            raise InputError(f"side {self.name} has one value everywhere", expected="a range", actual=self.low)
        low, high = rounded(self.low, self.high)
        if dtype.kind in "ui":
            low, high = max(low, float(np.iinfo(dtype).min)), min(high, float(np.iinfo(dtype).max))
        self.notes.append(
            f"side {self.name}: values from {self.low:g} to {self.high:g}, scaled from {low:g} to {high:g}"
        )
        return low, high


def rounded(low: float, high: float) -> tuple[float, float]:
    """The range made a little larger, to two digits of its width: (3, 4051) becomes (0, 4100)."""
    digits = 1 - math.floor(math.log10(high - low))
    step = 10.0**digits  # steps a unit
    return round(math.floor(low * step) / step, digits), round(math.ceil(high * step) / step, digits)


def conform(entry: Entry, values: np.ndarray, side: Side) -> np.ndarray:
    """The values (H, W, C) of an entry in the side's type, grey repeated where the side has colours.

    Raises:
        InputError: another type, other channels or other classes; the entry is named.
    """
    if values.shape[2] == 1 and side.channels == 3:
        values = np.repeat(values, 3, axis=2)
    if values.shape[2] != side.channels:
        raise InputError(f"{entry} has other channels", expected=side.channels, actual=values.shape[2])
    if side.kind == "mask":
        if (unknown := np.setdiff1d(values, side.classes)).size:
            shown = ", ".join(map(str, unknown[:5].tolist()))
            raise InputError(f"{entry} has unknown classes", expected=", ".join(map(str, side.classes)), actual=shown)
    elif not np.can_cast(values.dtype, side.dtype, "no" if side.kind == "picture" else "same_kind"):
        raise InputError(f"{entry} has another type of numbers", expected=side.dtype, actual=values.dtype)
    return values.astype(side.dtype, copy=False)


def resized(values: np.ndarray, size: tuple[int, int], mask: bool = False) -> np.ndarray:
    """Values (H, W, C) at (h, w), in their type: Pillow's antialiased Lanczos; masks take the nearest value.

    Lanczos overshoots at edges. 8 bits are clipped to 0..255, all others to the values that there were.
    """
    from PIL import Image

    h, w = size
    height, width, channels = values.shape
    if (h, w) == (height, width):
        return values
    if mask:
        rows, columns = ((np.arange(n) + 0.5) * (m / n) for n, m in ((h, height), (w, width)))
        return values[rows.astype(np.intp)[:, None], columns.astype(np.intp)]
    if values.dtype == np.uint8 and channels in (1, 3):
        image = Image.fromarray(np.ascontiguousarray(values[..., 0] if channels == 1 else values))
        return np.array(image.resize((w, h), Image.Resampling.LANCZOS)).reshape(h, w, channels)
    planes = [_float_resized(values[..., channel], (w, h)) for channel in range(channels)]
    return np.stack(planes, 2)


def _float_resized(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    low, high = plane.min(), plane.max()
    shifted = (plane.astype(np.float64) - float(low)).astype(np.float32)  # large numbers close together stay apart
    image = Image.fromarray(shifted).resize(size, Image.Resampling.LANCZOS)
    back = np.asarray(image).astype(np.float64) + float(low)
    back = np.rint(back) if plane.dtype.kind in "ui" else back
    return np.clip(back, low, high).astype(plane.dtype)


def of_different_sizes(pair: Sequence[Entry], shapes: Sequence[tuple[int, ...]], fit: str) -> str | None:
    """What keeps two pictures from being a pair: other sizes, with "resize" other proportions only. None is nothing."""
    (h, w), (height, width) = shapes[0][:2], shapes[1][:2]
    alike = abs(w * height - width * h) <= 0.02 * width * h  # a rounded pixel is not another proportion
    if (h, w) == (height, width) or (fit == "resize" and alike):
        return None
    what = "sizes" if fit == "crop" else "proportions"
    return f"{pair[0]} ({w}×{h}) and {pair[1]} ({width}×{height}) are a pair of different {what}"
