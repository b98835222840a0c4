"""`gantk run translate` on real files: what goes wrong, where things come from and go to, and what is said."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gantoolkit import arrays, images
from gantoolkit.arrays import Array
from gantoolkit.cli import call
from gantoolkit.images import Picture
from tests.translate import tiny_models as tiny
from tests.translate.conftest import Run
from tests.translate.tiny_models import photo


def save(path: Path | str, mode: str = "RGB") -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo()).convert(mode).save(path)
    return path


def names(folder: Path = Path()) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_picture_beside_its_translation(gantk: Run, capsys: pytest.CaptureFixture[str]) -> None:
    save("a.png")
    assert gantk("a.png") == 0
    assert "a.png → a_translated.png  20×24" in capsys.readouterr().out
    assert images.read("a_translated.png").pixels.shape == (24, 20, 3)


def test_a_batch_goes_on_past_a_bad_file(gantk: Run, capsys: pytest.CaptureFixture[str]) -> None:
    save("in/a.png"), save("in/deep/c.jpg")
    Path("in/b.png").write_bytes(b"To whom it may concern")
    assert gantk("in", "-r", "-o", "out", "--json") == 4
    captured = capsys.readouterr()
    rows = [json.loads(line) for line in captured.out.splitlines()]
    assert [(row["source"], row["error"] is None) for row in rows] == [
        ("in/a.png", True), ("in/b.png", False), ("in/deep/c.jpg", True),
    ]  # fmt: skip
    assert rows[0]["size"] == rows[0]["input_size"] == [20, 24] and rows[0]["model"] == "tiny"
    assert captured.err.splitlines() == [f"error: {rows[1]['error']}"] and "in/b.png" in captured.err
    assert names(Path("out")) == {"a.png", "deep/c.jpg"}


def test_nothing_is_overwritten_without_force(gantk: Run, capsys: pytest.CaptureFixture[str]) -> None:
    save("a.png")
    Path("a_translated.png").write_text("mine")
    assert gantk("a.png") == 3
    assert "--force" in lines(capsys)[0] and Path("a_translated.png").read_text() == "mine"
    assert gantk("a.png", "--force") == 0 and images.read("a_translated.png").format == "PNG"


def test_standard_input_and_output(models: Path, tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.fromarray(photo()).save(stream, "PNG")
    words = [sys.executable, "-m", "gantoolkit", "run", "translate", "-", "-o", "-", "-m", str(models / "colour")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, input=stream.getvalue(), capture_output=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert images.read(done.stdout).pixels.shape == (24, 20, 3)
    assert names(tmp_path) == set()


def test_bad_standard_input_writes_nothing_there(
    gantk: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    array = io.BytesIO()
    np.save(array, photo())  # standard input is a picture
    for given in (b"no picture", array.getvalue()):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
        assert gantk("-", "-o", "-") == 3
        captured = capsys.readouterr()
        assert captured.out == "" and len(captured.err.splitlines()) == 1
        assert "the input is not a picture, or is damaged" in captured.err


@pytest.mark.parametrize(
    ("arguments", "model", "fragment"),
    [
        (("--direction", "BtoA"), "colour", "goes one way only, expected AtoB"),
        (("--style", "a.png"), "colour", "expected no --style"),
        (("--strength", "1.5"), "colour", "strength"),
        (("--strength", "0.5"), "mask", "cannot be mixed"),
        (("--format", "jpg"), "mask", "cannot hold these results"),
        (("-o", "a.jpg"), "mask", "-o a.jpg cannot hold this result, expected a name that ends in"),
        (("-o", "a.nii"), "colour", "-o a.nii cannot hold this result, expected a name that ends in"),
        (("--tile", "-1"), "colour", "tile"),
        (("--device", "abacus"), "colour", "abacus"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense(
    gantk: Run, arguments: tuple[str, ...], model: str, fragment: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save("a.png")
    assert gantk("a.png", *arguments, model=model) == 2
    errors = lines(capsys)
    assert fragment in errors[-1]
    assert names() == {"a.png"}


def test_both_directions(gantk: Run) -> None:
    save("a.png"), save("b.png", "L")
    assert gantk("a.png", "-o", "grey.png", model="both") == 0
    assert gantk("b.png", "-o", "colour.png", "--direction", "BtoA", model="both") == 0
    assert images.read("grey.png").pixels.shape[2] == 1 and images.read("colour.png").pixels.shape[2] == 3


def test_a_model_of_another_task(gantk: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save("a.png")
    assert call(["run", "translate", "a.png", "-m", "photo-x4"]) == 2
    assert names() == {"a.png"}


def test_wrong_channels_name_the_file(gantk: Run, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("five.npy", np.zeros((8, 8, 5), np.uint16))
    assert gantk("five.npy", model="deep") == 3
    assert "five.npy" in (error := lines(capsys)[0]) and "expected 1, got 5" in error
    assert names() == {"five.npy"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (photo() > 128, "expected uint8, uint16 or floating point, got bool; make true white"),
        (photo() / 127.5 - 1, "expected values from 0 (black) to 1 (white), got -0."),
        (photo().astype(np.float32), "expected values from 0 (black) to 1 (white), got "),
        (photo().astype(np.int32), "expected uint8, uint16 or floating point, got int32"),
    ],
)
def test_arrays_that_are_no_pictures_are_not_taken_for_such(
    gantk: Run, values: np.ndarray, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("a.npy", values)
    assert gantk("a.npy") == 3
    error = lines(capsys)
    assert len(error) == 1 and "a.npy" in error[0] and words in error[0]
    assert names() == {"a.npy"}


def test_floats_may_leave_their_range_by_rounding(gantk: Run) -> None:
    values = photo() / 255
    values[0, :2, 0] = -1e-7, 1 + 1e-7
    np.save("a.npy", values)
    assert gantk("a.npy", "-o", "made.tif") == 0 and arrays.read("made.tif").values.dtype == np.float64


def test_tiles_that_differ_are_announced_once(gantk: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny.saved(tmp_path / "m", built=tiny.RESNET)
    for name in ("a.png", "b.png"):
        images.write(Picture(photo(100, 120)), name)
    assert call(["run", "translate", "a.png", "b.png", "--tile", "64", "-m", folder]) == 0
    said = capsys.readouterr().out
    assert said.count("differs from the whole") == 1


def test_large_pictures_are_hinted_at_once_and_brought_to_the_scale_that_was_learnt(
    gantk: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, side in (("a.png", 66), ("b.png", 100)):
        images.write(Picture(photo(side, 40)), name)
    save("small.png")
    assert gantk("a.png", "b.png") == 0
    assert capsys.readouterr().out.count("--size 32 shows them whole") == 1
    assert gantk("small.png") == 0 and "--size" not in capsys.readouterr().out
    for built, config in (({**tiny.RESIDUAL, "compose": "chroma"}, {}), (tiny.RESIDUAL, {"fit": "crop"})):
        folder = tiny.saved(tmp_path / config.get("fit", "small copies"), built=built, **config)
        assert call(["run", "translate", "b.png", "-o", "own.png", "--force", "-m", folder]) == 0
        assert "--size" not in capsys.readouterr().out and images.read("own.png").pixels.shape == (100, 40, 3)
    assert gantk("b.png", "--size", "32", "-o", "c.png") == 0 and "--size" not in capsys.readouterr().out
    assert images.read("c.png").pixels.shape == (32, 13, 3)


def test_a_volume_keeps_its_voxels(gantk: Run, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("nibabel")
    arrays.write([Array(np.zeros((8, 8, 1), np.uint16))] * 2, "a.nii")
    assert gantk("a.nii", "--size", "4", model="deep") == 3
    assert "a.nii: --size would change the voxels" in lines(capsys)[0] and names() == {"a.nii"}


def test_without_inputs_and_without_a_sample(gantk: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert gantk() == 2
    assert "comes with no sample; gantk run translate YOUR-PICTURE" in lines(capsys)[0]
    assert names() == set()


def test_the_sample_is_translated_and_shown(
    gantk: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gantk_translate.use.SAMPLE", tmp_path / "bundled")
    save(tmp_path / "bundled" / "tiny" / "sample.png")
    assert gantk() == 0
    made = {name for name in names() if name.startswith("gantk-translate-sample/")}
    assert made == {f"gantk-translate-sample/{name}.png" for name in ("input", "result", "before-after")}
    assert "next: gantk run translate" in capsys.readouterr().out
    assert gantk("-o", "a.png") == 2 and gantk("-o", "-") == 2
    assert gantk() == 0  # again: the folder of this name is ours
    Path("mine").mkdir()
    Path("mine/input.png").write_bytes(b"mine")
    assert gantk("-o", "mine") == 2 and Path("mine/input.png").read_bytes() == b"mine"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["residual", "resnet", "lines", "unet"])
def test_twelve_megapixels_stay_below_one_and_a_half_gigabytes(kind: str, tmp_path: Path) -> None:
    """The peak of the process, as the kernel counts it, with networks as wide as those that are trained."""
    built = {
        "residual": {**tiny.ATTENTIVE, "channels": 32, "blocks": 2, "levels": 4, "patch": 2},
        "resnet": {"arch": "resnet", "channels": 64, "blocks": 1, "norm": "instance"},
        "lines": {**tiny.ATTENTIVE, "channels": 32, "levels": 4, "patch": 2, "compose": "multiply"},
        "unet": {"arch": "unet", "channels": 64, "blocks": 8, "norm": "batch"},
    }[kind]
    folder = tiny.saved(tmp_path / "m", built=built, size=128)
    images.write(Picture(photo(3000, 4000)), tmp_path / "large.png")
    script = (
        "import sys\nfrom gantoolkit.cli import call\n"
        f"code = call(['run', 'translate', 'large.png', '-o', 'made.png', '-m', {folder!r}])\n"
        "peak = [line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')]\n"
        "print('VmHWM', peak[0])\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    peak = int(done.stdout.split("VmHWM")[1]) * 1024
    print(f"{kind}: peak {peak / 1e9:.2f} GB")
    assert peak < 1.5e9, f"{peak / 1e9:.2f} GB"
    assert images.read(tmp_path / "made.png").pixels.shape == (3000, 4000, 3)
