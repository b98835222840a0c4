"""Who runs the workers: processes of this machine, or Ray. Both give the outcomes of all rows, in any order."""

from __future__ import annotations

import importlib.util
import logging
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from gantk_augment.plan import Row
from gantk_augment.work import Job, Outcome, Worker, set_threads
from gantoolkit import devices, plugins
from gantoolkit.errors import GantkError, UsageError

AHEAD = 2  # chunks that wait for each worker, so that none waits for us
HEAVY = ("torch", "albumentations")  # imported once for all workers, if policies need them
DIED = "a worker died, most likely for want of memory"

Chunk = Sequence[Row]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def local(job: Job, chunks: Sequence[Chunk], workers: int) -> Generator[list[Outcome], None, None]:
    """Outcomes by this many processes; by this process itself if there is one worker, or one chunk.

    Raises:
        GantkError: a worker died.
        Exception: a bug in the work.
    """
    if min(workers, len(chunks)) <= 1:
        devices.hold_memory()
        work = Worker(job)
        before = set_threads()
        try:
            for chunk in chunks:
                yield work(chunk)
        finally:
            set_threads(*before)
        return
    workers = min(workers, len(chunks))
    pool = ProcessPoolExecutor(workers, processes(), _start, (job,))
    try:
        left = iter(chunks)
        waiting: set[Future[list[Outcome]]] = set()
        while True:
            waiting |= {pool.submit(_work, chunk) for chunk in islice(left, workers * AHEAD - len(waiting))}
            if not waiting:
                return
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BrokenProcessPool as error:
        raise GantkError(DIED, remedy="the same command goes on where this one stopped; try fewer --workers") from error
    finally:
        pool.shutdown(cancel_futures=True)


def processes() -> ForkServerContext:
    """A clean process that imports everything once and that the workers are forked from."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gantk_augment.source", *(name for name in HEAVY if name in sys.modules)])
    return context


_worker: Worker | None = None


def _start(job: Job) -> None:
    """Begin as a worker: Ctrl-C is the parent's business, and without a parent there is nothing to do."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _worker = _settled(job)


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


def _work(chunk: Chunk) -> list[Outcome]:
    assert _worker is not None
    return _worker(chunk)


def ray(job: Job, chunks: Sequence[Chunk], workers: int) -> Generator[list[Outcome], None, None]:
    """Outcomes by Ray Data: in the cluster that `RAY_ADDRESS` names, else by one that is started here and ends here.

    Data, models and the result have to be at the same paths on all of its machines.

    Raises:
        UsageError: Ray is not installed.
        GantkError: a worker died.
        Exception: a bug in the work.
    """
    if importlib.util.find_spec("ray") is None:
        raise UsageError("--engine ray needs Ray", remedy="install it with: pip install 'gantoolkit[ray]'")
    # no report home, no bars beside ours, and no log but what ends the work
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    os.environ.setdefault("RAY_worker_niceness", "0")  # else its workers stand back behind all other processes
    import ray as cluster
    from ray import data as distributed

    running = cluster.is_initialized()
    own: dict[str, Any] = {"num_cpus": workers + 1, "include_dashboard": False}
    if os.environ.get("RAY_ADDRESS"):
        own = {}
    if not running:
        cluster.init(log_to_driver=False, logging_level=logging.ERROR, **own)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        distributed.DataContext.get_current().enable_progress_bars = False
        items = [{"rows": pickle.dumps(chunk)} for chunk in chunks]
        made = distributed.from_items(items, override_num_blocks=len(items)).map_batches(
            _RayWorker,
            fn_constructor_args=(job, Path.cwd()),
            batch_size=1,
            compute=distributed.ActorPoolStrategy(size=min(workers, len(items))),
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


ENGINES = {"local": local, "ray": ray}
