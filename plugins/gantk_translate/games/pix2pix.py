"""pix2pix: from pairs, a picture that a conditional critic takes for the partner and that is near it.

Isola et al. 2017 (arXiv:1611.07004), eq. 4: the adversarial loss of a critic that sees the input beside the output
(eq. 1), plus λ times the mean absolute difference (eq. 3). Section 3.3: moves of both players in turn, the critic's
loss halved, and the generator's not saturating.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from gantk_translate import networks
from gantk_translate.games import common
from gantk_translate.networks.critics import joined
from gantk_translate.options import TranslateConfig
from gantk_translate.sides import Side
from gantoolkit import losses
from gantoolkit.game import Context, Game, Phase, Term


def make(config: TranslateConfig, source: Side, target: Side) -> Game:
    """The critic moves first, as in the paper; it judges the output that the generator then learns from.

    Raises:
        UsageError: a size that the networks cannot take; no such loss.
    """
    loss = losses.adversarial(config.loss)
    generator = networks.build_generator(networks.generator_config(config, source.planes, target.planes))
    critic = networks.build_critic(config, source.planes + target.planes)
    common.fits(config, generator, critic)
    ours, theirs = common.halves(config)

    def judged(ctx: Context) -> Tensor:
        real, made = joined(ctx["a"], ctx["b"]), joined(ctx["a"], fake(ctx))
        return common.critic_loss(loss, *common.scores(ctx.networks["critic"], real, made))

    def answered(ctx: Context) -> Tensor:
        real = common.real_scores(ctx, loss, "critic", joined(ctx["a"], ctx["b"]))
        return common.generator_loss(loss, real, ctx.networks["critic"](joined(ctx["a"], fake(ctx))))

    answers = [Term("adversarial", answered, ours, couples_batch=loss.couples_batch)]
    if config.pixel_weight:
        answers.append(Term("pixel", pixel, config.pixel_weight))
    judges = [Term("adversarial", judged, theirs, couples_batch=loss.couples_batch)]
    return Game(
        [common.judging(config, {"critic": critic}), common.generating(config, {"generator": generator})],
        [Phase("critic", "critic", judges), Phase("generator", "generator", answers)],
    )


def fake(ctx: Context) -> Tensor:
    """The generator's output for the batch, made once for both players; (N, Cb, H, W) fp32."""
    return ctx.share("fake", lambda: ctx.networks["generator"](ctx["a"]).float(), owner="generator")


def pixel(ctx: Context) -> Tensor:
    """E |b - G(a)|, eq. 3."""
    return F.l1_loss(fake(ctx), ctx["b"])
