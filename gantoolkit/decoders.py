"""Decode pictures without loss of what the user gave: ICC, EXIF, XMP, alpha, grey, 16 bit.

Pillow decodes what has 8 bits a channel, OpenCV the rest (Pillow would silently cut 16-bit colour to 8).
Every failure is an `InputError` of one line that names the file.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gantoolkit import encoders, xmp
from gantoolkit.errors import GantkError, InputError, UsageError

MAX_PIXELS = 500_000_000  # larger pictures are refused before they are decoded; GANTK_MAX_PIXELS overrides
READABLE = encoders.WRITABLE | {".bmp": "BMP", ".gif": "GIF", ".pbm": "PPM", ".pgm": "PPM", ".ppm": "PPM"}
DECODERS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


@dataclass(frozen=True)
class Picture:
    """One still picture, upright.

    Attributes:
        pixels: (H, W, C), uint8, uint16 or float32 (nominally in [0, 1]).
        alpha: (H, W) of the same dtype, not premultiplied, or None.
        icc: the colour profile that `pixels` are in; None means sRGB, as everywhere.
        exif: EXIF block from its TIFF header on; its orientation is applied to `pixels` and says 1.
        dpi: dots per inch (x, y).
        xmp: XMP packet, unless it speaks of more pictures than this one.
        format: "PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF" or "PPM".
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    format: str = "PNG"
    xmp: bytes | None = None


def is_picture(path: Path | str) -> bool:
    """Whether the name ends as a picture that `read` can decode (the file is not opened)."""
    return os.path.splitext(path)[1].lower() in READABLE  # noqa: PTH122 - a fifth of Path's time, for each file there is


def read(source: Path | str | bytes | BinaryIO) -> Picture:
    """Decode one still picture: PNG, JPEG, WebP, TIFF, BMP, GIF or PPM, told by content and not by name.

    Palettes become RGB, CMYK becomes sRGB by way of its profile, two-colour pictures become grey. Of a
    JPEG with several pictures in it (MPO, as phones write) the first one is the picture.

    Raises:
        InputError: missing, unreadable, not a picture, truncated, animated, several pages, or over the limit
            of pixels (GANTK_MAX_PIXELS).
    """
    if isinstance(source, bytes):
        with quiet():
            return _read(io.BytesIO(source), "the input")
    if not isinstance(source, str | Path):
        with quiet():
            return _read(io.BytesIO(source.read()), getattr(source, "name", None) or "standard input")
    path = Path(source)
    try:
        if path.is_dir():
            raise InputError(f"cannot read {path}", expected="a picture", actual="a folder")
        with path.open("rb") as stream, quiet():
            return _read(stream if stream.seekable() else io.BytesIO(stream.read()), str(path))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _read(stream: BinaryIO, name: str) -> Picture:
    from PIL import Image, UnidentifiedImageError

    start = stream.read(32)
    stream.seek(0)
    kinds = ", ".join(sorted(set(READABLE.values())))
    if not start:
        raise InputError(f"cannot read {name}", expected="a picture", actual="an empty file")
    try:
        if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return _read_tiff(stream, name)
        image = Image.open(stream, formats=DECODERS)
        _check_header(name, *image.size, 1 if image.format == "MPO" else getattr(image, "n_frames", 1))
        deep = (image.format == "PNG" and start[24] == 16) or (image.format == "PPM" and _maxval(image) > 255)
        pixels, alpha, icc = _decode_deep(stream, image) if deep else _decode(image)
        exif = image.info.get("exif", b"").removeprefix(b"Exif\0\0") or None
        form = {"MPO": "JPEG"}.get(image.format or "", image.format or "")
        packet = xmp.of_one_picture(_packet(image.info))
        picture = Picture(pixels, alpha, icc, exif, _dpi(image.info.get("dpi")), form, packet)
    except GantkError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"{name} is not a picture, or is damaged", expected=kinds) from None
    except MemoryError:
        raise InputError(f"cannot read {name}: it does not fit in memory") from None
    # Decoders raise whatever comes to their mind on damaged bytes: struct.error, SyntaxError, IndexError...
    except Exception as error:
        raise InputError(f"cannot decode {name}: {error}", remedy="the file is damaged or cut short") from error
    return _upright(picture)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Decoders warn and log about damage on stderr, and Pillow refuses sizes by a limit of its own.

    What matters of that becomes the one line of an InputError.
    """
    from PIL import Image

    logger = logging.getLogger("tifffile")
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit
        logger.setLevel(level)


def pixel_limit() -> int:
    """How many pixels a picture may have to be decoded: GANTK_MAX_PIXELS, else `MAX_PIXELS`.

    Raises:
        UsageError: GANTK_MAX_PIXELS is not a number.
    """
    asked = os.environ.get("GANTK_MAX_PIXELS") or str(MAX_PIXELS)
    if not asked.isdecimal():
        raise UsageError("GANTK_MAX_PIXELS makes no sense", expected="a number of pixels", actual=asked)
    return int(asked)


def _check_header(name: str, width: int, height: int, frames: int) -> None:
    limit = pixel_limit()
    if width * height > limit:
        raise InputError(
            f"{name} has too many pixels",
            expected=f"at most {limit:,}",
            actual=f"{width} x {height} = {width * height:,}",
            remedy="set GANTK_MAX_PIXELS if you trust the file",
        )
    if frames > 1:
        raise InputError(f"{name} has {frames} frames", expected="a still picture")


def _maxval(image: Any) -> int:
    """The largest value of a PPM, which Pillow hands to its decoder."""
    args = image.tile[0].args if image.tile else ()
    return (
        args[1]
        if isinstance(args, tuple) and len(args) == 2 and isinstance(args[1], int)
        else (65535 if image.mode == "I" else 255)
    )


def _packet(info: Mapping[Any, Any]) -> bytes | None:
    """XMP as Pillow keeps it: bytes, or a PNG's text."""
    packet = info.get("xmp") or info.get("XML:com.adobe.xmp")
    return packet.encode() if isinstance(packet, str) else packet or None


def _dpi(value: Any) -> tuple[float, float] | None:
    try:
        x, y = float(value[0]), float(value[1])
    except (TypeError, ValueError, ZeroDivisionError, IndexError):
        return None
    return (x, y) if 1 < x < 1e5 and 1 < y < 1e5 else None


def _decode(image: Any) -> tuple[np.ndarray, np.ndarray | None, bytes | None]:
    """(pixels, alpha, ICC profile) of a Pillow image of 8 bits a channel, or of one float channel."""
    image.load()
    icc = image.info.get("icc_profile") or None
    if image.mode in ("CMYK", "LAB"):
        image, icc = _to_srgb(image, icc)
    grey = image.mode in ("1", "L", "LA", "La", "F")
    if image.mode != "F":
        mode = "L" if grey else "RGB"
        if image.has_transparency_data:
            mode = "LA" if grey else "RGBA"
        image = image if image.mode == mode else image.convert(mode)
    array = _array(image)
    channels = 1 if grey else 3
    alpha = np.ascontiguousarray(array[..., -1]) if array.shape[2] > channels else None
    return np.ascontiguousarray(array[..., :channels]), alpha, icc


def _array(image: Any) -> np.ndarray:
    """(H, W, bands), copied in strips: `np.array(image)` would hold two more copies for a moment."""
    bands = len(image.getbands())
    array = np.empty((image.height, image.width, bands), np.float32 if image.mode == "F" else np.uint8)
    for top in range(0, image.height, 256):
        strip = np.asarray(image.crop((0, top, image.width, min(top + 256, image.height))))
        array[top : top + 256] = strip.reshape(-1, image.width, bands)
    return array


def _to_srgb(image: Any, icc: bytes | None) -> tuple[Any, bytes | None]:
    """A CMYK or Lab image as sRGB, by its own profile where it has a usable one."""
    from PIL import ImageCms

    srgb = ImageCms.createProfile("sRGB")
    if image.mode == "LAB":
        source: Any = ImageCms.createProfile("LAB")
    else:
        source = io.BytesIO(icc) if icc else None
    if source is not None:
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
            return converted, ImageCms.ImageCmsProfile(srgb).tobytes()
    return image.convert("RGB"), None


def _decode_deep(stream: BinaryIO, image: Any) -> tuple[np.ndarray, np.ndarray | None, bytes | None]:
    """(pixels, alpha, ICC profile) of a PNG or PPM of more than 8 bits a channel."""
    if image.format == "PNG":  # EXIF and XMP may follow the pixels; this reads them and skips the pixels
        image.load_prepare()
        image.load_end()
    stream.seek(25)
    grey = stream.read(1)[0] in (0, 4) if image.format == "PNG" else image.mode == "I"
    pixels, alpha = _opencv(stream, grey)
    if grey and "transparency" in image.info:  # the value that is transparent, which OpenCV heeds in colour only
        alpha = np.where(pixels[..., 0] == image.info["transparency"], 0, 65535).astype(np.uint16)
    if image.format == "PPM" and (top := _maxval(image)) != 65535:
        pixels = np.rint(pixels * np.float32(65535 / top)).astype(np.uint16)
    return pixels, alpha, image.info.get("icc_profile") or None


def _opencv(stream: BinaryIO, grey: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """(pixels, alpha) as uint16 or float32, decoded by OpenCV, which says what ails a file on stderr only."""
    import cv2

    stream.seek(0)
    data = np.frombuffer(stream.read(), np.uint8)
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        array = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    finally:
        cv2.utils.logging.setLogLevel(level)
    if array is None or array.dtype not in (np.uint8, np.uint16, np.float32):
        raise ValueError("incomplete, or a sample format other than 8 or 16 bits or 32-bit float")
    array = array[..., None] if array.ndim == 2 else array
    alpha = np.ascontiguousarray(array[..., -1]) if array.shape[2] in (2, 4) else None
    pixels = array[..., :1] if grey else array[..., 2::-1]
    return np.ascontiguousarray(pixels), alpha


def _read_tiff(stream: BinaryIO, name: str) -> Picture:
    """TIFF by hand: Pillow cannot open all of them, and its EXIF would hold the layout of this file."""
    import tifffile
    from PIL import Image

    with tifffile.TiffFile(stream) as file:
        if file.is_bigtiff and file.byteorder == ">":  # which Pillow takes for a plain TIFF
            raise InputError(f"cannot decode {name}", expected="little-endian BigTIFF", actual="big-endian BigTIFF")
        page, frames = file.pages.first, len(file.pages)
        _check_header(name, page.imagewidth, page.imagelength, frames)
        deep = page.bitspersample > 8
        deep_samples = _deep_tiff(stream, page, name) if deep else None
        found = [page.tags.get(code) for code in (encoders.ICC, encoders.XMP)]
        icc, packet = (None if tag is None else bytes(tag.value) for tag in found)
        exif = Image.Exif()
        # Pillow would find the first directory itself, but not in a BigTIFF.
        exif.endian, exif.bigtiff = file.byteorder, file.is_bigtiff
        exif.load_from_fp(stream, page.offset)
    unit = {2: 1.0, 3: 2.54}.get(exif.get(0x0128, 2))
    dpi = _dpi([exif.get(tag, 0) * unit for tag in (0x011A, 0x011B)]) if unit else None
    if deep_samples:
        pixels, alpha, orientation = deep_samples
    else:
        stream.seek(0)
        pixels, alpha, icc = _decode(Image.open(stream, formats=("TIFF",)))
        orientation = 1  # Pillow applies a TIFF's orientation itself
    if exif.get(encoders.EXIF_ORIENTATION, 1) != 1:  # whoever applies it, the picture will be upright
        packet = xmp.upright(packet)
    block = encoders.exif_block(exif, orientation)
    return _upright(Picture(pixels, alpha, icc, block, dpi, "TIFF", xmp.of_one_picture(packet)))


def _deep_tiff(stream: BinaryIO, page: Any, name: str) -> tuple[np.ndarray, np.ndarray | None, int]:
    """(pixels, alpha, orientation still to apply) of a TIFF page of more than 8 bits a sample."""
    if page.dtype not in (np.uint16, np.float32):
        raise InputError(
            f"cannot decode {name}", expected="samples of 8 or 16 bits, or 32-bit float", actual=page.dtype
        )
    if page.photometric not in (0, 1, 2):
        raise InputError(
            f"cannot decode {name}", expected="grey or RGB where there are more than 8 bits a sample",
            actual=page.photometric.name,
        )  # fmt: skip
    channels = 3 if page.photometric == 2 else 1
    planar = page.planarconfig == 2 and page.samplesperpixel > 1
    if page.compression in (1, 8, 32946):  # none, deflate: the rest needs codecs that tifffile does not carry
        array = page.asarray()
        array = array.transpose(1, 2, 0) if planar else array.reshape(*array.shape[:2], -1)
        alpha = array[..., channels] if page.extrasamples and page.extrasamples[0] in (1, 2) else None
        pixels = array[..., :channels]
        tag = page.tags.get(encoders.EXIF_ORIENTATION)
        orientation = int(tag.value) if tag else 1
    elif planar:
        raise InputError(
            f"cannot decode {name}", expected="planes that are deflated or not compressed", actual=page.compression.name
        )
    else:  # OpenCV applies the orientation itself
        (pixels, alpha), orientation = _opencv(stream, channels == 1), 1
    if pixels.dtype not in (np.uint16, np.float32):
        raise ValueError(f"{pixels.dtype} samples instead of 8 or 16 bits or 32-bit float")
    if page.photometric == 0:  # white is zero
        pixels = (65535 if pixels.dtype == np.uint16 else np.float32(1)) - pixels
    if alpha is not None and 1 in page.extrasamples:
        pixels = _unmultiply(pixels, alpha)
    return np.ascontiguousarray(pixels), None if alpha is None else np.ascontiguousarray(alpha), orientation


def _unmultiply(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    top = 1.0 if pixels.dtype == np.float32 else np.iinfo(pixels.dtype).max
    straight = pixels * (top / np.maximum(alpha, 1e-9 if top == 1 else 1))[..., None]
    return straight.astype(np.float32) if top == 1 else np.rint(np.minimum(straight, top)).astype(pixels.dtype)


def _upright(picture: Picture) -> Picture:
    """Apply the EXIF orientation (EXIF 2.32, tag 274: where the stored row 0 and column 0 belong), once."""
    orientation = encoders.exif_orientation(picture.exif)
    if orientation == 1 or picture.exif is None:
        return picture

    def turn(array: np.ndarray) -> np.ndarray:
        if orientation >= 5:
            array = array.swapaxes(0, 1)
        if orientation in (3, 4, 7, 8):
            array = array[::-1]
        if orientation in (2, 3, 6, 7):
            array = array[:, ::-1]
        return np.ascontiguousarray(array)

    # The thumbnail inside still lies on its side, so it goes.
    exif = encoders.patch_exif(picture.exif, {encoders.EXIF_ORIENTATION: 1}, drop_thumbnail=True)
    alpha = None if picture.alpha is None else turn(picture.alpha)
    return replace(picture, pixels=turn(picture.pixels), alpha=alpha, exif=exif, xmp=xmp.upright(picture.xmp))
