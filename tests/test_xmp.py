"""XMP: what an editor wrote about a picture is still there afterwards, and true of the picture that is written."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from gantoolkit.errors import UsageError
from gantoolkit.images import Picture, read, write

PACKET = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description xmp:Rating="4" '
    b'tiff:Orientation="6" tiff:ImageWidth="8" dc:title="K\xc3\xbcste"><tiff:ImageLength>5</tiff:ImageLength>'
    b'<exif:PixelXDimension>8</exif:PixelXDimension></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
KINDS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tif": "TIFF"}
PIXELS = np.random.default_rng(0).integers(0, 255, (5, 8, 3), np.uint8)


def others(kind: str, packet: bytes = PACKET, orientation: int = 1, depth: Any = np.uint8) -> bytes:
    """A file that Pillow (or tifffile) wrote."""
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"xmp": packet}
    if kind == "tif":
        tags = [(700, 1, len(packet), packet, True), (274, 3, 1, orientation, True)]
        tifffile.imwrite(stream, PIXELS.astype(depth), photometric="rgb", extratags=tags)
        return stream.getvalue()
    if kind == "png":
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode())
        options = {"pnginfo": info}
    Image.fromarray(PIXELS).save(stream, KINDS[kind], exif=exif, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_a_packet_comes_in_from_other_programs(kind: str) -> None:
    assert read(others(kind)).xmp == PACKET


@pytest.mark.parametrize("kind", KINDS)
def test_a_packet_goes_out_to_other_programs_with_the_true_size(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    write(Picture(np.tile(PIXELS, (2, 3, 1)), xmp=PACKET), path)
    now = PACKET.replace(b'Width="8"', b'Width="24"').replace(b"Length>5<", b"Length>10<").replace(b">8<", b">24<")
    assert read(path).xmp == now
    with Image.open(path) as image:
        found = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
        assert (found.encode() if isinstance(found, str) else found) == now


@pytest.mark.parametrize(("kind", "depth"), [*((kind, np.uint8) for kind in KINDS), ("tif", np.uint16)])
def test_what_was_turned_is_not_turned_again(kind: str, depth: Any) -> None:
    picture = read(others(kind, orientation=6, depth=depth))
    assert picture.pixels.shape == (8, 5, 3)
    assert picture.xmp == PACKET.replace(b'Orientation="6"', b'Orientation="1"')


def test_a_packet_about_pictures_that_are_left_behind_is_not_carried_on() -> None:
    assert read(others("jpg", PACKET.replace(b"xmp:Rating", b"GCamera:MotionPhoto"))).xmp is None


def test_a_packet_that_jpeg_cannot_hold_is_one_line(tmp_path: Path) -> None:
    large = Picture(PIXELS, xmp=PACKET + b" " * 70_000)
    with pytest.raises(UsageError, match="cannot hold this picture's XMP"):
        write(large, tmp_path / "a.jpg")
    fitting = Picture(PIXELS, xmp=b"<x>" + b" " * 65_501)
    write(fitting, tmp_path / "b.jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["b.jpg"] and read(tmp_path / "b.jpg").xmp == fitting.xmp
