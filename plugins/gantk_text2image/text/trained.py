"""The encoder that needs nothing but captions: subwords learnt from them, and a transformer that is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gantoolkit.errors import UsageError
from gantoolkit.texts import TextSettings, known_words, unknown

from .subwords import BYTES, Subwords, learn
from .transformer import SPREAD, TextTransformer

NOTHING, START = 0, 1  # ids: no token here; before every text, so that the empty one has a token
FIRST = 2  # the id of the first subword


class Trained:
    """Ids of subwords that were learnt from a data set's captions; see `gantoolkit.texts.TextEncoder`.

    Args:
        subwords: how texts are spelt.
        known: the words of the captions, normalised.
    """

    name = "trained"

    def __init__(self, subwords: Subwords, known: Iterable[str], width: int, layers: int, tokens: int) -> None:
        self.subwords, self.known = subwords, frozenset(known)
        self.width, self.layers, self.tokens = width, layers, tokens

    @classmethod
    def learn(cls, captions: Sequence[str] | None, settings: TextSettings) -> Trained:
        pairs = settings.vocabulary - FIRST - BYTES
        if pairs < 0:
            raise UsageError(
                "text encoder 'trained': vocabulary", expected=f"at least {FIRST + BYTES}", actual=settings.vocabulary
            )
        if captions is None:
            raise UsageError("the text encoder 'trained' learns its vocabulary from captions, and there are none")
        return cls(
            Subwords(learn(captions, pairs)), known_words(captions), settings.width, settings.layers, settings.tokens
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Trained:
        numbers = [int(number) for number in values["pairs"].split()]
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
        sizes = (int(values[key]) for key in ("width", "layers", "tokens"))
        return cls(Subwords(pairs), values["words"].split(), *sizes)

    def to_dict(self) -> dict[str, Any]:
        """Lists as one text each: a config is read by people, too, and one number a line would bury the rest."""
        return {
            "encoder": self.name,
            "width": self.width,
            "layers": self.layers,
            "tokens": self.tokens,
            "pairs": " ".join(f"{a} {b}" for a, b in self.subwords.pairs),
            "words": " ".join(sorted(self.known)),
        }

    def prepare(self, texts: Sequence[str]) -> dict[str, Tensor]:
        ids = np.full((len(texts), self.tokens), NOTHING, np.int64)
        for row, text in zip(ids, texts, strict=True):
            found = [START, *(FIRST + i for i in self.subwords.ids(text, self.tokens - 1))]
            row[: len(found)] = found
        return {"text": torch.from_numpy(ids), "mask": torch.from_numpy(ids != NOTHING)}

    def unknown(self, text: str) -> list[str]:
        return unknown(text, self.known)

    def network(self) -> nn.Module:
        embed = nn.Embedding(FIRST + len(self.subwords), self.width)
        nn.init.normal_(embed.weight, std=SPREAD)
        return TextTransformer(embed, self.width, self.layers, self.tokens)
