"""Translation of pictures by different means, per megapixel of input, and the peak of a 4000×3000 run.

    python benchmarks/translate_inference.py [--side 512] [--rounds 5] [--peak] [--json FILE]

The baseline is what one gets without a toolkit: PyTorch eager, fp32, contiguous layout, the whole picture at once. The
networks have random weights: time and memory do not depend on them. Each way runs the same square picture of uint8 to
the picture of uint8 that comes out; ways take turns, and speed-ups are medians of ratios within a round. `--peak` runs
`gantk run translate` on 12 megapixels in a process of its own and prints the most memory it held (VmHWM).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import paired, parser, ratio, report

from gantk_translate import networks
from gantk_translate.sides import Side
from gantk_translate.translator import Translator
from gantoolkit import devices, images
from gantoolkit.model import MAIN, Model

PLANES = [3, 3]
NETWORKS: dict[str, dict[str, Any]] = {
    "residual": {"arch": "residual", "channels": 32, "blocks": 2, "levels": 4, "patch": 2, "attention": True},
    "residual, multiply": {
        "arch": "residual", "channels": 32, "blocks": 2, "levels": 4, "patch": 2, "attention": True,
        "compose": "multiply",
    },
    "resnet 9": {"arch": "resnet", "channels": 64, "blocks": 9, "norm": "instance"},
    "unet 256": {"arch": "unet", "channels": 64, "blocks": 8, "norm": "batch", "dropout": 0.5},
}  # fmt: skip


def made(built: dict[str, Any]) -> Model:
    """A model with new weights, trained at 128 pixels as far as it says; what multiplies, on whole pictures."""
    built = {**built, "planes": PLANES}
    torch.manual_seed(0)
    weights = {MAIN: networks.build_generator(built).state_dict()}
    sides = {"source": Side().to_dict(), "target": Side().to_dict(), "direction": "AtoB"}
    learnt = {"size": 128, "fit": "resize" if "compose" in built else "crop"}
    return Model("translate", {"generator": built, **sides, **learnt}, weights, name=built["arch"])


def peer(model: Model, pixels: np.ndarray) -> Callable[[], np.ndarray]:
    """The network alone on the whole picture, as a script without a toolkit would run it."""
    network: Any = networks.build_generator(model.config["generator"])
    network.load_state_dict(model.weights[MAIN])
    network.eval()

    def run() -> np.ndarray:
        with torch.inference_mode():
            x = torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous().float() / 127.5 - 1
            y = network(x)[0].clamp(-1, 1).permute(1, 2, 0)
            return ((y + 1) * 127.5).round().byte().numpy()

    return run


def peak(model: Model) -> float:
    """Gigabytes that `gantk run translate` on 4000×3000 pixels held at most."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model.save(folder / "model")
        y, x = np.mgrid[:3000, :4000]
        pixels = np.stack([128 + 60 * np.sin(x / (30 + c)) + 50 * np.cos(y / (50 - c)) for c in range(3)], 2)
        images.write(images.Picture(pixels.astype(np.uint8)), folder / "large.png")
        script = (
            "from gantoolkit.cli import call\n"
            "assert call(['run', 'translate', 'large.png', '-m', 'model', '-o', 'made.png']) == 0\n"
            "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
        )
        done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
        return int(done.stdout.split()[-1]) * 1024 / 1e9


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--side", type=int, default=512)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--only", choices=list(NETWORKS), help="one network")
    options.add_argument("--peak", action="store_true", help="also the peak of a 4000×3000 run")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    devices.hold_memory()
    pixels = np.random.default_rng(0).integers(0, 256, (arguments.side, arguments.side, 3), np.uint8)
    rows = []
    for name, built in NETWORKS.items():
        if arguments.only not in (None, name):
            continue
        model = made(built)
        fast, exact = Translator(model), Translator(model, precision="fp32")
        ways: dict[str, Callable[[], np.ndarray]] = {
            "eager fp32, contiguous": peer(model, pixels),
            "ours, fp32": lambda exact=exact: exact(pixels),  # type: ignore[misc]
            f"ours, auto ({fast.precision})": lambda fast=fast: fast(pixels),  # type: ignore[misc]
        }
        reference = ways["eager fp32, contiguous"]().astype(int)
        seconds = paired(ways, arguments.rounds, warmup=1)
        held = peak(model) if arguments.peak else None
        for way, run in ways.items():
            median = statistics.median(seconds[way]) / (arguments.side**2 / 1e6)
            speed_up = ratio(seconds["eager fp32, contiguous"], seconds[way])
            difference = int(np.abs(run().astype(int) - reference).max())
            rows.append([name, way, median, speed_up, difference, held if way.startswith("ours, auto") else None])
    columns = ["network", "way", "s per megapixel", "speed-up", "max difference of 255", "GB at 4000×3000"]
    report(f"Translation of {arguments.side}×{arguments.side}, {arguments.rounds} rounds", columns, rows, arguments)


if __name__ == "__main__":
    main()
