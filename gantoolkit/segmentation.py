"""How far two segmentations agree: counts of pixels by class, and the figures that papers print of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gantoolkit.errors import InputError, UsageError
from gantoolkit.metrics import MetricCard


class Confusion:
    """Pixels counted by true class and predicted class, added up over pictures.

    Args:
        classes: the values that masks hold, each once.

    Attributes:
        counts: int64 (K, K); row: the true class, column: the predicted one, both in the order of `classes`.
        n: pictures added.
    """

    def __init__(self, classes: Sequence[int]) -> None:
        self.classes = np.unique(np.asarray(classes))
        if not len(self.classes) or len(self.classes) != len(classes):
            raise UsageError("classes of a segmentation", expected="at least one, each once", actual=list(classes))
        self.counts = np.zeros((len(self.classes),) * 2, np.int64)
        self.n = 0

    def add(self, predicted: np.ndarray, truth: np.ndarray) -> None:
        """Count two masks (H, W) of one shape.

        Raises:
            UsageError: two shapes.
            InputError: a value that is no class.
        """
        if predicted.shape != truth.shape or predicted.ndim != 2:
            actual = f"{predicted.shape} and {truth.shape}"
            raise UsageError("cannot compare these masks", expected="two arrays H,W of one shape", actual=actual)
        place = self._places(truth) * len(self.classes) + self._places(predicted)
        self.counts += np.bincount(place.ravel(), minlength=self.counts.size).reshape(self.counts.shape)
        self.n += 1

    def cards(self) -> list[MetricCard]:
        """Mean IoU and pixel accuracy of all pixels together: Long et al. 2015, arXiv:1411.4038, section 5.

        The mean is over classes that occur, in the truth or in what was predicted.

        Raises:
            UsageError: nothing was added.
        """
        if not self.n:
            raise UsageError("no masks were compared", expected="at least one pair")
        right = np.diag(self.counts).astype(np.float64)
        union = self.counts.sum(0) + self.counts.sum(1) - right
        seen = union > 0
        protocol: dict[str, str | int | float] = {"classes": int(seen.sum()), "pixels": int(self.counts.sum())}
        iou, accuracy = float((right[seen] / union[seen]).mean()), float(right.sum() / self.counts.sum())
        return [
            MetricCard("mean IoU", iou, "", self.n, protocol),
            MetricCard("pixel accuracy", accuracy, "", self.n, protocol),
        ]

    def _places(self, mask: np.ndarray) -> np.ndarray:
        places = np.searchsorted(self.classes, mask).clip(0, len(self.classes) - 1)
        unknown = mask[self.classes[places] != mask]
        if unknown.size:
            known = ", ".join(map(str, self.classes))
            raise InputError("a mask has an unknown class", expected=known, actual=unknown.flat[0])
        return places
