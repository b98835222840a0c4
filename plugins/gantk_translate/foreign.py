"""Generators of pytorch-CycleGAN-and-pix2pix: `latest_net_G.pth`, `latest_net_G_A.pth` and their like.

Its networks are numbered sequences, so that names say where a layer stands. ResNet: `model.1` the first convolution,
`model.4` and `model.7` the halvings, from `model.10` on the blocks, and three numbers a layer after them. U-Net: blocks
within blocks, each `model.1` or `model.3` of the one around it.

Biases before a normalisation without a mean are left out, which changes nothing. Statistics that batch norms kept are
too: here, as in its own test without `--eval`, each picture is normalised by its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gantk_translate.networks import build_generator
from gantk_translate.sides import Side
from gantoolkit import foreign
from gantoolkit.errors import InputError
from gantoolkit.model import MAIN, Model

SUPPORTED = "a generator of pytorch-CycleGAN-and-pix2pix (resnet_9blocks, unet_256 or another depth of these)"
SIZE = 256  # pixels that its defaults train and test at
KEPT = ("running_mean", "running_var", "num_batches_tracked")
State = dict[str, Tensor]


def load(path: Path) -> Model:
    """The model in a checkpoint of that toolkit; its input is A and its output B.

    Raises:
        InputError: a file that cannot be read, that asks to run code, or that holds another network.
    """
    found = {n: v for n, v in foreign.tensors(path, SUPPORTED).items() if n.rpartition(".")[2] not in KEPT}
    unet = any(name.startswith("model.model.") for name in found)
    try:
        generator, state = (_unet if unet else _resnet)(found)
        sides = [{1: Side(channels=1), 3: Side()}[planes] for planes in generator["planes"]]
    except (KeyError, IndexError, ValueError) as error:
        shown = ", ".join(list(found)[:3])
        raise InputError(f"{path}: an unknown network", expected=SUPPORTED, actual=shown) from error
    wanted = foreign.shapes(str(path), generator, build_generator, SUPPORTED)
    fitted = foreign.fitted(str(path), generator, wanted, state)
    config = {
        "generator": generator, "source": sides[0].to_dict(), "target": sides[1].to_dict(), "direction": "AtoB",
        "game": "pix2pix" if unet else "cyclegan", "size": 2 ** generator["blocks"] if unet else SIZE,
        "fit": "resize", "held_out": 0.1,
    }  # fmt: skip
    return Model("translate", config, {MAIN: fitted}, f"# {path.stem}\n\nImported from {path.name}.\n", path.stem)


def _resnet(found: State) -> tuple[dict[str, Any], State]:
    """Config and weights of a ResNet."""
    numbers = sorted({int(name.split(".")[1]) for name in found if ".conv_block." in name})
    places = {"1": "stem.0", "2": "stem.1", "4": "downs.0", "5": "rests.0.0", "7": "downs.1", "8": "rests.1.0"}
    for k, n in enumerate(numbers):
        inside = f"model.{n}.conv_block."
        first, second = sorted(int(name.split(".")[3]) for name in _convolutions(found) if name.startswith(inside))
        parts = {first: "first", first + 1: "rest.0", second: "second", second + 1: "norm"}
        places |= {f"{n}.conv_block.{part}": f"blocks.{k}.{ours}" for part, ours in parts.items()}
    end = numbers[-1] + 1
    ups = {end: "ups.0.0", end + 1: "ups.0.1", end + 3: "ups.1.0", end + 4: "ups.1.1", end + 7: "head"}
    places |= {str(n): ours for n, ours in ups.items()}
    stem, head = found["model.1.weight"], found[f"model.{end + 7}.weight"]
    config = {
        "arch": "resnet", "planes": [stem.shape[1], head.shape[0]], "channels": stem.shape[0], "blocks": len(numbers),
        "norm": "batch" if "model.2.weight" in found else "instance",
    }  # fmt: skip
    return config, _renamed(found, {f"model.{theirs}": ours for theirs, ours in places.items()}, ["head"])


def _unet(found: State) -> tuple[dict[str, Any], State]:
    """Config and weights of a U-Net.

    Its skips come before what comes from within, where ours come after, and it rectifies both (`UNet`'s `rectified`).
    """
    blocks, inner = ["model.model."], "model.model.1.model."
    while any(name.startswith(inner) for name in found):
        blocks.append(inner)
        inner += "3.model."
    last = len(blocks) - 1
    places = {f"{blocks[0]}0": "downs.0.0", f"{blocks[0]}3": "head"}
    for depth, block in enumerate(blocks[1:], start=1):
        down, up = f"downs.{depth}", f"ups.{last - depth}"
        parts = ["", f"{down}.0", "", f"{up}.0", f"{up}.1"]
        parts = parts if depth == last else ["", f"{down}.0", f"{down}.1", "", "", f"{up}.0", f"{up}.1"]
        places |= {f"{block}{n}": ours for n, ours in enumerate(parts) if ours}
    biased = ["downs.0.0", f"downs.{last}.0", "head"]
    state = _renamed(found, places, biased)
    for name in biased:  # with batch norm, convolutions have no biases even where no norm follows
        state.setdefault(f"{name}.bias", torch.zeros(state[f"{name}.weight"].shape[0]))
    for name in [*(f"ups.{i}.0" for i in range(1, last)), "head"]:
        skip, within = state[f"{name}.weight"].chunk(2)
        state[f"{name}.weight"] = torch.cat([within, skip])
    stem, head = state["downs.0.0.weight"], state["head.weight"]
    config = {
        "arch": "unet", "planes": [stem.shape[1], head.shape[1]], "channels": stem.shape[0], "blocks": len(blocks),
        "norm": "batch" if "ups.0.1.weight" in state else "instance", "dropout": 0.0, "rectified": True,
    }  # fmt: skip
    return config, state


def _convolutions(found: State) -> list[str]:
    return [name for name, value in found.items() if name.endswith(".weight") and value.ndim == 4]


def _renamed(found: State, places: Mapping[str, str], biased: Sequence[str]) -> State:
    """The weights under our names, without biases of convolutions that a norm follows: all but the `biased`."""
    convolutions, state = _convolutions(found), {}
    for name, value in found.items():
        layer, _, what = name.rpartition(".")
        ours = places[layer]
        if what != "bias" or ours in biased or f"{layer}.weight" not in convolutions:
            state[f"{ours}.{what}"] = value
    return state
