"""`gantk run translate`: files in, translated files out; without any file, a sample that shows what to expect."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gantk_translate import depths
from gantk_translate.layout import Entry
from gantk_translate.options import RunOptions
from gantk_translate.reading import classes_of, palette, read
from gantk_translate.sides import Side
from gantk_translate.translator import Translator
from gantoolkit import apply, arrays, devices, images
from gantoolkit.apply import FileOptions, Progress
from gantoolkit.arrays import Array
from gantoolkit.errors import InputError, UsageError
from gantoolkit.images import Picture
from gantoolkit.model import find
from gantoolkit.task import Console

SAMPLE = Path(__file__).parent / "weights"
FAR = 2  # times the size that was learnt: larger pictures look quite different


def run(options: RunOptions, console: Console) -> int:
    """Translate every input; returns 0, 3 (the only file failed) or 4 (some failed)."""
    translator = Translator(
        find("translate", options.model),
        direction=options.direction,
        style=options.style,
        strength=options.strength,
        device=options.device,
        precision=options.precision,
        size=options.size,
        tile=options.tile,
        backend=options.backend,
    )
    if translator.device == "cpu":
        devices.hold_memory()
    if not options.inputs:
        return _sample(translator, options, console)

    files = Files(translator.source, translator.target)
    said: set[str] = set()

    def translate(held: Held, progress: Progress) -> Held:
        made = translated(translator, held, progress)
        for note in [*translator.notes, *hints(translator, *files.size(held))]:
            if options.out != "-" and note not in said:
                console.say(note)
            said.add(note)
        return made

    return apply.to_files(translate, options, console, model=translator.name, suffix=options.suffix, files=files)


Held = Picture | list[Array]


def translated(translator: Translator, held: Held, progress: Progress | None = None) -> Held:
    """A picture, or all slices of an array, translated."""
    if isinstance(held, Picture):
        return translator.picture(held, progress)
    if translator.size and held[0].kind == "NIFTI":
        raise InputError("--size would change the voxels that this NIfTI volume states", remedy="resample it before")
    return [replace(array, values=translator(array.values)) for array in held]


def hints(translator: Translator, height: int, width: int) -> list[str]:
    """What to try where the network sees a picture at quite another scale than it learnt."""
    learnt = translator.learnt
    if translator.size or translator.layered or not translator.whole or max(height, width) <= FAR * learnt:
        return []
    return [
        f"the model learnt whole pictures of {learnt}×{learnt} pixels, and sees larger ones much closer: "
        f"--size {learnt} shows them whole (the result then has that size)"
    ]


class Files(apply.Pictures):
    """Pictures, arrays and masks as the two sides of a model have them."""

    def __init__(self, source: Side, target: Side) -> None:
        self.source, self.target = source, target
        self.endings, self.otherwise = endings(target)

    def accepts(self, path: Path) -> bool:
        return images.is_picture(path) or arrays.kind_of(path) is not None

    def read(self, source: Path | bytes) -> Held:
        if isinstance(source, Path) and arrays.is_array(source):
            found = list(arrays.read_all(source))
            if depths.uses_all(self.source) and any(array.logical for array in found):
                remedy = "make true white: array.astype('uint8') * 255"
                raise InputError(
                    f"{source} is no picture", expected="uint8, uint16 or floating point", actual="bool", remedy=remedy
                )
            return found
        if self.source.kind != "mask":
            return images.read(source)
        if isinstance(source, Path):
            return Picture(read(Entry(source, source.stem), mask=True).values)
        indices = palette(source)
        return Picture(classes_of(images.read(source).pixels if indices is None else indices, "standard input"))

    def write(self, made: Held, target: Path | BinaryIO, options: FileOptions) -> None:
        kind = arrays.kind_of(target) if isinstance(target, Path) else None
        if isinstance(made, Picture) and self.target.kind == "mask":
            made = replace(made, pixels=made.pixels.astype(_smallest(self.target)))
        if isinstance(made, Picture) and (kind in ("NPY", "NIFTI") or not is_plain(made.pixels)):
            made = [Array(made.pixels, kind or "TIFF", flat=made.pixels.shape[2] == 1)]
        if not isinstance(made, Picture) and kind is None:
            if len(made) != 1 or not is_plain(made[0].values):
                raise InputError(
                    f"this array of {made[0].values.dtype} is no picture",
                    remedy="name a file that ends in .tif with -o",
                )
            made = Picture(np.ascontiguousarray(made[0].values))
        if isinstance(made, Picture):
            super().write(made, target, options)
        else:
            assert isinstance(target, Path)
            arrays.write(made, target, force=options.force)

    def size(self, held: Held) -> tuple[int, int]:
        return super().size(held) if isinstance(held, Picture) else held[0].values.shape[:2]


def endings(target: Side) -> tuple[Mapping[str, str], str]:
    """Suffix → format of what can hold the target side, and the suffix to choose where the input's is none of them.

    Pictures that use their type's range may be rounded to a format's depth. Other numbers mean something, and go only
    where they stay as they are.
    """
    if depths.uses_all(target):
        return images.WRITABLE, ".png"
    known: dict[str, str] = {
        suffix: kind for suffix, kind in arrays.SUFFIXES.items() if kind != "NIFTI" or target.channels == 1
    }
    kind = _smallest(target) if target.kind == "mask" else target.dtype
    whole = kind in ("uint8", "uint16") and target.channels in (1, 3)
    if whole:
        known[".png"] = "PNG"
    return known, ".png" if whole and target.kind == "mask" else ".tif"


def _smallest(mask: Side) -> str:
    """The type that a picture of the mask's classes has: 8 bits if they fit, else 16, else the mask's own."""
    for kind in ("uint8", "uint16"):
        if np.iinfo(kind).min <= min(mask.classes) and max(mask.classes) <= np.iinfo(kind).max:
            return kind
    return mask.dtype


def is_plain(values: np.ndarray) -> bool:
    """Whether `images` can write these values, (H, W, C), as they are."""
    return values.dtype in (np.uint8, np.uint16, np.float32) and values.shape[2] in (1, 3)


def _sample(translator: Translator, options: RunOptions, console: Console) -> int:
    """The picture that comes with the bundled model, translated."""
    folder = Path(options.out or "gantk-translate-sample")
    if folder.suffix or options.out == "-":
        raise UsageError(f"{folder} is not a folder's name", remedy="without inputs, -o names a folder")
    source = SAMPLE / translator.name / "sample.png"
    if not source.is_file():
        raise UsageError(f"the model {translator.name} comes with no sample", remedy="gantk run translate YOUR-PICTURE")
    before = images.read(source)
    started = time.perf_counter()
    after = translator.picture(before)
    seconds = time.perf_counter() - started
    shown = [_shown(picture) for picture in (before, after)]
    sheet = images.side_by_side(shown[0], shown[1], ("input", translator.name))
    paths = {name: folder / f"{name}.png" for name in ("input", "result", "before-after")}
    for picture, path in zip((before, after, Picture(sheet)), paths.values(), strict=True):
        images.write(picture, path, force=options.force or options.out is None)  # the folder of this name is ours
    height, width = after.pixels.shape[:2]
    console.say(f"a sample of {translator.name}: {width}×{height} in {seconds:.1f} s")
    console.say(f"before and after: {paths['before-after']}")
    console.say("next: gantk run translate YOUR-PICTURE.png")
    console.result({"model": translator.name, "seconds": seconds, "files": {k: str(p) for k, p in paths.items()}})
    return 0


def _shown(picture: Picture) -> np.ndarray:
    """(H, W, 3) uint8, transparency on white."""
    from gantk_translate.composing import on_white

    pixels = picture.pixels if picture.alpha is None else on_white(picture.pixels, picture.alpha)
    pixels = images.eight_bits(pixels)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
