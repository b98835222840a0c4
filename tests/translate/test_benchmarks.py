"""The benchmarks' own models are models: the toolkit loads and runs them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import translate_inference

from gantk_translate.translator import Translator


@pytest.mark.parametrize("name", translate_inference.NETWORKS)
def test_a_model_with_new_weights_translates(name: str) -> None:
    small = translate_inference.NETWORKS[name] | {
        "channels": 8,
        "blocks": min(2, translate_inference.NETWORKS[name]["blocks"]),
    }
    model = translate_inference.made(small)
    pixels = np.zeros((16, 24, 3), np.uint8)
    made = Translator(model, device="cpu", precision="fp32")(pixels)
    assert made.shape == pixels.shape and made.dtype == np.uint8
