"""Does a picture find its caption among many: figures of a matrix of likeness, whoever filled it.

Captions of the target's own group are no negatives. Of equal likeness, any order is as likely as another: a picture
then counts with the probability that its target comes first, so that a matcher which knows nothing scores chance.

Shapes: N pictures, C captions.
"""

from __future__ import annotations

import numpy as np

OTHERS = 99  # captions that R-precision chooses against (Xu et al. 2018, arXiv:1711.10485, section 4)


def recall(scores: np.ndarray, targets: np.ndarray, groups: np.ndarray, k: int) -> np.ndarray:
    """The probability that a picture's target is among the k captions that fit best, float64 (N,).

    Args:
        scores: likeness (N, C), higher is better.
        targets: the caption to be found, (N,) in 0..C-1.
        groups: of the captions, (C,).
    """
    chosen = scores[np.arange(len(scores)), targets][:, None]
    others = groups[None, :] != groups[targets][:, None]
    return _first(((scores > chosen) & others).sum(1), ((scores == chosen) & others).sum(1), k)


def precision(
    scores: np.ndarray, targets: np.ndarray, groups: np.ndarray, seed: int = 0, others: int = OTHERS
) -> np.ndarray:
    """R-precision: the probability that the target fits best of itself and `others` captions, float64 (N,).

    These are drawn by the seed for each picture, without repetition; all are taken where there are fewer.
    """
    rng, found = np.random.default_rng(seed), []
    for row, target in zip(scores, targets, strict=True):
        negatives = np.flatnonzero(groups != groups[target])
        drawn = row[rng.permutation(negatives)[:others]]
        found.append(_first((drawn > row[target]).sum(), (drawn == row[target]).sum(), 1))
    return np.array(found)


def negatives(targets: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """How many captions each target is chosen against at most, (N,)."""
    return (groups[None, :] != groups[targets][:, None]).sum(1)


def shuffled(groups: np.ndarray, seed: int) -> np.ndarray:
    """For each of N things another one's number, of another group where there is one; a control, (N,).

    Args:
        groups: of the things, (N,).
    """
    rng, order = np.random.default_rng(seed), np.arange(len(groups))
    result = order.copy()
    for row in order:
        others = order[groups != groups[row]]
        if len(others):
            result[row] = rng.choice(others)
    return result


def _first(better: np.ndarray, equal: np.ndarray, k: int) -> np.ndarray:
    """The probability to be among the first k when `better` others are in front and `equal` ones in random order."""
    return np.clip((k - better) / (equal + 1), 0, 1)
