"""Captions as they grow: the time and memory that a data set takes to be ready, and one caption that gets longer.

    python benchmarks/text2image_captions.py number [--counts 1000,10000,100000] [--json FILE]
    python benchmarks/text2image_captions.py length [--lengths 1000,10000,100000,1000000]

Captions are of 5 to 16 words, drawn by Zipf's law from 50,000 invented ones, five to a picture; the encoder is the
default one. All times are CPU time.

number    a data set opened as for training, in a process for each count: all of it, then its parts once more, one by
          one; memory is what the process held at most (VmHWM) beyond what it held after its imports
length    one caption: prepared, and subwords learnt from it alone; the least of three times
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import paired, parser, report
from PIL import Image

from gantk_text2image.captions import open_captions
from gantk_text2image.data import Data
from gantk_text2image.options import Text2ImageConfig
from gantk_text2image.pictures import background, load
from gantoolkit import texts

FIRST = "red apple"  # the first caption of all
EACH = 5  # captions of a picture
WORDS = 50_000  # that captions are drawn from
SIZE = 32  # pixels a side of a picture
ITEMS = 2_000  # that are drawn from a data set
SYLLABLES = ["".join(parts) for parts in itertools.product("bcdfghklmnprstvwz", "aeiou", ["", "n", "r", "s", "l"])]


# ---- what is measured on ----


def captions(count: int) -> list[str]:
    """So many, the same on every call."""
    random = np.random.default_rng(0)
    drawn = random.integers(0, len(SYLLABLES), (2 * WORDS, 4)).tolist()
    parts = zip(drawn, random.integers(1, 5, 2 * WORDS).tolist(), strict=True)
    invented = list(dict.fromkeys("".join(SYLLABLES[i] for i in row[:some]) for row, some in parts))[:WORDS]
    often = 1 / (np.arange(WORDS) + 2.7)  # Mandelbrot's form of the law
    lengths = random.integers(5, 17, count)
    said = np.array(invented)[random.choice(WORDS, lengths.sum(), p=often / often.sum())]
    return [FIRST, *(" ".join(words) for words in np.split(said, np.cumsum(lengths)[:-1]))][:count]


def write_data(folder: Path, count: int) -> Path:
    """A data set with so many captions; its pictures are noise."""
    folder.mkdir()
    random, said = np.random.default_rng(0), captions(count)
    contents = []
    for _ in range(64):
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(file, "png")
        contents.append(file.getvalue())
    rows = []
    for number, start in enumerate(range(0, count, EACH)):
        name = f"{number:06d}.png"
        (folder / name).write_bytes(contents[number % len(contents)])
        rows.append(json.dumps({"file": name, "captions": said[start : start + EACH]}))
    (folder / "captions.jsonl").write_text("\n".join(rows))
    return folder


def peak() -> float:
    """The most memory that this process held so far, in MB."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


# ---- what is measured ----


def number(arguments: argparse.Namespace, place: Path) -> None:
    rows = []
    for count in map(int, arguments.counts.split(",")):
        folder = write_data(place / str(count), count)
        words = [sys.executable, __file__, "number", "--worker", str(folder)]
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
        rows.append({"captions": count, **json.loads(done.stdout.splitlines()[-1])})
    title = f"A data set of {SIZE}² as its captions grow, encoder trained, CPU time"
    report(title, list(rows[0]), [list(row.values()) for row in rows], arguments)


def opened(folder: Path) -> dict[str, float]:
    """The figures of a data set; this process did nothing before."""
    config = Text2ImageConfig(size=SIZE)
    texts.encoder("trained", ["what is imported on its first use"]).prepare([FIRST])
    before, taken = peak(), {}

    def timed(name: str, way: Callable[[], Any]) -> Any:
        start = time.process_time()
        made = way()
        taken[name] = time.process_time() - start
        return made

    dataset = timed("s until ready", lambda: Data(config, folder))
    held = peak() - before
    found = timed("table", lambda: open_captions(folder))
    timed("pictures decoded", lambda: load(found, config.size, config.fit, background(config.background)))
    said = [text for row in dataset.train for text in dataset.captions[row]]
    encoder = timed("subwords learnt", lambda: texts.encoder("trained", said, vocabulary=config.vocabulary))
    everything = [text for row in dataset.captions for text in row]
    timed("captions prepared", lambda: encoder.prepare(everything))
    random = np.random.default_rng(0)
    drawn = random.integers(len(dataset), size=ITEMS)
    dataset.item(0, random)  # what is slow once
    timed("µs an item", lambda: deque((dataset.item(int(index), random) for index in drawn), maxlen=0))
    taken["µs an item"] *= 1e6 / ITEMS
    sizes = {"peak MB": held, "of it pictures": dataset.pictures.nbytes / 2**20}
    return {"pictures": len(dataset.names), **taken, **sizes}


def length(arguments: argparse.Namespace, place: Path) -> None:
    lengths = [int(text) for text in arguments.lengths.split(",")]
    said = " ".join(captions(max(lengths) // 20 + 1))
    kinds = {
        "words": said,
        "accents": said.replace("a", "é"),
        "no space": "ab",
        "Han, at random": "".join(map(chr, 0x4E00 + np.random.default_rng(0).integers(0, 3000, max(lengths)))),
    }
    encoder = texts.encoder("trained", captions(2_000))
    rows = []
    for kind, text in kinds.items():
        for characters in lengths:
            given = (text * (characters // len(text) + 1))[:characters]
            ways = {"prepared": partial(encoder.prepare, [given]), "learnt": partial(texts.encoder, "trained", [given])}
            least = [min(taken) for taken in paired(ways, 3, 0, time.process_time).values()]
            rows.append([kind, characters, *(1e3 * taken for taken in least), 1e6 * least[1] / characters])
    columns = ["caption", "characters", "ms to prepare", "ms to learn from", "µs a character to learn from"]
    report("One caption as it grows, CPU time", columns, rows, arguments)


MEASURES = {"number": number, "length": length}


def main(words: Sequence[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("measure", choices=MEASURES)
    options.add_argument("--counts", default="1000,10000,100000", help="of captions, 40 at least")
    options.add_argument("--lengths", default="1000,10000,100000,1000000", help="in characters")
    options.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    arguments = options.parse_args(words)
    torch.set_num_threads(arguments.threads)
    if arguments.worker:
        print(json.dumps(opened(arguments.worker)))
        return
    with tempfile.TemporaryDirectory() as place:
        MEASURES[arguments.measure](arguments, Path(place))


if __name__ == "__main__":
    main()
