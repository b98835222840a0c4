"""The matcher learns what belongs together, is kept and refused; figures of retrieval have known answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gantk_text2image import matcher, retrieval
from gantk_text2image.matcher import Matcher
from gantoolkit.errors import InputError
from tests.text2image import data_sets

APART = np.arange(4)


# ---- retrieval ----


def test_recall_of_a_matrix_made_by_hand() -> None:
    scores = np.array([[0.9, 0.1, 0.2, 0.3], [0.5, 0.4, 0.1, 0.0], [0.1, 0.2, 0.0, 0.3]])
    targets = np.array([0, 1, 2])
    assert retrieval.recall(scores, targets, APART, 1).tolist() == [1, 0, 0]
    assert retrieval.recall(scores, targets, APART, 2).tolist() == [1, 1, 0]
    assert retrieval.recall(scores, targets, APART, 4).tolist() == [1, 1, 1]


def test_captions_of_one_group_are_no_negatives() -> None:
    scores = np.array([[0.2, 0.9, 0.1, 0.0]])
    assert retrieval.recall(scores, np.array([0]), APART, 1).tolist() == [0]
    assert retrieval.recall(scores, np.array([0]), np.array([7, 7, 1, 2]), 1).tolist() == [1]
    assert retrieval.negatives(np.array([0, 2]), np.array([7, 7, 1, 2])).tolist() == [2, 3]


@given(st.integers(2, 40), st.integers(1, 5))
def test_a_matcher_that_knows_nothing_scores_chance(captions: int, k: int) -> None:
    scores, targets = np.zeros((3, captions)), np.array([0, 1, captions - 1])
    assert retrieval.recall(scores, targets, np.arange(captions), k) == pytest.approx(min(1, k / captions))
    assert retrieval.precision(scores, targets, np.arange(captions), others=5) == pytest.approx(
        1 / (1 + min(5, captions - 1))
    )


def test_r_precision_draws_its_others_by_the_seed_and_finds_chance_by_random_scores() -> None:
    scores = np.random.default_rng(0).random((2_000, 300))
    targets, groups = np.arange(2_000) % 300, np.arange(300)
    found = retrieval.precision(scores, targets, groups, seed=1)
    assert (found == retrieval.precision(scores, targets, groups, seed=1)).all()
    assert (found != retrieval.precision(scores, targets, groups, seed=2)).any()
    assert 0.004 < found.mean() < 0.018  # 0.01; 3.6 standard errors each way
    scores[np.arange(2_000), targets] = 2
    assert retrieval.precision(scores, targets, groups).min() == 1


def test_shuffling_gives_each_another_group() -> None:
    groups = np.array([0, 0, 1, 2, 2, 2])
    order = retrieval.shuffled(groups, seed=3)
    assert (groups[order] != groups).all()
    assert retrieval.shuffled(np.zeros(3), 0).tolist() == [0, 1, 2]  # there is no other


# ---- the matcher ----


def toy(count: int = 24) -> tuple[np.ndarray, list[list[str]]]:
    rows = data_sets.rows(count)
    return np.stack([data_sets.picture(*row["attributes"].values()) for row in rows]), [row["captions"] for row in rows]


@pytest.fixture(scope="module")
def fitted() -> Matcher:
    return matcher.fit(*toy(), nimg=24 * 24)


def test_it_learns_a_toy_set(fitted: Matcher) -> None:
    pictures, captions = toy(12)
    said = [texts[0] for texts in captions]
    scores = fitted.scores(pictures, said)
    assert scores.shape == (12, 12) and np.abs(scores).max() <= 1 + 1e-6
    right = retrieval.recall(scores, np.arange(12), np.arange(12), 1).mean()
    assert right >= 0.75  # chance is 1/12
    other = retrieval.shuffled(np.arange(12), 0)
    assert retrieval.recall(scores, other, np.arange(12), 1).mean() <= 0.25


def test_it_is_kept_and_says_the_same_again(fitted: Matcher, tmp_path: Path) -> None:
    pictures, captions = toy()
    data = matcher.fingerprint(pictures, captions)
    again = Matcher.load(fitted.save(tmp_path / "kept"), 32, data)
    said = [texts[1] for texts in captions[:5]]
    assert (again.scores(pictures[:3], said) == fitted.scores(pictures[:3], said)).all()
    assert again.fitted == fitted.fitted and again.fitted["matcher data"] == data


def test_what_does_not_fit_is_refused_in_one_line(fitted: Matcher, tmp_path: Path) -> None:
    pictures, captions = toy()
    data, folder = matcher.fingerprint(pictures, captions), fitted.save(tmp_path / "kept")
    other = matcher.fingerprint(pictures[::-1], captions)
    assert other != data
    for size, hashed, words in ((64, data, "another size"), (32, other, "other data")):
        with pytest.raises(InputError, match=words) as caught:
            Matcher.load(folder, size, hashed)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="another size"):
        fitted.scores(np.zeros((1, 64, 64, 3), np.uint8), ["a"])
    with pytest.raises(InputError, match="too few"):
        matcher.fit(pictures[:1], captions[:1])
