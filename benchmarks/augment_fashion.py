"""Fashion-MNIST with few pictures a class: what classic, generated and both kinds of augmentation are worth.

    python recipes/fashion_mnist.py DATA/
    python benchmarks/augment_fashion.py DATA/ [--counts 5,10,25,50,100] [--seeds 5] [--runs RUNS/] [--json FILE]

For each number of pictures a class and each seed: training pictures are drawn anew from the 60,000, a generator is
fitted on them alone (`gantk train augment`'s own code), and one small classifier for each arm, all of them shown
equally many pictures; they are tested on real test pictures. Intervals are Student's t over the seeds, 95 %. The last
row's generator has collapsed: it makes ten pictures, whatever class it is asked for.

All is kept under --runs: an interrupted benchmark goes on. One thread, unless --workers says otherwise.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import parser, report

from gantk_augment import evaluate, recipes
from gantk_augment.arms import ARMS, Labelled, Pool, subsample
from gantk_augment.trial import POOL, SHARE, FittedInside, Generated, Trial, run
from gantk_augment.verdict import Interval, judge, share_interval
from gantoolkit.labelled import LabelledPictures

RECIPE = Path(__file__).with_suffix(".yaml")
COLUMNS = ("both - classic", "gan - real", "classic - real")


@dataclass(frozen=True)
class Collapsed:
    """One training picture of each class, shown for every class alike."""

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"generated": "by a collapsed generator: ten pictures, whatever the class", "share": SHARE}

    def pool(self, trial: Trial, real: Labelled, seed: int, folder: Path) -> Pool:
        modes = subsample(real, 1, seed)
        rows = np.random.default_rng(seed).integers(len(modes), size=POOL)
        labels = np.arange(POOL, dtype=np.int64) % len(trial.classes)
        return Pool(Labelled(modes.pictures[rows], labels), SHARE)


def main() -> None:
    arguments = settings()
    train, test = (read(arguments.data / f"fashion-mnist-{part}.zip") for part in ("train", "test"))
    tested = subsample(test[0], arguments.test // len(test[1]), 0) if arguments.test < len(test[0]) else test[0]
    gan = {"nimg": arguments.gan_nimg, "channels": arguments.channels, "classifier_nimg": arguments.classifier_nimg}
    counts = [int(n) for n in arguments.counts.split(",")]
    cells: list[tuple[str, int, Generated]] = [(str(n), n, FittedInside(gan)) for n in counts]
    cells += [(f"{arguments.collapsed}, collapsed", arguments.collapsed, Collapsed())] if arguments.collapsed else []
    rows = []
    for name, count, generated in cells:
        trial = Trial(
            train=train[0],
            test=tested,
            classes=train[1],
            seeds=tuple(range(arguments.seed, arguments.seed + arguments.seeds)),
            per_class=count,
            nimg=arguments.nimg,
            recipe=recipes.read(str(RECIPE)),
            generated=generated,
        )
        folder = arguments.runs / f"n-{name.replace(', ', '-')}"
        accuracies = run(trial, folder, workers=arguments.workers, on_row=Clock())
        rows.append(row(name, accuracies))
        evaluate.report(trial, accuracies, folder, recipe=RECIPE.name)
        print("\n".join([f"n = {name}", *evaluate.table(accuracies), judge(accuracies).text]), flush=True)
    title = (
        f"Fashion-MNIST 32², n a class, accuracy in % on {len(tested):,} test pictures, {arguments.seeds} seeds, "
        f"{arguments.nimg:,} pictures shown, width 16; generator: {gan}"
    )
    report(title, list(rows[0]), [list(each.values()) for each in rows], arguments)


def settings() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("data", type=Path, help="what recipes/fashion_mnist.py wrote")
    made.add_argument("--counts", default="5,10,25,50,100", help="training pictures of each class")
    made.add_argument("--seeds", type=int, default=5)
    made.add_argument("--seed", type=int, default=0, help="the first one")
    made.add_argument("--nimg", type=int, default=24_000, help="pictures shown to each classifier")
    made.add_argument("--test", type=int, default=5_000, help="test pictures, at most")
    made.add_argument("--gan-nimg", type=int, default=50_000, help="pictures shown to each generator's critic")
    made.add_argument("--channels", type=int, default=32, help="width of generator and critic")
    made.add_argument("--classifier-nimg", type=int, default=10_000, help="shown to each classifier of the generator")
    made.add_argument("--collapsed", type=int, default=25, help="n of the collapsed generator's row; 0 leaves it out")
    made.add_argument("--runs", type=Path, default=Path("runs/augment-fashion"))
    made.add_argument("--workers", type=int, default=1)
    return made.parse_args()


def read(archive: Path) -> tuple[Labelled, tuple[str, ...]]:
    found = LabelledPictures(archive)
    assert found.labels is not None
    return Labelled(np.stack(list(found.pictures())), found.labels), found.classes


class Clock:
    """Prints each finished fit with the CPU seconds of this process since the one before."""

    def __init__(self) -> None:
        self.last = time.process_time()

    def __call__(self, row: Mapping[str, Any]) -> None:
        now = time.process_time()
        print(json.dumps({**row, "CPU s": round(now - self.last, 1)}), flush=True)
        self.last = now


def row(name: str, accuracies: Mapping[str, list[float]]) -> dict[str, str]:
    """One line of the table."""
    verdict = judge(accuracies)
    cells = {"n a class": name} | {
        arm: _between(float(np.mean(accuracies[arm])), share_interval(accuracies[arm]), "") for arm in ARMS
    }
    for title, gain in zip(COLUMNS, verdict.gains, strict=True):
        cells[title] = _between(gain.mean, gain.interval, "+") + f": {gain.word}"
    return {**cells, "verdict": verdict.word}


def _between(mean: float, interval: Interval | None, sign: str) -> str:
    ends = " ".join(f"{100 * end:{sign}.1f}" for end in interval) if interval else "all equal"
    return f"{100 * mean:{sign}.1f} [{ends}]"


if __name__ == "__main__":
    main()
