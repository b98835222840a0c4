"""Pictures and masks from bytes and back: by OpenCV where a file is plain, by the core's readers where it is not.

Nothing is lost on the way in: grey stays grey, 16 bits stay 16, alpha stays, EXIF orientation is applied. The same
sample gives the same bytes on one machine. Colour profiles stay behind: a sample is pixels and targets.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator

import cv2
import numpy as np

from gantoolkit import images
from gantoolkit.decoders import pixel_limit
from gantoolkit.encoders import exif_orientation
from gantoolkit.errors import InputError

QUALITY = 95  # of JPEG
JPEG = (".jpg", ".jpeg")
PNG = b"\x89PNG\r\n\x1a\n"
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # what ails a file is said by an InputError


def decode(content: bytes, name: str) -> np.ndarray:
    """The picture as (H, W, C) uint8 or uint16, C 1 grey, 3 RGB, 4 RGBA; floats in [0, 1] become 16 bits.

    Raises:
        InputError: not a picture, damaged, animated, or over the limit of pixels; it names the picture.
    """
    if _plain(content):
        # Told to leave the depth and the channels alone, OpenCV pays no heed to orientation either.
        array = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if array is not None and array.dtype in (np.uint8, np.uint16):
            if array.ndim == 2:
                return array[..., None]
            if array.shape[2] == 3:
                return cv2.cvtColor(array, cv2.COLOR_BGR2RGB)
            if array.shape[2] == 4:
                return cv2.cvtColor(array, cv2.COLOR_BGRA2RGBA)
    picture = images.read(_named(content, name))
    pixels, alpha = _integers(picture.pixels), picture.alpha
    if alpha is not None:
        colour = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
        pixels = np.dstack([colour, _integers(alpha)])
    return np.ascontiguousarray(pixels)


def decode_mask(content: bytes, name: str) -> tuple[np.ndarray, bytes | None]:
    """(mask, palette): ids (H, W) or colours (H, W, 3), uint8 or uint16; a palette's numbers are ids, RGB its colours.

    Raises:
        InputError: as `decode`.
    """
    if content[:8] == PNG and content[25:26] == b"\x03":
        from PIL import Image

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                image = Image.open(io.BytesIO(content), formats=("PNG",))
                if image.width * image.height <= pixel_limit() and image.mode == "P":
                    return np.array(image), bytes(image.getpalette() or b"")
        except Exception:  # whatever a decoder does not like, the reader below says it in one line
            pass
    pixels = decode(content, name)
    return (pixels[..., 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels[..., :3])), None


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
    """(height, width) of an upright picture without decoding its pixels; None where only `decode` can tell."""
    try:
        return _header(content)[0]
    except (struct.error, ValueError, IndexError):
        return None


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


def _plain(content: bytes) -> bool:
    """Whether OpenCV gives what the file holds: a whole, upright JPEG or PNG without palette, colour key or frames."""
    try:
        (height, width), plain = _header(content)
    except (struct.error, ValueError, IndexError):
        return False
    return plain and 0 < height * width <= pixel_limit()


def _header(content: bytes) -> tuple[tuple[int, int], bool]:
    """((height, width), plain) of an upright JPEG or PNG; ValueError for all others."""
    if content[:8] == PNG:
        width, height, depth, colour = struct.unpack_from(">IIBB", content, 16)
        # libpng tells a wrong checksum on stderr at best, so a file is checked before it is trusted
        plain = depth >= 8 and colour in (0, 2, 6) and _sound_png(content)
        return (height, width), plain
    if content[:2] == b"\xff\xd8":
        for marker, start, end in _jpeg_segments(content):
            if marker == 0xE1 and content[start : start + 6] == b"Exif\0\0":
                if exif_orientation(content[start + 6 : end]) != 1:
                    break
            elif marker in (0xC0, 0xC1, 0xC2):
                depth, height, width, components = struct.unpack_from(">BHHB", content, start)
                whole = content.rfind(b"\xff\xd9", len(content) - 32) > 0
                return (height, width), depth == 8 and components in (1, 3) and whole
    raise ValueError("neither an upright JPEG nor a PNG")


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of the segments before the scan (ITU-T T.81, B.1.1.4)."""
    position = 2
    while content[position] == 0xFF:
        marker = content[position + 1]
        (length,) = struct.unpack_from(">H", content, position + 2)
        yield marker, position + 4, position + 2 + length
        position += 2 + length


def _sound_png(content: bytes) -> bool:
    """Whether all chunks are whole up to the last one, and none changes what pixels mean (PNG specification, 5)."""
    position = 8
    while position < len(content):
        (length,) = struct.unpack_from(">I", content, position)
        kind = content[position + 4 : position + 8]
        if kind in (b"tRNS", b"eXIf", b"acTL"):
            return False
        position += 12 + length
        if kind == b"IEND":
            return position == len(content)
    return False
