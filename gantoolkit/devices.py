"""Which device and precision to use, and what this machine offers."""

from __future__ import annotations

import platform
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from gantoolkit.errors import UsageError

if TYPE_CHECKING:
    import torch

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def pick_device(name: str = "auto") -> str:
    """ "auto" → cuda, mps or cpu, whichever is there; any other name is checked.

    Raises:
        UsageError: the device does not exist here.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    asked = _parsed(name)
    if asked is None or (asked.index or 0) >= there.get(asked.type, 0):
        have = ", ".join(kind if n == 1 else f"{kind}:0 to {kind}:{n - 1}" for kind, n in there.items() if n)
        raise UsageError(f"device {name!r} is not available here", expected=have, remedy="use --device auto")
    return name


def _parsed(name: str) -> torch.device | None:
    """The device as torch reads its name; None where it cannot."""
    import torch

    try:
        return torch.device(name)
    except (RuntimeError, TypeError):
        return None


def pick_precision(name: str, device: str) -> Literal["fp32", "bf16", "fp16"]:
    """ "auto" → bf16 where the hardware multiplies it fast, else fp32; any other name is checked.

    Raises:
        UsageError: no such precision.
    """
    if name not in PRECISIONS:
        raise UsageError("unknown precision", expected=" or ".join(PRECISIONS), actual=repr(name))
    if name != "auto":
        return name  # type: ignore[return-value]
    return "bf16" if fast_bf16(device.split(":")[0]) else "fp32"


@cache
def fast_bf16(kind: str) -> bool:
    """Whether this kind of device has bf16 arithmetic in hardware."""
    import torch

    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind == "cpu":
        return any(check() for check in (torch.cpu._is_avx512_bf16_supported, torch.cpu._is_amx_tile_supported))
    return False


def hold_memory() -> None:
    """Let this process keep the memory it frees (glibc only; elsewhere nothing happens).

    By default glibc maps each large block anew and hands it back when it is freed, so that a network run tile after
    tile pays for the same page faults again and again. For commands that do one job and end; a library must not
    decide this for its caller.
    """
    import ctypes

    trim_threshold, mmap_threshold, gibibyte = -1, -3, 1 << 30  # malloc.h
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    for parameter in (mmap_threshold, trim_threshold):
        mallopt(parameter, gibibyte)


def describe() -> dict[str, Any]:
    """Versions, processors and precisions, for `gantk doctor` and resolved configs."""
    import torch

    from gantoolkit import __version__

    devices = {"cpu": f"{torch.get_num_threads()} threads, {'bf16' if fast_bf16('cpu') else 'fp32'}"}
    for index in range(torch.cuda.device_count()):
        devices[f"cuda:{index}"] = torch.cuda.get_device_name(index)
    if torch.backends.mps.is_available():
        devices["mps"] = "Apple GPU"
    return {
        "gantoolkit": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "devices": devices,
    }
