"""Emoji in two drawing styles: the pictures of `emoji-datasource-google` and `-twitter`, with names and other words."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gantk_text2image.pictures import fitted
from gantk_text2image.recipes.writing import Writer
from gantoolkit import recipes
from gantoolkit.errors import InputError, UsageError
from gantoolkit.scan import decode

STYLES = ("google", "twitter")
NAME = "emoji-datasource-"
REMEDY = f"npm pack {NAME}google {NAME}twitter, and name the folder with --package"
SKIPPED = {"Flags": "flag", "Component": "part of an emoji"}
DRAWN = 64  # side of the pictures in the packages that are taken
HELD_OUT = 12  # percent of the names
WHITE = (255, 255, 255)

ABOUT = """
Pictures of 64² on white from the npm packages `emoji-datasource-google` and `emoji-datasource-twitter`. Left out:
flags (a name does not tell how they look), skin tones other than the default yellow, and drawings that are in one style
only. Captions are the emoji's name, its short names, "a … emoji", its subcategory and its style. Attributes: `style`
("google" or "twitter") and `kind`, the subcategory.

Held out are **combinations of name and style**: of about one name in eight, one of both styles (which one, its hash
says). The same name in the other style is in the training part, so each held-out picture is to be made from words that
were seen, in a style that was seen, together for the first time. The first caption of every picture names both.

## Licence

Google: Noto Emoji, Apache License 2.0 (<https://github.com/googlefonts/noto-emoji>). Twitter: Twemoji, copyright
Twitter, Inc. and other contributors, graphics under CC-BY 4.0 (<https://creativecommons.org/licenses/by/4.0/>).
Names and categories: emoji-datasource by Cal Henderson, MIT. Keep this notice with the pictures, which were laid on
white.
"""


def words(text: str) -> str:
    """ "BLACK_HEART-suit" -> "black heart suit"."""
    return " ".join(re.sub(r"[_\-:\s]+", " ", text.lower()).split())


def captions(emoji: Mapping[str, Any], style: str) -> list[str]:
    """Different texts for one emoji; the first names the style."""
    name = words(emoji["name"] or emoji["short_name"])
    article = "an" if name[0] in "aeiou" else "a"
    texts = [f"{name}, {style} style", name, f"{article} {name} emoji", f"{words(emoji['subcategory'])}: {name}"]
    texts += [words(short) for short in emoji["short_names"] if re.search("[a-z]{3}", short)]
    return list(dict.fromkeys(texts))


def held_style(name: str, percent: int = HELD_OUT) -> str | None:
    """The style in which an emoji of this name is for tests alone, or None."""
    digest = hashlib.sha256(name.encode()).digest()
    return STYLES[digest[8] % 2] if int.from_bytes(digest[:8], "big") % 100 < percent else None


def build(out: Path, *, size: int = DRAWN, package: Path | None = None) -> Counter[str]:
    """Write the data set to `out`; how many pictures went where, and why others were left out.

    Args:
        package: a folder with both packages, as `npm pack` writes them, or unpacked; None looks in `node_modules`.

    Raises:
        UsageError: a package is missing, or `out` exists. InputError: a file of a package is broken.
    """
    folder = package or Path("node_modules")
    pictures: dict[str, dict[str, bytes]] = {}
    listed: list[dict[str, Any]] = []
    for style in STYLES:
        listed, pictures[style] = read_package(folder, style)
    counts: Counter[str] = Counter()
    with recipes.target(out) as growing, Writer(growing) as writer:
        for emoji in sorted(listed, key=lambda emoji: emoji["unified"]):
            why = SKIPPED.get(emoji["category"])
            if why is None and not all(emoji["image"] in pictures[style] for style in STYLES):
                why = "one style only"
            if why:
                counts[why] += 1
                continue
            held = held_style(words(emoji["name"] or emoji["short_name"]))
            for style in STYLES:
                picture = _picture(pictures[style][emoji["image"]], emoji["image"], size)
                part = "test" if style == held else "train"
                attributes = {"style": style, "kind": words(emoji["subcategory"])}
                name = f"{emoji['image'].removesuffix('.png')}-{style}"
                writer.add(name, picture, captions(emoji, style), attributes, part)
                counts[part] += 1
        facts = {f"pictures, {part}": counts[part] for part in recipes.PARTS}
        left = {f"left out: {why}": n for why, n in sorted(counts.items()) if why not in recipes.PARTS}
        recipes.card(growing, "Emoji with words", {"size": f"{size} × {size}", **facts, **left}, ABOUT)
    return counts


def _picture(content: bytes, name: str, size: int) -> np.ndarray:
    return fitted(decode(content, name)[0], size, "pad", WHITE)


def read_package(folder: Path, style: str) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """(what `emoji.json` lists, file name -> PNG of 64²) of one style's package in a folder.

    Raises:
        UsageError: the package is not there. InputError: it is broken.
    """
    found = sorted(folder.glob(f"{NAME}{style}*"))
    if not found:
        raise UsageError(f"{NAME}{style} is not in {folder}", remedy=REMEDY)

    def wanted(name: str) -> bool:
        return name == "emoji.json" or name.startswith(f"img/{style}/{DRAWN}/")

    files = recipes.contents(found[-1], wanted, REMEDY)
    try:
        listed = json.loads(files.pop("emoji.json"))
    except (KeyError, ValueError) as error:
        raise InputError(f"{NAME}{style} in {folder}: no readable emoji.json", remedy=REMEDY) from error
    return listed, {Path(name).name: content for name, content in files.items()}
