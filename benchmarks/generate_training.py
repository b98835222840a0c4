"""Training throughput of the generate task: images a second of each preset, in fp32 and in bf16.

    python benchmarks/generate_training.py [--presets default,dcgan,…] [--side 32] [--rounds 5] [--json FILE]

Random colour pictures with ten classes, in memory; a step is a whole step of the engine with every phase and lazy
term in its turn, so a round plays `--steps` of them. Presets and precisions take turns within a round; images a second
are real ones shown to the critic, batches as the preset has them.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import torch
from common import paired, parser, report

from gantk_generate import game, networks
from gantk_generate.options import GenerateConfig
from gantk_generate.presets import PRESETS
from gantoolkit import losses
from gantoolkit.engine import Engine, Settings


class Pictures:
    """The same random batch again and again."""

    def __init__(self, batch: int, side: int) -> None:
        random = torch.Generator().manual_seed(0)
        image = torch.rand(batch, 3, side, side, generator=random) * 2 - 1
        self.batch = {"image": image, "label": torch.randint(10, (batch,), generator=random)}

    def next(self) -> Mapping[str, Any]:
        return self.batch

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


def engine(preset: str, side: int, precision: Any) -> Engine:
    config = GenerateConfig(**PRESETS[preset])
    built: dict[str, Any] = {"arch": config.arch, "latent": config.latent, "classes": 10, "size": [side, side]}
    built |= {"channels": 3, "width": config.channels, "critic_width": config.critic_channels}
    if config.arch == "dcgan":
        built |= {"batch_norm": config.batch_norm, "spectral_norm": config.spectral_norm}
    if config.arch == "residual":
        built["patch"] = config.patch
    torch.manual_seed(0)
    generator, critic = networks.build_generator(built), networks.build_critic(built)
    gamma = losses.gamma_rule(side * side, config.batch) if config.gamma is None else config.gamma
    played = game.make(config, generator, critic, latent=config.latent, gamma=gamma)
    return Engine(played, Pictures(config.batch, side), Settings(precision=precision))


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--presets", default="default,dcgan-minimax,hinge-sn,wgan-gp,stylegan2")
    made.add_argument("--side", type=int, default=32)
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--steps", type=int, default=16, help="of a round: a whole cycle of the lazy terms")
    arguments: argparse.Namespace = made.parse_args()
    torch.set_num_threads(arguments.threads)
    engines = {
        (preset, precision): engine(preset, arguments.side, precision)
        for preset in arguments.presets.split(",")
        for precision in ("fp32", "bf16")
    }

    def round_of(played: Engine) -> Callable[[], None]:
        def play() -> None:
            for _ in range(arguments.steps):
                played.step()

        return play

    ways = {f"{preset} {precision}": round_of(made) for (preset, precision), made in engines.items()}
    seconds = paired(ways, arguments.rounds, warmup=1)
    rows = []
    for (preset, precision), played in engines.items():
        images = played.nimg / played.steps * arguments.steps
        taken = statistics.median(seconds[f"{preset} {precision}"])
        sizes = [sum(p.numel() for p in net.parameters()) for net in played.game.networks().values()]
        rows.append([preset, precision, sizes[1], sizes[0], taken / arguments.steps * 1e3, images / taken])
    columns = ["preset", "precision", "G parameters", "D parameters", "ms a step", "images/s"]
    report(f"Training steps at {arguments.side}², {arguments.rounds} rounds", columns, rows, arguments)


if __name__ == "__main__":
    main()
