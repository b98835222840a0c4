"""Build the Fashion-MNIST archives that benchmarks and the bundled generator use.

    python recipes/fashion_mnist.py ~/data/fashion

Source: the Debian package `dataset-fashion-mnist` (60,000 training and 10,000 test pictures of 28×28, grey, 10
classes), taken from where it is installed, from `--package FILE.deb`, or fetched with `apt-get download`; it is
unpacked with `dpkg -x`, so no root is needed. Licence: MIT, © 2017 Zalando SE; the package's own copyright file is
copied beside the archives.

Written: `fashion-mnist-train.zip`, `fashion-mnist-test.zip` (the layout of StyleGAN: PNG files and `dataset.json`) and
`LICENCE.txt`. Networks double their size again and again, so pictures get a frame of black to 32×32; `--side 28`
leaves them as they are.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from gantoolkit.archives import framed, write_archive

PACKAGE = "dataset-fashion-mnist"
DATA, COPYRIGHT = Path("usr/share/datasets/fashion-mnist"), Path(f"usr/share/doc/{PACKAGE}/copyright")
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
SPLITS = {"train": "train", "test": "t10k"}


def read_idx(path: Path) -> np.ndarray:
    """A gzipped IDX file of bytes: two zeros, type 8, the number of axes, their big-endian lengths, the values."""
    data = gzip.decompress(path.read_bytes())
    zeros, kind, axes = struct.unpack_from(">HBB", data)
    if zeros or kind != 8:
        raise SystemExit(f"{path} is not an IDX file of bytes")
    shape = struct.unpack_from(f">{axes}I", data, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("--package", type=Path, help=f"the file {PACKAGE}_….deb, if it is here already")
    parser.add_argument("--side", type=int, default=32, help="of the pictures, in pixels (at least 28)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        root = Path("/")
        if arguments.package or not (root / DATA).is_dir():
            root, package = Path(work), arguments.package
            if package is None:
                subprocess.run(["apt-get", "download", PACKAGE], cwd=root, check=True)
                package = next(root.glob("*.deb"))
            subprocess.run(["dpkg", "-x", str(package), str(root)], check=True)
        for split, prefix in SPLITS.items():
            pictures = read_idx(root / DATA / f"{prefix}-images-idx3-ubyte.gz")
            labels = read_idx(root / DATA / f"{prefix}-labels-idx1-ubyte.gz")
            target = arguments.target / f"fashion-mnist-{split}.zip"
            count = write_archive(target, framed(pictures[..., None], arguments.side), labels.tolist(), CLASSES)
            print(f"{target}: {count:,} pictures")
        shutil.copyfile(root / COPYRIGHT, arguments.target / "LICENCE.txt")


if __name__ == "__main__":
    main()
