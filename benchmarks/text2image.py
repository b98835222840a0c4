"""Text to image: the time to a first picture, to the next one, and of a training step.

    python benchmarks/text2image.py cold [--model FOLDER] [--rounds 7] [--json FILE]
    python benchmarks/text2image.py picture
    python benchmarks/text2image.py training [--size 64]

Networks have new weights unless a model is named: times do not depend on them.

cold      `gantk run text2image` from its start to its exit, a process each, beside what Python and torch take alone;
          its files were read before, so that they come from memory
picture   a call of what `gantoolkit.load` gives, each time with another prompt and seed
training  whole steps at the default configuration, from memory: all of it, without one part at a time, and single
          networks forward and backward; peak memory (VmHWM) in processes of their own

Ways take turns; ratios are medians of those within a round. On a machine that does other work, `--cpu --threads 1`
takes CPU time for the times of pictures and of steps.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Memory, paired, parser, ratio, report
from text2image_captions import FIRST, captions, peak, write_data
from torch import Tensor, nn

import gantoolkit
from gantk_text2image import game
from gantk_text2image.data import Data
from gantk_text2image.options import Text2ImageConfig
from gantoolkit import devices
from gantoolkit.engine import Engine, Settings
from gantoolkit.game import Game

CAPTIONS = 500  # of the data set that models and steps are made for
SIZES, WIDTHS = (64, 128), (32, 48)
TURN = 8  # pictures of a round
WITHOUT: dict[str, dict[str, Any]] = {
    "penalties": {"gamma": 0.0},
    "mismatched captions": {"mismatch_weight": 0.0},
    "contrast": {"contrast_weight": 0.0},
    "layers of the text encoders": {"text_layers": 0},
}


def write_model(folder: Path, data: Path, **options: Any) -> Path:
    """A model of new weights."""
    config = Text2ImageConfig(**options)
    torch.manual_seed(0)
    dataset = Data(config, data)
    networks = game.make(config, dataset).networks()
    return game.model(config, dataset, {name: net.state_dict() for name, net in networks.items()}).save(folder)


def in_process(*words: Any) -> Any:
    """What this file answers in a process of its own, from JSON."""
    done = subprocess.run([sys.executable, __file__, *map(str, words)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def clock(arguments: argparse.Namespace) -> Callable[[], float]:
    return time.process_time if arguments.cpu else time.perf_counter


def of(arguments: argparse.Namespace) -> str:
    return "CPU time" if arguments.cpu else "time"


# ---- what is measured ----


def cold(arguments: argparse.Namespace, place: Path) -> None:
    model = arguments.model or write_model(place / "model", write_data(place / "data", CAPTIONS))
    words = ["run", "text2image", FIRST, "-m", str(model), "-o", str(place / "made"), "--force"]
    commands = {
        "python -c pass": ["-c", "pass"],
        'python -c "import torch"': ["-c", "import torch"],
        f'gantk run text2image "{FIRST}"': ["-m", "gantoolkit", *words],
    }
    environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}
    cpu: dict[str, list[float]] = {name: [] for name in commands}

    def way(name: str) -> Callable[[], None]:
        def run() -> None:
            before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
            command = [sys.executable, *commands[name]]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
            cpu[name].append(sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before)

        return run

    seconds = paired({name: way(name) for name in commands}, arguments.rounds, warmup=1)
    floor = seconds['python -c "import torch"']
    rows = [
        [name, statistics.median(taken), min(taken), statistics.median(cpu[name][1:]), ratio(taken, floor)]
        for name, taken in seconds.items()
    ]
    columns = ["command", "s, start to exit", "least", "CPU s", "of import torch"]
    report(f"Cold start, {arguments.rounds} rounds", columns, rows, arguments)


def picture(arguments: argparse.Namespace, place: Path) -> None:
    data = write_data(place / "data", CAPTIONS)
    prompts, seeds = itertools.cycle(captions(CAPTIONS)), itertools.count()
    ways, sizes = {}, {}
    for size, width in itertools.product(SIZES, WIDTHS):
        model = write_model(place / f"{size}-{width}", data, size=size, channels=width)
        painter = gantoolkit.load("text2image", model)
        sizes[size, width] = sum(p.numel() for p in painter.generator.parameters())
        for threads in sorted({1, arguments.threads}):

            def run(painter: Any = painter, threads: int = threads) -> None:
                torch.set_num_threads(threads)
                for _ in range(TURN):
                    painter(next(prompts), seed=next(seeds))

            ways[size, width, threads] = run
    seconds = paired(ways, arguments.rounds, 1, clock(arguments))
    torch.set_num_threads(arguments.threads)
    rows = []
    for (size, width, threads), taken in seconds.items():
        each = [1e3 * value / TURN for value in taken]
        speed_up = ratio(seconds[size, width, 1], taken)
        rows.append([f"{size}²", width, sizes[size, width], threads, statistics.median(each), min(each), speed_up])
    columns = ["size", "channels", "parameters", "threads", "ms a picture", "least", "speed-up"]
    report(f"A picture, fp32, {of(arguments)}, {arguments.rounds} rounds of {TURN}", columns, rows, arguments)


def training(arguments: argparse.Namespace, place: Path) -> None:
    data = write_data(place / "data", CAPTIONS)
    devices.hold_memory()  # as `gantk train` does
    config = Text2ImageConfig(size=arguments.size)
    ways = {("all of it", precision): steps(config, data, precision) for precision in ("fp32", "bf16")}
    for part, less in WITHOUT.items():
        ways[f"without {part}", "fp32"] = steps(config.model_copy(update=less), data, "fp32")
    ways |= {(f"{name} alone", "fp32"): run for name, run in networks_alone(config, data).items()}
    seconds = paired(ways, arguments.rounds, 0, clock(arguments))
    whole = seconds["all of it", "fp32"]
    rows = []
    for (name, precision), taken in seconds.items():
        step = statistics.median(taken) / config.penalty_every
        images = "–" if name.endswith("alone") else config.batch / step
        row = [name, precision, 1e3 * step, images, ratio(taken, whole), "–"]
        if name == "all of it":
            words = ["--size", arguments.size, "--precision", precision, "--threads", arguments.threads]
            row[-1] = in_process("training", "--worker", data, *words)["peak"]
        rows.append(row)
    columns = ["step", "precision", "ms", "images/s", "of all of it", "peak MB"]
    turns = f"{arguments.rounds} rounds of {config.penalty_every} steps"
    report(f"Training at {config.size}², batch {config.batch}, {of(arguments)}, {turns}", columns, rows, arguments)


def played(config: Text2ImageConfig, folder: Path) -> tuple[Game, Memory]:
    """The game on this data, and two batches of it again and again."""
    torch.manual_seed(0)
    dataset, rng, batches = Data(config, folder), np.random.default_rng(0), []
    for start in (0, config.batch):
        items = [dataset.item((start + i) % len(dataset), rng) for i in range(config.batch)]
        batches.append({key: torch.stack([item[key] for item in items]) for key in items[0]})
    return game.make(config, dataset), Memory(batches)


def steps(config: Text2ImageConfig, folder: Path, precision: Any) -> Callable[[], None]:
    """A whole cycle of steps, from penalty to penalty."""
    engine = Engine(*played(config, folder), Settings(precision=precision))
    engine.step()  # kernels choose their layouts

    def run() -> None:
        for _ in range(config.penalty_every):
            engine.step()

    return run


def networks_alone(config: Text2ImageConfig, folder: Path) -> dict[str, Callable[[], None]]:
    """Each network as often over a batch, forward and backward, as a cycle has steps."""
    made, batches = played(config, folder)
    networks, batch = made.networks(), batches.next()
    for network in networks.values():
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    reader, generator, critic = (networks[name] for name in ("text", "generator", "critic"))
    tokens, sentence = (value.detach() for value in reader(batch["text"], batch["mask"]))
    picture = batch["image"].contiguous(memory_format=torch.channels_last)
    z = torch.randn(config.batch, config.latent)

    def way(network: nn.Module, forward: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(config.penalty_every):
                torch.autograd.grad(forward().square().mean(), list(network.parameters()), allow_unused=True)

        return run

    return {
        "a text encoder": way(reader, lambda: reader(batch["text"], batch["mask"])[1]),
        "the generator": way(generator, lambda: generator(z, tokens, batch["mask"], sentence)),
        "the critic": way(critic, lambda: critic(picture, sentence)),
    }


def held(arguments: argparse.Namespace) -> float:
    """The most memory, in MB, that a process holds which does nothing but play."""
    devices.hold_memory()
    run = steps(Text2ImageConfig(size=arguments.size), Path(arguments.worker), arguments.precision)
    run()
    run()
    return peak()


MEASURES: dict[str, Callable[[argparse.Namespace, Path], None]] = {
    "cold": cold,
    "picture": picture,
    "training": training,
}


def main(words: Sequence[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("measure", choices=MEASURES)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--model", type=Path, help="a model folder for cold; default new weights, default widths")
    options.add_argument("--size", type=int, default=64, help="of pictures, for training")
    options.add_argument("--cpu", action="store_true", help="CPU time, for picture and training")
    options.add_argument("--worker", help=argparse.SUPPRESS)
    options.add_argument("--precision", default="fp32", help=argparse.SUPPRESS)
    arguments = options.parse_args(words)
    torch.set_num_threads(arguments.threads)
    if arguments.worker:
        print(json.dumps({"peak": held(arguments)}))
        return
    with tempfile.TemporaryDirectory() as place:
        MEASURES[arguments.measure](arguments, Path(place))


if __name__ == "__main__":
    main()
