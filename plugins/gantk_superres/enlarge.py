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

from gantk_superres import colour, networks
from gantoolkit import devices, tiling
from gantoolkit.errors import InputError, UsageError
from gantoolkit.images import Picture
from gantoolkit.model import MAIN, Model
from gantoolkit.resample import resize_array

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
        device, precision: as in `gantk run`; "auto" picks what is fastest here, and fp32 for pictures of more than 8
            bits a channel, which faster arithmetic would coarsen.
        tile: side of a tile's core in input pixels; 0 chooses.
        backend: what runs the network; onnx and openvino export it first.

    Raises:
        UsageError: a scale or detail out of range, or a device that is not there.
        InputError: weights that do not fit the network that the model describes.
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
        if scale is not None and not 0 < scale <= LARGEST:
            raise UsageError("the scale is out of range", expected=f"above 0, at most {LARGEST:g}", actual=scale)
        if not 0 <= detail <= 1:
            raise UsageError("detail is out of range", expected="0 (fidelity) to 1 (adversarial)", actual=detail)
        self.name, self.tile = model.name, tile or None
        # the other runtimes take and give pixels in main memory
        self.device = devices.pick_device(device if backend == "torch" else "cpu")
        self.precision = devices.pick_precision(precision, self.device)
        self.network = _network(model, detail)
        self.network.requires_grad_(False)
        self.scale = float(scale or self.network.scale)
        if backend == "torch":
            self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._run: Callable[[Tensor], Tensor] = self._forward
        else:
            self._run = self._exported(backend)
        self._run_deep = self._in_fp32 if precision == "auto" else self._run

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
            alpha = resize_array(alpha[:, :, None], size)[:, :, 0]
        return replace(picture, pixels=large, alpha=alpha)

    def _array(self, image: np.ndarray) -> np.ndarray:
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
        colours = pixels.shape[2] - (pixels.shape[2] % 2 == 0)
        alpha = pixels[:, :, colours] if colours < pixels.shape[2] else None
        done = self.picture(Picture(np.ascontiguousarray(pixels[:, :, :colours]), alpha))
        result = done.pixels if done.alpha is None else np.dstack([done.pixels, done.alpha])
        if floating:
            result = result.clip(0, 1).astype(image.dtype)
        return result[:, :, 0] if flat else result

    def _pil(self, image: Any) -> Any:
        from PIL import Image

        if not isinstance(image, Image.Image):
            raise UsageError(
                "this is not a picture", expected="an array, a PIL image or a tensor", actual=type(image).__name__
            )
        mode = "L" if image.mode == "1" else image.mode
        if mode not in ("L", "LA", "RGB", "RGBA", "I;16", "F"):
            mode = "RGBA" if image.has_transparency_data else "RGB"
        made = Image.fromarray(self._array(np.asarray(image if mode == image.mode else image.convert(mode))))
        made.info = {key: value for key, value in image.info.items() if key != "transparency"}
        return made

    def _tensor(self, image: Tensor) -> Tensor:
        if image.ndim not in (3, 4) or not (image.is_floating_point() or image.dtype == torch.uint8):
            raise UsageError(
                "this tensor is not a picture",
                expected="C,H,W or N,C,H,W, uint8 or floating point in [0, 1]",
                actual=f"{str(image.dtype).removeprefix('torch.')} {','.join(map(str, image.shape))}",
            )
        batch = image.detach()[None] if image.ndim == 3 else image.detach()
        wide = batch.float() if batch.is_floating_point() else batch
        done = [self._array(one.permute(1, 2, 0).cpu().numpy()) for one in wide]
        large = torch.stack([torch.from_numpy(one).permute(2, 0, 1) for one in done]).contiguous()
        large = large.to(image.device, image.dtype)
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


def export_onnx(model: Model, target: Path, detail: float = 0.5) -> Any:
    """Write the model as ONNX with dynamic batch, height and width; returns the parity that was found."""
    from gantoolkit import export

    return export.to_onnx(_network(model, detail), target, torch.zeros(1, 3, 32, 32))


def _network(model: Model, detail: float) -> networks.Upscaler:
    """The model's network in eval mode, between its two sets of weights."""
    network = networks.build(model.config)
    try:
        network.load_state_dict(weights(model, detail))
    except RuntimeError as error:
        raise InputError(f"the weights of the model {model.name} do not fit its network: {error}") from error
    return network.eval()


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
