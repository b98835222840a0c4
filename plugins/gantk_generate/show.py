"""Pictures of what a generator does: sheets of samples, strips between two of them, nearest training pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gantk_generate.data import Data
from gantk_generate.options import GenerateConfig
from gantk_generate.sampler import rendered
from gantoolkit.images import contact_sheet

SHEET = 64  # samples on a sheet
STRIP = 10  # pictures from one latent to the next
POINTS = 2_000  # of a scatter, real and made
BESIDE = 5_000  # training pictures among which the nearest ones are looked for
LEAST_SIDE = 64  # smaller pictures are shown larger, by whole factors


def sheet(pictures: Sequence[np.ndarray], columns: int, captions: Sequence[str] | None = None) -> np.ndarray:
    """Pictures (H,W,C uint8) in rows, grey and RGBA as RGB, small ones enlarged by a whole factor."""
    height = pictures[0].shape[0]
    factor = max(1, -(-LEAST_SIDE // height))
    shown = [np.repeat(np.repeat(as_rgb(picture), factor, 0), factor, 1) for picture in pictures]
    return contact_sheet(shown, columns, captions, gap=4)


def as_rgb(picture: np.ndarray) -> np.ndarray:
    """H,W,C uint8 with any C as H,W,3: grey repeated, alpha over white, of more channels the first three."""
    channels = picture.shape[2]
    if channels < 3:
        return np.repeat(picture[:, :, :1], 3, axis=2)
    if channels == 4:
        alpha = picture[:, :, 3:].astype(np.float32) / 255
        return (picture[:, :, :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
    return picture[:, :, :3]


def while_training(config: GenerateConfig, dataset: Data, generator: nn.Module) -> Any:
    """Samples at fixed latents, a strip between four of them, and the nearest training pictures of some."""
    if config.arch == "mlp":
        return scatter(config, dataset, generator)
    z = torch.stack([torch.randn(config.latent, generator=torch.Generator().manual_seed(i)) for i in range(SHEET)])
    classes = len(dataset.classes)
    label = torch.arange(SHEET) % classes if classes else None
    columns = classes if 4 <= classes <= 16 else 8
    count = SHEET // columns * columns
    made = list(rendered(generator, z[:count], label[:count] if label is not None else None, config.device))
    return {
        "samples": sheet(made, columns),
        "interpolation": sheet(_strip(generator, z, label, config.device), STRIP),
        "nearest neighbours": beside_nearest(made[:columns], dataset.train),
    }


def beside_nearest(made: Sequence[np.ndarray], known: Any, beside: int = 3) -> np.ndarray:
    """Each made picture above the nearest of some known ones, in the space of 16² pixels.

    Args:
        made: H,W,C uint8.
        known: has a length, and `pictures(indices)`, which gives H,W,C uint8; `BESIDE` of them are looked at, each
            once, so that memory does not grow with their number or size.
    """
    chosen = np.random.default_rng(0).permutation(len(known))[:BESIDE]
    distance = torch.cdist(_small(made), _small(known.pictures(chosen)))
    nearest = distance.topk(min(beside, len(chosen)), largest=False).indices
    rows = [list(made)] + [list(known.pictures(chosen[place])) for place in nearest.T.numpy()]
    return sheet([picture for row in rows for picture in row], len(made))


def scatter(config: GenerateConfig, dataset: Data, generator: nn.Module, side: int = 384) -> np.ndarray:
    """Points in the plane (their first two numbers, or one and 0): real ones grey, made ones blue."""
    real = _plane(dataset.bank("train", POINTS)["image"])
    z = torch.randn(POINTS, config.latent, generator=torch.Generator().manual_seed(0)).to(config.device)
    made = _plane(generator(z, None).float().cpu())
    low, high = real.amin(0), real.amax(0)
    extent = torch.where(high > low, high - low, 1.0)
    picture = np.full((side, side, 3), 255, np.uint8)
    for points, colour in ((real, (190, 190, 190)), (made, (20, 80, 200))):
        place = (0.1 + 0.8 * (points - low) / extent).clamp(0, 1) * (side - 1)
        columns, rows = place[:, 0].round().long().numpy(), (side - 1 - place[:, 1].round()).long().numpy()
        picture[rows, columns] = colour
    return picture


def _plane(points: Tensor) -> Tensor:
    """N,2 of N,D."""
    return torch.nn.functional.pad(points, (0, max(0, 2 - points.shape[1])))[:, :2]


def _strip(generator: Any, z: Tensor, label: Tensor | None, device: str) -> list[np.ndarray]:
    """From one latent to the next and on, one row each; the class stays, so that only the latent moves."""
    from gantk_generate import latents

    strips: list[np.ndarray] = []
    for row in range(min(4, len(z) - 1)):
        between = torch.stack([latents.slerp(z[row], z[row + 1], t / (STRIP - 1)) for t in range(STRIP)])
        same = label[row].repeat(STRIP) if label is not None else None
        strips += rendered(generator, between, same, device)
    return strips


def _small(pictures: Iterable[np.ndarray]) -> Tensor:
    """N,F: pictures H,W,C uint8 of one shape averaged to 16², a few at a time; alpha over white."""
    pictures, parts = iter(pictures), []
    while some := list(islice(pictures, 64)):
        x = torch.from_numpy(np.stack([as_rgb(picture) for picture in some])).permute(0, 3, 1, 2).float() / 255
        parts.append(torch.nn.functional.adaptive_avg_pool2d(x, 16).flatten(1))
    return torch.cat(parts)
