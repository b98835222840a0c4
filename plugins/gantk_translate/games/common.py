"""What the games of translation share: rates, players, and losses over a critic's maps of several scales."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gantk_translate.networks.critics import PatchCritic
from gantk_translate.options import TranslateConfig
from gantoolkit.errors import UsageError
from gantoolkit.game import Context, Player
from gantoolkit.losses import AdversarialLoss
from gantoolkit.schedule import Linear


def rate(config: TranslateConfig, lr: float) -> Linear:
    """`lr` for the share `steady` of the training, then in a straight line to 0."""
    steady = round(config.nimg * config.steady)
    return Linear(lr, 0.0, config.nimg - steady, steady)


def fits(config: TranslateConfig, generator: nn.Module, critic: nn.Module) -> None:
    """The networks suit a game with a generator of one input and a critic, and pictures of the configured size.

    Raises:
        UsageError: a generator that wants a style, no critic, a size that is no multiple of what the generator accepts,
            or too small for the critic.
    """
    if config.generator == "adain" or config.critic == "none":
        wrong, right = ("generator", "resnet") if config.generator == "adain" else ("critic", "patch")
        given = getattr(config, wrong)
        raise UsageError(f"--{wrong} {given} is for the game style, not {config.game}", remedy=f"--{wrong} {right}")
    fits_generator(config, generator)
    size, layers = config.whole, config.critic_layers
    times, note = _halving(config)
    # the patch critic ends with two 4x4 windows without stride; the smallest of several scales with one position
    patch = isinstance(critic, PatchCritic)
    least = times * (3 << layers if patch else 1 << (layers + config.critic_scales - 1))
    if size < least:
        raise UsageError(
            "--size is too small for the critic",
            expected=f"at least {least} pixels with --critic-layers {layers}"
            + ("" if patch else f" --critic-scales {config.critic_scales}")
            + note,
            actual=size,
            remedy="--critic-layers 1" if size >= 6 * times else "choose a larger --size",
        )


def fits_generator(config: TranslateConfig, generator: nn.Module) -> None:
    """The generator takes pictures of the configured size.

    Raises:
        UsageError: a size that is no multiple of what it accepts.
    """
    times, note = _halving(config)
    size, multiple = config.whole, times * int(generator.multiple)  # type: ignore[arg-type]
    if size % multiple:
        larger = -(-size // multiple) * multiple
        halvings = (size & -size).bit_length() - times  # the stage at half the size has one less
        fewer = {"unet": f" or --blocks {halvings}", "residual": " or fewer --levels"}.get(config.generator, "")
        raise UsageError(
            f"--size does not suit the generator {config.generator}",
            expected=f"a multiple of {multiple}{note}",
            actual=size,
            remedy=f"--size {larger}{fewer if halvings > 0 else ''}",
        )


def _halving(config: TranslateConfig) -> tuple[int, str]:
    """How many pixels of the size asked for are one of the stage's, and the option that says so."""
    return (2, " with --half-nimg") if config.whole != config.size else (1, "")


def generating(config: TranslateConfig, networks: Mapping[str, nn.Module], name: str = "generator") -> Player:
    """The player that translates, with an average of its weights if the configuration keeps one."""
    return Player(
        name,
        networks,
        lr=rate(config, config.lr),
        betas=(config.beta1, config.beta2),
        ema_nimg=config.ema_nimg or None,
    )


def judging(config: TranslateConfig, networks: Mapping[str, nn.Module], name: str = "critic") -> Player:
    """The player that tells real from translated."""
    lr = rate(config, config.critic_lr or config.lr)
    return Player(name, networks, lr=lr, betas=(config.beta1, config.beta2))


def critic_loss(loss: AdversarialLoss, real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """The critic's loss, the mean over its scales; each map is (N, 1, h, w)."""
    return torch.stack([loss.critic(r, f) for r, f in zip(real, fake, strict=True)]).mean()


def generator_loss(loss: AdversarialLoss, real: Sequence[Tensor] | None, fake: Sequence[Tensor]) -> Tensor:
    """The generator's loss, the mean over the critic's scales; `real` may be None where the loss needs none."""
    reals = real if real is not None else [None] * len(fake)
    return torch.stack([loss.generator(r, f) for r, f in zip(reals, fake, strict=True)]).mean()


def scores(critic: Callable[[Tensor], Any], real: Tensor, fake: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The critic's maps of both; in one pass, unless it has statistics of the batch, which must not mix them."""
    if critic.couples_batch:  # type: ignore[attr-defined]
        return critic(real), critic(fake)
    halves = [logits.chunk(2) for logits in critic(torch.cat([real, fake]))]
    return [half[0] for half in halves], [half[1] for half in halves]


def real_scores(ctx: Context, loss: AdversarialLoss, critic: str, real: Tensor) -> list[Tensor] | None:
    """The critic's maps of what is real for the generator's loss, without a graph; None where it needs none."""
    if not loss.needs_real:
        return None
    with torch.no_grad():
        return ctx.networks[critic](real)


def halves(config: TranslateConfig) -> tuple[float, float]:
    """Weights of the adversarial loss, (generator's, critic's), in pix2pix and its heirs: the critic's is halved.

    Isola et al. 2017 (arXiv:1611.07004), section 3.3; Zhu et al. 2017 (arXiv:1703.10593), section 7.1. The loss "lsgan"
    halves both by its definition (Mao et al. 2017, eq. 9), so there the generator's is doubled instead.
    """
    weight = config.adversarial_weight
    return (2 * weight, weight) if config.loss == "lsgan" else (weight, weight / 2)
