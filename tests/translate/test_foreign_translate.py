"""Generators of pytorch-CycleGAN-and-pix2pix come in and give the same pictures; what is broken or hostile stays out.

Both networks are stated anew here from the published layout: how its state dicts call layers, and what it computes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gantk_translate import foreign, games
from gantk_translate.options import TranslateConfig
from gantk_translate.sides import Side
from gantk_translate.translator import Translator
from gantoolkit.cli import call
from gantoolkit.errors import InputError
from tests.tolerances import TOL


def normed(kind: str, channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.InstanceNorm2d(channels)


class Block(nn.Module):
    def __init__(self, channels: int, kind: str, dropout: bool) -> None:
        super().__init__()

        def half() -> list[nn.Module]:
            conv = nn.Conv2d(channels, channels, 3, bias=kind == "instance")
            return [nn.ReflectionPad2d(1), conv, normed(kind, channels)]

        middle = [nn.ReLU(), nn.Dropout(0.5)] if dropout else [nn.ReLU()]
        self.conv_block = nn.Sequential(*half(), *middle, *half())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class Resnet(nn.Module):
    def __init__(self, planes: tuple[int, int], width: int, blocks: int, kind: str, dropout: bool = False) -> None:
        super().__init__()
        bias = kind == "instance"
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(planes[0], width, 7, bias=bias)]
        layers += [normed(kind, width), nn.ReLU()]
        for w in (width, 2 * width):
            layers += [nn.Conv2d(w, 2 * w, 3, 2, 1, bias=bias), normed(kind, 2 * w), nn.ReLU()]
        layers += [Block(4 * width, kind, dropout) for _ in range(blocks)]
        for w in (4 * width, 2 * width):
            layers += [nn.ConvTranspose2d(w, w // 2, 3, 2, 1, 1, bias=bias), normed(kind, w // 2), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, planes[1], 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Nested(nn.Module):
    """A halving, what is within, and a doubling; LeakyReLU and ReLU work in place, on what is skipped too."""

    def __init__(self, outer: int, inner: int, within: nn.Module | None, kind: str, source: int = 0) -> None:
        super().__init__()
        self.outermost, bias = source > 0, kind == "instance"
        down = nn.Conv2d(source or outer, inner, 4, 2, 1, bias=bias)
        up = nn.ConvTranspose2d(2 * inner if within else inner, outer, 4, 2, 1, bias=bias or self.outermost)
        leaky, relu = nn.LeakyReLU(0.2, True), nn.ReLU(True)
        if within is None:
            layers = [leaky, down, relu, up, normed(kind, outer)]
        elif self.outermost:
            layers = [down, within, relu, up, nn.Tanh()]
        else:
            layers = [leaky, down, normed(kind, inner), within, relu, up, normed(kind, outer), nn.Dropout(0.5)]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


class Unet(nn.Module):
    def __init__(self, planes: tuple[int, int], width: int, halvings: int, kind: str) -> None:
        super().__init__()
        widths = [width * min(2**i, 8) for i in range(halvings)]
        block = None
        for outer, inner in zip(widths[-2::-1], widths[:0:-1], strict=True):
            block = Nested(outer, inner, block, kind)
        self.model = Nested(planes[1], width, block, kind, planes[0])

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def published(network: nn.Module) -> nn.Module:
    """With weights that matter everywhere, as its own test runs it by default, but without dropout."""
    torch.manual_seed(0)
    for name, value in network.named_parameters():
        scale = value.ndim == 1 and name.endswith("weight")
        nn.init.normal_(value, 1.0 if scale else 0.0, 0.3 if value.ndim == 1 else 0.15)
    for module in network.train().modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    return network


NETWORKS: dict[str, Any] = {
    "resnet": (lambda: Resnet((3, 3), 8, 9, "instance"), 64),
    "resnet with dropout and batch norm": (lambda: Resnet((1, 3), 4, 6, "batch", True), 64),
    "unet": (lambda: Unet((3, 3), 4, 8, "batch"), 512),
    "unet with instance norm": (lambda: Unet((3, 1), 4, 5, "instance"), 64),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_an_imported_generator_gives_the_same_picture(name: str, tmp_path: Path) -> None:
    make, size = NETWORKS[name]
    network = published(make())
    torch.save(network.state_dict(), tmp_path / "latest_net_G.pth")
    model = foreign.load(tmp_path / "latest_net_G.pth")
    source = Side.from_dict(model.config["source"])
    pixels = np.random.default_rng(0).integers(0, 256, (size // 8, size // 8, source.channels), np.uint8)
    planes = source.encode(pixels.repeat(8, 0).repeat(8, 1))
    with torch.no_grad():
        expected = network(torch.from_numpy(planes)[None])[0].numpy()
    made = Translator(model, device="cpu", precision="fp32").planes(planes)
    assert expected.std() > 0.1 and made.shape == expected.shape
    assert np.abs(made - expected).max() < TOL["imported generator, fp32 absolute"]


def test_old_checkpoints_with_statistics_of_instance_norms_load(tmp_path: Path) -> None:
    state = published(Resnet((3, 3), 4, 9, "instance")).state_dict()
    more = {"model.2.running_mean": torch.ones(4), "model.2.running_var": torch.ones(4)}
    torch.save({**state, **more}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    model = foreign.load(tmp_path / "old.pth")
    assert model.config["generator"] == {
        "arch": "resnet", "planes": [3, 3], "channels": 4, "blocks": 9, "norm": "instance",
    }  # fmt: skip
    assert (model.config["game"], model.config["size"], model.config["fit"]) == ("cyclegan", 256, "resize")


def test_the_command_imports_and_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GANTK_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    torch.save(published(Unet((3, 3), 4, 5, "batch")).state_dict(), "latest_net_G.pth")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 40, 3), np.uint8)).save("a.png")
    assert call(["models", "import", "latest_net_G.pth", "--task", "translate", "--name", "facades"]) == 0
    assert call(["run", "translate", "a.png", "-m", "facades"]) == 0
    assert "--size 32 shows them whole" in capsys.readouterr().out and Path("a_translated.png").is_file()
    start = TranslateConfig(game="pix2pix", init=tmp_path / "home/models/facades", channels=4, blocks=5, size=32)
    with pytest.raises(InputError, match="imported U-Net"):
        games.make(start, Side(), Side())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("model.26.bias"), "head.bias does not fit"),
        (lambda s: s.pop("model.14.conv_block.5.weight"), "an unknown network"),
        (lambda s: s.update({"model.1.weight": torch.zeros(4, 7, 7, 7)}), "an unknown network"),
        (lambda s: s.update({"model.26.bias": torch.full((3,), torch.nan)}), "not finite"),
        (lambda s: s.update({"encoder.weight": torch.zeros(3)}), "an unknown network, expected a generator of"),
        (lambda s: s.clear(), "no weights inside"),
        (lambda s: s.update({"epoch": 200}), "no tensor"),
    ],
)
def test_other_networks_are_named(change: Any, message: str, tmp_path: Path) -> None:
    state = dict(Resnet((3, 3), 4, 9, "instance").state_dict())
    change(state)
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(InputError, match=message):
        foreign.load(tmp_path / "odd.pth")


class Hostile:
    """Unpickling this with the plain loader creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    torch.save({"model.1.weight": Hostile(tmp_path / "executed")}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match="refused"):
        foreign.load(tmp_path / "evil.pth")
    assert not (tmp_path / "executed").exists()
