"""`gantk eval augment`: does augmentation help on these data? Every arm over several seeds, and the answer in words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gantk_augment import page, provenance, recipes, trial
from gantk_augment.arms import APART, Labelled, aside, shared
from gantk_augment.fit import Fitted, model_hash
from gantk_augment.options import EvalOptions
from gantk_augment.shards import opened
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
    generated, doubts = _generated(options, data, console)
    for doubt in doubts:
        console.warn(doubt)
    made = trial.Trial(
        train=data.train,
        test=data.test,
        classes=data.classes,
        seeds=tuple(range(options.seed, options.seed + options.seeds)),
        per_class=options.per_class,
        nimg=options.nimg,
        recipe=recipe,
        generated=generated,
    )
    accuracies = fitted(made, out, console, workers=options.workers, force=options.force)
    found = report(made, accuracies, out, recipe=options.recipe, doubts=doubts)
    for line in table(accuracies):
        console.say(line)
    for card in found.cards:
        console.result({"card": card.to_dict()})
    for card in found.cards[-found.gauges :] if found.gauges else ():
        console.say(card.line())
    for warning in found.verdict.warnings:
        if warning not in doubts:  # these were said before the work began
            console.warn(warning)
    told = {"verdict": found.verdict.word, "text": found.verdict.text, "warnings": list(found.verdict.warnings)}
    console.say(f"verdict: {found.verdict.text}")
    console.result(told)
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
    real: LabelledPictures
    held: provenance.Held


def _read(options: EvalOptions, console: Console) -> Data:
    """The training and the test pictures, apart from each other before anything is fitted."""
    assert options.data is not None
    read = LabelledPictures(opened(options.data), possible=_suited)
    for note in read.notes:
        console.say(note.replace("networks cannot make", "the classifier does not take"))
    if not read.classes:
        raise InputError(f"the pictures of {options.data} have no classes", expected="a folder a class, or labels.csv")
    real = _matched(read, read.classes)
    _refuse_grown(read)
    if options.test is None:
        apart = aside(real)
        train, test = real.take(~apart), real.take(apart)
        held = [(read, apart)]
        console.say(f"{len(test):,} pictures, {APART:.0%} of each class, are kept aside for the test")
        if not len(test):
            raise InputError("each class has one picture", remedy="name real test pictures with --test")
    else:
        tests = LabelledPictures(opened(options.test), size=read.size, channels=read.channels)
        _refuse_grown(tests)
        train, test = real, _matched(tests, read.classes)
        held = [(tests, np.ones(len(test), bool))]
    twice = shared(train, test)
    if twice.any():
        console.warn(f"{twice.sum():,} training pictures are test pictures, too, and are left out of the training")
        train = train.take(~twice)
    return Data(train, test, read.classes, read, held)


def _refuse_grown(read: LabelledPictures) -> None:
    """What was made from a picture would be learnt from on one side and tested on on the other."""
    if made := provenance.listed(read).made:
        raise InputError(
            f"{made:,} of the {len(read):,} pictures of {read.source} were made by gantk run augment",
            expected="real pictures",
            remedy="name the data that they were made from, and this as the synthetic pictures",
        )


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


def _generated(options: EvalOptions, data: Data, console: Console) -> tuple[trial.Generated, list[str]]:
    """Where generated pictures come from, and what may be wrong with a gain by them, a line each.

    Raises:
        InputError: they were made from test pictures.
    """
    if options.synthetic is not None:
        made, doubts = _given(options.synthetic, data, console)
        if options.per_class is not None:
            doubts.append("the synthetic pictures may come from more training pictures than --per-class leaves")
        return made, doubts
    if options.model is None:
        return trial.FittedInside({"nimg": options.gan_nimg}), []
    found, doubts = find("augment", options.model), []
    model = Fitted(found)
    if seen := provenance.known(model, data.held):
        raise InputError(
            f"the model {options.model} was fitted on {seen:,} of the {len(data.test):,} test pictures",
            expected="none of them",
            remedy="name other test pictures with --test, or leave out --model: then one is fitted without them",
        )
    if not model.trained_on:
        doubts.append("the model does not say what it was fitted on: a gain may be that of further pictures")
    elif strange := provenance.strangers(model, data.real.source):
        doubts.append(
            f"the model was fitted on {strange:,} pictures that are none of the training pictures: a gain may be theirs"
        )
    if options.per_class is not None:
        doubts.append("the model was fitted on more pictures than --per-class leaves to the other arms")
    return trial.ByModel(options.model, model_hash(found)), doubts


def _given(source: Path, data: Data, console: Console) -> tuple[trial.Given, list[str]]:
    """Synthetic pictures without those that come from test pictures, and doubts about the others.

    Raises:
        InputError: some are test pictures, or none is left.
    """
    height, width, channels = data.train.pictures.shape[1:]
    read = LabelledPictures(opened(source), size=(height, width), channels=channels)
    whole = _matched(read, data.classes)
    found = provenance.origins(whole, provenance.listed(read), data.real, data.train, data.test, data.held)
    counts = Counter(found)
    copies, leaks = counts["copy"], counts["test"]
    left_out = [f"{copies:,} copies of real pictures"] * bool(copies)
    left_out += [f"{leaks:,} made from test pictures"] * bool(leaks)
    made = whole.take(np.isin(found, ("train", "unknown")))
    if not len(made):
        raise InputError(
            f"no synthetic picture of {source} can be shown: {' and '.join(left_out)}",
            expected="pictures made from training pictures",
            remedy="name test pictures with --test that they were not made from",
        )
    if count := int(shared(made, data.test).sum()):
        raise InputError(
            f"{count:,} of the synthetic pictures are test pictures",
            expected="none: a test on them would say nothing",
            remedy="make them from the training part, and name other test pictures with --test",
        )
    name = source.name
    if left_out:
        name = f"{source.name} without {' and '.join(left_out)}"
        console.say(f"{len(made):,} synthetic pictures are shown: {name}")
    if same := int(shared(made, data.train).sum()):
        console.warn(f"{same:,} of {len(made):,} synthetic pictures are copies of training pictures")
    doubts = []
    if counts["unknown"]:
        what = f"what {counts['unknown']:,} of the {len(made):,} synthetic pictures were made from is not known"
        doubts.append(f"{what}: if test pictures are among it, a gain may be theirs")
    return trial.Given(made, name), doubts


# ---- the report ----


@dataclass(frozen=True)
class Report:
    """The verdict and its figures, the last `gauges` of which describe the generated pictures."""

    verdict: Verdict
    cards: list[MetricCard]
    gauges: int


def report(
    made: trial.Trial,
    accuracies: Mapping[str, Sequence[float]],
    out: Path,
    *,
    recipe: str,
    doubts: Sequence[str] = (),
) -> Report:
    """Judge, and write verdict.json and verdict.html into `out`; `doubts` are of `verdict.judge`."""
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
        "share": _shares([made.pool(seed, out).share for seed in made.seeds]),
    }
    verdict = judge(accuracies, doubts, len(made.test))
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


def _shares(shares: Sequence[float]) -> float | str:
    """Of generated pictures in each repetition: one number where all are equal, else one after the other."""
    return shares[0] if len(set(shares)) == 1 else ", ".join(f"{share:g}" for share in shares)


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
