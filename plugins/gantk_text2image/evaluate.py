"""`gantk eval text2image`, and the scores while training."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from gantk_text2image import attributes, figures, matcher, show
from gantk_text2image.captions import open_captions
from gantk_text2image.data import Data, split
from gantk_text2image.figures import Scored, Settings
from gantk_text2image.matcher import Matcher
from gantk_text2image.networks import TEXT
from gantk_text2image.options import EvalOptions, Text2ImageConfig
from gantk_text2image.painter import Painter, to_uint8
from gantk_text2image.pictures import background, load
from gantoolkit import devices, distributions, images, paths
from gantoolkit.errors import InputError, UsageError
from gantoolkit.features import efficientnet_lite0, extractor
from gantoolkit.featureset import FeatureSet, describe
from gantoolkit.images import Picture
from gantoolkit.metrics import MetricCard, publish
from gantoolkit.model import find, is_empty
from gantoolkit.task import Console

LEAST = 4  # pictures that a distance between sets can be made of
SMALL = 64  # pixels of the features while training: a twelfth of the work of the usual size
KID_SUBSETS = 20  # while training: the interval is wider, the time a fifth
READ = 128  # pictures whose attributes are read while training
BATCH = 32
SHOWN, EACH = 8, 3  # prompts of a sheet, and made pictures of each


# ---- gantk eval ----


def evaluate(options: EvalOptions, console: Console) -> int:
    """A table, one line a figure with its protocol, JSON rows; cards and a sheet where they are asked for.

    Raises:
        UsageError: options that do not go together. InputError: data, a model or a matcher that cannot be used.
    """
    options = options.model_copy(update={"device": devices.pick_device(options.device)})
    if options.data is None:
        raise UsageError("no pictures with captions were named", remedy="gantk eval text2image DATA/ --model MODEL")
    if options.sheet is not None:
        images.format_for(options.sheet)
    paths.refuse_targets((options.sheet, options.save))
    if options.matcher is not None and (not options.matcher.exists() or is_empty(options.matcher)):
        paths.refuse_targets([options.matcher / "model.safetensors"], force=True)
    if options.number < LEAST:
        raise UsageError("too few pictures to measure anything", expected=f"-n {LEAST} or more", actual=options.number)
    extract = extractor(options.features)
    model = find("text2image", options.model)
    painter = Painter(model, options.device)
    data = _Read(options.data, painter.size, model.config)
    rows, rest = data.part(options.part)
    if len(rows) < LEAST:
        raise InputError(f"{options.data}: the part {options.part!r}", expected=f"{LEAST} pictures", actual=len(rows))
    scored = Scored.of(data.captions, data.described, rows, options.number, options.seed)
    console.say(f"{data.note}; {len(scored.rows):,} pictures of {len(set(scored.rows.tolist())):,} rows are made")
    aside = _aside(options, data, rows, rest)
    judge, protocol = _matcher(options, aside, console)

    made = _painted(painter, scored, options, console)
    known: Settings = {"data": paths.named(options.data), "part": options.part, "guidance": options.guidance}
    known |= {"picture seed": options.seed}
    real = data.pictures[scored.rows]
    cards = figures.retrieval_cards(judge, scored, made, real, known | protocol, seed=options.seed, of=painter.name)
    cards += _attributes(data, aside, scored, made, real, known, options, console, painter.name)
    fakes = describe(made, extract, source=painter.name, split="made", seed=options.seed)
    reals = _described(data, rows, extract, paths.named(options.data), options.part)
    cards += [distributions.frechet(reals, fakes), distributions.kid(reals, fakes, seed=options.seed)]
    training = _described(data, data.train, extract, paths.named(options.data), "train") if data.train else None
    if training is not None and options.part == "test":
        cards.append(distributions.memorised(training, reals, fakes, seed=options.seed))
    said = [data.captions[row] for row in scored.rows]
    cards += figures.diversity_cards(painter, scored, said, real, options.guidance, known, seed=options.seed)

    for line in figures.table(cards):
        console.say(line)
    publish(cards, console, options.save)
    if options.sheet is not None:
        images.write(Picture(_sheet(painter, data, scored, made, fakes, training, options)), options.sheet)
        console.say(f"sheet: {options.sheet}")
    return 0


class _Read:
    """Pictures with captions as the model's training saw them, and the split that it made."""

    def __init__(self, folder: Path, size: int, config: Mapping[str, object]) -> None:
        self.folder, self.config = folder, config
        found = open_captions(folder)
        fit, colour = str(config.get("fit", "pad")), background(str(config.get("background", "white")))
        self.pictures, damaged = load(found, size, fit, colour)  # type: ignore[arg-type]
        found.refuse(damaged)
        self.captions = [row.captions for row in found.rows]
        self.described = [row.attributes for row in found.rows]
        self.train, self.test, self.note = split(found, float(str(config.get("held_out", 0.1))))

    def part(self, name: str) -> tuple[list[int], list[int]]:
        """(rows of a part, the other rows).

        Raises:
            InputError: the part is empty.
        """
        everything = sorted(self.train + self.test)
        rows = {"train": self.train, "test": self.test, "all": everything}[name]
        if not rows:
            remedy = "--part all --matcher-data FOLDER, of other pictures with captions"
            raise InputError(f"{self.folder} has no captions in the part {name!r}: {self.note}", remedy=remedy)
        return rows, sorted(set(everything) - set(rows))


@dataclass(frozen=True)
class _Aside:
    """What judges are fitted on: never a picture that is scored.

    Attributes:
        pictures: uint8 (M, S, S, 3), with the captions and attributes of each.
        separate: it is not the generator's data.
    """

    pictures: np.ndarray
    captions: list[tuple[str, ...]]
    described: list[Mapping[str, str]]
    separate: bool

    @classmethod
    def of(cls, data: _Read, rows: Sequence[int], separate: bool) -> _Aside:
        return cls(
            data.pictures[list(rows)],
            [data.captions[row] for row in rows],
            [data.described[row] for row in rows],
            separate,
        )


def _aside(options: EvalOptions, data: _Read, rows: Sequence[int], rest: Sequence[int]) -> _Aside:
    """Other data, without what is scored, or the part of these that is not scored."""
    if options.matcher_data is not None:
        other = _Read(options.matcher_data, data.pictures.shape[1], data.config)
        seen = {data.pictures[row].tobytes() for row in rows}
        kept = [row for row in range(len(other.captions)) if other.pictures[row].tobytes() not in seen]
        if not kept:
            raise InputError(f"{options.matcher_data} holds nothing but what is scored", expected="other pictures")
        return _Aside.of(other, kept, separate=True)
    if not rest:
        raise UsageError(
            "all captions are scored, and none is left to fit the matcher on",
            remedy="--matcher-data FOLDER"
            + ("" if options.part == "test" else ", or --part test where some are held out"),
        )
    return _Aside.of(data, rest, separate=False)


def _matcher(options: EvalOptions, aside: _Aside, console: Console) -> tuple[Matcher, Settings]:
    """The matcher, kept or fitted, and what its figures depend on."""
    pictures, said = aside.pictures, aside.captions
    protocol: Settings = {
        "matcher fitted on": "separate data" if aside.separate else "the part that is not scored",
        "the generator's loss has seen that": "no" if aside.separate else "yes",
    }
    folder = options.matcher
    if folder is not None and folder.exists() and not is_empty(folder):
        made = Matcher.load(folder, pictures.shape[1], matcher.fingerprint(pictures, said))
    else:
        with console.progress(matcher.NIMG, "pictures", "fitting the matcher") as bar:
            made = matcher.fit(
                pictures, said, nimg=matcher.NIMG, seed=options.seed, device=options.device, progress=bar.advance
            )
        if folder is not None:
            console.say(f"matcher: {made.save(folder)}")
    return made, protocol | made.fitted


def _painted(painter: Painter, scored: Scored, options: EvalOptions, console: Console) -> np.ndarray:
    pairs = [(text, options.seed + i) for i, text in enumerate(scored.prompts)]
    made = []
    with console.progress(len(pairs), "pictures", "making pictures") as bar:
        for picture in painter.pictures(pairs, guidance=options.guidance):
            made.append(picture)
            bar.advance(1)
    return np.stack(made)


def _attributes(
    data: _Read,
    aside: _Aside,
    scored: Scored,
    made: np.ndarray,
    real: np.ndarray,
    known: Settings,
    options: EvalOptions,
    console: Console,
    of: str,
) -> list[MetricCard]:
    """Accuracy by name with its control and its ceiling; none where no attributes are said."""
    described = [data.described[row] for row in scored.rows]
    if not any(described):
        return []
    reader: attributes.Reader
    if attributes.are_shapes(described):
        reader = attributes.Exact()
    else:
        if not any(aside.described):
            return []
        reader = attributes.Fitted(
            aside.described,
            aside.pictures,
            nimg=attributes.NIMG,
            seed=options.seed,
            device=options.device,
            fitting=lambda name: console.say(f"fitting a classifier of the attribute {name}"),
        )
    return figures.attribute_cards(reader, described, scored, made, real, known, seed=options.seed, of=of)


def _described(data: _Read, rows: Sequence[int], extract: object, name: str, part: str) -> FeatureSet:
    """Features of the real pictures of rows, kept by their content."""
    return _features(data.pictures[list(rows)], extract, name, part)


def _features(pictures: np.ndarray, extract: object, name: str, part: str) -> FeatureSet:
    content = hashlib.sha256(repr(pictures.shape).encode() + pictures.tobytes()).hexdigest()
    return describe(pictures, extract, source=name, split=part, cache=content)  # type: ignore[arg-type]


def _sheet(
    painter: Painter,
    data: _Read,
    scored: Scored,
    made: np.ndarray,
    fakes: FeatureSet,
    training: FeatureSet | None,
    options: EvalOptions,
) -> np.ndarray:
    """Rows of: a prompt's made pictures, the real one, and the training picture nearest to the first."""
    cells: list[np.ndarray] = []
    under: list[str] = []
    for i in range(min(SHOWN, len(made))):
        more = [(scored.prompts[i], scored.seed(options.seed, i, each)) for each in range(1, EACH)]
        cells += [made[i], *painter.pictures(more, guidance=options.guidance), data.pictures[scored.rows[i]]]
        under += [scored.prompts[i], *[""] * (EACH - 1), "real"]
        if training is not None:
            nearest, _ = distributions.nearest(fakes.take([i]), training)
            cells.append(data.pictures[data.train[int(nearest[0, 0])]])
            under.append("nearest in training")
    return show.sheet(cells, under, EACH + 1 + (training is not None))


# ---- while training ----


def while_training(config: Text2ImageConfig, dataset: Data, networks: Mapping[str, nn.Module]) -> list[MetricCard]:
    """Of pictures of held-out captions at fixed noise: KID first, where there are enough; then attributes of shapes.

    Where nothing is held out, these are training captions, as the split in the protocol says.
    """
    rows = list(dataset.rows("held_out"))
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[: config.score_pictures]]
    real, part = dataset.pictures[rows], "held out" if dataset.test else "training"
    made = _made(config, dataset, networks, [dataset.captions[row][0] for row in rows])
    cards = []
    if len(rows) >= LEAST:
        extract = efficientnet_lite0(SMALL)
        known = _features(real, extract, "data", part)
        fake = describe(made, extract, source="generator", split="made")
        cards.append(distributions.kid(known, fake, subsets=KID_SUBSETS))
    described = [dataset.described[row] for row in rows[:READ]]
    if attributes.are_shapes(described):
        read = attributes.Exact()
        cards += attributes.cards(read(described, made[:READ]), {**read.protocol, "captions": part}, of="generator")
    return cards


def _made(
    config: Text2ImageConfig, dataset: Data, networks: Mapping[str, nn.Module], captions: list[str]
) -> np.ndarray:
    """(N, S, S, 3) uint8: a picture of each caption, from fixed noise."""
    prepared = dataset.encoder.prepare(captions)
    z = torch.randn(len(captions), config.latent, generator=torch.Generator().manual_seed(0))
    made = []
    for start in range(0, len(captions), BATCH):
        rows = slice(start, start + BATCH)
        text, mask, noise = (x[rows].to(config.device) for x in (prepared["text"], prepared["mask"], z))
        tokens, sentence = networks[TEXT](text, mask)
        made.append(to_uint8(networks["generator"](noise, tokens, mask, sentence)))
    return np.concatenate(made)
