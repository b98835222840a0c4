"""Clip art of many hands: the SVG drawings of Debian's `openclipart-svg`, with their titles and keywords."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gantk_text2image.data import share
from gantk_text2image.recipes.writing import Writer
from gantoolkit import recipes
from gantoolkit.errors import InputError

REMEDY = "apt-get download openclipart-svg, dpkg -x it to a folder, and name that with --package"
INSIDE = "usr/share/openclipart/svg/"
WANTED = ("animals", "buildings", "containers", "education", "electronics", "food", "office", "people", "plants",
          "recreation", "science", "tools", "transportation")  # fmt: skip
SETS = 10  # drawings that share a title: it names the collection they are from
HELD_OUT = 0.1  # share of the titles
MOST = 5  # keywords of a caption
BLANK = 8  # levels of 255 that a drawing has to span
DUBLIN, RDF = "{http://purl.org/dc/elements/1.1/}", "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"

ABOUT = """
Drawings of the Open Clip Art Library (release 0.18, Debian package `openclipart-svg`), drawn with resvg on white, the
longer side filling the picture. Folders: {wanted}. Captions are the title, "a drawing of …" with it, and the keywords;
titles that {sets} and more drawings share name a collection and are left out. Attributes: `category`, the folder, and
`kind`, the folder in it where there is one.

Left out: drawings that cannot be drawn or are blank, and those of which nothing is said. Held out are about one in ten
titles, by their hashes; drawings of one title are in one part.

## Licence

Public domain, as the library asks of its artists; a few files name another licence and are left out.
"""


@dataclass(frozen=True)
class Said:
    """What an SVG says of itself."""

    title: str
    keywords: tuple[str, ...]
    free: bool


def said(svg: str) -> Said:
    """Title, keywords and whether it is in the public domain.

    Raises:
        InputError: it is not well-formed.
    """
    try:
        root = ET.fromstring(svg)
    except ET.ParseError as error:
        raise InputError(f"not a well-formed SVG: {error}") from error
    work = next((element for element in root.iter() if element.tag.endswith("}Work")), None)
    if work is None:
        return Said("", (), True)
    licences = {element.get(f"{RDF}resource") or "" for element in work.iter() if element.tag.endswith("}license")}
    people = {plain(agent.findtext(f"{DUBLIN}title") or "") for agent in work.iter() if agent.tag.endswith("}Agent")}
    title, *keywords = (
        plain(text or "") for text in (work.findtext(f"{DUBLIN}title"), *(item.text for item in work.iter(f"{RDF}li")))
    )
    return Said(
        "" if title in people else title,
        tuple(dict.fromkeys(word for word in keywords if word and word != "hash" and word not in people)),
        all(not licence or "publicdomain" in licence.lower() for licence in licences),
    )


def plain(text: str) -> str:
    """ "Clipart by Somebody - book_01" -> "book"; "" where no word of three letters is left."""
    text = re.sub(r"^clipart by .* - ", "", text.lower())
    text = re.sub(r"\(.*?\)|[_\d]+", " ", text)
    text = " ".join(re.sub(r"[^\w' -]", " ", text).split()).strip(" -'")
    return text if re.search(r"[^\W\d_]{3}", text) else ""


def captions(found: Said, common: Counter[str]) -> list[str]:
    """Different words for one drawing; none where nothing tells what it is."""
    texts = []
    if found.title and common[found.title] < SETS:
        article = "an" if found.title[0] in "aeiou" else "a"
        texts = [found.title, f"a drawing of {article} {found.title}"]
    if found.keywords:
        texts.append(", ".join(found.keywords[:MOST]))
    return texts


def build(out: Path, *, size: int = 64, package: Path | None = None) -> Counter[str]:
    """Write the data set to `out`; how many pictures went where, and why others were left out.

    Raises:
        UsageError: `out` exists, or resvg-py is missing. InputError: the package is not there, or broken.
    """
    recipes.needs("resvg_py", "drawing SVG files")
    folder = package or Path("/")
    top = folder / INSIDE if (folder / INSIDE).is_dir() else folder
    if not top.is_dir() or top == Path("/"):
        raise InputError(f"no clip art in {folder}", remedy=REMEDY)
    files = recipes.contents(top, lambda name: name.endswith(".svg") and name.split("/")[0] in WANTED, REMEDY)
    drawings = {name: content.decode("utf-8", "replace") for name, content in files.items()}
    told: dict[str, Said] = {}
    counts: Counter[str] = Counter()
    for name, svg in drawings.items():
        try:
            told[name] = said(svg)
        except InputError:
            counts["not drawn"] += 1
    common = Counter(found.title for found in told.values())
    with recipes.target(out) as growing, Writer(growing) as writer:
        for name, found in told.items():
            texts = captions(found, common)
            if not found.free or not texts:
                counts["another licence" if not found.free else "nothing said"] += 1
                continue
            try:
                picture = recipes.drawn(drawings[name], size)
            except InputError:
                counts["not drawn"] += 1
                continue
            if int(picture.max()) - int(picture.min()) < BLANK:
                counts["blank"] += 1
                continue
            part = "test" if share(texts[0]) < HELD_OUT else "train"
            places = PurePosixPath(name).parts[:-1]
            attributes = {key: plain(place) or place for key, place in zip(("category", "kind"), places, strict=False)}
            writer.add(name.removesuffix(".svg").replace("/", "-"), picture, texts, attributes, part)
            counts[part] += 1
        facts = {f"pictures, {part}": counts[part] for part in recipes.PARTS}
        left = {f"left out: {why}": n for why, n in sorted(counts.items()) if why not in recipes.PARTS}
        about = ABOUT.format(wanted=", ".join(WANTED), sets=SETS)
        recipes.card(growing, "Clip art with titles", {"size": f"{size} × {size}", **facts, **left}, about)
    return counts
