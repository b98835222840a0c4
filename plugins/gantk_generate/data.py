"""What a generator is trained on: pictures (or points) with held-out ones beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantk_generate.options import GenerateConfig
from gantoolkit.errors import InputError, UsageError
from gantoolkit.labelled import LabelledPictures, Points

POINTS = "--preset points learns points, the rows of an array"


class Data:
    """The training samples; `held_out` are never trained on.

    Attributes:
        train, held_out: pictures or points; `held_out` is None when nothing is kept aside.
        classes: names of the classes to learn, () when there are none or they are not wanted.
        notes: what was decided about the data, in words.
    """

    def __init__(self, config: GenerateConfig, folder: Path) -> None:
        self.train: Any
        self.held_out: Any
        if config.arch == "mlp":
            self.train = Points(folder, held_out=config.held_out)
        else:
            if folder.suffix == ".npy" and folder.is_file():
                raise UsageError(f"{folder} holds an array, and --arch {config.arch} makes pictures", remedy=POINTS)
            if bool(config.height) != bool(config.width):
                raise UsageError("height and width belong together", remedy="set both, or neither")
            from gantk_generate.networks import nearest

            self.train = LabelledPictures(
                folder,
                size=(config.height, config.width) if config.height else None,
                channels=config.picture_channels,
                fit=config.fit,
                mirror=config.mirror,
                held_out=config.held_out,
                labelled=config.conditional,
                possible=nearest,
            )
        try:
            self.held_out = self.train.with_split("held-out") if config.held_out else None
        except InputError:  # of a few samples, a tenth may be none
            self.held_out = None
        self.classes: tuple[str, ...] = self.train.classes
        self.notes: tuple[str, ...] = self.train.notes
        if self.classes and config.held_out:
            seen = set() if self.held_out is None else set(self.held_out.labels.tolist())
            if missing := len(set(self.train.labels.tolist()) - seen):
                self.notes += (f"{missing} of {len(self.classes)} classes have no picture that is held out",)

    def __len__(self) -> int:
        return len(self.train)

    @cached_property
    def fingerprint(self) -> str:
        """Of the training samples and of those held out."""
        return self.train.fingerprint + (self.held_out.fingerprint if self.held_out else "")

    def item(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        return self.train.item(index, rng)

    def bank(self, which: str, count: int) -> dict[str, Tensor]:
        """`count` samples at most of "train" or "held_out", as batches hold them; always the same ones.

        In random order: the first ones are of all classes, however the data are sorted.
        """
        items = list(self.chosen(which, count))
        keys = ["image", *(["label"] if self.classes else [])]
        return {key: torch.stack([torch.as_tensor(item[key]) for item in items]) for key in keys}

    def chosen(self, which: str, count: int) -> Iterator[Mapping[str, Any]]:
        """The samples of `bank`, one at a time."""
        source = getattr(self, which)
        rng = np.random.default_rng(0)
        for index in rng.permutation(len(source))[:count]:
            yield source.item(int(index), rng)
