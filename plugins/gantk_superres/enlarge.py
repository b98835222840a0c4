"""A trained upscaler applied to pictures of any size, depth and channel count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gantk_superres import colour, networks
from gantoolkit import export, foreign, tiling
from gantoolkit.adapt import as_it_came, spread
from gantoolkit.errors import UsageError
from gantoolkit.images import Picture
from gantoolkit.inference import Backend, Inference
from gantoolkit.model import MAIN, Model
from gantoolkit.resample import resize_array

LARGEST = 16.0  # enlargement, along one side


class Enlarger:
    """Enlarge pictures: `Enlarger(model)(picture)`, on numpy arrays, PIL images, tensors or `Picture`s.

    Args:
        model: a superres model.
        scale: output pixels per input pixel along one side, any number up to 16; None for the model's own. What the
            network does not give is resampled (antialiased bicubic).
        detail: 0 for the fidelity weights, 1 for the adversarial ones; between, the weights are interpolated.
            Models with one set of weights ignore it.
        device, precision: as in `gantk run`; "auto" picks what is fastest here, and fp32 for pictures of more than 8
            bits a channel, which faster arithmetic would coarsen.
        tile: side of a tile's core in input pixels; 0 chooses.
        backend: what runs the network; onnx and openvino export it first.

    Raises:
        UsageError: a scale, detail or tile out of range, or a device that is not there.
        InputError: the model describes no network, or one that its weights do not fit.
    """

    def __init__(
        self,
        model: Model,
        *,
        scale: float | None = None,
        detail: float = 0.5,
        device: str = "auto",
        precision: str = "auto",
        tile: int = 0,
        backend: Backend = "torch",
    ) -> None:
        _check(scale, detail, tile)
        self.name, self.tile = model.name, tile or None
        self.network = _network(model, detail)
        self.scale = float(scale or self.network.scale)
        ready = Inference(self.network, self._export, device=device, precision=precision, backend=backend)
        self.device, self.precision = ready.device, ready.precision
        self._run, self._run_deep, self._in_fp32 = ready.fast, ready.deep, ready.exact

    # ---- pictures ----

    def __call__(self, image: Any) -> Any:
        """Enlarge one picture and return it as it came.

        Args:
            image: H×W or H×W×C array (uint8, uint16, or floating point in [0, 1]; C = 1, 2, 3 or 4, an even C ends
                in alpha), a PIL image, a tensor C,H,W or N,C,H,W (uint8, or floating point in [0, 1]), or a
                `Picture`. What PIL keeps in other ways (palettes, CMYK) comes back as RGB or RGBA.

        Raises:
            UsageError: another shape or type.
        """
        return as_it_came(image, self.picture)

    @torch.inference_mode()
    def picture(self, picture: Picture, progress: Callable[[int, int], None] | None = None) -> Picture:
        """Enlarge pixels and alpha; profile, EXIF and bit depth stay. Grey stays grey.

        Args:
            progress: called with (tiles done, tiles in all).
        """
        pixels = picture.pixels
        size = self.size(pixels.shape[:2])
        if picture.alpha is not None:
            pixels = spread(pixels, picture.alpha)
        network, grey = self.network, pixels.shape[2] == 1
        run = self._run if pixels.dtype == np.uint8 else self._run_deep
        large = tiling.tiled(
            _grey(run) if grey else run,
            pixels,
            scale=network.scale,
            overlap=network.overlap,
            tile=self.tile,
            multiple=network.multiple,
            device=self.device,
            fallback=_grey(self._in_fp32) if grey else self._in_fp32,
            progress=progress,
        )
        colour.keep(large, pixels)
        if large.shape[:2] != size:
            large = resize_array(large, size)
        alpha = picture.alpha
        if alpha is not None:
            alpha = _opacity(resize_array(alpha[:, :, None], size)[:, :, 0])
        return replace(picture, pixels=large, alpha=alpha)

    def size(self, size: Sequence[int]) -> tuple[int, int]:
        """(height, width) of a picture → of its enlargement."""
        height, width = (max(1, round(side * self.scale)) for side in size)
        return height, width

    def _export(self, target: Path) -> None:
        export.to_onnx(self.network, target, torch.zeros(1, 3, 32, 32))


def weights(model: Model, detail: float) -> dict[str, Tensor]:
    """The state dict between fidelity (0) and adversarial (1) weights."""
    if "fidelity" not in model.weights or detail == 1:
        return dict(model.weights[MAIN])
    return networks.interpolate(model.weights["fidelity"], model.weights[MAIN], detail)


def export_onnx(model: Model, target: Path, detail: float = 0.5) -> Any:
    """Write the model as ONNX with dynamic batch, height and width; returns the parity that was found."""
    return export.to_onnx(_network(model, detail), target, torch.zeros(1, 3, 32, 32))


def _check(scale: Any, detail: Any, tile: Any) -> None:
    """The numbers of an enlarger, which come from code too, where no command line has looked at them."""
    if scale is not None and not (isinstance(scale, Real) and 0 < float(scale) <= LARGEST):
        raise UsageError(
            "the scale is out of range", expected=f"a number above 0, at most {LARGEST:g}", actual=repr(scale)
        )
    if not (isinstance(detail, Real) and 0 <= float(detail) <= 1):
        raise UsageError("detail is out of range", expected="0 (fidelity) to 1 (adversarial)", actual=repr(detail))
    if not (isinstance(tile, Integral) and int(tile) >= 0):
        raise UsageError("the tile is out of range", expected="a whole number, 0 or more", actual=repr(tile))


def _network(model: Model, detail: float) -> networks.Upscaler:
    """The model's network in eval mode, between its two sets of weights."""
    supported = "a network of the task superres"
    return foreign.filled(f"the model {model.name}", model.config, networks.build, supported, weights(model, detail))


def _opacity(alpha: np.ndarray) -> np.ndarray:
    """Alpha in its range: the kernel overshoots at edges, and only integers are clipped as they are rounded."""
    return alpha.clip(0, 1) if np.issubdtype(alpha.dtype, np.floating) else alpha


def _grey(run: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """One channel in, one channel out, through a network of three."""
    return lambda pixels: run(pixels.expand(-1, 3, -1, -1)).mean(dim=1, keepdim=True)
