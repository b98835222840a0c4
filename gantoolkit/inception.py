"""The Inception network of the standard FID, from a weights file that the user has.

The layout is that of `pt_inception-2015-12-05` (the file that pytorch-fid and torch-fidelity load): the names of
torchvision's Inception v3, 1008 classes, no auxiliary classifier. Its blocks are those of Szegedy et al. 2016,
arXiv:1512.00567, figures 5, 6, 7 and 10, with two habits of the TensorFlow graph of 2015 that the FID is defined
with: means at a border count only pixels of the picture, and the last block takes maxima where the paper has means.

Each block is a table: branches of steps (name, channels out, kernel, stride), side by side where a step is a list.
"""

from __future__ import annotations

import hashlib
import pickle
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from gantoolkit.errors import InputError
from gantoolkit.features import check_pictures

Step = tuple[str, int, tuple[int, int], int]
Branch = list[Step | list[Step]]
Pool = Literal["mean", "max", "shrink"]

CLASSES = 1008  # outputs of the TensorFlow graph's last layer


class Inception:
    """Inception v3 of the standard FID with clean resizing (Parmar et al. 2022, arXiv:2104.11222).

    `vectors` gives the 2048 features of "pool3" of pictures that are resized to 299² as floats by antialiased bicubic
    interpolation, with Pillow's kernel. `stages` gives maps of 64, 192, 288, 768 and 2048 channels.

    Args:
        path: the weights, `.pth` or `.safetensors`.

    Raises:
        InputError: no such file, or one of another layout.
    """

    name = "Inception"
    input_size = 299
    min_size = 75  # pixels: below this the last blocks have nothing to look at
    resizer = "bicubic, antialiased, 299²"

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(f"{path} is no file with the weights of Inception", remedy="name pt_inception-2015-12-05")
        self._path = path
        self.weights_hash = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        _network(
            path, self.weights_hash, torch.device("cpu")
        )  # a wrong file is a matter of now, not of the first picture

    def stages(self, x: Tensor) -> list[Tensor]:
        """Five feature maps of pictures N,3,H,W in [0, 1], H and W at least 75."""
        return _network(self._path, self.weights_hash, x.device).stages(self._scaled(x, self.min_size))

    def vectors(self, x: Tensor) -> Tensor:
        """N,2048 of pictures N,3,H,W in [0, 1]."""
        x = self._scaled(x, 1)
        if x.shape[-2:] != (self.input_size, self.input_size):
            x = interpolate(x, (self.input_size,) * 2, mode="bicubic", align_corners=False, antialias=True)
            x = x.clamp(-1, 127 / 128)
        return _network(self._path, self.weights_hash, x.device).stages(x)[-1].mean((2, 3))

    def _scaled(self, x: Tensor, min_size: int) -> Tensor:
        """(255·x − 128) / 128, as the TensorFlow graph begins."""
        check_pictures(x, self.name, min_size)
        return (x.float() * 255 - 128) / 128


@lru_cache(maxsize=2)
def _network(path: Path, weights_hash: str, device: torch.device) -> InceptionV3:
    """The frozen network, one a content and device in the process."""
    with torch.inference_mode(False):
        weights = read_weights(path)
        with torch.device("meta"):
            net = InceptionV3()
        # Files disagree on whether they count training steps; nothing here does.
        counters = [key for key in net.state_dict() if key.endswith(".num_batches_tracked")]
        fit(net, weights | dict.fromkeys(counters, torch.tensor(0)), path, "pt_inception-2015-12-05")
        return net.eval().requires_grad_(False).to(device)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file, or of a `.pth` without running code from it.

    Raises:
        InputError: the file cannot be read as such.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        return {str(key): value.detach().float() for key, value in weights.items()}
    except (
        OSError,
        SafetensorError,
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        AttributeError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be read as weights: {reason}") from error


def fit(net: nn.Module, weights: dict[str, Tensor], path: Path, layout: str) -> None:
    """Put tensors into a network made on the meta device; every one must be there, none too many.

    Raises:
        InputError: names or shapes differ; the first difference is named.
    """
    wanted = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in weights.items()}
    for key in sorted(wanted.keys() | found.keys()):
        if wanted.get(key) != found.get(key):
            raise InputError(
                f"{path} has another layout than {layout}: {key}",
                expected=wanted.get(key, "nothing"),
                actual=found.get(key, "nothing"),
            )
    net.load_state_dict(weights, assign=True)


class _Conv(nn.Module):
    """Convolution, batch norm (ε = .001) with fixed statistics, ReLU."""

    def __init__(self, width: int, out: int, kernel: tuple[int, int], stride: int, padding: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu()


class _Mixed(nn.Module):
    """Branches of convolutions beside a pool, side by side in the channels.

    A pool of means or maxima keeps the size and is followed by a 1×1 convolution; "shrink" takes maxima at stride 2.
    """

    def __init__(self, width: int, branches: list[Branch], pool: Pool, pooled: int = 0) -> None:
        super().__init__()
        self.branches, self.pool, self.out = branches, pool, pooled or width
        for branch in branches:
            inside = width
            for step in branch:
                together = step if isinstance(step, list) else [step]
                for name, out, kernel, stride in together:
                    padding = (kernel[0] // 2, kernel[1] // 2) if stride == 1 else (0, 0)
                    self.add_module(name, _Conv(inside, out, kernel, stride, padding))
                inside = sum(out for _, out, _, _ in together)
            self.out += inside
        if pooled:
            self.branch_pool = _Conv(width, pooled, (1, 1), 1, (0, 0))

    def forward(self, x: Tensor) -> Tensor:
        maps = [self._branch(x, branch) for branch in self.branches]
        if self.pool == "shrink":
            return torch.cat([*maps, max_pool2d(x, 3, 2)], 1)
        if self.pool == "max":
            return torch.cat([*maps, self.branch_pool(max_pool2d(x, 3, 1, 1))], 1)
        return torch.cat([*maps, self.branch_pool(avg_pool2d(x, 3, 1, 1, count_include_pad=False))], 1)

    def _branch(self, x: Tensor, branch: Branch) -> Tensor:
        for step in branch:
            together = step if isinstance(step, list) else [step]
            maps = [self.get_submodule(name)(x) for name, *_ in together]
            x = maps[0] if len(maps) == 1 else torch.cat(maps, 1)
        return x


ONE, THREE, FIVE, ROW, COLUMN = (1, 1), (3, 3), (5, 5), (1, 7), (7, 1)


def _block_5(width: int, pooled: int) -> _Mixed:
    """Figure 5, with one 5×5 kept."""
    double: Branch = [
        ("branch3x3dbl_1", 64, ONE, 1),
        ("branch3x3dbl_2", 96, THREE, 1),
        ("branch3x3dbl_3", 96, THREE, 1),
    ]
    five: Branch = [("branch5x5_1", 48, ONE, 1), ("branch5x5_2", 64, FIVE, 1)]
    return _Mixed(width, [[("branch1x1", 64, ONE, 1)], five, double], "mean", pooled)


def _block_6(width: int, c: int) -> _Mixed:
    """Figure 6 with n = 7."""
    once: Branch = [("branch7x7_1", c, ONE, 1), ("branch7x7_2", c, ROW, 1), ("branch7x7_3", 192, COLUMN, 1)]
    kernels = [(ONE, c), (COLUMN, c), (ROW, c), (COLUMN, c), (ROW, 192)]
    twice: Branch = [(f"branch7x7dbl_{i}", out, kernel, 1) for i, (kernel, out) in enumerate(kernels, 1)]
    return _Mixed(width, [[("branch1x1", 192, ONE, 1)], once, twice], "mean", 192)


def _block_7(width: int, pool: Pool) -> _Mixed:
    """Figure 7: the two halves of a 3×3 side by side."""

    def halves(name: str) -> list[Step]:
        return [(f"{name}a", 384, (1, 3), 1), (f"{name}b", 384, (3, 1), 1)]

    once: Branch = [("branch3x3_1", 384, ONE, 1), halves("branch3x3_2")]
    twice: Branch = [("branch3x3dbl_1", 448, ONE, 1), ("branch3x3dbl_2", 384, THREE, 1), halves("branch3x3dbl_3")]
    return _Mixed(width, [[("branch1x1", 320, ONE, 1)], once, twice], pool, 192)


def _shrink_6(width: int) -> _Mixed:
    """Figure 10, 35² → 17²."""
    double: Branch = [
        ("branch3x3dbl_1", 64, ONE, 1),
        ("branch3x3dbl_2", 96, THREE, 1),
        ("branch3x3dbl_3", 96, THREE, 2),
    ]
    return _Mixed(width, [[("branch3x3", 384, THREE, 2)], double], "shrink")


def _shrink_7(width: int) -> _Mixed:
    """Figure 10, 17² → 8², with factorised 7×7 before one 3×3."""
    kernels: list[tuple[Any, int]] = [(ONE, 1), (ROW, 1), (COLUMN, 1), (THREE, 2)]
    long: Branch = [(f"branch7x7x3_{i}", 192, kernel, stride) for i, (kernel, stride) in enumerate(kernels, 1)]
    short: Branch = [("branch3x3_1", 192, ONE, 1), ("branch3x3_2", 320, THREE, 2)]
    return _Mixed(width, [short, long], "shrink")


class InceptionV3(nn.Module):
    """Szegedy et al. 2016, table 1, as the FID has it; `fc` is held so that a file fits, and never used."""

    # The last module of each resolution.
    ENDS = ("Conv2d_2b_3x3", "Conv2d_4a_3x3", "Mixed_5d", "Mixed_6e", "Mixed_7c")

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Conv(3, 32, THREE, 2, (0, 0))
        self.Conv2d_2a_3x3 = _Conv(32, 32, THREE, 1, (0, 0))
        self.Conv2d_2b_3x3 = _Conv(32, 64, THREE, 1, (1, 1))
        self.Conv2d_3b_1x1 = _Conv(64, 80, ONE, 1, (0, 0))
        self.Conv2d_4a_3x3 = _Conv(80, 192, THREE, 1, (0, 0))
        self.Mixed_5b = _block_5(192, 32)
        self.Mixed_5c = _block_5(256, 64)
        self.Mixed_5d = _block_5(288, 64)
        self.Mixed_6a = _shrink_6(288)
        self.Mixed_6b = _block_6(768, 128)
        self.Mixed_6c = _block_6(768, 160)
        self.Mixed_6d = _block_6(768, 160)
        self.Mixed_6e = _block_6(768, 192)
        self.Mixed_7a = _shrink_7(768)
        self.Mixed_7b = _block_7(1280, "mean")
        self.Mixed_7c = _block_7(2048, "max")
        self.fc = nn.Linear(2048, CLASSES)

    def stages(self, x: Tensor) -> list[Tensor]:
        """Maps at the end of each resolution, of N,3,H,W in [-1, 1)."""
        maps = []
        for name, module in self.named_children():
            if name == "fc":
                break
            x = module(x)
            if name in self.ENDS:
                maps.append(x)
            if name in ("Conv2d_2b_3x3", "Conv2d_4a_3x3"):
                x = max_pool2d(x, 3, 2)
        return maps
