"""Figures of generated pictures alone: extremes, by hand, and against torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gantoolkit.diversity import SCALE_WEIGHTS, inception_score, ms_ssim, ms_ssim_diversity, scales
from gantoolkit.errors import UsageError
from tests.tolerances import TOL


def picture(seed: int, size: int = 32, channels: int = 3) -> np.ndarray:
    """A smooth random picture with some noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 4, channels)).repeat(-(-size // 4), 0).repeat(-(-size // 4), 1)
    return (0.8 * coarse[:size, :size] + rng.integers(0, 50, (size, size, channels))).astype(np.uint8)


# ---- inception score ----


def test_score_runs_from_one_to_the_number_of_classes() -> None:
    sure = np.eye(5)[np.arange(200) % 5]
    assert inception_score(sure, "net", splits=2).value == pytest.approx(5, rel=0.02)
    assert inception_score(np.full((40, 5), 0.2), "net").value == pytest.approx(1)
    assert inception_score(np.eye(5)[np.zeros(40, int)], "net").value == pytest.approx(1)  # sure of one class alone


def test_score_by_hand_and_named_after_its_classifier() -> None:
    p = np.array([[0.9, 0.1], [0.2, 0.8]])
    marginal = p.mean(0)
    expected = np.exp((p * np.log(p / marginal)).sum(1).mean())
    card = inception_score(np.tile(p, (2000, 1)), "Fashion-CNN", weights="abc", source="model", splits=2)
    assert card.value == pytest.approx(expected, rel=1e-2)
    assert (card.name, card.of, card.protocol["weights"]) == ("Fashion-CNN-IS", "model", "abc")
    assert card.interval is not None and card.interval[0] <= card.value <= card.interval[1]


def test_classes_in_order_are_shuffled_before_the_split() -> None:
    ordered = np.eye(10)[np.arange(1000) // 100]
    assert inception_score(ordered, "net").value > 9  # each tenth alone would hold one class and score 1


@pytest.mark.parametrize("wrong", [np.ones((4, 3)), np.array([[1.5, -0.5]] * 20), np.ones(5), np.zeros((0, 3))])
def test_what_is_no_probability_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(UsageError, match="no probabilities"):
        inception_score(wrong, "net", splits=2)


def test_too_few_for_the_splits() -> None:
    with pytest.raises(UsageError, match="expected 2 to 4 splits, got 10"):
        inception_score(np.full((4, 2), 0.5), "net")


# ---- MS-SSIM ----


@pytest.mark.parametrize("size", [11, 16, 28, 33, 64])
def test_ms_ssim_is_made_of_what_torchmetrics_and_scikit_image_compute(size: int) -> None:
    from skimage.metrics import structural_similarity
    from torchmetrics.functional.image import structural_similarity_index_measure

    x, y = picture(0, size), picture(1, size)
    y = (0.7 * x + 0.3 * y).astype(np.uint8)
    a, b = (torch.from_numpy(p).permute(2, 0, 1)[None].double() for p in (x, y))
    count, expected = scales(size, size), 1.0
    for scale, weight in enumerate(SCALE_WEIGHTS[:count]):
        # Contrast of the inner windows by the one; at the coarsest scale the whole, again of inner windows, by the
        # other: torchmetrics mirrors the border there.
        _, part = structural_similarity_index_measure(a, b, data_range=255.0, return_contrast_sensitivity=True)
        if scale == count - 1:
            first, second = (t[0].permute(1, 2, 0).numpy() for t in (a, b))
            settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": 2}
            part = structural_similarity(first, second, data_range=255, **settings)
        expected *= float(part) ** (weight / sum(SCALE_WEIGHTS[:count]))
        a, b = (torch.nn.functional.avg_pool2d(t, 2) for t in (a, b))
    assert ms_ssim(x, y) == pytest.approx(expected, abs=TOL["MS-SSIM, absolute"])
    assert ms_ssim(x, y) < 1


@given(st.integers(0, 50), st.integers(11, 40), st.sampled_from([1, 3]))
def test_ms_ssim_is_one_for_equal_pictures_and_symmetric(seed: int, size: int, channels: int) -> None:
    x, y = picture(seed, size, channels), picture(seed + 1, size, channels)
    assert ms_ssim(x, x) == pytest.approx(1)
    assert ms_ssim(x, y) == pytest.approx(ms_ssim(y, x)) and 0 <= ms_ssim(x, y) < 1


def test_scales_follow_the_size() -> None:
    assert [scales(s, s) for s in (11, 21, 22, 28, 32, 64, 176, 1024)] == [1, 1, 2, 2, 2, 3, 5, 5]
    assert scales(200, 24) == 2


def test_ms_ssim_needs_a_window() -> None:
    with pytest.raises(UsageError, match="at least 11 pixels"):
        ms_ssim(picture(0, 10), picture(1, 10))


def test_a_collapsed_set_is_less_varied_than_a_varied_one() -> None:
    varied = [picture(seed) for seed in range(12)]
    same = [(picture(0) // 2 + picture(seed) // 50).astype(np.uint8) for seed in range(12)]
    many, one = ms_ssim_diversity(varied, pairs=30), ms_ssim_diversity(same, pairs=30)
    assert many.value < 0.5 < 0.9 < one.value
    assert not many.higher_is_better and (many.protocol["scales"], many.protocol["pairs"]) == (2, 30)
    assert many == ms_ssim_diversity(varied, pairs=30) != ms_ssim_diversity(varied, pairs=30, seed=1)


def test_pairs_stay_within_their_class() -> None:
    pictures = [picture(0), picture(1)] * 6
    apart = ms_ssim_diversity(pictures, labels=[0, 1] * 6, pairs=5)
    assert apart.value == pytest.approx(1) and apart.protocol["classes"] == 2
    assert ms_ssim_diversity(pictures, pairs=20).value < 0.9
    lonely = ms_ssim_diversity(pictures, labels=[0, 1] * 5 + [0, 7], pairs=5)
    assert lonely.protocol["classes"] == 2


def test_what_has_no_pairs_is_refused() -> None:
    with pytest.raises(UsageError, match="one shape"):
        ms_ssim_diversity([picture(0), picture(0, 16)])
    with pytest.raises(UsageError, match="one shape"):
        ms_ssim_diversity([])
    with pytest.raises(UsageError, match="needs pairs"):
        ms_ssim_diversity([picture(0), picture(1)], labels=[0, 1])
    with pytest.raises(UsageError, match="one label for each picture, expected 2"):
        ms_ssim_diversity([picture(0), picture(1)], labels=[0])
