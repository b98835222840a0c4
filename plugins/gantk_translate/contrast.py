"""The contrast of patches: what a place of the output shows should be told by the same place of the input.

Park et al. 2020, "Contrastive Learning for Unpaired Image-to-Image Translation" (CUT, arXiv:2007.15651), section 3.
Shapes: N batch, C channels of a feature map, h, w its size, S places, D width of a projected feature.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gantoolkit.errors import UsageError
from gantoolkit.game import Context


def patch_nce(query: Tensor, key: Tensor, temperature: float) -> Tensor:
    """E −log( exp(q·k⁺/τ) / (exp(q·k⁺/τ) + Σ exp(q·k⁻/τ)) ): CUT, equations 2 and 3, for one layer; a scalar.

    Each place's positive is the key of its own place, its negatives are those of the same picture's other places, so
    that every sample stands alone. The mean over places and samples, where equation 3 sums over places. Keys carry no
    gradient, as in momentum contrast (He et al. 2020, arXiv:1911.05722), which CUT's authors followed.

    Args:
        query: features of the output, (N, S, D), of length 1 along D.
        key: features of the input at the same places, (N, S, D), of length 1 along D.
        temperature: τ; 0.07 in the paper.

    Raises:
        UsageError: other places than the query has.
    """
    if query.shape != key.shape:
        raise UsageError(
            "patch_nce: query and key must be of the same places",
            expected=f"{tuple(query.shape)} twice",
            actual=f"{tuple(query.shape)} and {tuple(key.shape)}",
            remedy="gather both with one index",
        )
    with torch.autocast(query.device.type, enabled=False):  # a rounded cosine over 0.07 would be far off
        logits = query.float() @ key.detach().float().transpose(1, 2) / temperature
        own = torch.arange(logits.shape[1], device=logits.device).expand(logits.shape[:2])
        return F.cross_entropy(logits.flatten(0, 1), own.flatten())


def places(ctx: Context, features: Tensor, number: int) -> Tensor:
    """Random places of each sample's (N, C, h, w), none twice: (N, S) indices h·w, S = min(number, h·w).

    Drawn through the context: the same places whatever the number of micro-batches or processes.
    """
    area = features.shape[2] * features.shape[3]
    return ctx.rand(area).topk(min(number, area)).indices


def mirrored(index: Tensor, width: int, turned: Tensor) -> Tensor:
    """Places (N, S) of maps of that width as they lie in the flipped map, for the samples that `turned` (N,) names."""
    across = index % width
    return torch.where(turned[:, None], index - across + (width - 1 - across), index)


def gathered(features: Tensor, index: Tensor) -> Tensor:
    """(N, C, h, w) at places (N, S) -> (N, S, C)."""
    rows = features.permute(0, 2, 3, 1).flatten(1, 2)
    return rows.gather(1, index[..., None].expand(-1, -1, rows.shape[2]))
