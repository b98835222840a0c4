"""pix2pix with today's means: a relativistic critic of two scales, bounded by R1 and R2, beside three fidelity terms.

The game of pairs is pix2pix's (Isola et al. 2017, arXiv:1611.07004): the critic judges (source, picture). Critics of
several scales and feature matching are pix2pixHD's (Wang et al. 2018, arXiv:1711.11585, equations 3 to 5). The loss
pairs real and fake, with R1 and R2, as in R3GAN (Huang et al. 2024, arXiv:2501.05441, equations 2 to 5). The perceptual
term compares frozen features (Johnson et al. 2016, arXiv:1603.08155, section 3.2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gantk_translate import networks
from gantk_translate.games.common import critic_loss, fits, generating, generator_loss, judging
from gantk_translate.networks.critics import joined
from gantk_translate.options import TranslateConfig
from gantk_translate.sides import Side
from gantoolkit import features, losses
from gantoolkit.errors import UsageError
from gantoolkit.game import Context, Game, Phase, Term

SHIFT = 8  # pixels, at most, less one


def make(config: TranslateConfig, source: Side, target: Side) -> Game:
    """The game on pairs: batches have "a" and "b" of one size.

    Raises:
        UsageError: networks that do not suit the game or the size, a critic without feature maps.
    """
    if config.critic != "multiscale":
        raise UsageError("the game pix2pix-modern matches features", expected="critic multiscale", actual=config.critic)
    generator = networks.build_generator(networks.generator_config(config, source.planes, target.planes))
    critic = networks.build_critic(config, source.planes + target.planes)
    fits(config, generator, critic)
    terms = _Terms(config, target)
    return Game(
        [judging(config, {"critic": critic}), generating(config, {"generator": generator})],
        [Phase("critic", "critic", terms.critic()), Phase("generator", "generator", terms.generator())],
    )


def translated(ctx: Context) -> Tensor:
    """The generator's output for the batch, made once for both players; (N, Cb, H, W) fp32."""
    return ctx.share("translated", lambda: ctx.networks["generator"](ctx["a"]).float(), owner="generator")


class _Terms:
    """The terms over one configuration."""

    def __init__(self, config: TranslateConfig, target: Side) -> None:
        self.config, self.loss = config, losses.adversarial(config.loss)
        self.gamma = losses.gamma_rule(config.size**2, config.batch) if config.gamma is None else config.gamma
        self.extractor = features.efficientnet_lite0()
        shown = target.kind != "mask" and target.planes in (1, 3) and config.size >= self.extractor.min_size
        self.perceived = config.perceptual_weight > 0 and shown

    def critic(self) -> list[Term]:
        every = self.config.penalty_every
        terms = [Term("adversarial", self._judged, couples_batch=self.loss.couples_batch)]
        if self.gamma:
            terms += [Term("r1", self._r1, every=every, fp32=True), Term("r2", self._r2, every=every, fp32=True)]
        return terms

    def generator(self) -> list[Term]:
        config = self.config
        terms = [
            Term("adversarial", self._answered, config.adversarial_weight, couples_batch=self.loss.couples_batch),
            Term("pixel", self._pixel, config.pixel_weight),
            Term("matching", self._matching, config.matching_weight),
        ]
        if self.perceived:
            terms.append(Term("perceptual", self._perceptual, config.perceptual_weight, fp32=True))
        return [term for term in terms if term.weight]

    def _judged(self, ctx: Context) -> Tensor:
        real, fake = joined(ctx["a"], ctx["b"]), joined(ctx["a"], translated(ctx))
        both = ctx.networks["critic"](torch.cat([real, fake]))  # no statistics of the batch: one pass for both
        return critic_loss(self.loss, *zip(*(logits.chunk(2) for logits in both), strict=True))

    def _maps(self, ctx: Context) -> tuple[list[list[Tensor]], list[list[Tensor]]]:
        """The critic's maps of the real pair, without a graph, and of the translated one."""

        def look() -> tuple[list[list[Tensor]], list[list[Tensor]]]:
            critic: Any = ctx.networks["critic"]
            with torch.no_grad():
                real = critic.features(joined(ctx["a"], ctx["b"]))
            return real, critic.features(joined(ctx["a"], translated(ctx)))

        return ctx.memo("maps", look)

    def _answered(self, ctx: Context) -> Tensor:
        real, fake = self._maps(ctx)
        return generator_loss(self.loss, [maps[-1] for maps in real], [maps[-1] for maps in fake])

    def _matching(self, ctx: Context) -> Tensor:
        """Mean absolute difference of feature maps, over layers and scales: pix2pixHD, equation 4, per element."""
        pairs = [
            (r, f) for real, fake in zip(*self._maps(ctx), strict=True) for r, f in zip(real[:-1], fake, strict=False)
        ]
        return torch.stack([F.l1_loss(f.float(), r.float()) for r, f in pairs]).mean()

    def _pixel(self, ctx: Context) -> Tensor:
        """Mean absolute difference to the truth, in units of [0, 1]."""
        return F.l1_loss(translated(ctx), ctx["b"]) / 2

    def _perceptual(self, ctx: Context) -> Tensor:
        # a random offset against the extractor's grid of strides: a fixed one is answered with a checkerboard
        room = min(SHIFT, self.config.size - self.extractor.min_size + 1)
        top, left = ctx.chosen(room, 2)
        output, truth = (_seen(x[:, :, top:, left:]) for x in (translated(ctx), ctx["b"]))
        return features.perceptual_distance(output, truth, self.extractor).mean()

    def _r1(self, ctx: Context) -> Tensor:
        return losses.r1(_mean_score(ctx), ctx["b"], self.gamma)

    def _r2(self, ctx: Context) -> Tensor:
        return losses.r2(_mean_score(ctx), translated(ctx), self.gamma)


def _mean_score(ctx: Context) -> Callable[[Tensor], Tensor]:
    """The critic of a target picture, its source fixed: one score a picture, so that γ does not depend on the size."""
    critic, source = ctx.networks["critic"], ctx["a"]
    return lambda x: torch.stack([m.mean(dim=(1, 2, 3)) for m in critic(joined(source, x))]).mean(0)


def _seen(x: Tensor) -> Tensor:
    """(N, 1 or 3, H, W) in [-1, 1] -> (N, 3, H, W) in [0, 1], as the extractor wants it."""
    x = (x.clamp(-1, 1) + 1) / 2
    return x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
