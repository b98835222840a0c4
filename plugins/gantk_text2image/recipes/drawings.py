"""Drawings of things in colours: emoji of two styles, repainted, turned and moved, with captions that say the colour.

A picture is a thing in its own colours ("a fish") or with its main colour replaced ("a blue fish"). Pairs of a thing
and a colour are kept aside, so that a generator is asked for what it was never shown.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.color import lab2rgb, rgb2lab

from gantk_text2image.recipes import emoji
from gantk_text2image.recipes.writing import Writer
from gantoolkit import recipes
from gantoolkit.errors import InputError
from gantoolkit.scan import decode

# CIELAB: lightness 0 to 100, then green to red and blue to yellow
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (52, 66, 44), "orange": (70, 38, 68), "yellow": (86, 0, 76), "green": (60, -48, 42),
    "blue": (52, 8, -60), "purple": (48, 48, -48), "pink": (76, 42, -4), "grey": (62, 0, 0),
}  # fmt: skip

# a word, or word=short name of the emoji where they differ
_NAMES = """
apple banana carrot cherries croissant doughnut eggplant grapes ice_cream=icecream lemon mushroom pear pineapple
strawberry tomato watermelon teapot
bear bird butterfly cat chick=baby_chick crab dinosaur=sauropod dog dolphin duck elephant fish flamingo fox=fox_face
frog horse ladybug lion=lion_face monkey=monkey_face mouse octopus owl parrot penguin pig rabbit shark snail snake
spider tiger turtle unicorn=unicorn_face whale
cactus flower=tulip leaf=maple_leaf palm_tree pine_tree=evergreen_tree rose sunflower tree=deciduous_tree
anchor balloon bell boot bow=ribbon bucket chair cloud crown dress gift guitar hat=tophat heart key
lamp=bulb lock moon=crescent_moon shirt shoe=athletic_shoe skull star sun=sunny trophy umbrella
airplane boat bus=oncoming_bus car helicopter house rocket tent tractor
alien ghost robot=robot_face smiley=smiley
"""
THINGS = {word.replace("_", " "): name or word for word, _, name in (entry.partition("=") for entry in _NAMES.split())}
PLURAL = ("cherries", "grapes")
HELD_OUT = 12  # percent of the pairs of a thing and a colour
PLAIN = 0.2  # share of the pictures that keep their own colours
FAR = 45.0  # degrees of hue: what is nearer to the main one is repainted with it
DULL = 14.0  # chroma below which there is no hue to speak of
DARK, LIGHT = 22.0, 93.0  # lightness of lines and gleams, which stay
SIZES, TURN = (0.8, 0.98), 10.0  # of the side; degrees each way
FINE = 4  # drawn so many times larger, then averaged

ABOUT = """
{things} things, drawn in two styles (the npm packages `emoji-datasource-google` and `emoji-datasource-twitter`), on
white, mirrored at random, turned by up to {turn:g}° and of random size and place. One picture in {plain:g} keeps its
own colours and has captions without one; in the others the drawing's main colour is replaced by one of {colours}.
Attributes: `thing` and, where it is said, `colour`. Things: {names}.

## What is held out

No training picture shows one of these pairs: {pairs}.

Every thing and every colour is in the training part in other pairs.

## Licence

Google: Noto Emoji, Apache License 2.0 (<https://github.com/googlefonts/noto-emoji>). Twitter: Twemoji, copyright
Twitter, Inc. and other contributors, graphics under CC-BY 4.0 (<https://creativecommons.org/licenses/by/4.0/>). The
drawings were changed as said above. Keep this notice with the pictures.
"""


def held_pair(thing: str, colour: str) -> bool:
    """Whether a pair is for tests alone, by its hash."""
    digest = hashlib.sha256(f"{colour} {thing}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 100 < HELD_OUT


def captions(thing: str, colour: str | None) -> list[str]:
    """Different words for one picture."""
    named = f"{colour} {thing}" if colour else thing
    if thing in PLURAL:
        return list(dict.fromkeys([named, f"a picture of {named}", f"a drawing of {named}"]))
    a = f"{'an' if named[0] in 'aeiou' else 'a'} {named}"
    return list(dict.fromkeys([a, named, f"a picture of {a}", f"a drawing of {a}"]))


# ---- pictures ----


@dataclass(frozen=True)
class Drawing:
    """An emoji: CIELAB (H, W, 3), cover (H, W) in 0 to 1, and how much of each place is of its main colour."""

    lab: np.ndarray
    cover: np.ndarray
    main: np.ndarray

    @classmethod
    def read(cls, pixels: np.ndarray) -> Drawing:
        """Find the main colour of (H, W, 4) uint8: the hue, or the absence of one, that covers most."""
        lab, cover = rgb2lab(pixels[..., :3] / 255), pixels[..., 3] / 255
        light, chroma = lab[..., 0], np.hypot(lab[..., 1], lab[..., 2])
        hue = np.degrees(np.arctan2(lab[..., 2], lab[..., 1]))
        coloured, dull = chroma > DULL, (chroma <= DULL) & (light > DARK) & (light < LIGHT)
        centres = range(-180, 180, 10)
        areas = [(cover * (coloured & (_apart(hue, centre) < FAR))).sum() for centre in centres]
        if max(areas) >= (cover * dull).sum():
            main = coloured & (_apart(hue, centres[int(np.argmax(areas))]) < FAR)
        else:
            main = dull
        return cls(lab, cover, main.astype(float))

    def repainted(self, colour: str | None) -> np.ndarray:
        """(H, W, 3) in 0 to 1: the main colour's places around the new one, as light and as strong among themselves."""
        if colour is None:
            return _rgb(self.lab)
        wanted = np.array(COLOURS[colour])
        places = (self.main > 0) & (self.cover > 0.5)
        light, chroma = self.lab[..., 0], np.hypot(self.lab[..., 1], self.lab[..., 2])
        usual, strength = np.median(light[places]), max(float(np.median(chroma[places])), DULL)
        share = np.clip(chroma / strength, 0.5, 1.25) if strength > DULL else np.ones_like(chroma)
        shift = np.clip(light + (wanted[0] - usual), 8, 97)
        new = np.stack([shift, wanted[1] * share, wanted[2] * share], -1)
        weight = self.main[..., None]
        return _rgb(new * weight + self.lab * (1 - weight))


def _rgb(lab: np.ndarray) -> np.ndarray:
    with warnings.catch_warnings():  # colours that no screen has become the nearest one, as they should
        warnings.simplefilter("ignore", UserWarning)
        return np.clip(lab2rgb(lab), 0, 1)


def _apart(hue: np.ndarray, centre: float) -> np.ndarray:
    return np.abs((hue - centre + 180) % 360 - 180)


def render(drawing: Drawing, colour: str | None, rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size, 3) uint8: the drawing in a colour, mirrored, turned and placed at random, on white."""
    rgba = np.dstack([drawing.repainted(colour), drawing.cover])
    image = Image.fromarray((rgba * 255).round().astype(np.uint8))
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    side = size * FINE
    inner = int(side * rng.uniform(*SIZES))
    image = image.resize((inner, inner), Image.Resampling.BICUBIC)
    image = image.rotate(rng.uniform(-TURN, TURN), Image.Resampling.BICUBIC)
    canvas = Image.new("RGBA", (side, side), "white")
    canvas.alpha_composite(image, tuple(int(v) for v in rng.integers(0, side - inner + 1, 2)))
    return np.asarray(canvas.convert("RGB").reduce(FINE))


# ---- the data set ----


def build(
    out: Path, *, size: int = 64, package: Path | None = None, train: int = 16_000, test: int = 2_000, seed: int = 0
) -> Counter[str]:
    """Write the data set to `out`; how many pictures went where.

    Picture i of a part depends on the seed, the part and i alone.

    Args:
        package: as of `emoji.build`.

    Raises:
        UsageError: a package is missing, or `out` exists. InputError: a file of a package is broken.
    """
    drawn = drawings(package or Path("node_modules"))
    pairs = [(thing, colour) for thing in THINGS for colour in COLOURS]
    told = {part: [pair for pair in pairs if held_pair(*pair) == (part == "test")] for part in recipes.PARTS}
    counts: Counter[str] = Counter()
    with recipes.target(out) as folder, Writer(folder) as writer:
        for part, number in (("train", train), ("test", test)):
            for index in range(number):
                rng = np.random.default_rng((seed, recipes.PARTS.index(part), index))
                thing, colour = told[part][int(rng.integers(len(told[part])))]
                said = None if part == "train" and rng.random() < PLAIN else colour
                drawing = drawn[thing][int(rng.integers(len(drawn[thing])))]
                attributes = {"thing": thing, **({"colour": said} if said else {})}
                writer.add(f"{index:05d}", render(drawing, said, rng, size), captions(thing, said), attributes, part)
                counts[part] += 1
        facts = {"size": f"{size} × {size}", "seed": seed, **{f"pictures, {name}": n for name, n in counts.items()}}
        recipes.card(folder, "Drawings of things in colours", facts, about())
    return counts


def drawings(folder: Path) -> dict[str, list[Drawing]]:
    """The drawings of each thing, one a style, from the packages in a folder.

    Raises:
        UsageError: a package is missing. InputError: a file of a package is broken, or a thing is not in it.
    """
    found: dict[str, list[Drawing]] = {thing: [] for thing in THINGS}
    for style in emoji.STYLES:
        listed, pictures = emoji.read_package(folder, style)
        files = {short: entry["image"] for entry in listed for short in entry["short_names"]}
        for thing, short in THINGS.items():
            content = pictures.get(files.get(short, ""))
            if content is None:
                raise InputError(f"{emoji.NAME}{style} in {folder} has no {short}", remedy=emoji.REMEDY)
            found[thing].append(Drawing.read(_rgba(content, short)))
    return found


def _rgba(content: bytes, name: str) -> np.ndarray:
    pixels = decode(content, name)[0]
    whole = np.full((*pixels.shape[:2], 1), 255, np.uint8)
    return pixels if pixels.shape[2] == 4 else np.dstack([pixels[..., :3], whole])


def about() -> str:
    """The card's text, with what is held out."""
    pairs = [f"{colour} {thing}" for thing in THINGS for colour in COLOURS if held_pair(thing, colour)]
    return ABOUT.format(
        things=len(THINGS), turn=TURN, plain=1 / PLAIN, colours=", ".join(COLOURS), names=", ".join(THINGS),
        pairs=", ".join(pairs),
    )  # fmt: skip
