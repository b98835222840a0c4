"""Two hundred pictures: what adaptive augmentation is worth, on pictures that were held out.

    python recipes/fashion_mnist.py DATA/
    python benchmarks/generate_few.py DATA/ [--pictures 200] [--nimg 200000] [--json FILE]

Twenty pictures of each class of Fashion-MNIST train the default game (half as wide) with and without `augment`.
Both are measured against the 10,000 test pictures, and the share of copies of the training pictures with them.
"""

from __future__ import annotations

import json
from pathlib import Path

from common import report
from generate_fashion import measured, settings, trained

ARMS = {"without": [], "adaptive": ["--set", "augment=color,translation,cutout"]}
COMMON = ["--set", "held_out=0", "--channels", "32", "--critic-channels", "32"]  # the test pictures are held out


def main() -> None:
    made = settings()
    made.add_argument("--pictures", type=int, default=200)
    arguments = made.parse_args()
    few = subset(arguments.data / "fashion-mnist-train.zip", arguments.pictures, arguments.runs)
    rows = []
    for arm, more in ARMS.items():
        run = arguments.runs / f"few-{arguments.pictures}-{arm}-{arguments.nimg}-{arguments.seed}"
        spent = trained(run, few, "default", arguments, *COMMON, *more)
        cards = measured(run, arguments.data / "fashion-mnist-test.zip", arguments, "--training", few)
        rows.append({"arm": arm, **{name: card["value"] for name, card in cards.items()}, "CPU minutes": spent / 60})
        print(json.dumps(rows[-1]), flush=True)
    title = f"{arguments.pictures} pictures of Fashion-MNIST, {arguments.nimg:,} images shown, seed {arguments.seed}"
    report(title, list(rows[0]), [list(row.values()) for row in rows], arguments)


def subset(archive: Path, count: int, folder: Path) -> Path:
    """The first pictures of each class in the order of their names' hashes, as an archive of their own."""
    import hashlib

    from gantoolkit.archives import write_archive
    from gantoolkit.labelled import LabelledPictures

    target = folder / f"fashion-{count}.zip"
    if not target.exists():
        whole = LabelledPictures(archive)
        labels, names = whole.labels, whole.names
        assert labels is not None
        order = sorted(range(len(whole)), key=lambda i: hashlib.sha256(names[i].encode()).digest())
        each = count // len(whole.classes)
        chosen = [i for label in range(len(whole.classes)) for i in [j for j in order if labels[j] == label][:each]]
        folder.mkdir(parents=True, exist_ok=True)
        pictures = [whole.picture(i) for i in chosen]
        write_archive(target, pictures, [int(labels[i]) for i in chosen], whole.classes)
    return target


if __name__ == "__main__":
    main()
