"""Text encoders: from captions to what a network can look at. Plugins bring them by the hook `gantk_text_encoders`.

An encoder has two halves. `prepare` turns texts into tensors once, outside of any training: ids of subwords, or the
states of a frozen network. `network` makes what learns from those tensors, one for each player that reads.

Shapes: N texts, T tokens, D the width of what the network gives, D0 that of a frozen network's states.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from gantoolkit.errors import GantkError, InputError, UsageError
from gantoolkit.paths import expanded
from gantoolkit.plugins import current, loaded, near

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from gantoolkit.entries import TextEncoderEntry

FOLDERS = "local"  # the encoder that local folders go to
CACHE_FORMAT = 1  # changes whenever the same request would give other states
LONGEST = 64  # characters of a word; a longer one counts as several
_ASCII_WORD = re.compile(rf"[a-z0-9]{{1,{LONGEST}}}|[^a-z0-9\s]")  # what `_words` finds in ASCII, many times faster


@dataclass(frozen=True)
class TextSettings:
    """What a user chooses of an encoder.

    Attributes:
        width: D, of the trained network.
        layers: of its transformer; 0 leaves embeddings, positions and the pooling.
        tokens: T; longer texts are cut.
        vocabulary: subwords at most, where they are learnt.
        tune: train a pretrained network, too, where there is one.
        folder: where the weights lie, for the encoder that reads folders.
    """

    width: int = 128
    layers: int = 2
    tokens: int = 32
    vocabulary: int = 2_000
    tune: bool = False
    folder: str = ""

    def __post_init__(self) -> None:
        for name, lowest in (("width", 1), ("layers", 0), ("tokens", 2), ("vocabulary", 1)):
            if getattr(self, name) < lowest:
                raise UsageError(f"text encoder: {name}", expected=f"at least {lowest}", actual=getattr(self, name))


class TextEncoder(Protocol):
    """Turns texts into tensors, and makes networks that read them. A word's place in the text counts.

    Attributes:
        name: as in its `TextEncoderEntry`.
        width: D.
    """

    name: str
    width: int

    @classmethod
    def learn(cls, captions: Sequence[str] | None, settings: TextSettings) -> TextEncoder:
        """An encoder for these captions; None where an encoder needs none.

        Raises:
            UsageError: it needs captions, or a setting makes no sense.
            InputError: what it is made from cannot be read.
        """
        ...

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TextEncoder:
        """The encoder that `to_dict` told of; the same text gives the same tensors.

        Raises:
            InputError: values are missing, or what it is made from is not here or another.
        """
        ...

    def to_dict(self) -> dict[str, Any]:
        """What a model's `config.json` keeps to make the encoder again: JSON, with its name under "encoder"."""
        ...

    def prepare(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """What goes into a batch, on the CPU; any Unicode text works, the empty one too.

        Returns:
            "text": int64 N,T of ids, or float16 N,T,D0 of states; "mask": bool N,T, True where a token is. T is
            always the same, at least one token of a text is there, and a row depends on its text alone.
        """
        ...

    def unknown(self, text: str) -> list[str]:
        """The words of the text that no caption had which the encoder was made for; see `unknown`."""
        ...

    def network(self) -> nn.Module:
        """A new network that can be trained: `forward(text, mask) -> (tokens N,T,D, sentence N,D)`.

        Tokens are zero where no token is; what stands there in `text` changes nothing.
        """
        ...


def encoder(
    spec: str,
    captions: Sequence[str] | None = None,
    *,
    width: int = 128,
    layers: int = 2,
    tokens: int = 32,
    vocabulary: int = 2_000,
    tune: bool = False,
) -> TextEncoder:
    """The encoder that a user names, for these captions.

    Args:
        spec: the name of one that a plugin offers, or a local folder.
        captions: those of the data set that the encoder is for.
        width, layers, tokens, vocabulary, tune: see `TextSettings`.

    Raises:
        UsageError: no such encoder, or it cannot be used here.
        InputError: it cannot be made.
    """
    known = current().text_encoders()
    folder = ""
    if spec not in known and ("/" in spec or os.sep in spec or Path(spec).is_dir()):
        spec, folder = FOLDERS, spec
        if not expanded(folder).is_dir():
            raise InputError(f"text encoder: {folder} is not a folder", remedy=near(folder, known))
        folder = str(expanded(folder).resolve())  # a model is used from any directory
    settings = TextSettings(width, layers, tokens, vocabulary, tune, folder)
    return _usable(spec, known).learn(captions, settings)


def from_dict(values: Mapping[str, Any]) -> TextEncoder:
    """The encoder that a model was trained with, from what its config keeps.

    Raises:
        InputError: the values are not those of an encoder.
        UsageError: no installed plugin offers the encoder, or it cannot be used here.
    """
    name = values.get("encoder")
    if not isinstance(name, str):
        raise InputError("the model's config does not name its text encoder")
    try:
        return _usable(name, current().text_encoders()).from_dict(values)
    except GantkError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"the model's config does not describe the text encoder {name!r}: {error}") from error


def _usable(name: str, known: Mapping[str, TextEncoderEntry]) -> type[TextEncoder]:
    if name not in known:
        raise UsageError(f"no text encoder is called {name!r}", remedy=near(name, known))
    what = f"the text encoder {name!r}"
    if why := loaded(what, known[name].available):
        raise UsageError(f"{what} cannot be used: {why}")
    return loaded(what, known[name].load)


# ---- words ----


def composed(text: str) -> str:
    """In Unicode's form NFC, so that what looks alike is alike; halves of surrogate pairs become U+FFFD."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def normalised(text: str) -> str:
    """`composed`, in lower case."""
    return composed(composed(text).lower())


def words(text: str) -> list[str]:
    """The words of a text in order, normalised: runs of letters and digits; every other character stands alone.

    Marks (accents, variation selectors) stay with what they follow. Space separates and is dropped.
    """
    text = normalised(text)
    return _ASCII_WORD.findall(text) if text.isascii() else list(_words(text))


def known_words(captions: Iterable[str]) -> frozenset[str]:
    """The words of all captions, without punctuation: what `unknown` compares with."""
    return frozenset(filter(is_word, {word for caption in captions for word in words(caption)}))


def unknown(text: str, known: Set[str]) -> list[str]:
    """The words of the text that are not among the known ones, each once, in order."""
    return [word for word in dict.fromkeys(words(text)) if is_word(word) and word not in known]


def _words(text: str) -> Iterator[str]:
    word = ""
    for character in text:
        kind = unicodedata.category(character)[0]
        joins = kind == "M" or (kind in "LN" and unicodedata.category(word[:1] or ".")[0] in "LN")
        if word and (not joins or len(word) == LONGEST):
            yield word
            word = ""
        if not character.isspace():
            word += character
    if word:
        yield word


def is_word(word: str) -> bool:
    """Whether it says something: it is more than punctuation and control characters."""
    return any(unicodedata.category(character)[0] in "LNS" for character in word)


# ---- states of frozen networks, kept ----


def kept(
    texts: Sequence[str], facts: Sequence[Any], states: Callable[[Sequence[str]], list[np.ndarray]]
) -> list[np.ndarray]:
    """What a frozen network says of each text, kept under GANTK_HOME/texts by content.

    Args:
        texts: in any order; the file is found again for the same ones in the same order.
        facts: JSON: what, beside the texts, decides the states: the encoder, the hash of its weights, its settings.
        states: computes them: an array t,D0 for each text, t at least 1. Not called when the file is there.

    Returns:
        float16 arrays t,D0. A damaged file is made anew, and a full disk does not matter.
    """
    import numpy as np

    key = hashlib.sha256(json.dumps([CACHE_FORMAT, list(facts), list(texts)]).encode()).hexdigest()[:32]
    home = expanded(os.environ.get("GANTK_HOME") or "~/.gantoolkit")
    path = home / "texts" / f"{key}.safetensors"
    found = _read(path, len(texts))
    if found is None:
        made = [np.asarray(state, dtype=np.float16) for state in states(texts)]
        found = np.concatenate(made), np.array([len(state) for state in made], dtype=np.int64)
        _write(path, *found)
    rows, lengths = found
    return np.split(rows, np.cumsum(lengths)[:-1])


def _read(path: Path, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The rows of all texts and each one's number of rows, from a file that is whole, else None."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            rows, lengths = file.get_tensor("states"), file.get_tensor("lengths")
            digest = (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError):
        return None
    return (rows, lengths) if digest == _digest(rows, lengths) and len(lengths) == count else None


def _write(path: Path, rows: np.ndarray, lengths: np.ndarray) -> None:
    """Under its name only when complete. What cannot be kept is made again next time: no reason to fail."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"states": rows, "lengths": lengths}, temporary, metadata={"sha256": _digest(rows, lengths)})
        temporary.replace(path)
    except (OSError, SafetensorError):
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _digest(rows: np.ndarray, lengths: np.ndarray) -> str:
    facts = repr((rows.shape, str(rows.dtype), lengths.tolist())).encode()
    return hashlib.sha256(facts + rows.tobytes()).hexdigest()
