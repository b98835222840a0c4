"""The figures of pictures made of captions, each a card; beside it a control (other captions) and a ceiling (reals).

Shapes: N pictures, S pixels a side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np
import torch

from gantk_text2image import attributes, retrieval
from gantk_text2image.attributes import Reader, Settings, share
from gantk_text2image.data import linked, of_one_caption
from gantk_text2image.matcher import Matcher
from gantk_text2image.painter import Painter
from gantoolkit import texts
from gantoolkit.errors import InputError
from gantoolkit.features import efficientnet_lite0, perceptual_distance
from gantoolkit.metrics import MetricCard

CONTROL, CEILING = "shuffled captions", "real pictures"
PROMPTS, PER_PROMPT = 32, 4  # whose diversity is measured, and pictures of each
RESAMPLES = 1_000  # of a bootstrap
PD_SIZE = 128  # pixels: smaller pictures are compared at this size


@dataclass(frozen=True)
class Scored:
    """What is made and measured.

    Attributes:
        rows: of the data, int64 (N,): where a picture's caption is from.
        prompts: the N captions.
        captions: all distinct captions of the part.
        groups: of these captions; those of one group are no negatives of one another.
        targets: the place of each prompt among the captions, (N,).
    """

    rows: np.ndarray
    prompts: list[str]
    captions: list[str]
    groups: np.ndarray
    targets: np.ndarray

    @classmethod
    def of(
        cls,
        captions: Sequence[Sequence[str]],
        described: Sequence[Mapping[str, str]],
        rows: Sequence[int],
        number: int,
        seed: int,
    ) -> Scored:
        """Rows in random order, again with their next captions where `number` is larger.

        Captions that pictures share, directly or by others, are one group; of shapes, those of equal attributes, too.

        Raises:
            InputError: no caption has words, or all are of one group.
        """
        said = {row: [text for text in captions[row] if any(map(texts.is_word, texts.words(text)))] for row in rows}
        usable = [row for row in rows if said[row]]
        if not usable:
            raise InputError("no caption of the part has words")
        shapes = attributes.are_shapes([described[row] for row in usable])
        alike = [[*said[row], repr(sorted(described[row].items()))] if shapes else said[row] for row in usable]
        group_of = dict(zip(usable, linked(alike), strict=True))
        owner = {text: group_of[row] for row in usable for text in said[row]}
        if len(set(owner.values())) < 2:
            raise InputError("all captions of the part are linked by pictures that share them: no other to choose")
        place = {text: i for i, text in enumerate(owner)}
        order = [usable[i] for i in np.random.default_rng(seed).permutation(len(usable))]
        chosen = [(order[i % len(order)], i // len(order)) for i in range(number)]
        prompts = [said[row][again % len(said[row])] for row, again in chosen]
        return cls(
            np.array([row for row, _ in chosen]),
            prompts,
            list(owner),
            np.array(list(owner.values())),
            np.array([place[text] for text in prompts]),
        )

    def first(self) -> np.ndarray:
        """The places of the first picture of each row."""
        return np.sort(np.unique(self.rows, return_index=True)[1])

    def seed(self, start: int, picture: int, again: int) -> int:
        """The seed of another picture of a prompt; not that of any first one."""
        return start + picture + again * len(self.prompts)


def retrieval_values(
    scores: np.ndarray, targets: np.ndarray, groups: np.ndarray, seed: int
) -> dict[str, tuple[np.ndarray, Settings]]:
    """name -> (values (N,), what they depend on) of scores (N, C)."""
    against = retrieval.negatives(targets, groups)
    facts: Settings = {"captions": len(groups), "fewest negatives": int(against.min())}
    return {
        "R@1": (retrieval.recall(scores, targets, groups, 1), facts),
        "R@5": (retrieval.recall(scores, targets, groups, 5), facts),
        "R-precision": (
            retrieval.precision(scores, targets, groups, seed),
            {"others": min(retrieval.OTHERS, int(against.min())), "seed": seed},
        ),
    }


def retrieval_cards(
    judge: Matcher, scored: Scored, made: np.ndarray, real: np.ndarray, known: Settings, *, seed: int, of: str
) -> list[MetricCard]:
    """R@1, R@5 and R-precision of made pictures, for other captions, and of the real pictures.

    Args:
        made, real: uint8 (N, S, S, 3); real[i] is the picture that prompt i was written for.

    Raises:
        InputError: the matcher is of another size.
    """
    scores, first = judge.scores(made, scored.captions), scored.first()
    other = scored.targets[retrieval.shuffled(scored.groups[scored.targets], seed)]
    ceiling = judge.scores(real[first], scored.captions)
    cards = []
    for kind, matrix, targets in (
        ("", scores, scored.targets),
        (CONTROL, scores, other),
        (CEILING, ceiling, scored.targets[first]),
    ):
        for name, (values, facts) in retrieval_values(matrix, targets, scored.groups, seed).items():
            title = f"{name}, {kind}" if kind else name
            cards.append(share(title, values, known | facts, of="data" if kind == CEILING else of))
    return cards


def attribute_cards(
    reader: Reader,
    described: Sequence[Mapping[str, str]],
    scored: Scored,
    made: np.ndarray,
    real: np.ndarray,
    known: Settings,
    *,
    seed: int,
    of: str,
) -> list[MetricCard]:
    """Accuracy of each attribute of made pictures, against other pictures' attributes, and of the real pictures."""
    first = scored.first()
    order = retrieval.shuffled(scored.groups[scored.targets], seed)
    protocol = known | reader.protocol
    return [
        *attributes.cards(reader(described, made), protocol, of=of),
        *attributes.cards(reader([described[i] for i in order], made), protocol, kind=CONTROL, of=of),
        *attributes.cards(reader([described[i] for i in first], real[first]), protocol, kind=CEILING, of="data"),
    ]


def diversity_cards(
    painter: Painter,
    scored: Scored,
    captions: Sequence[Sequence[str]],
    real: np.ndarray,
    guidance: float,
    known: Settings,
    *,
    seed: int,
) -> list[MetricCard]:
    """Mean perceptual distance between pictures of one prompt; of real ones that share a caption, and of any.

    `captions` are all of each real picture. The first is 0 where the noise changes nothing; the second, its ceiling, is
    left out where no captions are shared.
    """
    places = list({scored.prompts[i]: i for i in reversed(range(len(scored.prompts)))}.values())[::-1][:PROMPTS]
    within = []
    for i in places:
        seeds = [scored.seed(seed, i, again) for again in range(PER_PROMPT)]
        pictures = np.stack(list(painter.pictures([(scored.prompts[i], s) for s in seeds], guidance=guidance)))
        pairs = np.array(list(combinations(range(PER_PROMPT), 2)))
        within.append(float(distances(pictures[pairs[:, 0]], pictures[pairs[:, 1]]).mean()))
    first = scored.first()
    pairs_of_one = islice(of_one_caption(captions, first.tolist()), PROMPTS * PER_PROMPT)
    same = np.array(list(pairs_of_one), np.int64).reshape(-1, 2)
    partner = first[retrieval.shuffled(scored.groups[scored.targets[first]], seed)]
    between = distances(real[first[: PROMPTS * 2]], real[partner[: PROMPTS * 2]])
    facts: Settings = {"extractor": f"{efficientnet_lite0(PD_SIZE).name}-PD", "input": PD_SIZE, "seed": seed}
    protocol = known | facts
    per = {"prompts": len(places), "pictures of each": PER_PROMPT}
    cards = [_mean("diversity per prompt", np.array(within), protocol | per, seed, painter.name)]
    if len(same):
        alike = distances(real[same[:, 0]], real[same[:, 1]])
        cards.append(
            _mean("diversity, real pictures of one caption", alike, protocol | {"pairs": len(same)}, seed, "data")
        )
    return [
        *cards,
        _mean("diversity, real pictures of other captions", between, protocol | {"pairs": len(between)}, seed, "data"),
    ]


def distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Perceptual distances (N,) of uint8 (N, S, S, 3) pictures, both resized to `PD_SIZE`."""

    def planes(pictures: np.ndarray) -> torch.Tensor:
        values = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
        return torch.nn.functional.interpolate(
            values, (PD_SIZE, PD_SIZE), mode="bilinear", align_corners=False, antialias=True
        )

    extractor = efficientnet_lite0(PD_SIZE)
    with torch.inference_mode():
        return np.concatenate(
            [
                perceptual_distance(planes(x[s : s + 16]), planes(y[s : s + 16]), extractor).numpy()
                for s in range(0, len(x), 16)
            ]
        )


def _mean(name: str, values: np.ndarray, protocol: Settings, seed: int, of: str) -> MetricCard:
    """A mean with its 95 % bootstrap interval."""
    rng = np.random.default_rng(seed)
    again = values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(1)
    low, high = np.percentile(again, [2.5, 97.5])
    facts: Settings = {"interval": "bootstrap 95 %"}
    return MetricCard(name, float(values.mean()), "", len(values), protocol | facts, (float(low), float(high)), of=of)


def table(cards: Sequence[MetricCard]) -> list[str]:
    """Lines of a table: each figure beside its control and its ceiling."""
    known = {card.name: f"{card.value:.3f}" for card in cards}
    names = [name for name in known if f"{name}, {CONTROL}" in known]
    rows = [("", "made", CONTROL, CEILING)]
    rows += [(name, known[name], known[f"{name}, {CONTROL}"], known.get(f"{name}, {CEILING}", "")) for name in names]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
