"""A day photograph and a night **made** of it: what a film set does to shoot night by day, by rule and not by camera.

Day for night: underexpose, take out colour, tint blue, keep deep shadows; then a sensor's noise, stronger in the dark.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from gantk_translate.recipes import writing
from gantoolkit import images, recipes
from gantoolkit.errors import InputError

EXPOSURE = 0.22  # of the light, linear
GAMMA = 1.25  # above 1: shadows sink further than lights
SATURATION = 0.35
TINT = (0.72, 0.86, 1.25)  # of red, green and blue light
NOISE = (0.012, 0.03)  # deviation of the read noise, and of the light's own: times its square root
LUMA = (0.2126, 0.7152, 0.0722)  # of linear light, ITU-R BT.709
HELD_OUT = 10  # percent of the photographs' hashes
SMALLEST = 2  # pictures: a test part and a training part

ABOUT = f"""
**The nights are made, not photographed.** A: windows of day photographs. B: the same windows after a fixed rule on
linear light: {EXPOSURE} of the exposure, a power of {GAMMA}, colours at {SATURATION:.0%}, red, green and blue times
{TINT[0]}, {TINT[1]} and {TINT[2]}, then noise (deviation {NOISE[0]} + {NOISE[1]} times the root of the light). No lamp
is lit and no sky goes dark. A model learns this rule from it, and nothing of true nights.

Each photograph is cut into squares of its shorter side's half, side by side, brought to the size above. The test part
is held out **by photograph**.

## Licence

That of the photographs, which are the user's.
"""


def night(day: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A day picture -> a made night, both (H, W, 3) uint8, sRGB."""
    light = _linear(day / 255) * EXPOSURE
    grey = light @ np.array(LUMA)
    light = (grey[..., None] + SATURATION * (light - grey[..., None])) * TINT
    light = np.clip(light, 0, 1) ** GAMMA
    read, shot = NOISE
    light = light + rng.normal(size=light.shape) * (read * EXPOSURE + shot * np.sqrt(light) * EXPOSURE)
    return np.rint(_srgb(np.clip(light, 0, 1)) * 255).astype(np.uint8)


def build(out: Path, *, photos: Path, size: int = 128) -> Counter[str]:
    """Write the data set to `out`; how many windows went where.

    Args:
        out: a new folder.
        photos: a folder of photographs; those in folders within it count, too.
        size: side of a picture in pixels.

    Raises:
        UsageError: `out` exists. InputError: too few photographs, or one cannot be read.
    """
    files = sorted(path for path in photos.rglob("*") if path.is_file() and images.is_picture(path))
    if len(files) < SMALLEST:
        raise InputError(f"{photos}: too few photographs", expected=f"at least {SMALLEST}", actual=len(files))
    counts: Counter[str] = Counter()
    with recipes.target(out) as folder:
        tested = held_out([path.relative_to(photos).as_posix() for path in files])
        for number, path in enumerate(files):
            part = "test" if number in tested else "train"
            values = images.eight_bits(images.read(path).pixels)
            photo = Image.fromarray(values.squeeze()).convert("RGB")
            side = min(photo.size) // 2
            for top in range(0, photo.height - side + 1, side):
                for left in range(0, photo.width - side + 1, side):
                    box = (left, top, left + side, top + side)
                    day = np.asarray(photo.resize((size, size), Image.Resampling.LANCZOS, box))
                    rng = np.random.default_rng((number, top, left))
                    writing.pair(folder, part, f"{number:04d}-x{left:05d}-y{top:05d}", day, night(day, rng))
                    counts[part] += 1
        known = {f"pairs, {part}": counts[part] for part in recipes.PARTS}
        facts = {
            "photographs": len(files),
            "of them in the test part": len(tested),
            "size": f"{size} × {size}",
            **known,
        }
        recipes.card(folder, "Day and a night made of it", facts, ABOUT)
    return counts


def held_out(names: list[str]) -> set[int]:
    """Positions of the test photographs: a tenth, at least one, the smallest hashes of their names."""
    order = sorted(range(len(names)), key=lambda index: hashlib.sha256(names[index].encode()).digest())
    return set(order[: max(1, len(names) * HELD_OUT // 100)])


def _linear(values: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] -> linear light (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _srgb(light: np.ndarray) -> np.ndarray:
    """The inverse of `_linear`."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
