"""`gantk eval translate`: a model beside two baselines; and the scores while training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from torch import nn

from gantk_translate import agreement, baselines, data, figures, likeness, page, show
from gantk_translate.games import PAIRED
from gantk_translate.options import Direction, EvalOptions, TranslateConfig
from gantk_translate.task import OTHER_WAY
from gantk_translate.translator import Translator
from gantk_translate.trial import Measure, Measured, Pairs, Way
from gantoolkit import distributions, images, metrics, paths
from gantoolkit.errors import InputError, UsageError
from gantoolkit.features import efficientnet_lite0, extractor
from gantoolkit.featureset import describe
from gantoolkit.images import Picture
from gantoolkit.metrics import MetricCard
from gantoolkit.model import Model, find
from gantoolkit.runlog import write_atomically
from gantoolkit.segmentation import Confusion
from gantoolkit.task import Console

SMALL = 64  # pixels at which scores while training look at sets: a twelfth of the time of 224
KID_SUBSETS = 20  # while training: the interval is wider, the time a fifth
FITTED_ON = 256  # training pictures at most that the affine map is fitted on
EACH = 4  # pictures of the page: so many of the best, of the middle and of the worst
ON_SHEET = 2  # and of the sheet
Item = TypeVar("Item")


def evaluate(options: EvalOptions, console: Console) -> int:
    """Print a table of the model and the baselines with its protocol; one JSON row a way with `--json`."""
    if options.data is None:
        raise UsageError("no pictures were named", remedy="gantk eval translate DATA/ --model MODEL")
    _writable(options)
    extract = extractor(options.features)
    model = find("translate", options.model)
    direction: Direction = options.direction or model.config["direction"]
    load = partial(Translator, model, style=options.style, device=options.device)
    translator = load(direction=direction)
    read = partial(_read, options, model, translator, direction)
    pairs = read(options.part, options.number)
    if pairs.paired and likeness.strange(len(pairs), pairs.pair):
        console.warn(f"{data.STRANGE}; --no-pairs compares the sets only")
    trained = None
    try:
        trained = read("train", FITTED_ON)
    except InputError as error:
        console.warn(f"affine: not fitted: {error}")
    ways, notes = _ways(translator, trained, console)
    with console.progress(pairs.targets_n, "pictures", "describing the target's side") as bar:
        reals = describe(
            map(pairs.target.shown, _counted(pairs.targets(), bar)), extract, source=options.data.resolve().name,
            split=options.part, device=translator.device,
        )  # fmt: skip
    protocol: figures.Settings = {"part": options.part, "direction": direction, "size": pairs.scale}
    measure = Measure(pairs, reals, extract, _agreement(options, pairs), options.seed, protocol)
    back = load(direction="BtoA" if direction == "AtoB" else "AtoB") if OTHER_WAY in model.weights else None
    with console.progress(len(ways) * len(pairs), "pictures", "measuring") as bar:
        rows = [
            measure(name, way, back if way is translator else None, translator.device, bar.advance)
            for name, way in ways.items()
        ]
    words = _protocol(options, pairs, len(reals), trained, notes)
    _print(rows, words, console)
    _write(options, rows, words, pairs, translator, console)
    return 0


def _read(
    options: EvalOptions, model: Model, translator: Translator, direction: Direction, part: data.Part, number: int
) -> Pairs:
    """A part of the data as the model sees it, split as in training.

    A model of the game style takes the style of one picture, so that no picture of the other side is its truth.
    """
    sides = (translator.source, translator.target)
    names = "AB" if direction == "AtoB" else "BA"
    masks = "".join(name for name, side in zip(names, sides, strict=True) if side.kind == "mask")
    assert options.data is not None
    game = model.config["game"]
    found = data.examples(
        options.data, part, direction=direction, held_out=model.config["held_out"], masks=masks or "none",
        number=number, pairs=game in PAIRED and options.pairs, matched=options.pairs and game != "style",
    )  # fmt: skip
    return Pairs(found, *sides, model.config["size"], model.config["fit"])


def _ways(translator: Translator, trained: Pairs | None, console: Console) -> tuple[dict[str, Way], list[str]]:
    """The model and the baselines that there can be, by name; and why the others cannot."""
    source, target = translator.source, translator.target
    ways: dict[str, Way] = {translator.name: translator}
    notes = []

    def offer(name: str, make: Callable[[], baselines.Way]) -> None:
        try:
            apply = make()
        except UsageError as error:
            notes.append(f"{name}: not applicable: {error}")
        else:
            ways[name] = lambda values: target.decode(apply(source.encode(values)))

    offer("identity", lambda: baselines.identity(source, target))
    if trained is not None:
        offer("affine", lambda: _affine(trained, console))
    return ways, notes


def _affine(trained: Pairs, console: Console) -> baselines.Affine:
    source, target = trained.source, trained.target
    number = len(trained) + (0 if trained.paired else trained.targets_n)
    with console.progress(number, "pictures", "fitting the affine map") as bar:
        if trained.paired:
            return baselines.of_pairs(_counted(trained.pairs(), bar), target)
        sources, targets = _counted(trained.sources(), bar), _counted(trained.targets(), bar)
        return baselines.of_sides(sources, targets, source, target)


def _counted(items: Iterable[Item], bar: Any) -> Iterator[Item]:
    for item in items:
        yield item
        bar.advance(1)


def _agreement(options: EvalOptions, pairs: Pairs) -> agreement.Agreement | None:
    """Of classes, where there are pairs, and masks: the targets, the folder of `--masks`, or the inputs."""
    if options.masks is not None and not pairs.paired:
        raise UsageError("--masks needs pairs: without them nothing says which colour a class has")
    if not pairs.paired:
        return None

    def truths() -> Iterator[np.ndarray]:
        return (truth for _, truth in pairs.pairs())

    if options.masks is not None:
        return agreement.by_colour(truths, agreement.in_folder(options.masks, pairs.names))
    if pairs.target.kind == "mask":
        return agreement.of_masks(pairs.target, pairs.truth)
    if pairs.source.kind == "mask":
        return agreement.by_colour(truths, lambda index, _: pairs.source.decode(pairs.planes(index))[..., 0])
    return None


# ---- what is shown and kept ----


def _writable(options: EvalOptions) -> None:
    if options.sheet is not None:
        images.format_for(options.sheet)
    paths.refuse_targets((options.sheet, options.save, options.page))


def _protocol(options: EvalOptions, pairs: Pairs, reals: int, trained: Pairs | None, notes: Sequence[str]) -> list[str]:
    """How it was measured, a line each."""
    assert options.data is not None
    what = f"{len(pairs)} pairs" if pairs.paired else f"{len(pairs)} pictures beside {reals} of the other side"
    where = f"{what} of {options.data.resolve().name}, part {options.part}"
    lines = [f"{where}, seed {options.seed}", f"size of the pictures: {pairs.scale}, as in training"]
    if trained is not None:
        how = "least squares" if trained.paired else "mean and covariance"
        lines.append(f"affine: a map of colours fitted by {how} on {len(trained)} training pictures")
    if min(len(pairs), reals) < figures.LEAST:
        lines.append(f"no KID and no Fréchet distance: they need {figures.LEAST} pictures on each side")
    return [*lines, *notes]


def _print(rows: Sequence[Measured], words: Sequence[str], console: Console) -> None:
    cards = {card.name: card for row in rows for card in row.cards}
    console.say(f"{'':<28}" + "".join(f"{name:>16}" for name in cards))
    for row in rows:
        known = {card.name: f"{card.value:.4f}" for card in row.cards}
        console.say(f"{row.name:<28}" + "".join(f"{known.get(name, '–'):>16}" for name in cards))
        console.result({"name": row.name, "cards": [c.to_dict() for c in row.cards], "protocol": "; ".join(words)})
    for line in words:
        console.say(line)
    for card in cards.values():
        better = "higher" if card.higher_is_better else "lower"
        settings = ", ".join(f"{key} {value}" for key, value in card.protocol.items())
        console.say(f"  {card.name} ({better} is better): n {card.n}, {settings}")


def _write(
    options: EvalOptions, rows: Sequence[Measured], words: Sequence[str], pairs: Pairs, way: Way, console: Console
) -> None:
    """The files asked for; pictures are chosen by what the model (the first row) reached on each."""
    for path in (options.save, options.sheet, options.page):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
    if options.save is not None:
        metrics.write_cards([card for row in rows for card in row.cards], options.save)
        console.say(f"cards: {options.save}")
    if options.sheet is not None:
        chosen = [index for third in page.thirds(rows[0].marks, ON_SHEET) for index in third]
        triptychs = [_triptych(pairs, way, index) for index in chosen]
        captions = ("input", "output", "target")[: len(triptychs[0])]
        images.write(Picture(show.triptychs(triptychs, captions)), options.sheet)
        console.say(f"sheet: {options.sheet} (the best, the middle and the worst)")
    if options.page is not None:
        marks, what = rows[0].marks, "perceptual distance" if pairs.paired else "content kept"
        groups = [
            [(f"{pairs.names[i]}: {what} {abs(marks[i]):.3f}", _triptych(pairs, way, i)) for i in third]
            for third in page.thirds(marks, EACH)
        ]
        write_atomically(options.page, page.page(rows, words, groups, paired=pairs.paired).encode())
        console.say(f"page: {options.page}")


def _triptych(pairs: Pairs, way: Way, index: int) -> list[np.ndarray]:
    """Input, output and, of a pair, target, as (H, W, 3) uint8."""
    values = pairs.values(index)
    output = pairs.target.encode(way(values))
    shown = [pairs.source.shown(pairs.source.encode(values)), pairs.target.shown(output)]
    if pairs.paired:
        shown.append(pairs.target.shown(pairs.truth(index, (output.shape[1], output.shape[2]))))
    return shown


# ---- while training ----


def while_training(config: TranslateConfig, dataset: data.Data, networks: Mapping[str, nn.Module]) -> list[MetricCard]:
    """Held-out figures at the training size; the first one decides which checkpoint is the best.

    Pairs: perceptual distance, PSNR, SSIM; of masks mean IoU and pixel accuracy, then the distance. Without pairs:
    KID, where there are enough pictures, and how much of the content's edges is kept.
    """
    source, target = dataset.source, dataset.target
    examples = dataset.held_out()
    inputs = show.planes_of(dataset, source, examples.sources, config.score_pictures)
    reals = show.planes_of(dataset, target, examples.targets, config.score_pictures)
    styles = show.styles_for(inputs, reals) if config.game == "style" else None
    outputs = show.translated(networks["generator"], inputs, styles)
    protocol: figures.Settings = {"size": config.size // 2 if dataset.halved else config.size}
    if dataset.paired:
        pairs = list(zip(outputs, reals, strict=True))
        cards = figures.mean([figures.against_truth(target, output, real) for output, real in pairs])
        if target.kind == "mask":
            confusion = Confusion(target.classes)
            for output, real in pairs:
                confusion.add(target.decode(output)[..., 0], target.decode(real)[..., 0])
            cards = [*confusion.cards(), *cards]
    else:
        shown = [target.shown(planes) for planes in outputs]
        cards = []
        if min(len(outputs), len(reals)) >= figures.LEAST:
            extractor = efficientnet_lite0(SMALL)
            known = describe(map(target.shown, reals), extractor, source="data", split="held out")
            made = describe(shown, extractor, source="generator", split="made")
            cards.append(distributions.kid(known, made, subsets=KID_SUBSETS))
        cards.append(metrics.edge_similarity([source.shown(planes) for planes in inputs], shown))
    return [replace(card, protocol={**card.protocol, **protocol}) for card in cards]
