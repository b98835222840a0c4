"""CUT and FastCUT: one generator and one critic, the content held by the contrast of patches, without a way back.

Park et al. 2020, "Contrastive Learning for Unpaired Image-to-Image Translation" (arXiv:2007.15651), equation 5:

    L = L_GAN(G, D, X, Y) + λ_X PatchNCE(G, H, X) + λ_Y PatchNCE(G, H, Y)

with λ_X = λ_Y = 1 for CUT, λ_X = 10 and λ_Y = 0 for FastCUT, which is also trained with flips: the generator sees
some inputs mirrored, and their features are mirrored back before they are compared (appendix, training details).
PatchNCE is a mean over places and layers here, where equation 3 sums.

The projection H moves in a phase of its own, on features that its forerunner, the generator's phase, has kept: its
gradient is that of the same loss at the same weights, and costs two small perceptrons.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gantk_translate import networks
from gantk_translate.contrast import gathered, mirrored, patch_nce, places
from gantk_translate.games.common import critic_loss, fits, generating, generator_loss, halves, judging, rate
from gantk_translate.networks.projection import Projection
from gantk_translate.options import TranslateConfig
from gantk_translate.sides import Side
from gantoolkit import losses
from gantoolkit.errors import InputError, UsageError
from gantoolkit.game import Context, Game, Phase, Player, Term


def make(config: TranslateConfig, source: Side, target: Side) -> Game:
    """The game on pictures without partners: batches have "a" and "b".

    Raises:
        InputError: sides of different channels, of which one encoder cannot make features.
        UsageError: a generator that has no encoder to ask, or networks that do not fit (see `common.fits`).
    """
    if source.planes != target.planes:
        raise InputError(
            f"the game {config.game} looks at both sides with one encoder",
            expected="sides of the same channels",
            actual=f"{source.planes} and {target.planes}",
            remedy="play --game cyclegan, or convert one side",
        )
    generator: Any = networks.build_generator(networks.generator_config(config, source.planes, target.planes))
    if not hasattr(generator, "traced"):
        raise UsageError(
            f"the game {config.game} compares features of the generator",
            expected="--generator resnet",
            actual=config.generator,
        )
    critic = networks.build_critic(config, target.planes)
    fits(config, generator, critic)
    projection = Projection(_channels(generator, source.planes))
    terms = _Terms(config, generator.layers)
    compared = terms.compared()
    return Game(
        [
            judging(config, {"critic": critic}),
            generating(config, {"generator": generator}),
            Player(
                "projection",
                {"projection": projection},
                lr=rate(config, config.lr),
                betas=(config.beta1, config.beta2),
            ),
        ],
        [
            Phase("critic", "critic", terms.judging()),
            Phase("generator", "generator", [*terms.answering(), *compared]),
            Phase("projection", "projection", compared),
        ],
    )


def _channels(generator: Any, planes: int) -> list[int]:
    """Channels of the generator's chosen layers; a look at nothing tells."""
    with torch.no_grad():
        side = 8 * generator.multiple
        return [x.shape[1] for x in generator.eval().features(torch.zeros(1, planes, side, side), generator.layers)]


class _Terms:
    """The terms over one configuration; `layers` are the generator's, whose features are compared."""

    def __init__(self, config: TranslateConfig, layers: Any) -> None:
        self.config, self.loss, self.layers = config, losses.adversarial(config.loss), layers
        self.flips = config.game == "fastcut"
        self.keeps_targets = config.nce_weight * config.identity_weight > 0

    def judging(self) -> list[Term]:
        """The critic's loss on target pictures and outputs."""
        return [Term("adversarial", self._judged, halves(self.config)[1], couples_batch=self.loss.couples_batch)]

    def answering(self) -> list[Term]:
        """The generator's answer to the critic."""
        return [Term("adversarial", self._answered, halves(self.config)[0], couples_batch=self.loss.couples_batch)]

    def compared(self) -> list[Term]:
        """What generator and projection both minimise: the contrast, and that of target pictures sent through."""
        weight = self.config.nce_weight
        terms = [Term("contrast", self._contrast, weight)]
        if self.keeps_targets:
            terms.append(Term("identity", self._identity, weight * self.config.identity_weight))
        return terms

    def _translated(self, ctx: Context) -> dict[str, Any]:
        """The generator's outputs for the batch, made once for all players.

        "output" is (N or 2N, C, H, W), of the source and, where they are kept, of the target pictures. "turned" (N or
        2N,) says which of them the generator saw mirrored. For each layer, "places" (N or 2N, S) are those that are
        compared, and "keys" (N or 2N, S, C) the features of the unmirrored inputs there.
        """

        def make() -> dict[str, Any]:
            generator: Any = ctx.networks["generator"]
            given = torch.cat([ctx["a"], ctx["b"]]) if self.keeps_targets else ctx["a"]
            times = len(given) // ctx.size
            turned = torch.zeros(len(given), dtype=torch.bool, device=given.device)
            if self.flips:
                turned = (ctx.rand() < 0.5).repeat(times)
                output = generator(torch.where(turned[:, None, None, None], given.flip(3), given))
                with torch.no_grad():
                    maps = generator.features(given, self.layers)
            else:
                output, maps = generator.traced(given, self.layers)
            chosen = [places(ctx, x, self.config.nce_patches).repeat(times, 1) for x in maps]
            keys = [gathered(x.detach(), index) for x, index in zip(maps, chosen, strict=True)]
            return {"output": output.float(), "turned": turned, "places": chosen, "keys": keys}

        return ctx.share("translated", make, owner="generator")

    def _fake(self, ctx: Context) -> Tensor:
        return self._translated(ctx)["output"][: ctx.size]

    def _queries(self, ctx: Context) -> list[Tensor]:
        """What the encoder makes of the outputs, at the places of the keys: [(N or 2N, S, C)], one a layer."""

        def make() -> list[Tensor]:
            made = self._translated(ctx)
            generator: Any = ctx.networks["generator"]
            maps = generator.features(made["output"], self.layers)
            return [
                gathered(x, mirrored(index, x.shape[3], made["turned"]))
                for x, index in zip(maps, made["places"], strict=True)
            ]

        return ctx.share("queries", make, owner="generator")

    def _projected(self, ctx: Context) -> tuple[list[Tensor], list[Tensor]]:
        def make() -> tuple[list[Tensor], list[Tensor]]:
            projection = ctx.networks["projection"]
            queries = projection(self._queries(ctx))
            with torch.no_grad():
                return queries, projection(self._translated(ctx)["keys"])

        return ctx.memo("projected", make)

    def _nce(self, ctx: Context, rows: slice) -> Tensor:
        pairs = zip(*self._projected(ctx), strict=True)
        return torch.stack([patch_nce(q[rows], k[rows], self.config.nce_temperature) for q, k in pairs]).mean()

    def _contrast(self, ctx: Context) -> Tensor:
        return self._nce(ctx, slice(None, ctx.size))

    def _identity(self, ctx: Context) -> Tensor:
        return self._nce(ctx, slice(ctx.size, None))

    def _judged(self, ctx: Context) -> Tensor:
        critic = ctx.networks["critic"]
        return critic_loss(self.loss, critic(ctx["b"]), critic(self._fake(ctx)))

    def _answered(self, ctx: Context) -> Tensor:
        critic, real = ctx.networks["critic"], None
        if self.loss.needs_real:
            with torch.no_grad():
                real = critic(ctx["b"])
        return generator_loss(self.loss, real, critic(self._fake(ctx)))
