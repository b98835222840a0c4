"""Reads a picture of coloured shapes back, by geometry and without learning: what is there, and where.

White paper under an object's colour is a known mixture: a pixel p = 255 - a (255 - c) lies on the line from white to
the colour c. Its direction says which colour, its distance a how much of it; so blurred edges keep their colour.
Shapes are told by which outline, blurred more or less and drawn with the object's middle and area, covers it best:
both stay as they are under any blur.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from gantk_text2image.recipes import shapes
from gantk_text2image.recipes.shapes import COLOURS, NUMBERS, SHAPES, Group, Scene

FINE = 24  # pixels a side of an object when its shape is told
DETAIL = 8  # outlines are drawn so many times larger, then averaged
SMALLEST = 0.004  # of the picture's area; what is smaller is dirt
BLUR = 0.6 / 64  # of the side: takes noise away before colours are told
REACH = 2  # pixels around what is covered that belong to an object's soft edge
COVERED = 0.5  # of a pixel by an object's colour
FRAME = 1.5  # radii to each side of an object's middle that are looked at
BLURS = (0.04, 0.1, 0.17, 0.25, 0.35)  # of a radius: edges from sharp to as soft as still can be told


@dataclass(frozen=True)
class Thing:
    """One object: its middle and its area as shares of the picture's side and area."""

    colour: str
    shape: str
    x: float
    y: float
    area: float


@dataclass(frozen=True)
class Found:
    """Equal objects of a picture and the mean of their middles."""

    group: Group
    x: float
    y: float
    area: float


def read(picture: np.ndarray) -> list[Thing]:
    """The objects of (H, W, 3) uint8, from the largest to the smallest."""
    height, width = picture.shape[:2]
    names = list(COLOURS)
    inks = 255.0 - np.array([COLOURS[name] for name in names])  # (colours, 3), from white
    ink = 255.0 - picture.astype(np.float64)
    ink = np.stack([ndimage.gaussian_filter(ink[..., c], BLUR * width) for c in range(3)], -1)
    lengths = np.linalg.norm(inks, axis=1)
    along = ink @ (inks / lengths[:, None]).T  # (H, W, colours)
    nearest = along.argmax(-1)
    covers = np.clip(along / lengths, 0, 1)
    things = []
    for number, name in enumerate(names):
        cover = covers[..., number]
        labels, _ = ndimage.label((nearest == number) & (cover > COVERED))
        for label, place in enumerate(ndimage.find_objects(labels), 1):
            if (labels[place] == label).sum() < SMALLEST * height * width:
                continue
            rows, columns = (slice(max(0, s.start - REACH), s.stop + REACH) for s in place)
            mine = labels[rows, columns] == label
            others = (labels[rows, columns] > 0) & ~mine
            near = ndimage.binary_dilation(mine, iterations=REACH) & ~others
            soft = np.where(near, cover[rows, columns], 0)
            y, x = ndimage.center_of_mass(soft)
            middle = ((columns.start + x + 0.5) / width, (rows.start + y + 0.5) / height)
            things.append(Thing(name, shape_of(soft), *middle, float(soft.sum()) / (height * width)))
    return sorted(things, key=lambda thing: -thing.area)


def shape_of(cover: np.ndarray) -> str:
    """Which shape covers (h, w) so, 0 to 1; what is around it is 0."""
    y, x = (middle + 0.5 for middle in ndimage.center_of_mass(cover))
    around = 2 * max(cover.shape)
    image = Image.fromarray(np.pad(cover, around).astype(np.float32))
    differences = {}
    for shape in SHAPES:
        outlines, area = outlined(shape)
        reach = FRAME * float(np.sqrt(cover.sum() / area))
        box = (around + x - reach, around + y - reach, around + x + reach, around + y + reach)
        seen = np.asarray(image.resize((FINE, FINE), Image.Resampling.BILINEAR, box))
        differences[shape] = min(float(np.square(seen - outline).mean()) for outline in outlines)
    return min(SHAPES, key=differences.__getitem__)


@cache
def outlined(shape: str) -> tuple[np.ndarray, float]:
    """(a shape around its middle, blurred more and more, (blurs, FINE, FINE) in 0 to 1; its area in radii squared)."""
    side = DETAIL * FINE
    radius = side / 2 / FRAME
    image = Image.new("L", (side, side))
    shapes.paint(ImageDraw.Draw(image), shape, side / 2, side / 2, radius, (255,))
    whole = np.asarray(image, np.float32) / 255
    y, x = ndimage.center_of_mass(whole)
    whole = ndimage.shift(whole, (side / 2 - 0.5 - y, side / 2 - 0.5 - x), order=1)
    blurred = [ndimage.gaussian_filter(whole, blur * radius) for blur in BLURS]
    small = np.stack([plane.reshape(FINE, DETAIL, FINE, DETAIL).mean((1, 3)) for plane in blurred])
    return small, float(whole.sum()) / radius**2


def groups(things: list[Thing]) -> list[Found]:
    """Objects of one colour and shape together, from the largest area to the smallest."""
    found = []
    for colour, shape in sorted({(thing.colour, thing.shape) for thing in things}):
        equal = [thing for thing in things if (thing.colour, thing.shape) == (colour, shape)]
        x, y = (float(np.mean([getattr(thing, axis) for thing in equal])) for axis in "xy")
        found.append(Found(Group(colour, shape, len(equal)), x, y, sum(thing.area for thing in equal)))
    return sorted(found, key=lambda group: -group.area)


def relation(first: Found, second: Found) -> str:
    """ "above", "left of", "below" or "right of": where the first is, seen from the second."""
    dx, dy = second.x - first.x, second.y - first.y
    if abs(dy) > abs(dx):
        return "above" if dy > 0 else "below"
    return "left of" if dx > 0 else "right of"


def scene(picture: np.ndarray) -> Scene | None:
    """What a picture shows, None unless it is a scene: one or two groups of up to three objects."""
    found = groups(read(picture))
    if not 1 <= len(found) <= 2 or any(group.group.count >= len(NUMBERS) for group in found):
        return None
    if len(found) == 1:
        return Scene(found[0].group)
    first, second = found if relation(*found) in shapes.RELATIONS else found[::-1]
    return Scene(first.group, relation(first, second), second.group)


def agreement(attributes: Mapping[str, str], picture: np.ndarray) -> dict[str, float]:
    """How much of what is said of a picture (H, W, 3) uint8 is in it, each from 0 to 1.

    The groups that are said are matched with those that are seen so that most agrees. Of these pairs, "colour",
    "shape" and "count" are the shares that agree in it, "pair" the share that agrees in colour and shape at once.
    "relation" (only where one is said) is 1 if both groups have a partner and these stand so. "all" is 1 if the
    picture shows what is said, nothing less and nothing more.

    Args:
        attributes: as the recipe writes them.
        picture: a real or a generated one.
    """
    said = stated(attributes)
    found = groups(read(picture))
    matched = _matched(said.groups, found)
    pairs = [(group, seen.group if seen else None) for group, seen in zip(said.groups, matched, strict=True)]
    scores = {
        name: float(
            np.mean([seen is not None and getattr(group, name) == getattr(seen, name) for group, seen in pairs])
        )
        for name in ("colour", "shape", "count")
    }
    alike = [s is not None and (group.colour, group.shape) == (s.colour, s.shape) for group, s in pairs]
    scores["pair"] = float(np.mean(alike))
    stands = True
    if said.second:
        first, second = matched
        stands = first is not None and second is not None and relation(first, second) == said.relation
        scores["relation"] = float(stands)
    exact = Counter(group.group for group in found) == Counter(said.groups)
    scores["all"] = float(exact and stands)
    return scores


def stated(attributes: Mapping[str, str]) -> Scene:
    """The scene that attributes tell of."""
    told = []
    for prefix in ("", "second "):
        if prefix + "colour" in attributes:
            count = NUMBERS.index(attributes[prefix + "count"])
            told.append(Group(attributes[prefix + "colour"], attributes[prefix + "shape"], count))
    return Scene(told[0], attributes.get("relation", ""), told[1] if len(told) > 1 else None)


def _matched(said: tuple[Group, ...], found: list[Found]) -> list[Found | None]:
    """A different seen group for each said one, or None; those that agree most, of equal ones the largest."""

    def points(group: Group, seen: Found | None) -> int:
        if seen is None:
            return -1
        other = seen.group
        return 2 * (group.colour == other.colour) + 2 * (group.shape == other.shape) + (group.count == other.count)

    seen: list[Found | None] = [*found, *[None] * len(said)]
    best = max(permutations(seen, len(said)), key=lambda chosen: sum(map(points, said, chosen)))
    return list(best)
