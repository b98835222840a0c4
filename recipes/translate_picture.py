"""Draw the picture of the README: held-out sketches and what the bundled translator makes of them.

    python recipes/translate_picture.py DATA/ docs/pictures/translated.png

DATA/ is what `python -m gantk_translate.recipes line-art DATA/` builds; only its test part is shown, which the model
was not trained on.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import gantoolkit
from gantoolkit import images

COLUMNS, ROWS = 8, 4  # of sketches; every second row is the results
GAP = 6


def main() -> None:
    data, target = Path(sys.argv[1]), Path(sys.argv[2])
    translate = gantoolkit.load("translate")
    files = sorted((data / "test" / "A").glob("*.png"))
    chosen = [files[i] for i in np.linspace(0, len(files) - 1, COLUMNS * ROWS).round().astype(int)]
    cells: list[np.ndarray] = []
    for row in range(ROWS):
        sketches = [images.read(file).pixels for file in chosen[row * COLUMNS : (row + 1) * COLUMNS]]
        cells += [np.repeat(sketch, 3, axis=2) for sketch in sketches]
        cells += [translate(sketch) for sketch in sketches]
    images.write(images.Picture(images.contact_sheet(cells, COLUMNS, gap=GAP)), target, force=True)


if __name__ == "__main__":
    main()
