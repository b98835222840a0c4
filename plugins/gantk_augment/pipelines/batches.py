"""kornia: generated pictures in batches on the device, as one more random augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kornia.augmentation import IntensityAugmentationBase2D
from torch import Tensor

from gantk_augment.pipelines.making import fitted, make, plain
from gantoolkit.errors import UsageError
from gantoolkit.resample import resize


class GANAugmentBatch(IntensityAugmentationBase2D):
    """Replaces pictures of a batch by generated ones of their classes: `augment.of(labels)(pictures)`.

    kornia's containers hand no labels on, so `of` says them for the next batch, there as well as alone:

        augment = GANAugmentBatch("my-model", p=0.5)
        both = AugmentationSequential(augment, RandomHorizontalFlip(), data_keys=["input"])
        augment.of(labels); pictures = both(pictures)

    Pictures: floating point (B, C, H, W) in [0, 1], C 1 or 3. Seeds come from torch's global generator, and are kept
    with the labels in kornia's parameters: `forward(pictures, params=…)` repeats a draw. Gradients flow through the
    pictures that stay.

    Args:
        model: of augment, or of generate with classes: a name, a model folder or a run; loaded at the first batch.
        classes: names in the order in which the data numbers them; None: the model's own order.
        p: probability of each picture, whatever a container's `same_on_batch` says.

    Raises:
        UsageError: (when called) no labels, not one for each picture, an unknown class, or masks, boxes or keypoints,
            which would not fit.
        InputError: (when called) no picture of a class passes the model's filters.
    """

    def __init__(
        self, model: str | Path, p: float = 0.5, classes: Sequence[str] | None = None, keepdim: bool = False
    ) -> None:
        super().__init__(p=p, keepdim=keepdim)
        self.model, self.classes = str(model), classes
        self._labels: list[str | int] | None = None

    def of(self, labels: Tensor | Sequence[str | int]) -> GANAugmentBatch:
        """Say the classes of the next batch's pictures, (B,) numbers or names; returns itself."""
        values = labels.tolist() if isinstance(labels, Tensor) else list(labels)
        self._labels = [plain(value, self.classes) for value in values]
        return self

    def generate_parameters(self, batch_shape: tuple[int, ...]) -> dict[str, Any]:
        labels, self._labels = self._labels, None  # of one batch: never those of the batch before
        return {"seeds": torch.randint(2**63 - 1, (batch_shape[0],)), "labels": labels}

    def __batch_prob_generator__(
        self, batch_shape: tuple[int, ...], p: float, p_batch: float, same_on_batch: bool
    ) -> Tensor:
        return super().__batch_prob_generator__(batch_shape, p, p_batch, False)

    def apply_transform(
        self, input: Tensor, params: dict[str, Any], flags: dict[str, Any], transform: Tensor | None = None
    ) -> Tensor:
        chosen = (params["batch_prob"] > 0.5).nonzero().flatten().tolist()
        labels = params["labels"]
        if labels is None or len(labels) != len(input):
            raise UsageError(
                "GANAugmentBatch needs the classes of the batch",
                expected=f"{len(input)} labels",
                actual=None if labels is None else len(labels),
                remedy="call augment.of(labels) before each batch",
            )
        if not chosen:
            return input
        seeds = [int(params["seeds"][row]) for row in chosen]
        made = np.stack(make(fitted(self.model, str(input.device)), [labels[row] for row in chosen], seeds))
        pictures = torch.from_numpy(made).to(input.device).movedim(3, 1).to(input.dtype) / 255
        if pictures.shape[2:] != input.shape[2:]:
            pictures = resize(pictures, (input.shape[2], input.shape[3])).clamp(0, 1)
        if pictures.shape[1] == 3 and input.shape[1] == 1:
            pictures = (pictures * pictures.new_tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
        rows = torch.tensor(chosen, device=input.device)
        return input.index_put((rows,), pictures.expand(-1, input.shape[1], -1, -1))

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise UsageError(
            "the pictures that GANAugmentBatch makes do not fit masks, boxes or keypoints",
            remedy="leave them out of data_keys",
        )

    apply_transform_mask = apply_transform_box = apply_transform_keypoint = _refuse
