"""The translator: any size, depth and kind of side, tiles, layers, directions and styles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import gantoolkit
from gantk_translate.reading import resized
from gantk_translate.sides import Side
from gantk_translate.translator import Translator
from gantoolkit.errors import InputError, UsageError
from gantoolkit.images import Picture
from gantoolkit.model import MAIN, Model
from tests.tolerances import TOL
from tests.translate import tiny_models as tiny
from tests.translate.tiny_models import COLOUR, DEEP, GREY, MASK, network_of, photo, planes_of

# ---- what comes out ----


@pytest.mark.parametrize("built", [tiny.RESIDUAL, tiny.ATTENTIVE, tiny.RESNET], ids=lambda b: b["arch"])
def test_the_result_is_the_networks(built: dict[str, Any]) -> None:
    model = tiny.model(built)
    pixels = photo(24, 16)
    planes = planes_of(pixels)
    expected = network_of(model)(torch.from_numpy(planes)[None])[0].numpy()
    translator = Translator(model, precision="fp32")
    assert np.abs(translator.planes(planes) - expected).max() <= TOL["tiled vs untiled, fp32 absolute"]
    rounded = np.rint((expected.transpose(1, 2, 0) + 1) * 127.5).astype(int)
    made = translator(pixels)
    assert made.dtype == np.uint8 and np.abs(made.astype(int) - rounded).max() <= 1
    assert np.std(made) > 3 and translator.notes == []


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from(["uint8", "uint16", "float32", "float64"]),
    st.sampled_from([1, 3]), st.sampled_from(["residual", "resnet", "multiply"]),
)  # fmt: skip
def test_any_size_depth_and_channels(height: int, width: int, dtype: str, channels: int, kind: str) -> None:
    image = photo(height, width, channels) / 255
    top = 1 if dtype[0] == "f" else np.iinfo(dtype).max
    made = _translator(kind)((image * top).astype(dtype))
    assert made.shape == (height, width, 3) and made.dtype == np.dtype(dtype)
    assert made.min() >= 0 and made.max() <= top


_made: dict[str, Translator] = {}


def _translator(kind: str) -> Translator:
    built = {"residual": tiny.RESIDUAL, "resnet": tiny.RESNET, "multiply": {**tiny.RESIDUAL, "compose": "multiply"}}
    if kind not in _made:
        _made[kind] = Translator(tiny.model(built[kind]), precision="fp32")
    return _made[kind]


def test_16_bits_answer_as_8_bits_do_but_finer() -> None:
    translator = Translator(tiny.model())
    eight = photo()
    deep = translator((eight.astype(np.uint16)) * 257)
    assert deep.dtype == np.uint16 and len(np.unique(deep)) > 300
    assert np.abs(deep / 257 - Translator(tiny.model(), precision="fp32")(eight)).max() <= 0.51


def test_colours_become_grey_by_luma_and_grey_becomes_colours() -> None:
    grey = Translator(tiny.model(source=GREY, target=GREY), precision="fp32")
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    level = np.full((16, 16, 1), 0.299 * 200 / 255, np.float32)
    assert np.abs(grey(red).astype(float) - 255 * grey(level).astype(float)).max() <= 1
    colour = Translator(tiny.model(), precision="fp32")
    assert np.array_equal(colour(photo(channels=1)), colour(photo(channels=1).repeat(3, 2)))


def test_arrays_with_units_answer_in_the_targets_type_and_range() -> None:
    source, target = Side("array", 2, "float32", -10, 30), Side("array", 1, "int16", -1000, 3000)
    translator = Translator(tiny.model(source=source, target=target))
    values = np.random.default_rng(0).uniform(-10, 30, (16, 24, 2)).astype(np.float32)
    made = translator(values)
    assert made.shape == (16, 24, 1) and made.dtype == np.int16
    expected = network_of(tiny.model(source=source, target=target))(torch.from_numpy(source.encode(values))[None])
    assert np.abs(made - ((expected[0].numpy().transpose(1, 2, 0) + 1) * 2000 - 1000)).max() <= 1
    with pytest.raises(InputError, match="other channels, expected 2, got 3"):
        translator(photo())


def test_tensors_with_units_are_neither_refused_nor_clipped() -> None:
    side = Side("array", 1, "float32", -10, 30)
    translator = Translator(tiny.model(source=side, target=side), precision="fp32")
    values = np.random.default_rng(0).uniform(-10, 30, (16, 24, 1)).astype(np.float32)
    made = translator(torch.from_numpy(values).permute(2, 0, 1))
    np.testing.assert_allclose(made.permute(1, 2, 0).numpy(), translator(values), atol=1e-4)
    assert made.min() < 0 or made.max() > 1


def test_masks_are_classes_on_both_sides() -> None:
    classes = np.random.default_rng(0).choice([0, 3, 7], (16, 16, 1)).astype(np.uint8)
    to_mask, from_mask = Translator(tiny.model(target=MASK)), Translator(tiny.model(source=MASK))
    made = to_mask(np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8))
    assert made.shape == (24, 20, 1) and made.dtype == np.uint8 and len(np.unique(made)) > 1
    assert set(np.unique(made)) <= {0, 3, 7}
    assert from_mask(classes).shape == (16, 16, 3)
    palette = Image.fromarray(classes[..., 0])
    palette.putpalette([value for i in range(256) for value in (i, 255 - i, 9 * i % 256)])
    assert palette.mode == "P" and np.array_equal(np.asarray(from_mask(palette)), from_mask(classes))
    with pytest.raises(InputError, match="unknown classes, expected 0, 3, 7, got 1"):
        from_mask(np.ones((16, 16, 1), np.uint8))


def test_a_narrow_16_bit_range_is_kept() -> None:
    side = Side(channels=1, dtype="uint16", low=0.0, high=4100.0)
    made = Translator(tiny.model(source=side, target=side))(np.full((16, 16, 1), 2000, np.uint16))
    assert made.dtype == np.uint16 and 0 < made.max() <= 4100


def test_images_of_other_libraries_come_back_as_such() -> None:
    translator = Translator(tiny.model(), precision="fp32")
    expected = translator(photo())
    image = translator(Image.fromarray(photo()))
    assert image.mode == "RGB" and np.array_equal(np.asarray(image), expected)
    tensor = translator(torch.from_numpy(photo()).permute(2, 0, 1))
    assert tensor.dtype == torch.uint8 and np.array_equal(tensor.permute(1, 2, 0).numpy(), expected)
    assert translator(Image.fromarray(photo()).convert("RGBA")).mode == "RGBA"
    with pytest.raises(UsageError, match="not a picture"):
        translator("photo.png")


def test_load_reads_like_the_command_line(tmp_path: Any) -> None:
    folder = tiny.saved(tmp_path / "model")
    assert gantoolkit.load("translate", folder, precision="fp32")(photo()).shape == (24, 20, 3)


# ---- tiles ----


@pytest.mark.parametrize("built", [tiny.RESIDUAL, {**tiny.RESNET, "norm": "none"}], ids=lambda b: b["arch"])
def test_every_tile_gives_the_same_where_the_network_allows(built: dict[str, Any]) -> None:
    model = tiny.model(built)
    planes = planes_of(photo(150, 131))
    whole = Translator(model, precision="fp32", tile=1000)
    expected = whole.planes(planes)
    for tile in (16, 40, 64):
        translator = Translator(model, precision="fp32", tile=tile)
        assert np.abs(translator.planes(planes) - expected).max() <= TOL["tiled vs untiled, fp32 absolute"], tile
        assert translator.notes == []


@pytest.mark.parametrize("built", [tiny.ATTENTIVE, tiny.RESNET], ids=lambda b: b["arch"])
def test_tiles_that_differ_say_so(built: dict[str, Any]) -> None:
    model, pixels = tiny.model(built), photo(300, 500)
    whole, tiles = Translator(model, precision="fp32"), Translator(model, precision="fp32", tile=200)
    expected, made = whole(pixels).astype(int), tiles(pixels).astype(int)
    assert whole.notes == [] and len(tiles.notes) == 1 and "differs from the whole" in tiles.notes[0]
    tiles(pixels)
    assert len(tiles.notes) == 1
    assert np.abs(made - expected).max() > 0 and np.abs(made - expected).mean() < 12
    # no seam: a step at a tile's border is not larger than what the whole has there
    steps, whole_steps = (np.abs(np.diff(x, axis=1)).mean((0, 2)) for x in (made, expected))
    assert (steps - whole_steps).max() < 3


def test_context_that_would_cost_too_much_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that sees 90 pixels to each side: tiles that equal the whole repeat much of the picture."""
    translator = Translator(tiny.model({**tiny.RESIDUAL, "levels": 3}), precision="fp32")
    assert translator.generator.overlap > 80
    translator.whole_pixels = 300 * 300
    pixels = photo(500, 450)
    exact = translator(pixels).astype(int)
    assert translator.notes == []
    monkeypatch.setattr("gantk_translate.translator.MOST_WORK", 1)
    made = translator(pixels).astype(int)
    assert len(translator.notes) == 1 and "times the work (--tile" in translator.notes[0]
    assert np.abs(made - exact).mean() < 3
    translator.tile = 200
    assert np.abs(translator(pixels) - exact).max() <= 1 and len(translator.notes) == 1


def test_pictures_beyond_the_limit_run_in_tiles() -> None:
    translator = Translator(tiny.model(tiny.RESNET), precision="fp32")
    assert translator.whole_pixels > 500_000
    translator.whole_pixels = 300 * 300
    translator(photo(301, 301))
    assert len(translator.notes) == 1


# ---- scale ----


@pytest.mark.parametrize("source", [COLOUR, MASK], ids=["colours", "classes"])
def test_a_size_is_what_the_network_sees_and_the_result_has(source: Side) -> None:
    values = photo(60, 90) if source == COLOUR else np.random.default_rng(0).choice([0, 3, 7], (60, 90, 1))
    values = values.astype(np.uint8)
    model = tiny.model(source=source)
    small = resized(values, (20, 30), source == MASK)
    assert np.array_equal(Translator(model, size=30)(values), Translator(model)(small))
    translucent = Picture(photo(60, 90), photo(60, 90, 1)[..., 0])
    made = Translator(tiny.model(), size=30).picture(translucent)
    assert made.alpha is not None and made.alpha.shape == made.pixels.shape[:2] == (20, 30)


def test_a_layer_is_made_at_a_size_and_windows_without_one() -> None:
    """Learnt from windows of 32 pixels, the network sees a larger picture at its own scale, as it did in training."""
    built = {**tiny.RESIDUAL, "compose": "chroma"}
    windows = tiny.model(built, fit="crop")
    pixels = photo(64, 96)
    expected = network_of(windows)(torch.from_numpy(planes_of(pixels))[None])[0].permute(1, 2, 0).numpy()
    assert np.abs(Translator(windows, precision="fp32")(pixels) - (expected + 1) * 127.5).max() <= 0.51
    as_whole = Translator(tiny.model(built), size=48)(pixels)
    assert as_whole.shape == pixels.shape and np.array_equal(Translator(windows, size=48)(pixels), as_whole)
    assert np.array_equal(as_whole, Translator(tiny.model(built, size=48))(pixels))


# ---- directions, strength, style ----


def test_the_other_way_has_its_own_weights_and_sides() -> None:
    model = tiny.model(source=COLOUR, target=GREY, back=True)
    own, back = Translator(model), Translator(model, direction="BtoA")
    assert Translator(model, direction="AtoB")(photo()).tolist() == own(photo()).tolist()
    assert own(photo()).shape[2] == 1 and back(photo(channels=1)).shape[2] == 3
    assert (back.source, back.target) == (GREY, COLOUR)
    trained_back = tiny.model(source=COLOUR, target=GREY, back=True, direction="BtoA")
    assert Translator(trained_back, direction="BtoA").source == COLOUR  # its own way is from B to A


def test_a_one_way_model_says_so() -> None:
    with pytest.raises(UsageError, match="tiny goes one way only, expected AtoB, got BtoA"):
        Translator(tiny.model(), direction="BtoA")
    with pytest.raises(UsageError, match="unknown direction"):
        Translator(tiny.model(), direction="AtoC")  # type: ignore[arg-type]


def test_strength_mixes_the_output_with_the_input() -> None:
    pixels = photo()
    for built in (tiny.RESIDUAL, tiny.RESNET, {**tiny.RESIDUAL, "compose": "multiply"}):
        model = tiny.model(built)
        none, half, full = (Translator(model, strength=s, precision="fp32")(pixels).astype(int) for s in (0, 0.5, 1))
        assert np.array_equal(none, pixels)
        assert np.abs(half - (full + pixels) / 2).max() <= 1
    for strength in (-0.1, 1.1, 0.5):
        with pytest.raises(UsageError, match="strength"):
            Translator(tiny.model(target=GREY), strength=strength)


def test_style_where_it_belongs_and_nowhere_else(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match=r"--style do not go together, expected no --style"):
        Translator(tiny.model(), style=photo())
    pytest.importorskip("gantk_translate.networks.adain")
    model = tiny.model(tiny.ADAIN, game="style")
    with pytest.raises(UsageError, match="expected --style PICTURE"):
        Translator(model)
    Image.fromarray(photo(40, 700)).save(tmp_path / "style.png")
    one = Translator(model, style=tmp_path / "style.png", precision="fp32")(photo())
    other = Translator(model, style=255 - photo(64, 64), precision="fp32")(photo())
    assert one.shape == other.shape == (24, 20, 3) and np.abs(one.astype(int) - other).max() > 3
    with pytest.raises(InputError, match=r"none\.png"):
        Translator(model, style=tmp_path / "none.png")


def test_weights_that_do_not_fit_or_are_no_numbers() -> None:
    model = tiny.model()
    wider = Model("translate", model.config | {"generator": model.config["generator"] | {"channels": 8}}, model.weights)
    with pytest.raises(InputError, match="does not fit"):
        Translator(wider)
    for built in (tiny.RESIDUAL, tiny.RESNET, {**tiny.RESIDUAL, "compose": "multiply"}):
        broken = tiny.model(built)
        next(reversed(broken.weights[MAIN].values()))[:] = float("nan")
        with pytest.raises(InputError, match="not finite"):
            Translator(broken)(photo())


# ---- transparency ----


def test_transparent_line_art_is_drawn_on_white_and_stays_transparent() -> None:
    translator = Translator(tiny.model({**tiny.RESIDUAL, "compose": "multiply"}), precision="fp32")
    ink, alpha = np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), np.uint8)
    alpha[10:20] = 255
    made = translator.picture(Picture(ink, alpha))
    assert made.alpha is not None and np.array_equal(made.alpha, alpha)
    paper = np.where(alpha[..., None] == 255, 0, 255).astype(np.uint8).repeat(3, 2)
    assert np.array_equal(made.pixels, translator(paper))


def test_transparency_is_laid_on_white_where_training_did() -> None:
    alpha, pixels = np.zeros((32, 32), np.uint8), photo(32, 32)
    alpha[8:24, 8:24] = 255
    white = np.where(alpha[..., None] == 255, pixels, 255).astype(np.uint8)
    for source in (COLOUR, replace(COLOUR, alpha=True)):
        translator = Translator(tiny.model(source=source), precision="fp32", strength=0.5)
        made = translator.picture(Picture(pixels, alpha)).pixels
        assert np.array_equal(made, translator(white)) == source.alpha


def test_hidden_colours_do_not_matter_elsewhere() -> None:
    translator = Translator(tiny.model(), precision="fp32")
    alpha = np.zeros((32, 32), np.uint8)
    alpha[8:24, 8:24] = 255
    results = []
    for hidden in (0, 255):
        pixels = np.full((32, 32, 3), 128, np.uint8)
        pixels[alpha == 0] = hidden
        results.append(translator.picture(Picture(pixels, alpha)).pixels)
    assert np.array_equal(*results)
    mask = Translator(tiny.model(target=MASK)).picture(Picture(photo(32, 32), alpha, b"icc"))
    assert mask.alpha is None and mask.icc is None


def test_what_comes_with_a_picture_stays() -> None:
    picture = Picture(photo(), photo(channels=1)[:, :, 0], b"icc", b"II*\0exif", (300.0, 300.0), "TIFF")
    made = Translator(tiny.model()).picture(picture)
    for name in ("icc", "exif", "dpi", "format"):
        assert getattr(made, name) == getattr(picture, name)
    assert Translator(tiny.model(target=GREY)).picture(picture).icc is None
    deep = Translator(tiny.model(source=DEEP, target=COLOUR)).picture(picture)
    assert deep.pixels.dtype == np.uint8 and deep.alpha is not None
