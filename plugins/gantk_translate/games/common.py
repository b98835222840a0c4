"""What the games of translation share: rates, players, and losses over a critic's maps of several scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from gantk_translate.options import TranslateConfig
from gantoolkit.game import Player
from gantoolkit.losses import AdversarialLoss
from gantoolkit.schedule import Linear


def rate(config: TranslateConfig, lr: float) -> Linear:
    """`lr` for the share `steady` of the training, then in a straight line to 0."""
    steady = round(config.nimg * config.steady)
    return Linear(lr, 0.0, config.nimg - steady, steady)


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
