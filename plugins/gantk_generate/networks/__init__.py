"""Generators and critics, built from a configuration that JSON can hold.

A configuration has `arch` ("dcgan", "residual", "style" or "mlp") and the arguments of that architecture's
generator and critic; `size` is [H, W] in pixels ("mlp" has `features` instead). Where both have an argument, the
critic's is the generator's unless the configuration says otherwise: `{"width": 64, "critic_width": 32}`.

    generator = build_generator({"arch": "dcgan", "size": [32, 32], "channels": 1, "classes": 10})
    pictures = generator(torch.randn(8, generator.latent), labels)      # (8, 1, 32, 32) in [-1, 1]
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import nn

from gantoolkit.errors import UsageError

from .base import Critic, Generator, nearest
from .dcgan import DCGANCritic, DCGANGenerator
from .mlp import MLPCritic, MLPGenerator
from .residual import ResidualCritic, ResidualGenerator
from .style import StyleCritic, StyleGenerator

__all__ = ["ARCHITECTURES", "Critic", "Generator", "build_critic", "build_generator", "nearest"]

ARCHITECTURES: dict[str, tuple[type[Generator], type[Critic]]] = {
    "dcgan": (DCGANGenerator, DCGANCritic),
    "mlp": (MLPGenerator, MLPCritic),
    "residual": (ResidualGenerator, ResidualCritic),
    "style": (StyleGenerator, StyleCritic),
}
_PREFIX = "critic_"
T = TypeVar("T", Generator, Critic)


def build_generator(config: Mapping[str, Any]) -> Generator:
    """The generator of a configuration: (N, latent), (N,) labels or None -> samples.

    Weights are drawn from torch's global generator: the same seed gives the same network.

    Raises:
        UsageError: an unknown architecture or key, a missing key, or a value that makes no sense.
    """
    (generator, _), arguments = _parse(config)
    return _build(generator, arguments)


def build_critic(config: Mapping[str, Any]) -> Critic:
    """The critic of a configuration: samples, (N,) labels or None -> logits (N,). See `build_generator`."""
    (_, critic), arguments = _parse(config)
    own = {name.removeprefix(_PREFIX): value for name, value in arguments.items() if name.startswith(_PREFIX)}
    return _build(critic, arguments | own)


def _arguments(network: type[nn.Module]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(network).parameters


def _parse(config: Mapping[str, Any]) -> tuple[tuple[type[Generator], type[Critic]], dict[str, Any]]:
    """Both classes and their arguments, every name checked: a typing error must not pass as a default."""
    arguments = dict(config)
    arch = arguments.pop("arch", None)
    if arch not in ARCHITECTURES:
        raise UsageError("networks: arch", expected="one of " + ", ".join(ARCHITECTURES), actual=repr(arch))
    generator, critic = ARCHITECTURES[arch]
    both = _arguments(generator).keys() & _arguments(critic)
    own = both - {"size", "features", "channels", "classes"}  # what the two players may differ in
    known = [*_arguments(generator), *(name for name in _arguments(critic) if name not in both)]
    known += [_PREFIX + name for name in _arguments(critic) if name in own]
    for name in arguments:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=2)
            raise UsageError(
                f"networks: {arch} has no {name!r}",
                expected="one of " + ", ".join(known),
                remedy="did you mean " + " or ".join(near) + "?" if near else "leave it out",
            )
    return (generator, critic), arguments


def _build(network: type[T], arguments: Mapping[str, Any]) -> T:
    """The network, given those of the arguments that it knows."""
    known = _arguments(network)
    missing = [name for name, p in known.items() if p.default is p.empty and name not in arguments]
    if missing:
        raise UsageError(f"networks: {network.__name__}", expected=f"a value for {missing[0]}", actual="none")
    return network(**{name: value for name, value in arguments.items() if name in known})
