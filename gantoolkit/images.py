"""Pictures as users keep them: read, write, show side by side, hand to a network and take back.

Nothing of what the user gave is lost on the way: ICC, EXIF, XMP, alpha, grey, 16 bit.
Shapes: H, W picture size in pixels, C channels: 1 grey or 3 RGB.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from gantoolkit import encoders, xmp
from gantoolkit.decoders import MAX_PIXELS, READABLE, Picture, is_picture, read
from gantoolkit.encoders import WRITABLE
from gantoolkit.errors import InputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "MAX_PIXELS", "READABLE", "WRITABLE", "Picture", "check", "contact_sheet", "eight_bits", "format_for",
    "from_tensor", "is_picture", "leaves_unit", "read", "side_by_side", "to_tensor", "write",
]  # fmt: skip

MAX_SIDE = {"JPEG": 65_500, "WEBP": 16_383}
BEYOND = 0.05  # that floating point may leave [0, 1], as resampled pictures do, and is clipped
SEGMENT = {"EXIF": 65_527, "XMP": 65_504}  # bytes that a JPEG's segment takes of each


def format_for(target: Path | str | None, format: str | None = None) -> str:
    """The format to write: the one asked for ("png", "jpg", ...), else the one that the suffix names.

    Raises:
        UsageError: neither names one of PNG, JPEG, WebP, TIFF.
    """
    suffix = f".{format.lower().lstrip('.')}" if format else Path(target or "").suffix.lower()
    if suffix not in WRITABLE:
        what = f"unknown picture format {format!r}" if format else f"no picture format for {target}"
        remedy = "choose one with --format" if format else "let its name end in one of them"
        raise UsageError(what, expected=", ".join(sorted(WRITABLE)), remedy=remedy)
    return WRITABLE[suffix]


def write(
    picture: Picture,
    target: Path | str | BinaryIO,
    *,
    format: str | None = None,
    quality: int = 95,
    force: bool = False,
) -> None:
    """Encode a picture, all or nothing: a path appears complete or not at all. Missing folders are made.

    PNG holds 8 and 16 bits (float32 is rounded to 16), TIFF anything; JPEG and WebP hold 8 bits, to which
    deeper pixels are rounded. WebP knows no grey: it is written as RGB. A stream without `format` gets PNG.

    Args:
        picture: what to write; sizes in EXIF and XMP are updated to `pixels`.
        target: a path, or a binary stream.
        format: "png", "jpg", "webp", "tif", ...; None: by the path's suffix.
        quality: of JPEG and WebP, 1 to 100.
        force: overwrite an existing file.

    Raises:
        UsageError: the file exists, the format is unknown, or it cannot hold this picture.
        InputError: the target cannot be written (read-only, disk full, ...).
    """
    if not isinstance(target, str | Path):
        kind = format_for(None, format or "png")
        try:
            _encode(picture, target, kind, quality)
            target.flush()
        except OSError as error:
            name = getattr(target, "name", "the output")
            raise InputError(f"cannot write {name}: {error.strerror or error}") from error
        return
    path = Path(target)
    kind = format_for(path, format)
    try:
        if path.is_dir():
            raise UsageError(f"cannot write {path}", expected="a file name", actual="a folder")
        if path.exists() and not force:
            raise UsageError(f"{path} exists already", remedy="overwrite it with --force")
        path.parent.mkdir(parents=True, exist_ok=True)
        with _atomic(path) as stream:
            _encode(picture, stream, kind, quality)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def check(picture: Picture, kind: str, size: tuple[int, int] | None = None) -> None:
    """Refuse what a format cannot hold: at once, where it is known before long work what size will come out of it.

    Args:
        picture: what is to be written, or what it will be made from, with the same alpha and metadata.
        kind: "PNG", "JPEG", "WEBP" or "TIFF", as `format_for` gives it.
        size: (height, width) in pixels of what will be written; None for those of `picture`.

    Raises:
        UsageError: sides, transparency or metadata that the format has no room for.
    """
    height, width = size or picture.pixels.shape[:2]
    if max(height, width) > MAX_SIDE.get(kind, 1 << 31):
        raise UsageError(
            f"{kind} cannot hold this picture", expected=f"sides up to {MAX_SIDE[kind]} pixels",
            actual=f"{width} x {height}", remedy="use --format png",
        )  # fmt: skip
    if kind != "JPEG":
        return
    packet = picture.xmp and xmp.sized(picture.xmp, width, height)
    for name, block in (("EXIF", picture.exif), ("XMP", packet)):
        if len(block or b"") > SEGMENT[name]:
            raise UsageError(
                f"JPEG cannot hold this picture's {name}", expected=f"up to {SEGMENT[name]:,} bytes",
                actual=f"{len(block or b''):,}", remedy="use --format png",
            )  # fmt: skip
    if picture.alpha is not None:
        raise UsageError("JPEG cannot hold this picture's transparency", remedy="use --format png")


@contextlib.contextmanager
def _atomic(path: Path) -> Iterator[BinaryIO]:
    """A stream to a hidden neighbour of `path` that takes its place at the end, or goes away on failure."""
    temporary = path.with_name(f".gantk-{secrets.token_hex(8)}.part")
    try:
        with temporary.open("x+b") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def leaves_unit(values: np.ndarray) -> bool:
    """Whether floating point is so far outside [0, 1] that to clip it would be to lose the picture, or no number."""
    return not (values.min() >= -BEYOND and values.max() <= 1 + BEYOND)


def eight_bits(array: np.ndarray) -> np.ndarray:
    """Samples of a `Picture` as uint8: round(255 x / top); for 16 bits this is exactly round(x / 257)."""
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8) if array.dtype == np.float32 else array


def _encode(picture: Picture, stream: BinaryIO, kind: str, quality: int) -> None:
    check(picture, kind)
    pixels, alpha, icc, exif = picture.pixels, picture.alpha, picture.icc, picture.exif
    height, width, channels = pixels.shape
    packet = picture.xmp and xmp.sized(picture.xmp, width, height)
    convert = {"JPEG": eight_bits, "WEBP": eight_bits, "PNG": _to_integers}.get(kind, np.asarray)
    pixels, alpha = convert(pixels), None if alpha is None else convert(alpha)
    if kind == "WEBP" and channels == 1:
        pixels = np.repeat(pixels, 3, axis=2)
        icc = None if (icc or b"")[16:20] == b"GRAY" else icc
    if exif:
        exif = encoders.patch_exif(exif, {encoders.EXIF_WIDTH: width, encoders.EXIF_HEIGHT: height})
    meta = encoders.Metadata(icc, exif, picture.dpi, packet)
    if kind == "PNG":
        encoders.encode_png(stream, pixels, alpha, meta)
    elif kind == "TIFF":
        whole = stream if isinstance(stream, io.BufferedRandom) else io.BytesIO()
        encoders.encode_tiff(whole, pixels, alpha, meta)
        if isinstance(whole, io.BytesIO):
            stream.write(whole.getbuffer())
    else:
        encoders.encode_pillow(stream, pixels, alpha, meta, kind, quality)


def _to_integers(array: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(array, 0, 1) * 65535).astype(np.uint16) if array.dtype == np.float32 else array


def to_tensor(picture: Picture) -> Tensor:
    """The pixels as float32 (1, C, H, W), integers scaled to [0, 1]; alpha is left out."""
    import torch

    pixels = picture.pixels
    top = 1.0 if pixels.dtype == np.float32 else float(np.iinfo(pixels.dtype).max)
    return torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None].contiguous().div_(top)


def from_tensor(tensor: Tensor, like: Picture) -> Picture:
    """A (1, C, H, W) tensor as a picture with dtype and metadata of `like`: rounded, clipped, no alpha."""
    array = tensor.detach()[0].float().permute(1, 2, 0).cpu().numpy()
    if like.pixels.dtype != np.float32:
        top = np.iinfo(like.pixels.dtype).max
        array = np.rint(np.clip(array, 0, 1) * np.float32(top)).astype(like.pixels.dtype)
    return replace(like, pixels=np.ascontiguousarray(array), alpha=None)


def contact_sheet(
    images: Sequence[np.ndarray], columns: int, labels: Sequence[str] | None = None, gap: int = 8
) -> np.ndarray:
    """Pictures in rows on white, each centred in its cell, with an optional caption above it.

    Args:
        images: (H, W, 3) uint8, of any sizes.
        columns: pictures in a row.
        labels: one caption a picture.
        gap: white pixels between cells and around them.

    Returns:
        (H', W', 3) uint8.
    """
    from PIL import Image, ImageDraw, ImageFont

    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    size = max(11, min(width // 16, 48))
    head = round(1.6 * size) if labels else 0
    rows = -(-len(images) // columns)
    columns = min(columns, len(images))
    sheet = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + head + gap) + gap), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size)
    for i, image in enumerate(images):
        left, top = gap + i % columns * (width + gap), gap + i // columns * (height + head + gap)
        if labels:
            draw.text((left, top), labels[i].replace("×", "x"), "black", font)  # Pillow's own font has no ×
        corner = (left + (width - image.shape[1]) // 2, top + head + (height - image.shape[0]) // 2)
        sheet.paste(Image.fromarray(np.ascontiguousarray(image)), corner)
    return np.array(sheet)


def side_by_side(
    before: np.ndarray, after: np.ndarray, captions: tuple[str, str] = ("before", "after"), gap: int = 8
) -> np.ndarray:
    """Two pictures (H, W, 3) uint8 next to each other, `before` resized to the size of `after`."""
    from PIL import Image

    if before.shape != after.shape:
        image = Image.fromarray(np.ascontiguousarray(before))
        before = np.array(image.resize((after.shape[1], after.shape[0]), Image.Resampling.BICUBIC))
    return contact_sheet([before, after], 2, captions, gap)
