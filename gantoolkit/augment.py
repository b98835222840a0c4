"""Few data: pictures are changed at random before the critic sees them, reals and fakes alike.

The critic then cannot learn the few reals by heart, and the generator gets gradients through the changes. Two families
of changes: DiffAugment (Zhao et al. 2020, arXiv:2006.10738) and ADA (Karras et al. 2020, arXiv:2006.06676, section 2
and appendix B). Each change happens to each picture with a probability, the strength p. Below 1 a share of at least
(1 − p)^k of the pictures stays as it was (k changes in the policy), which keeps the changes out of what the generator
learns (ADA, section 2.2); `AdaptiveStrength` moves p as the critic overfits.

Shapes: pictures N,C,H,W in [-1, 1], so that 0 is grey; u are uniform numbers N,k in [0, 1).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate, groupby
from typing import Any, Literal

import torch
from torch import Tensor

from gantoolkit.errors import UsageError
from gantoolkit.strength import AdaptiveStrength

__all__ = ["POLICIES", "AdaptiveStrength", "Augment", "Change"]

# ---- changes of position that move whole pixels, and DiffAugment's colours: pictures, u → pictures ----


def _flip(x: Tensor, u: Tensor) -> Tensor:
    """Left for right, in one of two cases. ADA, appendix B."""
    return torch.where(_wide(u[:, 0] < 0.5), x.flip(3), x)


def _turn(x: Tensor, u: Tensor) -> Tensor:
    """0, 90, 180 or 270 degrees; 0 or 180 where that alone keeps the picture's format. ADA, appendix B."""
    step = 1 if x.shape[2] == x.shape[3] else 2
    quarters = step * (4 // step * u[:, 0]).long()
    turned = x
    for quarter in range(step, 4, step):
        turned = torch.where(_wide(quarters == quarter), x.rot90(quarter, (2, 3)), turned)
    return turned


def _shift(x: Tensor, u: Tensor) -> Tensor:
    """Whole pixels, up to 1/8 of each side, the border mirrored. ADA, appendix B (integer translation)."""
    for axis in (0, 1):
        size = x.shape[axis + 2]
        source = _positions(x, axis) - ((2 * u[:, axis] - 1) * 0.125 * size).round().long()[:, None]
        x = _take(x, size - 1 - (size - 1 - source.abs()).abs(), axis)
    return x


def _translation(x: Tensor, u: Tensor) -> Tensor:
    """Whole pixels, up to 1/8 of each side, grey beyond the border. DiffAugment."""
    for axis in (0, 1):
        size = x.shape[axis + 2]
        most = int(0.125 * size + 0.5)
        source = _positions(x, axis) - (u[:, axis] * (2 * most + 1)).long()[:, None] + most
        inside = (source >= 0) & (source < size)
        shape = (-1, 1, size, 1) if axis == 0 else (-1, 1, 1, size)
        x = _take(x, source.clamp(0, size - 1), axis).where(inside.view(shape), 0.0)
    return x


def _cutout(x: Tensor, u: Tensor) -> Tensor:
    """A grey rectangle of half the picture's sides, its centre anywhere in the picture. DiffAugment."""
    hidden = []
    for axis in (0, 1):
        size = x.shape[axis + 2]
        length = int(0.5 * size + 0.5)
        start = (u[:, axis] * (size + 1 - length % 2)).long()[:, None] - length // 2
        place = _positions(x, axis)
        hidden.append((place >= start) & (place < start + length))
    return x.masked_fill((hidden[0][:, :, None] & hidden[1][:, None, :])[:, None], 0.0)


def _diff_brightness(x: Tensor, u: Tensor) -> Tensor:
    """x + U(−½, ½). DiffAugment (Color)."""
    return x + _wide(u[:, 0] - 0.5)


def _diff_saturation(x: Tensor, u: Tensor) -> Tensor:
    """Distance from each pixel's grey times U(0, 2). DiffAugment (Color)."""
    return torch.lerp(x.mean(1, keepdim=True), x, _wide(2 * u[:, 0]))


def _diff_contrast(x: Tensor, u: Tensor) -> Tensor:
    """Distance from the picture's mean times U(½, 1½). DiffAugment (Color)."""
    return torch.lerp(x.mean((1, 2, 3), keepdim=True), x, _wide(u[:, 0] + 0.5))


def _wide(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _positions(x: Tensor, axis: int) -> Tensor:
    return torch.arange(x.shape[axis + 2], device=x.device)[None]


def _take(x: Tensor, source: Tensor, axis: int) -> Tensor:
    """Each picture's rows (axis 0) or columns (1) in the order `source`, N,size."""
    index = source[:, None, :, None] if axis == 0 else source[:, None, None, :]
    return x.gather(axis + 2, index.expand(x.shape))


# ---- geometry: u, (H, W) → N,3,3, where pixels go, in pixels from the picture's centre (x right, y down) ----


def _scale(u: Tensor, size: tuple[int, int]) -> Tensor:
    """Larger or smaller, log-normal 2^N(0, 0.2²). ADA, appendix B (isotropic scaling)."""
    factor = torch.exp2(0.2 * _normal(u[:, 0]))
    return _diagonal(factor, factor, torch.ones_like(factor))


def _stretch(u: Tensor, size: tuple[int, int]) -> Tensor:
    """One side by 2^N(0, 0.2²), the other by its inverse. ADA, appendix B (anisotropic scaling)."""
    factor = torch.exp2(0.2 * _normal(u[:, 0]))
    return _diagonal(factor, 1 / factor, torch.ones_like(factor))


def _rotate(u: Tensor, size: tuple[int, int]) -> Tensor:
    """Any angle. ADA, appendix B (rotation)."""
    angle = 2 * math.pi * (u[:, 0] - 0.5)
    sine, cosine, zero = angle.sin(), angle.cos(), torch.zeros_like(angle)
    return _matrix([[cosine, sine, zero], [-sine, cosine, zero], [zero, zero, zero + 1]])


def _drift(u: Tensor, size: tuple[int, int]) -> Tensor:
    """N(0, 0.125²) of each side. ADA, appendix B (fractional translation)."""
    zero = torch.zeros_like(u[:, 0])
    x, y = (0.125 * side * _normal(u[:, i]) for i, side in enumerate((size[1], size[0])))
    return _matrix([[zero + 1, zero, x], [zero, zero + 1, y], [zero, zero, zero + 1]])


# ---- colour: u, C → N,C+1,C+1 on (colour, 1); grey is the direction v = (1, …, 1)/√C, vvᵀ = 1/C everywhere ----


def _brightness(u: Tensor, channels: int) -> Tensor:
    """x + N(0, 0.2²). ADA, appendix B."""
    offset = (0.2 * _normal(u[:, 0]))[:, None].expand(-1, channels)
    return _affine(torch.eye(channels, device=u.device).expand(len(u), -1, -1), offset)


def _contrast(u: Tensor, channels: int) -> Tensor:
    """x times 2^N(0, 0.5²). ADA, appendix B."""
    return _affine(torch.exp2(0.5 * _normal(u))[..., None] * torch.eye(channels, device=u.device))


def _luma_flip(u: Tensor, channels: int) -> Tensor:
    """Light for dark, I − 2vvᵀ, in one of two cases. ADA, appendix B."""
    return _affine(torch.eye(channels, device=u.device) - 2 * (u < 0.5)[..., None] * _grey(u, channels))


def _hue(u: Tensor, channels: int) -> Tensor:
    """Colours turned by any angle about grey (Rodrigues' formula); as they are unless C = 3. ADA, appendix B."""
    identity = torch.eye(channels, device=u.device)
    if channels != 3:
        return _affine(identity.expand(len(u), -1, -1))
    angle, grey = (2 * math.pi * (u - 0.5))[..., None], _grey(u, 3)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=u.device) / math.sqrt(3)
    return _affine(angle.cos() * identity + angle.sin() * cross + (1 - angle.cos()) * grey)


def _saturation(u: Tensor, channels: int) -> Tensor:
    """Distance from grey times 2^N(0, 1). ADA, appendix B."""
    grey = _grey(u, channels)
    return _affine(grey + torch.exp2(_normal(u))[..., None] * (torch.eye(channels, device=u.device) - grey))


def _grey(u: Tensor, channels: int) -> Tensor:
    return torch.full((channels, channels), 1 / channels, device=u.device)


def _affine(linear: Tensor, offset: Tensor | None = None) -> Tensor:
    """(N,C,C), (N,C) → N,C+1,C+1."""
    matrix = torch.eye(linear.shape[1] + 1, device=linear.device).repeat(len(linear), 1, 1)
    matrix[:, :-1, :-1] = linear
    if offset is not None:
        matrix[:, :-1, -1] = offset
    return matrix


def _matrix(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row, 1) for row in rows], 1)


def _diagonal(*values: Tensor) -> Tensor:
    return torch.diag_embed(torch.stack(values, 1))


def _normal(u: Tensor) -> Tensor:
    """Normal numbers from uniform ones; a uniform 0 becomes the smallest finite one."""
    return math.sqrt(2) * torch.erfinv(2 * u.clamp_min(2**-25) - 1)


# ---- policies ----


@dataclass(frozen=True)
class Change:
    """One random change of a picture.

    Attributes:
        apply: makes the changed pictures ("pixels"), or a matrix a picture ("geometry", "colour"): neighbours of one
            of these kinds are multiplied, so that pictures are interpolated once.
        draws: uniform numbers a picture, beside the one that decides whether it happens.
        halves: one of two such changes that share the strength: each happens with 1 − √(1 − p).
    """

    apply: Callable[[Tensor, Any], Tensor]
    draws: int = 1
    kind: Literal["pixels", "geometry", "colour"] = "pixels"
    halves: bool = False

    def chance(self, strength: float) -> float:
        return 1 - math.sqrt(1 - strength) if self.halves else strength


_ROTATE = Change(_rotate, kind="geometry", halves=True)
_SCALE, _STRETCH = Change(_scale, kind="geometry"), Change(_stretch, kind="geometry")
_DRIFT = Change(_drift, 2, kind="geometry")
_BLIT = {"flip": (Change(_flip),), "turn": (Change(_turn),), "shift": (Change(_shift, 2),)}
_COLOUR = {
    name: (Change(make, kind="colour"),)
    for name, make in {
        "brightness": _brightness,
        "contrast": _contrast,
        "luma-flip": _luma_flip,
        "hue": _hue,
        "saturation": _saturation,
    }.items()
}
_ADA = {
    "blit": tuple(change for part in _BLIT.values() for change in part),
    "geometry": (_SCALE, _ROTATE, _STRETCH, _ROTATE, _DRIFT),
    "tone": tuple(change for part in _COLOUR.values() for change in part),
}
_DIFFAUGMENT = {
    "color": (Change(_diff_brightness), Change(_diff_saturation), Change(_diff_contrast)),
    "translation": (Change(_translation, 2),),
    "cutout": (Change(_cutout, 2),),
}
POLICIES: dict[str, tuple[Change, ...]] = {
    "diffaugment": tuple(change for part in _DIFFAUGMENT.values() for change in part),
    **_DIFFAUGMENT,
    "ada": tuple(change for part in _ADA.values() for change in part),
    **_ADA,
    **_BLIT,
    "scale": (_SCALE,),
    "rotate": (_ROTATE, _ROTATE),
    "stretch": (_STRETCH,),
    "drift": (_DRIFT,),
    **_COLOUR,
}
"""By name: the two papers' policies, the parts of each, and ADA's changes one by one."""


class Augment:
    """Random, differentiable changes of a batch of pictures, to any order of derivatives.

    ADA's warps are bilinear with mirrored borders; the paper filters with wavelets at twice the resolution.

    Args:
        policy: names in `POLICIES`, separated by commas or as a list; changes happen in this order.

    Raises:
        UsageError: a name that `POLICIES` has not.
    """

    def __init__(self, policy: str | Sequence[str]) -> None:
        names = [name.strip() for name in policy.split(",")] if isinstance(policy, str) else list(policy)
        for name in names:
            if name not in POLICIES:
                near = difflib.get_close_matches(name, POLICIES, n=1)
                raise UsageError(
                    "unknown augmentation policy",
                    expected=", ".join(POLICIES),
                    actual=repr(name),
                    remedy=f"did you mean {near[0]}?" if near else "separate several by commas",
                )
        self.names = tuple(names)
        changes = [change for name in names for change in POLICIES[name]]
        starts = list(accumulate((1 + change.draws for change in changes), initial=0))
        self.draws = starts[-1]
        placed = zip(changes, starts, strict=False)
        self._runs = [(kind, list(run)) for kind, run in groupby(placed, key=lambda pair: pair[0].kind)]

    def __call__(self, images: Tensor, strength: float, rand: Callable[[int], Tensor]) -> Tensor:
        """The changed pictures, of the same shape and dtype.

        Args:
            images: N,C,H,W in [-1, 1]; the result may leave this range, as in both papers.
            strength: probability of each change for each picture, 0 to 1; at 0 the result is `images` itself.
            rand: gives uniform numbers N,k in [0, 1), `ctx.rand` in a game. Called once, whatever the strength.

        Raises:
            UsageError: not N,C,H,W with sides of at least 2, or a strength outside 0 to 1.
        """
        if images.ndim != 4 or not images.is_floating_point() or min(images.shape[2:]) < 2:
            raise UsageError(
                "augmentation takes a batch of pictures",
                expected="floats N,C,H,W with sides of at least 2 pixels",
                actual=f"{images.dtype} of shape {tuple(images.shape)}",
            )
        if not 0 <= strength <= 1:
            raise UsageError("augmentation strength is a probability", expected="0 to 1", actual=strength)
        u = rand(self.draws)
        if strength == 0:
            return images
        with torch.autocast(images.device.type, enabled=False):
            x = images if images.dtype == torch.float64 else images.float()
            for kind, run in self._runs:
                play = _pixels if kind == "pixels" else _geometry if kind == "geometry" else _colour
                chosen = [u[:, at] < change.chance(strength) for change, at in run]
                numbers = [u[:, at + 1 : at + 1 + change.draws] for change, at in run]
                x = play(x, [change.apply for change, _ in run], chosen, numbers)
            return x.to(images.dtype)


def _pixels(x: Tensor, changes: Sequence[Callable], chosen: Sequence[Tensor], numbers: Sequence[Tensor]) -> Tensor:
    for apply, yes, u in zip(changes, chosen, numbers, strict=True):
        x = torch.where(_wide(yes), apply(x, u.to(x.dtype)), x)
    return x


def _geometry(x: Tensor, changes: Sequence[Callable], chosen: Sequence[Tensor], numbers: Sequence[Tensor]) -> Tensor:
    """One interpolation for all changes. Pictures that none was chosen for keep their bits."""
    from kornia.geometry.transform import warp_affine

    height, width = x.shape[2:]
    matrix = _product(changes, chosen, numbers, (height, width)).to(x.dtype)
    centre = x.new_tensor([(width - 1) / 2, (height - 1) / 2])[:, None]
    linear, offset = matrix[:, :2, :2], matrix[:, :2, 2:]
    warp = torch.cat([linear, offset + centre - linear @ centre], 2)
    moved = warp_affine(x, warp, (height, width), padding_mode="reflection")
    return torch.where(_wide(torch.stack(list(chosen)).any(0)), moved, x)


def _colour(x: Tensor, changes: Sequence[Callable], chosen: Sequence[Tensor], numbers: Sequence[Tensor]) -> Tensor:
    """One affine map of colours for all changes. Pictures that none was chosen for keep their bits."""
    matrix = _product(changes, chosen, numbers, x.shape[1]).to(x.dtype)
    toned = (matrix[:, :-1, :-1] @ x.flatten(2) + matrix[:, :-1, -1:]).view_as(x)
    return torch.where(_wide(torch.stack(list(chosen)).any(0)), toned, x)


def _product(changes: Sequence[Callable], chosen: Sequence[Tensor], numbers: Sequence[Tensor], size: Any) -> Tensor:
    """Each picture's chosen changes as one matrix, the first change applied first."""
    made = [apply(u, size) for apply, u in zip(changes, numbers, strict=True)]
    identity = torch.eye(made[0].shape[1], device=made[0].device)
    kept = [torch.where(yes[:, None, None], matrix, identity) for matrix, yes in zip(made, chosen, strict=True)]
    return reduce(lambda first, then: then @ first, kept)
