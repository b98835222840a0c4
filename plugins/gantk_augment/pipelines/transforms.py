"""albumentations: a trained model as a transform, beside any others in a `Compose`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import PositiveInt

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing it calls home otherwise

import albumentations as A
from albumentations.core.transforms_interface import BaseTransformInitSchema

from gantk_augment.pipelines import making
from gantoolkit.errors import UsageError
from gantoolkit.resample import resize_array


class _Named(A.ImageOnlyTransform):
    """A transform that recipe files know by the name under which users import it."""

    @classmethod
    def get_class_fullname(cls) -> str:
        return f"gantk_augment.{cls.__name__.lstrip('_')}"


class GANAugment(_Named):
    """Replaces a picture by a generated one of its class: `compose(image=picture, label="sneaker")`.

    The new picture depends on the label and a seed, which comes from the transform's own random numbers; it takes the
    size, channels and type of the old one. The model is loaded when it is first needed, in each process.

    Args:
        model: of augment, or of generate with classes: a name, a model folder or a run.
        label_key: under which name the call brings the label, a class's name or number.
        classes: what the numbers stand for; None: the model's own order.
        variety: at most so many pictures of a class. They are made 16 at a time and kept in memory, which is many
            times faster than a new one at each call. None: no limit.
        device: where the model runs. Not a GPU in worker processes that are forked.
        p: how often.

    Raises:
        UsageError: (when called) no label, an unknown class, or masks, boxes or keypoints, which would not fit.
        InputError: (when called) no picture of the class passes the model's filters.
    """

    class InitSchema(BaseTransformInitSchema):
        model: str | Path
        label_key: str
        classes: list[str] | None
        variety: PositiveInt | None
        device: str

    def __init__(
        self,
        model: str | Path,
        label_key: str = "label",
        classes: list[str] | None = None,
        variety: int | None = None,
        device: str = "cpu",
        p: float = 0.5,
    ) -> None:
        super().__init__(p=p)
        self.model, self.label_key, self.classes = str(model), label_key, classes
        self.variety, self.device = variety, device

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        _refuse(self, data, ("mask", "masks", "bboxes", "keypoints"), "it shows other things than the old one")
        if data.get(self.label_key) is None:
            remedy = f"call it with image=…, {self.label_key}=…"
            raise UsageError(f"GANAugment needs the picture's class as {self.label_key!r}", remedy=remedy)
        label = making.plain(data[self.label_key], self.classes)
        return {"label": label, "seed": self.py_random.getrandbits(63)}

    def apply(self, img: np.ndarray, label: str | int, seed: int, **params: Any) -> np.ndarray:  # type: ignore[override]
        return making.like(making.one(self.model, self.device, label, seed, self.variety), img)


class ModelTransform(_Named):
    """Applies another task's model to the picture, superres by default.

    Args:
        task: whose model takes a picture H,W,C and gives one.
        model: a name, a model folder or a run; None for the task's own.
        fit: "same" brings the result back to the picture's size, "enlarged" leaves it as it came.
        options: of `gantoolkit.load`, for superres `{"detail": 1}`.
        p: how often.

    Raises:
        UsageError: (when called) a result of another size beside masks or keypoints.
    """

    class InitSchema(BaseTransformInitSchema):
        task: str
        model: str | Path | None
        fit: Literal["same", "enlarged"]
        options: dict[str, Any] | None

    def __init__(
        self,
        task: str = "superres",
        model: str | Path | None = None,
        fit: Literal["same", "enlarged"] = "same",
        options: dict[str, Any] | None = None,
        p: float = 0.5,
    ) -> None:
        super().__init__(p=p)
        self.task, self.model = task, None if model is None else str(model)
        self.fit, self.options = fit, options

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        if self.fit == "enlarged":
            _refuse(self, data, ("mask", "masks", "keypoints"), 'it has another size; use fit="same"')
        return {}

    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:  # type: ignore[override]
        made = making.applied(self.task, self.model, {"device": "cpu", **(self.options or {})})(img)
        if self.fit == "enlarged" or made.shape == img.shape:
            return made
        return resize_array(np.atleast_3d(made), (img.shape[0], img.shape[1])).reshape(img.shape)


def _refuse(transform: A.BasicTransform, data: dict[str, Any], keys: tuple[str, ...], why: str) -> None:
    there = [key for key in keys if data.get(key) is not None and len(data[key])]
    if there:
        name = type(transform).__name__
        raise UsageError(f"the picture that {name} makes does not fit the {' and '.join(there)} given with it: {why}")
