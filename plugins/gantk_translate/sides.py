"""A side of a translation: what its files hold, and how they become what networks see and come back.

Networks see (C, H, W) float32 in [-1, 1]; files hold what users have: pictures of 8 or 16
bits, arrays with units, masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from gantoolkit.errors import InputError

Kind = Literal["picture", "array", "mask"]


@dataclass(frozen=True)
class Side:
    """What all files of a side have in common; JSON in the model's folder.

    Attributes:
        kind: pictures (what `images.read` reads, of 8 or 16 bits or float), arrays of numbers (what `arrays.read`
            reads: .npy, NIfTI, other TIFF), or masks of classes.
        channels: of the values; a mask has 1.
        dtype: numpy's name of the type that files have.
        low, high: the values that -1 and 1 stand for. Pictures: 0 and the type's top where they use most of it.
        classes: values of a mask, in the order of the one-hot channels; () otherwise.
        alpha: some of the files have transparency, which was laid on white.
    """

    kind: Kind = "picture"
    channels: int = 3
    dtype: str = "uint8"
    low: float = 0.0
    high: float = 255.0
    classes: tuple[int, ...] = ()
    alpha: bool = field(default=False, compare=False)

    @property
    def planes(self) -> int:
        """Channels that a network sees: a mask's are its classes."""
        return len(self.classes) if self.kind == "mask" else self.channels

    def encode(self, values: np.ndarray) -> np.ndarray:
        """(H, W, C) as read -> (planes, H, W) float32, [-1, 1] for values from `low` to `high`.

        Raises:
            InputError: other channels than this side has, or a class it does not know.
        """
        if values.ndim != 3 or values.shape[2] != self.channels:
            found = values.shape[2] if values.ndim == 3 else f"an array of shape {values.shape}"
            raise InputError("the picture has other channels", expected=self.channels, actual=found)
        if self.kind == "mask":
            hot = values[..., 0] == np.reshape(self.classes, (-1, 1, 1))
            if not hot.any(0).all():
                shown = ", ".join(map(str, np.setdiff1d(values, self.classes)[:5].tolist()))
                raise InputError(
                    "the mask has unknown classes", expected=", ".join(map(str, self.classes)), actual=shown
                )
            return hot.astype(np.float32) * 2 - 1
        scaled = (values.astype(np.float64) - self.low) * (2 / (self.high - self.low)) - 1
        return np.ascontiguousarray(scaled.transpose(2, 0, 1).astype(np.float32))

    def decode(self, planes: np.ndarray) -> np.ndarray:
        """(planes, H, W) float -> (H, W, C) in the files' type: integers rounded and clipped, masks by vote."""
        if self.kind == "mask":
            chosen = np.asarray(self.classes)[planes.argmax(0)]
            return chosen[..., None].astype(self.dtype)
        values = (planes.astype(np.float64).transpose(1, 2, 0) + 1) * ((self.high - self.low) / 2) + self.low
        if np.issubdtype(np.dtype(self.dtype), np.integer):
            kept = np.iinfo(self.dtype)
            values = np.clip(np.rint(values), kept.min, kept.max)
        return np.ascontiguousarray(values.astype(self.dtype))

    def shown(self, planes: np.ndarray) -> np.ndarray:
        """(planes, H, W) float -> (H, W, 3) uint8 for people: grey as grey, classes in colours, first three of many."""
        if self.kind == "mask":
            wheel = np.arange(len(self.classes)) / max(1, len(self.classes))
            hues = 0.5 + 0.5 * np.cos(2 * np.pi * (wheel[:, None] + np.array([0, 1 / 3, 2 / 3])))
            return np.rint(hues[planes.argmax(0)] * 255).astype(np.uint8)
        chosen = planes[:3] if len(planes) >= 3 else planes[:1].repeat(3, axis=0)
        return np.rint((np.clip(chosen, -1, 1).transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8)

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON's own types."""
        return asdict(self) | {"classes": list(self.classes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Side:
        """The side that `to_dict` described."""
        return cls(**{**values, "classes": tuple(values["classes"])})
