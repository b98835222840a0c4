"""Stamps of the drawing program Tux Paint: photographs and drawings with a sentence each, in categories."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path, PurePosixPath

from gantk_text2image.pictures import fitted
from gantk_text2image.recipes.writing import Writer
from gantoolkit import recipes
from gantoolkit.errors import InputError
from gantoolkit.scan import decode

REMEDY = "apt-get download tuxpaint-stamps-default, dpkg -x it to a folder, and name that with --package"
INSIDE = "usr/share/tuxpaint/stamps/"
HELD_OUT = 10  # percent of the sentences
WHITE = (255, 255, 255)

ABOUT = """
PNG stamps of Tux Paint (Debian package `tuxpaint-stamps-default`) that have an English sentence, on white. Captions are
the sentence and "a picture of …" with the name of the file; attributes are `category` and `kind`, the folders.

Held out are about one in ten sentences, by their hashes: pictures with the same sentence are in one part.

## Licence

GPL-2+, as the package declares it; some stamps are in the public domain. Keep this notice with the pictures.
"""


def sentence(content: bytes) -> str:
    """The English caption: the first line of a stamp's text, in lower case and without its full stop."""
    first = content.decode("utf-8", "replace").strip().splitlines()[:1]
    return first[0].strip().rstrip(".!").lower() if first else ""


def build(out: Path, *, size: int = 64, package: Path | None = None) -> Counter[str]:
    """Write the data set to `out`; how many pictures went where, and why others were left out.

    Raises:
        UsageError: `out` exists. InputError: the package is not there, or broken.
    """
    folder = package or Path("/")
    top = folder / INSIDE if (folder / INSIDE).is_dir() else folder
    if not top.is_dir() or top == Path("/"):
        raise InputError(f"no stamps in {folder}", remedy=REMEDY)
    files = recipes.contents(top, lambda name: name.endswith((".png", ".txt")), REMEDY)
    counts: Counter[str] = Counter()
    with recipes.target(out) as growing, Writer(growing) as writer:
        for name in (name for name in files if name.endswith(".png")):
            path = PurePosixPath(name)
            text = sentence(files.get(str(path.with_suffix(".txt")), b""))
            if not text:
                counts["no sentence"] += 1
                continue
            picture = fitted(decode(files[name], name)[0], size, "pad", WHITE)
            held = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % 100 < HELD_OUT
            words = " ".join(part for part in path.stem.replace("_", "-").split("-") if not part.isdigit())
            said = list(dict.fromkeys([text, f"a picture of {words.lower()}"]))
            attributes = dict(zip(("category", "kind"), path.parts[:-1], strict=False))
            part = "test" if held else "train"
            writer.add(name.removesuffix(".png").replace("/", "-"), picture, said, attributes, part)
            counts[part] += 1
        facts = {f"pictures, {part}": counts[part] for part in recipes.PARTS}
        facts["left out: no sentence"] = counts["no sentence"]
        recipes.card(growing, "Stamps with sentences", {"size": f"{size} × {size}", **facts}, ABOUT)
    return counts
