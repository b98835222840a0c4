"""What an enlarger is asked for: numbers in their ranges, and a model whose weights fit its configuration."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gantk_superres.enlarge import Enlarger
from gantoolkit.errors import InputError, UsageError
from gantoolkit.images import Picture
from gantoolkit.model import MAIN, Model
from tests.superres import tiny
from tests.superres.tiny import photo


def test_detail_interpolates_the_weights() -> None:
    model = tiny.model(fidelity=True)
    image = photo(16, 16).astype(np.float32) / 255
    results = [Enlarger(model, detail=d, precision="fp32").picture(Picture(image)).pixels for d in (0, 0.5, 1)]
    assert np.abs(results[1] - (results[0] + results[2]) / 2).max() < 1e-5  # here only the last layer differs
    assert np.abs(results[0] - results[2]).max() > 0.01
    fidelity = Model("superres", model.config, {MAIN: model.weights["fidelity"]})
    assert np.array_equal(Enlarger(fidelity, precision="fp32").picture(Picture(image)).pixels, results[0])


@pytest.mark.parametrize(
    "options",
    [
        {"scale": 0}, {"scale": -2}, {"scale": 16.5}, {"scale": float("nan")}, {"scale": "2"}, {"detail": 1.01},
        {"detail": -0.1}, {"detail": "1"}, {"tile": -5}, {"tile": 2.5}, {"device": "abacus"}, {"device": "cpu:x"},
        {"device": "abacus", "backend": "onnx"}, {"precision": "fp8"}, {"backend": "tensorrt"},
    ],
)  # fmt: skip
def test_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=str(next(iter(options.values())))):
        Enlarger(tiny.model(), **options)


def test_numbers_of_numpy_are_numbers() -> None:
    assert Enlarger(tiny.model(), scale=np.float32(2), tile=np.int64(8)).size((4, 5)) == (8, 10)


def test_weights_that_do_not_fit_are_an_input_error() -> None:
    model = Model("superres", tiny.CONFIG | {"channels": 16}, {MAIN: tiny.state()}, name="mixed up")
    with pytest.raises(
        InputError, match=r"mixed up: weight head\.weight does not fit .* expected \(16, 3, 3, 3\)"
    ) as no:
        Enlarger(model)
    assert len(str(no.value)) < 200


@pytest.mark.parametrize(
    "changes",
    [
        {"scale": "4"}, {"scale": 2.5}, {"scale": -1}, {"channels": None}, {"channels": 0}, {"channels": 10**9},
        {"blocks": [1]}, {"arch": "foo"}, {"bogus": 1},
    ],
)  # fmt: skip
def test_a_config_that_describes_no_network_is_an_input_error(changes: dict[str, Any]) -> None:
    model = Model("superres", tiny.CONFIG | changes, {MAIN: tiny.state()}, name="by hand")
    with pytest.raises(InputError, match=r"the model by hand: .*") as caught:
        Enlarger(model)
    assert len(str(caught.value)) < 250
