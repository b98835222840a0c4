"""`gantk eval generate`, and the scores while training: sets of pictures compared by their features."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gantk_generate import show
from gantk_generate.data import Data
from gantk_generate.options import EvalOptions, GenerateConfig
from gantk_generate.sampler import Sampler, to_uint8
from gantoolkit import distributions, diversity, images
from gantoolkit.errors import InputError, UsageError
from gantoolkit.features import extractor
from gantoolkit.featureset import describe
from gantoolkit.images import Picture
from gantoolkit.labelled import LabelledPictures
from gantoolkit.metrics import MetricCard, compare
from gantoolkit.model import find
from gantoolkit.runlog import write_atomically
from gantoolkit.task import Console


def evaluate(options: EvalOptions, console: Console) -> int:
    """Print one line a figure with its protocol; JSON rows with `--json`."""
    if options.data is None:
        raise UsageError("no real pictures were named", remedy="gantk eval generate REAL/ --model MODEL")
    before = _cards(options.against) if options.against is not None else []
    sampler = None if options.fakes else Sampler(find("generate", options.model), options.device)
    size, channels = (sampler.size, sampler.channels) if sampler else (None, None)
    real = LabelledPictures(options.data, size=size, channels=channels)
    extract = extractor(options.features)
    chosen = _chosen(len(real), options.number)
    if sampler is not None:
        source = f"{sampler.name} (truncation {options.truncation:g})"
        labels = _like(real, sampler, options.number)
        made: Iterable[np.ndarray] = sampler.pictures(
            options.number, seed=options.seed, label=labels, truncation=options.truncation
        )
        fake_labels = np.asarray(sampler.labels(options.number, labels)) if sampler.classes else None
    else:
        assert options.fakes is not None
        fakes = LabelledPictures(options.fakes, size=real.size, channels=real.channels)
        rows = _chosen(len(fakes), options.number)
        source, made = str(options.fakes), fakes.pictures(rows)
        fake_labels = fakes.labels[rows] if fakes.labels is not None else None
    pictures = []
    with console.progress(options.number, "pictures", "making pictures") as bar:
        for picture in made:
            pictures.append(picture)
            bar.advance(1)
    with console.progress(len(chosen) + len(pictures), "pictures", "describing pictures") as bar:
        real_set = describe(
            _counted(real.pictures(chosen), bar),
            extract,
            source=options.data.name,
            split="all given",
            cache=f"{real.fingerprint}-{options.number}-{real.size}-{real.channels}",
        )
        fake_set = describe(_counted(pictures, bar), extract, source=source, split="made")
    training = None
    if options.training is not None:
        shown = LabelledPictures(options.training, size=real.size, channels=real.channels)
        rows = _chosen(len(shown), options.number)
        training = describe(shown.pictures(rows), extract, source=options.training.name, split="training")
    cards = distributions.evaluate_sets(real_set, fake_set, training, seed=options.seed)
    cards.append(diversity.ms_ssim_diversity(pictures, labels=fake_labels, seed=options.seed))
    if options.accuracy:
        cards.append(_accuracy(pictures, fake_labels, real, options.seed))
    for card in cards:
        console.say(card.line())
        console.result({"card": card.to_dict()})
    if options.save is not None:
        write_atomically(options.save, json.dumps([card.to_dict() for card in cards], indent=2).encode())
        console.say(f"cards: {options.save}")
    if options.sheet is not None:
        picture = show.beside_nearest(
            pictures[:8], list((shown if training is not None else real).pictures(range(2_000)))
        )
        images.write(Picture(picture), options.sheet)
        console.say(f"sheet: {options.sheet}")
    if options.against is not None:
        _compare(cards, before, console)
    return 0


def while_training(config: GenerateConfig, dataset: Data, generator: nn.Module) -> Sequence[MetricCard]:
    """Fréchet distance first, against held-out pictures, or the training ones where none are held out."""
    if config.arch == "mlp":
        return []
    source = dataset.held_out if dataset.held_out is not None else dataset.train
    split = "held out" if dataset.held_out is not None else "training"
    extract = extractor(config.features)
    chosen = _chosen(len(source), config.score_pictures)
    real = describe(
        source.pictures(chosen),
        extract,
        source="data",
        split=split,
        cache=f"{source.fingerprint}-{split}-{config.held_out}-{len(chosen)}-{source.size}",
    )
    fake = describe(_made(config, dataset, generator), extract, source="generator", split="made")
    cards = [distributions.frechet(real, fake), distributions.kid(real, fake, seed=0)]
    return [*cards, distributions.precision(real, fake), distributions.recall(real, fake)]


def _made(config: GenerateConfig, dataset: Data, generator: nn.Module) -> Iterable[np.ndarray]:
    """Pictures at fixed latents, the classes as often as the data has them."""
    random = torch.Generator().manual_seed(0)
    classes = dataset.train.labels if dataset.classes else None
    for start in range(0, config.score_pictures, 64):
        count = min(64, config.score_pictures - start)
        z = torch.randn(count, config.latent, generator=random).to(config.device)
        label = None
        if classes is not None:
            rows = torch.randint(len(classes), (count,), generator=random)
            label = torch.as_tensor(classes)[rows].to(config.device)
        yield from to_uint8(generator(z, label))


def _chosen(total: int, most: int) -> np.ndarray:
    """The same random rows of a set every time, so that a sorted folder is not cut by class."""
    return np.sort(np.random.default_rng(0).permutation(total)[:most])


def _like(real: LabelledPictures, sampler: Sampler, number: int) -> list[int] | None:
    """Labels for the pictures to make: as often as the real ones have them, where both know the same classes."""
    if not sampler.classes:
        return None
    if real.labels is None or tuple(real.classes) != sampler.classes:
        return None
    return [int(label) for label in np.random.default_rng(0).choice(real.labels, number)]


def _accuracy(pictures: list[np.ndarray], labels: Any, real: LabelledPictures, seed: int) -> MetricCard:
    from gantoolkit.classify import classification_accuracy_score

    if labels is None or real.labels is None:
        raise UsageError("--accuracy needs classes on both sides", actual="pictures without labels")
    truth = np.stack(list(real.pictures()))
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


def _compare(cards: Sequence[MetricCard], before: Sequence[MetricCard], console: Console) -> None:
    known = {card.name: card for card in before}
    for card in cards:
        if card.name in known:
            try:
                console.say(f"against {card.name}: {compare(card, known[card.name])}")
            except UsageError as error:
                console.warn(f"not compared: {error}")
