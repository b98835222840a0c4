"""An encoder from a local folder of BERT's kind (sentence-transformers, Hugging Face) or of CLIP's."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gantoolkit.errors import InputError

from . import towers
from .pretrained import Pretrained, Source

MOVED = "GANTK_TEXT_ENCODER"  # the folder's place on this machine, where a model's config names another
WEIGHTS = ("model.safetensors", "pytorch_model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth")
REMEDY = "name a folder with config.json, tokenizer.json and model.safetensors"


class Local(Pretrained):
    """The network in a folder that the user names."""

    name = "local"

    @classmethod
    def source_of(cls, folder: str) -> Source:
        path = Path(folder)
        if not path.is_dir() and os.environ.get(MOVED):
            path = Path(os.environ[MOVED])
        if not folder or not path.is_dir():
            raise InputError(
                f"the text encoder's folder {folder!r} is not here", remedy=f"name its new place in {MOVED}"
            )
        return read(path.resolve())


def read(folder: Path) -> Source:
    """The network, the tokenizer and the sizes that a folder holds.

    Raises:
        InputError: a file is missing or damaged, the model is of another kind, or its tensors do not fit its config.
    """
    inner = _inner(folder)
    config = inner / "config.json"
    tokenizer = next((f / "tokenizer.json" for f in (inner, folder) if (f / "tokenizer.json").is_file()), None)
    weights = next((inner / name for name in WEIGHTS if (inner / name).is_file()), None)
    for file, name in ((config, "config.json"), (tokenizer, "tokenizer.json"), (weights, WEIGHTS[0])):
        if file is None or not file.is_file():
            raise InputError(f"{folder} holds no {name}", remedy=REMEDY)
    assert weights is not None and tokenizer is not None
    digest = hashlib.sha256()
    for file in (config, tokenizer, weights):
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return _read(config, tokenizer, weights, digest.hexdigest()[:12])


@lru_cache(maxsize=2)
def _read(config: Path, tokenizer: Path, weights: Path, digest: str) -> Source:
    """One copy a content in the process."""
    try:
        sizes = towers.Sizes.read(_json(config, dict))
        tower = towers.load(_tensors(weights), sizes)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{weights.parent} is not a text encoder that can be used", expected=error) from error
    speller = spelling(tokenizer)
    most = max(speller.get_vocab().values(), default=0)
    if most >= sizes.vocabulary:
        raise InputError(f"{tokenizer} is of another model", expected=f"ids below {sizes.vocabulary}", actual=most)
    return Source(speller, tower, sizes.width, sizes.positions, digest)


def spelling(path: Path) -> Any:
    """The tokenizer in a file, which neither pads nor cuts.

    Raises:
        InputError: it cannot be read.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise InputError(f"{path} cannot be read as a tokenizer: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _inner(folder: Path) -> Path:
    """Where the transformer lies: older sentence-transformers folders have it one below, and say so."""
    modules = folder / "modules.json"
    if not modules.is_file():
        return folder
    listed = _json(modules, list)
    try:
        inner = folder / str(listed[0]["path"])
    except (IndexError, KeyError, TypeError) as error:
        raise InputError(f"{modules} does not name its first module's path", remedy=REMEDY) from error
    if not inner.resolve().is_relative_to(folder):
        raise InputError(f"{modules} names a folder outside of its own: {listed[0]['path']}")
    return inner


def _json(path: Path, kind: type) -> Any:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}", remedy=REMEDY) from error
    if not isinstance(found, kind):
        raise InputError(f"{path} cannot be read", expected=f"a JSON {kind.__name__}", remedy=REMEDY)
    return found


def _tensors(path: Path) -> dict[str, Tensor]:
    """Nothing in a file is ever run."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(f"{path} holds more than tensors and is refused", remedy="use a .safetensors file") from error
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise InputError(f"{path} cannot be read as weights: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputError(f"{path} holds no tensors by name")
    return found
