"""What one step of the engine costs, against the same loop written by hand. DCGAN at 32², batch 64.

    python benchmarks/engine_step.py [--pairs 40] [--curve 500] [--threads 1] [--json FILE]

Three claims:
    overhead   the engine and the same loop by hand, same settings, fp32: at most 3 % slower
    peers      the engine as it is set by default (generator once, channels last, fused Adam, bf16) and the loop as
               it is usually written (generator twice, contiguous, plain Adam, fp32): at least twice as fast
    curves     the losses of the engine and of the equivalent loop, step by step: equal

Both sides of a pair run one after the other, first one and then the other first, so that a busy machine slows
both alike; what is compared is the ratio within a pair.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from common import Memory
from torch import Tensor, nn
from torch.nn.functional import softplus

from gantoolkit.engine import Engine, Settings
from gantoolkit.game import Context, Game, Phase, Player, Term

BATCH, NOISE, RATE, BETAS = 64, 100, 2e-4, (0.5, 0.999)
Nets = Mapping[str, nn.Module]


def memory(count: int = 8) -> Memory:
    """Batches of random pictures, N×3×32×32 in -1..1."""
    generator = torch.Generator().manual_seed(1)
    return Memory([{"image": torch.rand(BATCH, 3, 32, 32, generator=generator) * 2 - 1} for _ in range(count)])


def networks(seed: int = 0) -> dict[str, nn.Module]:
    """DCGAN (Radford et al. 2016) for 32²: weights from N(0, 0.02)."""
    torch.manual_seed(seed)

    def up(a: int, b: int, first: bool = False) -> list[nn.Module]:
        layer = nn.ConvTranspose2d(a, b, 4, 1 if first else 2, 0 if first else 1, bias=False)
        return [layer, nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]

    def down(a: int, b: int) -> list[nn.Module]:
        return [nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2)]

    generator = nn.Sequential(
        nn.Unflatten(1, (NOISE, 1, 1)),
        *up(NOISE, 256, first=True), *up(256, 128), *up(128, 64),
        nn.ConvTranspose2d(64, 3, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip
    critic = nn.Sequential(
        nn.Conv2d(3, 64, 4, 2, 1),
        nn.LeakyReLU(0.2),
        *down(64, 128),
        *down(128, 256),
        nn.Conv2d(256, 1, 4),
        nn.Flatten(),
    )
    for module in (*generator.modules(), *critic.modules()):
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0, 0.02)
    return {"generator": generator, "critic": critic}


def engine(nets: Nets, precision: str) -> Callable[[], tuple[float, float]]:
    """A step of the engine; returns the critic's and the generator's loss."""

    def fake(ctx: Context) -> Tensor:
        return ctx.share("fake", lambda: ctx.networks["generator"](ctx.randn(NOISE)), owner="generator")

    def critic(ctx: Context) -> Tensor:
        judge = ctx.networks["critic"]
        return (softplus(-judge(ctx["image"])) + softplus(judge(fake(ctx)))).mean()

    def generator(ctx: Context) -> Tensor:
        return softplus(-ctx.networks["critic"](fake(ctx))).mean()

    game = Game(
        [Player(name, {name: nets[name]}, lr=RATE, betas=BETAS) for name in ("critic", "generator")],
        [
            Phase("critic", "critic", [Term("adversarial", critic)]),
            Phase("generator", "generator", [Term("adversarial", generator)]),
        ],
    )
    engine = Engine(game, memory(), Settings(precision=precision))  # type: ignore[arg-type]

    def step() -> tuple[float, float]:
        losses = engine.step().losses
        return losses["critic/adversarial"], losses["generator/adversarial"]

    return step


def by_hand(nets: Nets) -> Callable[[], tuple[float, float]]:
    """The same computations as the engine's, as one would write them for this game alone."""
    critic, generator = (nets[name].train().to(memory_format=torch.channels_last) for name in ("critic", "generator"))
    d_adam, g_adam = (torch.optim.Adam(net.parameters(), RATE, BETAS, fused=True) for net in (critic, generator))
    batches, noise = memory(), torch.Generator().manual_seed(0)

    def step() -> tuple[float, float]:
        real = batches.next()["image"].to(memory_format=torch.channels_last)
        fake = generator(torch.randn(BATCH, NOISE, generator=noise))
        d_loss = (softplus(-critic(real)) + softplus(critic(fake.detach()))).mean()
        d_loss.backward()
        d_adam.step()
        d_adam.zero_grad()
        critic.requires_grad_(False)
        g_loss = softplus(-critic(fake)).mean()
        g_loss.backward()
        critic.requires_grad_(True)
        g_adam.step()
        g_adam.zero_grad()
        return d_loss.item(), g_loss.item()

    return step


def peers_way(nets: Nets) -> Callable[[], tuple[float, float]]:
    """The loop of most repositories: the generator runs twice, nothing is frozen, defaults everywhere."""
    critic, generator = nets["critic"].train(), nets["generator"].train()
    d_adam, g_adam = (torch.optim.Adam(net.parameters(), RATE, BETAS) for net in (critic, generator))
    batches = memory()
    bce, ones, zeros = nn.BCEWithLogitsLoss(), torch.ones(BATCH, 1), torch.zeros(BATCH, 1)

    def step() -> tuple[float, float]:
        real = batches.next()["image"]
        d_adam.zero_grad()
        d_loss = bce(critic(real), ones) + bce(critic(generator(torch.randn(BATCH, NOISE)).detach()), zeros)
        d_loss.backward()
        d_adam.step()
        g_adam.zero_grad()
        g_loss = bce(critic(generator(torch.randn(BATCH, NOISE))), ones)
        g_loss.backward()
        g_adam.step()
        return d_loss.item(), g_loss.item()

    return step


def compare(ours: Callable[[], Any], theirs: Callable[[], Any], pairs: int, burst: int = 3) -> dict[str, float]:
    """Seconds a step of both, in alternating bursts; the ratio's median and quartiles are over pairs.

    `cpu_ratio` is of the time that the process ran, which other processes on the machine disturb less.
    """

    def seconds(step: Callable[[], Any]) -> tuple[float, float]:
        start, cpu = time.perf_counter(), time.process_time()
        for _ in range(burst):
            step()
        return (time.perf_counter() - start) / burst, (time.process_time() - cpu) / burst

    for step in (ours, theirs):
        seconds(step)
    rows = []
    for pair in range(pairs):
        first, second = (ours, theirs) if pair % 2 else (theirs, ours)
        a, b = seconds(first), seconds(second)
        rows.append((a, b) if pair % 2 else (b, a))
    low, middle, high = statistics.quantiles([a[0] / b[0] for a, b in rows], n=4)
    return {
        "ours_ms": 1e3 * statistics.median(a[0] for a, _ in rows),
        "theirs_ms": 1e3 * statistics.median(b[0] for _, b in rows),
        "ratio": middle,
        "ratio_low": low,
        "ratio_high": high,
        "cpu_ratio": statistics.median(a[1] / b[1] for a, b in rows),
        "pairs": pairs,
    }


def curves(steps: int) -> dict[str, float]:
    """The largest difference between the losses of the engine and of the loop by hand, from the same start."""
    nets = networks()
    ours, theirs = engine(copy.deepcopy(nets), "fp32"), by_hand(copy.deepcopy(nets))
    differences = [max(abs(a - b) for a, b in zip(ours(), theirs(), strict=True)) for _ in range(steps)]
    return {"steps": steps, "largest_difference": max(differences), "equal_steps": differences.count(0.0)}


def main() -> None:
    parser = argparse.ArgumentParser(description="the engine's step against loops written by hand")
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--curve", type=int, default=500, help="steps whose losses are compared; 0 for none")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves it to torch")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)

    found: dict[str, Any] = {
        "machine": {
            "cpu": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        },
        "overhead": compare(engine(networks(), "fp32"), by_hand(networks()), options.pairs),
        "peers": compare(engine(networks(), "bf16"), peers_way(networks()), options.pairs),
        "peers_fp32": compare(engine(networks(), "fp32"), peers_way(networks()), options.pairs),
    }
    rows = [
        ("engine / by hand, fp32", found["overhead"], "≤ 1.03"),
        ("engine bf16 / peers' way fp32", found["peers"], "≤ 0.50"),
        ("engine fp32 / peers' way fp32", found["peers_fp32"], ""),
    ]
    print(f"{'':32}{'ours ms':>10}{'theirs ms':>11}{'ratio':>8}   {'quartiles':15}{'CPU ratio':12}goal")
    for name, row, goal in rows:
        quartiles = f"{row['ratio_low']:.3f}–{row['ratio_high']:.3f}"
        figures = f"{row['ours_ms']:10.1f}{row['theirs_ms']:11.1f}{row['ratio']:8.3f}"
        print(f"{name:32}{figures}   {quartiles:15}{row['cpu_ratio']:<12.3f}{goal}")
    if options.curve:
        found["curves"] = curves(options.curve)
        print("loss curves over {steps} steps: {equal_steps} equal, largest difference {largest_difference:g}".format(
            **found["curves"]))  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
