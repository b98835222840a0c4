"""Stacked MNIST's data and its counting of modes: known answers, with digits that are easy to read."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from gantoolkit.archives import write_archive
from gantoolkit.errors import InputError

BENCHMARKS = str(Path(__file__).parent.parent / "benchmarks")


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield __import__("stacked_mnist")
    sys.modules.pop("stacked_mnist", None)
    sys.modules.pop("common", None)


class Reader:
    """Reads a digit from the first pixel."""

    def labels(self, pictures: np.ndarray) -> np.ndarray:
        assert pictures.shape[1:] == (28, 28, 1)
        return pictures[:, 0, 0, 0].astype(np.int64)


def digits(*values: int) -> np.ndarray:
    """uint8 (N, 28, 28, 1), filled with the digit."""
    return np.repeat(np.array(values, np.uint8), 28 * 28).reshape(-1, 28, 28, 1)


def test_modes_and_divergence_have_their_known_values(benchmark) -> None:
    every = np.array([[a, b, c] for a in range(10) for b in range(10) for c in range(10)], np.uint8)
    pictures = np.broadcast_to(every[:, None, None], (1000, 28, 28, 3))
    assert benchmark.count_modes(Reader(), pictures) == (1000, pytest.approx(0, abs=1e-12))
    assert benchmark.count_modes(Reader(), pictures[:500]) == (500, pytest.approx(np.log(2)))
    assert benchmark.count_modes(Reader(), pictures[[7] * 50]) == (1, pytest.approx(np.log(1000)))


def test_a_stack_holds_three_digits_drawn_alone(benchmark) -> None:
    pictures = benchmark.stacked(digits(*range(10)), 5_000, seed=1)
    assert pictures.shape == (5_000, 28, 28, 3) and pictures.dtype == np.uint8
    assert (pictures == pictures[:, :1, :1]).all()
    assert np.abs(np.corrcoef(pictures[:, 0, 0].T) - np.eye(3)).max() < 0.06
    assert np.array_equal(pictures, benchmark.stacked(digits(*range(10)), 5_000, seed=1))
    modes, divergence = benchmark.count_modes(Reader(), pictures)
    assert modes > 980 and divergence == pytest.approx(999 / 10_000, rel=0.2)  # what 5,000 perfect samples score


def test_what_is_trained_on_is_what_is_measured(benchmark) -> None:
    data = benchmark.Stacked(digits(0, 255))
    item = data.item(0, np.random.default_rng(0))["image"]
    assert item.shape == (3, 28, 28) and set(item.unique().tolist()) <= {-1.0, 1.0}
    drawn = data.bank("train", 64)["image"][:, :, 0, 0]
    assert len({tuple(row) for row in drawn.tolist()}) == 8  # every stack of two digits, whatever the index


def test_digits_come_from_the_recipes_archive(benchmark, tmp_path: Path) -> None:
    write_archive(tmp_path / "a.zip", digits(*range(10)), list(range(10)), [str(d) for d in range(10)])
    pictures, labels = benchmark.read_digits(tmp_path / "a.zip")
    assert np.array_equal(pictures, digits(*range(10))) and labels.tolist() == list(range(10))
    write_archive(tmp_path / "b.zip", digits(*range(10))[:, :20, :20], list(range(10)), [str(d) for d in range(10)])
    with pytest.raises(InputError, match="28×28"):
        benchmark.read_digits(tmp_path / "b.zip")
