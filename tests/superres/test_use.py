"""`gantk run superres` on real files: what comes out, what it says, and what it leaves behind."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from gantoolkit import images
from gantoolkit.cli import call
from gantoolkit.images import Picture
from gantoolkit.model import MAIN, Model
from gantoolkit.resample import resize_array
from tests.superres import tiny

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
INSIDE = (slice(8, -8), slice(8, -8))  # the network repeats the border, the resampler mirrors it
Run = Callable[..., int]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.saved(folder / "flat", residual=0.0)  # draws nothing: bicubic
    tiny.saved(folder / "tiny", fidelity=True)
    return folder


@pytest.fixture
def gantk(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `gantk run superres ARGUMENTS` in an empty folder with the model that draws nothing."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, model: str = "flat") -> int:
        words = ["run", "superres", *map(str, arguments), "-m", str(models / model)]
        return call(words)

    return run


def photo(height: int = 12, width: int = 10, channels: int = 3) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([128 + 60 * np.sin(x / (3 + c)) + 50 * np.cos(y / (5 - c)) for c in range(channels)], 2).astype(
        np.uint8
    )


def save(path: Path | str, mode: str = "RGB", **options: Any) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo()).convert(mode).save(path, **options)
    return path


def names(folder: Path = Path()) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def process(models: Path, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "gantoolkit", "run", "superres", *arguments, "-m", str(models / "flat")]
    return subprocess.Popen(words, env=os.environ | {"OMP_NUM_THREADS": "1"}, **options)


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
    import re

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


# ---- what a picture keeps ----


@pytest.mark.parametrize("name", ["a.png", "b.jpg", "c.jpeg", "d.webp", "e.tif", "f.TIFF"])
def test_format_profile_and_exif_stay(gantk: Run, name: str) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    image = Image.fromarray(photo(20, 10))
    best: dict[str, Any] = {"d.webp": {"lossless": True}, "b.jpg": {"quality": 100, "subsampling": 0}}
    image.save(name, icc_profile=SRGB, exif=exif, **best.get(name, best["b.jpg"] if "jpeg" in name else {}))
    expected = image.rotate(-90, expand=True)
    assert gantk(name, "-o", "out") == 0
    with Image.open(Path("out") / name) as large:
        assert large.format == {"a.png": "PNG", "d.webp": "WEBP", "e.tif": "TIFF", "f.TIFF": "TIFF"}.get(name, "JPEG")
        assert large.size == (80, 40) == (4 * expected.width, 4 * expected.height)
        assert large.info["icc_profile"] == SRGB
        assert large.getexif().get(0x0112, 1) == 1 and large.getexif()[0x010F] == "Camera"
        upright = np.asarray(large.convert("RGB")).astype(int)
    reference = resize_array(np.asarray(expected), (40, 80)).astype(int)
    assert np.abs(upright - reference)[INSIDE].mean() < (2 if "j" in name or "w" in name else 0.5)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_stay_16_bits_with_their_precision(gantk: Run, suffix: str, channels: int) -> None:
    y, x = np.mgrid[:24, :24]
    ramp = np.stack([30_000 + 40 * x + 7 * y + 3 * c for c in range(channels)], 2).astype(np.uint16)
    images.write(Picture(ramp), f"ramp.{suffix}")
    assert gantk(f"ramp.{suffix}", "-o", f"large.{suffix}") == 0
    large = images.read(f"large.{suffix}").pixels
    assert large.dtype == np.uint16 and large.shape == (96, 96, channels)
    assert np.abs(large.astype(int) - resize_array(ramp, (96, 96)))[INSIDE].max() <= 1


@pytest.mark.parametrize("name", ["a.png", "b.jpg", "c.tif"])
def test_grey_stays_grey(gantk: Run, name: str) -> None:
    save(name, "L")
    assert gantk(name, "-o", "out", model="tiny") == 0
    assert images.read(Path("out") / name).pixels.shape == (48, 40, 1)


def test_alpha_stays_without_fringes(gantk: Run) -> None:
    y, x = np.mgrid[:32, :32]
    disc = ((y - 16) ** 2 + (x - 16) ** 2 < 100)[:, :, None]
    for name in ("a.png", "b.webp", "c.tif"):
        pixels = np.where(disc, [0, 200, 0], [255, 0, 255]).astype(np.uint8)
        image = Image.fromarray(np.dstack([pixels, disc.astype(np.uint8) * 255]))
        image.save(name, **({"lossless": True, "exact": True} if name == "b.webp" else {}))
        assert gantk(name, "-o", "out", "--quality", 100) == 0
        large = images.read(Path("out") / name)
        assert large.alpha is not None and large.alpha.shape == (128, 128)
        error = np.abs(large.pixels[large.alpha > 0].astype(int) - [0, 200, 0])
        assert error.max() <= (12 if "webp" in name else 1), name  # magenta would be hundreds


def test_cmyk_becomes_rgb_of_the_same_colours(gantk: Run) -> None:
    image = Image.fromarray(photo()).convert("CMYK")
    image.save("press.jpg", quality=100)
    assert gantk("press.jpg", "-o", "out") == 0
    with Image.open("out/press.jpg") as large:
        assert large.mode == "RGB" and large.size == (40, 48)
        small = large.resize((10, 12), Image.Resampling.BOX)
    assert np.abs(np.asarray(small).astype(int) - np.asarray(image.convert("RGB"))).mean() < 6


def test_a_palette_with_a_transparent_colour_becomes_rgba(gantk: Run) -> None:
    image = Image.new("P", (12, 12), 1)
    image.putpalette([255, 0, 255, 0, 200, 0])
    image.paste(0, (0, 0, 6, 12))
    image.save("icon.png", transparency=0)
    image.save("icon.gif", transparency=0)
    for name in ("icon.png", "icon.gif"):
        assert gantk(name, "-o", "out", "-f") == 0
        large = images.read("out/icon.png")
        assert large.alpha is not None and large.pixels.shape == (48, 48, 3)
        assert large.alpha[:, :20].max() == 0 and large.alpha[:, 28:].min() == 255
        assert np.abs(large.pixels[large.alpha > 0].astype(int) - [0, 200, 0]).max() <= 1


def test_names_of_any_alphabet(gantk: Run, capsys: pytest.CaptureFixture[str]) -> None:
    name = "фото ☕ [1] é*.png"
    save(name), save("日本/写真.png")
    assert gantk(name) == 0 and gantk("日本", "--json") == 0
    assert names() == {name, "фото ☕ [1] é*_x4.png", "日本/写真.png", "日本/写真_x4.png"}
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["target"] == "日本/写真_x4.png"


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
        ((), "a_x4.png"), (("--suffix", "-big"), "a-big.png"), (("-o", "new/b.jpg"), "new/b.jpg"), (("-o", "to"), "to/a.png"),
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


@pytest.mark.parametrize(
    ("arguments", "size"), [((), (48, 40)), (("-s", 2), (24, 20)), (("-s", 3), (36, 30)), (("--outscale", 2.5), (30, 25)),
                            (("--outscale", 0.3), (4, 3)), (("-s", 2, "--outscale", 8), (96, 80))],
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
    assert np.array_equal(results["default"], results["1"])
    assert np.abs(results["tiles"] - results["1"]).max() <= 1
    assert 0 < np.abs(results["bf16"] - results["1"]).max() <= 3
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
    assert len(errors) == 1 and "do not fit" in errors[0]


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


# ---- processes ----


def test_standard_input_and_output(models: Path, tmp_path: Path) -> None:
    source = save(tmp_path / "a.png")
    piped = [subprocess.PIPE] * 3
    running = process(models, "-", "-o", "-", "--json", stdin=piped[0], stdout=piped[1], stderr=piped[2])
    empty = process(models, "-", "-o", "-", stdin=piped[0], stdout=piped[1], stderr=piped[2])
    with Path("/dev/full").open("wb") as full:
        unwritten = process(models, str(source), "-o", "-", stdout=full, stderr=piped[2])
    out, err = running.communicate(source.read_bytes(), timeout=100)
    assert running.returncode == 0 and images.read(out).pixels.shape == (48, 40, 3)
    assert out.endswith(b"IEND\xaeB`\x82") and b"error" not in err
    out, err = empty.communicate(b"", timeout=100)
    assert (empty.returncode, out) == (3, b"") and b"empty file" in err
    _, err = unwritten.communicate(timeout=100)
    assert unwritten.returncode == 3 and b"No space left" in err and b"Traceback" not in err
    assert names(tmp_path) == {"a.png"}


def test_an_interrupt_leaves_whole_files_only(models: Path, tmp_path: Path) -> None:
    save(tmp_path / "in" / "0.png")
    for index in range(1, 800):
        (tmp_path / "in" / f"{index}.png").hardlink_to(tmp_path / "in" / "0.png")
    running = process(models, "in", "-o", "out", "--json", cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None
    assert json.loads(running.stdout.readline())["error"] is None
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130 and err.decode().strip().splitlines()[-1] == "interrupted"
    made = names(tmp_path / "out")
    assert 0 < len(made) < 800 and all(name.endswith(".png") for name in made)
    assert all(images.read(tmp_path / "out" / name).pixels.shape == (48, 40, 3) for name in made)


# ---- other people's plugins ----


@pytest.fixture
def strangers(tmp_path: Path) -> Iterator[Path]:
    from gantoolkit import plugins

    folder = tmp_path / "plugins"
    folder.mkdir()
    offer = "from gantoolkit import TaskEntry, hookimpl\n@hookimpl\ndef gantk_tasks():\n    return [TaskEntry('superres', 'mine', 'x:Y')]\n"
    (folder / "fails.py").write_text("import a_module_that_is_not_there\n")
    (folder / "same_name.py").write_text(offer)
    (folder / "gantk_superres.py").write_text(offer)
    (folder / "unknown_hook.py").write_text(
        "from gantoolkit import hookimpl\n@hookimpl\ndef gantk_dreams():\n    return []\n"
    )
    (folder / "old_api.py").write_text("GANTK_API = 0\n")
    yield folder
    plugins.use(plugins.discover())


def test_broken_plugins_do_not_stop_us(
    models: Path, strangers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = save(tmp_path / "a.png")
    assert call(["--plugins-dir", str(strangers), "run", "superres", str(source), "-m", str(models / "flat")]) == 0
    assert images.read(tmp_path / "a_x4.png").pixels.shape == (48, 40, 3)
    capsys.readouterr()
    assert call(["--plugins-dir", str(strangers), "plugins", "list", "--json"]) == 0
    listed = capsys.readouterr().out
    for name in ("fails", "same_name", "gantk_superres", "unknown_hook", "old_api"):
        assert name in listed


# ---- large pictures ----


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_12_megapixels_fit_in_the_stated_memory(tmp_path: Path) -> None:
    """Peak memory of a 12-megapixel JPEG enlarged to 192 megapixels: below 700 MB + 2.2 × the output's bytes."""
    from skimage import data

    rng = np.random.default_rng(0)
    big = np.asarray(Image.fromarray(data.coffee()).resize((4000, 3000), Image.Resampling.LANCZOS)).astype(np.int16)
    big += rng.integers(-6, 7, big.shape, np.int16)
    Image.fromarray(big.clip(0, 255).astype(np.uint8)).save(tmp_path / "big.jpg", quality=92)
    script = (
        "import resource, subprocess, sys\n"
        "code = subprocess.call([sys.executable, '-m', 'gantoolkit', 'run', 'superres', 'big.jpg', '-o', 'out.png'])\n"
        "print(code, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    code, peak = map(int, done.stdout.split()[-2:])
    assert code == 0
    with Image.open(tmp_path / "out.png") as large:
        assert large.size == (16_000, 12_000)
    assert peak * 1024 < 700e6 + 2.2 * 16_000 * 12_000 * 3
