"""Exported networks: what is written gives the same outputs at any size; what differs is not written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gantk_superres.networks import CompactSR, RRDBNet, SRVGGNetCompact
from gantoolkit.errors import InputError, UsageError
from gantoolkit.export import onnx_runner, openvino_runner, to_onnx
from tests.tolerances import TOL

TOLERANCE = TOL["onnx parity, absolute"]
EXAMPLE = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0))


def compact(scale: int = 3) -> CompactSR:
    network = CompactSR(scale, channels=8, blocks=2).eval()
    nn.init.normal_(network.tail.weight, std=0.05)  # it starts at zero, where any error would be hidden
    return network


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network, path = compact(), tmp_path_factory.mktemp("export") / "compact.onnx"
    to_onnx(network, path, EXAMPLE)
    return network, path


@pytest.mark.parametrize("size", [(1, 3, 17, 33), (3, 3, 40, 12)])
def test_the_file_takes_any_size(exported: tuple[nn.Module, Path], size: tuple[int, ...]) -> None:
    network, path = exported
    pixels = torch.rand(size)
    with torch.inference_mode():
        expected = network(pixels)
    output = onnx_runner(path, threads=1)(pixels)
    assert output.shape == (size[0], 3, 3 * size[2], 3 * size[3])
    assert (output - expected).abs().max().item() <= TOLERANCE


def test_openvino_runs_the_same_file(exported: tuple[nn.Module, Path]) -> None:
    pytest.importorskip("openvino")
    network, path = exported
    run = openvino_runner(path, threads=1)
    for size in [(1, 3, 17, 33), (2, 3, 40, 12)]:
        pixels = torch.rand(size)
        with torch.inference_mode():
            assert (run(pixels) - network(pixels)).abs().max().item() <= TOLERANCE
    with pytest.raises(InputError, match="does not take this input"):
        run(torch.rand(1, 4, 8, 8))
    with pytest.raises(UsageError, match="expected fp32 or bf16"):
        openvino_runner(path, precision="int3")


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(SRVGGNetCompact(2, channels=8, convs=1), id="srvgg"),
        pytest.param(RRDBNet(4, channels=8, blocks=1, growth=4), id="rrdb x4", marks=pytest.mark.slow),
        pytest.param(RRDBNet(2, channels=8, blocks=1, growth=4), id="rrdb x2", marks=pytest.mark.slow),
    ],
)
def test_every_network_exports_within_tolerance(tmp_path: Path, network: nn.Module) -> None:
    sizes = [(1, 3, 17, 33), (2, 3, 48, 24)]
    parity = to_onnx(network, tmp_path / "net.onnx", EXAMPLE, check_sizes=sizes, tolerance=TOLERANCE)
    assert 0 <= parity.max_abs <= TOLERANCE
    assert parity.sizes == tuple(sizes)
    assert "ONNX Runtime" in str(parity)
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"], "one file, nothing left beside it"


def test_the_network_is_left_as_it_was_and_stdout_stays_silent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Dropout(0.5)).to(torch.bfloat16).train()
    network[0].eval()
    to_onnx(network, tmp_path / "net.onnx", EXAMPLE)
    assert network.training
    assert not network[0].training
    assert all(value.dtype == torch.bfloat16 for value in network.parameters())
    assert capsys.readouterr().out == ""


def test_axes_carry_their_names(exported: tuple[nn.Module, Path]) -> None:
    import onnx

    graph = onnx.load(exported[1]).graph
    dims = graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == ["batch", 3, "height", "width"]
    assert [graph.input[0].name, graph.output[0].name] == ["image", "output"]


def test_a_file_that_differs_is_not_written(tmp_path: Path) -> None:
    class ReadsTheClock(nn.Module):
        """A network whose trace cannot repeat what it does."""

        calls = 0

        def forward(self, pixels: Tensor) -> Tensor:
            ReadsTheClock.calls += 1
            return pixels + float(ReadsTheClock.calls)

    path = tmp_path / "net.onnx"
    path.write_bytes(b"the old one")
    with pytest.raises(InputError, match="differs from PyTorch"):
        to_onnx(ReadsTheClock(), path, EXAMPLE)
    assert path.read_bytes() == b"the old one"


def test_the_folder_of_the_file_is_made(tmp_path: Path) -> None:
    to_onnx(compact(), tmp_path / "deep" / "er" / "net.onnx", EXAMPLE)
    assert [path.name for path in (tmp_path / "deep" / "er").iterdir()] == ["net.onnx"]


def test_a_place_that_cannot_be_written_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("the work was begun")

    monkeypatch.setattr(torch.onnx, "export", work)
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(UsageError, match=r"folder\.onnx is a folder, expected the name of a file"):
        to_onnx(compact(), tmp_path / "folder.onnx", EXAMPLE)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=r"cannot write .*net\.onnx.*; choose another folder"):
        to_onnx(compact(), tmp_path / "file" / "net.onnx", EXAMPLE)
    monkeypatch.setattr("gantoolkit.export.os.access", lambda *_: False)
    with pytest.raises(InputError, match=r"Permission denied; choose another folder"):
        to_onnx(compact(), tmp_path / "net.onnx", EXAMPLE)


def test_broken_files_and_wrong_inputs_are_input_errors(exported: tuple[nn.Module, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(exported[1].read_bytes()[:200])
    with pytest.raises(InputError, match=r"broken\.onnx"):
        onnx_runner(broken)
    with pytest.raises(InputError, match="no such file"):
        onnx_runner(tmp_path / "gone.onnx")
    with pytest.raises(InputError, match=r"does not take this input.*\(1, 4, 8, 8\)"):
        onnx_runner(exported[1])(torch.rand(1, 4, 8, 8))


@pytest.mark.parametrize(
    ("package", "extra"), [("onnxscript", "onnx"), ("onnxruntime", "onnx"), ("openvino", "openvino")]
)
def test_a_missing_package_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "net.onnx").write_bytes(b"")
    with pytest.raises(UsageError, match=rf'{package}.*pip install "gantoolkit\[{extra}\]"'):
        if package == "openvino":
            openvino_runner(tmp_path / "net.onnx")
        elif package == "onnxruntime":
            onnx_runner(tmp_path / "net.onnx")
        else:
            to_onnx(compact(), tmp_path / "net.onnx", EXAMPLE)
