"""What a training shows of itself: nearest training pictures, and samples of all classes to look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from gantk_generate import show
from gantk_generate.options import GenerateConfig
from gantk_generate.task import Generate


class Known:
    """Plain pictures of rising grey; remembers how many of them were held at a time."""

    def __init__(self, count: int = 300) -> None:
        self.count, self.asked = count, 0

    def __len__(self) -> int:
        return self.count

    def pictures(self, indices: Iterable[int]) -> Iterator[np.ndarray]:
        for index in indices:
            self.asked += 1
            yield np.full((64, 64, 1), int(index) * 255 // (self.count - 1), np.uint8)


def test_each_picture_stands_above_its_nearest_ones() -> None:
    known = Known()
    made = [np.full((64, 64, 1), value, np.uint8) for value in (0, 255)]
    sheet = show.beside_nearest(made, known, beside=2)
    middle = [sheet[4 + 32 + row * 68, 4 + 32 + column * 68, 0] for row in range(3) for column in range(2)]
    assert middle[:2] == [0, 255]
    assert all(value <= 2 for value in middle[2::2]) and all(value >= 253 for value in middle[3::2])
    assert known.asked == 300 + 4  # each once, and those that are shown


def test_transparent_pictures_have_neighbours_too() -> None:
    class Clear(Known):
        def pictures(self, indices: Iterable[int]) -> Iterator[np.ndarray]:
            for grey in super().pictures(indices):
                yield np.dstack([grey, grey, grey, np.zeros_like(grey)])  # all of them white on white

    assert (
        show.beside_nearest([np.full((64, 64, 3), 255, np.uint8)], Clear(20), beside=1)[100, 30].tolist() == [255] * 3
    )


def test_the_first_samples_of_a_bank_are_of_all_classes(shapes: Path) -> None:
    """Gauges look at the first ones, and a folder a class is sorted by class."""
    data = Generate().dataset(GenerateConfig(device="cpu"), shapes)
    bank = data.bank("train", 40)
    assert set(bank["label"][:8].tolist()) == {0, 1}
    assert all((bank[key] == data.bank("train", 40)[key]).all() for key in bank)
