"""How varied samples are against real ones, in a feature space that needs no network."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d


def variety(fakes: Tensor, reals: Tensor, k: int = 3) -> dict[str, float]:
    """How varied fakes (N, F) are against as many reals (N, F): "diversity", "nearest", "recall"; see `Collapse`."""
    among, usual, across = _distances(fakes, fakes), _distances(reals, reals), _distances(reals, fakes)
    n, tiny = len(fakes), torch.finfo(fakes.dtype).tiny
    between = 1 / (n * (n - 1))  # a distance to oneself is 0 and adds nothing
    near, usually_near = among.kthvalue(2).values.median(), usual.kthvalue(2).values.median()
    radius = among.kthvalue(min(k + 1, n)).values
    found = {
        "diversity": (among.sum() * between) / (usual.sum() * between).clamp_min(tiny),
        "nearest": near / usually_near.clamp_min(tiny),
        "recall": (across <= radius).any(1).float().mean(),
    }
    return dict(zip(found, torch.stack(list(found.values())).tolist(), strict=True))


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # not by matrix products: copies must be at distance 0
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


class Axes:
    """Features from the data alone: pictures averaged to at most 16², then the reals' first principal axes.

    Args:
        reals: (M, ...) samples.
        count: axes, at most.
    """

    def __init__(self, reals: Tensor, count: int = 32) -> None:
        rows = self._rows(reals)
        self.mean = rows.mean(0)
        # of float64, so that nearly equal axes come out alike whatever the threads
        _, vectors = torch.linalg.eigh((rows - self.mean).double().T.cov())
        self.axes = vectors.flip(1)[:, :count].float()

    def __call__(self, samples: Tensor) -> Tensor:
        """(N, ...) → (N, F)."""
        return (self._rows(samples) - self.mean) @ self.axes

    @staticmethod
    def _rows(samples: Tensor) -> Tensor:
        if samples.ndim == 4:
            samples = adaptive_avg_pool2d(samples.float(), (min(16, samples.shape[2]), min(16, samples.shape[3])))
        return samples.float().flatten(1)
