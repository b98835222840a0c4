"""Pictures as training sees them: decoded, laid on a colour, made a square; and what can be seen of them from afar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from gantk_text2image.captions import Captioned
from gantoolkit.errors import GantkError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

COARSE = 16  # positions a side at which distances are measured: poses and places count, lines do not
Fit = Literal["pad", "crop", "stretch"]


def background(name: str) -> tuple[int, int, int]:
    """A colour by its name or as #RRGGBB.

    Raises:
        UsageError: there is no such colour.
    """
    from PIL import ImageColor

    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError:
        raise UsageError("background", expected="a colour's name or #RRGGBB", actual=repr(name)) from None


def load(
    found: Captioned, size: int, fit: Fit, colour: tuple[int, int, int]
) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """(all pictures as uint8 (N, size, size, 3), those that cannot be read and why); of these the picture is black."""
    pictures = np.zeros((len(found), size, size, 3), np.uint8)
    damaged = []
    for row, name in enumerate(found.names):
        try:
            pictures[row] = fitted(found.picture(row), size, fit, colour)
        except GantkError as error:
            damaged.append((name, str(error)))
    return pictures, damaged


def fitted(pixels: np.ndarray, size: int, fit: Fit, colour: tuple[int, int, int]) -> np.ndarray:
    """A picture as training sees it: laid on a colour, and made a square.

    Args:
        pixels: (H, W, C) uint8; C 2 and 4 end with alpha.
        size: side of the square.
        fit: "pad" puts the colour around, "crop" cuts what sticks out, "stretch" changes the proportions.
        colour: red, green, blue, 0 to 255.

    Returns:
        (size, size, 3) uint8.
    """
    from gantoolkit.scan import conform

    paper = np.array(colour, np.uint32)
    if pixels.shape[2] in (2, 4):
        drawn, alpha = pixels[..., :-1].astype(np.uint32), pixels[..., -1:].astype(np.uint32)
        pixels = ((drawn * alpha + paper * (255 - alpha) + 127) // 255).astype(np.uint8)
    height, width = pixels.shape[:2]
    if fit == "pad" and height != width:
        side = max(height, width)
        square = np.empty((side, side, 3), np.uint8)
        square[:] = colour
        top, left = (side - height) // 2, (side - width) // 2
        square[top : top + height, left : left + width] = pixels
        pixels = square
    return conform(pixels, (size, size), 3, "crop" if fit == "crop" else "stretch")


def coarse(pictures: Tensor) -> Tensor:
    """(N, 3, S, S) -> (N, 3, COARSE, COARSE): means of whole blocks of what can be seen of them, in [-1, 1]."""
    from torch.nn import functional as F

    return F.avg_pool2d(pictures.clamp(-1, 1), pictures.shape[-1] // COARSE)
