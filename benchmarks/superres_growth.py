"""Time and peak memory of `gantk run superres` as the picture grows, each in a process of its own.

    python benchmarks/superres_growth.py [--megapixels 0.25,1,3,12] [--model photo-x4] [--json FILE]

The input is a photograph mirrored to size and stored as JPEG; the output is a PNG. The goal: peak memory under 700 MB
plus 2.2 times the output's bytes, and time per megapixel flat (±15 %) over the sizes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import parser, report
from heldout import photos
from PIL import Image

ASPECT = 4 / 3


def picture(megapixels: float) -> np.ndarray:
    """A 4:3 picture of that size: the photograph and its mirror images side by side."""
    height = round((megapixels * 1e6 / ASPECT) ** 0.5)
    width = round(height * ASPECT)
    tile = photos()["china"]
    tile = np.concatenate([tile, tile[:, ::-1]], axis=1)
    tile = np.concatenate([tile, tile[::-1]], axis=0)
    return np.tile(tile, (height // tile.shape[0] + 1, width // tile.shape[1] + 1, 1))[:height, :width]


def measured(path: Path, model: str, threads: int, folder: Path) -> tuple[float, float, list[int]]:
    """(seconds for the file, peak memory in MB, output size) of one command."""
    command = [sys.executable, "-m", "gantoolkit", "run", "superres", str(path), "-m", model, "--json"]
    command += ["-o", str(folder / "out.png"), "--force"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)
    assert process.stdout is not None
    row = json.loads(process.stdout.read().strip().splitlines()[-1])
    _, status, usage = os.wait4(process.pid, 0)
    if status or row["error"]:
        raise SystemExit(f"{path}: {row['error'] or status}")
    return row["seconds"], usage.ru_maxrss / 1024, row["size"]


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--megapixels", default="0.25,1,3,12")
    options.add_argument("--model", default="photo-x4")
    arguments = options.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as work:
        for megapixels in map(float, arguments.megapixels.split(",")):
            path = Path(work) / "in.jpg"
            pixels = picture(megapixels)
            Image.fromarray(pixels).save(path, quality=92)
            seconds, peak, size = measured(path, arguments.model, arguments.threads, Path(work))
            real = pixels.shape[0] * pixels.shape[1] / 1e6
            allowed = 700 + 2.2 * size[0] * size[1] * 3 / 1e6
            rows.append([round(real, 2), f"{size[0]}×{size[1]}", seconds, seconds / real, peak, allowed])
    columns = ["input MP", "output", "s", "s per MP", "peak MB", "allowed MB"]
    report(f"{arguments.model} as the picture grows", columns, rows, arguments)


if __name__ == "__main__":
    main()
