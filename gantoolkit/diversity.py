"""Figures of generated pictures alone: no real picture takes part, so they cannot tell real from unreal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gantoolkit.errors import UsageError
from gantoolkit.metrics import MetricCard

# Wang, Simoncelli & Bovik 2003, section 4: the weight of each scale, fine to coarse.
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW = 11  # pixels
SIGMA = 1.5  # pixels
RESAMPLES = 1000  # of a bootstrap


def inception_score(
    probabilities: np.ndarray,
    classifier: str,
    *,
    weights: str = "",
    source: str = "",
    splits: int = 10,
    seed: int = 0,
) -> MetricCard:
    """exp E KL(p(y|x) ‖ p(y)): Salimans et al. 2016, arXiv:1606.03498, section 4. From 1 to the number of classes.

    It is the "IS" only when the classifier is Inception; the card is called after the classifier. The mean over
    `splits` random parts, as in the paper, and ± 1.96 standard errors of it.

    Args:
        probabilities: N,K; rows sum to 1.
        classifier, weights: whose they are, and the hash of its weights.
        source: what was measured.

    Raises:
        UsageError: rows that are no probabilities, or fewer rows than splits.
    """
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or not p.size or not (p >= 0).all() or not np.allclose(p.sum(1), 1, atol=1e-3):
        raise UsageError("these are no probabilities", expected="N,K, rows that sum to 1", actual=f"shape {p.shape}")
    if not 2 <= splits <= len(p):
        raise UsageError("cannot split so few pictures", expected=f"2 to {len(p)} splits", actual=splits)
    order = np.random.default_rng(seed).permutation(len(p))
    scores = np.array([_score(p[part]) for part in np.array_split(order, splits)])
    value, reach = float(scores.mean()), float(1.96 * scores.std(ddof=1) / np.sqrt(splits))
    protocol: dict[str, str | int | float] = {"classifier": classifier, "weights": weights, "classes": p.shape[1]}
    protocol |= {"splits": splits, "seed": seed}
    return MetricCard(f"{classifier}-IS", value, "", len(p), protocol, (value - reach, value + reach), of=source)


def _score(p: np.ndarray) -> float:
    tiny = np.finfo(np.float64).tiny  # 0 log 0 = 0
    divergence = (p * (np.log(p + tiny) - np.log(p.mean(0) + tiny))).sum(1)
    return float(np.exp(divergence.mean()))


def ms_ssim_diversity(
    pictures: Sequence[np.ndarray] | np.ndarray,
    labels: Sequence[int] | np.ndarray | None = None,
    pairs: int = 100,
    seed: int = 0,
    source: str = "",
) -> MetricCard:
    """Mean MS-SSIM of random pairs, within each class and then over classes: Odena et al. 2017, arXiv:1610.09585.

    Section 4.2 there. Lower is more varied; compare with the figure of real pictures.

    Args:
        pictures: uint8 H,W,C of one shape, at least 11 pixels a side.
        labels: a class for each; a class with one picture has no pairs and is left out.
        pairs: for each class.

    Returns:
        A card that states scales and classes, with a 95 % bootstrap interval over pairs.

    Raises:
        UsageError: shapes that differ or are too small, or no two pictures of one class.
    """
    shapes = {(picture.shape, picture.dtype.name) for picture in pictures}
    if len(shapes) != 1 or not all(len(shape) == 3 and kind == "uint8" for shape, kind in shapes):
        found = ", ".join(f"{kind} {shape}" for shape, kind in sorted(shapes)[:3]) or "none"
        raise UsageError("diversity needs pictures of one shape", expected="uint8 H,W,C", actual=found)
    classes = np.zeros(len(pictures), np.int64) if labels is None else np.asarray(labels)
    if classes.shape != (len(pictures),):
        raise UsageError("one label for each picture", expected=len(pictures), actual=f"shape {classes.shape}")
    members = [np.flatnonzero(classes == label) for label in np.unique(classes)]
    members = [group for group in members if len(group) > 1]
    if not members or pairs < 1:
        raise UsageError("diversity needs pairs", expected="two pictures of one class, ≥ 1 pair", actual="none")
    rng = np.random.default_rng(seed)
    values = np.array(
        [[_pair(pictures, rng.choice(group, 2, replace=False)) for _ in range(pairs)] for group in members]
    )
    rows = np.arange(len(members))[:, None]
    again = [values[rows, rng.integers(0, pairs, values.shape)].mean() for _ in range(RESAMPLES)]
    low, high = np.percentile(again, [2.5, 97.5])
    height, width, channels = pictures[0].shape
    protocol: dict[str, str | int | float] = {
        "size": f"{height}×{width}×{channels}",
        "scales": scales(height, width),
        "window": f"Gaussian {WINDOW}×{WINDOW}, sigma {SIGMA}",
        "classes": len(members) if labels is not None else "none",
        "pairs": pairs,
        "seed": seed,
    }
    interval = (float(low), float(high))
    return MetricCard("MS-SSIM", float(values.mean()), "", len(pictures), protocol, interval, False, of=source)


def _pair(pictures: Sequence[np.ndarray] | np.ndarray, chosen: np.ndarray) -> float:
    return ms_ssim(pictures[int(chosen[0])], pictures[int(chosen[1])])


def scales(height: int, width: int) -> int:
    """How many of the five scales leave at least a window of the picture; at least 1, even where none does."""
    return max(1, sum(min(height, width) >> scale >= WINDOW for scale in range(len(SCALE_WEIGHTS))))


def ms_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Similarity in structure at several scales, 1 for equal pictures: Wang et al. 2003, Asilomar, eq. 7.

    Contrast and structure at every scale, luminance at the coarsest; halved by 2×2 means; K = (.01, .03), peak
    255, only windows that lie inside. Small pictures have fewer than five scales: their weights, from the
    finest on, are then rescaled to sum to 1. Channels count alike; a negative mean counts as 0.

    Args:
        x, y: uint8 pictures H,W,C of one shape.

    Raises:
        UsageError: two shapes, or less than a window.
    """
    if x.shape != y.shape or x.ndim != 3 or min(x.shape[:2]) < WINDOW:
        raise UsageError(
            "MS-SSIM compares pictures of one shape that hold its window",
            expected=f"H,W,C twice, at least {WINDOW} pixels a side",
            actual=f"{x.shape} and {y.shape}",
        )
    count = scales(*x.shape[:2])
    weights = np.array(SCALE_WEIGHTS[:count]) / sum(SCALE_WEIGHTS[:count])
    a, b = x.astype(np.float64), y.astype(np.float64)
    product = 1.0
    for scale, weight in enumerate(weights):
        structure, whole = _similarity(a, b)
        product *= max(0.0, whole if scale == count - 1 else structure) ** weight
        a, b = _halved(a), _halved(b)
    return float(product)


def _similarity(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Means of contrast·structure and of the full SSIM (Wang et al. 2004, eq. 13) over windows and channels."""
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_x, mean_y = _blurred(x), _blurred(y)
    variances = _blurred(x * x) - mean_x**2 + _blurred(y * y) - mean_y**2
    structure = (2 * (_blurred(x * y) - mean_x * mean_y) + c2) / (variances + c2)
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return float(structure.mean()), float((luminance * structure).mean())


def _blurred(x: np.ndarray) -> np.ndarray:
    """Gaussian means of all windows inside H,W,C: H−10,W−10,C."""
    from scipy.ndimage import correlate1d

    taps = np.exp(-(np.arange(-(WINDOW // 2), WINDOW // 2 + 1) ** 2) / (2 * SIGMA**2))
    edge = slice(WINDOW // 2, -(WINDOW // 2))
    rows = correlate1d(x, taps / taps.sum(), axis=0)[edge]
    return correlate1d(rows, taps / taps.sum(), axis=1)[:, edge]


def _halved(x: np.ndarray) -> np.ndarray:
    """2×2 means; an odd last row or column is dropped."""
    height, width = x.shape[0] // 2, x.shape[1] // 2
    return x[: 2 * height, : 2 * width].reshape(height, 2, width, 2, -1).mean((1, 3))
