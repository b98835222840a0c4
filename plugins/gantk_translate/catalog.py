"""The models that this plugin offers by name."""

from __future__ import annotations

from gantoolkit import ModelEntry


def entries() -> list[ModelEntry]:
    """Bundled models, in the order they are listed."""
    return []
