"""Rows of features: what pictures become, what a set refuses, and what the cache may and may not do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gantoolkit.errors import InputError, UsageError
from gantoolkit.features import Pixels, efficientnet_lite0, from_callable
from gantoolkit.featureset import FeatureSet, describe


def pictures(n: int, size: int = 8, channels: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (size, size, channels), dtype=np.uint8) for _ in range(n)]


class Counting(Pixels):
    """Pixels that count how many pictures they saw."""

    seen = 0

    def vectors(self, x: torch.Tensor) -> torch.Tensor:
        Counting.seen += len(x)
        return super().vectors(x)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GANTK_HOME", str(tmp_path))
    Counting.seen = 0
    return tmp_path / "features"


def test_rows_follow_the_pictures_and_carry_their_facts() -> None:
    found = describe(pictures(5), Pixels(8), labels=[0, 1, 2, 1, 0], source="folder", split="test", seed=3, batch=2)
    expected = np.stack(pictures(5)).transpose(0, 3, 1, 2).reshape(5, -1) / np.float32(255)
    assert np.allclose(found.features, expected, atol=1e-7) and found.features.dtype == np.float32
    assert found.labels is not None and found.labels.tolist() == [0, 1, 2, 1, 0] and len(found) == 5
    facts = (found.feature, found.weights, found.resizer, found.source, found.split, found.seed)
    assert facts == ("pixels@8", "none", "bilinear, antialiased, 8²", "folder", "test", 3)
    part = found.take(np.array([3, 1]))
    assert np.array_equal(part.features, found.features[[3, 1]]) and part.labels is not None
    assert part.labels.tolist() == [1, 1] and part.fingerprint != found.fingerprint


def test_grey_is_repeated_and_sizes_mix() -> None:
    grey, colour = pictures(1, 8, 1)[0], pictures(1, 6)[0]
    found = describe([grey, colour, colour, grey], Pixels(4), batch=3).features
    assert np.array_equal(found[0], describe([grey.repeat(3, 2)], Pixels(4)).features[0])
    assert np.array_equal(found[0], found[3]) and np.array_equal(found[1], found[2])


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(1, 12))
def test_the_batch_changes_nothing(n: int, batch: int) -> None:
    one, many = (describe(pictures(n), Pixels(3), batch=b) for b in (1, batch))
    assert np.array_equal(one.features, many.features) and one.fingerprint == many.fingerprint


def test_the_fingerprint_is_of_the_pictures_alone() -> None:
    ours = describe(pictures(3), Pixels(2))
    assert ours.fingerprint == describe(pictures(3), Pixels(5), source="elsewhere").fingerprint
    assert ours.fingerprint != describe(pictures(3)[::-1], Pixels(2)).fingerprint
    changed = pictures(3)
    changed[2][0, 0, 0] ^= 1
    assert ours.fingerprint != describe(changed, Pixels(2)).fingerprint


def test_progress_counts_pictures() -> None:
    seen: list[int] = []
    describe(pictures(5), Pixels(2), batch=2, progress=seen.append)
    assert seen == [2, 4, 5]


def test_moments_are_numpys_for_many_and_for_few_pictures() -> None:
    for n in (5, 40):
        features = np.random.default_rng(n).normal(size=(n, 12)).astype(np.float32)
        mean, root = FeatureSet(features).moments
        assert np.allclose(mean, features.mean(0, dtype=np.float64), atol=1e-12)
        assert np.allclose(root.T @ root, np.cov(features.astype(np.float64).T), atol=1e-12)
    with pytest.raises(UsageError, match="one picture has no covariance"):
        _ = FeatureSet(np.ones((1, 4))).moments


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_other_arrays_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(UsageError, match="expected a uint8 array H,W,1 or H,W,3"):
        describe([*pictures(1), wrong], Pixels(2))


def test_sets_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="no pictures"):
        describe([], Pixels(2))
    with pytest.raises(UsageError, match="one label for each picture, expected 3"):
        describe(pictures(3), Pixels(2), labels=[0, 1])
    with pytest.raises(InputError, match="not all finite"):
        describe(pictures(1), from_callable("broken", lambda x: x.flatten(1) / 0 * 0, 2))


# ---- the cache ----


def test_the_second_time_reads_no_picture(home: Path) -> None:
    first = describe(pictures(3), Counting(4), cache="content", labels=[0, 1, 0])

    def none_to_read() -> Iterator[np.ndarray]:
        raise AssertionError("the pictures were read")
        yield

    again = describe(none_to_read(), Counting(4), cache="content", labels=[0, 1, 0], split="train")
    assert np.array_equal(first.features, again.features) and Counting.seen == 3
    assert first.fingerprint == again.fingerprint and again.split == "train"
    assert [path.suffix for path in home.iterdir()] == [".safetensors"]


def test_other_content_size_or_weights_miss(home: Path) -> None:
    for content, size in (("a", 4), ("b", 4), ("a", 5)):
        describe(pictures(2), Counting(size), cache=content)
    other = Counting(4)
    other.weights_hash = "another"
    describe(pictures(2), other, cache="a")
    assert Counting.seen == 8 and len(list(home.iterdir())) == 4
    describe(pictures(2), Counting(4), cache="a")
    assert Counting.seen == 8


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_a_damaged_file_is_made_anew(home: Path, damage: str) -> None:
    first = describe(pictures(3), Counting(4), cache="content")
    (file,) = home.iterdir()
    whole = file.read_bytes()
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    file.write_bytes({"cut": whole[:-9], "flipped": flipped, "empty": b"", "text": b"not features"}[damage])
    again = describe(pictures(3), Counting(4), cache="content")
    assert np.array_equal(first.features, again.features) and Counting.seen == 6
    describe([], Counting(4), cache="content")  # and now it is whole again
    assert Counting.seen == 6


def test_what_cannot_be_kept_is_no_error(home: Path) -> None:
    home.write_text("a file where the folder should be")
    assert len(describe(pictures(3), Counting(4), cache="content")) == 3
    assert home.read_text() == "a file where the folder should be"


def test_features_of_unknown_weights_are_not_kept(home: Path) -> None:
    describe(pictures(2), from_callable("mine", lambda x: x.mean((2, 3)), 4), cache="content")
    assert not home.exists()
    describe(pictures(2), from_callable("mine", lambda x: x.mean((2, 3)), 4, weights="v1"), cache="content")
    assert len(list(home.iterdir())) == 1


def test_cached_network_features_are_the_computed_ones(home: Path) -> None:
    plain = describe(pictures(2, 32), efficientnet_lite0(32))
    kept = [describe(pictures(2, 32), efficientnet_lite0(32), cache="c") for _ in range(2)]
    assert all(np.array_equal(plain.features, each.features) for each in kept)
    assert plain.weights == efficientnet_lite0().weights_hash
