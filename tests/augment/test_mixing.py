"""The share of generated pictures: none where they do not help, some where they do, and no cheating."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gantk_augment import mixing
from gantk_augment.mixing import balanced, choose_share, cross_fit, stratified
from gantoolkit.labelled import LabelledPictures
from tests.generate.shapes import draw_shapes

NIMG = 1_800
FEW = 48  # real pictures; the others stand for generated ones

Shapes = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Shapes:
    """Discs and squares under noise, in random order: hard to tell from a few."""
    folder: Path = draw_shapes(tmp_path_factory.mktemp("data") / "shapes", 150)
    read = LabelledPictures(folder)
    assert read.labels is not None
    rng = np.random.default_rng(0)
    noisy = np.stack(list(read.pictures())) + rng.normal(0, 20, (300, 16, 16, 3))
    order = rng.permutation(300)
    return noisy.clip(0, 255).astype(np.uint8)[order], read.labels[order]


@pytest.fixture(scope="module")
def folds(shapes: Shapes) -> Any:
    return cross_fit(shapes[0][:FEW], shapes[1][:FEW], 2, folds=3, nimg=NIMG)


def chosen(shapes: Shapes, folds: Any, labels: np.ndarray, **options: Any) -> tuple[float, list[dict[str, float]]]:
    pictures, right = shapes
    return choose_share(pictures[:FEW], right[:FEW], 2, (pictures[FEW:], labels), folds, nimg=NIMG, **options)


def test_more_pictures_of_the_same_kind_are_mixed_in(shapes: Shapes, folds: Any) -> None:
    share, table = chosen(shapes, folds, shapes[1][FEW:], shares=(0.75,))
    assert share > 0
    assert [row["share"] for row in table] == [0, 0.75] and table[0]["gain"] == 0
    best = max(table, key=lambda row: row["gain"])
    assert best["share"] == share and best["gain"] == pytest.approx(best["accuracy"] - table[0]["accuracy"])


def test_shuffled_labels_are_not_mixed_in(shapes: Shapes, folds: Any) -> None:
    shuffled = np.random.default_rng(1).permutation(shapes[1][FEW:])
    assert chosen(shapes, folds, shuffled, shares=(0.75,))[0] == 0


@pytest.mark.parametrize("won", [0, 1])
@pytest.mark.parametrize("count", [10, 48, 100, 375])
def test_a_tie_is_won_by_none(won: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing gained, or a single picture, whose gain and the gain's error are both 1 of all."""
    answers = iter([np.zeros(count), np.arange(count) < won, np.arange(count) < won])
    share, table = shared_by(answers, count, monkeypatch)
    assert share == 0 and [row["gain"] for row in table] == [0, won / count, won / count]


def shared_by(
    answers: Iterator[np.ndarray], count: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[float, list[dict[str, float]]]:
    """What is chosen where the classifiers are right as told: without generated pictures, then for each share."""
    monkeypatch.setattr(mixing, "_correct", lambda *_: next(answers).astype(float))
    monkeypatch.setattr(mixing, "fit_classifier", lambda *_, **__: None)
    pictures, labels = np.zeros((count, 8, 8, 1), np.uint8), np.zeros(count, np.int64)
    folds: Any = [(np.arange(count), None)]
    return choose_share(pictures, labels, 1, (pictures, labels), folds, unseen=True, nimg=1)


@pytest.mark.parametrize(
    ("right", "share"),
    [
        ((50, 52, 53), 0.0),  # not beyond an error
        ((50, 60, 61), 0.25),  # as good as the best, give or take its error: the fewer generated pictures
        ((50, 52, 70), 0.5),
        ((50, 40, 30), 0.0),
        ((50, 50, 50), 0.0),
    ],
)
def test_no_more_generated_pictures_than_do_as_well_as_the_best_share(
    right: tuple[int, ...], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`right` of 100 held-out pictures at shares 0, .25 and .5; such gains have an error of about 7 in 100."""
    rng = np.random.default_rng(0)
    found, table = shared_by(iter([rng.permutation(np.arange(100) < count) for count in right]), 100, monkeypatch)
    assert found == share and [row["share"] for row in table] == [0, 0.25, 0.5]


def test_copies_of_held_out_pictures_take_no_part(shapes: Shapes, folds: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, labels = shapes[0][:FEW], shapes[1][:FEW]
    seen = []

    def recorded(*given: Any, extra: Any, **options: Any) -> Any:
        seen.append(extra)
        return folds[0][1]

    monkeypatch.setattr(mixing, "fit_classifier", recorded)
    near = (pictures.astype(int) + 1).clip(0, 255).astype(np.uint8)
    choose_share(pictures, labels, 2, (near, labels), folds, nimg=NIMG, shares=(0.5,))
    for (rows, _), (extra, named) in zip(folds, seen, strict=True):
        kept = np.delete(np.arange(FEW), rows)
        assert np.array_equal(extra, near[kept]) and np.array_equal(named, labels[kept])
    seen.clear()
    choose_share(pictures, labels, 2, (near, labels), folds[:1], nimg=NIMG, shares=(0.5,), unseen=True)
    assert np.array_equal(seen[0][0], near), "what the generator has not seen it cannot have copied"
    seen.clear()
    one = folds[0][0][:1]
    choose_share(pictures, labels, 2, (near[one], labels[one]), folds, nimg=NIMG, shares=(0.5,))
    assert seen[0] is None and len(seen[1][0]) == len(seen[2][0]) == 1


def test_folds_share_the_classes_evenly() -> None:
    labels = np.array([0] * 7 + [1] * 3 + [2])
    made = stratified(labels, 3, seed=0)
    assert sorted(np.concatenate(made)) == list(range(11)) and {len(rows) for rows in made} == {3, 4}
    for rows in made:
        assert (labels[rows] == 0).sum() in (2, 3) and (labels[rows] == 1).sum() == 1
    assert any(not np.array_equal(a, b) for a, b in zip(made, stratified(labels, 3, seed=1), strict=True))


def test_classifiers_of_folds_have_not_seen_their_rows(shapes: Shapes, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = []
    monkeypatch.setattr(mixing, "fit_classifier", lambda pictures, *_, **__: fitted.append(pictures))
    pictures, labels = shapes[0][:FEW], shapes[1][:FEW]
    for rows, _ in cross_fit(pictures, labels, 2, folds=4, nimg=1):
        assert np.array_equal(fitted.pop(0), np.delete(pictures, rows, 0))


def test_classes_of_which_few_pass_count_as_much_as_others() -> None:
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 3])
    good = np.array([1, 1, 0, 1, 1, 0, 1, 0, 1, 0], bool)
    rows = balanced(labels, good)
    assert good[rows].all() and rows.tolist() == [0, 3, 6, 1, 4, 1, 8, 8, 8]
