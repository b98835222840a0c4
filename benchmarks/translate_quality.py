"""Games of translation on equal images shown, measured on what the data holds out, beside two baselines.

    python benchmarks/translate_quality.py [--data line-art] [--games pix2pix,cut] [--nimg 20000] [--size 64] [--table]

The data is a recipe of the plugin (`python -m gantk_translate.recipes`), built under `--out` on first use: line art →
coloured drawing, split by symbol; satellite → relief map, split by region; or day → a night that is made, split by
photograph. Games that learn from pairs see them. The others see sides without partners: source pictures of one half of
the training part and target pictures of the other (every second drawing or photograph; of the maps every second strip
of 30° of longitude). All are measured on the same held-out pairs, as a user gets them: whole pictures, averaged
weights.

Each row is a training in a process of its own, which an interrupted call goes on with, and its evaluation, done once;
so rows can be computed one by one, and `--table` prints what there is. CPU minutes add up those of parts that ended.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common import gantk, parser, report
from PIL import Image

# How much network a row gets: about 20 images a second on one core at 64 pixels. What is not said is the game's own.
UNET = ("--channels", 32, "--blocks", 6, "--critic-channels", 32)
RESNET = ("--channels", 16, "--blocks", 6, "--critic-channels", 32)
NEAR = ("--critic-layers", 1)  # a critic of 16 pixels: as much of 64 as the papers' 70 are of 256
RESIDUAL = ("--channels", 32, "--blocks", 1, "--levels", 3, "--critic-channels", 16)
# name: (game, sees pairs, options)
ROWS: dict[str, tuple[str, bool, tuple[Any, ...]]] = {
    "pix2pix": ("pix2pix", True, UNET),
    "pix2pix-modern": ("pix2pix-modern", True, RESIDUAL),
    "pix2pix-modern-lines": ("pix2pix-modern", True, (*RESIDUAL, "--compose", "multiply")),
    "cyclegan": ("cyclegan", False, RESNET),
    "cut": ("cut", False, RESNET),
    "fastcut": ("fastcut", False, RESNET),
    "cut-16": ("cut", False, (*RESNET, *NEAR)),
    "cyclegan-16": ("cyclegan", False, (*RESNET, *NEAR)),
}
DATA: dict[str, tuple[Any, ...]] = {
    "line-art": ("--fit", "resize"),
    "maps": ("--fit", "crop", "--no-mirror"),  # the light of a relief comes from one side
    "day-night": ("--fit", "resize"),
}
BASELINES = ("identity", "affine")
STRIP = 450  # pixels of the maps' grid: 30°


def main() -> None:
    arguments = settings().parse_args()
    names = arguments.games.split(",") if arguments.games else [name for name in ROWS if suits(name, arguments.data)]
    unknown = [name for name in names if name not in ROWS or not suits(name, arguments.data)]
    if unknown:
        raise SystemExit(f"unknown row {unknown[0]!r}, expected some of: {', '.join(ROWS)}")
    if not arguments.table:
        pairs = prepared(arguments)
        for name in names:
            train(name, pairs, arguments)
            measure(name, pairs, arguments)
    rows = [row for name in names for row in measured(name, arguments)]
    if not rows:
        raise SystemExit(f"nothing is measured in {arguments.out}; run it without --table first")
    baselines = {row["way"]: row for row in rows if row["way"] in BASELINES}
    rows = [*baselines.values(), *(row for row in rows if row["way"] not in BASELINES)]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    shown = f"{arguments.nimg:,} images shown, seed {arguments.seed}"
    table = [[row.get(column, "–") for column in columns] for row in rows]
    report(f"{arguments.data} {arguments.size}², {shown}", columns, table, arguments)


def settings() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.set_defaults(threads=1)
    made.add_argument("--data", choices=DATA, default="line-art")
    made.add_argument("--package", type=Path, help="that the recipe takes: a wheel or a folder; default: installed")
    made.add_argument("--photos", type=Path, help="day-night: a folder of photographs taken by day")
    made.add_argument("--games", help="rows, with commas: " + ", ".join(ROWS) + " (default: all)")
    made.add_argument("--nimg", type=int, default=20_000, help="images shown to each game")
    made.add_argument("--size", type=int, default=64, help="of a picture, in pixels")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--out", type=Path, default=Path("runs/translate-quality"), help="data, runs and figures")
    made.add_argument("--table", action="store_true", help="only print what has been measured")
    return made


def suits(name: str, data: str) -> bool:
    """Whether a row makes sense on a data set: only drawings keep their lines."""
    return data == "line-art" or "--compose" not in ROWS[name][2]


# ---- data ----


def prepared(arguments: argparse.Namespace) -> Path:
    """The folder of pairs; built with its unpaired view on first use."""
    pairs = arguments.out / f"{arguments.data}-{arguments.size}"
    if not pairs.exists():
        words = [arguments.data, str(pairs), "--size", str(arguments.size)]
        for name in ("package", "photos"):
            words += [f"--{name}", str(getattr(arguments, name))] if getattr(arguments, name) else []
        subprocess.run([sys.executable, "-m", "gantk_translate.recipes", *words], check=True)
    if not unpaired(pairs).exists():
        unlink(pairs, unpaired(pairs), arguments.data)
    return pairs


def unpaired(pairs: Path) -> Path:
    return pairs.with_name(f"{pairs.name}-unpaired")


def unlink(pairs: Path, target: Path, data: str) -> None:
    """A training part whose sides show different drawings or places, under other names; the test part as it is."""
    growing = target.with_name(f".{target.name}.part")
    shutil.rmtree(growing, ignore_errors=True)
    shutil.copytree(pairs / "test", growing / "test")
    for side, other in (("A", "source"), ("B", "target")):
        files = sorted((pairs / "train" / side).iterdir())
        (growing / "train" / side).mkdir(parents=True)
        for file in halves(files, data)["AB".index(side)]:
            with Image.open(file) as image:  # in colour on both sides: CUT looks at both with one network
                image.convert("RGB").save(growing / "train" / side / f"{other}-{file.name}")
    growing.replace(target)


def halves(files: Sequence[Path], data: str) -> tuple[list[Path], list[Path]]:
    """Files of two disjoint halves: every second one or photograph, or strip of longitude without tiles astride."""
    if data == "line-art":
        return list(files[::2]), list(files[1::2])
    if data == "day-night":
        even, odd = ([file for file in files if int(file.name[:4]) % 2 == half] for half in (0, 1))
        return even, odd
    found: tuple[list[Path], list[Path]] = ([], [])
    for file in files:
        left = int(file.name[1:5])
        with Image.open(file) as image:
            right = left + image.width - 1
        if left // STRIP == right // STRIP:
            found[left // STRIP % 2].append(file)
    return found


# ---- rows ----


def run_of(name: str, arguments: argparse.Namespace) -> Path:
    return arguments.out / f"{arguments.data}-{arguments.size}-{name}-{arguments.nimg}-{arguments.seed}"


def train(name: str, pairs: Path, arguments: argparse.Namespace) -> None:
    """Train, or go on with it; CPU seconds are kept in the run's folder."""
    run = run_of(name, arguments)
    done = run / "cpu-seconds.txt"
    game, sees_pairs, options = ROWS[name]
    part = max(1, arguments.nimg // 4)
    seconds = gantk(
        *("train", "translate", pairs if sees_pairs else unpaired(pairs), "--run", run, "--game", game),
        *("--nimg", arguments.nimg, "--size", arguments.size, "--seed", arguments.seed),
        *("--threads", arguments.threads, "--device", "cpu", "--sample-nimg", part, "--score-nimg", part, "--quiet"),
        *(*options, *DATA[arguments.data]),
    )
    done.write_text(str(seconds + (float(done.read_text()) if done.exists() else 0.0)))


def measure(name: str, pairs: Path, arguments: argparse.Namespace) -> None:
    """Evaluate on the held-out pairs, once."""
    run = run_of(name, arguments)
    if not (run / "cards.json").exists():
        sheet = ("--sheet", run / "sheet.png")
        gantk("eval", "translate", pairs, "-m", run, "--device", "cpu", "--save", run / "cards.json", *sheet, "--quiet")


def measured(name: str, arguments: argparse.Namespace) -> list[dict[str, float | str]]:
    """The row of a game and those of the baselines beside it; [] where it is not measured yet."""
    run = run_of(name, arguments)
    if not (run / "cards.json").exists():
        return []
    ways: dict[str, dict[str, float | str]] = {}
    for card in json.loads((run / "cards.json").read_text()):
        baseline = card["of"] in BASELINES
        way = card["of"] if baseline else name
        row = ways.setdefault(way, {"way": way, "learnt from": learnt_from(way)})
        row[card["name"]] = card["value"]
        if card.get("interval"):
            row[f"{card['name']} 95 %"] = "{:.4g}..{:.4g}".format(*card["interval"])
    ways[name]["CPU minutes"] = float((run / "cpu-seconds.txt").read_text()) / 60
    return list(ways.values())


def learnt_from(way: str) -> str:
    """What a way has seen of the training part."""
    if way == "identity":
        return "nothing"
    return "pairs" if way == "affine" or ROWS[way][1] else "two sides"


if __name__ == "__main__":
    main()
