"""XMP packets (ISO 16684-1): titles, ratings, rights and edits of a picture, carried along as they are.

Only what the packet says of the picture's shape changes with it.
"""

from __future__ import annotations

import re

# A packet that names further pictures or a film behind the first one (HDR gain maps, motion photos) would promise
# what a file of one picture does not hold.
_ELSEWHERE = (b"Container:Directory", b"GContainer", b"MicroVideo", b"MotionPhoto", b"hdrgm:")
_WIDTHS, _HEIGHTS = (b"tiff:ImageWidth", b"exif:PixelXDimension"), (b"tiff:ImageLength", b"exif:PixelYDimension")


def of_one_picture(packet: bytes | None) -> bytes | None:
    """The packet, or None where there is none or it describes more than one picture."""
    return None if not packet or any(word in packet for word in _ELSEWHERE) else packet


def upright(packet: bytes | None) -> bytes | None:
    """The packet of a picture whose orientation was applied."""
    return packet and _set(packet, b"tiff:Orientation", 1)


def sized(packet: bytes, width: int, height: int) -> bytes:
    """The packet of a picture of `width` x `height` pixels; a size that it does not name is not added."""
    for value, names in ((width, _WIDTHS), (height, _HEIGHTS)):
        for name in names:
            packet = _set(packet, name, value)
    return packet


def _set(packet: bytes, name: bytes, value: int) -> bytes:
    """`name` as an attribute or as an element with another number."""
    number = str(value).encode()
    packet = re.sub(rb"(%s\s*=\s*[\"'])\s*\d+\s*" % re.escape(name), rb"\g<1>" + number, packet)
    return re.sub(rb"(<%s>)\s*\d+\s*(?=<)" % re.escape(name), rb"\g<1>" + number, packet)
