"""Ring and grid of Gaussians: how many modes a game finds, how sharp and how even they are.

    python benchmarks/modes.py [--data ring grid] [--presets points minimax dcgan …] [--seeds 10] [--nimg N]
                               [--jobs 2] [--threads 1] [--json FILE] [--sheet FILE.png]

Protocol (that of PacGAN: Lin et al. 2018, arXiv:1712.04086, section 4.1):
    ring    8 Gaussians evenly on a circle of radius 1, standard deviation .01
    grid    25 Gaussians at {-4, -2, 0, 2, 4}², standard deviation .05
    fitted  on 100,000 points drawn once for each seed; the averaged generator then makes 2,500 samples
    sample  of high quality: within 3 standard deviations of its nearest mean
    modes   found: with one high-quality sample at least (lenient), and with 20
    KL      reverse: Σ p ln(p / u) over the modes, p the histogram of the high-quality samples, u = 1 / modes

Every preset plays the plugin's own game on the same networks and batches, those of the preset `points`, with the
loss, penalty, rates and moves of its own; nothing is set for one data set alone. `minimax` is `points` in all but its
loss, that of Goodfellow et al. 2014, and has no penalty: what the default game's own are worth. Points are brought
into [-1, 1] as those of every user (`gantoolkit.labelled.Points`). The gauges of training watch: their alarms are
counted.
With --json, finished runs are kept in the file and not repeated.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import common
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from gantk_generate.data import Data
from gantk_generate.options import GenerateConfig
from gantk_generate.presets import PRESETS
from gantk_generate.task import Generate
from gantoolkit.engine import Diverged, Engine, Settings

TRAINING, SAMPLES, FEW = 100_000, 2_500, 20
# The default game for points, and the same with nothing changed but what it plays for.
POINTS: dict[str, dict[str, Any]] = {
    "points": dict(PRESETS["points"]),
    "minimax": {**PRESETS["points"], "loss": "minimax", "penalty": "none", "gamma": 0.0},
}
OTHERS = ("dcgan-minimax", "dcgan", "lsgan", "hinge-sn", "wgan-gp", "stylegan2")
# What a preset says of its game; the rest it says of networks for pictures, which points have no use for.
GAME = {
    "loss", "penalty", "penalty_every", "gamma", "gamma_end", "critic_moves", "lr", "critic_lr", "lr_end", "beta1",
    "beta2",
}  # fmt: skip


@dataclass(frozen=True)
class Mixture:
    """Gaussians of one standard deviation `sigma` and of equal weight; `means` (K, 2)."""

    means: Tensor
    sigma: float

    def draw(self, n: int, seed: int) -> Tensor:
        """(n, 2) points."""
        random = torch.Generator().manual_seed(seed)
        which = torch.randint(len(self.means), (n,), generator=random)
        return self.means[which] + self.sigma * torch.randn(n, 2, generator=random)


def ring(count: int = 8) -> Mixture:
    angles = torch.arange(count) * (2 * math.pi / count)
    return Mixture(torch.stack([angles.cos(), angles.sin()], 1), 0.01)


def grid() -> Mixture:
    side = torch.tensor([-4.0, -2.0, 0.0, 2.0, 4.0])
    return Mixture(torch.cartesian_prod(side, side), 0.05)


MIXTURES = {"ring": ring(), "grid": grid()}


def measure(samples: Tensor, mixture: Mixture) -> dict[str, float]:
    """Figures of (N, 2) samples in the mixture's coordinates: modes, modes of `FEW` hits, quality in 0..1, reverse KL.

    Without a single high-quality sample the KL is infinite.
    """
    distance, nearest = torch.cdist(samples.double(), mixture.means.double()).min(1)
    good = distance <= 3 * mixture.sigma
    hits = torch.bincount(nearest[good], minlength=len(mixture.means))
    p = hits[hits > 0].double() / max(1, int(hits.sum()))
    return {
        "modes": int((hits > 0).sum()),
        "modes_20": int((hits >= FEW).sum()),
        "quality": float(good.double().mean()),
        "kl": float((p * (p * len(hits)).log()).sum()) if len(p) else math.inf,
    }


class Rows:
    """Batches of rows of a tensor in memory, drawn with replacement. A `gantoolkit.stepbatch.Batches`."""

    def __init__(self, rows: Tensor, batch: int, seed: int) -> None:
        self.rows, self.batch = rows, batch
        self.random = torch.Generator().manual_seed(seed)

    def next(self) -> Mapping[str, Tensor]:
        return {"image": self.rows[torch.randint(len(self.rows), (self.batch,), generator=self.random)]}

    def state_dict(self) -> dict[str, Any]:
        return {"random": self.random.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.random.set_state(state["random"])


def configuration(preset: str, seed: int, nimg: int | None = None) -> GenerateConfig:
    """One of `POINTS`, or the first with the game of another preset; `nimg` images instead of its own number."""
    values = dict(POINTS.get(preset, POINTS["points"]))
    if preset not in POINTS:
        plain = {name: GenerateConfig.model_fields[name].default for name in GAME}
        values |= plain | {name: value for name, value in PRESETS[preset].items() if name in GAME}
    if nimg is not None:
        values["nimg"] = nimg
    return GenerateConfig.model_validate(values | {"seed": seed, "device": "cpu"})


def play(preset: str, data: str, seed: int, nimg: int | None = None) -> tuple[dict[str, Any], Tensor]:
    """Train once; the row of the figures, and the samples in the mixture's coordinates."""
    config, mixture, task = configuration(preset, seed, nimg), MIXTURES[data], Generate()
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "points.npy"
        np.save(file, mixture.draw(TRAINING, seed).numpy())
        points = Data(config, file)
    source = points.train
    rows = torch.from_numpy(((source.points - source.centre) / source.scale).astype(np.float32))
    game = task.game(config, points, "adversarial")
    engine = Engine(game, Rows(rows, config.batch, seed), Settings(seed=seed))
    alarms: dict[str, int] = {}
    start, diverged = time.process_time(), False
    try:
        while engine.nimg < config.nimg:
            step = engine.step()
            for gauge in game.gauges:
                for alarm in gauge.alarms():
                    alarms.setdefault(alarm.gauge, step.nimg)
    except Diverged:
        diverged = True
    seconds = time.process_time() - start
    generator = game.networks()["generator"].eval()
    generator.load_state_dict(engine.ema["generator"].state["generator"])
    with torch.no_grad():
        made = generator(torch.randn(SAMPLES, config.latent, generator=torch.Generator().manual_seed(seed)))
    samples = torch.from_numpy(source.restore(made.numpy())).float()
    row = {"preset": preset, "data": data, "seed": seed, "nimg": config.nimg, **measure(samples, mixture)}
    return row | {"seconds": seconds, "diverged": diverged, "alarms": alarms}, samples


def run(arguments: tuple[str, str, int, int | None, int]) -> tuple[dict[str, Any], list[list[float]]]:
    """`play` with so many CPU threads, in any process; samples as plain numbers."""
    *what, threads = arguments
    torch.set_num_threads(threads)
    row, samples = play(*what)
    return row, [[round(x, 4) for x in point] for point in samples.tolist()]


def wanted(arguments: argparse.Namespace, done: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """The runs that are still missing, seed by seed so that an early end leaves a fair table."""
    known = {(row["preset"], row["data"], row["seed"], row["nimg"]) for row in done}
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        for preset in arguments.presets:
            for data in arguments.data:
                nimg = configuration(preset, seed, arguments.nimg).nimg
                if (preset, data, seed, nimg) not in known:
                    yield preset, data, seed, arguments.nimg, arguments.threads


def summary(rows: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """One line for each data set, preset and number of images."""
    lines = []
    for data, preset, nimg in sorted({(row["data"], row["preset"], row["nimg"]) for row in rows}, reverse=True):
        some = [row for row in rows if (row["data"], row["preset"], row["nimg"]) == (data, preset, nimg)]

        def spread(name: str, lowest: bool, factor: float = 1, some: list[Any] = some) -> str:
            values = [row[name] * factor for row in some]
            return f"{min(values) if lowest else max(values):.4g} / {fmean(values):.4g}"

        collapse = sum("collapse" in row["alarms"] for row in some)
        lines.append([
            data, preset, len(some), nimg, spread("modes", True), spread("modes_20", True),
            spread("quality", True, 100), spread("kl", False), f"{collapse} of {len(some)}",
            fmean(row["seconds"] for row in some),
        ])  # fmt: skip
    return lines


COLUMNS = (
    "data", "preset", "seeds", "images", "modes: min / mean", f"of {FEW} hits: min / mean", "good %: min / mean",
    "reverse KL: max / mean", "collapse gauge fired", "CPU s",
)  # fmt: skip


def draw(file: Path, samples: Mapping[str, Sequence[Sequence[float]]], side: int = 320) -> None:
    """A sheet of scatter plots, `side` pixels each: data sets below each other, presets side by side.

    Samples are blue; orange circles around the means are 3 standard deviations wide, or as small as can be seen.
    """
    names = [key.split() for key in samples]
    presets, data = list(dict.fromkeys(p for p, _ in names)), list(dict.fromkeys(d for _, d in names))
    sheet = Image.new("RGB", (side * len(presets), side * len(data)), "white")
    for (x, preset), (y, name) in itertools.product(enumerate(presets), enumerate(data)):
        mixture, tile = MIXTURES[name], Image.new("RGB", (side, side), "white")
        pen, limit = ImageDraw.Draw(tile), 1.35 * float(mixture.means.abs().max())
        scale = side / (2 * limit)
        radius = max(3.0, 3 * mixture.sigma * scale)
        for a, b in mixture.means.tolist():
            pen.circle((side / 2 + a * scale, side / 2 - b * scale), radius, outline="#d04a02")
        for a, b in samples.get(f"{preset} {name}", []):
            pen.point((side / 2 + a * scale, side / 2 - b * scale), fill="#1f4e9c")
        pen.rectangle((0, 0, side - 1, side - 1), outline="#c0c0c0")
        pen.text((6, 4), f"{preset}, {name}", fill="black")
        sheet.paste(tile, (x * side, y * side))
    sheet.save(file)


def main(argv: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.set_defaults(threads=1)
    parser.add_argument("--data", nargs="+", choices=MIXTURES, default=list(MIXTURES))
    parser.add_argument("--presets", nargs="+", default=[*POINTS, *OTHERS], metavar="NAME")
    parser.add_argument("--seeds", type=int, default=10, help="runs of each (default 10)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--nimg", type=int, help="images of each run, instead of those of the preset `points`")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one process each (default 2)")
    parser.add_argument("--sheet", type=Path, help="draw the samples of the first seed here")
    arguments = parser.parse_args(argv)
    file, arguments.json = arguments.json, None  # rows and samples are kept here, not the printed table
    kept: dict[str, Any] = {"rows": [], "samples": {}}
    if file is not None and file.exists():
        kept = json.loads(file.read_text())
    todo = list(wanted(arguments, kept["rows"]))
    with ExitStack() as stack:
        done: Iterable[tuple[dict[str, Any], list[list[float]]]] = map(run, todo)
        if arguments.jobs > 1:
            pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(arguments.jobs))
            done = pool.imap_unordered(run, todo)
        for row, samples in done:
            kept["rows"].append(row)
            if row["seed"] == arguments.first:
                kept["samples"][f"{row['preset']} {row['data']}"] = samples
            print(json.dumps(row), flush=True)
            if file is not None:
                file.write_text(json.dumps(kept))
    common.report(str(__doc__).splitlines()[0], COLUMNS, summary(kept["rows"]), arguments)
    if arguments.sheet is not None:
        draw(arguments.sheet, kept["samples"])


if __name__ == "__main__":
    main()
