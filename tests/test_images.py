"""Pictures: whatever a user hands in comes back out, or a one-line error names the file."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from gantoolkit import images
from gantoolkit.errors import InputError, UsageError
from gantoolkit.images import Picture, contact_sheet, from_tensor, read, side_by_side, to_tensor, write
from tests.pictures import FORMATS, noise

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif_block(orientation: int | None = None) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "Maker of cameras"
    exif[0x8298] = "someone"
    if orientation:
        exif[0x0112] = orientation
    exif.get_ifd(0x8769).update({0x829A: 0.5, 0xA002: 5, 0xA003: 7, 0x927C: b"maker note"})
    exif[0x8769] = exif.get_ifd(0x8769)
    return exif.tobytes().removeprefix(b"Exif\0\0")


def parsed(block: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + block)
    return exif


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 40), width=st.integers(1, 40), channels=st.sampled_from([1, 3]),
    alpha=st.booleans(), dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    kind=st.sampled_from(["PNG", "TIFF"]),
    strip=st.sampled_from([1, 200, 1 << 20]),
)  # fmt: skip
def test_lossless_round_trip(
    height: int, width: int, channels: int, alpha: bool, dtype: Any, kind: str, strip: int
) -> None:
    samples = noise(height, width, channels + 1, dtype, seed=height)
    if kind == "PNG" and dtype == np.float32:
        dtype, samples = np.uint16, np.rint(samples * 65535).astype(np.uint16)
    picture = Picture(samples[..., :-1].copy(), samples[..., -1].copy() if alpha else None)
    stream = io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gantoolkit.encoders.STRIP_BYTES", strip)
        write(picture, stream, format=kind[:4].lower())
    back = read(stream.getvalue())
    assert back.format == kind and back.pixels.dtype == dtype
    assert np.array_equal(back.pixels, picture.pixels)
    assert (back.alpha is None) == (not alpha)
    assert back.alpha is None or np.array_equal(back.alpha, samples[..., -1])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_other_decoders_agree_on_our_png(channels: int, dtype: Any, tmp_path: Path) -> None:
    pixels = noise(50, 31, channels, dtype)
    write(Picture(pixels), tmp_path / "ä 图.png")
    data = np.frombuffer((tmp_path / "ä 图.png").read_bytes(), np.uint8)
    theirs = cv2.imdecode(data, cv2.IMREAD_UNCHANGED).reshape(50, 31, channels)[..., ::-1]
    assert np.array_equal(theirs, pixels)
    with Image.open(tmp_path / "ä 图.png") as image:
        image.verify()


def test_flat_pictures_and_photographs_compress(tmp_path: Path) -> None:
    y, x = np.mgrid[0:300, 0:400]
    smooth = np.stack([x / 2, y / 2, (x + y) / 4], 2).astype(np.uint8)
    drawing = np.tile(np.kron(noise(20, 25, 1, seed=3) > 127, np.ones((3, 4, 3), bool)), (5, 4, 1))
    for pixels, share in ((smooth * 0 + 200, 0.01), (smooth, 0.3), (drawing.astype(np.uint8) * 255, 0.02)):
        write(Picture(pixels), tmp_path / "a.png", force=True)
        assert (tmp_path / "a.png").stat().st_size < share * pixels.size


@pytest.mark.parametrize("kind", ["jpg", "webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossy_formats_stay_close_and_grey_jpeg_stays_grey(kind: str, channels: int) -> None:
    y, x = np.mgrid[0:64, 0:48]
    pixels = np.repeat(((x * 3 + y) % 256 // 2 + 60)[..., None], channels, 2).astype(np.uint8)
    stream = io.BytesIO()
    write(Picture(pixels), stream, format=kind)
    back = read(stream.getvalue())
    assert back.pixels.shape[2] == (1 if (kind, channels) == ("jpg", 1) else 3)
    assert np.abs(back.pixels.astype(int) - pixels).mean() < 2


@pytest.mark.parametrize("kind", FORMATS)
def test_icc_exif_and_dpi_survive(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    write(Picture(noise(14, 10), None, SRGB, exif_block(), (300.0, 300.0)), path)
    back = read(path)
    assert back.icc == SRGB
    assert back.exif is not None
    exif = parsed(back.exif)
    assert exif[0x010F] == "Maker of cameras" and exif[0x8298] == "someone"
    details = exif.get_ifd(0x8769)
    assert details[0x829A] == 0.5 and details[0x927C] == b"maker note"
    assert (details[0xA002], details[0xA003]) == (10, 14)  # the size that is true now
    if kind != "webp":  # it has no place for a resolution
        assert back.dpi == pytest.approx((300, 300), rel=1e-3)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_exactly_once(kind: str, orientation: int, tmp_path: Path) -> None:
    # Pillow's own transposition is the reference for what each value means.
    y, x = np.mgrid[0:32, 0:48]
    stored = Image.fromarray(np.stack([x * 5, y * 7, x * 0 + 90], 2).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"jpg": {"quality": 95, "subsampling": 0}, "webp": {"lossless": True}}.get(kind, {})
    data = encoded(stored, {"jpg": "JPEG", "tif": "TIFF"}.get(kind, kind.upper()), exif=exif, **options)
    methods = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
    upright = stored.transpose(Image.Transpose(methods[orientation])) if orientation > 1 else stored
    first = read(data)
    assert first.pixels.shape[:2] == (upright.height, upright.width)
    assert np.abs(first.pixels.astype(int) - np.asarray(upright)).max() < (20 if kind == "jpg" else 1)
    write(first, tmp_path / f"again.{kind}")
    again = read(tmp_path / f"again.{kind}")
    assert again.pixels.shape == first.pixels.shape
    assert np.abs(again.pixels.astype(int) - first.pixels).mean() < 4


def test_orientation_of_sixteen_bits_and_alpha() -> None:
    samples = noise(6, 9, 4, np.uint16)
    stream = io.BytesIO()
    write(Picture(samples[..., :3], samples[..., 3], exif=exif_block(6)), stream)
    back = read(stream.getvalue())
    assert np.array_equal(back.pixels, np.rot90(samples[..., :3], -1))
    assert back.alpha is not None and np.array_equal(back.alpha, np.rot90(samples[..., 3], -1))
    assert back.exif is not None and parsed(back.exif)[0x0112] == 1
    stream = io.BytesIO()
    tifffile.imwrite(stream, samples[..., :3], photometric="rgb", extratags=[(274, 3, 1, 6, True)])
    assert np.array_equal(read(stream.getvalue()).pixels, np.rot90(samples[..., :3], -1))


def test_palettes_two_colours_and_keyed_transparency() -> None:
    pixels = noise(8, 8, 1)[..., 0] % 4
    palette = Image.fromarray(pixels)
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    back = read(encoded(palette, "PNG"))
    assert back.alpha is None and np.array_equal(back.pixels[..., 0], np.array([10, 40, 70, 100])[pixels])
    back = read(encoded(palette, "PNG", transparency=b"\x00\x80\xff\xff"))
    assert back.alpha is not None
    assert np.array_equal(back.alpha, np.array([0, 128, 255, 255])[pixels])
    back = read(encoded(palette, "GIF", transparency=2))
    assert back.alpha is not None and np.array_equal(back.alpha == 0, pixels == 2)
    two = Image.fromarray(pixels > 1)
    assert np.array_equal(read(encoded(two, "PNG")).pixels[..., 0], (pixels > 1) * 255)
    grey = read(encoded(Image.fromarray(pixels), "PNG", transparency=3))
    assert grey.pixels.shape[2] == 1 and grey.alpha is not None
    assert np.array_equal(grey.alpha == 0, pixels == 3)


def test_cmyk_becomes_rgb_with_and_without_a_profile() -> None:
    cmyk = Image.fromarray(np.full((16, 16, 4), (0, 255, 255, 0), np.uint8), "CMYK")
    back = read(encoded(cmyk, "JPEG", quality=95))
    assert back.icc is None and np.abs(back.pixels[8, 8].astype(int) - (255, 0, 0)).max() < 4
    # A profile that cannot be used must not stop the picture.
    assert read(encoded(cmyk, "JPEG", icc_profile=SRGB)).pixels.shape == (16, 16, 3)
    lab = encoded(Image.fromarray(np.full((4, 4, 3), (255, 0, 0), np.uint8), "LAB"), "TIFF")
    assert np.abs(read(lab).pixels[0, 0].astype(int) - 255).max() < 3  # L = 100 is white


def test_deep_files_by_other_programs() -> None:
    deep = noise(9, 7, 3, np.uint16)
    data = cv2.imencode(".tiff", deep[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])[1].tobytes()  # LZW
    assert np.array_equal(read(data).pixels, deep)
    for top in (65535, 1023):
        values = deep.astype(int) % (top + 1)
        back = read(b"P6 7 9 %d\n" % top + values.astype(">u2").tobytes())
        assert np.abs(back.pixels - values * (65535 / top)).max() <= 0.51
        back = read(b"P5 7 9 %d\n" % top + values[..., 0].astype(">u2").tobytes())
        assert back.pixels.shape == (9, 7, 1)
        assert np.abs(back.pixels[..., 0] - values[..., 0] * (65535 / top)).max() <= 0.51
    stream = io.BytesIO()
    half = np.full((4, 4, 4), 20000, np.uint16)
    half[..., 3] = 32768
    tifffile.imwrite(stream, half, photometric="rgb", extrasamples=["assocalpha"])
    assert np.abs(read(stream.getvalue()).pixels.astype(int) - round(20000 * 65535 / 32768)).max() <= 1


def test_deep_tiffs_of_every_layout() -> None:
    planes = noise(8, 9, 3, np.uint16).transpose(2, 0, 1)
    stream = io.BytesIO()
    tifffile.imwrite(stream, planes, photometric="rgb", planarconfig="separate")
    assert np.array_equal(read(stream.getvalue()).pixels, planes.transpose(1, 2, 0))
    stream = io.BytesIO()
    tifffile.imwrite(stream, planes[0], photometric="miniswhite", compression="zlib")
    assert np.array_equal(read(stream.getvalue()).pixels[..., 0], 65535 - planes[0])
    for array, kind in (
        (planes[0].astype(np.uint32), "minisblack"),
        (noise(4, 4, 4, np.uint16), "separated"),
    ):
        stream = io.BytesIO()
        tifffile.imwrite(stream, array, photometric=kind)
        with pytest.raises(InputError, match="cannot decode"):
            read(stream.getvalue())


def test_phone_pictures_with_a_second_picture_inside_are_stills() -> None:
    first, second = (Image.fromarray(noise(16, 16, seed=seed)) for seed in (1, 2))
    back = read(encoded(first, "MPO", save_all=True, append_images=[second]))
    assert back.format == "JPEG" and back.pixels.shape == (16, 16, 3)


@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("WEBP", {}), ("PNG", {}), ("TIFF", {})])
def test_moving_pictures_are_refused_with_their_count(kind: str, options: dict[str, Any]) -> None:
    frames = [Image.fromarray(noise(8, 8, seed=seed)) for seed in range(3)]
    with pytest.raises(InputError, match=r"3 frames, expected a still"):
        read(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))


def test_bombs_are_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000))):
        bomb += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    with pytest.raises(InputError, match=r"100000 x 100000.*GANTK_MAX_PIXELS"):
        read(bomb)
    monkeypatch.setenv("GANTK_MAX_PIXELS", "50")
    for kind in ("PNG", "TIFF"):
        with pytest.raises(InputError, match="at most 50"):
            read(encoded(Image.fromarray(noise(8, 8)), kind))
    monkeypatch.setenv("GANTK_MAX_PIXELS", "many")
    with pytest.raises(UsageError, match="GANTK_MAX_PIXELS"):
        read(encoded(Image.fromarray(noise(8, 8)), "PNG"))


def test_every_bad_file_is_one_line_that_names_it(tmp_path: Path) -> None:
    good = encoded(Image.fromarray(noise(64, 64)), "PNG")
    deep = io.BytesIO()
    write(Picture(noise(64, 64, 3, np.uint16)), deep)
    tiff = io.BytesIO()
    write(Picture(noise(64, 64, 3, np.uint16)), tiff, format="tiff")
    contents = {
        "short.png": good[: len(good) // 2],
        "deep.png": deep.getvalue()[: len(deep.getvalue()) // 2],
        "short.tif": tiff.getvalue()[: len(tiff.getvalue()) // 2],
        "short.jpg": encoded(Image.fromarray(noise(64, 64)), "JPEG")[:900],
        "short.webp": encoded(Image.fromarray(noise(64, 64)), "WEBP")[:900],
        "empty.png": b"",
        "text.png": b"this is a letter, not a picture\n" * 9,
        "non-ascii ü.png": b"\xff\x00",
    }
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder.png").mkdir()
    for name in [*contents, "folder.png", "missing.png"]:
        with pytest.raises(InputError) as caught:
            read(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(),
    kind=st.sampled_from(["PNG", "PNG16", "JPEG", "WEBP", "TIFF", "TIFF16", "GIF", "BMP", "PPM"]),
)
def test_damaged_bytes_never_raise_anything_else(data: st.DataObject, kind: str) -> None:
    if kind.endswith("16"):
        stream = io.BytesIO()
        write(Picture(noise(9, 9, 3, np.uint16), exif=exif_block(3)), stream, format=kind[:-2].lower())
        whole = bytearray(stream.getvalue())
    else:
        options = {} if kind in ("GIF", "BMP", "PPM") else {"exif": b"Exif\0\0" + exif_block(6)}
        whole = bytearray(encoded(Image.fromarray(noise(9, 9)), kind, **options))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    whole = whole[: data.draw(st.integers(1, len(whole)))]
    try:
        picture = read(bytes(whole))
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert picture.pixels.ndim == 3 and picture.pixels.shape[2] in (1, 3)


def test_depth_and_alpha_follow_the_target() -> None:
    deep = np.arange(0, 65536, 13, dtype=np.uint16)[:5000].reshape(50, 100, 1)
    stream = io.BytesIO()
    write(Picture(deep), stream, format="jpg", quality=100)
    expected = np.rint(deep / 257)
    assert np.abs(read(stream.getvalue()).pixels - expected).max() <= 2
    with pytest.raises(UsageError, match="--format png"):
        write(Picture(noise(4, 4), noise(4, 4, 1)[..., 0]), io.BytesIO(), format="jpg")
    stream = io.BytesIO()
    write(Picture(noise(4, 4), noise(4, 4, 1)[..., 0]), stream, format="webp")
    assert read(stream.getvalue()).alpha is not None
    with pytest.raises(UsageError, match="16383"):
        write(Picture(noise(1, 16_384)), io.BytesIO(), format="webp")


def test_rounding_to_eight_bits_is_exact() -> None:
    every = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(images.eight_bits(every), np.rint(every / 257.0))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tensors_there_and_back(dtype: Any) -> None:
    picture = Picture(noise(5, 4, 3, dtype), icc=SRGB)
    tensor = to_tensor(picture)
    assert tensor.shape == (1, 3, 5, 4) and tensor.dtype == torch.float32
    assert tensor.min() >= 0 and tensor.max() <= 1
    back = from_tensor(tensor, picture)
    assert np.array_equal(back.pixels, picture.pixels) and back.icc == SRGB
    if dtype != np.float32:
        top = np.iinfo(dtype).max
        out = from_tensor(torch.tensor([-0.2, 1.3, 0.6 / top, 0.4 / top]).reshape(1, 1, 2, 2), picture).pixels
        assert out.ravel().tolist() == [0, top, 1, 0]


def test_sheets_hold_every_picture_where_it_belongs() -> None:
    pictures = [np.full((20 + 2 * i, 30, 3), 40 * i, np.uint8) for i in range(5)]
    sheet = contact_sheet(pictures, 3, gap=4)
    assert sheet.shape == (2 * 32 + 4, 3 * 34 + 4, 3)
    assert np.all(sheet[4:32, 4 + 2 * 34 : 34 + 2 * 34][2:26] == 80) and np.all(sheet[-20:, -34:] == 255)
    assert contact_sheet(pictures, 3, list("abcde"), 4).shape[0] > sheet.shape[0]
    both = side_by_side(np.zeros((4, 6, 3), np.uint8), np.full((16, 24, 3), 9, np.uint8), ("x", "y"), 2)
    assert both.shape[1] == 2 * 24 + 3 * 2 and np.all(both[-18:-2, 2:26] == 0) and np.all(both[-18:-2, 28:52] == 9)


def test_exif_that_jpeg_cannot_hold_is_one_line(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a" * 70_000
    picture = Picture(noise(9, 9), exif=exif.tobytes())
    with pytest.raises(UsageError, match="cannot hold this picture's EXIF"):
        write(picture, tmp_path / "a.jpg")
    write(picture, tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
