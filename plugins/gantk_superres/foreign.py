"""Weights from elsewhere: Real-ESRGAN and ESRGAN checkpoints, and the ncnn files that a package carries.

Nothing here runs code from a file (see `gantoolkit.foreign`), the package is located but never imported. What comes
out is always a config for `networks.build` and a state dict that fits it exactly, in fp32.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gantk_superres.networks import build
from gantoolkit import foreign
from gantoolkit.errors import InputError

__all__ = ["load_checkpoint", "read_ncnn"]

_SUPPORTED = "the weights of an ESRGAN or Real-ESRGAN generator (RRDBNet or SRVGGNetCompact)"

# ESRGAN's checkpoints name the same layers in three ways; each row turns one of the two older ways into ours.
# `model.1.sub.N` without a block inside is the convolution after the last block.
_RENAMES = [
    (r"model\.0\.", "conv_first."),
    (r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.", r"body.\1.rdb\2.conv\3."),
    (r"model\.1\.sub\.\d+\.(?=(?:weight|bias)$)", "conv_body."),
    (r"model\.3\.", "conv_up1."),
    (r"model\.6\.", "conv_up2."),
    (r"model\.8\.", "conv_hr."),
    (r"model\.10\.", "conv_last."),
    (r"RRDB_trunk\.(\d+)\.RDB(\d)\.", r"body.\1.rdb\2."),
    (r"trunk_conv\.", "conv_body."),
    (r"upconv(\d)\.", r"conv_up\1."),
    (r"HRconv\.", "conv_hr."),
]


def load_checkpoint(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and weights of a public `.pth`, `.pt` or `.safetensors` checkpoint.

    The weights may lie under `params_ema` (preferred), under `params` or at the top; architecture, scale,
    widths and depth are read from their names and shapes.

    Raises:
        InputError: for a file that cannot be read, that asks to run code, or that holds another network.
    """
    found = foreign.tensors(Path(path), _SUPPORTED, within=("params_ema", "params"))
    state = {_our_name(name): value for name, value in found.items()}
    return _fitted(str(path), _config_of(str(path), state), state)


def _our_name(name: str) -> str:
    for pattern, ours in _RENAMES:
        renamed, matched = re.subn(f"^{pattern}", ours, name)
        if matched:
            return renamed
    return name


def _config_of(source: str, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Architecture and sizes from names and shapes; blocks are counted, so a hostile index costs nothing."""
    weights = {name: value.shape for name, value in state.items() if name.endswith(".weight")}
    convs = {name: shape for name, shape in weights.items() if len(shape) == 4}
    try:
        if "conv_first.weight" in weights:
            channels, planes = weights["conv_first.weight"][:2]
            return {
                "arch": "rrdb",
                "scale": {3: 4, 12: 2, 48: 1}[planes],
                "channels": channels,
                "blocks": len({name.split(".")[1] for name in state if name.startswith("body.")}),
                "growth": weights["body.0.rdb1.conv1.weight"][0],
            }
        last = max(convs, key=lambda name: int(name.split(".")[1]))
        return {
            "arch": "srvgg",
            "scale": math.isqrt(convs[last][0] // 3),
            "channels": weights["body.0.weight"][0],
            "convs": len(convs) - 2,
        }
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(
            f"{source}: an unknown network",
            expected=f"{_SUPPORTED}: weights named conv_first, model.0 or body.0",
            actual=", ".join(list(state)[:3]),
        ) from error


def _fitted(
    source: str, config: dict[str, Any], state: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """`config` and `state` once every name and shape is the network's own and every number is finite."""
    return config, foreign.fitted(source, config, _shapes(source, config), state)


def _shapes(source: str, config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return foreign.shapes(source, config, build, _SUPPORTED)


_NCNN_MAGIC = "7767517"
_FLAG_FP32, _FLAG_FP16 = 0, 0x01306B47


def read_ncnn(param: Path, weights: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and weights of an ESRGAN-family network in ncnn's `.param` (text) and `.bin` files.

    The `.bin` holds the layers in the order of the `.param`: for a convolution a 4-byte flag, the weights in
    fp16 (padded to 4 bytes) or fp32 and the bias in fp32; for a PReLU its slopes in fp32.

    Raises:
        InputError: for a broken, truncated or overlong file, or another network.
    """
    layers = _ncnn_layers(param)
    convs = [values for kind, values in layers if kind == "Convolution"]
    channels, last = convs[0].get(0, 0), convs[-1].get(0, 0)
    config: dict[str, Any]
    if any(kind == "PReLU" for kind, _ in layers):
        config = {
            "arch": "srvgg",
            "scale": math.isqrt(last // 3),
            "channels": channels,
            "convs": len(convs) - 2,
        }
    else:
        growth = convs[1].get(0, 0)
        config = {
            "arch": "rrdb",
            "scale": 4,
            "channels": channels,
            "blocks": (len(convs) - 6) // 15,
            "growth": growth,
        }
    shapes = _shapes(str(param), config)
    arrays = _ncnn_arrays(weights, layers)
    # Both modules register their layers in the order of the computation, which is the order of the file.
    for (name, shape), array in zip(shapes.items(), arrays, strict=False):
        if array.numel() != math.prod(shape):
            raise InputError(f"{param}: {name} does not fit {config}", expected=math.prod(shape), actual=array.numel())
    if len(arrays) != len(shapes):
        raise InputError(f"{param}: not the layers of {config}", expected=f"{len(shapes)} arrays", actual=len(arrays))
    state = {name: array.reshape(shape) for (name, shape), array in zip(shapes.items(), arrays, strict=True)}
    return _fitted(str(weights), config, state)


def _ncnn_layers(param: Path) -> list[tuple[str, dict[int, int]]]:
    """Kind and integer options of every layer that owns weights, in order."""
    try:
        lines = param.read_text(encoding="utf-8").splitlines()
        if lines[0].strip() != _NCNN_MAGIC:
            raise ValueError("the first line is not its magic number")
        declared = int(lines[1].split()[0])
        if declared != len(lines) - 2:
            raise ValueError(f"{declared} layers declared, {len(lines) - 2} found")
        layers = []
        for line in lines[2:]:
            kind, _, inputs, outputs, *rest = line.split()
            if kind in ("Convolution", "PReLU"):
                pairs = (text.split("=") for text in rest[int(inputs) + int(outputs) :])
                layers.append((kind, {int(key): int(value) for key, value in pairs if "," not in value}))
        if any(value < 0 for _, values in layers for value in values.values()):
            raise ValueError("a negative size")
        if sum(kind == "Convolution" for kind, _ in layers) < 3:
            raise ValueError("too few convolutions")
        return layers
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{param}: not a whole ncnn .param file ({error})", expected=_SUPPORTED) from error


def _ncnn_arrays(path: Path, layers: list[tuple[str, dict[int, int]]]) -> list[Tensor]:
    """The flat fp32 arrays of `layers`: weight and bias of each convolution, slopes of each PReLU."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    position = 0

    def take(count: int, dtype: torch.dtype) -> Tensor:
        nonlocal position
        size = count * dtype.itemsize
        if count < 1 or position + size > len(data):
            raise InputError(f"{path}: truncated", expected=position + size, actual=f"{len(data)} bytes")
        array = torch.frombuffer(bytearray(data[position : position + size]), dtype=dtype)
        position += -(-size // 4) * 4
        return array.float()

    arrays = []
    for kind, values in layers:
        if kind == "PReLU":
            arrays.append(take(values.get(0, 0), torch.float32))
            continue
        flag = _flag(data, position, path)
        position += 4
        arrays.append(take(values.get(6, 0), torch.float16 if flag == _FLAG_FP16 else torch.float32))
        arrays.append(take(values.get(0, 0), torch.float32))
    if position != len(data):
        raise InputError(f"{path}: longer than its .param says", expected=position, actual=f"{len(data)} bytes")
    return arrays


def _flag(data: bytes, position: int, path: Path) -> int:
    try:
        (flag,) = struct.unpack_from("<I", data, position)
    except struct.error as error:
        raise InputError(f"{path}: truncated", actual=f"{len(data)} bytes") from error
    if flag not in (_FLAG_FP32, _FLAG_FP16):
        raise InputError(f"{path}: unknown storage of weights", expected="fp16 or fp32", actual=hex(flag))
    return flag
