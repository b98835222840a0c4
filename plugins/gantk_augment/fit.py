"""A generator fitted on few labelled pictures, and its use: labelled pictures by class and seed.

The generator is the task generate's, reached by its name like any other task.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from gantk_augment import filters, mixing
from gantk_augment.options import AugmentConfig
from gantoolkit.classify import Classifier, fit_classifier
from gantoolkit.errors import InputError, UsageError
from gantoolkit.model import MAIN, Model, starting_card
from gantoolkit.plugins import current
from gantoolkit.scan import conform
from gantoolkit.task import Task, TrainConfig

SHARE = 0.5  # of generated pictures, where no other was validated
SCORED = 256  # pictures of a score while training: there are few real ones to compare them with
TRIES = 20  # samples for a row, before it is given up
CANDIDATES = 2_000  # samples that tell what the filters let through, and that are tried beside the real pictures


def generate() -> Task:
    """The task that the generator belongs to."""
    return current().task("generate")


def generate_config(config: AugmentConfig) -> Any:
    """The configuration of the task generate that fits this one's generator."""
    make: Any = generate().Config
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
    """What `gantk train augment` leaves: the generator, and what tells its good samples and how many are worth taking.

    The filters and the share of generated pictures are found with the weights as they will be on the disk, so that
    a model that was saved decides as this one does.
    """
    generator = generate().model(generate_config(config), data, weights)
    assert generator is not None
    pictures, labels = np.stack(list(data.train.pictures())), data.train.labels
    settings: dict[str, Any] = {"nimg": config.classifier_nimg, "seed": config.seed}
    seen, classes = filters.reduced(pictures), len(data.classes)
    folds = mixing.cross_fit(seen, labels, classes, folds=min(config.folds, len(seen)), **settings)
    whole = fit_classifier(seen, labels, classes, **settings)
    classifier = whole.model()
    judge = filters.Filters.fit(
        pictures,
        Classifier.of(replace(classifier, weights={MAIN: _stored(classifier.weights[MAIN])})),
        folds,
        duplicates=config.duplicates,
        outliers=config.outliers,
        confidence=config.confidence,
    )
    built = {
        "generator": dict(generator.config),
        "labels": list(data.classes),
        "filters": judge.config(),
        "share": SHARE,
        "trained_on": [fingerprint(picture) for picture in pictures],
    }
    made = Model("augment", built, {MAIN: _stored(generator.weights[MAIN]), **judge.weights()}, name="augment")
    candidates, judged, numbers = Fitted(made, device="cpu").candidates(CANDIDATES, config.seed)
    found = {"share": SHARE, "accepted": judged.shares(), "mixing": []}
    if not judged.good.any():
        found["share"] = 0.0
    elif np.bincount(labels, minlength=classes).min() > 1:
        rows = mixing.balanced(numbers, judged.good)
        good = filters.reduced(candidates[rows]), numbers[rows]
        if kept := _unseen(data):
            held = filters.reduced(np.stack(list(data.held_out.pictures())))
            folds = [(len(seen) + np.arange(len(held)), whole)]
            seen, labels = np.concatenate([seen, held]), np.concatenate([labels, data.held_out.labels])
        found["share"], found["mixing"] = mixing.choose_share(
            seen, labels, classes, good, folds, unseen=kept, **settings
        )
    return replace(made, config=built | found, card=_card(config, data, found))


def _unseen(data: Any) -> bool:
    """Whether pictures are held out that can tell a share from another: one alone has no standard error."""
    return data.held_out is not None and len(data.held_out) > 1


def _stored(state: Mapping[str, Any]) -> dict[str, Any]:
    """Weights as they come back from `Model.save`, which halves their precision where it can."""
    halved = {key: value.half().float() for key, value in state.items() if value.is_floating_point()}
    return {**state, **{key: value for key, value in halved.items() if bool(value.isfinite().all())}}


def _card(config: AugmentConfig, data: Any, found: Mapping[str, Any]) -> str:
    """What is known of the model without the trainer's words."""
    shares = ", ".join(f"{name} {share:.1%}" for name, share in found["accepted"].items())
    tried = ", ".join(f"{row['share']:g}: {row['gain']:+.1%} ± {row['error']:.1%}" for row in found["mixing"])
    about = [
        f"Makes labelled pictures of {len(data.classes)} classes: {', '.join(data.classes)}.",
        f"Filters let through: {shares} (of {CANDIDATES:,} samples).",
        f"Share of generated pictures to fit a classifier with: {found['share']:g}, "
        + (
            f"chosen on {'the pictures held out' if _unseen(data) else 'parts of the training pictures'} "
            f"(gain in accuracy ± standard error: {tried})."
            if tried
            else "not validated: a class has one picture, or no sample passed the filters."
        ),
        "A generator that has seen the pictures it is chosen by looks better than it is, and so may that share; "
        "`gantk eval augment` with other pictures has the last word.",
        f"The folder holds its training pictures as thumbnails of {filters.THUMB} pixels a side at most, to tell "
        "copies: whoever gets the model gets those.",
    ]
    known = config.model_dump(mode="json") | {"samples": len(data)}
    return starting_card("augment", "\n".join(about), known, "gantk eval augment DATA/ --model THIS --test TEST/")


def fingerprint(picture: np.ndarray) -> str:
    """SHA-256 of a picture's shape and pixels, uint8 H,W,C."""
    return hashlib.sha256(repr(picture.shape).encode() + np.ascontiguousarray(picture).tobytes()).hexdigest()


def model_hash(model: Model) -> str:
    """SHA-256 of a model's config and weights: a name and a place say little of what is there."""
    digest = hashlib.sha256(json.dumps(dict(model.config), sort_keys=True, default=str).encode())
    for variant, weights in sorted(model.weights.items()):
        for key, tensor in sorted(weights.items()):
            digest.update(f"{variant}/{key}/{tensor.dtype}".encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


class Fitted:
    """Makes labelled pictures: `fitted.pictures(["sneaker"], [7])` is one of class sneaker from seed 7.

    Args:
        model: of the task augment, or of generate with classes: then nothing is filtered.
        device, precision: of the generator.

    Attributes:
        name: the model's.
        sampler: what makes the pictures, generate's own.
        filters: what lets them through; None for a generate model.
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
        self.sampler = cast(Any, generate().load(made, device=device, precision=precision))
        self.filters = filters.Filters.of(model.config["filters"], model.weights) if own else None
        self.name = model.name
        self.classes: tuple[str, ...] = self.sampler.classes
        self.size: tuple[int, int] = self.sampler.size
        self.channels: int = self.sampler.channels
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
        parameters: list[dict[str, Any] | None] = [None] * len(labels)
        numbers = self.sampler.labels(len(labels), list(labels)).numpy()
        wanted = np.arange(len(labels))
        attempt = 0
        while len(wanted) and attempt < TRIES:
            attempt += 1
            drawn = [derived(int(seeds[row]), attempt) for row in wanted.tolist()]
            pictures = self._drawn(numbers[wanted], drawn)
            judged = self.filters.judge(pictures, numbers[wanted]) if self.filters is not None else None
            good = np.ones(len(wanted), bool) if judged is None else judged.good
            for i in np.flatnonzero(good).tolist():
                made[wanted[i]] = pictures[i]
                how = {} if judged is None else judged.row(i)
                parameters[int(wanted[i])] = {"seed": drawn[i], "attempts": attempt, **how}
            wanted = wanted[~good]
        return made, parameters

    __call__ = pictures

    def candidates(self, count: int, seed: int) -> tuple[np.ndarray, filters.Judged, np.ndarray]:
        """Samples of all classes in turn, what the filters say of them, and their labels as numbers (N,).

        Only for a model of the task augment.
        """
        assert self.filters is not None
        numbers = np.arange(count) % len(self.classes)
        pictures = self._drawn(numbers, [derived(seed, row) for row in range(2, count + 2)])
        return pictures, self.filters.judge(pictures, numbers), numbers

    def _drawn(self, numbers: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
        """Pictures uint8 N,H,W,C of class numbers (N,), filtered by nothing."""
        return np.stack(list(self.sampler.pictures(len(seeds), seed=list(seeds), label=numbers.tolist())))


def derived(seed: int, attempt: int) -> int:
    """The seed of a row's attempt, 1 and up: the first is the row's own, the others have nothing in common with it."""
    if attempt == 1:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed}/{attempt}".encode()).digest()[:8], "big") >> 1
