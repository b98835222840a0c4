"""The networks of translation, built from what a model's `config.json` holds.

Every generator maps (N, Ca, H, W) in [-1, 1] to (N, Cb, H, W) in [-1, 1], H and W any multiples of `multiple`;
`adain` also takes the style's picture. A critic maps (N, C, H, W) to a list of logit maps, one a scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from torch import nn

from gantoolkit.errors import UsageError


def generator_config(config: Any, planes_in: int, planes_out: int) -> dict[str, Any]:
    """What `build_generator` needs, as JSON values; `config` is a `TranslateConfig`."""
    built = {
        "arch": config.generator,
        "planes": [planes_in, planes_out],
        "channels": config.channels,
        "blocks": config.blocks,
    }
    match config.generator:
        case "residual":
            built |= {
                "levels": config.levels,
                "patch": config.patch,
                "attention": config.attention,
                "compose": config.compose,
            }
        case "unet":
            built |= {"norm": config.norm, "dropout": config.dropout}
        case "resnet":
            built |= {"norm": config.norm}
    return built


GENERATORS = {
    "residual": "residual:ResidualGenerator",
    "unet": "unet:UNet",
    "resnet": "resnet:ResNet",
    "adain": "adain:AdaIN",
}


def build_generator(built: Mapping[str, Any]) -> Any:
    """The generator of that configuration, with new weights: a module with `multiple` and `overlap`.

    Raises:
        UsageError: no such architecture.
    """
    if built["arch"] not in GENERATORS:
        raise UsageError("unknown generator", expected=", ".join(GENERATORS), actual=built["arch"])
    module, _, name = GENERATORS[built["arch"]].partition(":")
    network = getattr(import_module(f"gantk_translate.networks.{module}"), name)
    return network(**{key: value for key, value in built.items() if key != "arch"})


def build_critic(config: Any, planes: int) -> nn.Module:
    """The critic that `config` (a `TranslateConfig`) asks for, of pictures with `planes` channels."""
    from gantk_translate.networks.critics import MultiScaleCritic, PatchCritic

    if config.critic == "multiscale":
        return MultiScaleCritic(planes, config.critic_channels, config.critic_layers, config.critic_scales)
    return PatchCritic(planes, config.critic_channels, config.critic_layers, norm=config.norm)
