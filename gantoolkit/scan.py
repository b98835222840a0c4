"""What is in the pictures of a source, what training makes of them, and what keeps it from starting.

Training and `gantk data check` both ask `scan`: what one lists as a problem, the other refuses.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gantoolkit import images
from gantoolkit.decoders import DECODERS, pixel_limit
from gantoolkit.encoders import exif_orientation
from gantoolkit.errors import GantkError, InputError
from gantoolkit.layouts import Layout, read_layout
from gantoolkit.store import Store

Fit = Literal["crop", "pad", "stretch"]
Size = tuple[int, int]  # height, width

FEWEST = 8  # pictures or points: fewer are a mistake, not a data set
MEMORY = 2**30  # bytes of decoded pictures that are kept
REMEDY = "`gantk data check` lists all that is wrong"


@dataclass
class Scan:
    """Everything that is known of a source before training: its layout, and what is in its pictures.

    Attributes:
        layout: names, labels, problems and notes, with what the pictures added to them.
        shapes: (N, 3) int64, height, width and channels as stored (2 and 4: with alpha); zeros where unreadable.
        kept: the decoded pictures (H, W, 1 to 4) uint8 while they fit in memory, else ().
    """

    layout: Layout
    shapes: np.ndarray
    kept: Sequence[np.ndarray]


def scan(source: Path | Store, *, labelled: bool = True, thorough: bool = False) -> Scan:
    """Look at every picture of a folder, a zip or a store. The first gigabyte is decoded, of the rest headers unless
    `thorough`.

    Raises:
        InputError: no such source, or neither a folder nor a zip.
    """
    layout = read_layout(source, labelled)
    if len(layout.names) < FEWEST:
        found, root = f"only {len(layout.names)} pictures" if layout.names else "no pictures", layout.store.root
        layout.problems.append((str(root), f"{found} in {root}, expected at least {FEWEST}"))
    shapes = np.zeros((len(layout.names), 3), np.int64)
    kept: list[np.ndarray] = []
    damaged, volume, deep = [], 0, 0
    for index, name in enumerate(layout.names):
        try:
            content = layout.store.read(name)
            shape = _header(content) if volume > MEMORY and not thorough else None
            if shape is None:
                pixels, rounded = decode(content, name)
                shape, volume, deep = pixels.shape, volume + pixels.nbytes, deep + rounded
                if volume <= MEMORY:
                    kept.append(pixels)
            shapes[index] = shape
        except GantkError as error:
            damaged.append((name, str(error)))
    layout.refuse(damaged, "damaged or unreadable pictures")
    if deep:
        layout.notes.append(f"{deep:,} pictures have more than 8 bits a sample, which are rounded to 8")
    return Scan(layout, shapes, kept if len(kept) == len(layout.names) else ())


class _Named(io.BytesIO):
    name = ""


def decode(content: bytes, name: str) -> tuple[np.ndarray, bool]:
    """((H, W, C) uint8 with alpha as the last of 2 or 4 channels, whether samples had more than 8 bits).

    Raises:
        InputError: see `images.read`; it names the picture.
    """
    plain = _plain(content)
    if plain is not None:
        return plain, False
    stream = _Named(content)
    stream.name = name
    picture = images.read(stream)
    if picture.pixels.dtype == np.float32 and images.leaves_unit(picture.pixels):
        raise InputError(
            f"{name} is no picture of floating point", expected="samples in [0, 1]",
            actual=f"{picture.pixels.min():g} to {picture.pixels.max():g}",
        )  # fmt: skip
    pixels = images.eight_bits(picture.pixels)
    if picture.alpha is not None:
        pixels = np.dstack([pixels, images.eight_bits(picture.alpha)])
    return pixels, picture.pixels.dtype != np.uint8


def _open(content: bytes) -> Any:
    """Pillow's image, its header read."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(io.BytesIO(content), formats=DECODERS)


def _plain(content: bytes) -> np.ndarray | None:
    """A small PNG or JPEG without anything special, in half the time of `images.read`; None for all others."""
    try:
        if len(content) > 2**16:
            return None
        image = _open(content)
        eight = image.format == "JPEG" or (image.format == "PNG" and content[24] == 8)
        single = getattr(image, "n_frames", 1) == 1
        known = not {"exif", "transparency"} & image.info.keys()
        few = image.width * image.height <= min(2**24, pixel_limit())
        if not (eight and single and known and few and image.mode in ("L", "RGB")):
            return None
        return np.array(image).reshape(image.height, image.width, -1)
    except Exception:  # whatever a decoder does not like, `images.read` says it in one line
        return None


def _header(content: bytes) -> tuple[int, int, int] | None:
    """What `decode` would give as a shape, without decoding; None where only `decode` can tell."""
    try:
        image = _open(content)
        still = image.format == "MPO" or getattr(image, "n_frames", 1) == 1
        if image.format == "TIFF" or not still or image.width * image.height > pixel_limit():
            return None
        turned = exif_orientation(image.info.get("exif", b"").removeprefix(b"Exif\0\0") or None) >= 5
        channels = 1 if image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I") else 3
        height, width = (image.width, image.height) if turned else (image.height, image.width)
        return height, width, channels + bool(image.has_transparency_data)
    except Exception:  # whatever a decoder does not like, `decode` says it in one line
        return None


def conform(pixels: np.ndarray, size: tuple[int, int], channels: int, fit: Fit = "crop") -> np.ndarray:
    """One picture as training sees it: channels first converted, then resized by Pillow's antialiased Lanczos.

    Transparency is laid on white unless four channels are asked for; colour becomes grey by ITU-R 601 luma.

    Args:
        pixels: (H, W, C) uint8; C 2 and 4 end with alpha.
        size: (h, w).
        channels: 1, 3 or 4.
        fit: "crop" fills the size and cuts what sticks out, "pad" fits inside with black (or nothing) around,
            "stretch" changes the proportions.

    Returns:
        (h, w, channels) uint8, contiguous; the same values where nothing is to do.
    """
    from PIL import Image

    bands = pixels.shape[2]
    if channels != 4 and bands in (2, 4):
        colour, alpha = pixels[..., :-1].astype(np.uint32), pixels[..., -1:].astype(np.uint32)
        pixels = ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    (h, w), (height, width) = size, pixels.shape[:2]
    if pixels.shape[2] == channels and (h, w) == (height, width):
        return np.ascontiguousarray(pixels)
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
    image = image if image.mode == mode else image.convert(mode)
    if fit == "crop":
        scale = max(h / height, w / width)
        left, top = (width - w / scale) / 2, (height - h / scale) / 2
        box = (max(0.0, left), max(0.0, top), min(width, left + w / scale), min(height, top + h / scale))
        image = image.resize((w, h), Image.Resampling.LANCZOS, box)
    elif fit == "stretch":
        image = image.resize((w, h), Image.Resampling.LANCZOS)
    else:
        scale = min(h / height, w / width)
        inner = (min(w, max(1, round(width * scale))), min(h, max(1, round(height * scale))))
        whole = Image.new(mode, (w, h))
        whole.paste(image.resize(inner, Image.Resampling.LANCZOS), ((w - inner[0]) // 2, (h - inner[1]) // 2))
        image = whole
    return np.array(image).reshape(h, w, channels)


def target(
    found: Scan, size: Size | None, channels: int | None, possible: Callable[[int, int], Size] | None = None
) -> tuple[Size, int, list[str]]:
    """(size, channels, notes) that training uses: what was asked for, else what suits all pictures of the source.

    Args:
        possible: (height, width) -> the nearest size that the networks can make; a size that was asked for stays.
    """
    seen = found.shapes[found.shapes[:, 0] > 0]
    if not len(seen):
        return size or (0, 0), channels or 3, []
    asked, notes = size, []
    grey, alpha = int((seen[:, 2] <= 2).sum()), int((seen[:, 2] % 2 == 0).sum())
    channels = channels or (1 if grey == len(seen) else 3)
    if channels != 1 and grey:
        notes.append(f"{grey:,} of {len(seen):,} pictures are grey and become colour")
    elif channels == 1 and grey < len(seen):
        notes.append(f"{len(seen) - grey:,} of {len(seen):,} pictures are in colour and become grey")
    if alpha and channels != 4:
        notes.append(f"{alpha:,} pictures have transparency and are laid on white")
    same = len(np.unique(seen[:, :2], axis=0)) == 1
    if size is None and same:
        size = (int(seen[0, 0]), int(seen[0, 1]))
    elif size is None:
        side = 1 << int(np.log2(np.percentile(seen[:, :2].min(1), 10, method="higher")))
        size = (side, side)
        notes.append(f"sizes differ; {side}×{side} is the largest power of two that 9 of 10 pictures fill")
    if asked is None and possible is not None and (near := possible(*size)) != size:
        notes.append(f"networks cannot make {size[1]}×{size[0]}; {near[1]}×{near[0]} is the nearest size they can")
        size = near
    small = int((seen[:, :2] < size).any(1).sum())
    if small:
        notes.append(f"{small:,} pictures are smaller than {size[1]}×{size[0]} and are enlarged")
    if (seen[:, :2] != size).any():
        notes.append(f"pictures are resized to {size[1]}×{size[0]}")
    return size, channels, notes


def refuse(source: Path, found: Scan) -> None:
    """Nothing if the source can be trained on.

    Raises:
        InputError: naming the first problem and how many more there are.
    """
    if found.layout.problems:
        file, text = found.layout.problems[0]
        more = f" (and {len(found.layout.problems) - 1} more problems)" if len(found.layout.problems) > 1 else ""
        line = text if file in text else f"{file}: {text}"
        raise InputError(f"{source} cannot be trained on: {line}{more}", remedy=REMEDY)
