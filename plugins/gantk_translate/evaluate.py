"""`gantk eval translate`, and the scores while training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn

from gantk_translate import figures, show
from gantk_translate.options import TranslateConfig
from gantoolkit import distributions, metrics
from gantoolkit.features import efficientnet_lite0
from gantoolkit.featureset import describe
from gantoolkit.metrics import MetricCard
from gantoolkit.segmentation import Confusion

if TYPE_CHECKING:
    from gantk_translate.data import Data

SMALL = 64  # pixels at which scores while training look at sets: a twelfth of the time of 224
KID_SUBSETS = 20  # while training: the interval is wider, the time a fifth


def while_training(config: TranslateConfig, dataset: Data, networks: Mapping[str, nn.Module]) -> list[MetricCard]:
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
    protocol: figures.Settings = {"size": config.size}
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
    return [with_protocol(card, protocol) for card in cards]


def with_protocol(card: MetricCard, protocol: Mapping[str, str | int | float], of: str = "") -> MetricCard:
    """The card with more settings, and what it is of."""
    return replace(card, protocol={**card.protocol, **protocol}, of=of or card.of)
