"""The arms of the verdict: one small classifier each, on the same real pictures, for equally many steps.

    real      the real pictures
    classic   the real pictures, each changed anew by the classic transform whenever it is shown
    gan       real pictures, and generated ones at a given share of those shown
    both      as gan, the classic transform on all

The random shift that `fit_classifier` brings is off in every arm: what classic augmentation does is the recipe's
business alone. Everything here works on arrays: pictures uint8 N,H,W,C, labels int64 N in 0..classes-1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gantk_augment.fit import fingerprint
from gantoolkit.classify import Classifier, fit_classifier
from gantoolkit.errors import InputError, UsageError

ARMS = ("real", "classic", "gan", "both")
WIDTH = 16  # of the classifier
APART = 0.2  # of the data, kept aside for tests where no test pictures are given
Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Labelled:
    """Pictures with their labels: uint8 N,H,W,C and int64 N."""

    pictures: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> Labelled:
        """The pictures at these places, or where the mask is True."""
        return Labelled(self.pictures[rows], self.labels[rows])


@dataclass(frozen=True)
class Pool:
    """Generated pictures, and their share among those that a classifier is shown, 0 to 1.

    With a share of 0 the arms gan and both are fitted exactly as real and classic are.
    """

    made: Labelled
    share: float


def fit_arm(
    arm: str,
    real: Labelled,
    classes: int,
    *,
    nimg: int,
    seed: int,
    transform: Transform | None = None,
    pool: Pool | None = None,
    width: int = WIDTH,
) -> Classifier:
    """The classifier of one arm. On a CPU the same arguments give the same weights for one number of threads.

    Args:
        arm: one of `ARMS`.
        real: training pictures.
        nimg: pictures to show, the same for every arm.
        transform: of the arms classic and both.
        pool: of the arms gan and both.

    Raises:
        UsageError: an unknown arm, or one that lacks its transform or its pool.
    """
    if arm not in ARMS:
        raise UsageError("there is no such arm", expected=", ".join(ARMS), actual=arm)
    changed, generated = arm in ("classic", "both"), arm in ("gan", "both")
    if (changed and transform is None) or (generated and pool is None):
        raise UsageError(f"the arm {arm} cannot be fitted", expected="a transform and generated pictures")
    used = pool if generated and pool and pool.share and len(pool.made) else None
    return fit_classifier(
        real.pictures,
        real.labels,
        classes,
        nimg=nimg,
        seed=seed,
        precision="fp32",
        width=width,
        shift=0,
        transform=transform if changed else None,
        extra=(used.made.pictures, used.made.labels) if used else None,
        share=used.share if used else 0.0,
    )


def classic(settings: Mapping[str, Any]) -> Transform:
    """The classic policy as a transform of one picture."""
    from gantk_augment.classic import Classic

    policy = Classic(settings)
    return lambda picture, rng: policy.transform(picture, int(rng.integers(2**63)))


# ---- which pictures ----


def aside(data: Labelled, share: float = APART) -> np.ndarray:
    """Which pictures are kept apart for tests, bool N: of each class the share with the smallest fingerprints.

    Neither names nor the order of files matter, and equal pictures stay together but for the last ones. A class of
    two pictures or more gives one to each side at least; one of a single picture stays in training.
    """
    prints = np.array([fingerprint(picture) for picture in data.pictures])
    apart = np.zeros(len(data), bool)
    for label in np.unique(data.labels):
        rows = np.flatnonzero(data.labels == label)
        count = min(len(rows) - 1, max(1, round(share * len(rows))))
        apart[rows[np.argsort(prints[rows], kind="stable")[:count]]] = True
    return apart


def shared(data: Labelled, others: Labelled) -> np.ndarray:
    """Which pictures stand among the others, too, whatever their labels: bool N."""
    known = {fingerprint(picture) for picture in others.pictures}
    return np.array([fingerprint(picture) in known for picture in data.pictures], bool)


def subsample(data: Labelled, per_class: int | None, seed: int) -> Labelled:
    """`per_class` pictures of each class, drawn by the seed, in random order; all of them for None.

    Raises:
        InputError: a class has fewer.
    """
    if per_class is None:
        return data
    rng = np.random.default_rng((seed, per_class))
    rows = []
    for label in np.unique(data.labels):
        of_class = np.flatnonzero(data.labels == label)
        if len(of_class) < per_class:
            raise InputError(
                f"class number {label} has too few training pictures",
                expected=f"{per_class} for --per-class",
                actual=len(of_class),
                remedy="ask for fewer",
            )
        rows.append(rng.choice(of_class, per_class, replace=False))
    return data.take(rng.permutation(np.concatenate(rows)))
