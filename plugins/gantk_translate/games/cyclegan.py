"""CycleGAN: without pairs, two generators that undo each other, each against a critic of its own side.

Zhu et al. 2017 (arXiv:1703.10593), eq. 3: the adversarial losses of both ways (eq. 1; least squares, section 4), λ
times the distance of there and back again (eq. 2), and, section 5.2, a share of λ times the distance of each generator
from leaving its own target side alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from gantk_translate import networks
from gantk_translate.games import common
from gantk_translate.options import TranslateConfig
from gantk_translate.pool import Pool
from gantk_translate.sides import Side
from gantoolkit import losses
from gantoolkit.errors import UsageError
from gantoolkit.game import Context, Game, Phase, Term


def make(config: TranslateConfig, source: Side, target: Side) -> Game:
    """The generators move first: what they made is then shown to the critics, through the pools.

    So each picture is made once a step, also with micro-batches (made for the critics first, it would be made anew for
    the generators: no graph waits for another micro-batch), and no generator's graph is in memory beside the critics'.

    Raises:
        UsageError: the identity term is asked for, but the sides have different planes; a size that the networks
            cannot take; no such loss.
    """
    if _identity_weight(config) and source.planes != target.planes:
        raise UsageError(
            "the identity term needs two sides with equally many planes",
            expected=source.planes,
            actual=target.planes,
            remedy="--identity-weight 0",
        )
    there = networks.build_generator(networks.generator_config(config, source.planes, target.planes))
    back = networks.build_generator(networks.generator_config(config, target.planes, source.planes))
    critics = {
        "critic": networks.build_critic(config, target.planes),
        "critic_back": networks.build_critic(config, source.planes),
    }
    common.fits(config, there, critics["critic"])
    ways = [
        _Way(config, "generator", "critic", "a", "b", _each_alone(there)),
        _Way(config, "back", "critic_back", "b", "a", _each_alone(back)),
    ]
    answers = [term for way, other in zip(ways, reversed(ways), strict=True) for term in way.answers(other.generator)]
    return Game(
        [common.generating(config, {"generator": there, "back": back}), common.judging(config, critics)],
        [Phase("generator", "generator", answers), Phase("critic", "critic", [way.judges() for way in ways])],
        state={f"pool_{way.target}": way.pool for way in ways},
    )


@dataclass
class _Way:
    """One direction: its networks by name, and the sides of the batch that it goes from and to.

    Attributes:
        in_one: both sides go through the generator as one batch.
    """

    config: TranslateConfig
    generator: str
    critic: str
    source: str
    target: str
    in_one: bool

    def __post_init__(self) -> None:
        self.loss, self.pool = losses.adversarial(self.config.loss), Pool(self.config.pool)
        self.suffix = "" if self.generator == "generator" else "_back"

    def answers(self, back: str) -> list[Term]:
        """What the generator minimises; `back` names the one that undoes it."""
        config = self.config

        def answered(ctx: Context) -> Tensor:
            """E (D(G(a)) - 1)², eq. 1 with least squares."""
            real = common.real_scores(ctx, self.loss, self.critic, ctx[self.target])
            return common.generator_loss(self.loss, real, ctx.networks[self.critic](self.made(ctx)["fake"]))

        def cycle(ctx: Context) -> Tensor:
            """E |F(G(a)) - a|, eq. 2."""
            return F.l1_loss(ctx.networks[back](self.made(ctx)["fake"]).float(), ctx[self.source])

        def identity(ctx: Context) -> Tensor:
            """E |G(b) - b|, section 5.2."""
            return F.l1_loss(self.made(ctx)["same"], ctx[self.target])

        ours, _ = common.halves(config)
        terms = [Term(f"adversarial{self.suffix}", answered, ours, couples_batch=self.loss.couples_batch)]
        if config.cycle_weight:
            terms.append(Term(f"cycle{self.suffix}", cycle, config.cycle_weight))
        if weight := _identity_weight(config):
            terms.append(Term(f"identity{self.suffix}", identity, weight))
        return terms

    def judges(self) -> Term:
        """What the critic minimises: real pictures against those of the pool."""

        def judged(ctx: Context) -> Tensor:
            shown = self.pool.swap(ctx, self.made(ctx)["fake"])
            return common.critic_loss(self.loss, *common.scores(ctx.networks[self.critic], ctx[self.target], shown))

        _, theirs = common.halves(self.config)
        return Term(f"adversarial{self.suffix}", judged, theirs, couples_batch=self.loss.couples_batch)

    def made(self, ctx: Context) -> Mapping[str, Tensor]:
        """What the generator makes of the source side ("fake") and of the target side ("same"), once a step; fp32."""

        def make() -> Mapping[str, Tensor]:
            network, sides = ctx.networks[self.generator], [ctx[self.source]]
            if _identity_weight(self.config):
                sides.append(ctx[self.target])
            if self.in_one:
                made = network(torch.cat(sides)).float().chunk(len(sides))
            else:
                made = [network(side).float() for side in sides]
            return dict(zip(("fake", "same"), made, strict=False))

        return ctx.share(self.generator, make, owner="generator")


def _identity_weight(config: TranslateConfig) -> float:
    """Of the identity term, which is a share of the cycle's; without a weight it is not computed."""
    return config.cycle_weight * config.identity_weight


def _each_alone(network: nn.Module) -> bool:
    """Whether a picture's output does not depend on the others of its batch, so that both sides may share one."""
    return not any(isinstance(module, _BatchNorm) for module in network.modules())
