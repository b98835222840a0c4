"""Coloured shapes with counts and positions: what a picture must show is known exactly, and so is what was never shown.

A scene is one group of equal objects, or two groups of which one is above or left of the other. The test part holds
the scenes with a pair of colour and shape, or a triple of shape, relation and shape, that no training scene has.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from gantk_text2image.recipes.writing import Writer
from gantoolkit import recipes

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40), "orange": (250, 130, 20), "yellow": (250, 212, 40),
    "green": (50, 160, 60), "blue": (40, 80, 210), "purple": (140, 60, 180),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star", "cross")
RELATIONS = ("above", "left of")
NUMBERS = ("", "one", "two", "three")
MOST = 4  # objects of a scene with two groups: more would be too small to tell apart
FINE = 4  # drawn so many times larger, then averaged
SHADE = 10  # a colour's channels differ by at most this from object to object
SLANT = 0.6  # of the distance along the relation: the two groups' middles differ by less than this across it
SPREAD = (0.55, 0.3, 0.15)  # how often one, two, three objects
ALONE = 0.3  # share of the scenes with one group

Pair = tuple[str, str]  # colour, shape
Triple = tuple[str, str, str]  # shape, relation, shape: the first is above, or left of, the second

ABOUT = """
Pictures drawn by this recipe, on white. Colours: {colours}. Shapes: {shapes}. One group of one to three equal objects,
or two groups (another colour or another shape, {most} objects at most), the first above or left of the second. Sizes,
places and shades are random; objects are {gap} pixels apart at least.

Each picture has four captions in different words; some name the lower or right group first. Attributes are those of
the picture, not of a caption's order: `colour`, `shape` and `count` are of the upper (or left) group, `second …` of the
other, and `relation` is "above" or "left of".

## What is held out

No training picture has one of these pairs of colour and shape: {pairs}.

None has one of these arrangements: {triples}.

Each picture of the test part has at least one of them (half of them a pair, half an arrangement); each colour, shape,
count and relation is in the training part in all other combinations.

## Licence

The pictures and captions are made by a program and are free of rights (CC0).
"""


@dataclass(frozen=True)
class Group:
    """Equal objects: `count` of them, 1 to 3."""

    colour: str
    shape: str
    count: int = 1

    def __str__(self) -> str:
        if self.count > 1:
            return f"{NUMBERS[self.count]} {self.colour} {self.shape}{'es' if self.shape == 'cross' else 's'}"
        return f"{'an' if self.colour[0] in 'aeiou' else 'a'} {self.colour} {self.shape}"


@dataclass(frozen=True)
class Scene:
    """What a picture shows; with two groups, the first one is above or left of the second."""

    first: Group
    relation: str = ""
    second: Group | None = None

    @property
    def groups(self) -> tuple[Group, ...]:
        return (self.first,) if self.second is None else (self.first, self.second)

    def attributes(self) -> dict[str, str]:
        """As they are written beside the picture."""
        found: dict[str, str] = {}
        for group, prefix in zip(self.groups, ("", "second "), strict=False):
            values = {"colour": group.colour, "shape": group.shape, "count": NUMBERS[group.count]}
            found |= {prefix + name: value for name, value in values.items()}
        return found | ({"relation": self.relation} if self.second else {})


# ---- what is held out ----


def held_pair(colour: str, shape: str) -> bool:
    """Whether a pair of colour and shape is for tests alone: one of each colour, at least one of each shape."""
    return list(COLOURS).index(colour) % len(SHAPES) == SHAPES.index(shape)


def held_triple(first: str, relation: str, second: str) -> bool:
    """Whether an arrangement of shapes is for tests alone: one in five, never the same one the other way round."""
    i, j, r = SHAPES.index(first), SHAPES.index(second), RELATIONS.index(relation)
    return (j - i) % len(SHAPES) == 1 + r


def new_parts(scene: Scene) -> tuple[bool, bool]:
    """(has a held-out pair, has a held-out triple)."""
    pair = any(held_pair(group.colour, group.shape) for group in scene.groups)
    second = scene.second
    return pair, second is not None and held_triple(scene.first.shape, scene.relation, second.shape)


# ---- scenes and their words ----


def draw_scene(rng: np.random.Generator, wanted: Callable[[Scene], bool]) -> Scene:
    """A random scene that is wanted."""

    def group() -> Group:
        return Group(str(rng.choice(list(COLOURS))), str(rng.choice(SHAPES)), int(rng.choice([1, 2, 3], p=SPREAD)))

    while True:
        scene = Scene(group())
        if rng.random() >= ALONE:
            scene = Scene(scene.first, str(rng.choice(RELATIONS)), group())
            first, second = scene.groups
            if (first.colour, first.shape) == (second.colour, second.shape) or first.count + second.count > MOST:
                continue
        if wanted(scene):
            return scene


def captions(scene: Scene, rng: np.random.Generator, number: int = 4) -> list[str]:
    """`number` captions in different words."""
    a = str(scene.first)
    are = "are" if scene.first.count > 1 else "is"
    if scene.second is None:
        texts = [a, f"a picture of {a}", f"{a} on white", f"there {are} {a}", f"just {a}", f"{a} and nothing else"]
    else:
        b = str(scene.second)
        they, those = ("them" if group.count > 1 else "it" for group in scene.groups)
        if scene.relation == "above":
            texts = [
                f"{a} above {b}", f"{b} below {a}", f"{a} over {b}", f"{b} under {a}", f"above {b} there {are} {a}",
                f"{a} with {b} below {they}", f"{b} with {a} above {those}", f"{a} at the top and {b} at the bottom",
            ]  # fmt: skip
        else:
            texts = [
                f"{a} to the left of {b}", f"{b} to the right of {a}", f"{a} left of {b}", f"{b} right of {a}",
                f"to the left of {b} there {are} {a}", f"{a} with {b} to the right of {they}",
                f"{b} with {a} to the left of {those}", f"{a} on the left and {b} on the right",
            ]  # fmt: skip
    return [texts[i] for i in rng.permutation(len(texts))[:number]]


# ---- pictures ----

Point = tuple[float, float]


def outline(shape: str) -> list[Point]:
    """Corners of a shape in the box from -1 to 1; () for the circle."""
    if shape == "square":
        return [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)]
    if shape == "triangle":
        return [(0, -0.95), (1, 0.85), (-1, 0.85)]
    if shape == "cross":
        a, b = 0.36, 1.0
        return [(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a), (a, b), (-a, b), (-a, a), (-b, a), (-b, -a),
                (-a, -a)]  # fmt: skip
    if shape == "star":
        radii = (1.05, 0.45)
        turns = [(radii[k % 2], math.pi * (k / 5 - 0.5)) for k in range(10)]
        return [(r * math.cos(angle), r * math.sin(angle) + 0.08) for r, angle in turns]
    return []


def paint(draw: ImageDraw.ImageDraw, shape: str, x: float, y: float, radius: float, colour: Sequence[int]) -> None:
    """One object, its middle at (x, y)."""
    points = [(x + radius * dx, y + radius * dy) for dx, dy in outline(shape)]
    if points:
        draw.polygon(points, fill=tuple(colour))
    else:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(colour))


@dataclass(frozen=True)
class Placed:
    """An object's middle and radius, as shares of the picture's side."""

    x: float
    y: float
    radius: float


GAP = 3 / 64  # between objects, and to the border
RADII = {1: (0.12, 0.19), 2: (0.11, 0.17), 3: (0.1, 0.135)}  # of a group of a scene with two, by its count
BIG = {1: (0.16, 0.36), 2: (0.13, 0.2), 3: (0.11, 0.135)}  # of a group alone


def place(scene: Scene, rng: np.random.Generator) -> list[list[Placed]]:
    """Where the objects of each group are."""
    if scene.second is None:
        turned = rng.random() < 0.5
        objects = _row(scene.first.count, BIG, GAP, 1 - GAP, rng)
        return [[Placed(o.y, o.x, o.radius) if turned else o for o in objects]]
    while True:
        middle = rng.uniform(0.46, 0.54)
        first = _row(scene.first.count, RADII, GAP, middle - GAP / 2, rng)
        second = _row(scene.second.count, RADII, middle + GAP / 2, 1 - GAP, rng)
        (x0, y0), (x1, y1) = (np.mean([(o.x, o.y) for o in objects], axis=0) for objects in (first, second))
        if abs(x1 - x0) < SLANT * abs(y1 - y0):
            break
    both = [first, second]
    if scene.relation == "above":
        return both
    return [[Placed(o.y, o.x, o.radius) for o in objects] for objects in both]


def _row(
    count: int, radii: dict[int, tuple[float, float]], top: float, bottom: float, rng: np.random.Generator
) -> list[Placed]:
    """Objects of about one size side by side, each somewhere between top and bottom."""
    radius = min(rng.uniform(*radii[count]), (bottom - top) / 2)
    sizes = radius * rng.uniform(0.93, 1, count)
    free = 1 - 2 * GAP - 2 * sizes.sum() - GAP * (count - 1)
    spaces = rng.dirichlet(np.ones(count + 1)) * free
    placed, left = [], GAP
    for size, space in zip(sizes, spaces, strict=False):
        left += space
        placed.append(Placed(left + size, rng.uniform(top + size, bottom - size), size))
        left += 2 * size + GAP
    return placed


def render(scene: Scene, rng: np.random.Generator, size: int = 64) -> np.ndarray:
    """A picture (size, size, 3) uint8 of a scene."""
    side = size * FINE
    image = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(image)
    for group, objects in zip(scene.groups, place(scene, rng), strict=True):
        for o in objects:
            shade = np.clip(np.array(COLOURS[group.colour]) + rng.integers(-SHADE, SHADE + 1, 3), 0, 255)
            paint(draw, group.shape, o.x * side, o.y * side, o.radius * side, [int(v) for v in shade])
    return np.asarray(image.reduce(FINE))


# ---- the data set ----


def build(out: Path, *, size: int = 64, train: int = 12_000, test: int = 2_000, seed: int = 0) -> Counter[str]:
    """Write the data set to `out`; how many pictures went where.

    Picture i of a part depends on the seed, the part and i alone.

    Raises:
        UsageError: `out` exists.
    """

    def known(scene: Scene) -> bool:
        return new_parts(scene) == (False, False)

    tests: list[tuple[str, Callable[[Scene], bool]]] = [
        ("with a new pair", lambda scene: new_parts(scene)[0]),
        ("with a new arrangement", lambda scene: new_parts(scene) == (False, True)),
    ]
    counts: Counter[str] = Counter()
    with recipes.target(out) as folder, Writer(folder) as writer:
        for part, number in (("train", train), ("test", test)):
            for index in range(number):
                rng = np.random.default_rng((seed, recipes.PARTS.index(part), index))
                what, wanted = tests[index % 2] if part == "test" else ("", known)
                scene = draw_scene(rng, wanted)
                writer.add(f"{index:05d}", render(scene, rng, size), captions(scene, rng), scene.attributes(), part)
                counts[f"{part} {what}".strip()] += 1
        facts = {"size": f"{size} × {size}", "seed": seed, **{f"pictures, {name}": n for name, n in counts.items()}}
        recipes.card(folder, "Coloured shapes", facts, about(size))
    return counts


def about(size: int) -> str:
    """The card's text, with what is held out."""
    pairs = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES if held_pair(colour, shape)]
    triples = [f"{a} {r} {b}" for r in RELATIONS for a in SHAPES for b in SHAPES if held_triple(a, r, b)]
    return ABOUT.format(
        colours=", ".join(COLOURS), shapes=", ".join(SHAPES), most=MOST, gap=f"{GAP * size:g}",
        pairs=", ".join(pairs), triples=", ".join(triples),
    )  # fmt: skip
