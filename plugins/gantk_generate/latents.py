"""What latents are good for: truncation, interpolation, mixing, projection of a picture, directions with a meaning.

The tools work on w, the vector that `Generator.mapping` gives: N,D (z, and the class's embedding after it), or N,L,D of
a style-based generator, one for each of its L layers. Random numbers come from seeds; generators are left as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from gantk_generate.networks import Generator
from gantoolkit.errors import UsageError
from gantoolkit.features import Extractor, perceptual_distance

if TYPE_CHECKING:
    from gantk_generate.sampler import Sampler

CHUNK = 64  # latents in one pass
CANDIDATES, STARTS = 64, 4  # of a projection: latents tried, latents optimised


# ---- between and towards ----


def truncate(w: Tensor, mean: Tensor, psi: float) -> Tensor:
    """mean + ψ (w − mean): Karras et al. 2019 (arXiv:1812.04948), appendix B. 1 leaves w as it is, 0 gives the mean."""
    return torch.lerp(mean.expand_as(w), w, psi)


def mean_latent(generator: Generator, n: int = 1024, seed: int = 0, label: int | None = None) -> Tensor:
    """The mean w, (1, …), of n latents: of one class, or of all in turn."""
    return _inputs(generator, n, seed, label).mean(0, keepdim=True)


def lerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """(1 − t) a + t b."""
    return torch.lerp(a, b, t)


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """sin((1 − t)Ω)/sin Ω · a + sin(tΩ)/sin Ω · b along the last axis: Shoemake 1985.

    Ω is the angle between a and b, which may have any lengths: between normal latents it keeps to lengths that the
    generator knows (White 2016, arXiv:1609.04468). Parallel and opposite vectors are interpolated linearly.
    """
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=-1).clamp(-1, 1)[..., None]
    omega = cosine.cpu().double().acos()  # not every device has doubles
    sine = omega.sin()
    line = sine < 1e-6
    sine = sine.masked_fill(line, 1.0)
    from_a = torch.where(line, 1 - t, ((1 - t) * omega).sin() / sine).to(a)
    from_b = torch.where(line, t, (t * omega).sin() / sine).to(a)
    return from_a * a + from_b * b


def between_inputs(generator: Generator) -> Callable[[Tensor, Tensor, float], Tensor]:
    """`slerp` of what the generator takes; a class's embedding, where it is part of that, is not turned but mixed."""
    if _has_mapping(generator):
        return slerp
    size = generator.latent
    return lambda a, b, t: torch.cat(
        [slerp(a[..., :size], b[..., :size], t), lerp(a[..., size:], b[..., size:], t)], -1
    )


def interpolate(
    points: Tensor, frames: int, loop: bool = False, between: Callable[[Tensor, Tensor, float], Tensor] = slerp
) -> Tensor:
    """A path through points (N, …): `frames` steps from each to the next, and back to the first if it loops.

    Returns:
        (N · frames, …) for a loop, else ((N − 1) · frames + 1, …) with the last point at the end.
    """
    ends = points.roll(-1, 0) if loop else points[1:]
    path = [between(a, b, i / frames) for a, b in zip(points, ends, strict=False) for i in range(frames)]
    return torch.stack(path if loop else [*path, points[-1]])


def mix_styles(w_a: Tensor, w_b: Tensor, layers: Sequence[int]) -> Tensor:
    """w_a with these layers from w_b, (N, L, D): Karras et al. 2019, section 3.1. Layer 0 is the coarsest.

    Raises:
        UsageError: the latents have no layers, or not these.
    """
    if w_a.ndim != 3:
        raise UsageError(
            "styles are mixed layer by layer, and this model has one vector for all layers",
            remedy="train a style-based one: gantk train generate … --arch style",
        )
    if not all(0 <= layer < w_a.shape[1] for layer in layers):
        raise UsageError("no such layer", expected=f"0 to {w_a.shape[1] - 1}", actual=list(layers))
    taken = torch.zeros(w_a.shape[1], dtype=torch.bool, device=w_a.device)
    taken[list(layers)] = True
    return torch.where(taken[:, None], w_b, w_a)


# ---- a picture's latent ----


@dataclass(frozen=True)
class Projection:
    """The nearest picture that a generator was found to make.

    Attributes:
        latent: its w, (1, …).
        picture: uint8 H,W,C.
        psnr: of it against the picture that was asked for, in dB.
    """

    latent: Tensor
    picture: np.ndarray
    psnr: float


def project(
    picture: np.ndarray,
    generator: Generator,
    steps: int = 300,
    seed: int = 0,
    label: Tensor | None = None,
    extractor: Extractor | None = None,
) -> Projection:
    """The w whose picture comes nearest: after Karras et al. 2020 (arXiv:1912.04958), appendix D, with our own loss.

    From the best of some random latents, by Adam on mean squared error + 0.05 perceptual distance (pictures of at least
    16 pixels) + 0.0001 E v², where w = mean + deviation · v: the prior keeps w where the generator is used to it. The
    layers of a style-based generator are free of each other, which fits more than W alone does.

    Args:
        picture: uint8 H,W,C of the generator's size and channels.
        label: class number, (1,), to stay in; None looks among all classes.
        extractor: of the perceptual distance; the default one if None.

    Raises:
        UsageError: the picture has another size than the generator's.
    """
    device = next(generator.parameters()).device
    target = torch.tensor(np.asarray(picture), device=device).permute(2, 0, 1)[None].float() / 127.5 - 1
    with _still(generator):
        population = _inputs(generator, 4 * CANDIDATES, seed, None if label is None else int(label))
        mean, deviation = population.mean(0, keepdim=True), population.std(0, keepdim=True)
        with torch.no_grad():
            made = _rendered(generator, population[:CANDIDATES])
            if made.shape[1:] != target.shape[1:]:
                raise UsageError(
                    "the picture does not fit the generator",
                    expected=f"C,H,W {tuple(made.shape[1:])}",
                    actual=tuple(target.shape[1:]),
                    remedy="resize it first",
                )
            best = _error(made, target).topk(STARTS, largest=False).indices
        v = ((population[best] - mean) / deviation.clamp_min(1e-8)).requires_grad_()
        optimizer = torch.optim.Adam([v], lr=0.1)
        rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        with torch.enable_grad():
            for _ in range(steps):
                made = generator.synthesis(mean + deviation * v)
                loss = _error(made, target) + 1e-4 * v.square().flatten(1).mean(1)
                if min(target.shape[2:]) >= 16:
                    loss = loss + 0.05 * perceptual_distance(
                        _as_seen(made), _as_seen(target.expand_as(made)), extractor
                    )
                (v.grad,) = torch.autograd.grad(loss.sum(), v)
                optimizer.step()
                rate.step()
        with torch.no_grad():
            latents = mean + deviation * v
            made = generator.synthesis(latents)
            error = (_rounded(made) - picture.astype(np.float64)) ** 2
    winner = int(error.mean((1, 2, 3)).argmin())
    psnr = 10 * np.log10(255**2 / max(error[winner].mean(), 1e-10))
    return Projection(latents[winner : winner + 1].detach(), _rounded(made)[winner].astype(np.uint8), float(psnr))


def _error(made: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each picture; what lies beyond white or black is cut off in a file, and no error."""
    miss = made - target
    beyond = (target.abs() >= 1) & (miss * target > 0)
    return miss.masked_fill(beyond, 0.0).square().mean((1, 2, 3))


# ---- directions ----


def closed_form_directions(generator: Generator, k: int) -> Tensor:
    """The k unit directions (k, D) that change the first layers most: SeFa, Shen & Zhou 2021 (arXiv:2007.06600).

    Eigenvectors of AᵀA with the largest eigenvalues, A the weights of all layers that take w. Without a mapping network
    the class's embedding is part of w; it stays as it is. w moves by adding a multiple, in every layer of a style-based
    generator.

    Raises:
        UsageError: there are not as many.
    """
    with _still(generator), torch.no_grad():
        w = _inputs(generator, 1, 0, 0 if generator.classes else None)
        weights = torch.cat(_layers_of(generator, w))
        most = weights.shape[1]
        if not _has_mapping(generator):
            weights[:, generator.latent :] = 0
            most = generator.latent
        if k > most:
            raise UsageError("there are not as many directions", expected=f"{most} at most", actual=k)
        directions = torch.linalg.svd(weights.cpu().double(), full_matrices=False).Vh[:k]
        return _signed(directions).to(w)


def pca_directions(generator: Generator, k: int, n: int = 2048, seed: int = 0, label: int | None = None) -> Tensor:
    """The k unit directions (k, D) along which samples vary most: GANSpace, Härkönen et al. 2020 (arXiv:2004.02546).

    Principal components of w where there is a mapping network. Elsewhere w is normal in all directions,
    so that components V are taken of what it makes, here of pictures averaged to at most 16², and brought back by
    regression: argmin Σ‖U Vᵀ(y − μ) − w‖².

    Args:
        label: the class; None takes all in turn, and classes are then part of what varies.
    """
    with _still(generator), torch.no_grad():
        w = _inputs(generator, n, seed, label)
        first = (w[:, 0] if w.ndim == 3 else w).cpu().double()
        first = first - first.mean(0)
        if _has_mapping(generator):
            return _signed(torch.linalg.svd(first, full_matrices=False).Vh[:k]).to(w)
        made = _rendered(generator, w).cpu().double()
        if made.ndim == 4:
            made = nn.functional.adaptive_avg_pool2d(made, (min(16, made.shape[2]), min(16, made.shape[3])))
        y = made.flatten(1) - made.flatten(1).mean(0)
        scores = y @ torch.linalg.svd(y, full_matrices=False).Vh[:k].T
        directions = torch.linalg.lstsq(scores, first).solution
        return _signed(directions / directions.norm(dim=1, keepdim=True)).to(w)


def _has_mapping(generator: Generator) -> bool:
    return type(generator).mapping is not Generator.mapping


def _signed(directions: Tensor) -> Tensor:
    """Each direction with its largest number positive, so that it does not depend on the decomposition."""
    largest = directions.abs().argmax(1, keepdim=True)
    return directions * directions.gather(1, largest).sign()


def _layers_of(generator: Generator, w: Tensor) -> list[Tensor]:
    """The matrices (out, D) of all layers that take w as it is, found by watching where it goes."""
    w = w.clone()
    home, length = w.untyped_storage().data_ptr(), w.shape[-1]
    found: list[nn.Module] = []

    def watch(module: nn.Module, args: tuple) -> None:
        x = args[0]
        if x.ndim == 2 and x.shape[1] == length and x.untyped_storage().data_ptr() == home:
            found.append(module)

    handles = [m.register_forward_pre_hook(watch) for m in generator.modules() if not list(m.children())]
    try:
        generator.synthesis(w)
    finally:
        for handle in handles:
            handle.remove()
    unit = torch.eye(length, dtype=w.dtype, device=w.device)
    return [(layer(unit) - layer(torch.zeros_like(unit))).T for layer in found]  # whatever its gain and bias


# ---- a generator at work ----


@contextmanager
def _still(generator: Generator) -> Iterator[None]:
    """In eval mode, so that statistics and noise stay as they are; afterwards as before."""
    training = generator.training
    generator.eval()
    try:
        yield
    finally:
        generator.train(training)


@torch.no_grad()
def _inputs(generator: Generator, n: int, seed: int, label: int | None) -> Tensor:
    """w of n latents; of one class, or of all in turn."""
    device = next(generator.parameters()).device
    z = torch.randn(n, generator.latent, generator=torch.Generator().manual_seed(seed)).to(device)
    classes = None
    if generator.classes:
        classes = (
            torch.arange(n, device=device) % generator.classes if label is None else z.new_full((n,), label).long()
        )
    with _still(generator):
        return generator.mapping(z, classes)


def _rendered(generator: Generator, w: Tensor) -> Tensor:
    return torch.cat([generator.synthesis(part) for part in w.split(CHUNK)])


def _as_seen(x: Tensor) -> Tensor:
    """N,C,H,W in [-1, 1] as N,3,H,W in [0, 1]."""
    return (x[:, :3] if x.shape[1] >= 3 else x[:, :1].expand(-1, 3, -1, -1)).clamp(-1, 1) / 2 + 0.5


def _rounded(x: Tensor) -> np.ndarray:
    """N,C,H,W in [-1, 1] as N,H,W,C whole numbers 0 to 255."""
    return ((x.cpu().double().clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()


# ---- sheets: uint8 H,W,3 ----


def truncation_sheet(
    sampler: Sampler, n: int = 8, seed: int = 0, label: str | Sequence[int | str] | None = None
) -> np.ndarray:
    """The same pictures with ψ from 1 in the first row to 0, the mean, in the last."""
    labels = sampler.labels(n, label)
    w = sampler.inputs(sampler.latents(n, seed), labels)
    rows = [sampler.truncated(w, labels, psi) for psi in (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)]
    return _sheet(sampler, torch.cat(rows), n)


def interpolation_sheet(
    sampler: Sampler, n: int = 4, steps: int = 9, seed: int = 0, label: str | Sequence[int | str] | None = None
) -> np.ndarray:
    """One row from each of n pictures to the next."""
    w = sampler.inputs(sampler.latents(n + 1, seed), sampler.labels(n + 1, label))
    rows = [interpolate(w[i : i + 2], steps) for i in range(n)]
    return _sheet(sampler, torch.cat(rows), steps + 1)


def mixing_sheet(
    sampler: Sampler, n: int = 6, seed: int = 0, label: str | Sequence[int | str] | None = None
) -> np.ndarray:
    """In the first row n sources, in the first column n targets: inside, targets with the source's coarse half.

    Raises:
        UsageError: the model has no layers to mix.
    """
    w = sampler.inputs(sampler.latents(2 * n, seed), sampler.labels(2 * n, label))
    coarse = range(w.shape[1] // 2) if w.ndim == 3 else range(0)
    rows = [mix_styles(target.expand_as(w[:n]), w[:n], coarse) for target in w[n:, None]]
    return _sheet(
        sampler,
        torch.cat([w[:1], w[:n], *(torch.cat([w[n + i, None], row]) for i, row in enumerate(rows))]),
        n + 1,
        blank=True,
    )


def directions_sheet(
    sampler: Sampler,
    k: int = 6,
    seed: int = 0,
    label: str | Sequence[int | str] | None = None,
    find: Callable[[Generator, int], Tensor] = closed_form_directions,
) -> np.ndarray:
    """One row a direction: the picture in the middle moved by −3 to 3 standard deviations of w along it."""
    labels = sampler.labels(1, label)
    w = sampler.inputs(sampler.latents(1, seed), labels)
    directions = find(sampler.generator, k).cpu()
    others = _inputs(sampler.generator, 1024, seed, None if labels is None else int(labels)).cpu()
    spread = (others[:, 0] if others.ndim == 3 else others).float() @ directions.T  # n,k
    moves = torch.linspace(-3, 3, 7)[:, None] * spread.std(0)  # 7,k
    rows = [torch.cat([w + move * direction for move in moves[:, i]]) for i, direction in enumerate(directions)]
    return _sheet(sampler, torch.cat(rows), len(moves))


def _sheet(sampler: Sampler, w: Tensor, columns: int, blank: bool = False) -> np.ndarray:
    """Pictures of w in rows; the first one left white on request."""
    from gantk_generate.show import sheet  # which draws its strips with `slerp`

    pictures = sampler.render(w)
    if blank:
        pictures[0] = np.full_like(pictures[0], 255)
    return sheet(pictures, columns)
