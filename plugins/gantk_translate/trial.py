"""What `gantk eval translate` compares: examples as a model's sides see them, and the figures of a way to translate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from gantk_translate import figures
from gantk_translate.agreement import Agreement
from gantk_translate.data import Examples, Pictures
from gantk_translate.layout import Entry
from gantk_translate.reading import conform, resized
from gantk_translate.sides import Side
from gantk_translate.stock import at_scale
from gantoolkit import metrics
from gantoolkit.errors import GantkError, InputError
from gantoolkit.features import Extractor
from gantoolkit.featureset import FeatureSet, describe
from gantoolkit.metrics import MetricCard

Planes = np.ndarray  # (C, H, W) float32, [-1, 1]
Way = Callable[[np.ndarray], np.ndarray]  # (H, W, C) as the source's files have it -> (H, W, C') as the target's


class Pairs:
    """Examples as a model sees them: in its sides, at the scale of its training; decoded when they are asked for.

    Args:
        found: the examples.
        source, target: the model's sides.
        size, fit: of its training, see `stock.at_scale`.

    Attributes:
        source, target: the model's sides.
        paired: each source has its truth.
        names: of the sources.
        targets_n: pictures of the target's side.

    What does not suit a side is an `InputError` that names the file.
    """

    def __init__(self, found: Examples, source: Side, target: Side, size: int, fit: str) -> None:
        assert isinstance(found.sources, Pictures) and isinstance(found.targets, Pictures)
        self.source, self.target, self.size, self.fit = source, target, size, fit
        self.paired, self.names = found.paired, found.names
        self._sources, self._targets = found.sources, found.targets
        self.targets_n = len(self._targets)

    def __len__(self) -> int:
        return len(self._sources)

    def values(self, index: int) -> np.ndarray:
        """A source in its file's type, (H, W, C)."""
        return self._seen(self._sources.entries[index], self._sources[index], self.source)

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """A source and its target in their files' types, (H, W, C); pairs may differ in resolution."""
        return self.values(index), self._seen(self._targets.entries[index], self._targets[index], self.target)

    def planes(self, index: int) -> Planes:
        """The same as the network sees it."""
        return self.source.encode(self.values(index))

    def truth(self, index: int, size: tuple[int, int]) -> Planes:
        """The target of a pair, brought to (height, width): pairs may differ in resolution."""
        values = conform(self._targets.entries[index], self._targets[index], self.target)
        return self.target.encode(resized(values, size, self.target.kind == "mask"))

    def pairs(self) -> Iterator[tuple[Planes, Planes]]:
        """(source, truth) of all pairs, of one size."""
        for index in range(len(self)):
            source = self.planes(index)
            yield source, self.truth(index, _size(source))

    def sources(self) -> Iterator[Planes]:
        """All pictures of the source's side."""
        return map(self.planes, range(len(self)))

    def targets(self) -> Iterator[Planes]:
        """All pictures of the target's side."""
        for entry, values in zip(self._targets.entries, self._targets, strict=True):
            yield self.target.encode(self._seen(entry, values, self.target))

    def _seen(self, entry: Entry, values: np.ndarray, side: Side) -> np.ndarray:
        return at_scale(conform(entry, values, side), self.size, self.fit, side.kind == "mask")

    @property
    def scale(self) -> str:
        """The size at which pictures are looked at, in words."""
        return f"{self.size}×{self.size}" if self.fit == "resize" else f"own, at least {self.size}"


def _size(planes: Planes) -> tuple[int, int]:
    return planes.shape[1], planes.shape[2]


@dataclass
class Measured:
    """What a way reached.

    Attributes:
        name: of the way.
        cards: its figures.
        marks: a figure for each picture, lower is better: distance from the truth, or edges lost where there is none.
    """

    name: str
    cards: list[MetricCard]
    marks: list[float] = field(default_factory=list, repr=False)


@dataclass(frozen=True)
class Measure:
    """How every way is measured.

    Attributes:
        pictures: the examples.
        reals: features of all pictures of the target's side.
        extractor: that made them.
        agreement: of classes, where there are masks.
        seed: of the subsets of KID.
        protocol: what stands in every card.
    """

    pictures: Pairs
    reals: FeatureSet
    extractor: Extractor
    agreement: Agreement | None
    seed: int
    protocol: figures.Settings

    def __call__(
        self, name: str, way: Way, back: Way | None, device: str, advance: Callable[[int], object]
    ) -> Measured:
        """The figures of one way; `back` leads from its outputs to the inputs again."""
        pictures, rows, lost = self.pictures, [], []
        confusion = self.agreement.confusion() if self.agreement else None

        def shown() -> Iterator[np.ndarray]:
            for index in range(len(pictures)):
                values = pictures.values(index)
                source, output = pictures.source.encode(values), way(values)
                planes = pictures.target.encode(output)
                try:
                    rows.append(self._of_one(index, source, planes))
                except GantkError as error:
                    raise InputError(f"{pictures.names[index]}: {error}") from error
                if self.agreement and confusion:
                    confusion.add(self.agreement.classify(planes), self.agreement.truth(index, _size(planes)))
                if back is not None:
                    lost.append(float(np.abs(pictures.source.encode(back(output)) - source).mean()) / 2)
                advance(1)
                yield pictures.target.shown(planes)

        made = describe(shown(), self.extractor, source=name, split="made", device=device)
        cards = figures.mean(rows)
        if confusion is not None and self.agreement is not None:
            cards += [replace(c, protocol={**c.protocol, **self.agreement.protocol}) for c in confusion.cards()]
        cards += figures.of_sets(self.reals, made, self.seed)
        if lost:
            words: figures.Settings = {"difference": "mean absolute, of values scaled to [0, 1]"}
            cards.append(MetricCard("cycle error", float(np.mean(lost)), "", len(lost), words, higher_is_better=False))
        stated = [replace(card, protocol={**card.protocol, **self.protocol}, of=name) for card in cards]
        signs = [-1 if row[0].higher_is_better else 1 for row in rows]
        return Measured(name, stated, [sign * row[0].value for sign, row in zip(signs, rows, strict=True)])

    def _of_one(self, index: int, given: Planes, output: Planes) -> list[MetricCard]:
        """Figures of one picture: against its truth, then how much of the input's edges is kept."""
        source, target = self.pictures.source, self.pictures.target
        cards = []
        if self.pictures.paired:
            cards = figures.against_truth(target, output, self.pictures.truth(index, _size(output)))
        return [*cards, metrics.edge_similarity(source.shown(given), target.shown(output))]
