"""Trained networks as ONNX files, compared with PyTorch before they are kept, and their runtimes."""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gantoolkit.errors import InputError, UsageError
from gantoolkit.runlog import write_atomically

__all__ = ["Parity", "Runner", "onnx_runner", "openvino_runner", "to_onnx"]

Runner = Callable[..., Tensor]

_AXES = {0: "batch", 2: "height", 3: "width"}
_IMAGE_AXES = {"image": _AXES}


@dataclass(frozen=True)
class Parity:
    """How closely an exported file follows the network it came from, in fp32 on the CPU.

    Attributes:
        max_abs: largest absolute difference over all outputs.
        tolerance: what was allowed.
        sizes: input shapes that were compared, with uniform random pixels in [0, 1].
        runtime: name and version of the runtime.
    """

    max_abs: float
    tolerance: float
    sizes: tuple[tuple[int, ...], ...]
    runtime: str

    def __str__(self) -> str:
        sizes = ", ".join("x".join(map(str, size)) for size in self.sizes)
        allowed = f"allowed {self.tolerance:.0e}"
        return f"max abs difference {self.max_abs:.1e} ({allowed}) at {sizes} in {self.runtime}"


def to_onnx(
    network: nn.Module,
    path: str | Path,
    example: Tensor,
    *,
    input_name: str = "image",
    output_name: str = "output",
    dynamic: Mapping[str, Mapping[int, str]] = _IMAGE_AXES,
    others: Mapping[str, Tensor] = MappingProxyType({}),
    check_sizes: Sequence[tuple[int, ...]] = ((1, 3, 32, 40), (2, 3, 48, 24)),
    tolerance: float = 1e-4,
) -> Parity:
    """Write `network` as one ONNX file once ONNX Runtime gives the same outputs as PyTorch.

    Args:
        network: maps one tensor (and `others`) to one tensor; exported in evaluation mode and fp32, and left as it was.
        path: the file to write, replaced as a whole or not at all; its folder is made where it is missing.
        example: an input, for its fixed axes; a dynamic batch axis is traced with two of it.
        input_name: name of the graph's input.
        output_name: name of the graph's output.
        dynamic: for the input, names of the axes whose sizes stay open.
        others: further inputs by name, each with an example; their batch is that of the first input, height and width
            of pictures (four axes) stay open.
        check_sizes: input shapes to compare at; the others keep theirs.
        tolerance: largest absolute difference allowed.

    Raises:
        UsageError: when the name ends in something else than .onnx or is a folder's, or the packages for it are not
            installed.
        InputError: when the network cannot be exported, the outputs differ, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".onnx":
        raise UsageError(f"{path}: unknown format", expected="a name that ends in .onnx")
    for name in ("onnx", "onnxscript"):
        _needed(name, "onnx")
    _make_room(path)
    axes = dynamic.get(input_name, {})
    if 0 in axes and example.shape[0] == 1:
        example = torch.cat([example, example])  # a traced size of one would become a constant
    examples = [example, *(torch.cat([other] * len(example)) for other in others.values())]
    open_axes = [axes, *(_open(name, other) for name, other in others.items())]
    with _frozen(network):
        try:
            with _quiet():
                program = torch.onnx.export(
                    network,
                    tuple(one.float().cpu() for one in examples),
                    dynamo=True,
                    verbose=False,
                    input_names=[input_name, *others],
                    output_names=[output_name],
                    dynamic_shapes=tuple(dict.fromkeys(one, torch.export.Dim.DYNAMIC) for one in open_axes),
                )
            assert program is not None
            serialised = _named_axes(program.model_proto, open_axes).SerializeToString()
        except (torch.onnx.errors.OnnxExporterError, ValueError) as error:
            problem = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(f"{type(network).__name__} cannot be exported to ONNX: {problem}") from error
        parity = _compared(network, serialised, check_sizes, tolerance, list(others.values()))
    write_atomically(path, serialised)
    return parity


def _make_room(path: Path) -> None:
    """Make the folder of a file; what stands in the way is said before the long work, and not after it."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder", expected="the name of a file", remedy="choose another name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}", remedy="choose another folder") from error


def _open(name: str, example: Tensor) -> dict[int, str]:
    """Axis → name of the axes of a further input that stay open."""
    return {axis: f"{name}_{word}" if axis else word for axis, word in _AXES.items() if not axis or example.ndim == 4}


def onnx_runner(path: str | Path, threads: int | None = None) -> Runner:
    """A function that runs an ONNX file in ONNX Runtime on the CPU: fp32 tensors in, fp32 tensor out.

    Args:
        path: a file with one output; its inputs are the function's arguments, in order.
        threads: threads inside an operator; the runtime's own choice when None.

    Raises:
        UsageError: when ONNX Runtime is not installed.
        InputError: when the file is missing or no ONNX model; when called, for an input of the wrong shape.
    """
    return _onnx_session(str(_existing(path)), str(path), threads)


def openvino_runner(path: str | Path, threads: int | None = None, precision: str = "fp32") -> Runner:
    """A function that runs an ONNX file in OpenVINO on the CPU: fp32 tensors in, fp32 tensor out.

    Args:
        path: a file with one output; its inputs are the function's arguments, in order.
        threads: threads to use; the runtime's own choice when None.
        precision: "fp32", or "bf16" for about twice the speed where the processor has it.

    Raises:
        UsageError: when OpenVINO is not installed, or for another precision.
        InputError: when the file is missing or no ONNX model; when called, for an input of the wrong shape.
    """
    hints = {"fp32": "f32", "bf16": "bf16"}
    if precision not in hints:
        raise UsageError("unknown precision for OpenVINO", expected=" or ".join(hints), actual=precision)
    openvino = _needed("openvino", "openvino")
    options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": hints[precision]}
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    try:
        compiled = openvino.Core().compile_model(str(_existing(path)), "CPU", options)
    except RuntimeError as error:
        raise InputError(f"{path}: not a model that OpenVINO can read", expected="an .onnx file") from error

    def run(*given: Tensor) -> Tensor:
        try:
            return torch.from_numpy(np.array(compiled([_array(one) for one in given])[0]))
        except RuntimeError as error:
            raise _wrong_input(path, given) from error

    return run


def _onnx_session(source: str | bytes, label: str, threads: int | None) -> Runner:
    onnxruntime = _needed("onnxruntime", "onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors arrive as exceptions, one line each
    if threads is not None:
        options.intra_op_num_threads = threads
    # The runtime's exceptions share no base class of their own.
    try:
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        names = [entry.name for entry in session.get_inputs()]
    except Exception as error:
        raise InputError(f"{label}: not a usable ONNX model") from error

    def run(*given: Tensor) -> Tensor:
        try:
            arrays = dict(zip(names, map(_array, given), strict=True))
            return torch.from_numpy(session.run(None, arrays)[0])
        except Exception as error:
            raise _wrong_input(label, given) from error

    return run


def _compared(
    network: nn.Module, serialised: bytes, sizes: Sequence[tuple[int, ...]], tolerance: float, others: Sequence[Tensor]
) -> Parity:
    name = type(network).__name__
    runner = _onnx_session(serialised, f"{name} as ONNX", None)
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for size in sizes:
        given = [torch.rand(size, generator=generator)]
        for other in others:  # pictures are made up; what else there is (ids, masks) may not be just any numbers
            rows = (size[0], *other.shape[1:])
            given.append(torch.rand(rows, generator=generator) if other.ndim == 4 else other.expand(rows))
        with torch.inference_mode():
            ours = network(*given)
        theirs = runner(*given)
        if ours.shape != theirs.shape:
            raise InputError(
                f"{name} as ONNX gives another shape", expected=tuple(ours.shape), actual=tuple(theirs.shape)
            )
        difference = (ours - theirs).abs().max().item()
        if not difference <= tolerance:  # catches NaN too
            raise InputError(
                f"{name} as ONNX differs from PyTorch at {size}",
                expected=f"{tolerance} or less",
                actual=difference,
            )
        worst = max(worst, difference)
    runtime = f"ONNX Runtime {_needed('onnxruntime', 'onnx').__version__}"
    return Parity(worst, tolerance, tuple(tuple(size) for size in sizes), runtime)


def _named_axes(model: Any, axes: Sequence[Mapping[int, str]]) -> Any:
    """The graph with readable names for its inputs' open axes."""
    for entry, names in zip(model.graph.input, axes, strict=True):
        for axis, name in names.items():
            entry.type.tensor_type.shape.dim[axis].dim_param = name
    return model


@contextlib.contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """`network` in evaluation mode, fp32 on the CPU; its mode, placement and precision are restored."""
    training = {module: module.training for module in network.modules()}
    values = [*network.parameters(), *network.buffers()]
    before = [value.data for value in values]
    try:
        for value in values:
            value.data = value.data.cpu().float() if value.is_floating_point() else value.data.cpu()
        network.eval()
        yield
    finally:
        for value, data in zip(values, before, strict=True):
            value.data = data
        for module, mode in training.items():
            module.training = mode


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress lines and warnings away: stdout may be a pipe of pixels."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _needed(package: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UsageError(
            f"the package {package} is not installed", remedy=f'pip install "gantoolkit[{extra}]"'
        ) from error


def _existing(path: str | Path) -> Path:
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file", expected="an .onnx file", remedy="gantk models export makes one")
    return Path(path)


def _array(pixels: Tensor) -> np.ndarray:
    return np.ascontiguousarray(pixels.detach().float().cpu().numpy())


def _wrong_input(label: object, given: Sequence[Tensor]) -> InputError:
    shapes = " and ".join(str(tuple(one.shape)) for one in given)
    return InputError(f"{label}: the model does not take this input", actual=f"shape {shapes}")
