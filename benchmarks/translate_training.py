"""A training step of translation: ours against the way peers write it, on the same networks.

    python benchmarks/translate_training.py --game pix2pix|cyclegan [--rounds 7] [--steps 200] [--double] [--json F]

pix2pix: U-Net of 8 halvings and a 70 x 70 patch critic; CycleGAN: two ResNets of 9 blocks and two such critics; 64
channels, batch 1, 256 pixels. The peers' way is that of `translate_peers.py`, in fp32. Ours: the game as `gantk train`
plays it, in fp32 and in bf16 (what `--precision auto` takes where bf16 is fast), without an average of the weights,
which peers do not keep either. As `gantk train` does, ours keeps the memory that it frees; `--hold-memory` lets the
peers do so, too.

Each way has a process of its own; they take turns within each round. Then both play `--steps` steps from the same
weights, with the same batches and the same draws from the pool (dropout is off, whose draws depend on the layout); the
rates fall in the second half. A game is chaotic: what differs by rounding at first is apart after some dozens of steps.
How far, the peers' way in channels_last shows: the same arithmetic, summed in another order. With `--double --lr 2e-5`
(and `--size 64 --channels 16`) rounding stays small enough to tell it from a mistake.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from common import parser, ratio, report
from translate_peers import apart, ours, peers

from gantk_translate.options import TranslateConfig
from gantoolkit import devices

OURS = {"ours": "fp32", "ours-bf16": "bf16"}  # precision
SETTLED = 2  # steps before the clock runs
LOOKED_AT = (1, 10, 50, 200)  # steps by which losses are compared


def work(arguments: argparse.Namespace) -> None:
    """A process that plays as many steps as each line of stdin says; answers with seconds, losses and its peak."""
    torch.set_num_threads(arguments.threads)
    if arguments.double:  # also where the toolkit asks for single precision
        torch.set_default_dtype(torch.float64)
        torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    if arguments.worker in OURS or arguments.hold_memory:
        devices.hold_memory()  # as the command does
    config = TranslateConfig(
        game=arguments.game, channels=arguments.channels, critic_channels=arguments.channels, size=arguments.size,
        blocks=arguments.blocks or (8 if arguments.game == "pix2pix" else 9), dropout=arguments.dropout, ema_nimg=0,
        nimg=arguments.nimg, lr=arguments.lr,
    )  # fmt: skip
    if arguments.worker in OURS:
        step = ours(config, OURS[arguments.worker])
    else:
        step = peers(config, torch.channels_last if arguments.worker == "layout" else torch.contiguous_format)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        losses = [step() for _ in range(int(line))]
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        status = dict(text.split(":", 1) for text in Path("/proc/self/status").read_text().splitlines())
        peak = int(status["VmHWM"].split()[0]) / 1024
        print(json.dumps({"wall": wall, "cpu": cpu, "peak": peak, "losses": losses}), flush=True)


class Worker:
    """One way in a process of its own."""

    def __init__(self, name: str, arguments: argparse.Namespace, **changed: Any) -> None:
        keys = ("game", "size", "channels", "blocks", "lr", "threads")
        options = {"worker": name, **{key: getattr(arguments, key) for key in keys}, **changed}
        words = [f"--{key}={value}" for key, value in options.items()]
        words += [f"--{key.replace('_', '-')}" for key in ("double", "hold_memory") if getattr(arguments, key)]
        command = [sys.executable, __file__, *words]
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
    dropout = 0.5 if arguments.game == "pix2pix" else 0.0
    workers = {name: Worker(name, arguments, dropout=dropout) for name in ("peers", *OURS)}
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
    columns = ["way", "s a step", "speed-up", "95 %", "speed-up, CPU time", "peak MB"]
    report(title(arguments), columns, rows, arguments)


def title(arguments: argparse.Namespace) -> str:
    return f"{arguments.game}, {arguments.channels} channels, {arguments.size} pixels, batch 1"


def interval(values: list[float]) -> tuple[float, float]:
    """Where the median lies with 95 %: Efron's bootstrap."""
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(2000))
    return medians[49], medians[-50]


def curves(arguments: argparse.Namespace) -> None:
    """The table of how far the losses are apart."""
    played = {}
    for name in ("peers", "ours", "layout"):
        worker = Worker(name, arguments, dropout=0.0, nimg=arguments.steps)
        played[name] = worker.play(arguments.steps)["losses"]
        worker.end()
    steps = sorted({min(step, arguments.steps) for step in LOOKED_AT})
    rows: list[list[Any]] = []
    for name, way in (("ours", "ours"), ("layout", "peers in channels_last")):
        sizes = apart(played["peers"], played[name])
        rows.append([way, *(max(sizes[:step]) for step in steps)])
    columns = ["against peers", *(f"to step {step}" for step in steps)]
    if arguments.rounds:
        arguments.json = None  # holds the times
    numbers = "fp64" if arguments.double else "fp32"
    report(f"{title(arguments)}, {numbers}: largest relative difference of any loss", columns, rows, arguments)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--game", choices=["pix2pix", "cyclegan"], default="pix2pix")
    options.add_argument("--size", type=int, default=256)
    options.add_argument("--channels", type=int, default=64)
    options.add_argument("--blocks", type=int, default=0, help="0: 8 halvings, 9 residual blocks")
    options.add_argument("--rounds", type=int, default=7, help="0 leaves the times out")
    options.add_argument("--block", type=int, default=2, help="steps of a turn")
    options.add_argument("--steps", type=int, default=200, help="of the loss curves; 0 leaves them out")
    options.add_argument("--lr", type=float, default=2e-4, help="learning rate; a lower one is less chaotic")
    options.add_argument("--double", action="store_true", help="play in fp64")
    options.add_argument("--hold-memory", action="store_true", help="peers keep the memory they free, too")
    options.add_argument("--worker", choices=[*OURS, "peers", "layout"], help=argparse.SUPPRESS)
    options.add_argument("--dropout", type=float, default=0.0, help=argparse.SUPPRESS)
    options.add_argument("--nimg", type=int, default=10**6, help=argparse.SUPPRESS)
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
