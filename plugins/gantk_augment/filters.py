"""What tells good generated pictures from bad ones: copies, wrong labels, and pictures unlike any real one.

A copy is a matter of pixels: it is looked for in small views of the pictures, shifted and mirrored ones too. What a
picture shows is a matter of features: its label and its distance from the real pictures are told by a classifier
that was fitted on real pictures alone. The limits of both distances are quantiles of what real pictures score that
were left out.

All distances are between whole numbers, whose squares float64 adds without rounding, and the classifier sees passes
of one size: what is said of a picture does not depend on the pictures beside it.

Shapes: N, M pictures of H×W pixels and C channels, uint8; K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantoolkit.classify import SIDES, Classifier
from gantoolkit.model import MAIN, Model
from gantoolkit.scan import conform

Folds = Sequence[tuple[np.ndarray, Classifier]]  # rows that were left out, and the classifier of all others

THUMB = 16  # pixels a side, at most, in which copies are looked for
STEPS = 1024  # whole numbers to a unit of the features
CHUNK = 16  # pictures a pass; the last one is filled up
CALIBRATION = 1_000  # real pictures, at most, whose distances to the others set the limit of copies
BLOCK = 2**22  # distances held at a time


@dataclass(frozen=True)
class Judged:
    """What the filters say of N pictures.

    Attributes:
        copy: distance from the nearest training picture, shifted or mirrored: root mean square, in grey levels of 255.
        probability: that the picture has the label it was made for.
        distance: from the nearest training picture in the classifier's features, in units of their spread (`describe`).
        passed: filter → bool N, True for pictures that it lets through.
    """

    copy: np.ndarray
    probability: np.ndarray
    distance: np.ndarray
    passed: Mapping[str, np.ndarray]

    @property
    def good(self) -> np.ndarray:
        """Bool N: let through by every filter."""
        return np.logical_and.reduce(list(self.passed.values()))

    def row(self, index: int) -> dict[str, float]:
        """What is worth keeping of one picture, as JSON values."""
        values = {"probability": self.probability, "distance": self.distance, "copy": self.copy}
        return {name: round(float(of[index]), 4) for name, of in values.items()}

    def shares(self) -> dict[str, float]:
        """Filter → the share that it lets through by itself; "all" together."""
        return {name: round(float(mask.mean()), 4) for name, mask in {**self.passed, "all": self.good}.items()}


class Filters:
    """Judges generated pictures by the training pictures.

    Attributes:
        limits: "copy": pictures at this distance or nearer are copies; "confidence": the least probability of a label;
            "distance": the largest from the training pictures, None for any.
    """

    def __init__(
        self,
        classifier: Classifier,
        small: np.ndarray,
        features: np.ndarray,
        spreads: Sequence[float],
        limits: Mapping[str, float | None],
    ) -> None:
        self.classifier, self.spreads, self.limits = classifier, list(spreads), dict(limits)
        self._small, self._features = small, features

    @classmethod
    def fit(
        cls,
        pictures: np.ndarray,
        classifier: Classifier,
        folds: Folds,
        *,
        duplicates: float,
        outliers: float,
        confidence: float,
    ) -> Filters:
        """Filters for a generator that was fitted on these pictures.

        Args:
            pictures: uint8 N,H,W,C.
            classifier: fitted on all of them; folds: the like, each without some of them.
            duplicates: share of real pictures that would pass for copies of others; 0 finds exact copies only.
            outliers: share of real pictures that would pass for unlike; 0 lets any picture through.
            confidence: least probability of the label.
        """
        features, _ = describe(classifier, reduced(pictures))
        spreads = _spreads(features)
        near = copy_limit(pictures, duplicates)
        far = upper(unseen_distances(pictures, folds), outliers)
        limits = {"copy": near, "confidence": confidence, "distance": far}
        return cls(classifier, thumbnails(pictures), _whole(features, spreads), spreads, limits)

    def judge(self, pictures: np.ndarray, labels: np.ndarray) -> Judged:
        """What is to be said of pictures uint8 N,H,W,C that were made for labels 0..K-1, (N,)."""
        features, probabilities = describe(self.classifier, reduced(pictures))
        probability = probabilities[np.arange(len(labels)), labels]
        copy = copy_distances(pictures, self._small)
        distance = np.sqrt(nearest(_whole(features, self.spreads), self._features)[1]) / STEPS
        far = self.limits["distance"]
        passed = {
            "copy": copy > self.limits["copy"],
            "label": probability >= self.limits["confidence"],
            "outlier": distance <= (math.inf if far is None else far),
        }
        return Judged(copy, probability, distance, passed)

    # ---- keeping them ----

    def config(self) -> dict[str, Any]:
        """JSON values from which, with `weights`, `of` makes the filters again."""
        return {"limits": self.limits, "spreads": self.spreads, "classifier": dict(self.classifier.model().config)}

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """The classifier's, and the bank: the training pictures as thumbnails and as features, in whole numbers."""
        bank = {"thumbnails": torch.from_numpy(self._small), "features": torch.from_numpy(self._features)}
        return {"classifier": dict(self.classifier.model().weights[MAIN]), "bank": bank}

    @classmethod
    def of(cls, config: Mapping[str, Any], weights: Mapping[str, Mapping[str, Tensor]]) -> Filters:
        """The filters that `config` and `weights` were taken from."""
        bank = weights["bank"]
        classifier = Classifier.of(Model("classify", config["classifier"], {MAIN: weights["classifier"]}))
        return cls(
            classifier, bank["thumbnails"].numpy(), bank["features"].numpy(), config["spreads"], config["limits"]
        )


# ---- copies, told by pixels ----


def thumbnails(pictures: np.ndarray) -> np.ndarray:
    """Means of squares of pixels, at most 16 a side: uint8 N,h,w,C; rows and columns beyond whole squares are left."""
    count, height, width, channels = pictures.shape
    side = _side(pictures)
    h, w = height // side, width // side
    squares = pictures[:, : h * side, : w * side].reshape(count, h, side, w, side, channels)
    total = squares.sum((2, 4), dtype=np.uint32)
    return ((total + side**2 // 2) // side**2).astype(np.uint8)


def _side(pictures: np.ndarray) -> int:
    """Pixels to a side of a thumbnail's square."""
    return -(-max(pictures.shape[1:3]) // THUMB)


def views(pictures: np.ndarray) -> np.ndarray:
    """Thumbnails of each picture, moved by half a square each way or not, mirrored or not: uint8 N,18,h·w·C."""
    step = max(1, _side(pictures) // 2)
    height, width = pictures.shape[1:3]
    around = np.pad(pictures, ((0, 0), (step, step), (step, step), (0, 0)), mode="edge")
    seen = []
    for top in (0, step, 2 * step):
        for left in (0, step, 2 * step):
            small = thumbnails(around[:, top : top + height, left : left + width])
            seen += [small, small[:, :, ::-1]]
    return np.stack([small.reshape(len(small), -1) for small in seen], 1)


def copy_distances(pictures: np.ndarray, small: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
    """Of N pictures, the distance of the nearest view from the nearest of M thumbnails: RMS in grey levels, float64 N.

    Args:
        own: (N,) the thumbnail that is the picture itself and does not count.
    """
    seen = views(pictures)
    count, each, size = seen.shape
    repeated = None if own is None else np.repeat(own, each)
    squared = nearest(seen.reshape(count * each, size), small.reshape(len(small), -1), repeated)[1]
    return np.sqrt(squared.reshape(count, each).min(1) / size)


def copy_limit(pictures: np.ndarray, share: float) -> float:
    """The distance at or below which a picture is a copy: that `share` of real pictures keep from all others.

    Pictures that the data have twice say nothing of new ones, and are left out. With nothing to learn from, or a
    share of 0, only exact copies are copies.
    """
    rows = np.random.default_rng(0).permutation(len(pictures))[:CALIBRATION]
    apart = copy_distances(pictures[rows], thumbnails(pictures), rows)
    return lower(apart[(apart > 0) & np.isfinite(apart)], share)


# ---- what a picture shows, told by features ----


def reduced(pictures: np.ndarray) -> np.ndarray:
    """Pictures as the classifier takes them: the same, or smaller where they have more than 64 pixels a side."""
    low, high = SIDES
    height, width = pictures.shape[1:3]
    if max(height, width) <= high:
        return pictures
    scale = high / max(height, width)
    size = (max(low, round(height * scale)), max(low, round(width * scale)))
    return np.stack([conform(picture, size, pictures.shape[3], "stretch") for picture in pictures])


def describe(classifier: Classifier, pictures: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Features and probabilities N,K, float32, of pictures of the classifier's size; each row by itself.

    Features are the means over positions of the maps of each resolution, fine to coarse: three arrays N,F. Those
    of the last one alone know no more than the classes, and see nothing wrong with noise.
    """
    rows: list[list[np.ndarray]] = []
    for start in range(0, len(pictures), CHUNK):
        part = pictures[start : start + CHUNK]
        whole = np.concatenate([part, np.repeat(part[:1], CHUNK - len(part), 0)])
        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(whole)).permute(0, 3, 1, 2).float() / 255
            means = [maps.float().mean((2, 3)) for maps in classifier.stages(x)]
            rows.append([values[: len(part)].numpy() for values in (*means, classifier.decide(means[-1]))])
    *features, probabilities = (np.concatenate(column) for column in zip(*rows, strict=True))
    return features, probabilities


def unseen_distances(pictures: np.ndarray, folds: Folds) -> np.ndarray:
    """How far real pictures are from those that a classifier was fitted on, when it has not seen them: float64.

    Leaving a picture out of the bank alone would not do: a classifier draws the pictures that it learns together.
    Features of two classifiers do not compare, but their distances do, in units of the spreads of each.
    """
    apart = []
    for rows, classifier in folds:
        features, _ = describe(classifier, reduced(pictures))
        others = [np.delete(values, rows, 0) for values in features]
        held, spreads = [values[rows] for values in features], _spreads(others)
        apart.append(np.sqrt(nearest(_whole(held, spreads), _whole(others, spreads))[1]) / STEPS)
    return np.concatenate(apart)


def _spreads(features: Sequence[np.ndarray]) -> list[float]:
    """Of each resolution's features, the root mean square of the distance from their mean."""
    exact = [values.astype(np.float64) for values in features]
    return [float(np.sqrt(np.square(values - values.mean(0)).sum(1).mean())) or 1.0 for values in exact]


def _whole(features: Sequence[np.ndarray], spreads: Sequence[float]) -> np.ndarray:
    """Features in units of their resolution's spread, as whole numbers: int16, 32 spreads each way."""
    units = np.concatenate([of.astype(np.float64) / spread for of, spread in zip(features, spreads, strict=True)], 1)
    limits = np.iinfo(np.int16)
    return np.rint(units * STEPS).clip(limits.min, limits.max).astype(np.int16)


# ---- distances and quantiles ----


def nearest(queries: np.ndarray, bank: np.ndarray, own: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of M rows for each of N rows of whole numbers: its index and the squared distance, exact float64.

    Args:
        own: (N,) the row that does not count; with no other one the distance is inf.
    """
    bank = bank.astype(np.float64)
    lengths = np.square(bank).sum(1)
    indices, squared = np.empty(len(queries), np.int64), np.empty(len(queries))
    step = max(1, BLOCK // len(bank))
    for start in range(0, len(queries), step):
        part = queries[start : start + step].astype(np.float64)
        apart = np.square(part).sum(1)[:, None] + lengths - 2 * (part @ bank.T)
        if own is not None:
            apart[np.arange(len(part)), own[start : start + step]] = np.inf
        found = apart.argmin(1)
        indices[start : start + step], squared[start : start + step] = found, apart[np.arange(len(part)), found]
    return indices, squared


def lower(values: np.ndarray, share: float) -> float:
    """The value that `share` of new ones stay at or below (a conformal quantile; of few values the least); 0 of none.

    Vovk et al. 2005, Algorithmic Learning in a Random World: of n values, rank share·(n + 1).
    """
    if not len(values) or not share:
        return 0.0
    rank = max(1, int(share * (len(values) + 1)))
    return float(np.sort(values)[rank - 1])


def upper(values: np.ndarray, share: float) -> float | None:
    """The value that `share` of new ones lie above (of few values the largest); None, for any, with none or share 0."""
    if not len(values) or not share:
        return None
    rank = min(len(values), math.ceil((1 - share) * (len(values) + 1)))
    return float(np.sort(values)[rank - 1])
