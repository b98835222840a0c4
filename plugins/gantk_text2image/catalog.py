"""The models and text encoders that this plugin offers by name. Light: nothing is read until `load`."""

from __future__ import annotations

from gantoolkit import ModelEntry, TextEncoderEntry

TEXT = "gantk_text2image.text"


def entries() -> list[ModelEntry]:
    """Bundled models, in the order they are listed."""
    return []


def encoders() -> list[TextEncoderEntry]:
    """Text encoders, the default first."""
    return [
        TextEncoderEntry("trained", "subwords and a transformer learnt from the captions", f"{TEXT}.trained:Trained"),
    ]
