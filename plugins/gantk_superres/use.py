"""`gantk run superres`: files in, larger files out; without any file, a sample that shows what to expect."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from gantk_superres.enlarge import Enlarger
from gantk_superres.options import RunOptions
from gantoolkit import apply, devices, images, metrics
from gantoolkit.errors import UsageError
from gantoolkit.model import find
from gantoolkit.resample import resize_array
from gantoolkit.task import Console

SAMPLE_CREDIT = "Chelsea the cat, by Stéfan van der Walt (CC0), from scikit-image"


def run(options: RunOptions, console: Console) -> int:
    """Enlarge every input; returns 0, 3 (the only file failed) or 4 (some failed)."""
    model = find("superres", options.model)
    enlarger = Enlarger(
        model,
        scale=options.outscale or options.scale,
        detail=options.detail,
        device=options.device,
        precision=options.precision,
        tile=options.tile,
        backend=options.backend,
    )
    if enlarger.device == "cpu":
        devices.hold_memory()
    if not options.inputs:
        return _sample(enlarger, options, console)
    suffix = options.suffix if options.suffix is not None else f"_x{enlarger.scale:g}"
    return apply.to_files(enlarger.picture, options, console, model=enlarger.name, suffix=suffix, becomes=enlarger.size)


def _sample(enlarger: Enlarger, options: RunOptions, console: Console) -> int:
    """A photo the model has never seen, made small and enlarged again, so that the result can be measured."""
    from skimage import data

    folder = Path(options.out or "gantk-superres-sample")
    if folder.suffix or options.out == "-":
        raise UsageError(f"{folder} is not a folder's name", remedy="without inputs, -o names a folder")
    truth = data.chelsea()[:, :448]
    scale = 4
    truth = np.ascontiguousarray(truth[: truth.shape[0] // scale * scale])
    small = resize_array(truth, (truth.shape[0] // scale, truth.shape[1] // scale))
    started = time.perf_counter()
    large = enlarger(small)
    seconds = time.perf_counter() - started
    paths = {name: folder / f"{name}.png" for name in ("input", "result", "before-after")}
    force = options.force or options.out is None  # the folder of this name is ours
    images.write(images.Picture(small), paths["input"], force=force)
    images.write(images.Picture(large), paths["result"], force=force)
    bicubic = resize_array(small, large.shape[:2])
    captions = (f"bicubic ×{enlarger.scale:g}", f"{enlarger.name} ×{enlarger.scale:g}")
    sheet = images.side_by_side(bicubic, large, captions)
    images.write(images.Picture(sheet), paths["before-after"], force=force)
    before, after = (f"{picture.shape[1]}×{picture.shape[0]}" for picture in (small, large))
    console.say(f"{SAMPLE_CREDIT}: {before} → {after} in {seconds:.1f} s")
    row: dict[str, Any] = {"model": enlarger.name, "seconds": seconds, "files": {k: str(p) for k, p in paths.items()}}
    if large.shape == truth.shape:
        for name, picture in (("bicubic", bicubic), (enlarger.name, large)):
            cards = [metric([picture], [truth], crop=scale) for metric in (metrics.psnr, metrics.perceptual)]
            row[name] = {card.name: card.value for card in cards}
            figures = (f"{card.name} {card.value:.3f} {card.unit}".rstrip() for card in cards)
            console.say(f"  {name:<12}" + "   ".join(figures))
        console.say(f"  (against the original; higher {cards[0].name} and lower {cards[1].name} are better)")
    console.say(f"before and after: {paths['before-after']}")
    console.say("next: gantk run superres YOUR-PHOTO.jpg")
    console.result(row)
    return 0
