"""A trained network made ready to be used: its device, its precision, and the runtime that runs it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from gantoolkit import devices
from gantoolkit.errors import UsageError

__all__ = ["Backend", "Inference"]

Backend = Literal["torch", "onnx", "openvino"]


class Inference:
    """A network without gradients, run in the fastest way that its input allows.

    Args:
        network: in eval mode; maps one or more tensors to one. It is moved to the device.
        export: writes the network to a path as ONNX; called for the other runtimes, whose file is kept beside the
            user's models.
        device: as in `gantk run`; the other runtimes run on the CPU, and take and give tensors in main memory.
        precision: "auto" picks what is fastest here.
        backend: what runs the network.

    Attributes:
        device, precision: what was picked.
        fast: runs the network in that precision; output in float32.
        deep: for inputs of more than 8 bits: as `fast` if the precision was asked for by name, else in float32, since
            faster arithmetic would coarsen them.

    Raises:
        UsageError: a device or a runtime that is not there, or a precision or backend that does not exist.
    """

    def __init__(
        self,
        network: nn.Module,
        export: Callable[[Path], Any],
        *,
        device: str = "auto",
        precision: str = "auto",
        backend: Backend = "torch",
    ) -> None:
        if backend not in get_args(Backend):
            raise UsageError("unknown backend", expected=" or ".join(get_args(Backend)), actual=repr(backend))
        found = devices.pick_device(device)  # whatever runs it: a name that means nothing is a mistake
        self.device = found if backend == "torch" else "cpu"
        self.precision = devices.pick_precision(precision, self.device)
        self.network = network.requires_grad_(False)
        if backend == "torch":
            self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            self.fast: Callable[..., Tensor] = self._forward
        else:
            self.fast = self._exported(export, backend)
        self.deep = self.exact if precision == "auto" else self.fast

    def exact(self, *given: Tensor) -> Tensor:
        """The network itself in float32, for whatever was not finite in a faster precision."""
        return self.network.to(self.device)(*given)

    def _forward(self, *given: Tensor) -> Tensor:
        given = tuple(x.contiguous(memory_format=torch.channels_last) for x in given)
        if self.precision == "fp32":
            return self.network(*given)
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        with torch.autocast(self.device.split(":")[0], dtype):
            return self.network(*given).float()

    def _exported(self, export: Callable[[Path], Any], backend: Backend) -> Callable[..., Tensor]:
        """The network run by another runtime, from a file that is named by the weights."""
        from gantoolkit.export import onnx_runner, openvino_runner
        from gantoolkit.model import user_models

        digest = hashlib.sha256()
        for key, value in self.network.state_dict().items():
            digest.update(key.encode() + value.numpy().tobytes())
        path = user_models().parent / "cache" / f"{digest.hexdigest()[:16]}.onnx"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            export(path)
        if backend == "onnx":
            return onnx_runner(path)
        return openvino_runner(path, precision="fp32" if self.precision == "fp32" else "bf16")
