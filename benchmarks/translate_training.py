"""A training step of translation: ours against the way peers write it, on the same networks.

    python benchmarks/translate_training.py --game pix2pix|cyclegan [--rounds 7] [--steps 200] [--threads 2] [--json F]

pix2pix: U-Net of 8 halvings and a 70 x 70 patch critic; CycleGAN: two ResNets of 9 blocks and two such critics; 64
channels, batch 1, 256 pixels, fp32. The peers' way, written here from its description (Isola et al. 2017, Zhu et al.
2017): torch's layers in the contiguous layout, one plain Adam for each side, the critic once for real and once for
made pictures, its parameters frozen while the generator learns, CycleGAN's six generator passes one by one. Ours: the
game as `gantk train` plays it, without an average of the weights, which peers do not keep either.

Each way has a process of its own; they take turns within each round. Then both play `--steps` steps from the same
weights, with the same batches and the same draws from the pool (dropout is off, whose draws depend on the layout).
A game is chaotic: what differs by rounding at first is apart after some dozens of steps. How far, the peers' way in
channels_last shows: the same arithmetic, summed in another order.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from common import parser, ratio, report
from torch import Tensor, nn
from torch.nn import functional as F

from gantk_translate import games
from gantk_translate.networks import convolutions, layers
from gantk_translate.options import TranslateConfig
from gantk_translate.sides import Side
from gantoolkit import devices
from gantoolkit.engine import Engine, Settings
from gantoolkit.game import Game

TORCHS: Mapping[type, type] = {
    convolutions.Conv2d: nn.Conv2d,
    convolutions.ConvTranspose2d: nn.ConvTranspose2d,
    layers.InstanceNorm: nn.InstanceNorm2d,
}
SETTLED = 2  # steps before the clock runs


class Memory:
    """The same few batches over and over, from memory: smooth noise, so that there is something to learn."""

    def __init__(self, size: int) -> None:
        rng = torch.Generator().manual_seed(0)
        draw = [torch.rand(2, 3, size // 8, size // 8, generator=rng) * 2 - 1 for _ in range(8)]
        large = [F.interpolate(pair, (size, size), mode="bicubic").clamp(-1, 1) for pair in draw]
        self.batches = [{"a": pair[:1].clone(), "b": pair[1:].clone()} for pair in large]
        self.position = 0

    def next(self) -> Mapping[str, Any]:
        self.position += 1
        return self.batches[(self.position - 1) % len(self.batches)]

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.position = state["position"]


def played(arguments: argparse.Namespace, dropout: float) -> tuple[Game, TranslateConfig]:
    """The game with its networks' weights from seed 0."""
    torch.manual_seed(0)
    config = TranslateConfig(
        game=arguments.game, channels=arguments.channels, critic_channels=arguments.channels, size=arguments.size,
        blocks=arguments.blocks or (8 if arguments.game == "pix2pix" else 9), dropout=dropout, ema_nimg=0, nimg=10**6,
    )  # fmt: skip
    return games.make(config, Side(), Side()), config


def ours(game: Game, config: TranslateConfig) -> Callable[[], dict[str, float]]:
    devices.hold_memory()  # as the command does
    engine = Engine(game, Memory(config.size), Settings())
    return lambda: engine.step().losses


class Peers:
    """What both games share when written by hand."""

    def __init__(self, game: Game, config: TranslateConfig) -> None:
        self.networks, self.config, self.batches = game.networks(), config, Memory(config.size)
        for network in self.networks.values():
            network.train()
            for module in network.modules():
                module.__class__ = TORCHS.get(type(module), type(module))
        self.optimizers = {
            player.name: torch.optim.Adam(player.parameters(), lr=config.lr, betas=player.betas)
            for player in game.players
        }

    def judge(self, name: str, x: Tensor, real: bool) -> Tensor:
        """The adversarial loss of a critic's logits: cross-entropy (pix2pix) or squares (CycleGAN)."""
        logits = self.networks[name](x)[0]
        goal = torch.ones_like(logits) if real else torch.zeros_like(logits)
        paired = self.config.game == "pix2pix"
        return F.binary_cross_entropy_with_logits(logits, goal) if paired else F.mse_loss(logits, goal)

    def step(self) -> dict[str, float]:
        """One step; the losses under the engine's names."""
        raise NotImplementedError

    def freeze(self, frozen: bool) -> None:
        for name, network in self.networks.items():
            if name.startswith("critic"):
                network.requires_grad_(not frozen)


class Pix2pix(Peers):
    def step(self) -> dict[str, float]:
        a, b = (batch := self.batches.next())["a"], batch["b"]
        made = self.networks["generator"](a)
        self.freeze(False)
        self.optimizers["critic"].zero_grad()
        of_made = self.judge("critic", torch.cat([a, made], 1).detach(), False)
        of_real = self.judge("critic", torch.cat([a, b], 1), True)
        ((of_made + of_real) * 0.5).backward()
        self.optimizers["critic"].step()
        self.freeze(True)
        self.optimizers["generator"].zero_grad()
        answered, pixel = self.judge("critic", torch.cat([a, made], 1), True), F.l1_loss(made, b)
        (answered + self.config.pixel_weight * pixel).backward()
        self.optimizers["generator"].step()
        return {
            "critic/adversarial": (of_made + of_real).item(),
            "generator/adversarial": answered.item(),
            "generator/pixel": pixel.item(),
        }


class CycleGAN(Peers):
    def __init__(self, game: Game, config: TranslateConfig) -> None:
        super().__init__(game, config)
        self.rng = torch.Generator().manual_seed(0)
        self.pools: dict[str, list[Tensor]] = {"critic": [], "critic_back": []}

    def step(self) -> dict[str, float]:
        a, b = (batch := self.batches.next())["a"], batch["b"]
        there, back, weight = self.networks["generator"], self.networks["back"], self.config.cycle_weight
        made_b = there(a)
        again_a = back(made_b)
        made_a = back(b)
        again_b = there(made_a)
        self.freeze(True)
        self.optimizers["generator"].zero_grad()
        same_b, same_a = F.l1_loss(there(b), b), F.l1_loss(back(a), a)
        answered_b, answered_a = self.judge("critic", made_b, True), self.judge("critic_back", made_a, True)
        cycle_a, cycle_b = F.l1_loss(again_a, a), F.l1_loss(again_b, b)
        identity = weight * self.config.identity_weight * (same_b + same_a)
        (answered_b + answered_a + weight * (cycle_a + cycle_b) + identity).backward()
        self.optimizers["generator"].step()
        self.freeze(False)
        self.optimizers["critic"].zero_grad()
        judged_b, judged_a = self.judged("critic", b, made_b), self.judged("critic_back", a, made_a)
        self.optimizers["critic"].step()
        # the squares' halves are in the losses themselves (Mao et al. 2017, eq. 9), as the toolkit reports them
        named = {
            "generator/adversarial": answered_b / 2, "generator/adversarial_back": answered_a / 2,
            "generator/cycle": cycle_a, "generator/cycle_back": cycle_b,
            "generator/identity": same_b, "generator/identity_back": same_a,
            "critic/adversarial": judged_b, "critic/adversarial_back": judged_a,
        }  # fmt: skip
        return {name: value.item() for name, value in named.items()}

    def judged(self, name: str, real: Tensor, made: Tensor) -> Tensor:
        loss = (self.judge(name, real, True) + self.judge(name, self.earlier(name, made.detach()), False)) * 0.5
        loss.backward()
        return loss

    def earlier(self, name: str, made: Tensor) -> Tensor:
        """The picture or, when the pool is full, with chance one half an earlier one; same draws as the engine's."""
        pool, (chance, place) = self.pools[name], torch.rand(1, 2, generator=self.rng)[0].tolist()
        if len(pool) < self.config.pool:
            pool.append(made.clone())
            return made
        if chance >= 0.5:
            return made
        index = int(place * self.config.pool)
        shown, pool[index] = pool[index], made.clone()
        return shown


def work(arguments: argparse.Namespace) -> None:
    """A process that plays as many steps as each line of stdin says; answers with seconds, losses and its peak."""
    torch.set_num_threads(arguments.threads)
    game, config = played(arguments, arguments.dropout)
    if arguments.worker == "ours":
        step = ours(game, config)
    else:
        if arguments.worker == "layout":
            for network in game.networks().values():
                network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        step = {"pix2pix": Pix2pix, "cyclegan": CycleGAN}[arguments.game](game, config).step
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        losses = [step() for _ in range(int(line))]
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        status = dict(text.split(":", 1) for text in Path("/proc/self/status").read_text().splitlines())
        peak = int(status["VmHWM"].split()[0]) / 1024
        print(json.dumps({"wall": wall, "cpu": cpu, "peak": peak, "losses": losses}), flush=True)


class Worker:
    """One way in a process of its own."""

    def __init__(self, name: str, arguments: argparse.Namespace, dropout: float) -> None:
        options = {key: getattr(arguments, key) for key in ("game", "size", "channels", "blocks", "threads")}
        words = [f"--{key}={value}" for key, value in options.items()]
        command = [sys.executable, __file__, f"--worker={name}", f"--dropout={dropout}", *words]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def play(self, steps: int) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        print(steps, file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def speed(arguments: argparse.Namespace) -> None:
    """The table of times and of memory."""
    workers = {name: Worker(name, arguments, 0.5 if arguments.game == "pix2pix" else 0.0) for name in ("peers", "ours")}
    for worker in workers.values():
        worker.play(SETTLED)
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in workers}
    for turn in range(arguments.rounds):
        for name in workers if turn % 2 == 0 else reversed(workers):
            rounds[name].append(workers[name].play(arguments.block))
    for worker in workers.values():
        worker.end()
    rows = []
    for name, turns in rounds.items():
        wall, cpu = ([turn[clock] / arguments.block for turn in turns] for clock in ("wall", "cpu"))
        peers_wall, peers_cpu = (
            [turn[clock] / arguments.block for turn in rounds["peers"]] for clock in ("wall", "cpu")
        )
        low, high = interval([slow / fast for slow, fast in zip(peers_wall, wall, strict=True)])
        speedups = [ratio(peers_wall, wall), f"{low:.2f}..{high:.2f}", ratio(peers_cpu, cpu)]
        rows.append([name, statistics.median(wall), *speedups, round(turns[-1]["peak"])])
    title = f"{arguments.game}, {arguments.channels} channels, {arguments.size} pixels, batch 1, fp32"
    columns = ["way", "s a step", "speed-up", "95 %", "speed-up, CPU time", "peak MB"]
    report(title, columns, rows, arguments)


def interval(values: list[float]) -> tuple[float, float]:
    """Where the median lies with 95 %: Efron's bootstrap."""
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(2000))
    return medians[49], medians[-50]


def curves(arguments: argparse.Namespace) -> None:
    """Print how far the losses are apart."""
    played = {}
    for name in ("peers", "ours", "layout"):
        worker = Worker(name, arguments, 0.0)
        played[name] = worker.play(arguments.steps)["losses"]
        worker.end()
    for name, way in (("ours", "ours against peers"), ("layout", "peers in channels_last against peers")):
        print(f"\n{arguments.steps} steps from the same start, {way}: relative difference of the losses")
        differences(played["peers"], played[name])


def differences(expected: list[dict[str, float]], got: list[dict[str, float]]) -> None:
    print(f"  {'loss':<30}{'first step':>12}{'to step 20':>12}{'largest':>12}{'mean, last 50':>15}")
    for name in expected[0]:
        apart = [(b[name] - a[name]) / max(abs(a[name]), 1e-6) for a, b in zip(expected, got, strict=True)]
        sizes = [abs(value) for value in apart]
        last = statistics.mean(apart[-50:])
        print(f"  {name:<30}{sizes[0]:>12.1e}{max(sizes[:20]):>12.1e}{max(sizes):>12.1e}{last:>+15.2%}")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--game", choices=["pix2pix", "cyclegan"], default="pix2pix")
    options.add_argument("--size", type=int, default=256)
    options.add_argument("--channels", type=int, default=64)
    options.add_argument("--blocks", type=int, default=0, help="0: 8 halvings, 9 residual blocks")
    options.add_argument("--rounds", type=int, default=7, help="0 leaves the times out")
    options.add_argument("--block", type=int, default=2, help="steps of a turn")
    options.add_argument("--steps", type=int, default=200, help="of the loss curves; 0 leaves them out")
    options.add_argument("--worker", choices=["ours", "peers", "layout"], help=argparse.SUPPRESS)
    options.add_argument("--dropout", type=float, default=0.0, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.worker:
        work(arguments)
        return
    torch.set_num_threads(arguments.threads)
    if arguments.rounds:
        speed(arguments)
    if arguments.steps:
        curves(arguments)


if __name__ == "__main__":
    main()
