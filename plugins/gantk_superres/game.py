"""The two games of super-resolution: for fidelity, and against a critic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gantk_superres import degrade, networks
from gantk_superres.options import SuperresConfig
from gantoolkit import features, losses
from gantoolkit.errors import InputError
from gantoolkit.game import Context, Game, Phase, Player, Term
from gantoolkit.model import MAIN
from gantoolkit.schedule import Cosine

FIDELITY, ADVERSARIAL = "fidelity", "adversarial"
SHIFT = 8  # pixels, at most, less one


def network_config(config: SuperresConfig) -> dict[str, Any]:
    """What `networks.build` needs, as JSON values."""
    depth = "convs" if config.arch == "srvgg" else "blocks"
    return {"arch": config.arch, "scale": config.scale, "channels": config.channels, depth: config.blocks}


def fidelity_game(config: SuperresConfig) -> Game:
    """One player and one term: the distance of pixels."""
    rate = Cosine(config.lr, config.lr / 100, config.fidelity_nimg, warmup_nimg=64 * config.batch)
    phase = Phase("generator", "generator", [Term("pixel", pixel)])
    return Game([generator(config, rate)], [phase], prepare=prepared(config))


def adversarial_game(config: SuperresConfig) -> Game:
    """A critic judges real and enlarged patches; the generator answers, held near the truth by pixels and features.

    The adversarial loss pairs real and fake (RpGAN) with R1 and R2: Huang et al. 2024, "The GAN is dead; long live
    the GAN!", equations 3 to 5.
    """
    rate = Cosine(config.adversarial_lr, config.adversarial_lr / 20, config.adversarial_nimg)
    critic = networks.build_critic({"arch": config.critic, "channels": config.critic_channels})
    terms = _Terms(config)
    return Game(
        [Player("critic", {"critic": critic}, lr=rate, betas=(0.0, 0.99)), generator(config, rate)],
        [Phase("critic", "critic", terms.critic()), Phase("generator", "generator", terms.generator())],
        prepare=prepared(config),
    )


def generator(config: SuperresConfig, rate: Cosine) -> Player:
    """The player that enlarges, from `config.init` if given."""
    network = networks.build(network_config(config))
    if config.init is not None:
        from gantoolkit.model import find

        weights = find("superres", config.init).weights
        try:
            network.load_state_dict(weights.get(FIDELITY, weights[MAIN]))
        except RuntimeError as error:
            raise InputError(
                f"the model {config.init} does not fit the network that is to start from it",
                expected=network_config(config),
                remedy="give the options of its config.json",
            ) from error
    return Player(
        "generator",
        {"generator": network},
        lr=rate,
        betas=(0.9, 0.99),
        ema_nimg=config.ema_nimg,
        clip_norm=config.clip_norm,
    )


def prepared(config: SuperresConfig) -> Callable[[Mapping[str, Any], torch.Generator], Mapping[str, Any]]:
    """Bytes → [0, 1], and the low-resolution side of each batch, on the device."""
    lower = degrade.degradation(config.degradation)

    def prepare(batch: Mapping[str, Any], rng: torch.Generator) -> Mapping[str, Any]:
        high = batch["hr"].float() / 255
        return {"hr": high, "lr": lower(high, config.scale, rng)}

    return prepare


def upscaled(ctx: Context) -> Tensor:
    """The generator's output for the batch, made once for both players; N,3,H,W fp32."""
    return ctx.share("upscaled", lambda: ctx.networks["generator"](ctx["lr"]).float(), owner="generator")


def pixel(ctx: Context) -> Tensor:
    """Mean Charbonnier distance to the truth."""
    return losses.charbonnier(upscaled(ctx), ctx["hr"])


class _Terms:
    """The adversarial stage's terms, over one configuration."""

    def __init__(self, config: SuperresConfig) -> None:
        self.config, self.loss = config, losses.adversarial(config.loss)
        self.extractor = features.efficientnet_lite0()

    def critic(self) -> list[Term]:
        every, gamma = self.config.penalty_every, self.config.gamma
        terms = [Term("adversarial", self._judged, couples_batch=self.loss.couples_batch)]
        if gamma:
            terms += [
                Term("r1", self._r1, every=every, fp32=True),
                Term("r2", self._r2, every=every, fp32=True),
            ]
        return terms

    def generator(self) -> list[Term]:
        return [
            Term("pixel", pixel, self.config.pixel_weight),
            Term("perceptual", self._perceptual, self.config.perceptual_weight, fp32=True),  # bf16 is slower here
            Term(
                "adversarial",
                self._answered,
                self.config.adversarial_weight,
                couples_batch=self.loss.couples_batch,
            ),
        ]

    def _judged(self, ctx: Context) -> Tensor:
        critic = ctx.networks["critic"]
        return self.loss.critic(critic(ctx["hr"]), critic(upscaled(ctx)))

    def _answered(self, ctx: Context) -> Tensor:
        critic, real = ctx.networks["critic"], None
        if self.loss.needs_real:
            with torch.no_grad():
                real = critic(ctx["hr"])
        return self.loss.generator(real, critic(upscaled(ctx)))

    def _perceptual(self, ctx: Context) -> Tensor:
        # a random offset against the extractor's grid of strides: a fixed one is answered with a checkerboard
        top, left = ctx.chosen(SHIFT, 2)
        output, truth = upscaled(ctx)[:, :, top:, left:], ctx["hr"][:, :, top:, left:]
        return features.perceptual_distance(output, truth, self.extractor).mean()

    def _r1(self, ctx: Context) -> Tensor:
        return losses.r1(_mean_score(ctx.networks["critic"]), ctx["hr"], self.config.gamma)

    def _r2(self, ctx: Context) -> Tensor:
        return losses.r2(_mean_score(ctx.networks["critic"]), upscaled(ctx), self.config.gamma)


def _mean_score(critic: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The critic with one score a picture, the mean of its map, so that γ does not depend on the patch's size."""
    return lambda x: critic(x).mean(dim=(1, 2, 3))
