"""Pictures and masks from bytes and back: nothing is lost on the way in, the same bytes come out every time."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gantk_augment import codec
from gantoolkit import images
from gantoolkit.errors import GantkError, InputError
from tests.augment.data_sets import disc


def pixels(channels: int, deep: bool = False, seed: int = 0) -> np.ndarray:
    top, kind = (65536, np.uint16) if deep else (256, np.uint8)
    return np.random.default_rng(seed).integers(0, top, (9, 14, channels)).astype(kind)


def saved(array: np.ndarray, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array).save(stream, form, **options)
    return stream.getvalue()


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_keeps_depth_and_channels(channels: int, deep: bool) -> None:
    picture = pixels(channels, deep)
    content, suffix = codec.encode(picture, ".png")
    assert suffix == ".png"
    again = codec.decode(content, "a.png")
    assert again.dtype == picture.dtype
    np.testing.assert_array_equal(again, picture)
    # and another reader sees the same
    stored = images.read(content)
    np.testing.assert_array_equal(stored.pixels, picture[..., :3])
    assert (stored.alpha is None) == (channels < 4)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_decoded_as_the_core_does_it(channels: int) -> None:
    picture = np.repeat(disc(1)[0].max(2, keepdims=True), 3, 2)[..., :channels]
    content, suffix = codec.encode(picture, ".JPG")
    assert (suffix, content[:3]) == (".jpg", b"\xff\xd8\xff")
    again = codec.decode(content, "a.jpg")
    np.testing.assert_array_equal(again, images.read(content).pixels)
    assert np.abs(again.astype(int) - picture).mean() < 6  # quality 95
    assert content == codec.encode(picture.copy(), ".jpg")[0]


@pytest.mark.parametrize(("channels", "deep"), [(4, False), (3, True)])
def test_what_jpeg_cannot_hold_becomes_png(channels: int, deep: bool) -> None:
    content, suffix = codec.encode(pixels(channels, deep), ".jpg")
    assert suffix == ".png"
    np.testing.assert_array_equal(codec.decode(content, "a.png"), pixels(channels, deep))


def test_orientation_is_applied_once() -> None:
    picture, exif = pixels(3), Image.Exif()
    exif[0x0112] = 6
    for form in ("PNG", "JPEG"):
        turned = codec.decode(saved(picture, form, exif=exif), "a")
        assert turned.shape == (14, 9, 3)
        np.testing.assert_array_equal(turned, np.rot90(codec.decode(saved(picture, form), "a"), 3))
        assert codec.size_of(saved(picture, form)) == (9, 14)
        assert codec.size_of(saved(picture, form, exif=exif)) is None


def test_special_pictures_come_as_what_they_show() -> None:
    grey_alpha = codec.decode(saved(pixels(2), "PNG"), "a")
    np.testing.assert_array_equal(grey_alpha, pixels(2)[..., [0, 0, 0, 1]])
    palette = Image.fromarray(pixels(1)[..., 0] % 2)
    palette.putpalette([10, 20, 30, 200, 100, 0])
    stream = io.BytesIO()
    palette.save(stream, "PNG")
    colours = np.array([[10, 20, 30], [200, 100, 0]], np.uint8)
    np.testing.assert_array_equal(codec.decode(stream.getvalue(), "a"), colours[pixels(1)[..., 0] % 2])
    keyed = codec.decode(saved(pixels(1), "PNG", transparency=int(pixels(1)[0, 0, 0])), "a")
    assert keyed.shape[2] == 4
    assert keyed[0, 0, 3] == 0


def test_tiff_keeps_16_bits_and_floats_become_16(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "deep.tif", pixels(1, True)[..., 0])
    np.testing.assert_array_equal(codec.decode((tmp_path / "deep.tif").read_bytes(), "a"), pixels(1, True))
    tifffile.imwrite(tmp_path / "float.tif", np.array([[0, 0.5, 1, 2]], np.float32))
    floats = codec.decode((tmp_path / "float.tif").read_bytes(), "a")
    np.testing.assert_array_equal(floats[..., 0], np.array([[0, 32768, 65535, 65535]], np.uint16))


def test_masks_keep_ids_palettes_and_colours() -> None:
    ids, palette = pixels(1)[..., 0] % 3, bytes([0, 0, 0, 200, 30, 90, 1, 2, 3])
    content = codec.encode_mask(ids, palette)
    again, kept = codec.decode_mask(content, "m"), codec.palette(content)
    np.testing.assert_array_equal(again, ids)
    assert kept is not None
    assert kept[:9] == palette
    assert Image.open(io.BytesIO(content)).mode == "P"
    for mask in (ids, pixels(1, True)[..., 0], pixels(3)):
        again = codec.decode_mask(codec.encode_mask(mask), "m")
        assert again.dtype == mask.dtype
        assert codec.palette(codec.encode_mask(mask)) is None
        np.testing.assert_array_equal(again, mask)
    np.testing.assert_array_equal(codec.decode_mask(codec.encode_mask(pixels(4)), "m"), pixels(4)[..., :3])


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_files_that_are_cut_short_are_refused(suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    content, _ = codec.encode(disc(0)[0], suffix)
    for length in range(0, len(content) - 16, max(1, len(content) // 60)):  # the last 16 bytes hold no pixel
        with pytest.raises(InputError, match="the name"):
            codec.decode(content[:length], "the name")
    assert capfd.readouterr().err == ""


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([".png", ".jpg"]), st.integers(0, 2000), st.booleans())
def test_damage_is_a_picture_of_that_size_or_an_input_error(noise: bytes, suffix: str, place: int, whole: bool) -> None:
    content, _ = codec.encode(disc(0)[0], suffix)
    place %= len(content)
    damaged = content[:place] + noise + (content[place + len(noise) :] if whole else b"")
    for reader in (codec.decode, codec.decode_mask):
        try:
            reader(damaged, "a")
        except GantkError as error:
            assert "\n" not in str(error)


def test_too_many_pixels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content, _ = codec.encode(pixels(3), ".png")
    monkeypatch.setenv("GANTK_MAX_PIXELS", "100")
    with pytest.raises(InputError, match="too many pixels"):
        codec.decode(content, "a")
