"""A third party's policy in one file, quick to import, that can be slow, fail or die: for tests of who runs it."""

from __future__ import annotations

from pathlib import Path

PLUGIN = '''
import os
import time
from collections.abc import Sequence

import numpy as np

from gantoolkit import hookimpl
from gantoolkit.errors import InputError
from gantoolkit.samples import Made


class Noise:
    """Adds noise. Settings: seconds it takes; names of classes at which it fails, raises or dies."""

    name, needs_source, chunk = "noise", True, 1

    def __init__(self, settings):
        self.settings = settings

    def make(self, requests):
        return [self.one(request) for request in requests]

    def one(self, request):
        time.sleep(self.settings.get("seconds", 0))
        if request.label == self.settings.get("dies", ""):
            os.kill(os.getpid(), 9)
        if request.label == self.settings.get("raises", ""):
            raise ValueError("no\\\\nnoise here")
        if request.label == self.settings.get("fails", ""):
            return InputError("this class is quiet")
        picture = request.source.picture
        noise = np.random.default_rng(request.seed).integers(0, 60, picture.shape, np.uint8)
        made = request.source.with_picture(picture // 2 + noise)
        return Made(made, {"sum": int(noise.sum())})


class Plain(Noise):
    """A class's grey, from nothing, four at a time."""

    name, needs_source, chunk = "plain", False, 4

    def one(self, request):
        from gantoolkit.samples import Sample

        return Made(Sample(np.full((8, 8, 3), request.seed % 256, np.uint8), request.label), {})


@hookimpl
def gantk_augmentations():
    return {"noise": Noise, "plain": Plain}
'''


def write(folder: Path, **settings: object) -> tuple[Path, Path]:
    """(a folder for `--plugins-dir`, a recipe with these settings)."""
    (folder / "plugins").mkdir(parents=True, exist_ok=True)
    (folder / "plugins" / "noise.py").write_text(PLUGIN.replace("\\\\n", "\\n"), encoding="utf-8")
    recipe = folder / "noise.yaml"
    recipe.write_text("".join(f"{key}: {value}\n" for key, value in settings.items()) or "{}\n", encoding="utf-8")
    return folder / "plugins", recipe
