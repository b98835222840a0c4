"""What a picture keeps when it is enlarged: format, profile, EXIF, depth, grey, alpha, and its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from gantoolkit import images
from gantoolkit.images import Picture
from gantoolkit.resample import resize_array
from tests.superres.conftest import Run
from tests.superres.files import INSIDE, names, photo, save

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


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
