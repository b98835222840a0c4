"""Style transfer by a reference picture: no critic, but statistics of frozen features.

Huang & Belongie 2017, "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization" (arXiv:1703.06868),
equations 11 to 13: L = L_c + λ L_s, with φ_i the maps of a frozen network,

    L_s = Σ_i ‖μ(φ_i(output)) − μ(φ_i(style))‖² + ‖σ(φ_i(output)) − σ(φ_i(style))‖²
    L_c = ‖φ(output) − AdaIN(φ(content), φ(style))‖²

and a third term: with its own picture as the style, the content comes back as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gantk_translate import networks
from gantk_translate.games.common import fits_generator, generating
from gantk_translate.networks.adain import adain, statistics
from gantk_translate.options import TranslateConfig
from gantk_translate.sides import Side
from gantoolkit import features
from gantoolkit.errors import InputError, UsageError
from gantoolkit.game import Context, Game, Phase, Term

CONTENT = 4  # the map that says what is where: stride 8
# Variance over the places of a photograph, the mean over channels: of the picture in [0, 1] and of five frozen maps.
# Distances in these units weigh every map alike, and a style without any variance still has a finite one.
VARIANCES = (0.03, 0.9, 28.0, 53.0, 42.0, 28.0)
SHIFT = 8  # pixels, at most, less one


def make(config: TranslateConfig, source: Side, target: Side) -> Game:
    """The game on contents "a" and styles "b", which need not belong together.

    Raises:
        InputError: sides whose pictures the frozen features cannot look at.
        UsageError: a generator without a style, or a critic, which this game has none of.
    """
    for side in (source, target):
        if side.kind == "mask" or side.planes not in (1, 3) or side.planes != source.planes:
            raise InputError(
                "the game style compares pictures",
                expected="both sides grey, or both in colour",
                actual=f"{source.planes} ({source.kind}) and {target.planes} ({target.kind}) channels",
            )
    for what, value, needed in [("generator", config.generator, "adain"), ("critic", config.critic, "none")]:
        if value != needed:
            raise UsageError(f"the game style has its own {what}", expected=f"--{what} {needed}", actual=value)
    generator = networks.build_generator(networks.generator_config(config, source.planes, target.planes))
    fits_generator(config, generator)
    terms = _Terms()
    wanted = [
        Term("content", terms.content, fp32=True),
        Term("style", terms.style, config.style_weight, fp32=True),
        Term("identity", identity, config.identity_weight),
    ]
    phase = Phase("generator", "generator", [term for term in wanted if term.weight])
    return Game([generating(config, {"generator": generator})], [phase])


def outputs(ctx: Context) -> tuple[Tensor, Tensor]:
    """The contents in the batch's styles and in their own, twice (N, C, H, W) fp32.

    A map with its own statistics is itself: the second needs no encoder, and both share one pass of the decoder.
    """

    def make() -> tuple[Tensor, Tensor]:
        generator: Any = ctx.networks["generator"]
        own = generator.encode(ctx["a"])
        styled = [adain(c, s) for c, s in zip(own, generator.encode(ctx["b"]), strict=True)]
        both = generator.decode([torch.cat(maps) for maps in zip(styled, own, strict=True)]).float()
        return both[: ctx.size], both[ctx.size :]

    return ctx.memo("outputs", make)


def identity(ctx: Context) -> Tensor:
    """Mean absolute difference of the content and what its own style makes of it, in units of [0, 1]."""
    return F.l1_loss(outputs(ctx)[1], ctx["a"]) / 2


class _Terms:
    """The terms over frozen features."""

    def __init__(self) -> None:
        self.extractor = features.efficientnet_lite0()

    def _maps(self, ctx: Context) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """The picture and its frozen maps: of output, content and style."""

        def look() -> tuple[list[Tensor], ...]:
            offsets = ctx.randint(SHIFT, 2).tolist()
            seen = [_seen(_windows(x, offsets)) for x in (outputs(ctx)[0], ctx["a"], ctx["b"])]
            return tuple([x, *self.extractor.stages(x)] for x in seen)

        return ctx.memo("maps", look)

    def content(self, ctx: Context) -> Tensor:
        """Equation 12, in units of the variance of photographs."""
        output, content, style = (maps[CONTENT] for maps in self._maps(ctx))
        return F.mse_loss(output, adain(content, style)) / VARIANCES[CONTENT]

    def style(self, ctx: Context) -> Tensor:
        """Equation 13, the mean over maps, in the same units; the first map is the picture itself."""
        output, _, style = self._maps(ctx)
        apart = [style_distance(made, wanted) for made, wanted in zip(output, style, strict=True)]
        return torch.stack([value / unit for value, unit in zip(apart, VARIANCES, strict=True)]).mean()


def style_distance(made: Tensor, wanted: Tensor) -> Tensor:
    """E [(μ − μ')² + (σ − σ')²] over channels and samples of maps (N, C, h, w) and (N, C, h', w'): a scalar."""
    (mean, deviation), (mean_wanted, deviation_wanted) = statistics(made), statistics(wanted)
    return F.mse_loss(mean, mean_wanted) + F.mse_loss(deviation, deviation_wanted)


def _windows(x: Tensor, offsets: Sequence[Sequence[int]]) -> Tensor:
    """Each picture of (N, C, H, W) from its own offset (top, left) on, SHIFT - 1 pixels smaller.

    Random against the extractor's grid of strides: a fixed place would be answered with a checkerboard.
    """
    height, width = (side - SHIFT + 1 for side in x.shape[2:])
    places = zip(x, offsets, strict=True)
    return torch.stack([picture[:, top : top + height, left : left + width] for picture, (top, left) in places])


def _seen(x: Tensor) -> Tensor:
    """(N, 1 or 3, H, W) in [-1, 1] -> (N, 3, H, W) in [0, 1], as the extractor wants it."""
    x = (x + 1) / 2
    return x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
