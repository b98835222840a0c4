"""The gauges of a training: held-out pictures, the variety of fakes, and the run of the losses.

Pictures that are looked at again and again are kept as bytes, or coarse where nothing else is looked at, and only
`AT_ONCE` of them are ever there as the networks see them: gauges of large pictures cost little memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gantk_generate.data import Data
from gantk_generate.options import GenerateConfig
from gantoolkit import gauges as core
from gantoolkit.game import Gauge
from gantoolkit.variety import coarse
from gantoolkit.view import View

PROBE = 256  # samples of a look
AT_ONCE = 16  # pictures that go through a network together
LEAST = 16  # fewer reals say nothing about variety


def gauges(config: GenerateConfig, dataset: Data, generator: nn.Module, critic: nn.Module, view: View) -> list[Gauge]:
    """The usual gauges, with probes of fresh fakes and of held-out samples where there are enough of them."""
    if len(dataset.train) < LEAST:
        return core.standard()
    train = _Bank.of(dataset, "train", 2 * PROBE, config.device)  # half to compare with, half to find axes from
    held_out = _Bank.of(dataset, "held_out", PROBE, config.device) if dataset.held_out is not None else None

    def fakes(z: Tensor, label: Tensor | None, rows: slice) -> Tensor:
        with core.quietly(generator):
            return generator(z[rows], None if label is None else label[rows]).float()

    def latents(n: int, random: torch.Generator) -> Tensor:
        return torch.randn(n, config.latent, generator=random).to(config.device)

    def sample(n: int, random: torch.Generator, labels: Tensor | None = None) -> Tensor:
        z, label = latents(n, random), None if labels is None else labels.to(config.device)
        return torch.cat([coarse(fakes(z, label, rows)) for rows in _parts(n)])

    def judge(random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        assert held_out is not None
        count = min(len(train), len(held_out))
        z = latents(count, random)

        def scored(shown: Callable[[slice], Tensor], label: Tensor | None) -> Tensor:
            scores = []
            for rows in _parts(count):
                x = shown(rows)
                with core.quietly(critic):
                    scores.append(critic(view(x, _rand(random, x)), None if label is None else label[rows]))
            return torch.cat(scores)

        return (
            scored(train.shown, train.labels),
            scored(lambda rows: fakes(z, train.labels, rows), train.labels),
            scored(held_out.shown, held_out.labels),
        )

    known = held_out is not None and len(held_out) >= LEAST
    return core.standard(
        reals=train.coarse,
        sample=sample,
        labels=train.labels,
        classes=dataset.classes,
        networks={"generator": generator},
        judge=judge if known else None,
    )


@dataclass(frozen=True)
class _Bank:
    """Samples that are looked at again and again.

    Attributes:
        coarse: float32 (M, ...), as the gauge of variety looks at them.
        images: of the first N of them, at most `PROBE`: bytes (N, C, H, W) of pictures, else float32 (N, ...).
        labels: int64 (M,), None where there are no classes.
    """

    coarse: Tensor
    images: Tensor
    labels: Tensor | None

    @classmethod
    def of(cls, dataset: Data, which: str, count: int, device: str) -> _Bank:
        small: list[Tensor] = []
        packed: list[Tensor] = []
        labels: list[int] = []
        for item in dataset.chosen(which, count):
            small.append(coarse(item["image"][None]))
            if len(packed) < PROBE:
                packed.append(_packed(item["image"]))
            if dataset.classes:
                labels.append(int(item["label"]))
        label = torch.tensor(labels).to(device) if dataset.classes else None
        return cls(torch.cat(small).to(device), torch.stack(packed).to(device), label)

    def __len__(self) -> int:
        return len(self.images)

    def shown(self, rows: slice) -> Tensor:
        """Some of them as networks see them, float32."""
        images = self.images[rows]
        return images.float().div_(127.5).sub_(1) if images.dtype == torch.uint8 else images


def _packed(image: Tensor) -> Tensor:
    """A picture in [-1, 1] as the bytes that it came from; points stay as they are."""
    return image.add(1).mul_(127.5).round_().byte() if image.ndim == 3 else image


def _parts(n: int) -> Iterator[slice]:
    """Rows of a few at a time: a look must not need more memory than a step."""
    return (slice(start, min(start + AT_ONCE, n)) for start in range(0, n, AT_ONCE))


def _rand(random: torch.Generator, x: Tensor) -> Callable[..., Tensor]:
    return lambda *shape: torch.rand(len(x), *shape, generator=random).to(x.device)
