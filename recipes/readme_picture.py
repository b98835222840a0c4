"""Draw the picture of the README: low-resolution input, bicubic and the bundled model, side by side.

    python recipes/readme_picture.py docs/pictures/before-after.png

The photographs come with scikit-image (astronaut: NASA, public domain; chelsea: Stéfan van der Walt, CC0), and the
model was not trained on them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from skimage import data

import gantoolkit
from gantoolkit import images
from gantoolkit.resample import resize_array

SCALE = 4
SIDE = 192  # of a cell, in pixels
WINDOWS = [("astronaut", 48, 128), ("chelsea", 60, 100)]  # top and left of what is shown of each photograph


def cells(name: str, top: int, left: int) -> list[np.ndarray]:
    """The window of the input, of its bicubic enlargement and of the model's, each SIDE×SIDE×3 uint8."""
    photo = getattr(data, name)()
    height, width = (side // SCALE * SCALE for side in photo.shape[:2])
    photo = np.ascontiguousarray(photo[:height, :width])
    small = resize_array(photo, (height // SCALE, width // SCALE))
    enlarged = [
        np.kron(small, np.ones((SCALE, SCALE, 1), np.uint8)),
        resize_array(small, (height, width)),
        gantoolkit.load("superres")(small),
    ]
    return [picture[top : top + SIDE, left : left + SIDE] for picture in enlarged]


def main() -> None:
    pictures = [cell for window in WINDOWS for cell in cells(*window)]
    sheet = images.contact_sheet(pictures, 3, ["input", "bicubic", "gantoolkit"] * len(WINDOWS))
    images.write(images.Picture(sheet), Path(sys.argv[1]), force=True)


if __name__ == "__main__":
    main()
