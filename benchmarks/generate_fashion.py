"""Fashion-MNIST at 32², with classes: presets trained on equal images shown, measured on the test set.

    python recipes/fashion_mnist.py DATA/
    python benchmarks/generate_fashion.py DATA/ [--presets default,dcgan-minimax,hinge-sn] [--nimg 200000] [--json FILE]

Each row is a training in a process of its own (an interrupted one is resumed) and its evaluation: `--number` pictures
against as many of the 10,000 test pictures, classes in the proportions of the data, weights averaged as a user gets
them; the accuracy is that of a classifier fitted on generated pictures alone, on all test pictures.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from common import gantk, parser, report


def main() -> None:
    arguments = settings().parse_args()
    train, test = (arguments.data / f"fashion-mnist-{part}.zip" for part in ("train", "test"))
    rows: list[dict[str, float | str]] = []
    for preset in arguments.presets.split(","):
        batch = f"-b{arguments.batch}" if arguments.batch else ""
        run = arguments.runs / f"fashion-{preset}{batch}-{arguments.nimg}-{arguments.seed}"
        spent = trained(run, train, preset, arguments)
        cards = measured(run, test, arguments, "--accuracy")
        rows.append({"preset": preset, **{n: c["value"] for n, c in cards.items()}, "CPU minutes": spent / 60})
        print(json.dumps(rows[-1]), flush=True)
    shown = f"{arguments.nimg:,} images shown, batch {arguments.batch or 'of the preset'}, seed {arguments.seed}"
    report(f"Fashion-MNIST 32², {shown}", list(rows[0]), [list(row.values()) for row in rows], arguments)


def settings() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("data", type=Path, help="what recipes/fashion_mnist.py wrote")
    made.add_argument("--presets", default="default,dcgan-minimax,hinge-sn")
    made.add_argument("--nimg", type=int, default=200_000)
    made.add_argument("--batch", type=int, help="of every preset; its own by default")
    made.add_argument("--number", type=int, default=10_000, help="pictures made, and real ones to compare with")
    made.add_argument("--features", default="efficientnet-lite0@64")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--runs", type=Path, default=Path("runs"), help="where the trainings are")
    return made


def trained(run: Path, data: Path, preset: str, arguments: argparse.Namespace, *more: str) -> float:
    """Train, or go on with it; CPU seconds of all its parts."""
    spent = run / "cpu-seconds.txt"
    fifth = arguments.nimg // 5
    seconds = gantk(
        *("train", "generate", data, "--preset", preset, "--run", run, "--nimg", arguments.nimg),
        *(("--batch", arguments.batch) if arguments.batch else ()),
        *("--seed", arguments.seed, "--threads", arguments.threads),
        *("--sample-nimg", fifth, "--score-nimg", fifth, "--quiet", *more),
    )
    seconds += float(spent.read_text()) if spent.exists() else 0.0
    spent.write_text(str(seconds))
    return seconds


def measured(run: Path, real: Path, arguments: argparse.Namespace, *more: str) -> dict[str, dict[str, Any]]:
    """The cards of a run's model by name; measured once."""
    kept = run / f"cards-{arguments.number}.json"
    if not kept.exists():
        gantk(
            *("eval", "generate", real, "-m", run, "-n", arguments.number, "--features", arguments.features),
            *("--seed", arguments.seed, "--save", kept, "--quiet", *more),
        )
    return {card["name"]: card for card in json.loads(kept.read_text())}


if __name__ == "__main__":
    main()
