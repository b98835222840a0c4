"""`gantk run generate`: pictures and their sheet, and what latents are good for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gantk_generate import latents, show
from gantk_generate.options import RunOptions
from gantk_generate.sampler import Sampler
from gantoolkit import animation, arrays, images, paths, scan
from gantoolkit.arrays import Array
from gantoolkit.errors import InputError, UsageError
from gantoolkit.images import Picture
from gantoolkit.model import find
from gantoolkit.task import Console

FOLDER = Path("gantk-generate")
FRAMES = 16  # of an animation, from one picture to the next
RATE = 16  # frames a second
STOPS = 8  # pictures that an animation goes through
MIXED = 6  # sources and targets of a sheet of mixed styles


def run(options: RunOptions, console: Console) -> int:
    """Write what was asked for; 0 when done."""
    sampler = Sampler(find("generate", options.model), options.device, options.precision)
    folder = options.out or FOLDER
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", expected="a folder", remedy="name another one with -o")
    if sampler.arch == "mlp":
        return _points(sampler, options, folder, console)
    if options.interpolate is not None:
        return _animation(sampler, options, options.interpolate, console)
    if options.project is not None:
        return _projection(sampler, options, options.project, folder, console)
    if options.mix:
        target = _free(folder / "mix.png", options)
        sheet = latents.mixing_sheet(sampler, MIXED, seed=options.seed, label=options.label or None)
        return _one(sheet, target, options, console)
    if options.directions:
        target = _free(folder / "directions.png", options)
        sheet = latents.directions_sheet(sampler, options.directions, seed=options.seed, label=options.label or None)
        return _one(sheet, target, options, console)
    return _pictures(sampler, options, folder, console)


def _points(sampler: Sampler, options: RunOptions, folder: Path, console: Console) -> int:
    pictures = ("interpolate", "project", "mix", "directions", "grid", "label", "truncation")
    if unheeded := [f"--{name}" for name in pictures if name in options.model_fields_set]:
        raise UsageError(f"the model {sampler.name!r} makes points, and knows no {', '.join(unheeded)}")
    target = _free(folder / "points.npy", options)
    made = sampler.points(options.number, seed=options.seed)
    arrays.write(Array(made[..., None], flat=True), target, force=options.force)
    console.result({"path": str(target), "number": len(made), "model": sampler.name})
    console.say(f"{len(made)} points of {made.shape[1]} coordinates: {target}")
    return 0


def _pictures(sampler: Sampler, options: RunOptions, folder: Path, console: Console) -> int:
    labels = sampler.labels(options.number, options.label or None)
    digits = max(4, len(str(options.seed + options.number - 1)))
    names = [f"{options.seed + i:0{digits}d}{_word(sampler, labels, i)}.png" for i in range(options.number)]
    targets = [] if options.grid else [folder / name for name in names]
    grid = folder / "grid.png"
    paths.refuse_targets([*targets, grid], force=options.force)
    started = time.perf_counter()
    kept: list[np.ndarray] = []
    made = sampler.pictures(
        options.number, seed=options.seed, label=options.label or None, truncation=options.truncation
    )
    with console.progress(options.number, "pictures", "making pictures") as bar:
        for index, picture in enumerate(made):
            if len(kept) < show.SHEET * 4:
                kept.append(picture)
            if targets:
                images.write(as_picture(picture), targets[index], force=options.force)
                console.result({"path": str(targets[index]), "seed": options.seed + index, "model": sampler.name})
            bar.advance(1)
    seconds = time.perf_counter() - started
    columns = len(sampler.classes) if not options.label and 4 <= len(sampler.classes) <= 16 else 8
    images.write(Picture(show.sheet(kept, min(columns, len(kept)))), grid, force=options.force)
    console.result({"sheet": str(grid), "number": options.number, "seconds": round(seconds, 3)})
    size = "×".join(str(side) for side in reversed(sampler.size))
    what = "picture" if options.number == 1 else "pictures"
    console.say(f"{options.number} {what} of {size} by {sampler.name} in {seconds:.1f} s, in {folder}")
    console.say(f"{'all' if len(kept) == options.number else f'the first {len(kept)}'} on one sheet: {grid}")
    if options.model is None:
        console.say("next: gantk train generate YOUR-PICTURES/")
    return 0


def _animation(sampler: Sampler, options: RunOptions, target: Path, console: Console) -> int:
    """Round trip through pictures of consecutive seeds and their classes."""
    animation.kind_of(_free(target, options))
    stops = min(options.number, STOPS)
    if stops < 2:
        raise UsageError("an animation goes through at least 2 pictures", actual=f"-n {options.number}")
    labels = sampler.labels(stops, options.label or None)
    inputs = sampler.inputs(sampler.latents(stops, options.seed), labels)
    inputs = sampler.truncated(inputs, labels, options.truncation)
    path = latents.interpolate(inputs, FRAMES, loop=True, between=latents.between_inputs(sampler.generator))
    with console.progress(len(path), "frames", "making frames") as bar:
        frames = []
        for picture in sampler.render(path):
            frames.append(show.sheet([picture], 1))
            bar.advance(1)
    animation.write_animation(frames, target, RATE)
    console.result({"path": str(target), "frames": len(frames)})
    console.say(f"{len(frames)} frames: {target}")
    return 0


def _projection(sampler: Sampler, options: RunOptions, file: Path, folder: Path, console: Console) -> int:
    """The picture that the model can make which is nearest to a file."""
    target = _free(folder / "projection.png", options)
    try:
        pixels, _ = scan.decode(file.read_bytes(), file.name)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from error
    small = scan.conform(pixels, sampler.size, sampler.channels, sampler.fit)  # as training saw its pictures
    label = sampler.labels(1, options.label) if options.label else None
    found = latents.project(small, sampler.generator, seed=options.seed, label=label)
    made = sampler.render(found.latent)[0]
    sheet = show.sheet([small, made], 2, ["the picture", "the model's"])
    console.say(f"nearest picture of {sampler.name}: {found.psnr:.1f} dB PSNR")
    return _one(sheet, target, options, console, psnr=found.psnr)


def _free(target: Path, options: RunOptions) -> Path:
    """The target, refused before the work rather than after it."""
    paths.refuse_targets([target], force=options.force)
    return target


def _one(sheet: np.ndarray, target: Path, options: RunOptions, console: Console, **facts: Any) -> int:
    images.write(Picture(sheet), target, force=options.force)
    console.result({"path": str(target), **facts})
    console.say(f"wrote {target}")
    return 0


def _word(sampler: Sampler, labels: torch.Tensor | None, index: int) -> str:
    """The class as part of a file's name."""
    if labels is None:
        return ""
    plain = "".join(c if c.isalnum() else "-" for c in sampler.classes[int(labels[index])].lower())
    return f"-{plain.strip('-')}"


def as_picture(picture: np.ndarray) -> Picture:
    """H,W,C uint8 as a file holds it: grey stays grey, the fourth channel is alpha."""
    if picture.shape[2] == 4:
        return Picture(np.ascontiguousarray(picture[:, :, :3]), alpha=np.ascontiguousarray(picture[:, :, 3]))
    return Picture(np.ascontiguousarray(picture))
