"""Arrays, PIL images and tensors through a function of pictures, each coming back as what it came as."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantoolkit.errors import UsageError
from gantoolkit.images import Picture, leaves_unit

__all__ = ["as_it_came", "spread"]

Apply = Callable[[Picture], Picture]


def as_it_came(image: Any, apply: Apply, *, unit: bool = True) -> Any:
    """`apply` to one image, which is returned as what it came as.

    Args:
        image: H×W or H×W×C array (uint8, uint16, or floating point in [0, 1]; C = 1, 2, 3 or 4, an even C ends
            in alpha), a PIL image, a tensor C,H,W or N,C,H,W (uint8, or floating point in [0, 1]), or a
            `Picture`. What PIL keeps in other ways (palettes, CMYK) comes back as RGB or RGBA; its mode I is
            taken for 16 bits.
        apply: gets arrays and tensors of floating point as float32.
        unit: floating point is a picture, in [0, 1] on both sides; else numbers are passed on as they are.

    Raises:
        UsageError: another shape or type, or values outside the range above.
    """
    if isinstance(image, Picture):
        return apply(image)
    if isinstance(image, Tensor):
        return _tensor(image, apply, unit)
    if isinstance(image, np.ndarray):
        return _array(image, apply, unit)
    return _pil(image, apply, unit)


def _array(image: np.ndarray, apply: Apply, unit: bool) -> np.ndarray:
    flat = image.ndim == 2
    pixels = image[:, :, None] if flat else image
    floating = np.issubdtype(image.dtype, np.floating)
    known = floating or image.dtype in (np.uint8, np.uint16)
    if pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4 or not pixels.size or not known:
        raise UsageError(
            "this array is not a picture",
            expected="H×W or H×W×C with 1 to 4 channels, uint8, uint16 or floating point",
            actual=f"{image.dtype} {'×'.join(map(str, image.shape))}",
        )
    pixels = np.ascontiguousarray(pixels, np.float32 if floating else None)
    if floating and unit and leaves_unit(pixels):
        raise UsageError(
            "this is not a picture of floating point", expected="floating point in [0, 1]",
            actual=f"{pixels.min():g} to {pixels.max():g}", remedy="bring it into that range",
        )  # fmt: skip
    colours = pixels.shape[2] - (pixels.shape[2] % 2 == 0)
    alpha = pixels[:, :, colours] if colours < pixels.shape[2] else None
    done = apply(Picture(np.ascontiguousarray(pixels[:, :, :colours]), alpha))
    result = done.pixels if done.alpha is None else np.dstack([done.pixels, done.alpha])
    if floating and np.issubdtype(result.dtype, np.floating):
        result = (result.clip(0, 1) if unit else result).astype(image.dtype)
    return result[:, :, 0] if flat and result.shape[2] == 1 else result


def _pil(image: Any, apply: Apply, unit: bool) -> Any:
    from PIL import Image

    if not isinstance(image, Image.Image):
        raise UsageError(
            "this is not a picture", expected="an array, a PIL image or a tensor", actual=type(image).__name__
        )
    if image.mode in ("I", "I;16B"):
        array = _array(_sixteen_bits(np.asarray(image)), apply, unit)
        array = array.astype(np.int32) if image.mode == "I" and array.dtype == np.uint16 else array
    else:
        mode = "L" if image.mode == "1" else image.mode
        if mode not in ("L", "LA", "RGB", "RGBA", "I;16", "F"):
            mode = "RGB"
        if mode in ("L", "RGB") and image.has_transparency_data:
            mode += "A"
        array = _array(np.asarray(image if mode == image.mode else image.convert(mode)), apply, unit)
    made = Image.fromarray(array)
    made.info = {key: value for key, value in image.info.items() if key != "transparency"}
    return made


def _sixteen_bits(values: np.ndarray) -> np.ndarray:
    """uint16 from a wider type, or from the other order of bytes."""
    if values.min() < 0 or values.max() > 65535:
        raise UsageError(
            "this PIL image has more than 16 bits", expected="0 to 65535", actual=f"{values.min()} to {values.max()}"
        )
    return values.astype(np.uint16)


def _tensor(image: Tensor, apply: Apply, unit: bool) -> Tensor:
    if image.ndim not in (3, 4) or not (image.is_floating_point() or image.dtype == torch.uint8):
        raise UsageError(
            "this tensor is not a picture",
            expected="C,H,W or N,C,H,W, uint8 or floating point in [0, 1]",
            actual=f"{str(image.dtype).removeprefix('torch.')} {','.join(map(str, image.shape))}",
        )
    batch = image.detach()[None] if image.ndim == 3 else image.detach()
    wide = batch.float() if batch.is_floating_point() else batch
    done = [_array(one.permute(1, 2, 0).cpu().numpy(), apply, unit) for one in wide]
    made = torch.stack([torch.from_numpy(one).permute(2, 0, 1) for one in done]).contiguous()
    made = made.to(image.device, image.dtype)
    return made if image.ndim == 4 else made[0]


def spread(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours of the nearest visible pixel where the picture is fully transparent.

    What lies under transparent pixels is often black or white; a network that mixes neighbours would let it bleed into
    the edge as a fringe.
    """
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return pixels
    from scipy import ndimage

    nearest = ndimage.distance_transform_edt(hidden, return_distances=False, return_indices=True)
    return pixels[tuple(nearest)]
