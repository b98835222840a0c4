"""How many generated pictures a classifier should see beside the real ones: the share that held-out pictures favour.

Shapes: N real and M generated pictures, uint8 N,H,W,C; labels 0..K-1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gantk_augment.filters import Folds, nearest, thumbnails
from gantoolkit.classify import Classifier, fit_classifier

SHARES = (0.25, 0.5)
RULE = "the smallest share within one standard error of the best"


def stratified(labels: np.ndarray, folds: int, seed: int) -> list[np.ndarray]:
    """Rows (N,) dealt to folds at random: every fold has as many of each class as another, give or take one."""
    rng = np.random.default_rng(seed)
    dealt = np.concatenate([rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)])
    return [np.sort(dealt[start::folds]) for start in range(folds)]


def balanced(labels: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Rows (M,) of the good ones (bool N), repeated so that every class that has any has as many as the largest.

    A filter lets through more of one class than of another, which must not teach a classifier how frequent they are.
    """
    rows = [np.flatnonzero(good & (labels == label)) for label in np.unique(labels[good])]
    return np.concatenate([np.resize(each, max(map(len, rows))) for each in rows])


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
    unseen: bool = False,
    shares: Sequence[float] = SHARES,
    nimg: int,
    seed: int = 0,
) -> tuple[float, list[dict[str, float]]]:
    """The share of generated pictures that makes a classifier better on real pictures that it has not seen.

    The real pictures of each fold are judged by classifiers of equal steps that were fitted on all others and on
    generated pictures. Where the generator has seen the folds, near copies of held-out pictures would win by
    cheating: a generated picture then takes part only where the real one nearest to it (in thumbnails) is not held
    out. What is left of the generator's knowledge still favours it: folds that it has not seen tell the truth.

    The smallest share counts, 0 included, that does as well as the best one, give or take the standard error of the
    best one's gain (the rule of one standard error: Breiman et al. 1984, Classification and Regression Trees, 3.4.3).
    That is a choice and no test of significance; what the share is worth is for the verdict to say.

    Args:
        pictures, labels: real ones, sized for the classifier.
        synthetic: generated pictures of that size, and their labels.
        folds: of `cross_fit`: its classifiers are the arm without generated pictures.
        unseen: the generator was fitted without the rows of the folds.
        shares: to try besides 0.
        nimg, seed: of each fit, as in `cross_fit`.

    Returns:
        The share; and a row for each: "share", "accuracy", "gain" over 0 and its standard "error" (over held-out
        pictures, paired).
    """
    among = np.full(len(synthetic[0]), -1) if unseen else nearest(_flat(synthetic[0]), _flat(pictures))[0]
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
    limit = best["gain"] - best["error"] - 1e-9  # one picture won and none lost: both are 1/N, and none wins
    return min(row["share"] for row in table if row["gain"] >= limit), table


def _flat(pictures: np.ndarray) -> np.ndarray:
    return thumbnails(pictures).reshape(len(pictures), -1)


def _correct(pictures: np.ndarray, labels: np.ndarray, folds: Folds) -> np.ndarray:
    """For each held-out picture, fold by fold, 1 where the classifier without it names its label, else 0: float64."""
    right = [classifier.labels(pictures[rows]) == labels[rows] for rows, classifier in folds]
    return np.concatenate(right).astype(np.float64)
