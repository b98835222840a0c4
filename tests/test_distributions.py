"""Figures of sets against closed forms, against what must happen, and against scipy and torchmetrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from gantoolkit import distributions
from gantoolkit.distributions import (
    coverage,
    density,
    evaluate_sets,
    frechet,
    frechet_infinity,
    kid,
    memorised,
    nearest,
    precision,
    recall,
)
from gantoolkit.errors import PluginError, UsageError
from gantoolkit.featureset import FeatureSet
from gantoolkit.metrics import MetricCard, compare
from tests.tolerances import TOL


def normal(n: int, width: int = 4, seed: int = 0, shift: float = 0.0, **facts: str) -> FeatureSet:
    features = np.random.default_rng(seed).normal(size=(n, width)) + shift
    return FeatureSet(features, feature="hand", weights="w", resizer="r", **facts)


def exact(mean: np.ndarray, root: np.ndarray, n: int, seed: int) -> FeatureSet:
    """n rows whose sample mean is `mean` and whose sample covariance is rootᵀ·root."""
    rows = np.random.default_rng(seed).normal(size=(n, len(mean)))
    rows -= rows.mean(0)
    rows = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T))).T
    return FeatureSet(rows @ root + mean)


def collapsed(n: int, width: int = 4) -> FeatureSet:
    """One point of the distribution, hardly varied."""
    return FeatureSet(
        normal(1, width, seed=5).features + 1e-4 * normal(n, width, seed=6).features, None, "hand", "w", "r"
    )


# ---- Fréchet ----


def test_frechet_of_gaussians_with_a_closed_form() -> None:
    mean, sigma = np.array([1.0, -2.0, 0.5]), np.array([0.5, 1.0, 3.0])
    other_mean, other_sigma = np.array([0.0, 1.0, 0.5]), np.array([2.0, 1.0, 1.5])
    # Covariances that commute: |μ − ν|² + Σ (σ − τ)².
    expected = np.square(mean - other_mean).sum() + np.square(sigma - other_sigma).sum()
    found = frechet(exact(mean, np.diag(sigma), 50, 0), exact(other_mean, np.diag(other_sigma), 70, 1))
    assert found.value == pytest.approx(expected, rel=1e-5)
    assert not found.higher_is_better and found.interval is None


@pytest.mark.parametrize(("n", "m"), [(40, 60), (5, 60), (40, 6), (4, 5)])
def test_frechet_agrees_with_scipys_root_also_for_singular_covariances(n: int, m: int) -> None:
    real, fake = normal(n, 8, 1), FeatureSet(normal(m, 8, 2).features * 1.5 + 0.3, None, "hand", "w", "r")
    a, b = (np.cov(s.features.astype(np.float64).T) for s in (real, fake))
    shift = np.square(real.features.mean(0, dtype=np.float64) - fake.features.mean(0, dtype=np.float64)).sum()
    root = sqrtm(a @ b).real.trace()
    card = frechet(real, fake)
    # scipy's own root of a singular product is what limits this.
    assert card.value == pytest.approx(shift + a.trace() + b.trace() - 2 * root, rel=1e-5)
    assert ("covariance" in card.protocol) == (min(n, m) <= 8)


def test_equal_sets_are_at_distance_zero() -> None:
    for n in (3, 100):
        assert frechet(normal(n, 10), normal(n, 10)).value == pytest.approx(0, abs=TOL["Fréchet of equal sets"])


def test_extrapolation_removes_most_of_the_bias() -> None:
    real = normal(10000, 16, 1)
    plain, endless = frechet(real, normal(400, 16, 2)), frechet_infinity(real, normal(400, 16, 2))
    assert plain.value > 0.15  # of one distribution: all of it is bias
    assert abs(endless.value) < 0.2 * plain.value
    assert endless.interval is not None and endless.interval[0] < endless.value < endless.interval[1]
    assert endless == frechet_infinity(real, normal(400, 16, 2)) != frechet_infinity(real, normal(400, 16, 2), seed=1)
    assert (endless.protocol["points"], endless.protocol["smallest"]) == (15, 40)


# ---- kernel distance ----


def test_kid_is_zero_on_average_for_one_distribution_and_its_interval_holds_that() -> None:
    cards = [kid(normal(200, 4, 2 * s), normal(200, 4, 2 * s + 1), subset=50, subsets=60) for s in range(30)]
    values = np.array([card.value for card in cards])
    assert abs(values.mean()) < 2.5 * values.std() / math.sqrt(len(values))
    assert (values < 0).any() and (values > 0).any()
    held = sum(card.interval[0] <= 0 <= card.interval[1] for card in cards if card.interval)
    assert held >= 24


def test_kid_by_hand() -> None:
    # Two points a side, one feature: k(x, y) = (xy + 1)³.
    x, y = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    assert distributions._mmd2(x, y) == pytest.approx(1 + 27 - 2 * (1 + 1 + 8 + 27) / 4)


def test_kid_grows_with_the_shift() -> None:
    near, far = (kid(normal(300), normal(300, seed=1, shift=s)).value for s in (0.3, 1.0))
    assert 0 < near < far


# ---- manifolds ----


def test_the_same_set_is_wholly_within_itself() -> None:
    real = normal(60)
    assert [m(real, real).value for m in (precision, recall, coverage)] == [1, 1, 1]


def test_disjoint_sets_share_nothing() -> None:
    real, fake = normal(60), normal(50, seed=1, shift=100)
    for metric in (precision, recall, density, coverage):
        card = metric(real, fake)
        assert card.value == 0 and card.interval == (0, 0)


def test_one_distribution_scores_high_on_all_four() -> None:
    real, fake = normal(500, 4, 1), normal(500, 4, 2)
    assert precision(real, fake).value > 0.8 and recall(real, fake).value > 0.8
    assert density(real, fake).value == pytest.approx(1, abs=0.15)  # its expectation is 1
    # Naeem et al. 2020, section 3.3: with N = M it is expected at 1 − 2^−k.
    assert coverage(real, fake).value == pytest.approx(1 - 2**-5, abs=0.03)


def test_a_collapsed_set_is_precise_and_covers_nothing() -> None:
    real, fake = normal(300), collapsed(300)
    assert precision(real, fake).value == 1
    assert recall(real, fake).value < 0.01
    assert coverage(real, fake).value < 0.1


def test_manifolds_on_a_line_by_hand() -> None:
    real = FeatureSet(np.array([[0.0], [1.0], [3.0], [7.0]]))  # radii for k = 1: 1, 1, 2, 4
    fake = FeatureSet(np.array([[0.4], [4.5], [20.0]]))  # radii for k = 1: 4.1, 4.1, 15.5
    assert precision(real, fake, k=1).value == pytest.approx(2 / 3)
    assert density(real, fake, k=1).value == pytest.approx((2 + 2 + 0) / 3)
    assert recall(real, fake, k=1).value == 1
    assert coverage(real, fake, k=1).value == 1
    assert coverage(real, fake.take([1, 2]), k=1).value == pytest.approx(2 / 4)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = normal(50, 6, 1), normal(40, 6, 2)
    metrics = (precision, recall, density, coverage)
    whole = [metric(real, fake) for metric in metrics]
    neighbours = nearest(fake, real, 3)
    monkeypatch.setattr(distributions, "BLOCK", 120)
    distributions._radii.cache_clear()
    assert [metric(real, fake) for metric in metrics] == whole
    assert all(np.array_equal(a, b) for a, b in zip(nearest(fake, real, 3), neighbours, strict=True))


def test_intervals_hold_the_value_and_shrink_with_n() -> None:
    widths = []
    for n in (100, 1600):
        card = precision(normal(400, 4, 1), normal(n, 4, 2, shift=1.0))
        assert card.interval is not None and card.interval[0] < card.value < card.interval[1]
        widths.append(card.interval[1] - card.interval[0])
    assert widths[1] < 0.4 * widths[0]


# ---- memorisation ----


def test_copies_are_found_and_fresh_pictures_are_not() -> None:
    training, held_out, fresh = normal(300, 6, 1), normal(400, 6, 2), normal(400, 6, 3)
    assert memorised(training, held_out, fresh).value < 0.03
    assert memorised(training, held_out, training).value == 1
    half = FeatureSet(np.concatenate([fresh.features[:100], training.features[:100] + 1e-4]), None, "hand", "w", "r")
    card = memorised(training, held_out, half)
    assert card.value == pytest.approx(0.5, abs=0.03)
    assert card.protocol["by_chance"] == round(4 / 401, 6) and card.protocol["held_out_n"] == 400


def test_chance_is_what_the_card_says() -> None:
    shares = [
        memorised(normal(100, 3, 3 * s), normal(60, 3, 3 * s + 1), normal(200, 3, 3 * s + 2), share=0.1).value
        for s in range(30)
    ]
    assert np.mean(shares) == pytest.approx(6 / 61, abs=0.03)


def test_nearest_gives_indices_in_order_and_exact_distances() -> None:
    among, queries = normal(30, 5, 1), normal(7, 5, 2)
    indices, distances = nearest(queries, among, 4)
    full = np.linalg.norm(queries.features[:, None] - among.features, axis=2)
    assert np.array_equal(indices, np.argsort(full, 1)[:, :4])
    assert np.allclose(distances, np.sort(full, 1)[:, :4], atol=1e-6)
    itself, zero = nearest(among, among)
    assert itself[:, 0].tolist() == list(range(30)) and not zero.any()
    with pytest.raises(UsageError, match="expected 1 to 30, got 31"):
        nearest(queries, among, 31)


# ---- cards ----


def test_all_figures_in_a_stable_order_with_their_protocol() -> None:
    real, fake = normal(60, seed=1, source="set", split="test"), normal(50, seed=2, source="model")
    cards = evaluate_sets(real, fake, training=normal(80, seed=3, source="set", split="train"), seed=7)
    names = [card.name for card in cards]
    assert names == ["Fréchet", "Fréchet∞", "KID", "precision", "recall", "density", "coverage", "memorised"]
    assert [card.name for card in evaluate_sets(real, fake)] == names[:-1]
    for card in cards:
        facts = card.protocol
        assert (facts["features"], facts["weights"], facts["resizer"], facts["fake_n"]) == ("hand", "w", "r", 50)
        assert card.n == 50 and card.of == "model" and facts["real_n"] == (80 if card.name == "memorised" else 60)
        assert facts["real"].startswith("set train " if card.name == "memorised" else "set test ")
        assert card.name == "Fréchet" or facts["seed"] == 7
        assert compare(card, card).value == 0
    again = evaluate_sets(real, fake, training=normal(80, seed=3, source="set", split="train"), seed=7)
    assert again == cards


def test_figures_of_another_data_set_cannot_be_compared() -> None:
    fake = normal(50, seed=2)
    one, other = (frechet(normal(60, seed=s, source="set", split="test"), fake) for s in (1, 2))
    with pytest.raises(UsageError, match="cannot be compared: real differs"):
        compare(one, other)


def test_further_metrics_come_last_and_a_broken_one_is_named() -> None:
    real, fake = normal(60, seed=1), normal(50, seed=2)
    more = {"b": lambda r, f: MetricCard("b", len(r)), "a": lambda r, f: MetricCard("a", len(f))}
    assert [card.name for card in evaluate_sets(real, fake, more=more)][-2:] == ["a", "b"]
    with pytest.raises(PluginError, match="'bad' failed: ZeroDivisionError"):
        evaluate_sets(real, fake, more={"bad": lambda r, f: 1 / 0})
    with pytest.raises(PluginError, match="'bad' returned no card, expected MetricCard, got int"):
        evaluate_sets(real, fake, more={"bad": lambda r, f: 3})


@pytest.mark.parametrize("fact", ["feature", "weights", "resizer"])
def test_features_of_two_kinds_never_meet(fact: str) -> None:
    facts = {"feature": "hand", "weights": "w", "resizer": "r"}
    other = FeatureSet(normal(30).features, **(facts | {fact: "other"}))
    for metric in (frechet, frechet_infinity, kid, precision, recall, density, coverage):
        with pytest.raises(UsageError, match="two kinds"):
            metric(normal(30), other)
    for sets in ((other, normal(30), normal(30)), (normal(30), other, normal(30)), (normal(30), normal(30), other)):
        with pytest.raises(UsageError, match="two kinds"):
            memorised(*sets)
    with pytest.raises(UsageError, match="two kinds"):
        frechet(normal(30), normal(30, 5))


def test_too_few_pictures_are_one_line() -> None:
    few = normal(3)
    for metric in (frechet_infinity, kid, precision, recall, density, coverage):
        with pytest.raises(UsageError, match="too few") as caught:
            metric(few, few)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="one picture has no covariance"):
        frechet(normal(1), few)


# ---- torchmetrics ----


class Flat(torch.nn.Module):
    """Pixels as features, for a reference that brings its own loop."""

    num_features = 12

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).double() / 255


def pixels(n: int, seed: int, top: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, top, (n, 3, 2, 2), dtype=np.uint8))


def flat(x: torch.Tensor) -> FeatureSet:
    return FeatureSet(Flat()(x).numpy())


@pytest.mark.parametrize("n", [100, 8])
def test_frechet_is_that_of_torchmetrics(n: int) -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    real, fake = pixels(n, 0, 256), pixels(90, 1, 200)
    reference = FrechetInceptionDistance(feature=Flat(), input_img_size=(3, 2, 2)).set_dtype(torch.float64)
    reference.update(real, real=True)
    reference.update(fake, real=False)
    found = frechet(flat(real), flat(fake)).value
    assert found == pytest.approx(reference.compute().item(), abs=TOL["Fréchet vs torchmetrics, absolute"])


def test_kid_is_that_of_torchmetrics() -> None:
    from torchmetrics.image.kid import KernelInceptionDistance

    real, fake = pixels(60, 0, 256), pixels(60, 1, 200)
    reference = KernelInceptionDistance(feature=Flat(), subsets=1, subset_size=60)
    reference.update(real, real=True)
    reference.update(fake, real=False)
    found = distributions._mmd2(Flat()(real).numpy(), Flat()(fake).numpy())  # the one subset of all pictures
    assert found == pytest.approx(reference.compute()[0].item(), abs=1e-6)
