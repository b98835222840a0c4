"""Convolutions that a CPU does faster than the plain ones: the same parameters, results equal up to rounding.

Where a convolution has no faster way (on other devices, in mixed precision, in exports), it is the plain one. Measured
with oneDNN 3.12 on one AVX-512 core; see `benchmarks/translate_training.py`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gantk_translate.networks import tiles

OUTPUTS = {3: 4, 4: 4}  # of a tile, a side, by the filter's side
NARROW = 4  # planes: fewer waste most of what oneDNN computes at once
TILED = 64  # channels on both sides from which tiles pay
FEW = 64  # positions up to which one matrix product beats oneDNN, which reorders all weights first
SOME = 256  # and for the gradient of the weights


class Conv2d(nn.Conv2d):
    """`nn.Conv2d`, by the fastest way that is known for its shape."""

    def forward(self, x: Tensor) -> Tensor:
        side, stride, groups, dilation = self.kernel_size[0], self.stride, self.groups, self.dilation
        simple = groups == 1 and dilation == (1, 1) and self.kernel_size == (side, side) and len(set(stride)) == 1
        if not simple or not isinstance(self.padding, tuple) or len(set(self.padding)) > 1 or not plain_cpu(x):
            return super().forward(x)
        tiled = side in OUTPUTS and min(self.in_channels, self.out_channels) >= TILED
        narrow = side > 4 and self.out_channels <= NARROW
        strided = stride == (2, 2) and self.padding_mode == "zeros"
        if strided:
            return biased(Strided.apply(x, self.weight, 2, self.padding[0]), self.bias)
        if stride != (1, 1) or not (tiled or narrow):
            return super().forward(x)
        padding = self.padding[0]
        if padding and self.padding_mode != "zeros":
            mirrored = self.padding_mode == "reflect"
            x = Reflected.apply(x, padding) if mirrored else F.pad(x, (padding,) * 4, self.padding_mode)
            padding = 0
        if tiled:
            return biased(tiles.conv2d(x, self.weight, padding, OUTPUTS[side]), self.bias)
        return biased(rowwise(F.pad(x, (padding,) * 4), self.weight), self.bias)


class ConvTranspose2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d`, as the adjoint of the convolution with stride 2 where it is that."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        simple = self.groups == 1 and self.dilation == (1, 1) and self.stride == (2, 2) and output_size is None
        if not simple or len({*self.kernel_size}) > 1 or len({*self.padding}) > 1 or not plain_cpu(x):
            return super().forward(x, output_size)
        assert isinstance(self.padding, tuple)
        less = self.kernel_size[0] - 2 * self.padding[0] - 2
        height, width = (2 * n + less + more for n, more in zip(x.shape[2:], self.output_padding, strict=True))
        return biased(Spread.apply(x, self.weight, 2, self.padding[0], height, width), self.bias)


def plain_cpu(x: Tensor) -> bool:
    """Whether x is computed with in full precision, here and now, by the CPU."""
    return on_cpu(x) and x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")


def on_cpu(x: Tensor) -> bool:
    """Whether x is a batch of maps that is computed with here and now, by the CPU."""
    if x.device.type != "cpu" or x.ndim != 4:
        return False
    return not (torch.compiler.is_compiling() or torch.jit.is_tracing())


def biased(x: Tensor, bias: Tensor | None) -> Tensor:
    return x if bias is None else x + bias.view(-1, 1, 1)


def rowwise(x: Tensor, weight: Tensor) -> Tensor:
    """`F.conv2d(x, weight)` for few planes that come out: each row of the filter is a convolution of its own.

    oneDNN computes 16 planes at least, so that 3 waste most of it; here the rows of a 7 x 7 filter fill 21. Then each
    output adds up its seven rows.
    """
    k, c, r, wide = weight.shape
    rows = F.conv2d(x, weight.permute(2, 0, 1, 3).reshape(r * k, c, 1, wide))
    return Diagonal.apply(rows, r)


class Diagonal(torch.autograd.Function):
    """(N, r·K, H, W) -> (N, K, H - r + 1, W): of the i-th K planes the rows from i on, added up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, r: int) -> Tensor:
        ctx.r, k, h = r, x.shape[1] // r, x.shape[2] - r + 1
        made = x[:, :k, :h].clone()
        for i in range(1, r):
            made += x[:, i * k : (i + 1) * k, i : i + h]
        return made

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return Spilt.apply(g, ctx.r), None


class Spilt(torch.autograd.Function):
    """The adjoint of `Diagonal`."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, r: int) -> Tensor:
        ctx.r, (n, k, h, w) = r, g.shape
        made = g.new_zeros(n, h + r - 1, w, r * k).permute(0, 3, 1, 2)
        for i in range(r):
            made[:, i * k : (i + 1) * k, i : i + h] = g
        return made

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> Any:
        return Diagonal.apply(x, ctx.r), None


class Reflected(torch.autograd.Function):
    """`F.pad(x, (p, p, p, p), "reflect")`, whose gradient only touches the border again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: int) -> Tensor:
        ctx.p = p
        return F.pad(x, (p, p, p, p), "reflect")

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return Folded.apply(g, ctx.p), None


class Folded(torch.autograd.Function):
    """The adjoint of `Reflected`: the border is added to what it mirrors."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, p: int) -> Tensor:
        ctx.p, g = p, g.clone(memory_format=torch.preserve_format)
        for x in (g, g.transpose(2, 3)):  # all rows with their corners first, then the columns
            x[:, :, p + 1 : 2 * p + 1] += x[:, :, :p].flip(2)
            x[:, :, -2 * p - 1 : -p - 1] += x[:, :, -p:].flip(2)
        return g[:, :, p:-p, p:-p]

    @staticmethod
    def backward(ctx: Any, x: Tensor) -> Any:
        return Reflected.apply(x, ctx.p), None


# ---- stride 2: x (N, C, H, W), weight (K, C, r, r), y (N, K, h, w) ----


class Strided(torch.autograd.Function):
    """`F.conv2d(x, weight, stride=s, padding=p)`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, s: int, p: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.s, ctx.p = s, p
        return down(x, weight, s, p)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        s, p, needed = ctx.s, ctx.p, ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # a gradient of the gradient
            return *_plain(g, x, weight, s, p, needed), None, None
        of_x = up(g, weight, s, p, *x.shape[2:]) if needed[0] else None
        of_weight = correlated(x, g, weight, s, p) if needed[1] else None
        return of_x, of_weight, None, None


class Spread(torch.autograd.Function):
    """The adjoint of `Strided` in x, which is `F.conv_transpose2d(y, weight, stride=s, padding=p)`, of a given size."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, weight: Tensor, s: int, p: int, height: int, width: int) -> Tensor:
        ctx.save_for_backward(y, weight)
        ctx.s, ctx.p = s, p
        return up(y, weight, s, p, height, width)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        y, weight = ctx.saved_tensors
        s, p = ctx.s, ctx.p
        of_y = of_weight = None
        if ctx.needs_input_grad[0]:  # differentiable, where a gradient of the gradient is wanted
            of_y = Strided.apply(g, weight, s, p)
        if ctx.needs_input_grad[1]:
            if torch.is_grad_enabled():
                of_weight = _plain(y, g, weight, s, p, (False, True))[1]
            else:
                of_weight = correlated(g, y, weight, s, p)
        return of_y, of_weight, None, None, None, None


def down(x: Tensor, weight: Tensor, s: int, p: int) -> Tensor:
    """y of x."""
    k, _, r, _ = weight.shape
    h, w = ((n + 2 * p - r) // s + 1 for n in x.shape[2:])
    if len(x) * h * w > FEW:
        return F.conv2d(x, weight, None, s, p)
    made = windows(x, r, s, p, h, w) @ _matrix(weight).t()
    return made.view(len(x), h, w, k).permute(0, 3, 1, 2)


def up(y: Tensor, weight: Tensor, s: int, p: int, height: int, width: int) -> Tensor:
    """The adjoint of `down` in x."""
    (n, k, h, w), (_, c, r, _) = y.shape, weight.shape
    if n * h * w > FEW and c > NARROW:
        x = y.new_empty(()).expand(n, c, height, width)  # only its shape is read
        return _plain(y, x, weight, s, p, (True, False))[0]
    parts = (y.permute(0, 2, 3, 1).reshape(-1, k) @ _matrix(weight)).view(n, h, w, r, r, c)
    made = y.new_zeros(n, height + 2 * p + s, width + 2 * p + s, c)
    for i in range(r):
        for j in range(r):
            made[:, i : i + s * h : s, j : j + s * w : s] += parts[:, :, :, i, j]
    return made[:, p : p + height, p : p + width].permute(0, 3, 1, 2)


def correlated(x: Tensor, g: Tensor, weight: Tensor, s: int, p: int) -> Tensor:
    """The adjoint of `down` in the weight, for the gradient g of y."""
    (n, k, h, w), (_, c, r, _) = g.shape, weight.shape
    if n * h * w > SOME and r != 3:
        return _plain(g, x, weight, s, p, (False, True))[1]
    made = g.permute(0, 2, 3, 1).reshape(-1, k).t() @ windows(x, r, s, p, h, w)
    return made.view(k, r, r, c).permute(0, 3, 1, 2)


def windows(x: Tensor, r: int, s: int, p: int, h: int, w: int) -> Tensor:
    """What each of h x w filters of side r sees: (N, C, H, W) -> (N·h·w, r·r·C)."""
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, p, p, p, p)).contiguous()
    n, high, wide, c = padded.shape
    line = wide * c
    return padded.as_strided((n, h, w, r, r, c), (high * line, s * line, s * c, line, c, 1)).reshape(n * h * w, -1)


def _matrix(weight: Tensor) -> Tensor:
    """(K, C, r, r) -> (K, r·r·C); no copy in channels_last."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def _plain(g: Tensor, x: Tensor, weight: Tensor, s: int, p: int, needed: tuple[bool, bool]) -> Any:
    """Torch's gradients of `F.conv2d(x, weight, stride=s, padding=p)`."""
    arguments = (None, [s, s], [p, p], [1, 1], False, [0, 0], 1, [*needed, False])
    return torch.ops.aten.convolution_backward(g, x, weight, *arguments)[:2]
