"""The small classifier: it learns what can be learned, repeats itself, and comes back from disk as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gantoolkit import classify
from gantoolkit.classify import Classifier, classification_accuracy_score, fit_classifier, wilson
from gantoolkit.errors import InputError
from gantoolkit.model import Model

FIT = {"nimg": 8_000, "width": 16, "shift": 1, "precision": "fp32"}


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """scikit-learn's 1,797 digits, 8×8 grey: pictures and labels to fit on, and a held-out fifth."""
    from sklearn.datasets import load_digits

    found = load_digits()
    pictures = np.rint(found.images * (255 / 16)).astype(np.uint8)[..., None]
    order = np.random.default_rng(0).permutation(len(pictures))
    fit, held_out = order[360:], order[:360]
    labels = found.target.astype(np.int64)
    return pictures[fit], labels[fit], pictures[held_out], labels[held_out]


@pytest.fixture(scope="module")
def fitted(digits) -> Classifier:
    return fit_classifier(digits[0], digits[1], 10, **FIT)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


def test_it_reads_digits_that_it_has_not_seen(fitted, digits) -> None:
    card = fitted.accuracy(digits[2], digits[3])
    assert card.value >= 0.95 and card.n == 360
    assert card.interval[0] < card.value < card.interval[1]
    assert card.protocol["classifier"] == fitted.weights_hash and card.protocol["nimg"] == 8_000


def test_shuffled_labels_teach_nothing(digits) -> None:
    shuffled = np.random.default_rng(3).permutation(digits[1])
    card = classification_accuracy_score(digits[0], shuffled, digits[2], digits[3], 10, nimg=6_000)
    assert card.name == "CAS" and card.value < 0.25  # chance is .1


def test_probabilities_are_probabilities_whatever_the_batch(fitted, digits) -> None:
    rows = fitted.probabilities(digits[2])
    assert rows.dtype == np.float32 and rows.shape == (360, 10)
    assert np.allclose(rows.sum(1), 1, atol=1e-5)
    assert np.allclose(rows, fitted.probabilities(digits[2], batch=7), atol=1e-5)
    assert (fitted.labels(digits[2]) == rows.argmax(1)).all()
    assert fitted.probabilities(digits[2][:0]).shape == (0, 10)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_callers_numbers_alone(digits) -> None:
    def hashed(seed: int) -> str:
        return fit_classifier(digits[0], digits[1], 10, **FIT | {"nimg": 1_000, "seed": seed}).weights_hash

    before = torch.get_rng_state()
    first = hashed(5)
    torch.manual_seed(77)
    assert hashed(5) == first != hashed(6)
    torch.set_rng_state(before)
    hashed(5)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_transform_meets_every_picture_with_numbers_of_its_own(digits) -> None:
    seen: list[tuple[np.ndarray, float]] = []

    def spy(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        seen.append((picture.copy(), rng.random()))
        return picture

    quick = FIT | {"nimg": 256}
    left_alone = fit_classifier(digits[0], digits[1], 10, **quick, transform=spy)
    assert left_alone.weights_hash == fit_classifier(digits[0], digits[1], 10, **quick).weights_hash
    assert len({number for _, number in seen}) == 256  # the first batch is drawn twice: networks are tried on it
    known = {picture.tobytes() for picture in digits[0]}
    assert all(picture.tobytes() in known for picture, _ in seen)

    def inverted(seed: int) -> str:
        flip = lambda picture, rng: 255 - picture if rng.random() < 0.5 else picture  # noqa: E731
        return fit_classifier(digits[0], digits[1], 10, **quick | {"seed": seed}, transform=flip).weights_hash

    assert inverted(1) == inverted(1) != inverted(2)
    with pytest.raises(InputError, match="changed their kind"):
        fit_classifier(digits[0], digits[1], 10, **quick, transform=lambda picture, rng: picture[:4])


def test_the_share_of_further_pictures_is_kept_and_the_real_ones_stay_in_their_places(digits) -> None:
    black, white = np.zeros((40, 8, 8, 1), np.uint8), np.full((3, 8, 8, 1), 255, np.uint8)
    further = (white + np.arange(3, dtype=np.uint8)[:, None, None, None] - 2, np.full(3, 7))  # 253, 254, 255
    items = classify._Labelled(black, np.arange(40) % 5, None)
    items.extra, items.share = further, 0.25
    drawn = [items.item(i % 40, np.random.default_rng((3, i))) for i in range(8_000)]
    values = np.array([int(item["image"].max()) for item in drawn])
    labels = np.array([int(item["label"]) for item in drawn])
    share = (values > 0).mean()
    assert abs(share - 0.25) < 5 * (0.25 * 0.75 / 8_000) ** 0.5
    assert (labels[values > 0] == 7).all()
    assert (labels[values == 0] == (np.arange(8_000) % 5)[values == 0]).all()
    counts = np.array([(values == value).sum() for value in (253, 254, 255)])
    assert abs(counts - counts.mean()).max() < 5 * counts.mean() ** 0.5


def test_further_pictures_teach_as_much_as_their_share_lets_them(digits) -> None:
    right, wrong = (digits[0], digits[1]), (digits[0], (digits[1] + 1) % 10)

    def accuracy(**more) -> float:
        few = {"nimg": 4_000, "precision": "fp32", "shift": 0}
        return fit_classifier(digits[0][:30], digits[1][:30], 10, **few, **more).accuracy(*digits[2:]).value

    alone = accuracy()
    assert accuracy(extra=wrong, share=0.0) == alone
    assert accuracy(extra=right, share=0.5) > alone + 0.05
    assert accuracy(extra=wrong, share=0.9) < alone - 0.3
    card = fit_classifier(*right, 10, nimg=128, width=4, extra=wrong, share=0.5).accuracy(*right)
    assert (card.protocol["further"], card.protocol["share"]) == (len(digits[0]), 0.5)
    with pytest.raises(InputError, match="share"):
        accuracy(extra=right, share=1.5)
    with pytest.raises(InputError, match="cannot take these pictures"):
        accuracy(extra=(noise(4, 9, 9, 1), np.zeros(4, int)))
    with pytest.raises(InputError, match="0 to 9"):
        accuracy(extra=(digits[0][:1], np.array([10])))


def test_it_comes_back_from_disk_bit_for_bit(fitted, digits, tmp_path: Path) -> None:
    again = Classifier.load(fitted.save(tmp_path / "classifier"))
    assert again.weights_hash == fitted.weights_hash and again.fitted == fitted.fitted
    assert np.array_equal(again.probabilities(digits[2]), fitted.probabilities(digits[2]))
    other = Model("ring", {}, {"model": {"w": torch.zeros(1)}}).save(tmp_path / "other")
    with pytest.raises(InputError, match="no classifier"):
        Classifier.load(other)


def test_its_features_tell_the_classes_apart(fitted, digits) -> None:
    grey = torch.from_numpy(digits[2]).permute(0, 3, 1, 2).float() / 255
    vectors = fitted.vectors(grey)
    assert vectors.shape == (360, 64)
    nearest = torch.cdist(vectors, vectors).fill_diagonal_(torch.inf).argmin(1)
    assert (digits[3][nearest.numpy()] == digits[3]).mean() > 0.9
    assert torch.allclose(fitted.vectors(grey.expand(-1, 3, -1, -1)), vectors, atol=1e-4)
    assert [tuple(stage.shape[1:]) for stage in fitted.stages(grey)] == [(16, 8, 8), (32, 4, 4), (64, 2, 2)]
    assert fitted.vectors(torch.rand(2, 3, 20, 12)).shape == (2, 64)


@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 13, 3), (28, 28, 1), (64, 64, 3)])
def test_every_size_is_fitted_and_judged(shape: tuple[int, int, int]) -> None:
    made = fit_classifier(noise(6, *shape), np.arange(6) % 2, 3, nimg=128, width=4)
    assert made.probabilities(noise(5, *shape)).shape == (5, 3)
    assert made.vectors(torch.rand(2, shape[2], *shape[:2])).shape == (2, 16)


def test_shifted_pictures_are_moved_and_nothing_else() -> None:
    x = torch.arange(49.0).view(1, 1, 7, 7).repeat(200, 1, 1, 1)
    moved = classify._shifted(x, 2, torch.Generator().manual_seed(0))
    assert moved.shape == x.shape
    seen = {int(centre) for centre in moved[:, 0, 3, 3]}
    assert seen == {7 * row + column for row in range(1, 6) for column in range(1, 6)}
    one = moved[0, 0]
    row, column = divmod(int(one[3, 3]), 7)
    inside = one[max(0, 3 - row) : 10 - row, max(0, 3 - column) : 10 - column]
    whole = x[0, 0][max(0, row - 3) : row + 4, max(0, column - 3) : column + 4]
    assert torch.equal(inside, whole)


def test_the_interval_has_its_known_values_and_stays_inside() -> None:
    low, high = wilson(8, 10)  # Newcombe 1998's formula 3, worked by hand
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    assert wilson(0, 10)[0] == 0 and wilson(10, 10)[1] == pytest.approx(1)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_share(counts: tuple[int, int]) -> None:
    low, high = wilson(*counts)
    assert 0 <= low <= counts[0] / counts[1] + 1e-12 and counts[0] / counts[1] - 1e-12 <= high <= 1


@pytest.mark.parametrize(
    ("pictures", "labels", "says"),
    [
        (noise(4, 8, 8), np.zeros(4, int), "cannot take these pictures"),
        (noise(4, 8, 8, 1).astype(float), np.zeros(4, int), "float64"),
        (noise(4, 7, 8, 1), np.zeros(4, int), "8 to 64"),
        (noise(4, 8, 8, 2), np.zeros(4, int), "C 1 or 3"),
        (noise(4, 8, 8, 1), np.zeros(3, int), "one label for each"),
        (noise(4, 8, 8, 1), np.zeros(4), "float64"),
        (noise(0, 8, 8, 1), np.zeros(0, int), "one picture at least"),
        (noise(4, 8, 8, 1), np.array([0, 1, 2, 3]), "0 to 2"),
        (noise(4, 8, 8, 1), np.array([0, 1, -1, 2]), "-1"),
    ],
)
def test_what_cannot_be_fitted_is_explained(pictures: np.ndarray, labels: np.ndarray, says: str) -> None:
    with pytest.raises(InputError, match=says):
        fit_classifier(pictures, labels, 3, nimg=128, width=4)


def test_pictures_of_another_size_are_not_judged(fitted) -> None:
    with pytest.raises(InputError, match="N,8,8,1"):
        fitted.probabilities(noise(4, 9, 9, 1))
