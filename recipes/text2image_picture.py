"""Draw the picture of the README: what the bundled model makes of prompts that its training never had.

    python recipes/text2image_picture.py docs/pictures/painted.png

Every prompt is a pair of thing and colour that the recipe of drawings holds out, picked at equal steps and not for its
looks; two pictures each, seeds 0 and 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import gantoolkit
from gantk_text2image.recipes import drawings
from gantk_text2image.show import sheet
from gantoolkit import images

PROMPTS, EACH, COLUMNS = 16, 2, 8


def main() -> None:
    paint = gantoolkit.load("text2image")
    pairs = [(thing, colour) for thing in drawings.THINGS for colour in drawings.COLOURS]
    held = [drawings.captions(*pair)[0] for pair in pairs if drawings.held_pair(*pair)]
    prompts = [held[i] for i in np.linspace(0, len(held) - 1, PROMPTS).round().astype(int)]
    pictures = [picture for prompt in prompts for picture in paint(prompt, number=EACH)]
    under = [text for prompt in prompts for text in (prompt, "")]
    images.write(images.Picture(sheet(pictures, under, COLUMNS)), Path(sys.argv[1]), force=True)


if __name__ == "__main__":
    main()
