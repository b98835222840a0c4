"""A labelled picture with all that is known of it, and the contract of a policy that makes new ones.

Plugins offer policies through the hook `gantk_augmentations`; `gantk run augment` asks them for new samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from gantoolkit.errors import GantkError

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels; right and bottom are outside


@dataclass(frozen=True)
class Thing:
    """One object in a picture.

    Attributes:
        category: its number in the data set's own list.
        box: None where only a mask or keypoints say where it is.
        mask: bool (H, W), None without.
        keypoints: float32 (P, 3): x, y in pixels, and 0 not there, 1 hidden, 2 seen; None without.
        partners: for each keypoint the one that it becomes in a mirrored picture, as a left eye becomes a right one; ()
            where all stay what they are.
        extra: whatever else the data set says of it, kept as it is.
    """

    category: int
    box: Box | None = None
    mask: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    partners: tuple[int, ...] = ()


@dataclass(frozen=True)
class Sample:
    """A picture and its targets, which stay in step with it.

    Attributes:
        picture: uint8 or uint16 (H, W, C), C 1 grey, 3 RGB, 4 RGBA.
        label: its class, None where the data has none.
        mask: uint8 or uint16 (H, W) or (H, W, 3), a picture of class ids or of colours; None without.
        things: the objects in it.
    """

    picture: np.ndarray
    label: str | None = None
    mask: np.ndarray | None = None
    things: tuple[Thing, ...] = ()

    def with_picture(self, picture: np.ndarray) -> Sample:
        """The same targets for another picture of the same geometry."""
        return replace(self, picture=picture)


@dataclass(frozen=True)
class Request:
    """One sample to make.

    Attributes:
        seed: 0 to 2^63 - 1; everything random in the sample comes from it, and from nothing else.
        source: the sample to change, for a policy that changes one.
        label: the class to make, where the data has classes.
    """

    seed: int
    source: Sample | None = None
    label: str | None = None


@dataclass(frozen=True)
class Made:
    """A new sample, and in JSON's own types how it was made: transforms with their parameters, or a latent's seed."""

    sample: Sample
    parameters: Mapping[str, Any]


@runtime_checkable
class Policy(Protocol):
    """Makes new samples.

    The same request gives the same sample, bit for bit, in any process and beside any other requests. A policy is
    made from its settings in every worker (`gantk_augmentations`), and need not be picklable.

    Attributes:
        name: under which it is on offer.
        needs_source: it changes a sample of the data; False: it makes samples of a class from nothing.
        chunk: requests that are best made together; 1 where it makes no difference.
    """

    name: str
    needs_source: bool
    chunk: int

    def make(self, requests: Sequence[Request]) -> Sequence[Made | GantkError]:
        """A sample, or the user's error that kept it from being made, for each request in order."""
        ...


__all__ = ["Box", "Made", "Policy", "Request", "Sample", "Thing"]
