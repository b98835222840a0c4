"""What the filters refuse and let through, by known answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gantk_augment import filters
from gantk_augment.filters import Filters, Folds, copy_distances, lower, nearest, thumbnails, upper
from gantk_augment.mixing import cross_fit
from gantoolkit.classify import fit_classifier
from gantoolkit.labelled import LabelledPictures
from gantoolkit.model import Model
from tests.generate.shapes import draw_shapes

NIMG = 3_000


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray]:
    """64 discs and 64 squares of 16²; every other one is kept aside."""
    read = LabelledPictures(draw_shapes(tmp_path_factory.mktemp("data") / "shapes", 64))
    assert read.labels is not None
    return np.stack(list(read.pictures())), read.labels


@pytest.fixture(scope="module")
def made(shapes: tuple[np.ndarray, np.ndarray]) -> Filters:
    pictures, labels = shapes[0][::2], shapes[1][::2]
    folds: Folds = cross_fit(pictures, labels, 2, folds=2, nimg=NIMG)
    classifier = fit_classifier(pictures, labels, 2, nimg=NIMG)
    return Filters.fit(pictures, classifier, folds, duplicates=0.05, outliers=0.05, confidence=0.5)


def test_new_real_pictures_pass(made: Filters, shapes: tuple[np.ndarray, np.ndarray]) -> None:
    said = made.judge(shapes[0][1::2], shapes[1][1::2])
    shares = said.shares()
    assert list(shares) == ["copy", "label", "outlier", "all"]
    assert min(shares.values()) > 0.7 and shares["all"] == round(float(said.good.mean()), 4)


@pytest.mark.parametrize("how", ["as it is", "mirrored", "a pixel up", "a pixel left, mirrored"])
def test_a_copy_is_refused(made: Filters, shapes: tuple[np.ndarray, np.ndarray], how: str) -> None:
    pictures, labels = shapes[0][::2], shapes[1][::2]
    copies = {
        "as it is": pictures,
        "mirrored": pictures[:, :, ::-1],
        "a pixel up": np.concatenate([pictures[:, 1:], pictures[:, -1:]], 1),
        "a pixel left, mirrored": np.concatenate([pictures[:, :, 1:], pictures[:, :, -1:]], 2)[:, :, ::-1],
    }[how]
    said = made.judge(copies, labels)
    if how in ("as it is", "mirrored"):
        assert not said.passed["copy"].any() and not said.good.any() and not said.copy.any()
    else:  # what a shift pushes out of a picture is lost: a shape at the border may look new
        assert said.passed["copy"].mean() < 0.05


def test_a_wrong_label_is_refused(made: Filters, shapes: tuple[np.ndarray, np.ndarray]) -> None:
    pictures, labels = shapes[0][1::2], shapes[1][1::2]
    right, wrong = made.judge(pictures, labels), made.judge(pictures, 1 - labels)
    assert right.passed["label"].mean() > 0.9 and wrong.passed["label"].mean() < 0.1
    assert np.allclose(right.probability + wrong.probability, 1, atol=1e-5)


def test_pictures_of_something_else_are_refused(made: Filters) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3), np.uint8)
    stripes = np.zeros((1, 16, 16, 3), np.uint8)
    stripes[:, ::2] = 255
    said = made.judge(np.concatenate([noise, stripes]), np.zeros(33, int))
    assert not said.passed["outlier"].any() and said.passed["copy"].all()


def test_what_is_said_of_a_picture_does_not_depend_on_others(
    made: Filters, shapes: tuple[np.ndarray, np.ndarray]
) -> None:
    pictures, labels = shapes
    whole = made.judge(pictures, labels)
    order = np.random.default_rng(0).permutation(len(labels))
    mixed = made.judge(pictures[order], labels[order])
    for name in ("copy", "probability", "distance"):
        together = getattr(whole, name)
        assert np.array_equal(getattr(mixed, name), together[order]), name
        alone = [getattr(made.judge(pictures[i : i + 1], labels[i : i + 1]), name)[0] for i in (0, 17, 127)]
        assert np.array_equal(alone, together[[0, 17, 127]]), name


def test_they_are_the_same_after_a_model_on_disk(
    made: Filters, shapes: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    model = Model("augment", made.config(), {"model": {}, **made.weights()})
    saved = Model.load(model.save(tmp_path / "model", half=False))
    again = Filters.of(saved.config, saved.weights).judge(*shapes)
    said = made.judge(*shapes)
    assert np.array_equal(again.distance, said.distance) and np.array_equal(again.good, said.good)
    assert again.row(3) == said.row(3) and set(said.row(3)) == {"probability", "distance", "copy"}


def test_large_pictures_are_judged_too() -> None:
    """Smooth pictures of 80×100: thumbnails of 7-pixel squares, a classifier at 51×64."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (12, 4, 5, 1), np.uint8)
    pictures = coarse.repeat(20, 1).repeat(20, 2)
    seen, labels = filters.reduced(pictures), np.arange(12) % 2
    assert seen.shape == (12, 51, 64, 1) and thumbnails(pictures).shape == (12, 11, 14, 1)
    classifier = fit_classifier(seen, labels, 2, nimg=256)
    folds = cross_fit(seen, labels, 2, folds=2, nimg=256)
    made = Filters.fit(pictures, classifier, folds, duplicates=0.01, outliers=0.05, confidence=0)
    assert not made.judge(pictures, labels).passed["copy"].any()
    others = rng.integers(0, 256, (12, 4, 5, 1), np.uint8).repeat(20, 1).repeat(20, 2)
    assert made.judge(others, labels).passed["copy"].mean() > 0.5


def test_thumbnails_are_means_and_copies_are_told_in_grey_levels() -> None:
    pictures = np.arange(32 * 32, dtype=np.uint32).reshape(1, 32, 32, 1) % 251
    small = thumbnails(pictures.astype(np.uint8))
    assert small.shape == (1, 16, 16, 1) and small[0, 0, 0, 0] == (0 + 1 + 32 + 33 + 2) // 4
    grey = np.full((1, 32, 32, 1), 100, np.uint8)
    assert copy_distances(grey + np.uint8(7), thumbnails(grey)) == pytest.approx(7)


def test_the_limit_of_copies_has_fallbacks() -> None:
    levels = np.array([0, 0, 10, 25, 100], np.uint8).reshape(-1, 1, 1, 1)
    pictures = np.broadcast_to(levels, (5, 16, 16, 1))
    # nearest others: of the two alike 0, which say nothing; then 10, 15, 75
    assert filters.copy_limit(pictures, 0.01) == 10 and filters.copy_limit(pictures, 0.5) == 15
    assert filters.copy_limit(pictures, 0) == 0
    assert filters.copy_limit(pictures[:2], 0.5) == 0 and filters.copy_limit(pictures[:1], 0.5) == 0


def test_limits_are_conformal_quantiles() -> None:
    values = np.arange(99.0)[::-1]
    assert (lower(values, 0.01), lower(values, 0.05), lower(values, 0)) == (0, 4, 0)
    assert (upper(values, 0.05), upper(values, 0.001), upper(values, 0)) == (94, 98, None)
    assert lower(values[:0], 0.5) == 0 and upper(values[:0], 0.5) is None


@given(st.integers(0, 2**32 - 1), st.integers(20, 200), st.floats(0.05, 0.5))
@settings(deadline=None, max_examples=30)
def test_a_limit_refuses_about_the_share_it_is_named_after(seed: int, count: int, share: float) -> None:
    """Of n values and a new one, each rank is as likely: the share beyond the limit is at most its name."""
    values = np.random.default_rng(seed).random(count)
    low, high = lower(values, share), upper(values, share)
    assert high is not None
    assert (values <= low).sum() <= max(1, share * (count + 1)) and (values > high).sum() <= share * (count + 1)
    assert (values <= low).sum() > share * (count + 1) - 1 and (values > high).sum() >= share * (count + 1) - 2


WHOLE = st.integers(-32768, 32767)


@given(arrays.arrays(np.int16, (7, 5), elements=WHOLE), arrays.arrays(np.int16, (9, 5), elements=WHOLE))
def test_the_nearest_is_exact(queries: np.ndarray, bank: np.ndarray) -> None:
    apart = np.square(queries.astype(int)[:, None] - bank.astype(int)).sum(2)
    indices, squared = nearest(queries, bank)
    assert np.array_equal(squared, apart.min(1)) and np.array_equal(indices, apart.argmin(1))
    own = np.arange(7)
    apart[own, own] = apart.max() + 1
    assert np.array_equal(nearest(queries, bank, own)[1], apart.min(1))


def test_with_no_other_row_there_is_no_nearest() -> None:
    assert np.isinf(nearest(np.ones((1, 2)), np.ones((1, 2)), np.zeros(1, int))[1]).all()
