"""What any translator must beat: the input as it is, and the best affine map of its colours.

Planes are (C, H, W) float32 in [-1, 1], as networks see them, so each side is scaled by its own range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from gantk_translate.sides import Side
from gantoolkit.errors import UsageError

Planes = np.ndarray
Way = Callable[[Planes], Planes]
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, of colours made grey
FLAT = 1e-9  # of the largest variance: below this a direction of colours does not vary at all


def identity(source: Side, target: Side) -> Way:
    """The input itself, brought to the target's planes: grey is repeated, colours become their luma.

    Raises:
        UsageError: nothing of the input can stand for the target: classes and colours, or other numbers of planes.
    """
    if (source.kind, target.kind).count("mask") == 1:
        raise UsageError("an input of classes is no colour" if source.kind == "mask" else "colours are no classes")
    if source.kind == "mask":
        if source.classes != target.classes:
            raise UsageError("the classes of the two sides differ")
        return lambda planes: planes
    match source.planes, target.planes:
        case a, b if a == b:
            return lambda planes: planes
        case 1, b:
            return lambda planes: planes.repeat(b, axis=0)
        case 3, 1:
            return lambda planes: np.tensordot(LUMA, planes, 1)[None].astype(np.float32)
    raise UsageError(f"{source.planes} planes cannot stand for {target.planes}")


class Affine:
    """target = matrix · [source, 1] at every pixel, clipped to the target's range.

    Args:
        matrix: (target planes, source planes + 1).
        target: classes are not clipped: the largest plane wins.
    """

    def __init__(self, matrix: np.ndarray, target: Side) -> None:
        self.matrix, self.target = matrix, target

    def __call__(self, planes: Planes) -> Planes:
        made = np.tensordot(self.matrix[:, :-1], planes.astype(np.float64), 1) + self.matrix[:, -1, None, None]
        return (made if self.target.kind == "mask" else np.clip(made, -1, 1)).astype(np.float32)


def of_pairs(pairs: Iterable[tuple[Planes, Planes]], target: Side) -> Affine:
    """The least-squares map of all pixels of all pairs: slope C_yx C_xx⁺, through the means.

    The pseudo-inverse takes the shortest of the best maps where planes depend on each other, as those of grey in
    colour files do.

    Raises:
        UsageError: no pairs.
    """
    moments = _Moments()
    inputs = 0
    for x, y in pairs:
        inputs = len(x)
        moments.add(np.concatenate([x, y]))
    mean, covariance = moments.ready()
    slope = covariance[inputs:, :inputs] @ np.linalg.pinv(covariance[:inputs, :inputs], rcond=FLAT, hermitian=True)
    return _through(slope, mean[:inputs], mean[inputs:], target)


def of_sides(sources: Iterable[Planes], targets: Iterable[Planes], source: Side, target: Side) -> Affine:
    """The map that gives the sources' colours the targets' mean and covariance, moving colours as little as it can.

    The Monge map of two Gaussians, Pitié & Kokaram 2007, "The linear Monge-Kantorovitch linear colour mapping for
    example-based colour transfer", CVMP: T = A^-½ (A^½ B A^½)^½ A^-½ for covariances A and B. Sources are first
    brought to the target's planes as by `identity`; directions in which they do not vary stay without variance.

    Raises:
        UsageError: no pictures, or sides that `identity` cannot bring together.
    """
    bring = identity(source, target)
    first, second = _Moments(), _Moments()
    for planes in sources:
        first.add(bring(planes))
    for planes in targets:
        second.add(planes)
    (mean, a), (goal, b) = first.ready(), second.ready()
    root, inverse = _root(a), _root(a, inverse=True)
    brought = _through(inverse @ _root(root @ b @ root) @ inverse, mean, goal, target).matrix
    linear = bring(np.eye(source.planes, dtype=np.float32)[:, :, None])[:, :, 0]  # what it does, as a matrix
    return Affine(np.column_stack([brought[:, :-1] @ linear, brought[:, -1]]), target)


def _through(slope: np.ndarray, mean: np.ndarray, goal: np.ndarray, target: Side) -> Affine:
    return Affine(np.column_stack([slope, goal - slope @ mean]), target)


def _root(matrix: np.ndarray, *, inverse: bool = False) -> np.ndarray:
    """The symmetric root of a symmetric, positive semidefinite matrix, or its pseudo-inverse."""
    values, vectors = np.linalg.eigh(matrix)
    kept = values > FLAT * max(values.max(), FLAT)
    powers = np.zeros_like(values)
    powers[kept] = values[kept] ** (-0.5 if inverse else 0.5)
    return (vectors * powers) @ vectors.T


class _Moments:
    """Mean and covariance of pixels, added up picture by picture in float64: Chan, Golub & LeVeque 1979."""

    def __init__(self) -> None:
        self.n, self.mean, self.scatter = 0, np.zeros(1), np.zeros((1, 1))

    def add(self, planes: Planes) -> None:
        """Pixels (C, H, W)."""
        pixels = planes.reshape(len(planes), -1).astype(np.float64)
        n, mean = pixels.shape[1], pixels.mean(1)
        centred = pixels - mean[:, None]
        gap = mean - self.mean
        self.scatter = self.scatter + centred @ centred.T + np.outer(gap, gap) * (self.n * n / (self.n + n))
        self.mean = self.mean + gap * (n / (self.n + n))
        self.n += n

    def ready(self) -> tuple[np.ndarray, np.ndarray]:
        """(mean C, covariance C,C)."""
        if not self.n:
            raise UsageError("no pictures to fit an affine map on", expected="at least one")
        return self.mean, self.scatter / self.n
