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
from gantk_generate.options import EvalOptions, GenerateConfig
from gantk_generate.sampler import Sampler, rendered
from gantoolkit import distributions, diversity, images
from gantoolkit.errors import InputError, UsageError
from gantoolkit.features import Extractor, extractor
from gantoolkit.featureset import FeatureSet, describe
from gantoolkit.images import Picture
from gantoolkit.labelled import LabelledPictures
from gantoolkit.metrics import MetricCard, compare, publish
from gantoolkit.model import find
from gantoolkit.plugins import current
from gantoolkit.task import Console

LEAST = 16  # held-out pictures that a score can be made from
KID_SUBSETS = 20  # while training: the interval is wider, the time a fifth


def evaluate(options: EvalOptions, console: Console) -> int:
    """Print one line a figure with its protocol; JSON rows with `--json`."""
    if options.data is None:
        raise UsageError("no real pictures were named", remedy="gantk eval generate REAL/ --model MODEL")
    for what, path in (("sheet", options.sheet), ("cards", options.save)):
        if path is not None and path.exists():
            raise UsageError(f"{path} exists already", remedy=f"give the {what} another name")
    before = _cards(options.against) if options.against is not None else []
    extract = extractor(options.features)
    sampler = None if options.fakes else Sampler(find("generate", options.model), options.device)
    size, channels = (sampler.size, sampler.channels) if sampler else (None, None)
    real = LabelledPictures(options.data, size=size, channels=channels)
    for note in real.notes:
        console.say(f"real pictures: {note}")
    training = None
    if options.training is not None:
        training = LabelledPictures(options.training, size=real.size, channels=real.channels)
    with console.progress(options.number, "pictures", "making pictures") as bar:
        made = _made_by(sampler, real, options) if sampler is not None else _given(options, real)
        pictures = list(_counted(map(_opaque, made.pictures), bar))

    with console.progress(len(pictures), "pictures", "describing pictures") as bar:
        fakes = describe(_counted(pictures, bar), extract, source=made.source, split="made", seed=options.seed)
    reals = _described(real, options.number, extract, options.data.name, "all")
    known = None
    if training is not None:  # all of them: a copy of one that was left out would not be found
        known = _described(training, len(training), extract, training.source.name, "training")
    cards = distributions.evaluate_sets(reals, fakes, known, seed=options.seed, more=current().metrics())
    cards.append(diversity.ms_ssim_diversity(pictures, labels=made.labels, seed=options.seed, source=made.source))
    if options.accuracy:
        cards.append(_accuracy(pictures, made.labels, real, options.seed))
    publish(cards, console, options.save)
    if options.sheet is not None:
        beside = real if training is None else training
        images.write(Picture(show.beside_nearest(pictures[:8], beside)), options.sheet)
        console.say(f"sheet: {options.sheet}")
    return _compare(cards, before, console)


@dataclass(frozen=True)
class Made:
    """Pictures to be measured, their classes, and where they are from."""

    pictures: Iterable[np.ndarray]
    labels: np.ndarray | None
    source: str


def _made_by(sampler: Sampler, real: LabelledPictures, options: EvalOptions) -> Made:
    """A model's pictures, their classes drawn as the real ones have them where both know the same classes."""
    chosen: list[int] | None = None
    if sampler.classes and real.labels is not None and real.classes == sampler.classes:
        chosen = np.random.default_rng(options.seed).choice(real.labels, options.number).tolist()
    labels = sampler.labels(options.number, chosen)
    pictures = sampler.pictures(options.number, seed=options.seed, label=chosen, truncation=options.truncation)
    source = f"{sampler.name}, truncation {options.truncation:g}"
    return Made(pictures, None if labels is None else labels.numpy(), source)


def _given(options: EvalOptions, real: LabelledPictures) -> Made:
    assert options.fakes is not None
    fakes = LabelledPictures(options.fakes, size=real.size, channels=real.channels)
    rows = _chosen(len(fakes), options.number)
    return Made(fakes.pictures(rows), fakes.labels[rows] if fakes.labels is not None else None, options.fakes.name)


def while_training(config: GenerateConfig, dataset: Data, generator: nn.Module) -> Sequence[MetricCard]:
    """Fréchet distance first, against held-out pictures, or the training ones where hardly any are held out."""
    if config.arch == "mlp":
        return []
    kept = dataset.held_out is not None and len(dataset.held_out) >= LEAST
    source, split = (dataset.held_out, "held out") if kept else (dataset.train, "training")
    extract = extractor(config.features)
    real = _described(source, config.score_pictures, extract, "data", split)
    fake = describe(map(_opaque, _made(config, dataset, generator)), extract, source="generator", split="made")
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


def _described(source: LabelledPictures, most: int, extract: Extractor, name: str, split: str) -> FeatureSet:
    """Features of `most` pictures of a set, at most, kept by their content."""
    rows, content = _chosen(len(source), most), f"{source.fingerprint}-{most}"
    return describe(map(_opaque, source.pictures(rows)), extract, source=name, split=split, cache=content)


def _opaque(picture: np.ndarray) -> np.ndarray:
    """H,W,C uint8 as extractors see it: alpha over white."""
    return show.as_rgb(picture) if picture.shape[2] == 4 else picture


def _chosen(total: int, most: int) -> np.ndarray:
    """The same random rows of a set every time, so that a sorted folder is not cut by class."""
    return np.sort(np.random.default_rng(0).permutation(total)[:most])


def _accuracy(pictures: list[np.ndarray], labels: Any, real: LabelledPictures, seed: int) -> MetricCard:
    from gantoolkit.classify import classification_accuracy_score

    if labels is None or real.labels is None:
        raise UsageError("--accuracy needs classes on both sides", actual="pictures without labels")
    truth = np.stack(list(map(_opaque, real.pictures())))
    return classification_accuracy_score(
        np.stack(pictures), np.asarray(labels), truth, real.labels, classes=len(real.classes), seed=seed
    )


def _counted(pictures: Iterable[np.ndarray], bar: Any) -> Iterable[np.ndarray]:
    for picture in pictures:
        yield picture
        bar.advance(1)


def _cards(path: Path) -> list[MetricCard]:
    try:
        rows = json.loads(path.read_text())
        return [MetricCard(**{**row, "interval": tuple(row["interval"]) if row["interval"] else None}) for row in rows]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} holds no cards: {error}", remedy="write one with --save") from error


def _compare(cards: Sequence[MetricCard], before: Sequence[MetricCard], console: Console) -> int:
    """Say how far each card is from the kept one of its name; 2 when one was measured differently."""
    known, code = {card.name: card for card in before}, 0
    for card in cards:
        if card.name in known:
            try:
                console.say(f"against {card.name}: {compare(card, known[card.name])}")
            except UsageError as error:
                console.warn(f"not compared: {error}")
                code = UsageError.exit_code
    return code
