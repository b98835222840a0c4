"""A trained upscaler applied to pictures of any size, depth and channel count."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gantoolkit import devices, tiling
from gantoolkit.errors import UsageError
from gantoolkit.images import Picture
from gantoolkit.model import MAIN, Model
from gantoolkit.resample import resize, resize_array
from gantk_superres import networks

Backend = Literal["torch", "onnx", "openvino"]
LARGEST = 16.0  # enlargement, along one side


class Enlarger:
    """Enlarge pictures: `Enlarger(model)(picture)`, on numpy arrays, PIL images, tensors or `Picture`s.

    Args:
        model: a superres model.
        scale: output pixels per input pixel along one side, any number up to 16; None for the model's own. What the
            network does not give is resampled (antialiased bicubic).
        detail: 0 for the fidelity weights, 1 for the adversarial ones; between, the weights are interpolated.
            Models with one set of weights ignore it.
        device, precision: as in `gantk run`; "auto" picks what is fastest here.
        tile: side of a tile's core in input pixels; 0 chooses.
        backend: what runs the network; onnx and openvino export it first.

    Raises:
        UsageError: a scale or detail out of range, or a device that is not there.
    """

    def __init__(
        self,
        model: Model,
        *,
        scale: float | None = None,
        detail: float = 1.0,
        device: str = "auto",
        precision: str = "auto",
        tile: int = 0,
        backend: Backend = "torch",
    ) -> None:
        if scale is not None and not 0 < scale <= LARGEST:
            raise UsageError("the scale is out of range", expected=f"above 0, at most {LARGEST:g}", actual=scale)
        if not 0 <= detail <= 1:
            raise UsageError("detail is out of range", expected="0 (fidelity) to 1 (adversarial)", actual=detail)
        self.name, self.tile = model.name, tile or None
        self.device = devices.pick_device(device)
        self.precision = devices.pick_precision(precision, self.device)
        self.network = networks.build(model.config)
        self.network.load_state_dict(weights(model, detail))
        self.network.eval().requires_grad_(False)
        self.scale = float(scale or self.network.scale)
        if backend == "torch":
            self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._run: Callable[[Tensor], Tensor] = self._forward
        else:
            self._run = self._exported(backend)

    # ---- pictures ----

    def __call__(self, image: Any) -> Any:
        """Enlarge one picture and return it as it came.

        Args:
            image: H×W or H×W×C array (uint8, uint16, or float32 in [0, 1]; C = 1, 2, 3 or 4, an even C ends in
                alpha), a PIL image, a tensor C,H,W or N,C,H,W in [0, 1], or a `Picture`.
        """
        if isinstance(image, Picture):
            return self.picture(image)
        if isinstance(image, Tensor):
            return self._tensor(image)
        if isinstance(image, np.ndarray):
            return self._array(image)
        return self._pil(image)

    @torch.inference_mode()
    def picture(self, picture: Picture, progress: Callable[[int, int], None] | None = None) -> Picture:
        """Enlarge pixels and alpha; profile, EXIF and bit depth stay. Grey stays grey.

        Args:
            progress: called with (tiles done, tiles in all).
        """
        pixels = picture.pixels
        size = tuple(max(1, round(side * self.scale)) for side in pixels.shape[:2])
        if picture.alpha is not None:
            pixels = spread(pixels, picture.alpha)
        network = self.network
        large = tiling.tiled(
            self._run if pixels.shape[2] == 3 else _grey(self._run),
            pixels,
            scale=network.scale,
            overlap=network.overlap,
            tile=self.tile,
            multiple=network.multiple,
            device=self.device,
            fallback=self._in_fp32 if pixels.shape[2] == 3 else _grey(self._in_fp32),
            progress=progress,
        )
        if large.shape[:2] != size:
            large = resize_array(large, size)
        alpha = picture.alpha
        if alpha is not None:
            alpha = resize_array(alpha[:, :, None], size)[:, :, 0]
        return replace(picture, pixels=large, alpha=alpha)

    def _array(self, image: np.ndarray) -> np.ndarray:
        flat = image.ndim == 2
        image = image[:, :, None] if flat else image
        colours = image.shape[2] - (image.shape[2] % 2 == 0)
        alpha = image[:, :, colours] if colours < image.shape[2] else None
        done = self.picture(Picture(np.ascontiguousarray(image[:, :, :colours]), alpha))
        result = done.pixels if done.alpha is None else np.dstack([done.pixels, done.alpha])
        return result[:, :, 0] if flat else result

    def _pil(self, image: Any) -> Any:
        from PIL import Image

        mode = image.mode if image.mode in ("L", "LA", "RGB", "RGBA") else "RGBA" if "transparency" in image.info else "RGB"
        return Image.fromarray(self._array(np.asarray(image.convert(mode))))

    @torch.inference_mode()
    def _tensor(self, image: Tensor) -> Tensor:
        batch = image if image.ndim == 4 else image[None]
        size = tuple(max(1, round(side * self.scale)) for side in batch.shape[-2:])
        run = self._run if batch.shape[1] == 3 else _grey(self._run)
        large = run(batch.to(self.device)).float()
        if tuple(large.shape[-2:]) != size:
            large = resize(large, size)
        large = large.clamp(0, 1).to(image.device, image.dtype)
        return large if image.ndim == 4 else large[0]

    # ---- the network ----

    def _forward(self, pixels: Tensor) -> Tensor:
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        if self.precision == "fp32":
            return self.network(pixels)
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        with torch.autocast(self.device.split(":")[0], dtype):
            return self.network(pixels).float()

    def _in_fp32(self, pixels: Tensor) -> Tensor:
        """For tiles whose output was not finite in the faster precision."""
        return self.network.to(self.device)(pixels)

    def _exported(self, backend: Backend) -> Callable[[Tensor], Tensor]:
        """The network run by another runtime, from an ONNX file that is kept beside the user's models."""
        from gantoolkit import export
        from gantoolkit.model import user_models

        digest = hashlib.sha256()
        for key, value in self.network.state_dict().items():
            digest.update(key.encode() + value.numpy().tobytes())
        path = user_models().parent / "cache" / f"{digest.hexdigest()[:16]}.onnx"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            export.to_onnx(self.network, path, torch.zeros(1, 3, 32, 32))
        if backend == "onnx":
            return export.onnx_runner(path)
        return export.openvino_runner(path, precision="fp32" if self.precision == "fp32" else "bf16")


def weights(model: Model, detail: float) -> dict[str, Tensor]:
    """The state dict between fidelity (0) and adversarial (1) weights."""
    if "fidelity" not in model.weights or detail == 1:
        return dict(model.weights[MAIN])
    return networks.interpolate(model.weights["fidelity"], model.weights[MAIN], detail)


def export_onnx(model: Model, target: Path, detail: float = 1.0) -> Any:
    """Write the model as ONNX with dynamic batch, height and width; returns the parity that was found."""
    from gantoolkit import export

    network = networks.build(model.config)
    network.load_state_dict(weights(model, detail))
    return export.to_onnx(network.eval(), target, torch.zeros(1, 3, 32, 32))


def spread(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours of the nearest visible pixel where the picture is fully transparent.

    What lies under transparent pixels is often black or white; enlarged with the rest it would bleed into the edge
    as a fringe.
    """
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return pixels
    from scipy import ndimage

    nearest = ndimage.distance_transform_edt(hidden, return_distances=False, return_indices=True)
    return pixels[tuple(nearest)]


def _grey(run: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """One channel in, one channel out, through a network of three."""
    return lambda pixels: run(pixels.expand(-1, 3, -1, -1)).mean(dim=1, keepdim=True)

