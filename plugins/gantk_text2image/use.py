"""`gantk run text2image`: pictures of prompts, a sheet of them, or a strip from one prompt to the next."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from itertools import count, islice, pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gantk_text2image.options import RunOptions
from gantk_text2image.painter import Painter, checked
from gantk_text2image.show import sheet
from gantoolkit import images, paths, texts
from gantoolkit.animation import ANIMATED, write_animation
from gantoolkit.apply import opened
from gantoolkit.errors import InputError, UsageError
from gantoolkit.images import Picture
from gantoolkit.model import find
from gantoolkit.task import Console

FOLDER = Path("gantk-text2image")
SAMPLES = ("a red apple", "a yellow star", "a blue fish", "a green tree")
NAME = 60  # bytes of a prompt in a file's name
SHOWN, COLUMNS = 64, 8  # pictures of a sheet, and of its rows
STRIP, STEPS, RATE = 8, 16, 16  # pictures of a strip; frames of an animation from prompt to prompt, and a second


def run(options: RunOptions, console: Console) -> int:
    """Write what was asked for; 0 when done."""
    asked = prompts(options.prompts) if options.prompts else list(SAMPLES)
    if options.interpolate is not None:
        return _between(asked, options, options.interpolate, console)
    return _pictures(asked, options, console)


def _pictures(asked: Sequence[str], options: RunOptions, console: Console) -> int:
    started = time.perf_counter()
    folder = options.out or FOLDER
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", expected="a folder", remedy="name another one with -o")
    wanted = ((prompt, options.seed + i) for prompt in asked for i in range(options.number))
    rows = list(islice(wanted, SHOWN if options.grid else None))
    targets = [] if options.grid else [folder / name for name in names(rows)]
    grid = folder / "grid.png"
    paths.refuse_targets([*targets, grid], force=options.force)
    painter = _painter(asked, options, console)
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
    columns = options.number if 1 < options.number <= COLUMNS else COLUMNS
    images.write(Picture(sheet(kept, [prompt for prompt, _ in rows[:SHOWN]], columns)), grid, force=options.force)
    seconds = time.perf_counter() - started
    what = "picture" if len(rows) == 1 else "pictures"
    console.say(f"{len(rows)} {what} by {painter.name} in {seconds:.1f} s, in {folder}")
    whole = len(kept) == len(asked) * options.number
    console.say(f"{'all' if whole else f'the first {len(kept)}'} on one sheet: {grid}")
    if not options.prompts:
        console.say('next: gantk run text2image "YOUR WORDS"')
    console.result({"sheet": str(grid), "number": len(rows), "seconds": round(seconds, 3)})
    return 0


def _painter(asked: Sequence[str], options: RunOptions, console: Console) -> Painter:
    """The model, which says what it will not heed in the prompts."""
    painter = Painter(find("text2image", options.model), options.device, options.precision)
    for prompt in dict.fromkeys(asked):
        if unknown := painter.unknown(prompt):
            more = f" and {len(unknown) - 8:,} more" if len(unknown) > 8 else ""
            console.warn(f"{prompt[:60]!r}: the model {painter.name} does not know {', '.join(unknown[:8])}{more}")
        if painter.cut(prompt):
            console.warn(f"{prompt[:60]!r}: too long for the model {painter.name}, which reads only its beginning")
    return painter


def prompts(given: Sequence[str]) -> list[str]:
    """What the arguments say: texts, `.txt` files with a prompt a line, `-` for standard input; no empty lines.

    Raises:
        InputError: a file that cannot be read as text, or has no line. UsageError: see `painter.checked`.
    """
    found: list[str] = []
    for word in given:
        if word == "-":
            found += _lines("standard input", opened(sys.stdin, "input").buffer.read())
        elif word.lower().endswith(".txt"):
            try:
                found += _lines(word, Path(word).read_bytes())
            except OSError as error:
                raise InputError(f"cannot read {word}: {error.strerror or error}") from error
        else:
            found.append(texts.composed(word))
    return [checked(prompt) for prompt in found]


def _lines(name: str, content: bytes) -> list[str]:
    try:
        lines = texts.composed(content.decode("utf-8-sig")).splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read {name}: it is not UTF-8") from error
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise InputError(f"{name} has no prompt", expected="one a line")
    return found


def names(rows: Sequence[tuple[str, int]]) -> list[str]:
    """A file's name for each (prompt, seed): the words and the seed, and a number where that is taken."""
    found: dict[str, None] = {}
    for prompt, seed in rows:
        plain = "-".join(word for word in texts.words(prompt) if word[0].isalnum())
        plain = plain.encode()[:NAME].decode(errors="ignore").rstrip("-") or "prompt"
        stem = f"{plain}-{seed:04d}"
        tries = (f"{stem}-{number}" if number > 1 else stem for number in count(1))
        found[next(name for name in tries if name not in found)] = None
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


# ---- from prompt to prompt ----


def _between(asked: Sequence[str], options: RunOptions, target: Path, console: Console) -> int:
    """A strip or an animation through the prompts."""
    if len(asked) < 2:
        raise UsageError("an interpolation goes through at least 2 prompts", actual=len(asked))
    if unheeded := [f"--{name}" for name in ("number", "out", "grid") if name in options.model_fields_set]:
        raise UsageError(f"--interpolate writes one file and takes no {', '.join(unheeded)}")
    moving = target.suffix.lower() in ANIMATED
    if not moving:
        images.format_for(target)
    paths.refuse_targets([target], force=options.force)
    painter = _painter(asked, options, console)
    steps = STEPS if moving else max(2, STRIP // (len(asked) - 1))
    frames = []
    with console.progress((len(asked) - 1) * steps + 1, "frames", "making frames") as bar:
        made = between(painter, asked, steps, options.seed, options.guidance, options.truncation)
        for frame in enlarged(made, options.upscale, options.device):
            frames.append(frame)
            bar.advance(1)
    if moving:
        write_animation((sheet([frame], [""], 1) for frame in frames), target, RATE)
    else:
        over = [asked[i // steps] if i % steps == 0 else "" for i in range(len(frames))]
        images.write(Picture(sheet(frames, over, len(frames))), target, force=options.force)
    console.result({"path": str(target), "frames": len(frames)})
    console.say(f"{len(frames)} pictures: {target}")
    return 0


def between(
    painter: Painter, asked: Sequence[str], steps: int, seed: int, guidance: float, truncation: float
) -> Iterator[np.ndarray]:
    """Each prompt's own picture of a seed, and `steps` - 1 pictures on the way to the next."""
    z = painter.noise(seed) * truncation
    read = [painter.read(prompt) for prompt in asked]
    for one, other in pairwise(read):
        yield painter.render(one, z, guidance)
        for step in range(1, steps):
            yield painter.render(_mixed(one, other, step / steps), z, guidance)
    yield painter.render(read[-1], z, guidance)


def _mixed(
    one: tuple[Tensor, Tensor, Tensor], other: tuple[Tensor, Tensor, Tensor], share: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What was read of two prompts as one: `share` of the other's tokens and sentence.

    The tokens lie side by side. An attention adds its mask to the exponents, so that the log of a share scales weights.
    """
    masks = [
        torch.zeros_like(mask, dtype=tokens.dtype).masked_fill(~mask, -torch.inf) + torch.tensor(part).log().item()
        for (tokens, mask, _), part in ((one, 1 - share), (other, share))
    ]
    return torch.cat([one[0], other[0]], 1), torch.cat(masks, 1), torch.lerp(one[2], other[2], share)
