"""Super-resolution networks: fully convolutional generators and critics, built from JSON-able dicts.

Shapes: N batch, h and w the input's height and width, s the scale, C channels inside the network. Every
generator maps N,3,h,w in [0, 1] to N,3,h*s,w*s, unclamped, for any h and w, and says how far it looks (see
`Upscaler`).
"""

from __future__ import annotations

import difflib
import inspect
import itertools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from gantoolkit.errors import InputError, UsageError

__all__ = [
    "CRITICS",
    "GENERATORS",
    "CompactSR",
    "PatchCritic",
    "RRDBNet",
    "SRVGGNetCompact",
    "UNetCritic",
    "Upscaler",
    "build",
    "build_critic",
    "interpolate",
]


class Upscaler(nn.Module):
    """What every generator here is: a network that can be run on tiles.

    Attributes:
        scale: output pixels per input pixel, along one side.
        radius: theoretical radius of the receptive field, in input pixels.
        overlap: context in input pixels that a tile needs on each inner side for its output to equal the
            whole picture's to 1e-5 in fp32; at most `radius`, and a multiple of `multiple`.
        multiple: a tile's origin must be a multiple of this many input pixels (1 unless the network
            unshuffles).
    """

    scale: int
    radius: int
    overlap: int
    multiple: int = 1


def keys_cubic(distance: Tensor, a: float = -0.5) -> Tensor:
    """The cubic convolution kernel (Keys 1981, equation 15 for a = -1/2); `distance` in input pixels."""
    d = distance.abs()
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))


class BicubicPhases(nn.Module):
    """Bicubic enlargement by an integer, as one convolution: N,3,h,w -> N,3*s*s,h,w, to be pixel-shuffled.

    Each of the s*s output phases is a fixed 5x5 kernel, so the result at a pixel does not depend on where in
    the picture it lies: a tile equals the whole exactly, which a resampler that computes coordinates cannot
    promise. At least fp32: the base of the picture must not be rounded to eight bits of mantissa under
    autocast.
    """

    kernel: Tensor

    def __init__(self, scale: int) -> None:
        super().__init__()
        phase = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale - 0.5
        taps = keys_cubic(torch.arange(-2, 3) - phase[:, None])  # s,5
        kernels = torch.einsum("ai,bj->abij", taps, taps).reshape(scale * scale, 5, 5)
        weight = torch.zeros(3, scale * scale, 3, 5, 5)
        for colour in range(3):
            weight[colour, :, colour] = kernels.float()
        self.register_buffer("kernel", weight.reshape(-1, 3, 5, 5), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        with torch.autocast(pixels.device.type, enabled=False):
            wide = torch.promote_types(pixels.dtype, torch.float32)
            padded = F.pad(pixels.to(wide), (2, 2, 2, 2), mode="replicate")
            return F.conv2d(padded, self.kernel.to(wide))


def _conv(channels_in: int, channels_out: int, gain: float = 1.0) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size, He-initialised for LeakyReLU(0.1) and scaled by `gain`."""
    conv = nn.Conv2d(channels_in, channels_out, 3, padding=1)
    nn.init.kaiming_normal_(conv.weight, a=0.1)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    with torch.no_grad():
        conv.weight.mul_(gain)
    return conv


class _Residual(nn.Module):
    """x + conv(LeakyReLU(conv(x))), without normalisation (EDSR, Lim et al. 2017, figure 2c)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, channels)
        self.conv2 = _conv(channels, channels, gain=0.1)

    def forward(self, x: Tensor) -> Tensor:
        # In place on a fresh output that no gradient needs: saves memory and time.
        return self.conv2(F.leaky_relu(self.conv1(x), 0.1, inplace=True)).add_(x)


class CompactSR(Upscaler):
    """The toolkit's default: a small residual network that adds detail to the bicubic enlargement.

    All work happens at the input's resolution, and the last convolution starts at zero, so that training
    starts from the bicubic picture. N,3,h,w in [0, 1] -> N,3,h*s,w*s.

    Args:
        scale: 1 to 8; trained at 2, 3 or 4.
        channels: width C of the body; multiples of 16 run fastest.
        blocks: residual blocks of two convolutions.
    """

    def __init__(self, scale: int = 4, channels: int = 48, blocks: int = 8) -> None:
        super().__init__()
        self.scale = scale
        self.radius = self.overlap = 2 * blocks + 3
        self.head = _conv(3, channels)
        self.body = nn.Sequential(*(_Residual(channels) for _ in range(blocks)), _conv(channels, channels))
        self.tail = _conv(channels, 3 * scale * scale, gain=0.0)
        self.base = BicubicPhases(scale)

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.head(pixels)
        features = self.body(features).add_(features)
        return F.pixel_shuffle(self.base(pixels).add_(self.tail(features)), self.scale)


class SRVGGNetCompact(Upscaler):
    """The plain stack of convolutions of Real-ESRGAN's small models (Wang et al. 2021); keys `body.N.weight`.

    N,3,h,w in [0, 1] -> N,3,h*s,w*s: the residual is added to the nearest-neighbour enlargement.

    Args:
        scale: any positive integer.
        channels: width of the body.
        convs: convolutions between the first and the last.
        act: "prelu" (one slope a channel), "relu" or "leakyrelu" (0.1).
    """

    def __init__(self, scale: int = 4, channels: int = 64, convs: int = 16, act: str = "prelu") -> None:
        super().__init__()
        activations: dict[str, Callable[[], nn.Module]] = {
            "prelu": lambda: nn.PReLU(channels),
            "relu": lambda: nn.ReLU(inplace=True),
            "leakyrelu": lambda: nn.LeakyReLU(0.1, inplace=True),
        }
        activation = activations[_known(act, activations, "activation")]
        self.scale = scale
        self.radius = self.overlap = convs + 2
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 3, padding=1), activation()]
        for _ in range(convs):
            layers += [nn.Conv2d(channels, channels, 3, padding=1), activation()]
        self.body = nn.Sequential(*layers, nn.Conv2d(channels, 3 * scale * scale, 3, padding=1))

    def forward(self, pixels: Tensor) -> Tensor:
        # Repeating a pixel over its s*s phases is the nearest-neighbour enlargement, before the shuffle.
        residual = self.body(pixels)
        return F.pixel_shuffle(residual + pixels.repeat_interleave(self.scale**2, dim=1), self.scale)


class _DenseBlock(nn.Module):
    """Five densely connected convolutions, residual scaled by 0.2 (ESRGAN, Wang et al. 2018, figure 4)."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        for i in range(4):
            self.add_module(f"conv{i + 1}", nn.Conv2d(channels + i * growth, growth, 3, padding=1))
        self.conv5 = nn.Conv2d(channels + 4 * growth, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for i in range(4):
            seen = torch.cat([seen, F.leaky_relu(self.get_submodule(f"conv{i + 1}")(seen), 0.2)], dim=1)
        return x + 0.2 * self.conv5(seen)


class _RRDB(nn.Module):
    """Residual in residual: three dense blocks, residual scaled by 0.2 (ESRGAN, figure 4)."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = _DenseBlock(channels, growth)
        self.rdb2 = _DenseBlock(channels, growth)
        self.rdb3 = _DenseBlock(channels, growth)

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.2 * self.rdb3(self.rdb2(self.rdb1(x)))


class RRDBNet(Upscaler):
    """The generator of ESRGAN (Wang et al. 2018) and Real-ESRGAN; public checkpoints load by key.

    N,3,h,w in [0, 1] -> N,3,h*s,w*s. The trunk always enlarges by 4; scales 2 and 1 unshuffle the input by 2
    and 4 first (Real-ESRGAN, section 4.1), and pad it to a multiple of that.

    Args:
        scale: 4, 2 or 1.
        channels: width of the trunk.
        blocks: RRDBs of fifteen convolutions each.
        growth: channels that each convolution of a dense block adds.

    Raises:
        UsageError: for another scale.
    """

    def __init__(self, scale: int = 4, channels: int = 64, blocks: int = 23, growth: int = 32) -> None:
        super().__init__()
        if scale not in (1, 2, 4):
            raise UsageError("this network has no such scale", expected="1, 2 or 4", actual=scale)
        self.scale = scale
        self.multiple = 4 // scale
        # The four convolutions after the trunk see 3 pixels at x4, then 1 more at x2: 2 pixels at x1.
        self.radius = self.multiple * (15 * blocks + 4) + self.multiple - 1
        # The far field fades: with the public weights, 72 pixels of context for 6 blocks and 128 for 23
        # change no output by more than 2e-6; a straight line between the two serves other depths.
        self.overlap = self.multiple * min(15 * blocks + 4, 52 + 10 * blocks // 3)
        self.conv_first = nn.Conv2d(3 * self.multiple**2, channels, 3, padding=1)
        self.body = nn.Sequential(*(_RRDB(channels, growth) for _ in range(blocks)))
        self.conv_body = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_up1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_up2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_hr = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_last = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        if self.multiple > 1:
            padding = (0, -width % self.multiple, 0, -height % self.multiple)
            pixels = F.pixel_unshuffle(F.pad(pixels, padding, mode="replicate"), self.multiple)
        features = self.conv_first(pixels)
        features = features + self.conv_body(self.body(features))
        for conv in (self.conv_up1, self.conv_up2):
            features = F.leaky_relu(conv(F.interpolate(features, scale_factor=2.0, mode="nearest")), 0.2)
        enlarged = self.conv_last(F.leaky_relu(self.conv_hr(features), 0.2))
        return enlarged[..., : height * self.scale, : width * self.scale]


class UNetCritic(nn.Module):
    """A U-Net that scores every pixel, with spectral norm (Schonfeld et al. 2020; Real-ESRGAN, section 3.4).

    N,3,H,W -> logits N,1,H,W. Skips are added, not concatenated.

    Args:
        channels: width at full resolution; eight times that at the bottom, an eighth of the size.
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        widths = [channels * 2**i for i in range(4)]
        steps = list(itertools.pairwise(widths))
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.down = nn.ModuleList(spectral_norm(nn.Conv2d(low, high, 4, 2, 1, bias=False)) for low, high in steps)
        self.up = nn.ModuleList(
            spectral_norm(nn.Conv2d(high, low, 3, 1, 1, bias=False)) for low, high in reversed(steps)
        )
        self.refine = nn.ModuleList(spectral_norm(nn.Conv2d(channels, channels, 3, 1, 1, bias=False)) for _ in range(2))
        self.last = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        features = F.leaky_relu(self.first(pixels), 0.2)
        skips = []
        for conv in self.down:
            skips.append(features)
            features = F.leaky_relu(conv(features), 0.2)
        for conv in self.up:
            skip = skips.pop()
            size = (skip.shape[-2], skip.shape[-1])  # the skip's own, so that odd sizes work
            features = F.interpolate(features, size=size, mode="bilinear", align_corners=False)
            features = F.leaky_relu(conv(features), 0.2) + skip
        for conv in self.refine:
            features = F.leaky_relu(conv(features), 0.2)
        return self.last(features)


class PatchCritic(nn.Module):
    """Scores overlapping patches (pix2pix, Isola et al. 2017, section 3.2.2), without batch normalisation.

    N,3,H,W -> logits N,1,H',W' with H' about H / 2**layers. No statistics are shared across the batch, so
    gradient penalties on single samples mean what they say.

    Args:
        channels: width of the first layer; doubles each layer, at most eightfold.
        layers: strided convolutions; 3 give patches of 70 pixels.
        spectral: spectral norm on every convolution (Miyato et al. 2018); leave off under R1 and R2.
    """

    def __init__(self, channels: int = 64, layers: int = 3, spectral: bool = False) -> None:
        super().__init__()
        widths = [3] + [channels * min(2**i, 8) for i in range(layers + 1)]
        body: list[nn.Module] = []
        for i, (low, high) in enumerate(itertools.pairwise(widths)):
            stride = 2 if i < layers else 1
            body += [nn.Conv2d(low, high, 4, stride, 1), nn.LeakyReLU(0.2, inplace=True)]
        body.append(nn.Conv2d(widths[-1], 1, 4, 1, 1))
        if spectral:
            body = [spectral_norm(layer) if isinstance(layer, nn.Conv2d) else layer for layer in body]
        self.body = nn.Sequential(*body)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.body(pixels)


GENERATORS: dict[str, type[Upscaler]] = {"compact": CompactSR, "srvgg": SRVGGNetCompact, "rrdb": RRDBNet}
CRITICS: dict[str, type[nn.Module]] = {"unet": UNetCritic, "patch": PatchCritic}


_Module = TypeVar("_Module", bound=nn.Module)


def build(config: Mapping[str, Any]) -> Upscaler:
    """The generator that `config` describes: {"arch": "compact" | "srvgg" | "rrdb", "scale": 4, ...}.

    Raises:
        UsageError: for an unknown architecture, option or value.
    """
    return _construct(GENERATORS, config, "network")


def build_critic(config: Mapping[str, Any]) -> nn.Module:
    """The critic that `config` describes: {"arch": "unet" | "patch", "channels": 64, ...}.

    Raises:
        UsageError: for an unknown architecture or option.
    """
    return _construct(CRITICS, config, "critic")


def _construct(table: Mapping[str, type[_Module]], config: Mapping[str, Any], kind: str) -> _Module:
    options = dict(config)
    kind_of = table[_known(str(options.pop("arch", None)), table, kind)]
    allowed = inspect.signature(kind_of).parameters
    for name in options:
        _known(name, allowed, f"{kind} option")
    return kind_of(**options)


def _known(name: str, names: Mapping[str, object], kind: str) -> str:
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        remedy = f"did you mean {near[0]}?" if near else None
        raise UsageError(f"unknown {kind}", expected=" or ".join(names), actual=name, remedy=remedy)
    return name


def interpolate(state_a: Mapping[str, Tensor], state_b: Mapping[str, Tensor], t: float) -> dict[str, Tensor]:
    """Network interpolation (1 - t) * a + t * b, weight by weight (ESRGAN, section 3.4, equation 4).

    Args:
        state_a: state dict at t = 0, for example the fidelity stage's.
        state_b: state dict at t = 1, of the same architecture, fine-tuned from a.
        t: usually 0 to 1; the ends give back a and b exactly.

    Raises:
        InputError: when the two do not hold the same weights in the same shapes.
    """
    shapes_a = {name: tuple(value.shape) for name, value in state_a.items()}
    shapes_b = {name: tuple(value.shape) for name, value in state_b.items()}
    if shapes_a != shapes_b:
        odd = sorted(name for name, _ in shapes_a.items() ^ shapes_b.items())[0]
        raise InputError(
            f"two networks of different shape cannot be interpolated: weight {odd}",
            expected=shapes_a.get(odd, "no such weight"),
            actual=shapes_b.get(odd, "no such weight"),
        )
    return {name: (1 - t) * value + t * state_b[name] for name, value in state_a.items()}
