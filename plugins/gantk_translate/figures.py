"""Figures of translated pictures: each against its truth, all as a set, and against what they were made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gantk_translate.sides import Side
from gantoolkit import distributions, metrics
from gantoolkit.featureset import FeatureSet
from gantoolkit.metrics import MetricCard

LEAST = 4  # pictures on each side that set figures need
Settings = dict[str, str | int | float]
Planes = np.ndarray  # (C, H, W) float32, [-1, 1]


def against_truth(side: Side, output: Planes, truth: Planes) -> list[MetricCard]:
    """Of one pair: perceptual distance of what is shown, then PSNR and SSIM, which classes of a mask have not.

    8-bit pictures are compared as 8-bit RGB, grey repeated; all else as values scaled by the side's range to [0, 1].
    """
    shown = side.shown(output), side.shown(truth)
    cards = [metrics.perceptual(*shown)]
    if side.kind == "mask":
        return cards
    if side.kind == "picture" and side.dtype == "uint8" and side.planes in (1, 3):
        return [*cards, metrics.psnr(*shown, channel="rgb"), metrics.ssim(*shown, channel="rgb")]
    scaled = scaled_values(output), scaled_values(truth)
    return [*cards, metrics.psnr(*scaled, channel="values"), metrics.ssim(*scaled, channel="values")]


def scaled_values(planes: Planes) -> np.ndarray:
    """(C, H, W) in [-1, 1] -> (H, W, C) float64 in [0, 1]."""
    return (planes.transpose(1, 2, 0).astype(np.float64) + 1) / 2


def of_sets(real: FeatureSet, fake: FeatureSet, seed: int = 0) -> list[MetricCard]:
    """KID with its interval, and Fréchet distance; [] where a side has fewer than `LEAST` pictures."""
    if min(len(real), len(fake)) < LEAST:
        return []
    return [distributions.kid(real, fake, seed=seed), distributions.frechet(real, fake)]


def mean(cards: Sequence[Sequence[MetricCard]]) -> list[MetricCard]:
    """For each figure its mean over pictures; `cards` has a row a picture, with figures in one order."""
    return [
        replace(of[0], value=float(np.mean([card.value for card in of])), n=len(of)) for of in zip(*cards, strict=True)
    ]
