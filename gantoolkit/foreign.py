"""Weights from other toolkits: tensors out of a file without running what is in it, and whether they fit a network."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from gantoolkit.errors import InputError, UsageError

__all__ = ["filled", "fitted", "shapes", "tensors"]

Shapes = dict[str, tuple[int, ...]]
Network = TypeVar("Network", bound=nn.Module)


def tensors(path: Path, supported: str, within: Sequence[str] = ()) -> dict[str, Tensor]:
    """The tensors of a `.pth`, `.pt` or `.safetensors` file by name, on the CPU; a pickle is read with `weights_only`.

    Args:
        path: the file.
        supported: what was expected in it, for messages.
        within: keys under which the weights may lie, the preferred first; else they are at the top.

    Raises:
        InputError: it cannot be read, asks to run code, or holds something else than tensors of real numbers.
    """
    content = _read(path, supported)
    for key in within:
        if isinstance(content, Mapping) and key in content:
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{path}: no weights inside", expected=supported, actual=type(content).__name__)
    for name, value in content.items():
        if not isinstance(value, Tensor):
            raise InputError(f"{path}: entry {name!r} is no tensor", expected=supported)
        if odd := _oddity(value):
            raise InputError(
                f"{path}: entry {name!r} is no plain tensor of real numbers",
                actual=odd,
                remedy="save the weights anew, dense and in fp32",
            )
    return {str(name): value for name, value in content.items()}


def _oddity(value: Tensor) -> str | None:
    """What keeps a tensor from being turned into fp32 as it is; None for most."""
    if value.layout != torch.strided:
        return str(value.layout).removeprefix("torch.")
    if value.is_complex() or value.is_quantized:
        return str(value.dtype).removeprefix("torch.")
    return "nested" if value.is_nested else "no numbers, shapes alone" if value.is_meta else None


def _read(path: Path, supported: str) -> object:
    if not path.is_file():
        raise InputError(f"{path}: no such file", expected="a .pth, .pt or .safetensors file")
    suffix = path.suffix.lower()
    if suffix not in (".pth", ".pt", ".safetensors"):
        raise InputError(f"{path}: unknown kind of file", expected=".pth, .pt or .safetensors", actual=suffix)
    try:
        if suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with path.open("rb") as file:
            head = file.read(2)
        if head != b"PK" and head[:1] != b"\x80":  # neither a zip nor a pickle
            raise InputError(f"{path}: damaged or not a checkpoint", expected=supported)
        return torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: refused: reading it would mean running code that it names (nothing was executed)",
            expected="a checkpoint of plain tensors",
            remedy="get the weights as .safetensors, or from a source you trust",
        ) from error
    except Exception as error:  # the readers raise a dozen types for a broken file
        raise InputError(f"{path}: damaged or not a checkpoint ({error})", expected=supported) from error


def shapes(
    source: str, config: Mapping[str, Any], build: Callable[[Mapping[str, Any]], nn.Module], supported: str
) -> Shapes:
    """Shapes of a network's weights in the order of its layers, without making them.

    Raises:
        InputError: no network has that configuration.
    """
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of weights without a number, torch says that it cannot draw them
            found = {name: tuple(value.shape) for name, value in build(config).state_dict().items()}
        if any(0 in shape for shape in found.values()):
            raise ValueError("a size of zero")
        return found
    except UsageError as error:  # made for whoever typed the config; here it came from a file
        raise InputError(
            f"{source}: {error.what}", expected=error.expected, actual=error.actual, remedy=error.remedy
        ) from error
    except (RuntimeError, TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise InputError(f"{source}: an impossible network {config}", expected=supported) from error


def filled(
    source: str,
    config: Mapping[str, Any],
    build: Callable[[Mapping[str, Any]], Network],
    supported: str,
    state: Mapping[str, Tensor],
) -> Network:
    """The network that a configuration describes, with these weights, in eval mode.

    The caller's random numbers stay where they are, though a new network draws its weights. Its shapes are looked at
    first: a configuration that was edited by hand may ask for more than there is memory.

    Args:
        source: what the weights are from, for errors.
        config: of the network.
        build: makes it.
        supported: what it has to be, in words.
        state: its weights by name.

    Raises:
        InputError: no network has that configuration, or the first weight that does not fit.
    """
    _fits(source, config, shapes(source, config, build, supported), state)
    with torch.random.fork_rng(devices=[]):
        network = build(config)
    network.load_state_dict(dict(state))
    return network.eval()


def _fits(source: str, config: Mapping[str, Any], wanted: Shapes, state: Mapping[str, Tensor]) -> None:
    """See that all names and shapes are the network's own.

    Raises:
        InputError: the first weight that does not fit.
    """
    found = {name: tuple(value.shape) for name, value in state.items()}
    for name in [*wanted, *found]:
        if wanted.get(name) != found.get(name):
            raise InputError(
                f"{source}: weight {name} does not fit {config}",
                expected=wanted.get(name, "no such weight"),
                actual=found.get(name, "no such weight"),
            )


def fitted(source: str, config: Mapping[str, Any], wanted: Shapes, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights in fp32, in the network's order, once all names and shapes are its own and all numbers finite.

    Raises:
        InputError: the first weight that does not fit, or is not finite.
    """
    _fits(source, config, wanted, state)
    made = {name: state[name].to(torch.float32).contiguous() for name in wanted}
    for name, value in made.items():
        if not value.isfinite().all():
            raise InputError(f"{source}: weight {name} is not finite", remedy="get the file again")
    return made
