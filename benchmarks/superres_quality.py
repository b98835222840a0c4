"""Picture quality on held-out photographs, beside bicubic, Lanczos and the Real-ESRGAN models.

    python benchmarks/superres_quality.py [--sheets FOLDER] [--json FILE]

×4 on the colour photographs that scikit-image and scikit-learn carry (none was trained on), for two inputs: antialiased
bicubic, and the second-order degradation (seed 0). Our model is measured at --detail 0, 0.5 and 1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from common import parser, report
from heldout import photos

from gantk_superres import catalog
from gantk_superres.enlarge import Enlarger
from gantk_superres.evaluate import lowered, measure
from gantoolkit.images import contact_sheet
from gantoolkit.model import find
from gantoolkit.resample import resize_array

SCALE = 4


def ways() -> dict[str, object]:
    """Name → function of a small picture (h×w×3 uint8) that returns the large one."""

    def resampled(kernel: str) -> object:
        return lambda low: resize_array(low, (low.shape[0] * SCALE, low.shape[1] * SCALE), kernel=kernel)

    found = {"bicubic": resampled("bicubic"), "lanczos": resampled("lanczos3")}
    for name, packaged in catalog.PACKAGED.items():
        if packaged.missing() is None:
            found[name] = Enlarger(find("superres", name))
    for detail in (0.0, 0.5, 1.0):
        found[f"photo-x4 --detail {detail:g}"] = Enlarger(find("superres"), detail=detail)
    return found


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--sheets", type=Path, help="write every picture's results here")
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    truths = {
        name: np.ascontiguousarray(p[: p.shape[0] // SCALE * SCALE, : p.shape[1] // SCALE * SCALE])
        for name, p in photos().items()
    }
    rows = []
    for degradation in ("bicubic", "second-order"):
        inputs = {name: lowered(truth, SCALE, degradation, seed=0) for name, truth in truths.items()}
        results: dict[str, dict[str, np.ndarray]] = {}
        for way, enlarge in ways().items():
            results[way] = {name: enlarge(low) for name, low in inputs.items()}  # type: ignore[operator]
            cards = measure(list(results[way].values()), list(truths.values()), SCALE)
            rows.append([degradation, way, *(card.value for card in cards)])
            columns = ["input", "way", *(card.name for card in cards)]
            print(*rows[-1], flush=True)
        if arguments.sheets:
            write_sheets(arguments.sheets / degradation, results, truths)
    title = f"×{SCALE} on {len(truths)} held-out photographs ({', '.join(truths)}), crop {SCALE}, seed 0"
    report(title, columns, rows, arguments)


def write_sheets(folder: Path, results: dict[str, dict[str, np.ndarray]], truths: dict[str, np.ndarray]) -> None:
    """One contact sheet a photograph: the middle 192² of every result, doubled, and the truth."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for name, truth in truths.items():
        top, left = ((side - 192) // 2 for side in truth.shape[:2])
        pictures = {way: made[name] for way, made in results.items()} | {"truth": truth}
        cells = [
            np.kron(p[top : top + 192, left : left + 192], np.ones((2, 2, 1), np.uint8)) for p in pictures.values()
        ]
        Image.fromarray(contact_sheet(cells, 3, list(pictures))).save(folder / f"{name}.png")


if __name__ == "__main__":
    main()
