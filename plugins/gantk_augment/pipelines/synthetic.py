"""torch: generated pictures as a data set beside real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from gantk_augment.pipelines.making import derive, fitted, make
from gantoolkit.errors import UsageError


class SyntheticPictures(Dataset):
    """Generated pictures with their labels, so many of each class; item i is a function of (seed, i).

    Items: (float32 (C, H, W) in [0, 1], or what `transform` gives; the class's number). The model is loaded when an
    item is first asked for, in each process, and is not pickled.

    Args:
        model: of augment, or of generate with classes: a name, a model folder or a run.
        per_class: how many of each class, or of each class by name.
        seed: of everything random.
        classes: names in the order in which the real data set numbers them; needed so that the numbers agree.
        transform: gets each picture, uint8 (H, W, C).
        device: where the model runs. Not a GPU in worker processes that are forked.

    Raises:
        UsageError: a class of `per_class` that is not among the classes.
    """

    def __init__(
        self,
        model: str | Path,
        per_class: int | Mapping[str, int],
        seed: int = 0,
        *,
        classes: Sequence[str],
        transform: Callable[[np.ndarray], Any] | None = None,
        device: str = "cpu",
    ) -> None:
        self.model, self.seed, self.transform, self.device = str(model), seed, transform, device
        self.classes = tuple(classes)
        counts = dict.fromkeys(classes, per_class) if isinstance(per_class, int) else dict(per_class)
        if unknown := [name for name in counts if name not in self.classes]:
            raise UsageError(f"unknown class {unknown[0]!r}", expected=", ".join(self.classes))
        self._ends = np.cumsum([counts.get(name, 0) for name in self.classes])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, int]]:
        """A batch in one pass of the generator; a `DataLoader` asks for batches so."""
        rows = [range(len(self))[index] for index in indices]
        numbers = [int(np.searchsorted(self._ends, row, "right")) for row in rows]
        names = [self.classes[number] for number in numbers]
        pictures = make(fitted(self.model, self.device), names, [derive(self.seed, row) for row in rows])
        return [(self._item(picture), number) for picture, number in zip(pictures, numbers, strict=True)]

    def _item(self, picture: np.ndarray) -> Any:
        if self.transform is not None:
            return self.transform(picture)
        return torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32, order="C")).div_(255)
