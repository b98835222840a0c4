"""Who runs the workers: processes of this machine, or Ray. Both give the outcomes of all rows, in any order.

What the process that asks does for a portion of rows costs it as much as what it does for fifty rows, so that portions
are as large as may be lost by a kill and waited for at Ctrl-C.
"""

from __future__ import annotations

import importlib.util
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import islice
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from gantk_augment.plan import Row
from gantk_augment.work import CHUNK, Job, Outcome, Worker, set_threads
from gantoolkit import devices, plugins
from gantoolkit.errors import GantkError, UsageError

AHEAD = 2  # portions that wait for each worker, so that none waits for us
SPELL = 0.5  # seconds that a portion should take
HEAVY = ("torch", "albumentations")  # imported once for all workers, if policies need them
NEEDS = {"classic": HEAVY[1:], "gan": HEAVY[:1], "both": HEAVY}  # of them, the policies
FROZEN = "gantk_augment.frozen"  # the last of all
DIED = "a worker died, most likely for want of memory"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Portions:
    """Rows to hand out, in order: so many at a time as take a worker `SPELL`, and fewer where they come to an end.

    Args:
        rows: all of them.
        fewest: that are best handed out together.
        workers: who get them.

    Attributes:
        size: rows of a portion, by what the latest ones took.
    """

    def __init__(self, rows: Sequence[Row], fewest: int, workers: int) -> None:
        self.rows, self.workers, self.given = rows, workers, 0
        self.size = self.least = min(max(CHUNK, fewest), -(-len(rows) // (2 * workers)))
        self.fewest = min(fewest, self.least)

    def __iter__(self) -> Iterator[Sequence[Row]]:
        while self.given < len(self.rows):
            last = max(self.least, -(-(len(self.rows) - self.given) // (2 * self.workers)))
            size = max(self.fewest, min(self.size, last))
            self.given += size
            yield self.rows[self.given - size : self.given]

    def took(self, rows: int, seconds: float) -> None:
        """So many rows took a worker so long: the next portions are made to fit, twice as large at most."""
        self.size = round(rows * min(2.0, SPELL / max(seconds, 1e-6)))


class Engine(ABC):
    """Runs workers: `outcomes` of rows, in any order.

    Args:
        job: what workers are told.
        workers: how many.
    """

    def __init__(self, job: Job, workers: int) -> None:
        self.job, self.workers = job, workers

    def start(self) -> None:  # noqa: B027 - not every engine has something to start
        """Start what takes time, while there is something else to do; `outcomes` does it if nobody did."""

    @abstractmethod
    def outcomes(self, rows: Sequence[Row], fewest: int) -> Generator[list[Outcome], None, None]:
        """A list of outcomes for each portion that is done.

        Args:
            rows: to make.
            fewest: that are best made together.

        Raises:
            GantkError: a worker died.
            Exception: a bug in the work.
        """

    def close(self) -> None:  # noqa: B027
        """End the workers; harmless when called twice."""


class Local(Engine):
    """Processes of this machine; this process itself if there is one worker."""

    def __init__(self, job: Job, workers: int) -> None:
        super().__init__(job, workers)
        self.pool: ProcessPoolExecutor | None = None

    def start(self) -> None:
        if self.workers == 1 or self.pool is not None:
            return
        # what does not fit into a pipe (64 KiB) keeps us waiting for each worker's imports
        told = zlib.compress(pickle.dumps(self.job), 1)
        self.pool = ProcessPoolExecutor(self.workers, processes(), _start, (told,))
        with suppress(BrokenProcessPool):  # the next one who asks is told
            for _ in range(self.workers):  # a worker is not started before there is something to do
                self.pool.submit(os.getpid)

    def outcomes(self, rows: Sequence[Row], fewest: int) -> Generator[list[Outcome], None, None]:
        self.start()
        portions = Portions(rows, fewest, self.workers)
        yield from self._alone(portions) if self.pool is None else self._together(portions, self.pool)

    def _alone(self, portions: Portions) -> Generator[list[Outcome], None, None]:
        devices.hold_memory()
        work = Worker(self.job)
        before = set_threads()
        try:
            for portion in portions:
                yield work(portion)
        finally:
            set_threads(*before)

    def _together(self, portions: Portions, pool: ProcessPoolExecutor) -> Generator[list[Outcome], None, None]:
        try:
            left = iter(portions)
            waiting: set[Future[tuple[list[Outcome], float]]] = set()
            while True:
                room = self.workers * AHEAD - len(waiting)
                waiting |= {pool.submit(_work, portion) for portion in islice(left, room)}
                if not waiting:
                    pool.shutdown(wait=False)  # they end while the result is finished
                    return
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    outcomes, seconds = future.result()
                    portions.took(len(outcomes), seconds)
                    yield outcomes
        except BrokenProcessPool as error:
            remedy = "the same command goes on where this one stopped; try fewer --workers"
            raise GantkError(DIED, remedy=remedy) from error
        except BaseException:  # whoever stops listening has them write no more
            self.close()
            raise

    def close(self) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)


def prepare(policy: str, workers: int) -> None:
    """Let the process that workers are forked from import what they need while this one does the same."""
    if workers > 1 and policy in NEEDS:
        processes(NEEDS[policy])
        forkserver.ensure_running()


def processes(needed: Sequence[str] = ()) -> ForkServerContext:
    """A clean process that imports everything once and that the workers are forked from."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for news of itself
    context = multiprocessing.get_context("forkserver")
    heavy = [name for name in HEAVY if name in sys.modules or name in needed]
    context.set_forkserver_preload(["gantk_augment.engines", "gantk_augment.source", *heavy, FROZEN])
    return context


_worker: Worker | None = None


def _start(told: bytes) -> None:
    """Begin as the worker of a packed `Job`: Ctrl-C is the parent's business; without one there is nothing to do."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _worker = _settled(pickle.loads(zlib.decompress(told)))


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _settled(job: Job) -> Worker:
    """A worker in a process that does nothing else."""
    devices.hold_memory()
    plugins.use(plugins.discover(**job.found_by))
    worker = Worker(job)
    set_threads()
    return worker


def _work(portion: Sequence[Row]) -> tuple[list[Outcome], float]:
    """The outcomes, and the seconds that they took."""
    assert _worker is not None
    started = time.perf_counter()
    return _worker(portion), time.perf_counter() - started


class Ray(Engine):
    """Ray Data: in the cluster that `RAY_ADDRESS` names, else in one that is started here and ends here.

    Data, models and the result have to be at the same paths on all of its machines.
    """

    def outcomes(self, rows: Sequence[Row], fewest: int) -> Generator[list[Outcome], None, None]:
        """As `Engine.outcomes`.

        Raises:
            UsageError: Ray is not installed.
        """
        if importlib.util.find_spec("ray") is None:
            raise UsageError("--engine ray needs Ray", remedy="install it with: pip install 'gantoolkit[ray]'")
        # no report home, no bars beside ours, and no log but what ends the work
        os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
        os.environ.setdefault("RAY_worker_niceness", "0")  # else its workers stand back behind all other processes
        import ray as cluster
        from ray import data as distributed

        running = cluster.is_initialized()
        own: dict[str, Any] = {"num_cpus": self.workers + 1, "include_dashboard": False}
        if os.environ.get("RAY_ADDRESS"):
            own = {}
        if not running:
            cluster.init(log_to_driver=False, logging_level=logging.ERROR, **own)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        try:
            distributed.DataContext.get_current().enable_progress_bars = False
            items = [{"rows": pickle.dumps(portion)} for portion in Portions(rows, fewest, self.workers)]
            made = distributed.from_items(items, override_num_blocks=len(items)).map_batches(
                _RayWorker,
                fn_constructor_args=(self.job, Path.cwd()),
                batch_size=1,
                compute=distributed.ActorPoolStrategy(size=min(self.workers, len(items))),
            )
            for row in made.iter_rows():
                yield pickle.loads(row["outcomes"])
        except cluster.exceptions.ActorDiedError as error:
            raise GantkError(DIED, remedy="the same command goes on where this one stopped") from error
        finally:
            if not running:
                cluster.shutdown()


class _RayWorker:
    """A worker as Ray Data wants it: columns in, columns out."""

    def __init__(self, job: Job, folder: Path) -> None:
        os.chdir(folder)  # relative paths are meant from where the command was given
        self.work = _settled(job)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        return {"outcomes": [pickle.dumps(self.work(pickle.loads(rows))) for rows in batch["rows"]]}


ENGINES: dict[str, type[Engine]] = {"local": Local, "ray": Ray}
