"""The preview: a sheet that shows samples with their targets where they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from gantk_augment import recipes
from gantk_augment.classic import Classic
from gantk_augment.preview import COLOURS, LARGE, overlay, sheet
from gantoolkit.errors import GantkError, InputError
from gantoolkit.samples import Made, Request, Sample, Thing

GREY = np.full((64, 64, 3), 100, np.uint8)


class Data:
    def __init__(self, samples: Sequence[Sample | None]) -> None:
        self._samples = samples
        self.names = [f"folder/{i}.png" for i in range(len(samples))]

    def sample(self, i: int) -> Sample:
        found = self._samples[i]
        if found is None:
            raise InputError(f"{self.names[i]} is damaged")
        return found

    def label(self, i: int) -> str | None:
        return None if (found := self._samples[i]) is None else found.label


class Painter:
    """Makes pictures of one colour from nothing, and remembers what it was asked for."""

    name, needs_source, chunk = "painter", False, 1

    def __init__(self, error: GantkError | None = None, colour: tuple[int, int, int] = (0, 0, 255)) -> None:
        self.asked: list[Request] = []
        self.error, self.colour = error, colour

    def make(self, requests: Sequence[Request]) -> Sequence[Made | GantkError]:
        self.asked += requests
        picture = np.full((64, 64, 3), self.colour, np.uint8)
        return [self.error or Made(Sample(picture, request.label), {}) for request in requests]


def tiles(made: np.ndarray, rows: int, columns: int) -> list[list[np.ndarray]]:
    """The cells of a sheet, without the gaps."""
    return [np.array_split(row, columns, axis=1) for row in np.array_split(made, rows, axis=0)]


def test_a_row_is_the_original_and_new_ones() -> None:
    red = np.full((64, 64, 3), (255, 0, 0), np.uint8)
    made = sheet(Data([Sample(red, "a"), Sample(red, "b")]), [Painter()], 0, count=2, new=3)
    assert made.dtype == np.uint8 and made.ndim == 3 and made.shape[2] == 3
    for row in tiles(made, 2, 4):
        assert [(cell == (255, 0, 0)).all(axis=2).mean() > 0.5 for cell in row] == [True, False, False, False]
        assert [(cell == (0, 0, 255)).all(axis=2).mean() > 0.5 for cell in row] == [False, True, True, True]


def test_each_of_two_policies_is_shown() -> None:
    made = sheet(Data([Sample(GREY, "a")]), [Painter(), Painter(colour=(255, 255, 0))], 0, count=1, new=3)
    (row,) = tiles(made, 1, 5)
    for colour, there in (((0, 0, 255), [0, 1, 1, 0, 0]), ((255, 255, 0), [0, 0, 0, 1, 1])):
        assert [(cell == colour).all(axis=2).mean() > 0.5 for cell in row] == list(map(bool, there))


def test_a_policy_without_a_source_is_asked_for_the_class() -> None:
    painter = Painter()
    sheet(Data([Sample(GREY, "a"), Sample(GREY, "b")]), [painter], 0, new=2)
    assert [request.label for request in painter.asked] == ["a", "a", "b", "b"]
    assert all(request.source is None for request in painter.asked)
    assert len({request.seed for request in painter.asked}) == 4


def test_the_seed_decides() -> None:
    data, policy = Data([Sample(np.arange(64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8))]), "photo"
    first, again, other = (sheet(data, [Classic(recipes.read(policy))], seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_samples_come_from_all_over_and_damaged_ones_are_passed_over() -> None:
    shades = [None if i in (0, 4) else Sample(np.full((64, 64, 3), i, np.uint8)) for i in range(8)]
    made = sheet(Data(shades), [Painter()], 0, count=2, new=1)
    found = [{i for i in range(1, 8) if (cell == i).all(axis=2).mean() > 0.5} for cell, _ in tiles(made, 2, 2)]
    assert found == [{1}, {5}]


def test_nothing_to_show() -> None:
    with pytest.raises(InputError, match=r"0\.png is damaged"):
        sheet(Data([None]), [Painter()], 0)
    with pytest.raises(InputError, match="no picture"):
        sheet(Data([]), [Painter()], 0)
    with pytest.raises(InputError, match="cannot do it"):
        sheet(Data([Sample(GREY)]), [Painter(InputError("cannot do it"))], 0)


def test_targets_are_drawn_where_they_are() -> None:
    mask = np.zeros((128, 128), bool)
    mask[20:40, 60:80] = True
    points = np.array([[100, 100, 2], [100, 20, 1], [0, 0, 0]], np.float32)
    drawn = overlay(
        Sample(np.full((128, 128, 3), 100, np.uint8), None, None, (Thing(1, (50, 10, 91, 51), mask, points),))
    )
    assert drawn.shape == (128, 128, 3)
    colour = np.array(COLOURS[0])
    for y, x in ((10, 60), (50, 60), (30, 50), (30, 90), (100, 100)):
        np.testing.assert_array_equal(drawn[y, x], colour)
    np.testing.assert_allclose(drawn[30, 70], 0.6 * 100 + 0.4 * colour, atol=1)
    np.testing.assert_array_equal(drawn[20, 100], 100)  # a ring: hidden
    np.testing.assert_array_equal(drawn[0, 0], 100)  # not there
    np.testing.assert_array_equal(drawn[80, 30], 100)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(28, 28), (300, 41), (64, 300), (1, 1)])
def test_all_kinds_of_pictures_can_be_shown(dtype: type, channels: int, size: tuple[int, int]) -> None:
    top = np.iinfo(dtype).max
    drawn = overlay(Sample(np.full((*size, channels), top, dtype), None, np.ones(size, dtype)))
    assert drawn.dtype == np.uint8 and drawn.shape[2] == 3 and max(drawn.shape) <= LARGE
    np.testing.assert_allclose(drawn[0, 0], 0.6 * 255 + 0.4 * np.array(COLOURS[0]), atol=1)
    assert drawn.shape[0] / drawn.shape[1] == pytest.approx(size[0] / size[1], rel=0.05)


def test_large_class_ids_and_coloured_masks() -> None:
    ids = np.full((128, 128), 60_000, np.uint16)
    ids[:, :64] = 0
    drawn = overlay(Sample(np.full((128, 128, 3), 100, np.uint8), None, ids))
    np.testing.assert_array_equal(drawn[5, 5], 100)
    assert not np.array_equal(drawn[5, 100], drawn[5, 5])
    colours = np.zeros((128, 128, 3), np.uint8)
    colours[:64] = (0, 255, 0)
    drawn = overlay(Sample(np.full((128, 128, 3), 100, np.uint8), None, colours))
    np.testing.assert_allclose(drawn[5, 5], (60, 162, 60), atol=1)
    np.testing.assert_array_equal(drawn[100, 5], 100)
