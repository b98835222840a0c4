"""A trial: every arm at every repetition, each fit once; what was done is kept, so that an interrupted trial goes on.

FOLDER/fits.jsonl      what is measured, then one line a fit
FOLDER/generated/      the generated pictures of each repetition
FOLDER/gan/            the generators that were fitted for it, each in a run folder
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gantk_augment.arms import ARMS, WIDTH, Labelled, Pool, classic, fit_arm, subsample
from gantk_augment.fit import Fitted, fingerprint
from gantk_augment.mixing import RULE, SHARES
from gantk_augment.options import AugmentConfig
from gantoolkit.errors import InputError, UsageError
from gantoolkit.runlog import write_atomically
from gantoolkit.scan import conform
from gantoolkit.task import FREE

WITHOUT = {"gan": "real", "both": "classic"}  # the same arm without generated pictures
FITS = "fits.jsonl"
POOL = 2_000  # pictures that a model makes for a repetition
LOOK = 120  # of a model whose own validation found no use for them: enough to look at
SHARE = 0.5  # of given synthetic pictures among those shown, at most
GENERATE = "generated"  # the work that comes before the arms gan and both
Row = dict[str, Any]


class Generated(Protocol):
    """Where the generated pictures of a repetition come from. Picklable; `facts` say so in JSON's own types."""

    @property
    def facts(self) -> Mapping[str, Any]: ...

    def pool(self, trial: Trial, real: Labelled, seed: int, folder: Path) -> Pool:
        """The generated pictures that go with the training pictures `real`; `folder` keeps what took long."""
        ...


@dataclass(frozen=True)
class Given:
    """Synthetic pictures that somebody made: the same for every repetition.

    They are shown as often as they are there beside the real ones, as in a training on both sets together, and not
    more often than those: a few of one class would be most of what is seen.
    """

    made: Labelled
    name: str
    share: float = SHARE

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"generated": self.name, "share at most": self.share, "pictures": _stamp(self.made)}

    def pool(self, trial: Trial, real: Labelled, seed: int, folder: Path) -> Pool:
        return Pool(self.made, min(self.share, len(self.made) / max(1, len(self.made) + len(real))))


@dataclass(frozen=True)
class ByModel:
    """Pictures by one fitted model; other ones for every repetition.

    Attributes:
        model: its name or place.
        sha256: what is there: another model under the same name makes another trial.
    """

    model: str
    sha256: str

    @property
    def facts(self) -> Mapping[str, Any]:
        return {"generated": f"by {self.model}", "model": self.sha256}

    def pool(self, trial: Trial, real: Labelled, seed: int, folder: Path) -> Pool:
        from gantoolkit.model import find

        return drawn(Fitted(find("augment", self.model)), trial, real, seed)


@dataclass(frozen=True)
class FittedInside:
    """Pictures by a generator fitted on the repetition's training pictures alone, by `gantk train augment`'s own code.

    Attributes:
        config: settings of that training other than its defaults.
    """

    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def facts(self) -> Mapping[str, Any]:
        known = AugmentConfig.model_validate(self.config).model_dump(mode="json", exclude=set(FREE) | {"seed"})
        fitted = "by a generator fitted on the training pictures of each repetition"
        return {"generated": fitted, **known, "shares": list(SHARES), "rule": RULE}

    def pool(self, trial: Trial, real: Labelled, seed: int, folder: Path) -> Pool:
        from gantoolkit.archives import write_archive
        from gantoolkit.model import Model
        from gantoolkit.plugins import current
        from gantoolkit.train import Training, resolve

        place = folder / "gan" / f"seed-{seed}"
        write_archive(place / "training.zip", real.pictures, real.labels.tolist(), trial.classes)
        task = current().task("augment")
        assert task.Config is not None
        config = resolve(task.Config.model_validate({"threads": 1, **self.config, "seed": seed}))
        outcome = Training(task, config, place / "training.zip", place / "run").play()
        assert outcome.model is not None
        return drawn(Fitted(Model.load(outcome.model)), trial, real, seed)


def drawn(fitted: Fitted, trial: Trial, real: Labelled, seed: int) -> Pool:
    """`POOL` pictures by a fitted model, the classes as often as among the training pictures, at the model's share.

    Where the model's filters let too few of a class through, those few stand for the others, so that the classes keep
    their proportions; a class of which none passes is left out. Of a model with a share of 0, whose pictures no
    classifier will be shown, only `LOOK` are made.

    Raises:
        InputError: the model does not know a class of the data.
    """
    if missing := [name for name in trial.classes if name not in fitted.classes]:
        raise InputError(
            f"the model {fitted.name!r} was fitted on other classes",
            expected=", ".join(trial.classes),
            actual=f"none called {missing[0]!r}",
            remedy="fit one on these data with `gantk train augment`",
        )
    count = POOL if fitted.share else LOOK
    labels = np.resize(real.labels, count)
    seeds = np.random.default_rng((seed, 1)).integers(2**63, size=count)
    height, width, channels = real.pictures.shape[1:]
    made: list[np.ndarray] = []
    rows: list[int] = []
    for start in range(0, count, 250):
        names = [trial.classes[label] for label in labels[start : start + 250]]
        pictures, parameters = fitted.pictures(names, seeds[start : start + 250].tolist())
        good = [row for row, how in enumerate(parameters) if how is not None]
        made += [conform(pictures[row], (height, width), channels) for row in good]
        rows += [start + row for row in good]
    if not made:
        return Pool(real.take(np.arange(0)), 0.0)
    passed = Labelled(np.stack(made), labels[rows])
    of_class = [np.flatnonzero(passed.labels == label) for label in range(len(trial.classes))]
    kept = [np.resize(own, (labels == label).sum()) for label, own in enumerate(of_class) if len(own)]
    return Pool(passed.take(np.concatenate(kept)), fitted.share)


@dataclass(frozen=True)
class Trial:
    """All that the accuracies depend on.

    Attributes:
        train, test: real pictures; no picture is in both.
        classes: their names.
        seeds: one for each repetition: of the training pictures drawn, the generator and the classifiers.
        per_class: training pictures of each class in a repetition; None takes all.
        nimg: pictures shown to each classifier.
        recipe: settings of the classic policy.
        generated: where generated pictures come from.
        width: of the classifiers.
    """

    train: Labelled
    test: Labelled
    classes: tuple[str, ...]
    seeds: tuple[int, ...]
    per_class: int | None
    nimg: int
    recipe: Mapping[str, Any]
    generated: Generated
    width: int = WIDTH

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What a fit depends on, but for its arm and seed: a trial of other facts is another trial."""
        return {
            "training pictures": _stamp(self.train),
            "test pictures": _stamp(self.test),
            "classes": list(self.classes),
            "per class": self.per_class,
            "nimg": self.nimg,
            "width": self.width,
            "recipe": self.recipe,
            "generator": dict(self.generated.facts),
        }

    def real(self, seed: int) -> Labelled:
        """The training pictures of a repetition."""
        return subsample(self.train, self.per_class, seed)

    def pool(self, seed: int, folder: Path) -> Pool:
        """The generated pictures of a repetition, made once and kept in the folder."""
        path = folder / GENERATE / f"seed-{seed}.npz"
        if not path.exists():
            pool = self.generated.pool(self, self.real(seed), seed, folder)
            kept = io.BytesIO()
            np.savez_compressed(kept, pictures=pool.made.pictures, labels=pool.made.labels, share=pool.share)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, kept.getvalue())
        with np.load(path) as kept_:
            return Pool(Labelled(kept_["pictures"], kept_["labels"]), float(kept_["share"]))

    def fit(self, arm: str, seed: int, folder: Path) -> Row:
        """One piece of work: an arm's accuracy on the test pictures, or with `GENERATE` the pool of a repetition.

        It runs on one thread, so that figures do not depend on how many fits are made at a time.
        """
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            if arm == GENERATE:
                pool = self.pool(seed, folder)
                return {"arm": arm, "seed": seed, "n": len(pool.made), "share": pool.share}
            transform = classic(self.recipe) if arm in ("classic", "both") else None
            pooled = self.pool(seed, folder) if arm in ("gan", "both") else None
            if pooled is not None and not pooled.share and (same := _kept(folder).get((WITHOUT[arm], seed))):
                return {**same, "arm": arm}  # no generated picture is shown: it would be the same fit, bit for bit
            made = fit_arm(
                arm, self.real(seed), len(self.classes), nimg=self.nimg, seed=seed, transform=transform, pool=pooled,
                width=self.width,
            )  # fmt: skip
            right = int((made.labels(self.test.pictures) == self.test.labels).sum())
            return {"arm": arm, "seed": seed, "right": right, "n": len(self.test), "accuracy": right / len(self.test)}
        finally:
            torch.set_num_threads(threads)


def run(
    trial: Trial,
    folder: Path,
    *,
    workers: int = 1,
    force: bool = False,
    on_start: Callable[[int], None] = lambda left: None,
    on_row: Callable[[Row], None] = lambda row: None,
) -> dict[str, list[float]]:
    """Make the fits that the folder does not have yet; the accuracies of each arm in the order of the seeds.

    Args:
        workers: processes; with 1 everything is done in this one.
        force: begin anew where the folder holds another trial.
        on_start: called once with the number of rows to come; on_row with each when it is kept.

    Raises:
        UsageError: the folder holds another trial.
    """
    rows = _opened(trial, folder, force)
    work = [[(arm, seed) for seed in trial.seeds for arm in arms] for arms in ((GENERATE, *ARMS[:2]), ARMS[2:])]
    if workers == 1:  # one repetition after the other, so that the first is seen soon
        work = [[(arm, seed) for seed in trial.seeds for arm in (GENERATE, *ARMS)]]
    work = [[one for one in part if one not in rows] for part in work]
    on_start(sum(map(len, work)))
    for part in work:
        for row in _done(trial, folder, part, workers):
            with (folder / FITS).open("a") as file:
                file.write(json.dumps(row) + "\n")
            rows[row["arm"], row["seed"]] = row
            on_row(row)
    return {arm: [rows[arm, seed]["accuracy"] for seed in trial.seeds] for arm in ARMS}


def _done(trial: Trial, folder: Path, work: Sequence[tuple[str, int]], workers: int) -> Iterator[Row]:
    if workers == 1 or len(work) < 2:
        for arm, seed in work:
            yield trial.fit(arm, seed, folder)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed

    spawn = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(min(workers, len(work)), spawn, _hold, (trial, folder)) as pool:
        try:
            for future in as_completed([pool.submit(_fit, *one) for one in work]):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


_held: tuple[Trial, Path]


def _hold(trial: Trial, folder: Path) -> None:
    """A worker gets the pictures once."""
    global _held
    _held = trial, folder


def _fit(arm: str, seed: int) -> Row:
    trial, folder = _held
    return trial.fit(arm, seed, folder)


def _opened(trial: Trial, folder: Path, force: bool) -> dict[tuple[str, int], Row]:
    """The rows that are kept of this trial; the folder is made ready for more."""
    path, facts = folder / FITS, json.loads(json.dumps(trial.facts))
    lines = _lines(folder)
    if lines and lines[0] == facts:
        rows = _kept(folder)
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in [facts, *rows.values()]).encode())
        return rows
    if path.exists() and not force:
        changed = [key for key in facts if not lines or lines[0].get(key) != facts[key]]
        raise UsageError(
            f"{folder} holds a trial with another {', '.join(changed) or 'generator'}",
            remedy="name another folder with --out, or begin anew with --force",
        )
    for part in (folder / GENERATE, folder / "gan"):
        if part.exists() and not path.exists():
            raise UsageError(f"{part} is there already, and not of a trial", remedy="name another folder with --out")
        shutil.rmtree(part, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(facts) + "\n").encode())
    return {}


def _lines(folder: Path) -> list[Row]:
    """The facts of a folder's trial, and its rows."""
    path = folder / FITS
    return [row for row in map(_parsed, path.read_text().splitlines()) if row] if path.exists() else []


def _kept(folder: Path) -> dict[tuple[str, int], Row]:
    """The rows of a folder by arm and seed."""
    return {(row["arm"], row["seed"]): row for row in _lines(folder)[1:]}


def _parsed(line: str) -> Row | None:
    """A whole line; None for one that a killed process left half-written."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _stamp(data: Labelled) -> str:
    """Twelve digits that stand for pictures and labels, in their order."""
    return f"{len(data)}, {fingerprint(data.pictures)[:6]}{fingerprint(data.labels)[:6]}"
