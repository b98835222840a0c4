"""`gantk eval generate`, and the scores while training: sets of pictures compared by their features."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gantk_generate import show
from gantk_generate.data import Data
from gantk_generate.options import FEWEST, EvalOptions, GenerateConfig
from gantk_generate.sampler import Sampler, rendered
from gantoolkit import distributions, diversity, images, paths
from gantoolkit.devices import pick_device
from gantoolkit.errors import InputError, UsageError
from gantoolkit.features import Extractor, extractor
from gantoolkit.featureset import FeatureSet, describe
from gantoolkit.images import Picture
from gantoolkit.labelled import LabelledPictures
from gantoolkit.metrics import MetricCard, compare, publish
from gantoolkit.model import find
from gantoolkit.plugins import current
from gantoolkit.task import Console

LEAST = 16  # pictures that a score while training can be made from
KID_SUBSETS = 20  # while training: the interval is wider, the time a fifth


def evaluate(options: EvalOptions, console: Console) -> int:
    """Print one line a figure with its protocol; JSON rows with `--json`."""
    if options.data is None:
        raise UsageError("no real pictures were named", remedy="gantk eval generate REAL/ --model MODEL")
    if options.fakes and options.model:
        raise UsageError("--fakes and --model name two things to measure", remedy="give one of them")
    if options.training and options.training.resolve() == options.data.resolve():
        raise UsageError("--training names the real pictures", expected="others", remedy="leave it out")
    if options.sheet is not None:
        images.format_for(options.sheet)
    paths.refuse_targets((options.sheet, options.save))
    before = _cards(options.against) if options.against is not None else []
    extract = extractor(options.features)
    sampler = None if options.fakes else Sampler(find("generate", options.model), options.device)
    size, channels = (sampler.size, sampler.channels) if sampler else (None, None)
    fit = sampler.fit if sampler else "crop"
    real = LabelledPictures(options.data, size=size, channels=channels, fit=fit)
    for note in real.notes:
        console.say(f"real pictures: {note}")
    training = None
    if options.training is not None:
        training = LabelledPictures(options.training, size=real.size, channels=real.channels, fit=fit)
    made = _made_by(sampler, real, options) if sampler is not None else _given(options, real)
    if options.accuracy:
        _can_classify(made, real)
    with console.progress(made.number, "pictures", "making pictures") as bar:
        pictures = list(_counted(map(_opaque, made.pictures), bar))

    device = pick_device(options.device)
    with console.progress(len(pictures), "pictures", "describing pictures") as bar:
        fakes = describe(
            _counted(pictures, bar), extract, source=made.source, split="made", seed=options.seed, device=device
        )
    reals = _described(real, options.number, extract, paths.named(options.data), "all", device)
    known = None
    if training is not None:  # all of them: a copy of one that was left out would not be found
        known = _described(training, len(training), extract, paths.named(training.source), "training", device)
    cards = distributions.evaluate_sets(reals, fakes, known, seed=options.seed, more=current().metrics())
    if min(real.size) < diversity.WINDOW:
        console.say(f"diversity: pictures below {diversity.WINDOW} pixels a side hold no window of MS-SSIM")
    elif made.labels is None or np.unique(made.labels, return_counts=True)[1].max() > 1:
        cards.append(diversity.ms_ssim_diversity(pictures, labels=made.labels, seed=options.seed, source=made.source))
    if options.accuracy:
        cards += _classified(pictures, made, real, options.seed)
    publish(cards, console, options.save)
    if options.sheet is not None:
        beside = real if training is None else training
        images.write(Picture(show.beside_nearest(pictures[:8], beside)), options.sheet)
        console.say(f"sheet: {options.sheet}")
    return _compare(cards, before, console)


@dataclass(frozen=True)
class Made:
    """So many pictures to be measured, their classes, and where they are from."""

    number: int
    pictures: Iterable[np.ndarray]
    labels: np.ndarray | None
    classes: tuple[str, ...]
    source: str


def _made_by(sampler: Sampler, real: LabelledPictures, options: EvalOptions) -> Made:
    """A model's pictures, their classes drawn as the real ones have them where both know the same classes."""
    chosen: list[int] | None = None
    if sampler.classes and real.labels is not None and set(real.classes) == set(sampler.classes):
        drawn = np.random.default_rng(options.seed).choice(real.labels, options.number)
        chosen = [sampler.classes.index(real.classes[i]) for i in drawn]
    labels = sampler.labels(options.number, chosen)
    pictures = sampler.pictures(options.number, seed=options.seed, label=chosen, truncation=options.truncation)
    source = f"{sampler.name}, truncation {options.truncation:g}"
    return Made(options.number, pictures, None if labels is None else labels.numpy(), sampler.classes, source)


def _given(options: EvalOptions, real: LabelledPictures) -> Made:
    assert options.fakes is not None
    fakes = LabelledPictures(options.fakes, size=real.size, channels=real.channels)
    if len(fakes) < FEWEST:
        raise InputError(f"{options.fakes}: too few to measure", expected=f"{FEWEST} pictures", actual=len(fakes))
    rows = _chosen(len(fakes), options.number)
    labels = fakes.labels[rows] if fakes.labels is not None else None
    return Made(len(rows), fakes.pictures(rows), labels, fakes.classes, paths.named(options.fakes))


def while_training(config: GenerateConfig, dataset: Data, generator: nn.Module) -> Sequence[MetricCard]:
    """Fréchet distance first, against held-out pictures, or the training ones where hardly any are held out.

    Nothing where there are hardly any at all.
    """
    if config.arch == "mlp":
        return []
    kept = dataset.held_out is not None and len(dataset.held_out) >= LEAST
    source, split = (dataset.held_out, "held out") if kept else (dataset.train, "training")
    if len(source) < LEAST:
        return []
    extract = extractor(config.features)
    real = _described(source, config.score_pictures, extract, "data", split, config.device)
    made = map(_opaque, _made(config, dataset, generator))
    fake = describe(made, extract, source="generator", split="made", device=config.device)
    cards = [distributions.frechet(real, fake), distributions.kid(real, fake, subsets=KID_SUBSETS, seed=0)]
    return [*cards, distributions.precision(real, fake), distributions.recall(real, fake)]


def _made(config: GenerateConfig, dataset: Data, generator: nn.Module) -> Iterable[np.ndarray]:
    """Pictures at fixed latents, the classes as often as the data has them."""
    random = torch.Generator().manual_seed(0)
    z = torch.randn(config.score_pictures, config.latent, generator=random)
    label = None
    if dataset.classes:
        classes = torch.as_tensor(dataset.train.labels)
        label = classes[torch.randint(len(classes), (len(z),), generator=random)]
    return rendered(generator, z, label, config.device)


def _described(
    source: LabelledPictures, most: int, extract: Extractor, name: str, split: str, device: str
) -> FeatureSet:
    """Features of `most` pictures of a set, at most, kept by their content."""
    rows, content = _chosen(len(source), most), f"{source.fingerprint}-{most}"
    pictures = map(_opaque, source.pictures(rows))
    return describe(pictures, extract, source=name, split=split, cache=content, device=device)


def _opaque(picture: np.ndarray) -> np.ndarray:
    """H,W,C uint8 as extractors see it: alpha over white."""
    return show.as_rgb(picture) if picture.shape[2] == 4 else picture


def _chosen(total: int, most: int) -> np.ndarray:
    """The same random rows of a set every time, so that a sorted folder is not cut by class."""
    return np.sort(np.random.default_rng(0).permutation(total)[:most])


def _can_classify(made: Made, real: LabelledPictures) -> None:
    """Said before anything is made.

    Raises:
        UsageError: pictures without classes, made ones of a class that real ones lack, or a size that no classifier
            takes.
    """
    from gantoolkit.classify import SIDES

    for what, labels in (("real", real.labels), ("made", made.labels)):
        if labels is None:
            raise UsageError("--accuracy needs classes on both sides", actual=f"{what} pictures without classes")
    if unknown := [name for name in made.classes if name not in real.classes]:
        known = ", ".join(real.classes)
        raise UsageError("--accuracy: the real pictures lack a class", expected=known, actual=unknown[0])
    if not SIDES[0] <= min(real.size) <= max(real.size) <= SIDES[1]:
        expected = f"{SIDES[0]} to {SIDES[1]} pixels a side"
        raise UsageError(
            "--accuracy: pictures of this size", expected=expected, actual=f"{real.size[0]}×{real.size[1]}"
        )


def _classified(pictures: list[np.ndarray], made: Made, real: LabelledPictures, seed: int) -> list[MetricCard]:
    """What a classifier fitted on the made pictures is worth on real ones, and what one fitted on real ones says.

    The classes of both sides go together by name; see `_can_classify`.
    """
    from gantoolkit import classify

    assert made.labels is not None
    assert real.labels is not None
    labels = np.array([real.classes.index(name) for name in made.classes])[made.labels]
    truth, shown, classes = np.stack(list(map(_opaque, real.pictures()))), np.stack(pictures), len(real.classes)
    score = classify.classification_accuracy_score(shown, labels, truth, real.labels, classes, seed=seed)
    judge = classify.fit_classifier(truth, real.labels, classes, seed=seed)
    sure = diversity.inception_score(
        judge.probabilities(shown),
        judge.name,
        weights=judge.weights_hash,
        source=made.source,
        splits=min(10, len(shown)),
        seed=seed,
    )
    return [score, sure]


def _counted(pictures: Iterable[np.ndarray], bar: Any) -> Iterable[np.ndarray]:
    for picture in pictures:
        yield picture
        bar.advance(1)


def _cards(path: Path) -> list[MetricCard]:
    try:
        rows = json.loads(path.read_text())
        return [MetricCard.from_dict(row) for row in rows]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} holds no cards: {error}", remedy="write one with --save") from error


def _compare(cards: Sequence[MetricCard], before: Sequence[MetricCard], console: Console) -> int:
    """Say how far each card is from the kept one of its name; 2 when one was measured differently."""
    known, code = {card.name: card for card in before}, 0
    for card in cards:
        if card.name in known:
            try:
                console.say(f"against {card.name}: {compare(known[card.name], card).text}")
            except UsageError as error:
                console.warn(f"not compared: {error}")
                code = UsageError.exit_code
    return code
