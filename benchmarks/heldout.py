"""The photographs that quality is measured on, and that no bundled model was trained on.

    python benchmarks/heldout.py FOLDER     writes them as PNG

All colour photographs that the wheels of scikit-image and scikit-learn carry; nothing is downloaded.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

SKIMAGE = {
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "hubble": "hubble_deep_field.jpg",
    "motorcycle": "motorcycle_left.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
}
SKLEARN = {"china": "china.jpg", "flower": "flower.jpg"}


def photos() -> dict[str, np.ndarray]:
    """Name → H×W×3 uint8, of every picture that the installed wheels carry."""
    import skimage
    import sklearn
    from PIL import Image

    places = {name: Path(skimage.__file__).parent / "data" / file for name, file in SKIMAGE.items()}
    places |= {name: Path(sklearn.__file__).parent / "datasets" / "images" / file for name, file in SKLEARN.items()}
    return {name: np.asarray(Image.open(p).convert("RGB")) for name, p in places.items() if p.is_file()}


def write(folder: Path) -> list[Path]:
    """Store them as PNG; returns the files."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, pixels in photos().items():
        paths.append(folder / f"{name}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


if __name__ == "__main__":
    for path in write(Path(sys.argv[1])):
        print(path)
