"""The model that comes with this plugin. Light: nothing is read until `load`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gantoolkit import ModelEntry

if TYPE_CHECKING:
    from gantoolkit.model import Model

BUNDLED = Path(__file__).parent / "weights" / "fashion-32"


def entries() -> list[ModelEntry]:
    summary = "clothes in grey at 32², ten classes (Fashion-MNIST)"
    return [ModelEntry("fashion-32", "generate", summary, _load, licence="MIT", default=True)]


def _load() -> Model:
    from gantoolkit.model import Model

    return Model.load(BUNDLED)
