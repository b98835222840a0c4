"""A style-based pair: StyleGAN2, Karras et al. 2020 (arXiv:1912.04958), sections 2 to 4, in pure PyTorch.

Every layer has an equalised rate (Karras et al. 2017, arXiv:1710.10196, section 4.1): its weights are drawn from
N(0, 1) and scaled by 1/sqrt(fan_in) when used. Leaky ReLUs have slope .2 and gain sqrt(2), which keeps the second
moment. Filters are [1, 3, 3, 1] with zeros beyond the edge.

Shapes: N batch, C picture channels, c map channels, H, W size in pixels, h, w a map's size, D length of w, L number of
layers that take a w.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gantoolkit.errors import UsageError

from .base import Critic, Generator, Noise, at_least, doublings, needed, wide

SLOPE = 0.2
GAIN = 2**0.5
GROUP = 4  # rows that minibatch deviation looks at together
NOISES = ("fixed", "random", "none")


class Dense(nn.Module):
    """x W^T / sqrt(fan_in) + b, with rate multiplier `rate`: (N, before) -> (N, after)."""

    def __init__(self, before: int, after: int, start: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before) / rate)
        self.bias = nn.Parameter(torch.full((after,), start / rate))
        self.scale, self.rate = rate * before**-0.5, rate

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        return F.linear(x, self.weight * (self.scale * gain), self.bias * (self.rate * gain))


class Conv(nn.Module):
    """A convolution, its result times `gain`: (N, before, h, w) -> (N, after, ...)."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(after, before, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(after)) if bias else None
        self.scale, self.stride, self.padding = (before * kernel**2) ** -0.5, stride, padding

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        bias = None if self.bias is None else self.bias * gain
        return F.conv2d(x, self.weight * (self.scale * gain), bias, self.stride, self.padding)


class Filter(nn.Module):
    """[1, 3, 3, 1] / 8 along both axes, as products with banded matrices: (N, c, h, w) -> (N, c, h', w').

    A depthwise convolution would do, but its second derivative, which R1 needs, is several times slower on a CPU.

    Args:
        size: (h, w) of the input.
        out: (h', w') of the output.
        start: place of the first tap for the first output pixel; before 0 there are zeros.
        stride: input pixels from one output pixel to the next.
        gain: of each axis; 2 after zeros were put between the pixels.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, size: tuple[int, int], out: tuple[int, int], start: int, stride: int = 1, gain: float = 1.0):
        super().__init__()
        for name, before, after in zip(("rows", "columns"), size, out, strict=True):
            place = stride * torch.arange(after)[:, None] + start + torch.arange(4)  # h',4
            taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) * (gain / 8) * ((place >= 0) & (place < before))
            matrix = torch.zeros(after, before).scatter_add_(1, place.clamp(0, before - 1), taps)
            self.register_buffer(name, matrix, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        # Channels last throughout: then both products read memory in order, and no copy is made.
        n, c, h, w = x.shape
        x = self.rows.to(x.dtype) @ x.permute(0, 2, 3, 1).reshape(n, h, w * c)
        return (self.columns.to(x.dtype) @ x.unflatten(2, (w, c))).permute(0, 3, 1, 2)


class ModulatedConv(nn.Module):
    """Convolution with weights that a style scales, and demodulation (Karras et al. 2020, eq. 1 and 3).

    w'_oik = s_i w_oik;  w''_oik = w'_oik / sqrt(sum_ik w'_oik² + eps). Scaling the input by s and the output by the
    root gives the same result as one set of weights a sample, for the price of one ordinary convolution.

    (N, before, h, w), w (N, D) -> (N, after, h, w), or (N, after, 2h + 1, 2w + 1) for `up`, which puts zeros
    between the pixels.
    """

    def __init__(self, before: int, after: int, kernel: int, style: int, up: bool = False, demodulate: bool = True):
        super().__init__()
        self.style = Dense(style, before, start=1.0)
        self.weight = nn.Parameter(torch.randn(after, before, kernel, kernel))
        self.scale, self.up, self.demodulate = (before * kernel**2) ** -0.5, up, demodulate

    def forward(self, x: Tensor, w: Tensor, gain: float = 1.0) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # few numbers that scale whole maps: exact
            style = self.style(wide(w))
            weight = self.weight * self.scale
            if self.demodulate:
                square = style.square() @ weight.square().sum((2, 3)).T  # N,after
                factor = gain * (square + 1e-8).rsqrt()
        x = x * style.to(x.dtype)[:, :, None, None]
        if self.up:
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
        else:
            x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        return x * factor.to(x.dtype)[:, :, None, None] if self.demodulate else x


class StyledLayer(nn.Module):
    """Modulated convolution, filter when enlarging, noise of learnt strength, bias, leaky ReLU (figure 2d)."""

    noise: Tensor

    def __init__(self, before: int, after: int, style: int, size: tuple[int, int], up: bool) -> None:
        super().__init__()
        self.conv = ModulatedConv(before, after, 3, style, up)
        odd = (size[0] + 1, size[1] + 1)
        self.filter = Filter(odd, size, start=-1, gain=2.0) if up else nn.Identity()
        self.register_buffer("noise", torch.randn(size))
        self.strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(after))

    def forward(self, x: Tensor, w: Tensor, noise: str | Tensor) -> Tensor:
        x = self.filter(self.conv(x, w, GAIN))
        if isinstance(noise, Tensor) or noise != "none":
            values = noise if isinstance(noise, Tensor) else self.noise
            if isinstance(noise, str) and noise == "random":
                values = torch.randn(x.shape[0], 1, *self.noise.shape, dtype=values.dtype, device=values.device)
            x = x + (values * (self.strength * GAIN)).to(x.dtype)
        return F.leaky_relu(x + (self.bias * GAIN).to(x.dtype)[:, None, None], SLOPE)


class StyleGenerator(Generator):
    """z -> w -> a constant map, styled layers, and a sum of pictures of every size (figure 7b): (N, C, H, W).

    Unbounded, standard deviation .7 to 2.5 at the start. In training, noise is random; in eval mode it is one fixed map
    a layer, the same for every sample, so that a latent has one picture.

    Args:
        size: (H, W), see `doublings`.
        channels: picture channels C.
        latent: length of z, and of w.
        classes: number of classes, 0 for none; the class's embedding is joined to the normalised z.
        width: channels of the largest map; each smaller map has twice as many, up to `widest` times.
        widest: at least 1.
        mapping_layers: depth of the mapping network; 8 in the paper, 2 suffices for small pictures (Karras et al.
            2020, arXiv:2006.06676, table of configurations).
    """

    def __init__(
        self,
        size: Sequence[int],
        channels: int = 3,
        latent: int = 128,
        classes: int = 0,
        width: int = 32,
        widest: int = 8,
        mapping_layers: int = 4,
    ) -> None:
        super().__init__(latent, classes)
        at_least(1, channels=channels, width=width, widest=widest, mapping_layers=mapping_layers)
        (h, w), count = doublings(size)
        widths = [width * min(2**i, widest) for i in range(count, -1, -1)]
        inputs = [self.inputs] + [latent] * (mapping_layers - 1)
        self.dense = nn.ModuleList(Dense(i, latent, rate=0.01) for i in inputs)
        self.constant = nn.Parameter(torch.randn(widths[0], h, w))
        self.styled = nn.ModuleList([StyledLayer(widths[0], widths[0], latent, (h, w), up=False)])
        for i, (before, after) in enumerate(itertools.pairwise(widths), 1):
            now = (h * 2**i, w * 2**i)
            self.styled.append(StyledLayer(before, after, latent, now, up=True))
            self.styled.append(StyledLayer(after, after, latent, now, up=False))
        self.noise_shapes = [(1, *layer.noise.shape) for layer in self.styled]  # type: ignore[misc]
        self.pictures = nn.ModuleList(ModulatedConv(c, channels, 1, latent, demodulate=False) for c in widths)
        self.bias = nn.Parameter(torch.zeros(channels))

    def mapping(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(N, latent), (N,) -> w of every layer, (N, L, D): L copies of one. L is two for each size of map."""
        w = self.with_class(z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt(), label)
        for dense in self.dense:
            w = F.leaky_relu(dense(w, GAIN), SLOPE)
        return wide(w)[:, None].expand(-1, len(self.styled) + 1, -1)

    def synthesis(self, w: Tensor, noise: Noise = "fixed") -> Tensor:
        """w (N, L, D) -> pictures (N, C, H, W).

        Args:
            noise: "fixed" (the same every time), "random" (torch's global generator), "none", or a map (N, 1, h, w) for
                each styled layer.

        Raises:
            UsageError: another name of noise.
        """
        if isinstance(noise, str) and noise not in NOISES:
            raise UsageError("style: noise", expected=" or ".join(NOISES), actual=repr(noise))
        maps = [noise] * len(self.styled) if isinstance(noise, str) else noise
        x = self.styled[0](self.constant.expand(w.shape[0], -1, -1, -1), w[:, 0], maps[0])
        picture = wide(self.pictures[0](x, w[:, 1]))
        for i, to_picture in enumerate(self.pictures[1:], 1):
            x = self.styled[2 * i - 1](x, w[:, 2 * i - 1], maps[2 * i - 1])
            x = self.styled[2 * i](x, w[:, 2 * i], maps[2 * i])
            grown = F.interpolate(picture, scale_factor=2, mode="bilinear", align_corners=False)
            picture = grown + to_picture(x, w[:, 2 * i + 1])
        return wide(picture + self.bias[:, None, None])


class StyleBlock(nn.Module):
    """Residual halving of the critic (figure 7c): (N, before, h, w) -> (N, after, h/2, w/2)."""

    def __init__(self, before: int, after: int, size: tuple[int, int]) -> None:
        super().__init__()
        h, w = size
        self.conv = Conv(before, before, 3, padding=1)
        self.blur = Filter(size, (h + 1, w + 1), start=-2)
        self.down = Conv(before, after, 3, stride=2)
        self.halve = Filter(size, (h // 2, w // 2), start=-1, stride=2)
        self.skip = Conv(before, after, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.conv(x, GAIN), SLOPE)
        # The sum is divided by sqrt(2) to keep its variance; in the branch that cancels the gain.
        y = F.leaky_relu(self.down(self.blur(y)), SLOPE)
        return y + self.skip(self.halve(x), GAIN**-1)


def minibatch_deviation(x: Tensor) -> Tensor:
    """One more map that holds how much a group of rows differs (Karras et al. 2017, section 3).

    (N, c, h, w) -> (N, c + 1, h, w). Groups have 4 rows, or 3, 2 or 1 where these divide N and 4 does not; a group of
    one differs by 0.
    """
    n, _, h, w = x.shape
    group = next(g for g in range(GROUP, 0, -1) if n % g == 0)
    rows = wide(x).unflatten(0, (group, n // group))
    deviation = (rows.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))  # one number a group
    return torch.cat([x, deviation.to(x.dtype).repeat(group)[:, None, None, None].expand(-1, 1, h, w)], 1)


class StyleCritic(Critic):
    """(N, C, H, W) -> residual halvings -> minibatch deviation -> 3x3 convolution -> dense -> logits (N,).

    Arguments as in `StyleGenerator`; classes enter by projection. Rows are coupled in eval mode too.
    """

    couples_batch = True

    def __init__(
        self, size: Sequence[int], channels: int = 3, classes: int = 0, width: int = 32, widest: int = 8
    ) -> None:
        super().__init__(classes)
        at_least(1, channels=channels, width=width, widest=widest)
        (h, w), count = doublings(size)
        widths = [width * min(2**i, widest) for i in range(count + 1)]
        last = widths[-1]
        self.pixels = Conv(channels, width, 1)
        self.blocks = nn.Sequential(
            *(
                StyleBlock(before, after, (h * 2 ** (count - i), w * 2 ** (count - i)))
                for i, (before, after) in enumerate(itertools.pairwise(widths))
            )
        )
        self.conv = Conv(last + 1, last, 3, padding=1)
        self.dense = Dense(last * h * w, last)
        self.score = Dense(last, 1)
        self.embedding = nn.Embedding(classes, last) if classes else None

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        x = self.blocks(F.leaky_relu(self.pixels(x, GAIN), SLOPE))
        x = F.leaky_relu(self.conv(minibatch_deviation(x), GAIN), SLOPE)
        features = F.leaky_relu(self.dense(x.flatten(1), GAIN), SLOPE)
        logits = wide(self.score(features)).squeeze(1)
        if self.embedding is not None:
            projected = (self.embedding(needed(label, self.classes)) * features).sum(1)
            logits = logits + projected * features.shape[1] ** -0.5
        return wide(logits)
