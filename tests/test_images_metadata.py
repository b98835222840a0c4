"""What other programs put into pictures beside the usual, and where: it is kept, left out, or refused by its name."""

from __future__ import annotations

import io
import os
import struct
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from gantoolkit.errors import InputError
from gantoolkit.images import Picture, read, write
from tests.pictures import noise

PACKET = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a/></x:xmpmeta>'
ARTIST, DESCRIPTION, COPYRIGHT = 0x013B, 0x010E, 0x8298
EXIF_IFD, INTEROP_IFD, LENS = 0x8769, 0xA005, 0xA434


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels: np.ndarray, *, early: bytes = b"", late: bytes = b"") -> bytes:
    """A PNG with chunks before and after its pixels."""
    height, width, channels = pixels.shape
    bits = 8 * pixels.dtype.itemsize
    header = struct.pack(">IIBBBBB", width, height, bits, {1: 0, 3: 2}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(f">u{bits // 8}").tobytes() for row in pixels)
    data = zlib.compress(rows)
    parts = [chunk(b"IHDR", header), early, chunk(b"IDAT", data[:9]), chunk(b"IDAT", data[9:]), late]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def jpeg(exif: Any, kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(12, 14)).save(stream, kind, exif=exif)
    return stream.getvalue()


def as_tiff(data: bytes) -> bytes:
    stream = io.BytesIO()
    write(read(data), stream, format="tif")
    return stream.getvalue()


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("place", ["early", "late"])
def test_exif_and_xmp_on_either_side_of_a_pngs_pixels(dtype: Any, place: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    block = exif.tobytes().removeprefix(b"Exif\0\0")
    chunks = chunk(b"eXIf", block) + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + PACKET)
    pixels = noise(12, 14, 3, dtype)
    picture = read(png(pixels, **{place: chunks}))
    assert np.array_equal(picture.pixels, np.rot90(pixels, -1))
    assert picture.exif is not None and picture.xmp == PACKET


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_transparent_colour_of_a_png(dtype: Any, channels: int) -> None:
    pixels = noise(8, 8, channels, dtype)
    pixels[:3] = range(71, 71 + channels)
    key = struct.pack(f">{channels}H", *range(71, 71 + channels))
    picture = read(png(pixels, early=chunk(b"tRNS", key)))
    assert np.array_equal(picture.pixels, pixels) and picture.alpha is not None and picture.alpha.dtype == dtype
    assert np.array_equal(picture.alpha, np.where((pixels == pixels[0, 0]).all(2), 0, np.iinfo(dtype).max))


def test_text_that_is_not_ascii_stays_byte_for_byte() -> None:
    told = {ARTIST: "José Ñandú".encode(), DESCRIPTION: "Fête, 雪".encode(), COPYRIGHT: b"(c) Jos\xe9"}
    exif = Image.Exif()
    for tag, value in told.items():
        exif[tag] = value
    photo = jpeg(exif)
    extra = [(tag, 2, 0, value, True) for tag, value in told.items()]
    for data in (
        as_tiff(photo),
        as_tiff(as_tiff(photo)),
        as_tiff(tiff(noise(4, 4), photometric="rgb", metadata=None, extratags=extra)),
    ):
        block = read(data).exif
        assert all(value + b"\0" in data and value + b"\0" in (block or b"") for value in told.values())


def test_lens_names_keep_their_letters() -> None:
    exif = Image.Exif()
    exif.get_ifd(EXIF_IFD)[LENS] = "Lens of ?glass"
    photo = jpeg(exif).replace(b"?glass", b"\xd1glass")
    for data in (as_tiff(photo), as_tiff(as_tiff(photo))):
        assert b"Lens of \xd1glass\0" in data
        with Image.open(io.BytesIO(data)) as image:
            assert image.getexif().get_ifd(EXIF_IFD)[LENS] == "Lens of Ñglass"


def test_interoperability_directories_leave_no_pointer_behind() -> None:
    exif = Image.Exif()
    exif[EXIF_IFD] = {0x9003: "2020:01:01 00:00:00", INTEROP_IFD: {1: "R98"}}
    stream = io.BytesIO()
    with Image.open(io.BytesIO(jpeg(exif))) as image:
        image.save(stream, "TIFF", exif=image.getexif())
    for data in (jpeg(exif), stream.getvalue()):
        for given, tags in ((data, [0x9003, INTEROP_IFD]), (as_tiff(data), [0x9003])):
            with Image.open(io.BytesIO(given)) as image:
                assert list(image.getexif().get_ifd(EXIF_IFD)) == tags


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize("block", [b"garbagegarbagegarbage", b"II*\0\x08\0\0\0\x05\0\x12\x01", b"II"])
def test_broken_exif_stops_no_picture(kind: str, block: bytes) -> None:
    data = jpeg(b"Exif\0\0" + block, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = read(as_tiff(data))
    assert np.array_equal(made.pixels, read(data).pixels) and made.exif is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_bigtiff_is_read_with_what_it_says_or_refused_as_such(dtype: Any) -> None:
    pixels = noise(9, 7, 3, dtype)
    options: dict[str, Any] = {"photometric": "rgb", "bigtiff": True, "resolution": (300, 300)}
    picture = read(tiff(pixels, byteorder="<", description="a barn", metadata=None, **options))
    assert np.array_equal(picture.pixels, pixels) and picture.dpi == (300, 300)
    assert picture.exif is not None and b"a barn\0" in picture.exif
    with pytest.raises(InputError, match=r"got big-endian BigTIFF$"):
        read(tiff(pixels, byteorder=">", **options))


@pytest.mark.parametrize("dtype", ["float16", "uint32", "int16", "float64"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_samples_of_other_kinds_are_no_damage(dtype: str, compression: str | None) -> None:
    with pytest.raises(InputError, match=rf"cannot decode.*8 or 16 bits, or 32-bit float, got {dtype}$"):
        read(tiff(np.ones((8, 8, 3), dtype), photometric="rgb", compression=compression))


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    pipe, picture = tmp_path / "pipe.png", Picture(noise(9, 7))
    os.mkfifo(pipe)
    stream = io.BytesIO()
    write(picture, stream)
    writer = threading.Thread(target=pipe.write_bytes, args=(stream.getvalue(),), daemon=True)
    writer.start()
    assert np.array_equal(read(pipe).pixels, picture.pixels)
    writer.join()
