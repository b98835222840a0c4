"""`gantk run superres` on real files: what goes wrong, where things come from and go to, and what is said."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import shutil
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gantoolkit import images
from gantoolkit.cli import call
from gantoolkit.images import Picture
from gantoolkit.model import MAIN, Model
from gantoolkit.resample import resize_array
from tests.superres import tiny
from tests.superres.conftest import Run
from tests.superres.files import INSIDE, names, photo, save


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


# ---- what can be wrong with a file ----


def png(width: int, height: int, data: bytes = b"\0") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def animated() -> bytes:
    stream, frames = io.BytesIO(), [Image.new("L", (8, 8), 90 * index) for index in range(3)]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    return stream.getvalue()


def encoded(kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(photo(64, 64)).save(stream, kind, **options)
    return stream.getvalue()


BAD: dict[str, tuple[bytes, str]] = {
    "truncated.png": (encoded("PNG")[:-300], "damaged or cut short"),
    "truncated.jpg": (encoded("JPEG")[:-300], "damaged or cut short"),
    "truncated.webp": (encoded("WEBP")[:-100], "damaged|cut short"),
    "truncated.tif": (encoded("TIFF")[:200], "damaged|cut short"),
    "header only.png": (encoded("PNG")[:40], "damaged|cut short"),
    "empty.png": (b"", "empty file"),
    "text.png": (b"To whom it may concern\n" * 20, "not a picture"),
    "bomb.png": (png(100_000, 100_000), "too many pixels"),
    "wide bomb.png": (png(2_000_000_000, 1), "too many pixels"),
    "bomb.jpg": (
        encoded("JPEG").replace(struct.pack(">HH", 64, 64), struct.pack(">HH", 65_500, 65_500), 1),
        "too many pixels",
    ),
    "animated.gif": (animated(), "3 frames"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_line_and_exit_code_3(gantk: Run, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(name).write_bytes(BAD[name][0])
    assert gantk(name) == 3
    errors = lines(capsys)
    assert len(errors) == 1 and errors[0].startswith("error: ") and name in errors[0]
    assert re.search(BAD[name][1], errors[0])
    assert names() == {name}


def test_a_batch_goes_on_past_every_bad_file(gantk: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for name, (data, _) in BAD.items():
        Path("in", name).parent.mkdir(exist_ok=True)
        Path("in", name).write_bytes(data)
    good = [save("in/a.png"), save("in/m.jpg"), save("in/zz.webp")]
    assert gantk("in", "missing.png", "-o", "out", "--json") == 4
    captured = capsys.readouterr()
    rows = [json.loads(line) for line in captured.out.splitlines()]
    assert [row["source"] for row in rows] == [
        *sorted(f"in/{name}" for name in [*BAD, "a.png", "m.jpg", "zz.webp"]),
        "missing.png",
    ]
    assert {row["source"] for row in rows if not row["error"]} == {path.as_posix() for path in good}
    assert all(row["size"] == [40, 48] and row["input_size"] == [10, 12] for row in rows if not row["error"])
    assert "missing.png does not exist" in rows[-1]["error"]
    assert len(captured.err.splitlines()) == len(BAD) + 1
    assert names(Path("out")) == {"a.png", "m.jpg", "zz.webp"}


def test_a_missing_file_alone_and_among_others(gantk: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert gantk("none.png") == 3
    assert lines(capsys) == ["error: none.png does not exist; check the name; quote patterns with * or ?"]
    save("a.png"), save("b.png")
    Path("bare").mkdir()
    assert gantk("none.png", "a.png", "bare", "no*.png", "b.png") == 4
    errors = lines(capsys)
    assert len(errors) == 3
    assert names() == {"a.png", "b.png", "a_x4.png", "b_x4.png"}
    assert gantk("none.png", "nor-this.png") == 4


@pytest.mark.skipif(os.geteuid() != 0, reason="drops root's rights")
def test_a_folder_that_may_not_be_written(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o755)
        shutil.copytree(models / "flat", folder / "flat")
        save(folder / "a.png"), save(folder / "b.png"), save(folder / "locked" / "c.png")
        arguments = ["run", "superres", str(folder / "a.png"), "-m", str(folder / "flat"), "-o"]
        assert call([*arguments, str(folder / "warm.png")]) == 0  # whatever is imported late
        capsys.readouterr()
        (folder / "locked" / "c.png").chmod(0)
        before = names(folder)
        os.seteuid(65534)
        try:
            assert call([*arguments, str(folder / "new" / "a.png")]) == 3
            assert call([*arguments, str(folder / "x.png")]) == 3
            assert call([*arguments, str(folder), str(folder / "b.png"), "--suffix", "_y", "-f"]) == 2
            assert call(["run", "superres", str(folder / "locked/c.png"), "-m", str(folder / "flat")]) == 3
        finally:
            os.seteuid(0)
        errors = lines(capsys)
        assert len(errors) == 4 and [e for e in errors if "Permission denied" in e] == [*errors[:2], errors[3]]
        assert names(folder) == before


def test_a_disk_that_fills_up(gantk: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit on the size of files stops the write half way, as a full disk does."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for name in ("a", "b", "c"):
        images.write(Picture(noise if name == "b" else photo()), f"{name}.png")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        assert gantk("a.png", "b.png", "c.png", "-o", "out") == 4
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "cannot write out/b.png: File too large" in "".join(lines(capsys))
    assert names(Path("out")) == {"a.png", "c.png"}


# ---- where things come from and go to ----


def test_folders_globs_and_mirrored_trees(gantk: Run) -> None:
    save("in/a.png"), save("in/deep/b.jpg"), save("in/deep/er/c.png")
    Path("in/notes.txt").write_text("no picture")
    assert gantk("in", "-o", "flat") == 0
    assert names(Path("flat")) == {"a.png"}
    assert gantk("in", "-r", "-o", "tree") == 0
    assert names(Path("tree")) == {"a.png", "deep/b.jpg", "deep/er/c.png"}
    assert gantk("in/deep/*.jpg", "in/**/c.*", "-o", "globs") == 0
    assert names(Path("globs")) == {"b.jpg", "c.png"}


def test_output_file_folder_suffix_and_format(gantk: Run, capsys: pytest.CaptureFixture[str]) -> None:
    save("a.png")
    for arguments, expected in [
        ((), "a_x4.png"), (("--suffix", "-big"), "a-big.png"),
        (("-o", "new/b.jpg"), "new/b.jpg"), (("-o", "to"), "to/a.png"),
        (("--format", "webp"), "a_x4.webp"), (("-o", "to", "--format", "jpg"), "to/a.jpg"), (("-s", "2"), "a_x2.png"),
        (("--outscale", "2.5"), "a_x2.5.png"),
    ]:  # fmt: skip
        before = names()
        assert gantk("a.png", *arguments) == 0
        assert names() - before == {expected}
        assert images.read(expected).format == {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}[Path(expected).suffix]
    capsys.readouterr()
    assert gantk("a.png", "-o", "c.png", "--format", "jpg") == 2
    assert "say different things" in lines(capsys)[0] and not Path("c.png").exists()


def test_nothing_is_overwritten_without_force(gantk: Run, capsys: pytest.CaptureFixture[str]) -> None:
    save("a.png"), save("b.png")
    Path("a_x4.png").write_text("mine")
    assert gantk("a.png") == 3
    assert "--force" in lines(capsys)[0]
    assert gantk("a.png", "b.png") == 4
    assert Path("a_x4.png").read_text() == "mine" and images.read("b_x4.png").pixels.shape == (48, 40, 3)
    assert gantk("a.png", "--force") == 0
    assert images.read("a_x4.png").pixels.shape == (48, 40, 3)


def test_transparency_that_jpeg_cannot_hold(gantk: Run, capsys: pytest.CaptureFixture[str]) -> None:
    save("a.png", "RGBA")
    assert gantk("a.png", "--format", "jpg") == 3
    assert "transparency" in lines(capsys)[0] and names() == {"a.png"}


def test_sides_that_the_format_cannot_hold(gantk: Run, capsys: pytest.CaptureFixture[str]) -> None:
    images.write(images.Picture(np.zeros((1, 4_100, 1), np.uint8)), "wide.png")
    assert gantk("wide.png", "--format", "webp") == 3
    assert "16383" in (line := lines(capsys)[0]) and "16400 x 4" in line and names() == {"wide.png"}


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ((), (48, 40)), (("-s", 2), (24, 20)), (("-s", 3), (36, 30)), (("--outscale", 2.5), (30, 25)),
        (("--outscale", 0.3), (4, 3)), (("-s", 2, "--outscale", 8), (96, 80)),
    ],
)  # fmt: skip
def test_scales(gantk: Run, arguments: tuple[object, ...], size: tuple[int, int]) -> None:
    save("a.png")
    assert gantk("a.png", "-o", "b.png", *arguments) == 0
    large = images.read("b.png").pixels
    assert large.shape[:2] == size
    if min(size) > 20:
        assert np.abs(large.astype(int) - resize_array(photo(), size))[INSIDE].mean() < 1.5


@pytest.mark.parametrize(
    ("arguments", "code", "fragment"),
    [
        (("--detail", "1.5"), 2, "detail"), (("--detail", "-1"), 2, "detail"), (("-s", "5"), 2, "5"),
        (("--outscale", "0"), 2, "outscale"), (("--outscale", "17"), 2, "outscale"), (("--quality", "0"), 2, "quality"),
        (("--tile", "-1"), 2, "tile"), (("--device", "abacus"), 2, "abacus"), (("--format", "psd"), 2, "psd"),
        (("--precision", "fp8"), 2, "fp8"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense(
    gantk: Run, arguments: tuple[str, ...], code: int, fragment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save("a.png")
    assert gantk("a.png", *arguments) == code
    assert fragment in capsys.readouterr().err
    assert names() == {"a.png"}


def test_detail_tiles_and_precision(gantk: Run) -> None:
    Image.fromarray(photo(40, 40)).save("a.png")
    results = {}
    for name, arguments in {
        "0": ("--detail", "0"), "0.5": ("--detail", "0.5"), "1": ("--detail", "1"), "default": (),
        "tiles": ("--tile", "9"), "bf16": ("--precision", "bf16"),
    }.items():  # fmt: skip
        precision = () if "--precision" in arguments else ("--precision", "fp32")
        assert gantk("a.png", "-o", f"{name}.png", *arguments, *precision, model="tiny") == 0
        results[name] = images.read(f"{name}.png").pixels.astype(int)
    assert np.array_equal(results["default"], results["0.5"])
    assert np.abs(results["tiles"] - results["0.5"]).max() <= 1
    assert 0 < np.abs(results["bf16"] - results["0.5"]).max() <= 3
    assert np.abs(results["0"] - results["1"]).max() > 3
    inner = [np.abs(results[a] - results["0.5"])[INSIDE].mean() for a in ("0", "1")]
    assert inner[0] > 0 and inner[0] == pytest.approx(inner[1], rel=0.2)


def test_models_by_name_folder_and_run(gantk: Run, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save("a.png")
    shutil.copytree(models / "flat", "runs/mine/model")
    assert call(["run", "superres", "a.png", "-m", "runs/mine"]) == 0
    capsys.readouterr()
    assert call(["run", "superres", "a.png", "-m", "photo-x5", "-f"]) == 2
    assert "photo-x4" in lines(capsys)[0]
    Path("runs/mine/model/model.safetensors").write_bytes(b"damaged")
    assert call(["run", "superres", "a.png", "-m", "runs/mine", "-f"]) == 3
    assert len(lines(capsys)) == 1
    mixed = Model("superres", tiny.CONFIG | {"channels": 9}, {MAIN: tiny.state()}, name="mixed")
    mixed.save(Path("mixed"))
    assert call(["run", "superres", "a.png", "-m", "mixed", "-f"]) == 3
    errors = lines(capsys)
    assert len(errors) == 1 and "does not fit" in errors[0]


def test_a_network_that_gives_no_numbers_fails_file_by_file(gantk: Run, capsys: pytest.CaptureFixture[str]) -> None:
    weights = tiny.state()
    weights["tail.bias"][:] = float("inf")
    Model("superres", tiny.CONFIG, {MAIN: weights}).save(Path("broken"))
    save("a.png"), save("b.png")
    assert call(["run", "superres", "a.png", "b.png", "-m", "broken"]) == 4
    errors = lines(capsys)
    assert [("a.png" in errors[0]), ("b.png" in errors[1])] == [True, True] and "not finite" in errors[0]


# ---- the sample ----


def test_without_inputs_a_sample_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(["run", "superres"]) == 0
    said = capsys.readouterr().out
    assert "next: gantk run superres" in said and "PSNR-Y" in said and "EffLite0-PD" in said
    assert names() == {f"gantk-superres-sample/{name}.png" for name in ("input", "result", "before-after")}
    assert images.read("gantk-superres-sample/result.png").pixels.shape == (300, 448, 3)
    assert call(["run", "superres", "-o", "a.png"]) == 2 and call(["run", "superres", "-o", "-"]) == 2
    Path("mine").mkdir()
    Path("mine/input.png").write_bytes(b"mine")
    assert call(["run", "superres", "-o", "mine"]) == 2 and Path("mine/input.png").read_bytes() == b"mine"
