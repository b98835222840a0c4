"""Build the folder of photographs that the bundled super-resolution model was trained on.

    python recipes/superres_photos.py ~/data/photos

Sources: three Debian packages of wallpapers, fetched with `apt-get download` and unpacked with `dpkg -x` (no root
needed). Licences, as the packages declare them for each file: GPL-2+ (mate-backgrounds), CC-BY-SA / CC-BY / CC0
(lomiri-wallpapers-16.04, plasma-workspace-wallpapers). The pictures are halved in size before they are stored, which
hides their JPEG artefacts and demosaicing blur. None of them is a picture that `benchmarks/` evaluates on.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from gantoolkit.resample import resize_array

PACKAGES = ["mate-backgrounds", "lomiri-wallpapers-16.04", "plasma-workspace-wallpapers"]
MATE = "Aqua Blinds Dune FreshFlower Garden GreenMeadow LadyBird RainDrops Storm TwoWings Wood YellowFlower"
PLASMA = (
    "BytheWater ColdRipple ColorfulCups EveningGlow FallenLeaf Grey Kite OneStandsOut Path Volna Canopee SafeLanding"
)
LOMIRI = (
    "Bridge_by Dragonfly_by Picture_0B Picture_1A Wine_by aitzgorri_by friends_by greentock_by life_by "
    "picosdeeuropa_by seeding_by sunset_by free_by"
)
WHOLE = "Aqua FreshFlower Garden GreenMeadow"  # already soft or small: halving would leave nothing to learn from


def chosen(root: Path) -> list[Path]:
    """The photographs among the packages' files (and two drawings with clean edges)."""
    backgrounds, wallpapers = root / "usr/share/backgrounds", root / "usr/share/wallpapers"
    files = [backgrounds / f"mate/nature/{name}.jpg" for name in MATE.split()]
    files += [backgrounds / "mate/abstract/Elephants_3840x2160.jpg"]
    files += [path for prefix in LOMIRI.split() for path in backgrounds.glob(f"{prefix}*.jpg")]
    for name in PLASMA.split():
        candidates = [p for p in (wallpapers / name / "contents/images").iterdir() if not p.is_symlink()]
        files.append(max(candidates, key=lambda p: p.stat().st_size))
    return sorted(files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("--unpacked", type=Path, help="packages that were already unpacked here with dpkg -x")
    arguments = parser.parse_args()
    arguments.target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        root = arguments.unpacked or Path(work)
        if arguments.unpacked is None:
            subprocess.run(["apt-get", "download", *PACKAGES], cwd=work, check=True)
            for package in Path(work).glob("*.deb"):
                subprocess.run(["dpkg", "-x", str(package), work], check=True)
        for path in chosen(root):
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            if path.stem not in WHOLE.split():
                pixels = resize_array(pixels, (pixels.shape[0] // 2, pixels.shape[1] // 2))
            name = path.parents[2].name if "wallpapers" in path.parts else path.stem
            Image.fromarray(pixels).save(arguments.target / f"{name}.png")
            print(f"{name}.png {pixels.shape[1]}×{pixels.shape[0]}")


if __name__ == "__main__":
    main()
