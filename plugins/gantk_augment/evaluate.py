"""`gantk eval augment`: does augmentation help on these data? Every arm over several seeds, and the answer in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gantk_augment import page, recipes, trial
from gantk_augment.arms import APART, Labelled, aside, shared
from gantk_augment.fit import Fitted
from gantk_augment.options import EvalOptions
from gantk_augment.verdict import Verdict, cards, judge, share_interval
from gantoolkit import distributions, images
from gantoolkit.classify import SIDES
from gantoolkit.errors import GantkError, InputError, UsageError
from gantoolkit.features import extractor
from gantoolkit.featureset import FeatureSet, describe
from gantoolkit.labelled import LabelledPictures
from gantoolkit.metrics import MetricCard
from gantoolkit.model import find
from gantoolkit.runlog import write_atomically
from gantoolkit.task import Console

OUT = Path("gantk-augment-verdict")
FEATURES = "pixels@16"  # of memorisation, coverage and density: small pictures, which nothing was fitted on
SHOWN = 12  # generated pictures on the sheet
BESIDE = 3  # nearest training pictures of each


def evaluate(options: EvalOptions, console: Console) -> int:
    """Fit what is not fitted yet, print the table and the verdict, write verdict.json and verdict.html."""
    if options.data is None:
        raise UsageError("no labelled pictures were named", remedy="gantk eval augment DATA/")
    if options.synthetic is not None and options.model is not None:
        raise UsageError("synthetic pictures and --model are two trials", remedy="give one of them")
    out, recipe = options.out or OUT, recipes.read(options.recipe)
    data = _read(options, console)
    made = trial.Trial(
        train=data.train,
        test=data.test,
        classes=data.classes,
        seeds=tuple(range(options.seed, options.seed + options.seeds)),
        per_class=options.per_class,
        nimg=options.nimg,
        recipe=recipe,
        generated=_generated(options, data, console),
    )
    accuracies = fitted(made, out, console, workers=options.workers, force=options.force)
    found = report(made, accuracies, out, recipe=options.recipe)
    for line in table(accuracies):
        console.say(line)
    for card in found.cards:
        console.result({"card": card.to_dict()})
    for card in found.cards[-found.gauges :] if found.gauges else ():
        console.say(card.line())
    for warning in found.verdict.warnings:
        console.warn(warning)
    console.say(f"verdict: {found.verdict.text}")
    console.result({"verdict": found.verdict.word, "text": found.verdict.text})
    console.say(f"page: {out / page.NAME}")
    return 0


def fitted(
    made: trial.Trial, out: Path, console: Console, *, workers: int = 1, force: bool = False
) -> dict[str, list[float]]:
    """`trial.run` with a progress bar."""
    bars: list[Any] = []

    def start(left: int) -> None:
        if left:
            bars.append(console.progress(left, "fits", "fitting"))
            bars.append(bars[0].__enter__())

    try:
        advance = lambda row: bars[1].advance(1, f"{row['arm']}, seed {row['seed']}")  # noqa: E731
        return trial.run(made, out, workers=workers, force=force, on_start=start, on_row=advance)
    finally:
        if bars:
            bars[0].__exit__(None, None, None)


# ---- the data ----


@dataclass(frozen=True)
class Data:
    """Real pictures, those to fit on and those to test on, as the classifier sees them."""

    train: Labelled
    test: Labelled
    classes: tuple[str, ...]
    sources: tuple[tuple[LabelledPictures, np.ndarray], ...]  # what they were read from, and which are test pictures


def _read(options: EvalOptions, console: Console) -> Data:
    """The training and the test pictures, apart from each other before anything is fitted."""
    assert options.data is not None
    read = LabelledPictures(options.data, possible=_suited)
    for note in read.notes:
        console.say(note.replace("networks cannot make", "the classifier does not take"))
    if not read.classes:
        raise InputError(f"the pictures of {options.data} have no classes", expected="a folder a class, or labels.csv")
    real = _matched(read, read.classes)
    if options.test is None:
        apart = aside(real)
        train, test = real.take(~apart), real.take(apart)
        sources = ((read, apart),)
        console.say(f"{len(test):,} pictures, {APART:.0%} of each class, are kept aside for the test")
        if not len(test):
            raise InputError("each class has one picture", remedy="name real test pictures with --test")
    else:
        tests = LabelledPictures(options.test, size=read.size, channels=read.channels)
        train, test = real, _matched(tests, read.classes)
        sources = ((tests, np.ones(len(test), bool)),)
    twice = shared(train, test)
    if twice.any():
        console.warn(f"{twice.sum():,} training pictures are test pictures, too, and are left out of the training")
        train = train.take(~twice)
    return Data(train, test, read.classes, sources)


def _suited(height: int, width: int) -> tuple[int, int]:
    """The nearest size that the classifier takes, the proportions kept where its limits allow."""
    low, high = SIDES
    scale = min(1.0, high / max(height, width))
    return max(low, round(height * scale)), max(low, round(width * scale))


def _matched(read: LabelledPictures, classes: Sequence[str]) -> Labelled:
    """Pictures with the numbers that their classes have among `classes`.

    Raises:
        InputError: pictures without classes, or of other ones.
    """
    if read.labels is None:
        raise InputError(f"the pictures of {read.source} have no classes", expected=", ".join(classes))
    if strange := [name for name in read.classes if name not in classes]:
        raise InputError(
            f"{read.source} has a class that the data lack", expected=", ".join(classes), actual=repr(strange[0])
        )
    numbers = np.array([classes.index(name) for name in read.classes], np.int64)
    return Labelled(np.stack(list(read.pictures())), numbers[read.labels])


def _generated(options: EvalOptions, data: Data, console: Console) -> trial.Generated:
    """Where generated pictures come from; none of them may have been made from test pictures.

    Raises:
        InputError: they were.
    """
    if options.synthetic is not None:
        height, width, channels = data.train.pictures.shape[1:]
        read = LabelledPictures(options.synthetic, size=(height, width), channels=channels)
        made = _matched(read, data.classes)
        if count := int(shared(made, data.test).sum()):
            raise InputError(
                f"{count:,} of the synthetic pictures are test pictures",
                expected="none: a test on them would say nothing",
                remedy="make them from the training part, and name other test pictures with --test",
            )
        if copies := int(shared(made, data.train).sum()):
            console.warn(f"{copies:,} of {len(made):,} synthetic pictures are copies of training pictures")
        if options.per_class is not None:
            console.warn("the synthetic pictures may come from more training pictures than --per-class leaves")
        return trial.Given(made, options.synthetic.name)
    if options.model is None:
        return trial.FittedInside({"nimg": options.gan_nimg})
    model = Fitted(find("augment", options.model))
    seen = sum(_known(model, read, rows) for read, rows in data.sources)
    if seen:
        raise InputError(
            f"the model {options.model} was fitted on {seen:,} of the {len(data.test):,} test pictures",
            expected="none of them",
            remedy="name other test pictures with --test, or leave out --model: then one is fitted without them",
        )
    assert options.data is not None
    whole = LabelledPictures(options.data, size=model.size, channels=model.channels)
    strange = len(model.trained_on) - len(model.trained_on & _prints(whole))
    if strange or not model.trained_on:
        console.warn(
            f"the model was fitted on {strange:,} pictures that are none of the training pictures: a gain may be theirs"
            if strange
            else "the model does not say what it was fitted on: a gain may be that of further pictures"
        )
    if options.per_class is not None:
        console.warn("the model was fitted on more pictures than --per-class leaves to the other arms")
    return trial.ByModel(options.model)


def _known(model: Fitted, read: LabelledPictures, rows: np.ndarray) -> int:
    """How many of these rows of a source the model was fitted on: they are read as it read them."""
    same = read.size == model.size and read.channels == model.channels
    again = read if same else LabelledPictures(read.source, size=model.size, channels=model.channels)
    return sum(model.knows(picture) for picture in again.pictures(np.flatnonzero(rows)))


def _prints(read: LabelledPictures) -> set[str]:
    from gantk_augment.fit import fingerprint

    return {fingerprint(picture) for picture in read.pictures()}


# ---- the report ----


@dataclass(frozen=True)
class Report:
    """The verdict and its figures, the last `gauges` of which describe the generated pictures."""

    verdict: Verdict
    cards: list[MetricCard]
    gauges: int


def report(made: trial.Trial, accuracies: Mapping[str, Sequence[float]], out: Path, *, recipe: str) -> Report:
    """Judge, and write verdict.json and verdict.html into `out`."""
    first = made.seeds[0]
    pool, real = made.pool(first, out), made.real(first)
    protocol: dict[str, str | int | float] = {
        "arms": ", ".join(accuracies),
        "training": f"{made.per_class} a class, drawn anew" if made.per_class else f"all {len(made.train):,}",
        "classes": len(made.classes),
        "nimg": made.nimg,
        "repetitions": len(made.seeds),
        "first seed": first,
        "classifier": f"fit_classifier, width {made.width}, shift 0, fp32",
        "pictures": "×".join(map(str, made.train.pictures.shape[1:])),
        "recipe": recipe,
        "generated": str(made.generated.facts["generated"]),
        "share": pool.share,
    }
    verdict = judge(accuracies)
    figures = cards(accuracies, verdict, len(made.test), protocol)
    gauges, sheet = _described(made, pool.made, real, first)
    whole = {
        "verdict": verdict.word,
        "text": verdict.text,
        "warnings": list(verdict.warnings),
        "accuracies": {arm: list(values) for arm, values in accuracies.items()},
        "seeds": list(made.seeds),
        "gains": [
            {"arm": g.arm, "than": g.than, "mean": g.mean, "interval": g.interval, "word": g.word,
             "differences": g.differences, "text": g.text}
            for g in verdict.gains
        ],
        "cards": [card.to_dict() for card in figures + gauges],
        "trial": made.facts,
    }  # fmt: skip
    write_atomically(out / "verdict.json", json.dumps(whole, indent=2, default=str).encode())
    written = page.page(verdict, accuracies, figures, gauges, protocol, sheet)
    write_atomically(out / page.NAME, written.encode("utf-8", "replace"))
    return Report(verdict, figures + gauges, len(gauges))


def table(accuracies: Mapping[str, Sequence[float]]) -> list[str]:
    """The arms as lines: mean accuracy in %, its 95 % interval, the single repetitions."""
    lines = [f"{'arm':8} {'accuracy':>8}  {'95 % interval':15}  repetitions"]
    for arm, values in accuracies.items():
        interval = share_interval(values)
        between = f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f}" if interval else "all are equal"
        single = " ".join(f"{100 * value:.1f}" for value in values)
        lines.append(f"{arm:8} {100 * np.mean(values):7.1f}%  {between:15}  {single}")
    return lines


def _described(
    made: trial.Trial, generated: Labelled, real: Labelled, seed: int
) -> tuple[list[MetricCard], np.ndarray | None]:
    """Memorisation, coverage and density of the first repetition, and a sheet of samples; what cannot be, is not."""
    if not len(generated):
        return [], None
    look = extractor(FEATURES)
    training, test, fake = (
        describe(data.pictures, look, source=source, split=f"repetition of seed {seed}" if split else "")
        for data, source, split in ((real, "training", 1), (made.test, "test", 0), (generated, "generated", 1))
    )
    figures = []
    for figure in (
        lambda: distributions.memorised(training, test, fake),
        lambda: distributions.coverage(test, fake),
        lambda: distributions.density(test, fake),
    ):
        try:
            figures.append(figure())
        except GantkError:  # of a handful of pictures no such figure can be made
            continue
    return figures, _sheet(generated, fake, real, training)


def _sheet(generated: Labelled, fake: FeatureSet, real: Labelled, training: FeatureSet) -> np.ndarray:
    """Generated pictures in the first row, one a class in turn, and below each the training pictures nearest to it."""
    by_class = [np.flatnonzero(generated.labels == label) for label in np.unique(generated.labels)]
    turns = [rows[turn] for turn in range(SHOWN) for rows in by_class if turn < len(rows)][:SHOWN]
    near, _ = distributions.nearest(fake.take(turns), training, min(BESIDE, len(training)))
    rows = [generated.pictures[turns], *(real.pictures[places] for places in near.T)]
    factor = max(1, -(-64 // generated.pictures.shape[1]))
    shown = []
    for picture in (picture for row in rows for picture in row):
        picture = np.repeat(np.repeat(picture, factor, 0), factor, 1)
        shown.append(np.repeat(picture, 3, 2) if picture.shape[2] == 1 else picture)
    return images.contact_sheet(shown, len(turns), gap=4)
