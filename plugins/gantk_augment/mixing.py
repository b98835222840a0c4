"""How many generated pictures a classifier should see beside the real ones: the share that held-out pictures favour.

Shapes: N real and M generated pictures, uint8 N,H,W,C; labels 0..K-1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gantk_augment.filters import Folds, nearest, thumbnails
from gantoolkit.classify import Classifier, fit_classifier

SHARES = (0.25, 0.5, 0.75)
SURE = 1.0  # standard errors that a gain has to exceed: the rule of one, Breiman et al. 1984, CART, section 3.4.3


def stratified(labels: np.ndarray, folds: int, seed: int) -> list[np.ndarray]:
    """Rows (N,) dealt to folds at random: every fold has as many of each class as another, give or take one."""
    rng = np.random.default_rng(seed)
    dealt = np.concatenate([rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)])
    return [np.sort(dealt[start::folds]) for start in range(folds)]


def cross_fit(
    pictures: np.ndarray, labels: np.ndarray, classes: int, *, folds: int, nimg: int, seed: int = 0
) -> list[tuple[np.ndarray, Classifier]]:
    """For each fold its rows, and a classifier fitted on all others."""
    made = []
    for rows in stratified(labels, folds, seed):
        kept = np.delete(np.arange(len(labels)), rows)
        made.append((rows, fit_classifier(pictures[kept], labels[kept], classes, nimg=nimg, seed=seed)))
    return made


def choose_share(
    pictures: np.ndarray,
    labels: np.ndarray,
    classes: int,
    synthetic: tuple[np.ndarray, np.ndarray],
    folds: Folds,
    *,
    shares: Sequence[float] = SHARES,
    nimg: int,
    seed: int = 0,
) -> tuple[float, list[dict[str, float]]]:
    """The share of generated pictures with which a classifier does best on real pictures that it has not seen.

    Every real picture is held out once, and judged by classifiers of equal steps that were fitted on the other folds
    and on generated pictures. The generator has seen all of them, so that its near copies of held-out pictures would
    win by cheating: a generated picture takes part only where the real one nearest to it (in thumbnails) is not held
    out. What is left of the generator's knowledge favours it; an evaluation on other pictures has the last word.

    Args:
        pictures, labels: real ones, sized for the classifier.
        synthetic: generated pictures of that size, and their labels.
        folds: of `cross_fit`: its classifiers are the arm without generated pictures.
        shares: to try besides 0.
        nimg, seed: of each fit, as in `cross_fit`.

    Returns:
        The share, 0 unless the best one's gain is above its standard error; and a row for each share: "share",
        "accuracy", "gain" over 0 and its "error" (over pictures, paired).
    """
    among = nearest(_flat(synthetic[0]), _flat(pictures))[0]
    base = _correct(pictures, labels, folds)
    table = [{"share": 0.0, "accuracy": float(base.mean()), "gain": 0.0, "error": 0.0}]
    for share in shares:
        fitted = []
        for rows, _ in folds:
            kept, extra = np.delete(np.arange(len(labels)), rows), ~np.isin(among, rows)
            further = (synthetic[0][extra], synthetic[1][extra]) if extra.any() else None
            fit = fit_classifier(
                pictures[kept], labels[kept], classes, nimg=nimg, seed=seed, extra=further, share=share
            )
            fitted.append((rows, fit))
        gain = (correct := _correct(pictures, labels, fitted)) - base
        error = float(gain.std(ddof=1) / len(gain) ** 0.5)
        table.append({"share": share, "accuracy": float(correct.mean()), "gain": float(gain.mean()), "error": error})
    best = max(table, key=lambda row: row["gain"])
    return (best["share"] if best["gain"] > SURE * best["error"] else 0.0), table


def _flat(pictures: np.ndarray) -> np.ndarray:
    return thumbnails(pictures).reshape(len(pictures), -1)


def _correct(pictures: np.ndarray, labels: np.ndarray, folds: Folds) -> np.ndarray:
    """For each picture 1 where the classifier that has not seen it names its label, else 0: float64 N."""
    right = np.zeros(len(labels))
    for rows, classifier in folds:
        right[rows] = classifier.labels(pictures[rows]) == labels[rows]
    return right
