"""What the benchmarks share: paired timing, the machine's description, a table and a JSON file."""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from gantoolkit import devices

Way = TypeVar("Way")  # what names one: a text, or a tuple


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options every benchmark takes."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, help="write the figures here, too")
    made.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    return made


def paired(
    ways: Mapping[Way, Callable[[], Any]],
    rounds: int,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Way, list[float]]:
    """Seconds of each way in each round. The ways take turns within a round, so that a drift of the machine's
    speed meets all of them; ratios within a round are what to quote. With `time.process_time` as the clock they are
    CPU seconds, which other work on the machine disturbs less."""
    for way in ways.values():
        for _ in range(warmup):
            way()
    seconds: dict[Way, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        names = list(ways)
        for name in names if turn % 2 == 0 else reversed(names):
            start = clock()
            ways[name]()
            seconds[name].append(clock() - start)
    return seconds


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Median over the rounds of slow / fast."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


class Memory:
    """The same few batches over and over, from memory: what the engine draws from where data must cost nothing."""

    def __init__(self, batches: Sequence[Mapping[str, Any]]) -> None:
        self.batches, self.position = batches, 0

    def next(self) -> Mapping[str, Any]:
        self.position += 1
        return self.batches[(self.position - 1) % len(self.batches)]

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.position = state["position"]


def gantk(*words: Any) -> float:
    """Run `gantk` in a process of its own, to the end; its CPU seconds.

    Raises:
        subprocess.CalledProcessError: it failed; what it said is on stderr.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "gantoolkit", *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def report(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], arguments: argparse.Namespace) -> None:
    """Print a Markdown table under its title and the machine; write the same as JSON if asked."""
    facts = devices.describe()
    machine = f"{facts['platform']}, torch {facts['torch']}, {torch.get_num_threads()} threads"
    print(f"\n{title}\n{machine}\n")
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(columns), *cells]) for i in range(len(columns))]
    for line in [list(columns), ["-" * width for width in widths], *cells]:
        print("| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |")
    if arguments.json:
        table = [dict(zip(columns, row, strict=True)) for row in rows]
        arguments.json.write_text(json.dumps({"title": title, "machine": facts, "rows": table}, indent=2))


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
