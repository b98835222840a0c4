"""`gantk run text2image`: pictures of prompts, a sheet of them, or a strip from one prompt to the next."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from gantk_text2image.options import RunOptions
from gantk_text2image.painter import Painter
from gantk_text2image.show import sheet
from gantoolkit import images
from gantoolkit.animation import ANIMATED, write_animation
from gantoolkit.errors import InputError, UsageError
from gantoolkit.images import Picture
from gantoolkit.model import find
from gantoolkit.task import Console

FOLDER = Path("gantk-text2image")
SAMPLES = ("a red apple", "a yellow star", "a blue fish", "a green tree")
LONGEST = 10_000  # characters of a prompt: a longer one is a file by mistake
SHOWN = 64  # pictures of a sheet
STEPS, RATE = 16, 16  # frames from one prompt to the next, frames a second


def run(options: RunOptions, console: Console) -> int:
    """Write what was asked for; 0 when done."""
    started = time.perf_counter()
    painter = Painter(find("text2image", options.model), options.device, options.precision)
    asked = list(prompts(options.prompts)) or list(SAMPLES)
    for prompt in asked:
        if unknown := painter.unknown(prompt):
            console.warn(f"{prompt[:60]!r}: the model {painter.name} does not know {', '.join(unknown[:8])}")
    if options.interpolate is not None:
        return _between(painter, asked, options, options.interpolate, console)
    folder = options.out or FOLDER
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", expected="a folder", remedy="name another one with -o")
    rows = [(prompt, options.seed + i) for prompt in asked for i in range(options.number)]
    targets = [] if options.grid else [folder / name for name in names(rows)]
    grid = folder / "grid.png"
    taken = [path for path in [*targets, grid] if path.exists()]
    if taken and not options.force:  # before any work, and not after half of it
        raise UsageError(f"{taken[0]} exists already", remedy="overwrite it with --force, or name a folder with -o")
    for prompt in asked:
        painter.read(prompt)  # an empty one is said before anything is written
    kept: list[np.ndarray] = []
    with console.progress(len(rows), "pictures", "making pictures") as bar:
        made = painter.pictures(rows, guidance=options.guidance, truncation=options.truncation)
        for index, picture in enumerate(enlarged(made, options.upscale, options.device)):
            if len(kept) < SHOWN:
                kept.append(picture)
            if targets:
                images.write(Picture(np.ascontiguousarray(picture)), targets[index], force=options.force)
                prompt, seed = rows[index]
                console.result({"path": str(targets[index]), "prompt": prompt, "seed": seed, "model": painter.name})
            bar.advance(1)
    columns = options.number if options.number > 1 else min(8, len(kept))
    images.write(Picture(sheet(kept, [prompt for prompt, _ in rows[: len(kept)]], columns)), grid, force=options.force)
    seconds = time.perf_counter() - started
    what = "picture" if len(rows) == 1 else "pictures"
    console.say(f"{len(rows)} {what} by {painter.name} in {seconds:.1f} s, in {folder}")
    console.say(f"all on one sheet: {grid}")
    if not options.prompts:
        console.say('next: gantk run text2image "YOUR WORDS"')
    console.result({"sheet": str(grid), "number": len(rows), "seconds": round(seconds, 3)})
    return 0


def prompts(given: Sequence[str]) -> Iterator[str]:
    """What the arguments say: texts, `.txt` files with a prompt a line, `-` for standard input; no empty lines.

    Raises:
        InputError: a file that cannot be read as text. UsageError: a prompt of more than 10,000 characters.
    """
    for word in given:
        if word == "-":
            found = sys.stdin.read().splitlines()
        elif word.lower().endswith(".txt"):
            try:
                found = Path(word).read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                raise InputError(f"cannot read {word}: {why}") from error
        else:
            yield _short(word)
            continue
        yield from (_short(line.strip()) for line in found if line.strip())


def _short(prompt: str) -> str:
    if len(prompt) > LONGEST:
        raise UsageError(
            "the prompt is too long", expected=f"at most {LONGEST:,} characters", actual=f"{len(prompt):,}"
        )
    return prompt


def names(rows: Sequence[tuple[str, int]]) -> list[str]:
    """A file's name for each (prompt, seed): the words and the seed, each name once."""
    found: dict[str, int] = {}
    for prompt, seed in rows:
        plain = re.sub(r"\W+", "-", prompt.lower()).strip("-")[:60].rstrip("-") or "prompt"
        name = f"{plain}-{seed:04d}"
        found[f"{name}-{sum(key.startswith(name) for key in found) + 1}" if name in found else name] = seed
    return [f"{name}.png" for name in found]


def enlarged(pictures: Iterator[np.ndarray], scale: int, device: str) -> Iterator[np.ndarray]:
    """Each picture enlarged by the task superres; 0 leaves them."""
    if not scale:
        yield from pictures
        return
    import gantoolkit

    enlarge = gantoolkit.load("superres", scale=scale, device=device)
    for picture in pictures:
        yield enlarge(np.ascontiguousarray(picture))


def _between(painter: Painter, asked: Sequence[str], options: RunOptions, target: Path, console: Console) -> int:
    """A strip or an animation through the prompts: one noise, texts mixed in a straight line."""
    if len(asked) < 2:
        raise UsageError("an interpolation goes through at least 2 prompts", actual=f"{len(asked)}")
    if target.exists() and not options.force:
        raise UsageError(f"{target} exists already", remedy="overwrite it with --force")
    moving = target.suffix.lower() in ANIMATED
    steps = STEPS if moving else max(2, 8 // (len(asked) - 1))
    read = [painter.read(prompt) for prompt in asked]
    z = painter.noise(options.seed) * options.truncation
    frames = []
    with console.progress((len(asked) - 1) * steps + 1, "frames", "making frames") as bar:
        for (tokens, mask, sentence), (others, other_mask, other) in pairwise(read):
            for step in range(steps):
                share = step / steps
                # both texts' tokens side by side; those of the farther one fade, and are gone at the ends
                mixed = (
                    torch.cat([tokens * (1 - share), others * share], 1),
                    torch.cat([mask & torch.tensor(share < 1), other_mask & torch.tensor(share > 0)], 1),
                    torch.lerp(sentence, other, share),
                )
                frames.append(painter.render(mixed, z, options.guidance))
                bar.advance(1)
        frames.append(painter.render(read[-1], z, options.guidance))
        bar.advance(1)
    if moving:
        write_animation((sheet([frame], [""], 1) for frame in frames), target, RATE)
    else:
        under = [asked[i // steps] if i % steps == 0 else "" for i in range(len(frames))]
        images.write(Picture(sheet(frames, under, len(frames))), target, force=options.force)
    console.result({"path": str(target), "frames": len(frames)})
    console.say(f"{len(frames)} pictures: {target}")
    return 0
