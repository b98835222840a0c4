"""A generator fitted on few labelled pictures, and its use: labelled pictures by class and seed.

The generator is the task generate's, reached by its name like any other task.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gantk_augment.options import AugmentConfig
from gantoolkit.errors import InputError, UsageError
from gantoolkit.model import MAIN, Model
from gantoolkit.plugins import current
from gantoolkit.scan import conform
from gantoolkit.task import Task, TrainConfig

SHARE = 0.5  # of generated pictures, where no other was validated
SCORED = 500  # pictures of a score while training: there are few real ones to compare them with


def generate() -> Task:
    """The task that the generator belongs to."""
    return current().task("generate")


def generate_config(config: AugmentConfig) -> Any:
    """The configuration of the task generate that fits this one's generator."""
    make = generate().Config
    assert make is not None
    return make(
        **config.model_dump(include=set(TrainConfig.model_fields)),
        nimg=config.nimg,
        height=config.height,
        width=config.width,
        channels=config.channels,
        critic_channels=config.channels,
        augment=config.augment,
        mirror=config.mirror,
        held_out=config.held_out,
        conditional=True,
        score_pictures=SCORED,
    )


def dataset(config: AugmentConfig, folder: Path | None) -> Any:
    """Generate's data set of a folder or zip whose pictures have classes.

    Raises:
        UsageError: no folder.
        InputError: a source that cannot be read, or that has no classes.
    """
    if folder is None:
        raise UsageError("no pictures were named", remedy="gantk train augment FOLDER/")
    data: Any = generate().dataset(generate_config(config), folder)
    if not data.classes:
        raise InputError(
            f"the pictures of {folder} have no classes",
            expected="a folder a class, or labels.csv",
            remedy="add them; a generator of pictures without classes is fitted by `gantk train generate`",
        )
    counts = np.bincount(data.train.labels, minlength=len(data.classes))
    single = [name for name, count in zip(data.classes, counts, strict=True) if count < 2]
    if single:
        data.notes += (f"hardly anything can be learned of classes with one picture: {', '.join(single)}",)
    return data


def model(config: AugmentConfig, data: Any, weights: Mapping[str, Mapping[str, Any]]) -> Model:
    """What `gantk train augment` leaves: the generator and all that `Fitted` needs beside it."""
    generator = generate().model(generate_config(config), data, weights)
    assert generator is not None
    built = {
        "generator": dict(generator.config),
        "labels": list(data.classes),
        "share": SHARE,
        "trained_on": [fingerprint(picture) for picture in data.train.pictures()],
    }
    return Model("augment", built, {MAIN: generator.weights[MAIN]}, generator.card, "augment")


def fingerprint(picture: np.ndarray) -> str:
    """SHA-256 of a picture's shape and pixels, uint8 H,W,C."""
    return hashlib.sha256(repr(picture.shape).encode() + np.ascontiguousarray(picture).tobytes()).hexdigest()


class Fitted:
    """Makes labelled pictures: `fitted.pictures(["sneaker"], [7])` is one of class sneaker from seed 7.

    Args:
        model: of the task augment, or of generate with classes: then nothing is filtered.
        device, precision: of the generator.

    Attributes:
        name: the model's.
        classes: the names of its classes.
        size, channels: height and width in pixels; 1 for grey, 3 for colour.
        share: of generated pictures among those that a classifier is fitted on; validated where the model was
            fitted by this task, 0 when they did not help.
        trained_on: `fingerprint` of each training picture as the generator saw it; empty for a generate model.

    Raises:
        InputError: a model of another task, or one without classes.
    """

    def __init__(self, model: Model, device: str = "auto", precision: str = "fp32") -> None:
        own = model.task == "augment"
        if not own and not (model.task == "generate" and model.config.get("labels")):
            raise InputError(
                f"the model {model.name!r} makes no labelled pictures",
                expected="a model of augment, or of generate with classes",
                actual=f"a model of {model.task}",
                remedy="fit one with `gantk train augment DATA/`",
            )
        made = Model("generate", model.config["generator"], {MAIN: model.weights[MAIN]}) if own else model
        self._sampler: Any = generate().load(made, device=device, precision=precision)
        self.name = model.name
        self.classes: tuple[str, ...] = self._sampler.classes
        self.size: tuple[int, int] = self._sampler.size
        self.channels: int = self._sampler.channels
        self.share: float = model.config["share"] if own else SHARE
        self.trained_on = frozenset(model.config["trained_on"] if own else ())

    def knows(self, picture: np.ndarray) -> bool:
        """Whether a picture, uint8 H,W,C of any size, is one of those that the generator was fitted on."""
        return fingerprint(conform(picture, self.size, self.channels)) in self.trained_on

    def pictures(
        self, labels: Sequence[str | int], seeds: Sequence[int]
    ) -> tuple[np.ndarray, list[dict[str, Any] | None]]:
        """A picture for each label and seed, and how each was made.

        Row i depends on its own label and seed alone, whatever stands beside it.

        Args:
            labels: names or numbers of classes.
            seeds: 0 to 2^63 - 1, one for each label.

        Returns:
            uint8 N,H,W,C, and for each row its parameters, JSON values; None where no sample passed the filters
            (the row is black then).

        Raises:
            UsageError: an unknown class.
        """
        made = np.zeros((len(labels), *self.size, self.channels), np.uint8)
        for row, picture in enumerate(self._sampler.pictures(len(seeds), seed=list(seeds), label=list(labels))):
            made[row] = picture
        return made, [{"seed": int(seed), "attempts": 1} for seed in seeds]

    __call__ = pictures
