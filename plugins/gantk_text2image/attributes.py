"""How many of the attributes that are said of a picture can be seen in it: read exactly, or by fitted classifiers.

Shapes: N pictures, S pixels a side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from gantk_text2image.data import values_of
from gantk_text2image.recipes.shapes import COLOURS, NUMBERS, RELATIONS, SHAPES
from gantoolkit.classify import SIDES, Classifier, fit_classifier, wilson
from gantoolkit.metrics import MetricCard

NIMG = 60_000  # pictures shown to each classifier while it is fitted
Described = Sequence[Mapping[str, str]]
Settings = dict[str, str | int | float]
_VALUES: dict[str, tuple[str, ...]] = {"colour": tuple(COLOURS), "shape": SHAPES, "count": NUMBERS[1:]}


def are_shapes(described: Described) -> bool:
    """Whether all attributes are those of the recipe of shapes, which `recipes.reading` reads exactly."""
    values = _VALUES | {f"second {name}": values for name, values in _VALUES.items()} | {"relation": RELATIONS}
    return bool(described) and all(
        set(_VALUES) <= set(row) and all(value in values.get(name, ()) for name, value in row.items())
        for row in described
    )


class Reader(Protocol):
    """Reads what is said of pictures in them. `protocol` is what its figures depend on."""

    protocol: Settings

    def __call__(self, described: Described, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """How much of what is said is seen, name -> float64 (N,) in [0, 1], NaN where nothing of the kind is said."""
        ...


class Exact:
    """Reads pictures of the recipe of shapes by geometry; see `recipes.reading.agreement` for what the names mean."""

    def __init__(self) -> None:
        self.protocol: Settings = {"reader": "exact"}

    def __call__(self, described: Described, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """As of `Reader`."""
        from gantk_text2image.recipes.reading import agreement

        found = [agreement(row, picture) for row, picture in zip(described, pictures, strict=True)]
        names = dict.fromkeys(name for row in found for name in row)
        return {name: np.array([row.get(name, np.nan) for row in found]) for name in names}


class Fitted:
    """A classifier for each attribute, fitted on real pictures; an attribute with less than two values has none.

    Args:
        described: what is said of the real pictures.
        pictures: uint8 (N, S, S, 3); larger ones than a classifier takes are made smaller.
        nimg: pictures shown to each classifier.
        fitting: told the name of the attribute before each fit.

    Raises:
        UsageError: pictures that are too small for a classifier.
    """

    def __init__(
        self,
        described: Described,
        pictures: np.ndarray,
        *,
        nimg: int = NIMG,
        seed: int = 0,
        device: str = "cpu",
        fitting: Callable[[str], Any] = lambda name: None,
    ) -> None:
        self.values = {name: values for name, values in values_of(described).items() if len(values) > 1}
        self.protocol: Settings = {"reader": "classifiers", "fitted on": len(pictures), "nimg": nimg, "fit seed": seed}
        self.classifiers: dict[str, Classifier] = {}
        small = smaller(pictures)
        for name, values in self.values.items():
            fitting(name)
            rows = [row for row, said in enumerate(described) if name in said]
            labels = np.array([values.index(described[row][name]) for row in rows])
            self.classifiers[name] = fit_classifier(
                small[rows], labels, len(values), nimg=nimg, seed=seed, device=device
            )

    def __call__(self, described: Described, pictures: np.ndarray) -> dict[str, np.ndarray]:
        """As of `Reader`; values that the classifier never saw are left out, too."""
        small = smaller(pictures)
        found = {}
        for name, values in self.values.items():
            said = np.array([values.index(row[name]) if row.get(name) in values else -1 for row in described])
            found[name] = np.where(said < 0, np.nan, self.classifiers[name].labels(small) == said)
        return found


def smaller(pictures: np.ndarray) -> np.ndarray:
    """(N, S, S, 3) uint8 -> the same with S at most what a classifier takes: means of whole blocks of pixels."""
    factor = -(-pictures.shape[1] // SIDES[1])
    if factor == 1:
        return pictures
    n, side = len(pictures), pictures.shape[1] // factor
    whole = pictures[:, : side * factor, : side * factor].reshape(n, side, factor, side, factor, 3)
    return whole.mean((2, 4)).round().astype(np.uint8)


def cards(seen: Mapping[str, np.ndarray], protocol: Settings, *, kind: str = "", of: str = "") -> list[MetricCard]:
    """The mean of each attribute over the pictures of which it is said, with Wilson's interval.

    Args:
        seen: what a reader gave.
        protocol: what the figures depend on.
        kind: ends the name: "real pictures", say.
    """
    made = []
    for name, values in seen.items():
        told = values[~np.isnan(values)]
        if len(told):
            made.append(share(f"attribute {name}{', ' if kind else ''}{kind}", told, protocol, of=of))
    return made


def share(name: str, values: np.ndarray, protocol: Settings, *, of: str = "") -> MetricCard:
    """A card of the mean of values in [0, 1]. Wilson's interval is that of yes and no, and no narrower for shares."""
    interval = wilson(float(values.sum()), len(values))
    return MetricCard(
        name, float(values.mean()), "", len(values), protocol | {"interval": "Wilson 95 %"}, interval, of=of
    )
