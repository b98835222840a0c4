"""Agreement of segmentations against counts made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gantoolkit.errors import InputError, UsageError
from gantoolkit.segmentation import Confusion


def test_counts_by_hand() -> None:
    truth = np.array([[0, 0, 5], [0, 5, 5]])
    predicted = np.array([[0, 5, 5], [0, 5, 9]])
    confusion = Confusion((0, 5, 9))
    confusion.add(predicted, truth)
    assert confusion.counts.tolist() == [[2, 1, 0], [0, 2, 1], [0, 0, 0]]
    iou, accuracy = confusion.cards()
    # IoU: 2 of 3 pixels that either calls 0, 2 of 4 for 5, 0 of 1 for 9
    assert iou.value == pytest.approx((2 / 3 + 2 / 4 + 0) / 3) and accuracy.value == pytest.approx(4 / 6)
    assert iou.protocol == {"classes": 3, "pixels": 6} and iou.n == 1


def test_pixels_of_all_pictures_count_together() -> None:
    confusion = Confusion((0, 1))
    confusion.add(np.zeros((1, 1), int), np.zeros((1, 1), int))
    confusion.add(np.zeros((1, 3), int), np.ones((1, 3), int))
    iou, accuracy = confusion.cards()
    assert accuracy.value == 0.25 and iou.value == pytest.approx((1 / 4 + 0) / 2) and iou.n == 2


def test_classes_that_never_occur_are_left_out_of_the_mean() -> None:
    confusion = Confusion((0, 1, 2))
    confusion.add(np.eye(4, dtype=np.uint8), np.eye(4, dtype=np.uint8))
    assert [card.value for card in confusion.cards()] == [1, 1]
    assert confusion.cards()[0].protocol["classes"] == 2


@given(st.integers(0, 1000))
def test_both_figures_lie_between_0_and_1_and_iou_is_symmetric(seed: int) -> None:
    a, b = np.random.default_rng(seed).integers(0, 3, (2, 5, 4))
    there, back = Confusion((0, 1, 2)), Confusion((0, 1, 2))
    there.add(a, b)
    back.add(b, a)
    assert [c.value for c in there.cards()] == pytest.approx([c.value for c in back.cards()])
    assert all(0 <= card.value <= 1 for card in there.cards())


def test_what_cannot_be_compared_is_refused() -> None:
    confusion = Confusion((0, 1))
    with pytest.raises(UsageError, match="no masks were compared"):
        confusion.cards()
    with pytest.raises(UsageError, match=r"expected two arrays H,W of one shape, got \(2, 2\) and \(2, 3\)"):
        confusion.add(np.zeros((2, 2), int), np.zeros((2, 3), int))
    with pytest.raises(InputError, match="unknown class, expected 0, 1, got 7"):
        confusion.add(np.zeros((1, 1), int), np.full((1, 1), 7))
    for classes in ((), (1, 1)):
        with pytest.raises(UsageError, match="each once"):
            Confusion(classes)
