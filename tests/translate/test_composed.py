"""Translators that lay what they made on the input: layers, full-resolution lines, chroma, clean sketches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gantk_translate.composing import levelled
from gantk_translate.translator import Translator
from gantoolkit.model import MAIN
from gantoolkit.resample import resize_array
from tests.translate import tiny_models as tiny
from tests.translate.tiny_models import COLOUR, GREY, network_of, photo, planes_of


@pytest.mark.parametrize("compose", ["multiply", "chroma"])
def test_a_layer_at_the_training_size_is_the_networks(compose: str) -> None:
    model = tiny.model({**tiny.RESIDUAL, "compose": compose})
    drawing = np.full((32, 32, 3), 255, np.uint8)
    drawing[4:20:4, 3:25] = 0
    planes = planes_of(drawing if compose == "multiply" else photo(32, 32))
    expected = network_of(model)(torch.from_numpy(planes)[None])[0].numpy()
    assert np.abs(Translator(model, precision="fp32").planes(planes) - expected).max() < 1e-5


def test_lines_keep_their_full_resolution() -> None:
    """One pixel wide lines on a large sheet: black where they are, and the layer's colour beside them."""
    translator = Translator(tiny.model({**tiny.RESIDUAL, "compose": "multiply"}), precision="fp32")
    sketch = np.full((500, 400, 3), 255, np.uint8)
    sketch[100::50] = 0
    made = translator(sketch)
    assert made[100::50].max() == 0 and made[120::50].min() > 20
    small = resize_array(sketch, (32, 26))
    padded = np.pad(levelled(planes_of(small)), [(0, 0), (0, 0), (0, 6)], constant_values=1)
    layer = network_of(tiny.model({**tiny.RESIDUAL, "compose": "multiply"})).layer(torch.from_numpy(padded)[None])
    layer = resize_array(layer[0, :, :, :26].permute(1, 2, 0).numpy(), (500, 400)).clip(-1, 1)
    beside = made[120::50].astype(float)
    assert np.abs(beside - (layer[120::50] + 1) * 127.5).max() <= 1


def test_a_photographed_sketch_is_seen_as_clean_line_art() -> None:
    """Grey ink on paper that a shadow darkens from side to side; what is clean already stays as it is."""
    clean = np.ones((1, 64, 64), np.float32)
    clean[0, 10:50, 20:23] = clean[0, 30:33, 8:60] = -1
    assert np.array_equal(levelled(clean), clean)
    shadow = np.linspace(0.95, 0.6, 64, dtype=np.float32)
    sketch = (0.35 + 0.65 * (clean + 1) / 2) * shadow * 2 - 1
    seen = levelled(sketch)
    assert np.abs(seen - clean).mean() < 0.05 and np.abs(seen - clean).max() < 0.35
    blank = np.full((1, 64, 64), 0.7, np.float32) + np.random.default_rng(0).normal(0, 0.005, (1, 64, 64))
    assert levelled(blank.astype(np.float32)).min() > 0.8


def test_sketches_are_made_clean_for_models_that_learnt_clean_ones() -> None:
    built = {**tiny.RESIDUAL, "compose": "multiply"}
    made = [Translator(tiny.model(built, clean=clean), precision="fp32") for clean in (True, False)]
    drawing = np.full((32, 32, 3), 255, np.uint8)
    drawing[4:20:4, 3:25] = 0
    photographed = (drawing * 0.5 + 60).astype(np.uint8)
    same, seen_as_it_is = (np.array_equal(made[0](x), made[1](x)) for x in (drawing, photographed))
    assert same and not seen_as_it_is
    planes = planes_of(photographed)
    expected = network_of(tiny.model(built))(torch.from_numpy(planes)[None])[0].numpy()
    assert np.abs(made[1].planes(planes) - expected).max() < 1e-5


def test_chroma_keeps_the_brightness_of_every_pixel() -> None:
    """Noise at full resolution keeps its luma, where no colour is clipped."""
    noise = np.random.default_rng(0).integers(110, 146, (200, 120, 1)).astype(np.uint8)
    model = tiny.model({**tiny.RESIDUAL, "compose": "chroma"}, source=GREY, target=COLOUR)
    model.weights[MAIN]["fine.2.weight"] *= 0.2
    model.weights[MAIN]["fine.2.bias"] *= 0.2
    made = Translator(model, precision="fp32")(noise)
    assert made.shape == (200, 120, 3) and np.ptp(made.astype(int), axis=2).max() > 5
    assert np.abs(made @ np.array([0.299, 0.587, 0.114]) - noise[..., 0]).max() <= 1
