"""How varied samples are against real ones, in a feature space that needs no network."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d


def variety(fakes: Tensor, reals: Tensor, k: int = 3) -> dict[str, float]:
    """How varied fakes (N, F) are against as many reals (N, F).

    "diversity": mean distance between two fakes over that between two reals, 1 is alike, 0 always the same.
    "nearest": the same for the median distance to the nearest neighbour.
    "recall": the share of reals within the k-nearest-neighbour ball of some fake (Kynkäänniemi et al. 2019,
    arXiv:1904.06991, eq. 2). It falls, too, when fakes gather close beside the reals.
    "reach": the share of reals with a fake nearby, where "near" is 1.5 times the median distance of a fake from its
    nearest real, and at least the real's own k-nearest-neighbour ball (that is coverage: Naeem et al. 2020,
    arXiv:2002.09797, eq. 9). So fakes may be poor: low reach says that most fakes resemble some reals, and that other
    reals are resembled by none.
    """
    among, usual, across = _distances(fakes, fakes), _distances(reals, reals), _distances(reals, fakes)
    n, tiny = len(fakes), torch.finfo(fakes.dtype).tiny
    between = 1 / (n * (n - 1))  # a distance to oneself is 0 and adds nothing
    near, usually_near = among.kthvalue(2).values.median(), usual.kthvalue(2).values.median()
    own = min(k + 1, n)  # the nearest of all is oneself
    allowed = usual.kthvalue(own).values.clamp_min(1.5 * across.amin(0).median())
    found = {
        "diversity": (among.sum() * between) / (usual.sum() * between).clamp_min(tiny),
        "nearest": near / usually_near.clamp_min(tiny),
        "recall": (across <= among.kthvalue(own).values).any(1).float().mean(),
        "reach": (across.amin(1) <= allowed).float().mean(),
    }
    return dict(zip(found, torch.stack(list(found.values())).tolist(), strict=True))


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # not by matrix products: copies must be at distance 0
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def coarse(samples: Tensor) -> Tensor:
    """All that `Axes` looks at: pictures (N, C, H, W) averaged to at most 16², other samples as they are; float32.

    What is coarse stays as it is, so that a caller may keep this instead of the pictures.
    """
    if samples.ndim == 4:
        samples = adaptive_avg_pool2d(samples.float(), (min(16, samples.shape[2]), min(16, samples.shape[3])))
    return samples.float()


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
        _, vectors = torch.linalg.eigh((rows - self.mean).cpu().double().T.cov().view(rows.shape[1], -1))
        self.axes = vectors.flip(1)[:, :count].float().to(rows.device)

    def __call__(self, samples: Tensor) -> Tensor:
        """(N, ...) → (N, F)."""
        return (self._rows(samples) - self.mean) @ self.axes

    @staticmethod
    def _rows(samples: Tensor) -> Tensor:
        return coarse(samples).flatten(1)
