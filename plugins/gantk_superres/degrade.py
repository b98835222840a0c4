"""Low-resolution inputs made from high-resolution pictures, in batches, on whatever device they are on.

Two ways: MATLAB-compatible bicubic, and the chain of Wang et al. 2021, "Real-ESRGAN" (arXiv:2107.10833),
section 3: blur, resize, noise and JPEG, more than once, with sinc filters for ringing. All chance comes from
the generator passed in. Shapes: N rows, colours 3, H×W high, h×w low resolution; values in [0, 1].
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from gantk_superres.jpeg import jpeg
from gantoolkit.errors import UsageError
from gantoolkit.resample import resize

Degradation = Callable[[Tensor, int, torch.Generator], Tensor]
Range = tuple[float, float]

LARGEST_KERNEL = 21  # pixels; sizes are odd, from 7 up
ROWS_OF_ONE_SIZE = 4  # rows that share intermediate sizes and so run as one batch; all else is drawn by row
RESIZERS = ("area", "bilinear", "bicubic")


@dataclass(frozen=True)
class Pass:
    """One round of blur, resize, noise and JPEG. Ranges are uniform; the defaults are the first round's.

    Figures: Real-ESRGAN, section 4.1; odds and range of the resize from the authors' released options.

    Attributes:
        blur: how often a row is blurred at all.
        sinc: of those, how often by a sinc kernel; the rest get a Gaussian, generalised Gaussian or plateau
            kernel with probability .7, .15, .15.
        sigma: standard deviations of the blur, pixels.
        resize_odds: how often the picture is enlarged, shrunk or kept.
        resize_range: smallest and largest factor.
        of_output: factors are of the output's size instead of the input's.
        gaussian: standard deviation of Gaussian noise, 8-bit levels; half of the rows get this kind.
        poisson: strength of Poisson noise, where 1 is that of one photon a level; the other half.
        grey: how often noise is the same in all three channels.
        quality: JPEG quality.
    """

    blur: float = 1.0
    sinc: float = 0.1
    sigma: Range = (0.2, 3.0)
    resize_odds: tuple[float, float, float] = (0.2, 0.7, 0.1)
    resize_range: Range = (0.15, 1.5)
    of_output: bool = False
    gaussian: Range = (1.0, 30.0)
    poisson: Range = (0.05, 3.0)
    grey: float = 0.4
    quality: Range = (30.0, 95.0)


@dataclass(frozen=True)
class SecondOrder:
    """Rounds in order, and how often a last sinc filter is applied beside the last JPEG."""

    passes: tuple[Pass, ...]
    final_sinc: float


FIRST = Pass()
SECOND = Pass(
    blur=0.8,
    sigma=(0.2, 1.5),
    resize_odds=(0.3, 0.4, 0.3),
    resize_range=(0.3, 1.2),
    of_output=True,
    gaussian=(1.0, 25.0),
    poisson=(0.05, 2.5),
)
LIGHT = replace(
    SECOND,
    sinc=0.0,
    sigma=(0.2, 2.0),
    resize_odds=(0.0, 0.0, 1.0),
    gaussian=(0.0, 5.0),
    poisson=(0.0, 0.3),
    quality=(60.0, 95.0),
)

SETTINGS: dict[str, SecondOrder] = {
    "light": SecondOrder((LIGHT,), final_sinc=0.0),  # one mild round, for small networks
    "second-order": SecondOrder((FIRST, SECOND), final_sinc=0.8),
}


def degradation(name: str) -> Degradation:
    """The function (hr, scale, rng) → lr of that name: "bicubic", "light" or "second-order".

    Raises:
        UsageError: no degradation has this name.
    """
    if name == "bicubic":
        return lambda hr, scale, _: bicubic(hr, scale)
    if name in SETTINGS:
        return partial(second_order, settings=SETTINGS[name])
    near = difflib.get_close_matches(name, ["bicubic", *SETTINGS], n=1)
    raise UsageError(
        "unknown degradation",
        expected="one of " + ", ".join(["bicubic", *SETTINGS]),
        actual=repr(name),
        remedy=f"did you mean {near[0]}?" if near else None,
    )


def bicubic(hr: Tensor, scale: int) -> Tensor:
    """N,3,H,W → N,3,H/scale,W/scale as MATLAB's `imresize` (antialiased), in 8-bit levels as it is stored."""
    return _stored(resize(hr, _low_size(hr, scale)))


def second_order(hr: Tensor, scale: int, rng: torch.Generator, settings: SecondOrder) -> Tensor:
    """Pictures as a camera, an editor and the web would leave them: Real-ESRGAN, section 3.

    What differs from the authors' code: bilinear and bicubic shrinking are antialiased, and four rows at a
    time share the sizes in between, not the whole batch. Rows never mix.

    Args:
        hr: N,3,H,W in [0, 1]; H and W multiples of scale.
        scale: whole factor between high and low resolution.
        rng: the only source of chance; draws happen on its device. Same state, same bits on one device.
        settings: a row of `SETTINGS` or your own.

    Returns:
        N,3,H/scale,W/scale in 8-bit levels within [0, 1].

    Raises:
        UsageError: a size that the scale does not divide.
    """
    size = _low_size(hr, scale)
    with torch.no_grad():
        return torch.cat([_chain(rows, size, rng, settings) for rows in hr.split(ROWS_OF_ONE_SIZE)])


def _chain(x: Tensor, size: tuple[int, int], rng: torch.Generator, settings: SecondOrder) -> Tensor:
    """All rounds on a few rows that share their sizes in between."""
    *earlier, last = settings.passes
    height, width = x.shape[2:]
    for step in earlier:
        x = _jpeg(_round(x, step, size if step.of_output else (height, width), rng), step, rng)
    x = _round(x, last, size if last.of_output else (height, width), rng)
    filters = _sometimes(settings.final_sinc, sinc_kernels(len(x), rng), rng)
    # Section 3.3: the last filter comes before or after the last JPEG with equal odds.
    if torch.rand((), generator=rng, device=rng.device) < 0.5:
        return _stored(_jpeg(_filtered(_to_size(x, size), filters).clamp(0, 1), last, rng))
    return _stored(_filtered(_to_size(_jpeg(x, last, rng), size), filters))


def _round(x: Tensor, step: Pass, base: tuple[int, int], rng: torch.Generator) -> Tensor:
    """Blur, resize and noise of one round; JPEG is the caller's, who may put something before it."""
    n = len(x)
    kernels = torch.where(
        _coin(n, step.sinc, rng)[:, None, None], sinc_kernels(n, rng), blur_kernels(n, step.sigma, rng)
    )
    x = _filtered(x, _sometimes(step.blur, kernels, rng))
    low, high = step.resize_range
    odds = torch.tensor(step.resize_odds, device=rng.device)
    direction = int(torch.multinomial(odds, 1, generator=rng))
    factor = float(_uniform(1, *((1.0, high), (low, 1.0), (1.0, 1.0))[direction], rng))
    mode = RESIZERS[int(torch.randint(len(RESIZERS), (), generator=rng, device=rng.device))]
    size = (max(1, round(base[0] * factor)), max(1, round(base[1] * factor)))
    if size != tuple(x.shape[2:]):
        x = interpolate(x, size, mode=mode, antialias=mode != "area")
    return _noisy(x.clamp(0, 1), step, rng).clamp(0, 1)


def _noisy(x: Tensor, step: Pass, rng: torch.Generator) -> Tensor:
    """Gaussian noise of a row's σ, or Poisson noise of a row's strength (section 3.1), coloured or grey."""
    n, device = len(x), rng.device
    grey = _coin(n, step.grey, rng)[:, None, None, None]
    normal = torch.randn(x.shape, generator=rng, device=device)
    gaussian = torch.where(grey, normal[:, :1], normal) * _uniform(n, *step.gaussian, rng) / 255
    levels = x.to(device) * 255
    light = torch.where(grey, levels.mean(1, keepdim=True), levels)
    # A grey picture is drawn once and shared, or its three equal channels would get three draws.
    shot = torch.poisson(light, generator=rng) - light
    shot = torch.where(grey, shot[:, :1], shot) * _uniform(n, *step.poisson, rng) / 255
    noise = torch.where(_coin(n, 0.5, rng)[:, None, None, None], gaussian, shot)
    return x + noise.to(x)


def blur_kernels(n: int, sigma: Range, rng: torch.Generator) -> Tensor:
    """n 21×21 kernels of sum 1: Gaussian, generalised Gaussian or plateau; round, or stretched and turned.

    Real-ESRGAN, section 3.1, after Liu et al. 2020 for the last two: with q = xᵀ Σ⁻¹ x they are exp(−q/2),
    exp(−q^β/2) for β in [.5, 4], and 1 / (1 + q^β) for β in [1, 2]. Sizes 7, 9, … 21, zero outside.
    """
    device, (rows, columns) = rng.device, _grid(rng)
    first, second = _uniform(n, *sigma, rng)[..., 0], _uniform(n, *sigma, rng)[..., 0]
    kind = torch.multinomial(torch.tensor([0.7, 0.15, 0.15], device=device), n, True, generator=rng)
    kind = kind[:, None, None]
    # The released options stretch .25 / .7 of the Gaussian kernels and .2 of the others.
    stretched = _uniform(n, 0.0, 1.0, rng)[..., 0] < torch.where(kind == 0, 0.25 / 0.7, 0.2)
    second = torch.where(stretched, second, first)
    angle = _uniform(n, -math.pi, math.pi, rng)[..., 0]
    along = columns * angle.cos() + rows * angle.sin()
    across = rows * angle.cos() - columns * angle.sin()
    q = (along / first).square() + (across / second).square()
    general, plateau = _uniform(n, 0.5, 4.0, rng)[..., 0], _uniform(n, 1.0, 2.0, rng)[..., 0]
    kernels = torch.where(kind == 1, (-0.5 * q.pow(general)).exp(), (-0.5 * q).exp())
    kernels = torch.where(kind == 2, 1 / (1 + q.pow(plateau)), kernels)
    return _cut(kernels, rng)


def sinc_kernels(n: int, rng: torch.Generator) -> Tensor:
    """n circular low-pass kernels 21×21 that sum to 1 and ring: Real-ESRGAN, section 3.3.

    k(r) = ω J₁(ω r) / (2π r) with the cutoff ω in [π/3, π]; ω² / 4π at the centre.
    """
    rows, columns = _grid(rng)
    omega = _uniform(n, math.pi / 3, math.pi, rng)[..., 0]
    r = (rows.square() + columns.square()).sqrt()
    ring = omega * torch.special.bessel_j1(omega * r) / (2 * math.pi * r.clamp_min(1e-6))
    return _cut(torch.where(r == 0, omega.square() / (4 * math.pi), ring), rng)


def _grid(rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Row and column offsets from the centre, 21,1 and 1,21."""
    half = LARGEST_KERNEL // 2
    offsets = torch.arange(-half, half + 1, device=rng.device, dtype=torch.float32)
    return offsets[:, None], offsets[None]


def _cut(kernels: Tensor, rng: torch.Generator) -> Tensor:
    """Zero outside a window of a random odd size, then the sum made 1."""
    rows, columns = _grid(rng)
    half = torch.randint(3, LARGEST_KERNEL // 2 + 1, (len(kernels), 1, 1), generator=rng, device=rng.device)
    kernels = kernels * (torch.maximum(rows.abs(), columns.abs()) <= half)
    return kernels / kernels.sum((1, 2), keepdim=True)


def _sometimes(probability: float, kernels: Tensor, rng: torch.Generator) -> Tensor:
    """Each kernel with the given probability, else the one that changes nothing."""
    nothing = torch.zeros_like(kernels)
    nothing[:, LARGEST_KERNEL // 2, LARGEST_KERNEL // 2] = 1
    return torch.where(_coin(len(kernels), probability, rng)[:, None, None], kernels, nothing)


def _filtered(x: Tensor, kernels: Tensor) -> Tensor:
    """Each row under its own kernel; borders mirrored."""
    from kornia.filters import filter2d

    # A mirror needs more picture than half a kernel: repeat the edge in tiny intermediate pictures.
    border = "reflect" if min(x.shape[2:]) > LARGEST_KERNEL // 2 else "replicate"
    return filter2d(x, kernels.to(x), border_type=border)


def _jpeg(x: Tensor, step: Pass, rng: torch.Generator) -> Tensor:
    return jpeg(x, _uniform(len(x), *step.quality, rng).flatten().to(x.device))


def _to_size(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x if tuple(x.shape[2:]) == size else resize(x, size).clamp(0, 1)


def _uniform(n: int, low: float, high: float, rng: torch.Generator) -> Tensor:
    """n draws from [low, high), shaped n,1,1,1."""
    return low + (high - low) * torch.rand((n, 1, 1, 1), generator=rng, device=rng.device)


def _coin(n: int, probability: float, rng: torch.Generator) -> Tensor:
    """n booleans, each true with the given probability."""
    return torch.rand(n, generator=rng, device=rng.device) < probability


def _stored(x: Tensor) -> Tensor:
    """Clamped and rounded to the 256 levels of a file."""
    return (x.clamp(0, 1) * 255).round() / 255


def _low_size(hr: Tensor, scale: int) -> tuple[int, int]:
    height, width = hr.shape[2:]
    if height % scale or width % scale:
        raise UsageError(
            "the scale must divide the picture",
            expected=f"multiples of {scale}",
            actual=f"{width}×{height}",
            remedy=f"crop it to {width // scale * scale}×{height // scale * scale}",
        )
    return height // scale, width // scale
