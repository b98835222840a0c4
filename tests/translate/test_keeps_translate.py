"""What a picture or an array keeps when it is translated: format, profile, EXIF, depth, range, grey, alpha, classes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from gantk_translate.sides import Side
from gantoolkit import arrays, images
from gantoolkit.cli import call
from gantoolkit.images import Picture
from tests.translate import tiny_models as tiny
from tests.translate.conftest import Run
from tests.translate.tiny_models import photo

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("name", ["a.png", "b.jpg", "c.webp", "d.tif"])
def test_format_profile_exif_and_resolution_stay(gantk: Run, name: str) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    Image.fromarray(photo()).save(name, icc_profile=SRGB, exif=exif, dpi=(300, 300))
    assert gantk(name, "-o", "out") == 0
    with Image.open(Path("out") / name) as before, Image.open(Path("out") / name) as made:
        assert made.format == before.format and made.size == (24, 20)  # turned upright
        assert made.info["icc_profile"] == SRGB
        assert made.getexif().get(0x0112, 1) == 1 and made.getexif()[0x010F] == "Camera"
        if name != "c.webp":
            assert made.info["dpi"] == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_colours_stay_16_bit(gantk: Run, suffix: str) -> None:
    y, x = np.mgrid[:24, :24]
    ramp = np.stack([30_000 + 40 * x + 7 * y + 3 * c for c in range(3)], 2).astype(np.uint16)
    images.write(Picture(ramp), f"ramp.{suffix}")
    assert gantk(f"ramp.{suffix}", "-o", f"made.{suffix}") == 0
    made = images.read(f"made.{suffix}").pixels
    assert made.dtype == np.uint16 and len(np.unique(made)) > 500  # 8 bits would leave 256


def test_a_16_bit_tiff_comes_back_16_bit_with_its_range(gantk: Run) -> None:
    """Values of a scanner, 0 to 4095 in 16 bits, through a model whose sides go from 0 to 4100."""
    scan = np.random.default_rng(0).integers(0, 4096, (40, 32)).astype(np.uint16)
    tifffile.imwrite("scan.tif", scan)
    assert gantk("scan.tif", "-o", "made.tif", model="deep") == 0
    made = tifffile.imread("made.tif")
    assert made.dtype == np.uint16 and made.shape == scan.shape
    assert made.min() > 0 and np.ptp(made) > 300 and made.max() <= 4100


@pytest.mark.parametrize("name", ["export.png", "export.npy"])
def test_an_8_bit_export_of_a_scan_is_refused(gantk: Run, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Read as the scanner's values it would be nearly black; how it was windowed is not in it."""
    export = photo(channels=1)
    np.save(name, export) if name.endswith("npy") else Image.fromarray(export[..., 0]).save(name)
    assert gantk(name, model="deep") == 3
    error = capsys.readouterr().err
    assert f"{name}: this has too few bits for a model that learnt values from 0 to 4100" in error
    assert "expected uint16, got uint8" in error and len(error.splitlines()) == 1
    np.save("same.npy", export.astype(np.int16))  # as they are, whatever the type
    assert gantk("same.npy", model="deep") == 0


@pytest.mark.parametrize("suffix", [".npy", ".tif", ".nii.gz"])
def test_arrays_change_their_type_to_the_targets(gantk: Run, suffix: str) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (24, 16, 1)).astype(np.uint16)
    if suffix == ".nii.gz":
        nibabel = pytest.importorskip("nibabel")
        volume = np.stack([values[..., 0].T, values[::-1, :, 0].T], 2)
        affine = np.diag([2.0, 2.0, 3.0, 1.0])
        nibabel.save(nibabel.Nifti1Image(volume, affine), f"scan{suffix}")
    else:
        arrays.write(arrays.Array(values, flat=True), f"scan{suffix}")
    assert gantk(f"scan{suffix}", model="modality") == 0
    made = arrays.read_all(f"scan_translated{suffix}")
    assert [array.values.shape for array in made] == [(24, 16, 1)] * (2 if "nii" in suffix else 1)
    for array in made:
        assert array.values.dtype == np.int16 and -1000 <= array.values.min() < array.values.max() <= 3000
        assert np.ptp(array.values) > 300
    if suffix == ".npy":
        assert np.load("scan_translated.npy").shape == (24, 16)
    if "nii" in suffix:
        assert np.array_equal(nibabel.load("scan_translated.nii.gz").affine, affine)


def test_arrays_can_be_asked_for_in_another_kind_of_file(gantk: Run) -> None:
    scan = np.random.default_rng(0).integers(0, 4096, (16, 16)).astype(np.uint16)
    tifffile.imwrite("scan.tif", scan)
    for name in ("made.npy", "made.png", "made.tiff"):
        assert gantk("scan.tif", "-o", name, model="deep") == 0
    expected = tifffile.imread("made.tiff")
    assert np.array_equal(np.load("made.npy").squeeze(), expected)
    assert np.array_equal(images.read("made.png").pixels[..., 0], expected)
    assert gantk("scan.tif", "--format", "jpg", "-f", model="deep") == 2


def test_masks_come_as_class_ids_without_loss(gantk: Run) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
    Image.fromarray(noise).save("a.jpg", quality=100)
    assert gantk("a.jpg", model="mask") == 0
    made = images.read("a_translated.png").pixels
    assert made.shape == (24, 20, 1) and made.dtype == np.uint8
    assert len(np.unique(made)) > 1 and set(np.unique(made)) <= {0, 3, 7}


@pytest.mark.parametrize(
    ("top", "name", "dtype"),
    [(7, "a_translated.png", "u1"), (900, "a_translated.png", "u2"), (-1, "a_translated.tif", "i4")],
)
def test_masks_of_large_numbers_take_what_holds_them(
    top: int, name: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    low, high = sorted((0, top))
    folder = tiny.saved(tmp_path / "m", target=Side("mask", 1, "int32", low, high, (low, high)))
    images.write(Picture(photo()), "a.png")
    assert call(["run", "translate", "a.png", "-m", folder]) == 0
    made = arrays.read(name).values if name.endswith("tif") else images.read(name).pixels
    assert made.dtype == np.dtype(dtype) and set(np.unique(made)) <= {0, top}


def test_masks_of_a_palette_are_read_by_their_indices(
    gantk: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = np.random.default_rng(0).choice([0, 3, 7], (16, 16)).astype(np.uint8)
    image = Image.fromarray(ids).convert("P")
    image.putpalette([value for i in range(256) for value in (i, 255 - i, 9 * i % 256)])
    image.putdata(ids.ravel().tolist())
    image.save("palette.png")
    Image.fromarray(ids).save("grey.png")
    for name in ("palette", "grey"):
        assert gantk(f"{name}.png", model="from-mask") == 0
    assert np.array_equal(*(images.read(f"{name}_translated.png").pixels for name in ("palette", "grey")))
    Image.fromarray(ids).convert("RGB").save("three.png")
    for name in ("palette", "three"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(Path(f"{name}.png").read_bytes())))
        assert gantk("-", "-o", "stdin.png", "-f", model="from-mask") == 0
        assert np.array_equal(*(images.read(f"{file}.png").pixels for file in ("stdin", "grey_translated")))
    Image.fromarray(ids + 1).save("other.png")
    assert gantk("other.png", model="from-mask") == 3
    error = capsys.readouterr().err
    assert "other.png" in error and "unknown classes, expected 0, 3, 7, got 1, 4, 8" in error


@pytest.mark.parametrize("name", ["a.png", "b.webp", "c.tif"])
def test_a_transparent_sketch_keeps_its_alpha(gantk: Run, name: str) -> None:
    drawing = np.zeros((32, 32, 4), np.uint8)
    drawing[10:20, :, 3] = 255
    drawing[20:24, :, 3] = 100
    Image.fromarray(drawing).save(name, **({"lossless": True, "exact": True} if "webp" in name else {}))
    assert gantk(name, "-o", "out", model="lines") == 0
    made = images.read(Path("out") / name)
    assert made.alpha is not None and np.array_equal(made.alpha, drawing[..., 3])
    assert made.pixels[12:18].max() <= (40 if "webp" in name else 0)  # lines stay black


def test_a_profile_of_grey_does_not_stay_on_colours(gantk: Run) -> None:
    grey = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()  # any profile that is not for RGB
    Image.fromarray(photo(channels=1)[..., 0]).save("grey.png", icc_profile=grey)
    assert gantk("grey.png") == 0
    assert images.read("grey_translated.png").icc is None


@pytest.fixture
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures whose numbers mean something, a 12-bit and a float one, and a model of each."""
    monkeypatch.chdir(tmp_path)
    narrow, signed = Side(channels=1, dtype="uint16", low=100, high=3900), Side("picture", 1, "float32", -500, 500)
    tiny.model(source=narrow, target=narrow).save(tmp_path / "12bit", half=False)
    tiny.model(source=narrow, target=signed).save(tmp_path / "float", half=False)
    scan = np.random.default_rng(0).integers(100, 3900, (16, 16)).astype(np.uint16)
    Image.fromarray(scan).save("scan.png")
    return tmp_path


@pytest.mark.parametrize(
    ("model", "arguments", "expected"),
    [
        ("12bit", ("-o", "x.jpg"), "-o x.jpg cannot hold this result"),
        ("12bit", ("--format", "webp"), "--format webp cannot hold these results"),
        ("float", ("-o", "x.png"), "-o x.png cannot hold this result"),
        ("float", ("--format", "png"), "--format png cannot hold these results"),
    ],
)
def test_numbers_that_mean_something_are_not_rounded(
    scans: Path, model: str, arguments: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["run", "translate", "scan.png", "-m", model, *arguments]) == 2
    error = capsys.readouterr().err
    assert expected in error and ".npy" in error and len(error.splitlines()) == 1
    assert not Path("x.jpg").exists() and not Path("x.png").exists()


def test_numbers_that_mean_something_go_where_they_stay(scans: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert call(["run", "translate", "scan.png", "-m", "12bit"]) == 0
    made = images.read("scan_translated.png").pixels
    assert made.dtype == np.uint16 and made.max() < 4100 and len(np.unique(made)) > 100
    assert call(["run", "translate", "scan.png", "-m", "float"]) == 0
    signed = images.read("scan_translated.tif").pixels
    assert signed.dtype == np.float32 and signed.min() < -100
    capfdbinary.readouterr()
    assert call(["run", "translate", "scan.png", "-m", "float", "-o", "-"]) == 0
    assert np.array_equal(images.read(capfdbinary.readouterr().out).pixels, signed)
