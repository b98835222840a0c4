"""The model that comes with this plugin. Light: nothing is read until `load`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gantoolkit import ModelEntry

if TYPE_CHECKING:
    from gantoolkit.model import Model

WEIGHTS = Path(__file__).parent / "weights"


def entries() -> list[ModelEntry]:
    """Bundled models, in the order they are listed."""
    summary = "line art → coloured drawing, in the manner of OpenMoji"
    return [ModelEntry("line-art", "translate", summary, _load, licence="CC-BY-SA-4.0", default=True)]


def _load() -> Model:
    from gantoolkit.model import Model

    return Model.load(WEIGHTS / "line-art")
