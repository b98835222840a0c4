"""A trained translator applied to pictures and arrays of any size, depth and channel count."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from gantk_translate import composing, depths, ways
from gantk_translate.reading import resized
from gantk_translate.sides import Side
from gantoolkit import export, feathering, images, tiling
from gantoolkit.adapt import as_it_came, spread
from gantoolkit.errors import UsageError
from gantoolkit.images import Picture
from gantoolkit.inference import Backend, Inference
from gantoolkit.model import Model
from gantoolkit.resample import resize_array

Direction = Literal["AtoB", "BtoA"]
Style = Path | str | Picture | np.ndarray
Progress = Callable[[int, int], None]

LONGEST_STYLE = 512
COPY_BYTES = 2  # of a weight, in bf16 or as a runtime lays it out anew
# What these and the maps of one window may take; a 4000×3000 picture then stays below 1.5 GB with everything else.
MAP_BYTES = {"cpu": 500_000_000, "cuda": 4_000_000_000}
BLEND = 96  # pixels that a tile is wider on each side, where tiles fade into each other
LEAST_BLENDED = 4 * BLEND  # of a tile that fades
LEAST_CORE = 256  # of a tile that equals the whole, however much context it needs
MOST_WORK = 4  # times that of the whole, for tiles that equal it, unless they are asked for
TILES_DIFFER = "larger pictures are translated in tiles that fade into each other, which differs from the whole: {why}"


class Translator:
    """Translate pictures: `Translator(model)(picture)`, on arrays, PIL images, tensors or `Picture`s.

    Args:
        model: a translate model.
        direction: "AtoB" or "BtoA"; None is the way the model was trained.
        style: a picture whose style to take: a file, a `Picture` or an (H, W, C) array; models of the game style only.
        strength: 1 for the translation, 0 for the input, between a mixture.
        device, precision: as in `gantk run`; "auto" picks what is fastest here, and fp32 for more than 8 bits.
        size: of the longer side that the network sees, which is then the result's, too; 0 keeps the picture's own.
            A model whose input joins its output makes its layer at that size, and the result keeps the picture's own.
        tile: side of a tile's core in pixels; 0 chooses.
        backend: what runs the network; onnx and openvino export it first.

    Attributes:
        name: the model's. device: what was picked.
        source, target: the sides, in the direction asked for.
        learnt: side in pixels of what the model was trained on: whole pictures if `whole`, else windows of pictures.
        layered: the network makes a layer of a small copy, and the picture keeps its resolution.
        notes: one line each: where the result is not what the network says of a whole picture.

    Raises:
        UsageError: a direction the model does not go, a style where none belongs or none where one does, a strength
            that cannot be had, a device that is not there.
        InputError: weights that do not fit the network that the model describes, a style that cannot be read.
    """

    def __init__(
        self,
        model: Model,
        *,
        direction: Direction | None = None,
        style: Style | None = None,
        strength: float = 1.0,
        device: str = "auto",
        precision: str = "auto",
        size: int = 0,
        tile: int = 0,
        backend: Backend = "torch",
    ) -> None:
        way = ways.choose(model, direction)
        self.name, self.source, self.target = model.name, way.source, way.target
        self.generator, self.learnt, self.size, self.tile = way.generator, int(model.config["size"]), size, tile
        self.strength = _mixable(strength, way.source, way.target)
        self.whole, self.clean = model.config["fit"] == "resize", model.config.get("clean", True)
        # what learnt windows looks at pictures as they are, and needs no small copy of them
        self.layered = getattr(way.generator, "compose", "none") != "none" and (self.whole or size > 0)
        styled = model.config["generator"]["arch"] == "adain"
        if styled != (style is not None):
            wanted = "--style PICTURE, because the model takes its style from one" if styled else "no --style"
            raise UsageError(f"the model {model.name} and --style do not go together", expected=wanted)
        network = composing.Layer(way.generator) if self.layered else way.generator
        self.multiple = math.lcm(way.generator.multiple, ways.LEAST)

        def to_onnx(path: Path) -> None:
            ways.to_onnx(network, path, self.source.planes, self.multiple, styled)

        self._ready = Inference(network, to_onnx, device=device, precision=precision, backend=backend)
        self.device, self.precision = self._ready.device, self._ready.precision
        self._style = () if style is None else (self._style_planes(style).to(self.device),)
        budget = MAP_BYTES.get(self.device.split(":")[0], MAP_BYTES["cuda"])
        weights = sum(weight.numel() for weight in way.generator.parameters())
        self.whole_pixels = int(max(budget - COPY_BYTES * weights, budget / 4) / self._bytes_per_pixel())
        self.notes: list[str] = []

    # ---- pictures ----

    def __call__(self, image: Any) -> Any:
        """Translate one image.

        Args:
            image: values as the source's files have them, (H, W, C) or (H, W), which come back as (H, W, C') in the
                target's type; or a `Picture`, a PIL image, a tensor C,H,W or N,C,H,W, or an array that ends in alpha,
                which come back as such. A model of pictures that use their type's range takes any bit depth, floating
                point in [0, 1]; one of another range, and of arrays, takes values as they are.

        Raises:
            InputError: other channels than the source has, a type that cannot hold its values, or a class it does not
                know.
            UsageError: no image at all.
        """
        if isinstance(image, np.ndarray) and image.ndim in (2, 3):
            values = image[:, :, None] if image.ndim == 2 else image
            if self.source.kind != "picture" or values.shape[2] not in (2, 4):
                return self._values(values)
        if self.source.kind == "mask" and getattr(image, "mode", None) == "P":  # its indices are the classes
            from PIL import Image

            image = Image.fromarray(np.array(image))
        # the sides know which numbers they take
        unit = depths.uses_all(self.source) and depths.uses_all(self.target)
        return as_it_came(image, self.picture, unit=unit)

    def planes(self, planes: np.ndarray) -> np.ndarray:
        """(C, H, W) float32 as the network sees it -> (C', H, W) float32, in [-1, 1]."""
        made = self._applied(
            planes.transpose(1, 2, 0),
            lambda values: np.ascontiguousarray(values.transpose(2, 0, 1), np.float32),
            lambda made: made.transpose(1, 2, 0),
            deep=True,
        )
        return np.ascontiguousarray(made.transpose(2, 0, 1))

    def picture(self, picture: Picture, progress: Progress | None = None) -> Picture:
        """Translate the pixels; alpha, profile, EXIF and resolution stay where the result is a picture, too.

        A profile goes where the result has other channels, and with arrays and masks, whose numbers are no colours.

        Args:
            progress: called with (pixels or tiles done, in all).
        """
        pixels, alpha = picture.pixels, picture.alpha
        if alpha is not None:
            pixels = composing.on_white(pixels, alpha) if self._on_paper else spread(pixels, alpha)
        made = self._values(pixels, progress)
        if self.target.kind == "mask":
            return Picture(made, dpi=picture.dpi)
        same = self.target.kind == "picture" and made.shape[2] == pixels.shape[2]
        if alpha is not None:
            fits = self.target.kind == "picture" and made.dtype == alpha.dtype
            alpha = resized(alpha[..., None], made.shape[:2])[..., 0] if fits else None
        return replace(picture, pixels=made, alpha=alpha, icc=picture.icc if same else None)

    @property
    def _on_paper(self) -> bool:
        """Whether the input stays on the result as ink on paper, or transparency was laid on white in training."""
        return getattr(self.generator, "compose", "none") == "multiply" or self.source.alpha

    def _values(self, values: np.ndarray, progress: Progress | None = None) -> np.ndarray:
        """(H, W, C) as files have them -> (H, W, C')."""
        source, target = depths.sides_for(values, self.source, self.target)
        if self.size and not self.layered:
            values = resized(values, composing.fitted(values.shape[:2], self.size), source.kind == "mask")
        return self._applied(
            values, lambda window: depths.encoded(window, source), target.decode, values.dtype != np.uint8, progress
        )

    # ---- the network ----

    def _applied(
        self,
        values: np.ndarray,
        encode: tiling.Encode,
        decode: tiling.Decode,
        deep: bool,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """The network over (H, W, C): as a layer of the whole, at once, or in tiles, whichever suits it."""
        run = self._mixed(self._ready.deep if deep else self._ready.fast)
        exact = self._mixed(self._ready.exact)
        if self.layered:
            given, size = composing.Given(values, encode, decode, self._mixture), self.size or self.learnt
            return composing.applied(
                self.generator, (run, exact), given, size, self.multiple, self.device, self.clean, progress
            )
        common: dict[str, Any] = {
            "encode": encode,
            "decode": decode,
            "multiple": self.multiple,
            "device": self.device,
            "fallback": exact,
            "progress": progress,
        }
        tile, overlap = self._cut(*values.shape[:2])
        if overlap is None:
            return feathering.feathered(run, values, tile=tile, blend=BLEND, **common)
        return tiling.tiled(run, values, scale=1, overlap=overlap, tile=tile, **common)

    def _cut(self, height: int, width: int) -> tuple[int, int | None]:
        """The side of a tile, and the context that makes tiles equal the whole; None where they fade into each other.

        If tiles are not the whole then, the notes say so.
        """
        overlap, longest = self.generator.overlap, max(height, width) + self.multiple
        if longest - self.multiple <= self.tile or (not self.tile and height * width <= self.whole_pixels):
            return longest, overlap
        side = int(self.whole_pixels**0.5)
        if overlap is None:
            self._note("this network looks at all of a picture")
        else:
            tile = self.tile or min(max(LEAST_CORE, side - 2 * overlap), max(LEAST_BLENDED, overlap))
            cuts = (tiling.spans(length, tile, overlap, self.multiple) for length in (height, width))
            work = math.prod(sum(span.end - span.start for span in axis) for axis in cuts) / (height * width)
            if self.tile or work <= MOST_WORK:
                return tile, overlap
            self._note(f"tiles that equal the whole would take {work:.0f} times the work (--tile {tile} makes them)")
        return self.tile or max(LEAST_BLENDED, side - 2 * BLEND), None

    def _note(self, why: str) -> None:
        line = TILES_DIFFER.format(why=why)
        if line not in self.notes:
            self.notes.append(line)

    def _mixed(self, run: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
        """The network with its style; mixed with its input unless the input joins later."""
        if self.layered:
            return run
        return lambda x: self._mixture(run(x, *self._style), x)

    def _mixture(self, made: Tensor, x: Tensor) -> Tensor:
        return made if self.strength == 1 else torch.lerp(x, made, self.strength)

    def _style_planes(self, style: Style) -> Tensor:
        """The style's picture as the network sees it, (1, C, h, w), its longer side at most `LONGEST_STYLE`."""
        if isinstance(style, np.ndarray):
            style = Picture(style[:, :, None] if style.ndim == 2 else style)
        picture = style if isinstance(style, Picture) else images.read(style)
        pixels = picture.pixels if picture.alpha is None else composing.on_white(picture.pixels, picture.alpha)
        scale = min(1.0, LONGEST_STYLE / max(pixels.shape[:2]))
        sizes = [max(1, round(side * scale / self.multiple)) * self.multiple for side in pixels.shape[:2]]
        side = depths.at_depth(self.source, pixels.dtype)
        return torch.from_numpy(depths.encoded(resize_array(pixels, (sizes[0], sizes[1])), side))[None]

    def _bytes_per_pixel(self) -> float:
        """What the largest step of the network holds in fp32, for each pixel: its input and output, and as much again.

        Runtimes pad, keep skips and work in copies; twice the largest step is what was seen.
        """
        largest = 0

        def watch(_: nn.Module, given: tuple[Any, ...], made: Any) -> None:
            nonlocal largest
            largest = max(largest, sum(x.numel() for x in (*given, made) if isinstance(x, Tensor)))

        side = -(-64 // self.multiple) * self.multiple
        leaves = [module for module in self.generator.modules() if not list(module.children())]
        hooks = [module.register_forward_hook(watch) for module in leaves]
        try:
            with torch.inference_mode():
                self._ready.exact(torch.zeros(1, self.source.planes, side, side, device=self.device), *self._style)
        finally:
            for hook in hooks:
                hook.remove()
        return 2 * 4 * max(largest, 1) / side**2


def export_onnx(model: Model, target: Path) -> export.Parity:
    """Write the model's own direction as ONNX with dynamic height and width, its input and output in [-1, 1].

    A model of the game style has a second input, "style". Returns the parity that was found at two sizes.
    """
    way = ways.choose(model, None)
    multiple = math.lcm(way.generator.multiple, ways.LEAST)
    styled = model.config["generator"]["arch"] == "adain"
    return ways.to_onnx(way.generator, target, way.source.planes, multiple, styled)


def _mixable(strength: float, source: Side, target: Side) -> float:
    if not 0 <= strength <= 1:
        raise UsageError("the strength is out of range", expected="0 (the input) to 1", actual=strength)
    if strength < 1 and source != target:
        raise UsageError(
            "this model's sides cannot be mixed", expected="--strength 1, because its output is of another kind"
        )
    return strength
