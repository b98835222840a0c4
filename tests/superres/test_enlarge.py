"""The enlarger: any picture in, the same kind out, the same answer for any tile, and its colours kept."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import gantoolkit
from gantk_superres import networks
from gantk_superres.enlarge import Enlarger, spread
from gantoolkit.errors import InputError, UsageError
from gantoolkit.images import Picture
from gantoolkit.model import MAIN, Model
from gantoolkit.resample import resize_array
from tests.superres import tiny
from tests.superres.tiny import photo
from tests.tolerances import TOL

RNG = np.random.default_rng(0)
ARCHITECTURES = {
    "compact": tiny.CONFIG,
    "srvgg": {"arch": "srvgg", "scale": 4, "channels": 8, "convs": 2},
    "rrdb": {"arch": "rrdb", "scale": 4, "channels": 8, "blocks": 1, "growth": 4},
    "rrdb, unshuffled": {"arch": "rrdb", "scale": 2, "channels": 8, "blocks": 1, "growth": 4},
}


@pytest.fixture(scope="module")
def enlarger() -> Enlarger:
    return Enlarger(tiny.model(), precision="fp32")


@pytest.fixture(scope="module")
def bicubic() -> Enlarger:
    """An enlarger that draws nothing."""
    return Enlarger(tiny.model(residual=0.0), precision="fp32")


# ---- kinds of pictures ----


@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64", "float16"])
def test_arrays_come_back_as_they_went_in(enlarger: Enlarger, channels: int | None, dtype: str) -> None:
    image = photo(9, 7, channels or 1).astype(np.float64) / 255
    if np.issubdtype(np.dtype(dtype), np.integer):
        image = np.rint(image * np.iinfo(dtype).max)
    image = image.astype(dtype) if channels else image.astype(dtype)[:, :, 0]
    large = enlarger(image)
    assert large.dtype == image.dtype
    assert large.shape == ((36, 28, channels) if channels else (36, 28))


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((3, 8, 8), np.uint8), np.zeros((8, 8, 3), np.int64), np.zeros((8, 8), bool),
        np.zeros((0, 8, 3), np.uint8), np.zeros((1, 8, 8, 3), np.uint8), np.zeros(5, np.uint8),
    ],
)  # fmt: skip
def test_arrays_that_are_no_pictures_are_refused(enlarger: Enlarger, bad: np.ndarray) -> None:
    with pytest.raises(UsageError, match=r"not a picture.*H×W"):
        enlarger(bad)


@pytest.mark.parametrize(
    "bad", ["photo.png", 3, None, Path("x.png"), torch.zeros(8, 8), torch.zeros(3, 8, 8, dtype=torch.int64)]
)
def test_other_things_are_refused(enlarger: Enlarger, bad: Any) -> None:
    with pytest.raises(UsageError, match="not a picture"):
        enlarger(bad)


@pytest.mark.parametrize(
    ("mode", "out"),
    [("L", "L"), ("LA", "LA"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("1", "L"), ("CMYK", "RGB"), ("P", "RGB"), ("F", "F")],
)
def test_pil_images_come_back_as_such(enlarger: Enlarger, mode: str, out: str) -> None:
    image = Image.fromarray(photo(9, 7)).convert(mode)
    image = image.point(lambda value: value * (1 / 255)) if mode == "F" else image
    image.info["icc_profile"] = b"profile"
    large = enlarger(image)
    assert (large.mode, large.size) == (out, (28, 36))
    assert large.info["icc_profile"] == b"profile"


@pytest.mark.parametrize("mode", ["I", "I;16B"])
def test_pil_images_of_sixteen_bits_keep_their_tones(enlarger: Enlarger, mode: str) -> None:
    tones = np.linspace(0, 65535, 63).reshape(9, 7).astype(np.uint16)
    usual = enlarger(Image.fromarray(tones))
    given = (
        Image.fromarray(tones.astype(np.int32))
        if mode == "I"
        else Image.frombytes(mode, (7, 9), tones.astype(">u2").tobytes())
    )
    assert given.mode == mode
    large = enlarger(given)
    assert large.mode == ("I" if mode == "I" else "I;16") and np.array_equal(np.asarray(large), np.asarray(usual))


def test_pil_palettes_with_a_transparent_colour_get_alpha(enlarger: Enlarger) -> None:
    image = Image.fromarray(photo(9, 7)).quantize(8)
    image.info["transparency"] = 0
    large = enlarger(image)
    assert large.mode == "RGBA" and "transparency" not in large.info
    assert np.asarray(large)[..., 3].min() < 128 < np.asarray(large)[..., 3].max()


def test_pil_16_bit_grey_stays_16_bit(bicubic: Enlarger) -> None:
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 3 + 30_000  # 8 bits would make them one or two
    large = bicubic(Image.fromarray(values))
    assert large.mode == "I;16" and large.size == (32, 32)
    inside = (slice(8, -8), slice(8, -8))  # the border is repeated here and mirrored there
    expected = resize_array(values[:, :, None], (32, 32))[:, :, 0].astype(int)
    assert np.abs(np.asarray(large).astype(int) - expected)[inside].max() <= 1


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.uint8])
def test_tensors_come_back_as_they_went_in(enlarger: Enlarger, channels: int, dtype: torch.dtype) -> None:
    image = torch.from_numpy(photo(9, 7, channels)).permute(2, 0, 1)
    image = image if dtype == torch.uint8 else (image / 255).to(dtype)
    one, many = enlarger(image), enlarger(torch.stack([image, image.flip(1)]))
    assert one.shape == (channels, 36, 28) and many.shape == (2, channels, 36, 28)
    assert one.dtype == many.dtype == dtype and one.is_contiguous()
    assert torch.equal(many[0], one)
    array = enlarger(photo_of(image))
    assert np.abs(photo_of(one).astype(float) - array.astype(float)).max() <= (1 if dtype == torch.uint8 else 1e-3)


def photo_of(image: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def test_a_tensor_that_learns_is_fine(enlarger: Enlarger) -> None:
    assert not enlarger(torch.rand(3, 6, 6, requires_grad=True)).requires_grad


def test_floating_output_stays_in_its_range(enlarger: Enlarger) -> None:
    checks = np.indices((8, 8)).sum(0)[:, :, None].repeat(3, 2) % 2
    large = enlarger(checks.astype(np.float32))
    assert large.min() >= 0 and large.max() <= 1


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 2, 3, 4]),
    st.sampled_from(["uint8", "uint16", "float32"]), st.sampled_from([4.0, 2.0, 3.0, 2.5, 0.7, 16.0]), st.floats(0, 1),
)  # fmt: skip
def test_any_size_and_a_constant_stays_constant(
    height: int, width: int, channels: int, dtype: str, scale: float, level: float
) -> None:
    if scale == 16 and height * width > 400:
        height = width = 20
    bicubic = _bicubic()
    bicubic.scale = scale
    top = 1 if dtype == "float32" else np.iinfo(dtype).max
    value = np.dtype(dtype).type(level if top == 1 else round(level * top))
    large = bicubic(np.full((height, width, channels), value, dtype))
    assert large.dtype == np.dtype(dtype)
    assert large.shape == (max(1, round(height * scale)), max(1, round(width * scale)), channels)
    assert np.abs(large.astype(np.float64) - float(value)).max() <= (2e-6 if top == 1 else 1)


_made: list[Enlarger] = []


def _bicubic() -> Enlarger:
    if not _made:
        _made.append(Enlarger(tiny.model(residual=0.0), precision="fp32"))
    return _made[0]


def test_without_a_residual_the_result_is_bicubic(bicubic: Enlarger) -> None:
    image = photo(12, 10)
    inside = (slice(8, -8), slice(8, -8))
    expected = resize_array(image, (48, 40))[inside].astype(int)
    assert np.abs(bicubic(image)[inside].astype(int) - expected).max() <= 1


def test_what_comes_with_a_picture_stays(enlarger: Enlarger) -> None:
    picture = Picture(photo(6, 5), photo(6, 5, 1)[:, :, 0], b"icc", b"II*\0exif", (300.0, 300.0), "TIFF")
    large = enlarger(picture)
    assert large.alpha is not None and large.alpha.shape == (24, 20)
    for name in ("icc", "exif", "dpi", "format"):
        assert getattr(large, name) == getattr(picture, name)


def test_grey_stays_grey(enlarger: Enlarger) -> None:
    grey = photo(12, 12, 1)
    large = enlarger(grey)
    assert large.shape == (48, 48, 1)
    colours = enlarger(grey.repeat(3, 2))
    assert np.abs(colours.mean(2) - large[:, :, 0]).max() <= 2  # each is rounded, and so is its colour


# ---- tiles ----


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_tile_gives_the_same(name: str) -> None:
    image = photo(61, 47).astype(np.float32) / 255
    model = tiny.model(ARCHITECTURES[name])
    whole = Enlarger(model, precision="fp32", tile=1000).picture(Picture(image)).pixels
    for tile in (1, 8, 20, 33):
        if tile == 1 and name != "compact":
            continue  # thousands of windows
        tiled = Enlarger(model, precision="fp32", tile=tile).picture(Picture(image)).pixels
        assert np.abs(tiled - whole).max() <= TOL["tiled vs untiled, fp32 absolute"], tile


def test_every_tile_gives_the_same_with_the_bundled_model() -> None:
    image = photo(70, 60).astype(np.float32) / 255
    whole = gantoolkit.load("superres", precision="fp32", tile=1000)(image)
    tiled = gantoolkit.load("superres", precision="fp32", tile=24)(image)
    assert np.abs(tiled - whole).max() <= TOL["tiled vs untiled, fp32 absolute"]


def test_memory_that_runs_out_shrinks_the_tile(enlarger: Enlarger, monkeypatch: pytest.MonkeyPatch) -> None:
    image = photo(50, 40)
    expected = enlarger(image)
    run, sizes = enlarger._run, []

    def tight(pixels: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(pixels.shape[-2:]))
        if pixels.shape[-1] * pixels.shape[-2] > 1000:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return run(pixels)

    monkeypatch.setattr(enlarger, "_run", tight)
    assert np.abs(enlarger(image).astype(int) - expected).max() <= 1
    assert sizes[0] == (50, 40) and len(sizes) > 3

    def hopeless(pixels: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(enlarger, "_run", hopeless)
    with pytest.raises(InputError, match="not enough memory"):
        enlarger(image)


# ---- precision ----


def test_output_that_is_not_finite_is_done_again_in_fp32() -> None:
    """Weights whose features pass fp16's 65504 and come back below it."""
    weights = tiny.state()
    weights["head.weight"] *= 1e7
    weights["tail.weight"] /= 1e7
    model = Model("superres", tiny.CONFIG, {MAIN: weights})
    half, single = Enlarger(model, precision="fp16"), Enlarger(model, precision="fp32")
    image = photo(20, 20)
    with torch.inference_mode():
        raw = half._run(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
    assert not raw.isfinite().all()
    assert np.array_equal(half(image), single(image))


def test_weights_that_are_not_numbers_say_so() -> None:
    weights = tiny.state()
    weights["tail.bias"][0] = float("nan")
    with pytest.raises(InputError, match="not finite"):
        Enlarger(Model("superres", tiny.CONFIG, {MAIN: weights}))(photo(8, 8))


def test_deep_pictures_keep_their_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ramp of 16 bits through a network whose last layer gives 8 bits of mantissa in bf16."""
    from gantoolkit import devices

    monkeypatch.setattr(devices, "fast_bf16", lambda kind: True)
    model = tiny.model(ARCHITECTURES["rrdb"])
    ramp = np.linspace(30_000, 31_000, 40).round().astype(np.uint16)[None, :, None].repeat(24, 0).repeat(3, 2)
    auto, single, half = (Enlarger(model, precision=p) for p in ("auto", "fp32", "bf16"))
    assert auto.precision == "bf16"
    assert np.array_equal(auto(ramp), single(ramp))
    assert not np.array_equal(half(ramp), single(ramp))  # asked for by name, it is taken
    eight = (ramp >> 8).astype(np.uint8)
    assert np.array_equal(auto(eight), half(eight))


def test_bf16_is_near_fp32(enlarger: Enlarger) -> None:
    image = photo(24, 24)
    half = Enlarger(tiny.model(), precision="bf16")(image)
    assert np.abs(half.astype(int) - enlarger(image)).max() <= 2


# ---- alpha ----


def test_hidden_colours_do_not_bleed(bicubic: Enlarger) -> None:
    """A green disc on transparent magenta: what is visible of the result is green."""
    y, x = np.mgrid[:32, :32]
    disc = (y - 16) ** 2 + (x - 16) ** 2 < 100
    image = np.where(disc[:, :, None], [0, 200, 0, 255], [255, 0, 255, 0]).astype(np.uint8)
    large = bicubic(image)
    visible = large[:, :, 3] > 0
    assert np.abs(large[visible][:, :3].astype(int) - [0, 200, 0]).max() <= 1
    assert 0 < large[:, :, 3].mean() < 255
    inside = resize_array(image[:, :, 3:], (128, 128))[:, :, 0]
    assert np.abs(large[:, :, 3].astype(int) - inside).max() <= 1


def test_alpha_in_floating_point_stays_in_its_range(bicubic: Enlarger) -> None:
    alpha = np.zeros((12, 14), np.float32)
    alpha[4:8, 4:8] = 1
    large = bicubic.picture(Picture(np.full((12, 14, 3), 0.5, np.float32), alpha=alpha)).alpha
    assert large is not None and large.dtype == np.float32 and (large.min(), large.max()) == (0, 1)


def test_spread_leaves_visible_pixels_alone() -> None:
    pixels, alpha = photo(9, 9), RNG.integers(0, 2, (9, 9)).astype(np.uint8) * 255
    done = spread(pixels, alpha)
    assert np.array_equal(done[alpha > 0], pixels[alpha > 0])
    assert spread(pixels, np.zeros_like(alpha)) is pixels and spread(pixels, np.full_like(alpha, 255)) is pixels


# ---- the Python API ----


def test_load_reads_like_the_command_line(tmp_path: Path) -> None:
    folder = tiny.saved(tmp_path / "model", fidelity=True)
    image = photo(10, 10)
    enlarge = gantoolkit.load("superres", folder, detail=0.0, scale=2.5, precision="fp32", tile=32)
    assert enlarge(image).shape == (25, 25, 3)
    assert gantoolkit.load("superres")(image).shape == (40, 40, 3)
    with pytest.raises(UsageError, match="did you mean"):
        gantoolkit.load("superres", "photo-x5")


def test_networks_of_the_table_are_all_tested() -> None:
    assert {config["arch"] for config in ARCHITECTURES.values()} == set(networks.GENERATORS)


def test_the_enlarger_leaves_its_input_alone(enlarger: Enlarger) -> None:
    image = photo(10, 10, 4)
    image[:5, :, 3] = 0
    copy = image.copy()
    enlarger(image)
    picture = Picture(image[:, :, :3].copy(), image[:, :, 3].copy())
    enlarger(dataclasses.replace(picture))
    assert np.array_equal(image, copy) and np.array_equal(picture.pixels, copy[:, :, :3])
