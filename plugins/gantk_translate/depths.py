"""Pictures of other bit depths and channels than those a model was trained on, where they mean the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gantk_translate.sides import Side
from gantoolkit.errors import InputError

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
BEYOND = 0.5 / 255  # that floating point may leave [0, 1] by rounding, and is still a picture: half a step of 8 bits


def top_of(dtype: np.dtype) -> float:
    """White in pictures of that type."""
    return 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)


def uses_all(side: Side) -> bool:
    """Whether -1 and 1 are the ends of the side's type."""
    return side.kind == "picture" and (side.low, side.high) == (0, top_of(np.dtype(side.dtype)))


def at_depth(side: Side, dtype: np.dtype) -> Side:
    """A side of pictures with another type, black and white at its ends."""
    return replace(side, dtype=dtype.name, low=0.0, high=top_of(dtype))


def sides_for(values: np.ndarray, source: Side, target: Side) -> tuple[Side, Side]:
    """The sides for these values: a source whose type's whole range is used takes any type.

    The answer then has that type, if both sides have the same one. Where -1 and 1 are other values, those of a scanner,
    say, values are taken as they are.

    Raises:
        InputError: a type that pictures do not have, or that cannot hold the values that the source's files have;
            floating point that leaves [0, 1], where a picture is expected.
    """
    if not uses_all(source) and source.kind != "mask":
        _holds(values.dtype, source)
    if not uses_all(source) or values.dtype == source.dtype:
        return source, target
    if values.dtype.kind != "f" and values.dtype not in (np.uint8, np.uint16):
        raise InputError("this is no picture", expected="uint8, uint16 or floating point", actual=values.dtype)
    if values.dtype.kind == "f" and not (values.min() >= -BEYOND and values.max() <= 1 + BEYOND):
        raise InputError(
            "this is no picture of floating point", expected="values from 0 (black) to 1 (white)",
            actual=f"{values.min():g} to {values.max():g}", remedy="bring them into that range",
        )  # fmt: skip
    both = uses_all(target) and target.dtype == source.dtype
    return at_depth(source, values.dtype), at_depth(target, values.dtype) if both else target


def _holds(dtype: np.dtype, source: Side) -> None:
    """An 8-bit export of a 12-bit scan was windowed, and nothing in it says how: stretching it would be a guess."""
    if dtype.kind in "ui" and np.iinfo(dtype).max < source.high:
        raise InputError(
            f"this has too few bits for a model that learnt values from {source.low:g} to {source.high:g}",
            expected=source.dtype, actual=dtype, remedy="give the file that it was exported from",
        )  # fmt: skip


def encoded(values: np.ndarray, side: Side) -> np.ndarray:
    """As `side.encode`; colours become grey and grey colours where a side of pictures has the other."""
    channels = values.shape[2]
    if side.kind != "picture" or {channels, side.channels} != {1, 3}:
        return side.encode(values)
    planes = replace(side, channels=channels).encode(values)
    if channels == 1:
        return np.repeat(planes, 3, axis=0)
    return np.tensordot(np.array([LUMA], np.float32), planes, 1)
