"""Images of every kind through a function of pictures: nothing of them is lost unsaid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gantoolkit.adapt import as_it_came
from gantoolkit.errors import UsageError
from gantoolkit.images import Picture
from tests.pictures import noise

COLOURS = noise(6, 5)


def same(picture: Picture) -> Picture:
    return picture


@pytest.mark.parametrize(
    ("mode", "key", "out"), [("L", 77, "LA"), ("1", 0, "LA"), ("RGB", (7, 8, 9), "RGBA"), ("P", 3, "RGBA")]
)
def test_a_transparent_colour_of_pil_becomes_alpha(mode: str, key: Any, out: str) -> None:
    image = Image.new(mode, (5, 4), key)
    image.putpixel((2, 1), 1 if mode != "RGB" else (1, 1, 1))
    image.info |= {"transparency": key, "icc_profile": b"profile"}
    made = as_it_came(image, same)
    assert made.mode == out and made.info == {"icc_profile": b"profile"}
    assert np.argwhere(np.asarray(made)[..., -1]).tolist() == [[1, 2]]


def test_pil_numbers_of_a_wide_type_come_back_as_such() -> None:
    image = Image.fromarray(np.arange(0, 220, 11, dtype=np.int32).reshape(4, 5) * 297)
    image.info["dpi"] = (300, 300)
    made = as_it_came(image, same)
    assert image.mode == made.mode == "I" and made.info == {"dpi": (300, 300)}
    assert np.array_equal(np.asarray(made), np.asarray(image))
    for beyond in (-1, 65536):
        image.putpixel((0, 0), beyond)
        with pytest.raises(UsageError, match=r"expected 0 to 65535, got"):
            as_it_came(image, same)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(COLOURS).convert("F"),
        COLOURS.astype(np.float64),
        COLOURS / np.float32(127.5) - 1,
        torch.from_numpy(COLOURS).permute(2, 0, 1).float(),
        np.dstack([COLOURS / 255, COLOURS[..., 0]]),
        np.full((4, 4), np.nan),
    ],
)
def test_floating_point_of_another_range_is_no_picture(image: Any) -> None:
    def work(picture: Picture) -> Picture:
        raise AssertionError("it is refused before the work")

    with pytest.raises(UsageError, match=r"expected floating point in \[0, 1\], got .* to "):
        as_it_came(image, work)


def test_overshoot_is_clipped() -> None:
    given = np.array([[-0.04, 0.5, 1.04]])
    assert as_it_came(given, same).tolist() == [[0, 0.5, 1]]
    wild = as_it_came(np.array([[0, 0.5, 1]]), lambda picture: replace(picture, pixels=picture.pixels * 3 - 1))
    assert wild.tolist() == [[0, 0.5, 1]]


def test_numbers_that_are_no_pictures_pass_as_they_are() -> None:
    given = torch.tensor([[[-1000.0, 0.0, 3000.0]]])
    made = as_it_came(given, lambda picture: replace(picture, pixels=picture.pixels * 2), unit=False)
    assert made.tolist() == [[[-2000, 0, 6000]]]
