"""Picture encoders that keep ICC, EXIF, XMP, resolution and depth, and need little memory beside the pixels.

PNG is written here, strip by strip: Pillow wants four bytes a pixel for a second copy of an RGB picture, and
OpenCV wants BGR and drops the profile. One filter and run-length deflate make photographs as small as zlib's
default does in a twelfth of the time, and strips compress on all cores.

Every encoder takes `pixels` (H, W, C) with C = 1 grey or 3 RGB, `alpha` (H, W) or None of the same dtype.
"""

from __future__ import annotations

import contextlib
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, BinaryIO, TypeVar

import numpy as np

from gantoolkit.errors import UsageError

T = TypeVar("T")
Tags = dict[int, tuple[str, Sequence[int] | bytes]]  # of a directory of a TIFF: type, values

WRITABLE = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"
}  # fmt: skip
STRIP_BYTES = 1 << 20  # of raw PNG rows that one worker filters and compresses at a time
SAMPLE_BYTES = 1 << 16
EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x8769, 0x8825, 0xA005
XMP, ICC = 700, 34675  # tags of a TIFF
EXIF_ORIENTATION, EXIF_WIDTH, EXIF_HEIGHT = 0x0112, 0xA002, 0xA003
# What a TIFF's first directory says about the picture; the rest of it describes the file's own layout.
DESCRIPTIVE_TAGS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298)
OCTETS, TEXT, SHORT, LONG, RATIONAL, RAW = "1B", "2s", "3H", "4I", "5Q", "7s"  # TIFF 6.0, section 2: type, struct code


@dataclass(frozen=True)
class Metadata:
    """What travels beside the pixels: ICC profile, EXIF block (from its TIFF header on), dots per inch, XMP packet."""

    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None


# EXIF 2.32, section 4.6: a TIFF header, then directories of 12-byte entries.


def _exif_entries(exif: bytes | bytearray) -> Iterator[tuple[int, int, int]]:
    """(tag, field type, position of the entry) in the first directory and in the Exif directory."""
    order = "<" if exif[:2] == b"II" else ">"
    offsets = [struct.unpack_from(order + "I", exif, 4)[0]]
    for offset in offsets:
        for i in range(struct.unpack_from(order + "H", exif, offset)[0]):
            position = offset + 2 + 12 * i
            tag, kind, count, value = struct.unpack_from(order + "HHII", exif, position)
            if tag == EXIF_IFD and len(offsets) == 1:
                offsets.append(value)
            elif kind in (3, 4) and count == 1:
                yield tag, kind, position


def exif_orientation(exif: bytes | None) -> int:
    """The orientation tag, 1 to 8; 1 (upright) when there is none, or the block is broken."""
    try:
        for tag, kind, position in _exif_entries(exif or b""):
            if tag == EXIF_ORIENTATION:
                order = "<" if (exif or b"")[:2] == b"II" else ">"
                value = struct.unpack_from(order + ("H" if kind == 3 else "I"), exif or b"", position + 8)[0]
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def patch_exif(exif: bytes, values: Mapping[int, int], *, drop_thumbnail: bool = False) -> bytes:
    """Set numbers in place, so that maker notes and everything else stay byte for byte.

    Tags that are not there are not added; a broken block comes back as it was.
    """
    data = bytearray(exif)
    order = "<" if data[:2] == b"II" else ">"
    try:
        for tag, _, position in list(_exif_entries(data)):
            if tag in values:
                struct.pack_into(order + "HHII", data, position, tag, 4, 1, values[tag])
        if drop_thumbnail:
            first = struct.unpack_from(order + "I", data, 4)[0]
            entries = struct.unpack_from(order + "H", data, first)[0]
            struct.pack_into(order + "I", data, first + 2 + 12 * entries, 0)
    except struct.error:
        return exif
    return bytes(data)


def _strips(work: Callable[[int, int], T], pixels: np.ndarray, alpha: np.ndarray | None) -> Iterator[T]:
    """work(top, end) for strips of about STRIP_BYTES, on all cores, in order."""
    height = len(pixels)
    rows = _strip_rows(pixels, alpha)
    workers = os.cpu_count() or 1
    tops = range(0, height, rows)
    with ThreadPoolExecutor(workers) as pool:
        # A few strips at a time, so that compressed data waits for the disk and not the other way round.
        for i in range(0, len(tops), 2 * workers):
            yield from pool.map(lambda top: work(top, min(top + rows, height)), tops[i : i + 2 * workers])


def _strip_rows(pixels: np.ndarray, alpha: np.ndarray | None) -> int:
    return max(1, STRIP_BYTES // (pixels[0].nbytes + (0 if alpha is None else alpha[0].nbytes)))


def _samples(pixels: np.ndarray, alpha: np.ndarray | None, top: int, end: int) -> np.ndarray:
    """Rows top..end with alpha as the last channel, (end - top, W, samples)."""
    if alpha is None:
        return pixels[top:end]
    return np.concatenate([pixels[top:end], alpha[top:end, :, None]], axis=2)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _png_strip(pixels: np.ndarray, alpha: np.ndarray | None, top: int, end: int) -> tuple[np.ndarray, bytes]:
    """(filtered rows, their deflate blocks). PNG specification 9.2, type 3: x - floor((left + above) / 2)."""
    strip = _samples(pixels, alpha, max(top - 1, 0), end)
    step = strip.dtype.itemsize * strip.shape[2]
    strip = np.ascontiguousarray(strip, dtype=strip.dtype.newbyteorder(">"))
    rows = strip.reshape(len(strip), -1).view(np.uint8)
    if top == 0:
        rows = np.concatenate([np.zeros_like(rows[:1]), rows])
    x, above = rows[1:], rows[:-1]
    left = np.zeros_like(x)
    left[:, step:] = x[:, :-step]
    filtered = np.empty((len(x), x.shape[1] + 1), np.uint8)
    filtered[:, 0] = 3
    # floor((a + b) / 2) without leaving eight bits: the common bits plus half of those that differ.
    np.subtract(x, (left & above) + ((left ^ above) >> 1), out=filtered[:, 1:])
    # What the filter leaves of a photograph hardly repeats: run lengths and Huffman codes are all that pays.
    # Drawings and text do repeat, unfiltered: a sample of the strip tells.
    level, strategy = 1, zlib.Z_RLE
    sample = slice(0, max(1, SAMPLE_BYTES // x.shape[1]))
    photograph = _deflate(filtered[sample], level, strategy, zlib.Z_FINISH)
    if len(zlib.compress(np.ascontiguousarray(x[sample]).data, 6)) < 0.8 * len(photograph):
        filtered[:, 0], filtered[:, 1:] = 0, x
        level, strategy = 6, zlib.Z_DEFAULT_STRATEGY
    finish = zlib.Z_FINISH if end == len(pixels) else zlib.Z_SYNC_FLUSH
    return filtered, _deflate(filtered, level, strategy, finish)


def _deflate(data: np.ndarray, level: int, strategy: int, finish: int) -> bytes:
    """Raw deflate blocks that can follow others."""
    deflate = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
    return deflate.compress(np.ascontiguousarray(data).data) + deflate.flush(finish)


def encode_png(stream: BinaryIO, pixels: np.ndarray, alpha: np.ndarray | None, meta: Metadata) -> None:
    """Write a PNG of 8 or 16 bits (uint8 or uint16) in the order of its rows; `stream` need not seek."""
    height, width, channels = pixels.shape
    colour = {1: 0, 3: 2}[channels] | (4 if alpha is not None else 0)
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.dtype.itemsize, colour, 0, 0, 0)
    stream.write(b"\x89PNG\r\n\x1a\n" + _png_chunk(b"IHDR", header))
    if meta.icc:
        stream.write(_png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(meta.icc)))
    if meta.dpi:
        x, y = (round(dots / 0.0254) for dots in meta.dpi)
        stream.write(_png_chunk(b"pHYs", struct.pack(">IIB", x, y, 1)))
    if meta.exif:
        stream.write(_png_chunk(b"eXIf", meta.exif))
    if meta.xmp:  # PNG 11.3.3.4: keyword, not compressed, no language, no translated keyword
        stream.write(_png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + meta.xmp))

    check, prefix = 1, b"\x78\x01"  # Adler-32 of nothing; a zlib header (RFC 1950)
    strips = _strips(lambda top, end: _png_strip(pixels, alpha, top, end), pixels, alpha)
    for filtered, blocks in strips:
        check = zlib.adler32(filtered.data, check)
        stream.write(_png_chunk(b"IDAT", prefix + blocks))
        prefix = b""
    stream.write(_png_chunk(b"IDAT", struct.pack(">I", check)) + _png_chunk(b"IEND", b""))


def encode_pillow(
    stream: BinaryIO, pixels: np.ndarray, alpha: np.ndarray | None, meta: Metadata, kind: str, quality: int
) -> None:
    """Write 8-bit JPEG (no alpha) or WebP, `quality` 1 to 100."""
    from PIL import Image

    if alpha is not None:
        pixels = np.concatenate([pixels, alpha[..., None]], axis=2)
    options: dict[str, object] = {"quality": quality}
    if kind == "JPEG":
        # Colour at full resolution: halving it would undo what was just computed.
        options |= {"subsampling": 0, "optimize": pixels.size < 50_000_000}
        if meta.dpi:
            options["dpi"] = tuple(round(dots) for dots in meta.dpi)
    if meta.icc:
        options["icc_profile"] = meta.icc
    if meta.exif:
        options["exif"] = b"Exif\0\0" + meta.exif
    if meta.xmp:
        options["xmp"] = meta.xmp
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(stream, kind, **options)


def _tiff_strip(pixels: np.ndarray, alpha: np.ndarray | None, top: int, end: int) -> bytes:
    """TIFF 6.0, section 14 (differences along the row, integers only), then deflate."""
    strip = _samples(pixels, alpha, top, end)
    if np.issubdtype(strip.dtype, np.integer):
        strip = np.concatenate([strip[:, :1], np.diff(strip, axis=1)], axis=1)
    return zlib.compress(np.ascontiguousarray(strip).astype(strip.dtype.newbyteorder("<")).tobytes(), 1)


def encode_tiff(stream: BinaryIO, pixels: np.ndarray, alpha: np.ndarray | None, meta: Metadata) -> None:
    """Write a deflated TIFF of uint8, uint16 or float32 to a stream that can seek, from its position 0.

    Raises:
        UsageError: more than the 4 GiB that a TIFF's offsets reach.
    """
    from PIL import Image

    height, width, channels = pixels.shape
    samples = channels + (alpha is not None)
    integers = np.issubdtype(pixels.dtype, np.integer)
    stream.write(b"II*\0\0\0\0\0")
    sizes = []
    for strip in _strips(lambda top, end: _tiff_strip(pixels, alpha, top, end), pixels, alpha):
        stream.write(strip)
        sizes.append(len(strip))
    if stream.tell() >= 1 << 32:
        raise UsageError("TIFF cannot hold this picture: more than 4 GiB", remedy="use --format png")
    stream.write(b"\0" * (stream.tell() % 2))  # directories lie on even offsets

    tags: Tags = {
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [8 * pixels.dtype.itemsize] * samples),
        259: (SHORT, [8]),  # deflate
        262: (SHORT, [2 if channels == 3 else 1]),  # RGB, or grey with black at zero
        273: (LONG, list(accumulate(sizes[:-1], initial=8))),
        277: (SHORT, [samples]),
        278: (LONG, [_strip_rows(pixels, alpha)]),
        279: (LONG, sizes),
        284: (SHORT, [1]),  # samples of a pixel side by side
        317: (SHORT, [2 if integers else 1]),
        339: (SHORT, [1 if integers else 3] * samples),
    }
    if alpha is not None:
        tags[338] = SHORT, [2]  # not multiplied in
    if meta.dpi:
        x, y = (1000 << 32 | round(1000 * dots) for dots in meta.dpi)  # little-endian: numerator first
        tags |= {282: (RATIONAL, [x]), 283: (RATIONAL, [y]), 296: (SHORT, [2])}
    if meta.icc:
        tags[ICC] = RAW, meta.icc
    if meta.xmp:
        tags[XMP] = OCTETS, meta.xmp
    if meta.exif:
        exif = Image.Exif()
        with _as_far_as_it_goes():
            exif.load(b"Exif\0\0" + meta.exif)
        told, directories = _exif_tags(exif, stream.tell())
        tags |= told
        stream.write(directories)

    offset = stream.tell()
    stream.write(_tiff_directory(tags, offset))
    stream.seek(4)
    stream.write(struct.pack("<I", offset))
    stream.seek(0, os.SEEK_END)


def exif_block(exif: Any, orientation: int) -> bytes | None:
    """What a TIFF's `Image.Exif` says of the picture as a block of its own, None for nothing."""
    tags, directories = _exif_tags(exif, 8)
    if orientation != 1:
        tags[EXIF_ORIENTATION] = SHORT, [orientation]
    offset = 8 + len(directories)
    return b"II*\0" + struct.pack("<I", offset) + directories + _tiff_directory(tags, offset) if tags else None


def _exif_tags(exif: Any, offset: int) -> tuple[Tags, bytes]:
    """(tags for the first directory, the directories that they point to, which are to lie at the even `offset`)."""
    from PIL import TiffImagePlugin, TiffTags

    tags: Tags = {}
    directories = b""
    with _as_far_as_it_goes():
        for tag in DESCRIPTIVE_TAGS:
            if tag in exif:
                tags[tag] = TEXT, _text(exif[tag]) + b"\0"
        for tag in (EXIF_IFD, GPS_IFD):
            directory = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II", group=tag)
            for key, value in exif.get_ifd(tag).items():
                if key == INTEROP_IFD:  # an offset in the file that this came from
                    continue
                if isinstance(value, str):
                    directory.tagtype[key] = TiffTags.ASCII
                directory[key] = _text(value) if isinstance(value, str) else value
            if len(directory):
                block = directory.tobytes(offset + len(directories))
                tags[tag] = LONG, [offset + len(directories)]
                directories += block + b"\0" * (len(block) % 2)
    return tags, directories


def _text(value: Any) -> bytes:
    """Text byte for byte as the file had it: Pillow reads it as Latin-1, whatever it is, and writes ASCII only."""
    return value if isinstance(value, bytes) else str(value).encode("latin-1")


@contextlib.contextmanager
def _as_far_as_it_goes() -> Iterator[None]:
    """What Pillow cannot read of broken EXIF, where it warns and raises anything at all, does not stop a picture."""
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        yield


def _tiff_directory(tags: Tags, offset: int) -> bytes:
    """TIFF 6.0, section 2: entries in the order of their tags, then the values that are over four bytes."""
    entries, values = struct.pack("<H", len(tags)), b""
    offset += 2 + 12 * len(tags) + 4
    for tag, (kind, value) in sorted(tags.items()):
        data = value if isinstance(value, bytes) else struct.pack(f"<{len(value)}{kind[1]}", *value)
        if len(data) > 4:
            place = struct.pack("<I", offset + len(values))
            values += data + b"\0" * (len(data) % 2)
        else:
            place = data.ljust(4, b"\0")
        entries += struct.pack("<HHI", tag, int(kind[0]), len(value)) + place
    return entries + b"\0\0\0\0" + values
