"""Encoders over a network that somebody else trained: frozen, its states computed once; or tuned along with the game.

Shapes: N texts, T tokens, D the width of what is trained, D0 that of the states.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from gantoolkit.errors import InputError
from gantoolkit.texts import TextSettings, composed, kept, known_words, unknown

from .transformer import SPREAD, TextTransformer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

KEPT_FROM = 64  # texts at once that are worth a file: a data set's captions, not a user's prompts
REMEMBERED = 100_000  # texts whose states stay in memory
SLOWER = 32  # how much less a tuned weight moves than one that starts at random; a power of two, so nothing is rounded


@dataclass(frozen=True)
class Source:
    """A pretrained network with what belongs to it.

    Attributes:
        tokenizer: spells a text; it neither pads nor cuts, and puts its marks around.
        tower: ids, mask (N, T) -> states (N, T, D0); frozen.
        width: D0.
        longest: T at most.
        weights: stands for the content of the files.
    """

    tokenizer: Tokenizer
    tower: nn.Module
    width: int
    longest: int
    weights: str


class Pretrained(ABC):
    """See `gantoolkit.texts.TextEncoder`; a subclass says where its network comes from.

    Frozen, a batch holds the network's states, and what is trained is an adapter and a transformer over them. Each
    text goes through the network alone, so that its states are the same bits in any company. Tuned, a batch holds
    ids, and each player has a copy of the network that moves with it.
    """

    name: ClassVar[str]

    def __init__(self, source: Source, known: Iterable[str], settings: TextSettings) -> None:
        self.source, self.known, self.settings = source, frozenset(known), settings
        self.width = settings.width
        self.tokens = min(settings.tokens, source.longest)
        self._tokenizer = copy.deepcopy(source.tokenizer)
        self._tokenizer.enable_truncation(self.tokens)
        self._states: dict[str, np.ndarray] = {}

    @classmethod
    @abstractmethod
    def source_of(cls, folder: str) -> Source:
        """The network; `folder` is what the user named, or "".

        Raises:
            InputError: it cannot be read.
        """

    @classmethod
    def learn(cls, captions: Sequence[str] | None, settings: TextSettings) -> Pretrained:
        return cls(cls.source_of(settings.folder), known_words(captions or ()), settings)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Pretrained:
        sizes = {key: int(values[key]) for key in ("width", "layers", "tokens")}
        settings = TextSettings(**sizes, tune=bool(values["tune"]), folder=str(values.get("folder", "")))
        source = cls.source_of(settings.folder)
        if source.weights != values["weights"]:
            raise InputError(
                f"the text encoder {cls.name!r} is not the one that the model was trained with",
                expected=f"weights {values['weights']}",
                actual=source.weights,
            )
        return cls(source, values["words"].split(), settings)

    def to_dict(self) -> dict[str, Any]:
        """The weights are not kept, only what stands for them."""
        values = {
            "encoder": self.name,
            "width": self.width,
            "layers": self.settings.layers,
            "tokens": self.tokens,
            "tune": self.settings.tune,
            "weights": self.source.weights,
            "words": " ".join(sorted(self.known)),
        }
        return values | ({"folder": self.settings.folder} if self.settings.folder else {})

    def prepare(self, texts: Sequence[str]) -> dict[str, Tensor]:
        if self.settings.tune:
            rows: Sequence[np.ndarray] = [np.array(self._ids(text)) for text in texts]
            text = torch.zeros(len(texts), self.tokens, dtype=torch.int64)
        else:
            rows = self._kept(texts)
            text = torch.zeros(len(texts), self.tokens, self.source.width, dtype=torch.float16)
        mask = torch.zeros(len(texts), self.tokens, dtype=torch.bool)
        for index, row in enumerate(rows):
            text[index, : len(row)] = torch.from_numpy(row)
            mask[index, : len(row)] = True
        return {"text": text, "mask": mask}

    def unknown(self, text: str) -> list[str]:
        return unknown(text, self.known)

    def network(self) -> nn.Module:
        reader = TextTransformer(Adapter(self.source.width, self.width), self.width, self.settings.layers, self.tokens)
        return Tuned(self.source.tower, reader) if self.settings.tune else reader

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer.encode(composed(text)).ids

    def _kept(self, texts: Sequence[str]) -> list[np.ndarray]:
        """States t,D0 of each text, float16."""
        new = [text for text in dict.fromkeys(texts) if text not in self._states]
        if len(new) >= KEPT_FROM:
            facts = [self.name, self.source.weights, self.tokens]
            made = kept([composed(text) for text in new], facts, self._computed)
        elif new:
            made = [state.astype(np.float16) for state in self._computed(new)]
        if new:
            if len(self._states) > REMEMBERED:
                self._states = {text: self._states[text] for text in texts if text in self._states}
            self._states |= dict(zip(new, made, strict=True))
        return [self._states[text] for text in texts]

    @torch.no_grad()
    def _computed(self, texts: Sequence[str]) -> list[np.ndarray]:
        states = []
        for text in texts:
            ids = torch.tensor([self._ids(text)])
            states.append(self.source.tower(ids, torch.ones_like(ids, dtype=torch.bool))[0].float().numpy())
        return states


class Adapter(nn.Module):
    """States (N, T, D0), of any floating type -> (N, T, D), about as large as the positions that are added."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(before)
        self.linear = nn.Linear(before, after)
        nn.init.normal_(self.linear.weight, std=before**-0.5)
        nn.init.zeros_(self.linear.bias)

    def forward(self, states: Tensor) -> Tensor:
        return self.linear(self.norm(states.to(self.norm.weight.dtype))) * SPREAD


class Tuned(nn.Module):
    """ids, mask (N, T) -> tokens (N, T, D), sentence (N, D) through a pretrained network that moves, too.

    The players of a game have one rate, and Adam's steps are of that size whatever the gradient's. Pretrained weights
    want much smaller ones (Devlin et al. 2019, arXiv:1810.04805, appendix A.3: 2e-5 to 5e-5), so what is trained is
    each weight times 32: a step of 5e-4 moves the weight by 1.6e-5.
    """

    def __init__(self, tower: nn.Module, reader: nn.Module) -> None:
        super().__init__()
        self.reader = reader
        self.pretrained = nn.ParameterDict(
            {key.replace(".", "-"): nn.Parameter(p.detach() * SLOWER) for key, p in tower.named_parameters()}
        )
        self._shape = [copy.deepcopy(tower).to("meta")]  # in a list: its parameters are not this module's

    def forward(self, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        weights = {key.replace("-", "."): p / SLOWER for key, p in self.pretrained.items()}
        return self.reader(torch.func.functional_call(self._shape[0], weights, (text, mask)), mask)
