"""Convolutions with fewer multiplications on CPUs: small tiles of the output at once (Winograd's algorithms).

In one dimension, m outputs of a filter with r taps need only a = m + r - 1 products, Aᵀ[(G g) ⊙ (Bᵀ d)], against m·r;
in two dimensions a² against m²·r². Products of tiles and filters become a² matrix products over the channels.
Lavin and Gray 2016 (arXiv:1509.09308), section 4.1, eq. 8, for convolutions and both of their gradients; the matrices
by Toom and Cook's construction, Barabasz et al. 2020 (arXiv:1803.10986), section 2. The results are those of a direct
convolution up to rounding.

Shapes: N batch, C channels in, K channels out, y tiles high, x tiles wide, T = N·y·x tiles. Maps are (N, H, W, C) here.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5)  # where polynomials are taken, and infinity; small ones round least


class Forms(NamedTuple):
    """Aᵀ (m, a), G (a, r) and Bᵀ (a, a)."""

    outputs: Tensor
    filters: Tensor
    inputs: Tensor


@cache
def forms(m: int, r: int, dtype: torch.dtype) -> Forms:
    """The matrices of F(m, r): m outputs at once of a filter with r taps; m + r at most 8."""
    a = m + r - 1
    points = np.array(POINTS[: a - 1])
    outputs, filters, inputs = np.zeros((m, a)), np.zeros((a, r)), np.zeros((a, a))
    for k, point in enumerate(points):
        others = np.delete(points, k)
        outputs[:, k] = point ** np.arange(m)
        filters[k] = point ** np.arange(r) / np.prod(point - others)
        inputs[k, :-1] = np.poly(others)[::-1]
    outputs[-1, -1] = filters[-1, -1] = 1  # the point at infinity
    inputs[-1] = np.poly(points)[::-1]
    return Forms(*(torch.from_numpy(matrix).to(dtype) for matrix in (outputs, filters, inputs)))


def conv2d(x: Tensor, weight: Tensor, padding: int, m: int) -> Tensor:
    """`F.conv2d(x, weight, padding=padding)` by tiles of m × m outputs; weight (K, C, r, r), padding of zeros."""
    return _Tiled.apply(x, weight, padding, m)


class _Tiled(torch.autograd.Function):
    """The transformed tiles are made anew in the backward pass: they are larger than the map, and soon made."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, padding: int, m: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.m = padding, m
        grid = _Grid.of(x, weight, padding, m)
        made = _outputs(torch.bmm(grid.inputs(x), _filters(weight, grid.forms).transpose(1, 2)), grid)
        return made[:, : grid.h, : grid.w].permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        needed = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # a gradient of the gradient: through operations that have one
            pads = [ctx.padding] * 2
            made = torch.ops.aten.convolution_backward(
                g, x, weight, None, [1, 1], pads, [1, 1], False, [0, 0], 1, [*needed, False]
            )
            return *made[:2], None, None
        grid = _Grid.of(x, weight, ctx.padding, ctx.m)
        products = _outputs_adjoint(g, grid)
        of_x = of_weight = None
        if needed[0]:
            of_x = grid.inputs_adjoint(torch.bmm(products, _filters(weight, grid.forms)))
        if needed[1]:
            of_weight = _filters_adjoint(torch.bmm(products.transpose(1, 2), grid.inputs(x)), grid.forms)
        return of_x, of_weight, None, None


class _Grid(NamedTuple):
    """How a map (n, c, height, width) is cut: h × w outputs in y × x tiles."""

    forms: Forms
    padding: int
    m: int
    n: int
    height: int
    width: int
    h: int
    w: int
    y: int
    x: int

    @classmethod
    def of(cls, x: Tensor, weight: Tensor, padding: int, m: int) -> _Grid:
        r = weight.shape[-1]
        (n, _, height, width), less = x.shape, r - 1 - 2 * padding
        h, w = height - less, width - less
        return cls(forms(m, r, x.dtype), padding, m, n, height, width, h, w, -(-h // m), -(-w // m))

    def inputs(self, x: Tensor) -> Tensor:
        """Bᵀ d B of each tile d: (N, C, height, width) -> (a², T, C). Neighbours overlap by a - m."""
        matrix, m = self.forms.inputs, self.m
        a, p = len(matrix), self.padding
        wide, high = self.x * m + a - m, self.y * m + a - m
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, p, wide - self.width - p, p, high - self.height - p)).contiguous()
        line = wide * padded.shape[3]  # elements of a row of the map
        rows = x.new_empty(self.n, self.y, a, line)
        for one, made in zip(padded, rows, strict=True):
            tiles = one.as_strided((self.y, a, line), (m * line, line, 1), one.storage_offset())
            torch.bmm(matrix.expand(self.y, a, a), tiles, out=made)
        c = padded.shape[3]
        steps = (c, line, self.y * a * line, a * line, m * c, 1)
        tiles = rows.as_strided((a, a, self.n, self.y, self.x, c), steps).contiguous()
        return torch.mm(matrix, tiles.view(a, -1)).view(a * a, -1, c)

    def inputs_adjoint(self, made: Tensor) -> Tensor:
        """The adjoint of `inputs`: (a², T, C) -> (N, C, height, width)."""
        matrix, m, p = self.forms.inputs.t(), self.m, self.padding
        a, c = len(matrix), made.shape[2]
        both = a - m  # what a tile shares with the next one
        wide = self.x * m + both
        tiles = torch.mm(matrix, made.view(a, -1)).view(a, a, self.n, self.y, self.x, c).permute(2, 3, 1, 4, 0, 5)
        rows = made.new_empty(self.n, self.y, a, wide, c)
        rows[:, :, :, -both:] = 0
        rows[:, :, :, :-both].view(self.n, self.y, a, self.x, m, c).copy_(tiles[..., :m, :])
        shape, line = (self.n, self.y, a, self.x, both, c), wide * c
        rows.as_strided(shape, (self.y * a * line, a * line, line, m * c, c, 1), m * c).add_(tiles[..., m:, :])
        lines = torch.bmm(matrix.expand(self.n * self.y, a, a), rows.view(-1, a, line)).view(self.n, self.y, a, line)
        whole = made.new_empty(self.n, self.y * m + both, line)
        whole[:, -both:] = 0
        whole[:, :-both].view(self.n, self.y, m, line).copy_(lines[:, :, :m])
        steps = (whole.stride(0), m * line, line, 1)
        whole.as_strided((self.n, self.y, both, line), steps, m * line).add_(lines[:, :, m:])
        whole = whole.view(self.n, -1, wide, c)[:, p : p + self.height, p : p + self.width]
        return whole.permute(0, 3, 1, 2)


def _outputs(products: Tensor, grid: _Grid) -> Tensor:
    """Aᵀ M A of each tile's products M: (a², T, K) -> (N, y·m, x·m, K)."""
    matrix, m, k = grid.forms.outputs, grid.m, products.shape[2]
    a = matrix.shape[1]
    made = torch.mm(matrix, products.view(a, -1)).view(m, a, -1)
    made = torch.bmm(matrix.expand(m, m, a), made).view(m, m, grid.n, grid.y, grid.x, k)
    return made.permute(2, 3, 1, 4, 0, 5).reshape(grid.n, grid.y * m, grid.x * m, k)


def _outputs_adjoint(g: Tensor, grid: _Grid) -> Tensor:
    """The adjoint of `_outputs`, for a gradient that may end within a tile: (N, K, h, w) -> (a², T, K)."""
    matrix, m, k = grid.forms.outputs.t(), grid.m, g.shape[1]
    a = len(matrix)
    g = F.pad(g.permute(0, 2, 3, 1), (0, 0, 0, grid.x * m - grid.w, 0, grid.y * m - grid.h))
    parts = g.reshape(grid.n, grid.y, m, grid.x, m, k).permute(4, 2, 0, 1, 3, 5).contiguous()
    parts = torch.bmm(matrix.expand(m, a, m), parts.view(m, m, -1))
    return torch.mm(matrix, parts.view(m, -1)).view(a * a, -1, k)


def _filters(weight: Tensor, known: Forms) -> Tensor:
    """G g Gᵀ of each filter g: (K, C, r, r) -> (a², K, C)."""
    matrix = known.filters
    a, r = matrix.shape
    taps = weight.permute(3, 2, 0, 1).contiguous().view(r, r, -1)
    taps = torch.bmm(matrix.expand(r, a, r), taps)
    return torch.mm(matrix, taps.view(r, -1)).view(a * a, *weight.shape[:2])


def _filters_adjoint(made: Tensor, known: Forms) -> Tensor:
    """The adjoint of `_filters`: (a², K, C) -> (K, C, r, r)."""
    matrix = known.filters.t()
    r, a = matrix.shape
    taps = torch.mm(matrix, made.view(a, -1)).view(r, a, -1)
    taps = torch.bmm(matrix.expand(r, r, a), taps).view(r, r, *made.shape[1:])
    return taps.permute(2, 3, 1, 0)
