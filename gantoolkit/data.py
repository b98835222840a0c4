"""Real data: data sets whose items depend on nothing but their index and a seed, and an endless source of batches.

Every sample has a position in an endless stream: epoch after epoch, each in a shuffled order of its own. What
augmentation does to the sample at position p depends on (seed, p) alone, so that workers, processes, interruptions
and batch sizes leave no trace in the data.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from gantoolkit.decoders import READABLE, is_picture
from gantoolkit.errors import InputError
from gantoolkit.filejobs import is_visible


@runtime_checkable
class Dataset(Protocol):
    """What a task trains on.

    Where it has `notes`, a sequence of texts, a new run's log begins with them. Where it has a `fingerprint`, a text
    that is another one for other data, a run goes on with the same data only; see `fingerprint`.
    """

    def __len__(self) -> int: ...

    def item(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        """Sample `index` (0..len-1) as a mapping of tensors; all its randomness comes from `rng`."""
        ...


class Stream:
    """Positions → (index, generator): shuffled epochs, computed and not stored."""

    def __init__(self, length: int, seed: int) -> None:
        if length < 1:
            raise InputError("there is nothing to train on", expected="at least one sample", actual=length)
        self.length, self.seed = length, seed
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def index(self, position: int) -> int:
        """The data set's index at a position of the stream."""
        epoch, offset = divmod(position, self.length)
        if epoch != self._epoch:
            self._order = np.random.default_rng((self.seed, 0, epoch)).permutation(self.length)
            self._epoch = epoch
        return int(self._order[offset])

    def generator(self, position: int) -> np.random.Generator:
        """The random numbers that belong to a position."""
        return np.random.default_rng((self.seed, 1, position))


class Batches:
    """An endless source of batches, each process getting its own rows of the joined batch.

    Args:
        dataset: where samples come from.
        batch: samples of the joined batch (all processes together).
        seed: of the order and of the samples' random numbers.
        rank, world: this process among how many.
        workers: processes that prepare samples; 0 prepares them in this one.

    Raises:
        InputError: an empty data set, or a batch that does not divide among the processes.
    """

    def __init__(
        self, dataset: Dataset, batch: int, *, seed: int = 0, rank: int = 0, world: int = 1, workers: int = 0
    ) -> None:
        if batch % world:
            raise InputError(
                "the batch does not divide among the processes",
                expected=f"a multiple of {world}",
                actual=batch,
            )
        self.dataset, self.batch, self.workers = dataset, batch, workers
        self.stream = Stream(len(dataset), seed)
        self.local = batch // world
        self.offset = rank * self.local
        self.position = 0
        self._ahead: Iterator[Mapping[str, Any]] | None = None

    def next(self) -> Mapping[str, Any]:
        """The next batch: a mapping of stacked tensors with `batch // world` rows."""
        if self._ahead is None:
            first, local = self.position + self.offset, self.local
            rows = (range(p, p + local) for p in itertools.count(first, self.batch))
            self._ahead = _endless(self.dataset, self.stream, rows, self.workers)
        batch = next(self._ahead)
        self.position += self.batch
        return batch

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["position"] != self.position:
            self._ahead = None
        self.position = state["position"]


def _endless(dataset: Dataset, stream: Stream, rows: Iterator[range], workers: int) -> Iterator[Mapping[str, Any]]:
    """Batches of the samples at `rows`. Not a method: workers stop at once when nobody holds their iterator, and
    a `Batches` that held itself would have to wait for the garbage collector, and its workers for a time-out."""
    import torch
    from torch.utils.data import DataLoader, default_collate

    positions = _Positions(dataset, stream)
    if workers == 0:
        for row in rows:
            yield default_collate([positions[p] for p in row])
    else:
        # a generator of its own: a loader otherwise draws from torch's global one each time it is made
        yield from DataLoader(
            positions,  # type: ignore[arg-type]
            batch_sampler=rows,  # type: ignore[arg-type]
            num_workers=workers,
            generator=torch.Generator(),
        )


class _Positions:
    """The stream as a torch data set: worker processes ask it by position."""

    def __init__(self, dataset: Dataset, stream: Stream) -> None:
        self.dataset, self.stream = dataset, stream

    def __getitem__(self, position: int) -> Mapping[str, Any]:
        return self.dataset.item(self.stream.index(position), self.stream.generator(position))


def fingerprint(files: Iterable[Path], folder: Path) -> str:
    """A hash of files' places below `folder`, of their order and their contents; it reads all of them.

    Raises:
        InputError: one cannot be read.
    """
    digest = hashlib.sha256()
    for file in files:
        place = file.relative_to(folder) if file.is_relative_to(folder) else file
        try:
            with file.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").digest()
        except OSError as error:
            raise InputError(f"cannot read {file}: {error.strerror or error}") from error
        digest.update(repr((place.as_posix(), content)).encode(errors="replace"))
    return digest.hexdigest()


def pictures_in(folder: Path, recursive: bool = True) -> list[Path]:
    """Every picture file in a folder, in a stable order; hidden files and folders are left out.

    Raises:
        InputError: no such folder, or no pictures in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder", remedy="name the folder that holds the pictures")
    found = folder.rglob("*") if recursive else folder.glob("*")
    files = sorted(
        path for path in found if is_picture(path) and is_visible(path.relative_to(folder)) and path.is_file()
    )
    if not files:
        suffixes = " ".join(sorted(READABLE))
        raise InputError(f"no pictures in {folder}", expected=f"files ending in {suffixes}")
    return files


def split_by_name(files: Sequence[Path], held_out: float) -> tuple[list[Path], list[Path]]:
    """Files → (train, held out): a file's side depends on its own name only, so that more files move none."""
    import hashlib

    def share(path: Path) -> float:
        return int.from_bytes(hashlib.sha256(path.name.encode(errors="replace")).digest()[:4], "big") / 2**32

    return [f for f in files if share(f) >= held_out], [f for f in files if share(f) < held_out]
