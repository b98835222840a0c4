"""Pictures and masks from bytes and back: by OpenCV where a file is plain, by the core's readers where it is not.

Nothing is lost on the way in: grey stays grey, 16 bits stay 16, alpha stays, EXIF orientation is applied. The same
sample gives the same bytes on one machine. Colour profiles stay behind: a sample is pixels and targets.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import cv2
import numpy as np

from gantoolkit import images
from gantoolkit.decoders import pixel_limit
from gantoolkit.encoders import exif_orientation
from gantoolkit.errors import InputError

QUALITY = 95  # of JPEG
JPEG = (".jpg", ".jpeg")
PNG = b"\x89PNG\r\n\x1a\n"

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what ails a file is said by an InputError


def decode(content: bytes, name: str) -> np.ndarray:
    """The picture as (H, W, C) uint8 or uint16, C 1 grey, 3 RGB, 4 RGBA; floats in [0, 1] become 16 bits.

    Raises:
        InputError: not a picture, damaged, animated, or over the limit of pixels; it names the picture.
    """
    if plain := _plain(content):
        channels = plain[2]
        # RGB straight from the decoder spares a pass over the pixels
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH if channels == 3 else cv2.IMREAD_UNCHANGED
        array = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
        if array is not None and array.shape == (plain if channels > 1 else plain[:2]):
            return cv2.cvtColor(array, cv2.COLOR_BGRA2RGBA) if channels == 4 else array.reshape(plain)
    picture = images.read(_named(content, name))
    pixels, alpha = _integers(picture.pixels), picture.alpha
    if alpha is not None:
        colour = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
        pixels = np.dstack([colour, _integers(alpha)])
    return np.ascontiguousarray(pixels)


def decode_mask(content: bytes, name: str) -> np.ndarray:
    """A mask: ids (H, W) or colours (H, W, 3), uint8 or uint16; the numbers of a `palette` are ids.

    Raises:
        InputError: as `decode`.
    """
    with suppress(Exception):  # whatever a decoder does not like, the reader below says it in one line
        if image := _indexed(content):
            return np.array(image)
    pixels = decode(content, name)
    return pixels[..., 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels[..., :3])


def palette(content: bytes) -> bytes | None:
    """The colours of a mask's ids, RGB, without decoding its pixels; None where it has none or cannot be read."""
    with suppress(Exception):
        if image := _indexed(content):
            return bytes(image.getpalette() or b"")
    return None


def _indexed(content: bytes) -> Any:
    """Pillow's image of a PNG with a palette, its header read; None for all others."""
    if content[:8] != PNG or content[25:26] != b"\x03":
        return None
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(io.BytesIO(content), formats=("PNG",))
    return image if image.width * image.height <= pixel_limit() and image.mode == "P" else None


def encode(picture: np.ndarray, suffix: str) -> tuple[bytes, str]:
    """(content, suffix): JPEG where the suffix asks for it and 8 bits without alpha allow it, else PNG.

    Args:
        picture: uint8 or uint16 (H, W, C), C 1, 3 or 4.
        suffix: ".jpg", ".png", ...
    """
    suffix = suffix.lower()
    if suffix not in JPEG or picture.dtype != np.uint8 or picture.shape[2] == 4:
        return _encode(picture, ".png"), ".png"
    return _encode(picture, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, QUALITY]), suffix


def encode_mask(mask: np.ndarray, palette: bytes | None = None) -> bytes:
    """A mask as PNG; ids below 256 with the palette, where there is one."""
    if palette and mask.ndim == 2 and mask.dtype == np.uint8:
        from PIL import Image

        image, stream = Image.fromarray(mask, "L"), io.BytesIO()
        image.putpalette(palette)
        image.save(stream, "PNG")
        return stream.getvalue()
    return _encode(mask if mask.ndim == 3 else mask[..., None], ".png")


def size_of(content: bytes) -> tuple[int, int] | None:
    """(height, width) of a picture without decoding its pixels; None where only `decode` can tell."""
    plain = _plain(content)
    return None if plain is None else plain[:2]


def _encode(array: np.ndarray, suffix: str, options: list[int] | None = None) -> bytes:
    if array.shape[2] > 1:
        array = cv2.cvtColor(array, cv2.COLOR_RGB2BGR if array.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    good, content = cv2.imencode(suffix, array, options or [])
    if not good:
        raise InputError(f"a picture of {array.shape} cannot be written as {suffix}")
    return content.tobytes()


def _integers(array: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(array, 0, 1) * 65535).astype(np.uint16) if array.dtype == np.float32 else array


class _Named(io.BytesIO):
    name = ""


def _named(content: bytes, name: str) -> _Named:
    stream = _Named(content)
    stream.name = name
    return stream


def _plain(content: bytes) -> tuple[int, int, int] | None:
    """(H, W, C) of a whole, upright JPEG or PNG that OpenCV decodes as it is: no palette, colour key or frames."""
    try:
        shape = _png_shape(content) if content[:8] == PNG else _jpeg_shape(content)
    except (struct.error, IndexError):  # cut short
        return None
    return shape if shape and 0 < shape[0] * shape[1] <= pixel_limit() else None


def _jpeg_shape(content: bytes) -> tuple[int, int, int] | None:
    if content[:2] != b"\xff\xd8" or content.rfind(b"\xff\xd9", -32) < 0:
        return None
    for marker, start, end in _jpeg_segments(content):
        if marker == 0xE1 and content[start : start + 6] == b"Exif\0\0":
            if exif_orientation(content[start + 6 : end]) != 1:
                return None
        elif marker in (0xC0, 0xC1, 0xC2):
            depth, height, width, channels = struct.unpack_from(">BHHB", content, start)
            return (height, width, channels) if depth == 8 and channels in (1, 3) else None
    return None


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of the segments before the scan (ITU-T T.81, B.1.1.4)."""
    position = 2
    while content[position] == 0xFF:
        marker = content[position + 1]
        (length,) = struct.unpack_from(">H", content, position + 2)
        yield marker, position + 4, position + 2 + length
        position += 2 + length


def _png_shape(content: bytes) -> tuple[int, int, int] | None:
    """PNG specification, 5; of a wrong checksum OpenCV would let libpng complain on stderr."""
    width, height, depth, colour = struct.unpack_from(">IIBB", content, 16)
    if depth < 8 or colour not in (0, 2, 6):
        return None
    position, view = 8, memoryview(content)
    while position < len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        (checksum,) = struct.unpack_from(">I", content, position + 8 + length)
        if kind in (b"tRNS", b"eXIf", b"acTL") or zlib.crc32(view[position + 4 : position + 8 + length]) != checksum:
            return None
        position += 12 + length
        if kind == b"IEND":
            return height, width, {0: 1, 2: 3, 6: 4}[colour]
    return None
