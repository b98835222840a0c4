"""Writing a picture: whole or not at all, over nothing unasked, wherever it goes."""

from __future__ import annotations

import errno
import io
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gantoolkit.errors import InputError, UsageError
from gantoolkit.images import Picture, read, write
from tests.pictures import FORMATS, noise


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a.png"
    write(Picture(noise(4, 4)), path)
    with pytest.raises(UsageError, match="--force"):
        write(Picture(noise(5, 5)), path)
    assert read(path).pixels.shape[0] == 4
    write(Picture(noise(5, 5)), path, force=True)
    assert read(path).pixels.shape[0] == 5
    for bad, fragment in (("a.xyz", "no picture format"), ("new folder", "no picture format")):
        with pytest.raises(UsageError, match=fragment):
            write(Picture(noise(4, 4)), tmp_path / bad)
    with pytest.raises(UsageError, match="unknown picture format 'psd'"):
        write(Picture(noise(4, 4)), tmp_path / "a.png", format="psd")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    kind: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a.{kind}"
    write(Picture(noise(4, 4)), path)
    before = path.read_bytes()

    def fail(_: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    expected = InputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        write(Picture(noise(9, 9)), path, force=True)
    assert isinstance(error, KeyboardInterrupt) or ("No space" in str(caught.value) and str(path) in str(caught.value))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_full_disk_in_the_middle_of_a_file(kind: str, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(InputError, match=f"cannot write.*a.{kind}"):
            write(Picture(noise(300, 300)), tmp_path / f"a.{kind}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write"):
        write(Picture(noise(4, 4)), tmp_path / "file" / "a.png")


def test_names_and_streams_that_the_system_refuses(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="File name too long"):
        write(Picture(noise(4, 4)), tmp_path / ("n" * 300 + ".png"))
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(InputError, match="No space"):
        write(Picture(noise(4, 4)), full)  # type: ignore[arg-type]


def test_streams_that_cannot_seek() -> None:
    class Pipe(io.RawIOBase):
        data = b""

        def writable(self) -> bool:
            return True

        def write(self, block: Any) -> int:
            self.data += bytes(block)
            return len(block)

    for kind in FORMATS:
        pipe = Pipe()
        write(Picture(noise(16, 16)), pipe, format=kind)  # type: ignore[arg-type]
        assert read(io.BytesIO(pipe.data)).pixels.shape == (16, 16, 3)


def test_a_large_png_needs_little_memory_beside_its_pixels() -> None:
    script = """
import io, resource, numpy as np
from gantoolkit.images import Picture, write
class Sink(io.RawIOBase):
    def writable(self): return True
    def write(self, block): return len(block)
write(Picture(np.zeros((64, 64, 3), np.uint8)), Sink())
pixels = np.full((8000, 6000, 3), 7, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write(Picture(pixels), Sink())
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 100  # MB; a second copy would be 144 or 192
