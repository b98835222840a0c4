"""New pictures a second of `gantk run augment`, against a bare loop of albumentations and multiprocessing.

    python benchmarks/augment_throughput.py [--pictures 4000] [--rounds 5] [--recipe photo] [--json FILE]

Photographs of 256² go from JPEG to JPEG. The bare loop reads with cv2.imread, applies the same recipe and writes with
cv2.imwrite at the same quality: no plan, no manifest, no hashes, nothing that survives a kill. Ways take turns, all
with processes that have imported everything; the command's time is that of the whole call. CPU time is that of one
process. Last come pictures of 32² by the bundled generator, filters and files included. Workers import this file, so
what only the process that asks needs is imported in functions.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import paired, parser, ratio, report

from gantk_augment import engines, recipes
from gantk_augment.codec import QUALITY
from gantk_augment.options import RunOptions

SIDE = 256
CLASSES = ("Coat", "Trouser")

_compose: Any = None


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--pictures", type=int, default=4000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--recipe", default="photo")
    options.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options.add_argument("--only-cpu", action="store_true", help="CPU time of one process, and nothing else")
    arguments = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "data"
        write_photos(data, arguments.pictures)
        rows = cpu_rows(data, folder, arguments)
        if not arguments.only_cpu:
            rows += wall_rows(data, folder, arguments)
            rows += generated_rows(data, folder, arguments)
    title = f"recipe {arguments.recipe}, {arguments.pictures} JPEG pictures of {SIDE}², {arguments.rounds} rounds"
    columns = ["way", "workers", "pictures/s", "of the bare loop's", "of one worker's", "CPU ms a picture"]
    report(title, columns, rows, arguments)


def write_photos(folder: Path, count: int) -> None:
    """Crops of public-domain photographs, all different."""
    from heldout import photos

    rng, sources = np.random.default_rng(0), [p for p in photos().values() if min(p.shape[:2]) >= SIDE]
    folder.mkdir()
    for index in range(count):
        photo = sources[index % len(sources)]
        top, left = (int(rng.integers(0, size - SIDE + 1)) for size in photo.shape[:2])
        crop = photo[top : top + SIDE, left : left + SIDE, ::-1]
        cv2.imwrite(str(folder / f"{index:05d}.jpg"), crop, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def cpu_rows(data: Path, folder: Path, arguments: Any) -> list[list[Any]]:
    """CPU time of one process for each way, which a busy machine hardly changes."""
    spawn = multiprocessing.get_context("spawn")
    seconds: dict[str, list[float]] = {"bare loop": [], "gantk run augment": []}
    with (
        ProcessPoolExecutor(1, spawn, start_bare, (arguments.recipe,)) as first,
        ProcessPoolExecutor(1, spawn) as second,
    ):
        ways = {
            "bare loop": lambda: first.submit(cpu_of, bare_loop, data, folder),
            "gantk run augment": lambda: second.submit(cpu_of, ours, data, folder, arguments, 1),
        }
        for turn in range(arguments.rounds + 1):
            for name in list(ways) if turn % 2 else reversed(list(ways)):
                found = ways[name]().result()
                if turn:  # the first one imports
                    seconds[name].append(found)
    count = len(list(data.iterdir()))
    share = ratio(seconds["bare loop"], seconds["gantk run augment"])
    cost = {name: 1000 * statistics.median(found) / count for name, found in seconds.items()}
    return [
        ["bare loop, CPU time", 1, 1000 / cost["bare loop"], 1.0, 1.0, cost["bare loop"]],
        ["gantk run augment, CPU time", 1, 1000 / cost["gantk run augment"], share, 1.0, cost["gantk run augment"]],
    ]


def cpu_of(way: Callable[..., Any], *arguments: Any) -> float:
    """CPU seconds of this process for a call."""
    started = time.process_time()
    way(*arguments)
    return time.process_time() - started


def bare_loop(data: Path, folder: Path) -> None:
    """The bare loop in this process."""
    out = Path(tempfile.mkdtemp(dir=folder))
    for file in sorted(data.iterdir()):
        bare((file, out))


def wall_rows(data: Path, folder: Path, arguments: Any) -> list[list[Any]]:
    """Whole calls with each number of workers."""
    engines.prepare("both", 2)  # before the bare loop is the first that needs workers, and they import less
    ways: dict[str, Callable[[], Any]] = {}
    for workers in arguments.workers:
        ways[f"bare loop/{workers}"] = lambda workers=workers: in_processes(data, folder, arguments.recipe, workers)
        ways[f"gantk run augment/{workers}"] = lambda workers=workers: ours(data, folder, arguments, workers)
    seconds = paired(ways, arguments.rounds, warmup=1)
    rows = []
    for name, found in seconds.items():
        way, _, workers = name.partition("/")
        first = seconds[f"{way}/{arguments.workers[0]}"]
        rate = arguments.pictures / statistics.median(found)
        rows.append([way, int(workers), rate, ratio(seconds[f"bare loop/{workers}"], found), ratio(first, found), "-"])
    return rows


def generated_rows(data: Path, folder: Path, arguments: Any) -> list[list[Any]]:
    """Pictures of 32² by the bundled generator of clothes, from classes that it knows."""
    clothes = folder / "clothes"
    for label, file in zip(CLASSES, sorted(data.iterdir()), strict=False):
        small = cv2.resize(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE), (32, 32), interpolation=cv2.INTER_AREA)
        (clothes / label).mkdir(parents=True)
        cv2.imwrite(str(clothes / label / "0.png"), small)
    told = {"policy": "gan", "model": "fashion-32", "per_class": arguments.pictures}
    ways = {n: lambda n=n: ours(clothes, folder, arguments, n, **told) for n in arguments.workers}
    seconds = paired({str(n): way for n, way in ways.items()}, arguments.rounds, warmup=1)
    made = len(CLASSES) * (arguments.pictures - 1)
    first = seconds[str(arguments.workers[0])]
    return [
        ["generator, 32²", n, made / statistics.median(seconds[str(n)]), "-", ratio(first, seconds[str(n)]), "-"]
        for n in arguments.workers
    ]


def ours(data: Path, folder: Path, arguments: Any, workers: int, **told: Any) -> None:
    """The whole command, for new pictures alone."""
    from gantk_augment.use import run
    from gantoolkit.testing import RecordingConsole

    out = Path(tempfile.mkdtemp(dir=folder))  # removed in the end, and not on our time
    options = RunOptions(
        data=data, out=out, workers=workers, originals=False, **{"recipe": arguments.recipe, "multiply": None, **told}
    )
    assert run(options, RecordingConsole()) == 0


def in_processes(data: Path, folder: Path, recipe: str, workers: int) -> None:
    """The bare loop in as many processes, started like ours."""
    out = Path(tempfile.mkdtemp(dir=folder))
    work = [(file, out) for file in sorted(data.iterdir())]
    with engines.processes().Pool(workers, start_bare, (recipe,)) as pool:
        pool.map(bare, work, chunksize=16)


def start_bare(recipe: str) -> None:
    global _compose
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    _compose = recipes.build(recipes.read(recipe)["recipe"])
    if multiprocessing.parent_process() is not None:
        cv2.setNumThreads(0)


def bare(work: tuple[Path, Path]) -> None:
    file, out = work
    made = _compose(image=cv2.imread(str(file)))["image"]
    cv2.imwrite(str(out / file.name), made, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


if __name__ == "__main__":
    main()
