"""The gauges of a training: held-out pictures, the variety of fakes, and the run of the losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gantk_generate.data import Data
from gantk_generate.options import GenerateConfig
from gantoolkit import gauges as core
from gantoolkit.game import Gauge
from gantoolkit.view import View

PROBE = 256  # samples of a look
AT_ONCE = 16  # pictures that go through a network together
LEAST = 16  # fewer reals say nothing about variety


def gauges(config: GenerateConfig, dataset: Data, generator: nn.Module, critic: nn.Module, view: View) -> list[Gauge]:
    """The usual gauges, with probes of fresh fakes and of held-out samples where there are enough of them."""
    train = _on(config.device, dataset.bank("train", 2 * PROBE))  # half to compare with, half to find axes from
    held_out = _on(config.device, dataset.bank("held_out", PROBE)) if dataset.held_out is not None else None
    if len(train["image"]) < LEAST:
        return core.standard()

    def sample(n: int, random: torch.Generator, labels: Tensor | None = None) -> Tensor:
        z = torch.randn(n, config.latent, generator=random).to(config.device)
        label = labels.to(config.device) if labels is not None else None
        with core.quietly(generator):
            return _in_parts(lambda rows: generator(z[rows], None if label is None else label[rows]).float(), n)

    def judge(random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        assert held_out is not None
        count = min(PROBE, len(train["image"]), len(held_out["image"]))
        labels = train["label"][:count] if "label" in train else None
        shown = {
            "train": (train["image"][:count], labels),
            "fake": (sample(count, random, labels), labels),
            "held out": (held_out["image"][:count], held_out["label"][:count] if "label" in held_out else None),
        }

        def scored(x: Tensor, label: Tensor | None) -> Tensor:
            x = view(x, _rand(random, x))
            return _in_parts(lambda rows: critic(x[rows], None if label is None else label[rows]), len(x))

        with core.quietly(critic):
            found = [scored(x, label) for x, label in shown.values()]
        return found[0], found[1], found[2]

    known = held_out is not None and len(held_out["image"]) >= LEAST
    judged = judge if known else None
    labels = train.get("label")
    return core.standard(
        reals=train["image"],
        sample=sample,
        labels=labels,
        classes=dataset.classes,
        networks={"generator": generator},
        judge=judged,
    )


def _in_parts(made: Callable[[slice], Tensor], n: int) -> Tensor:
    """`made` of a few rows after another: a look must not need more memory than a step."""
    return torch.cat([made(slice(start, min(start + AT_ONCE, n))) for start in range(0, n, AT_ONCE)])


def _rand(random: torch.Generator, x: Tensor) -> Callable[..., Tensor]:
    return lambda *shape: torch.rand(len(x), *shape, generator=random).to(x.device)


def _on(device: str, bank: dict[str, Any]) -> dict[str, Any]:
    return {key: value.to(device) for key, value in bank.items()}
