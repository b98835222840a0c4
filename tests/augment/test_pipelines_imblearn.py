"""imbalanced-learn runs our sampler as it runs its own, and the sampler fits a generator where none is given."""

from __future__ import annotations

import random
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from imblearn.pipeline import Pipeline
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

import gantoolkit
from gantk_augment import GANSampler
from gantk_augment.pipelines.making import derive
from gantoolkit.errors import InputError, UsageError
from tests.augment.data_sets import disc

MODEL = "fashion-32"
SMALL = {"nimg": 64, "batch": 8, "channels": 8, "classifier_nimg": 256, "confidence": 0, "outliers": 0, "duplicates": 0}


@pytest.fixture(scope="module")
def clothes() -> tuple[np.ndarray, np.ndarray]:
    """12 bags, 5 coats, 8 sneakers, uint8 (25, 32, 32, 1)."""
    counts = {"bag": 12, "coat": 5, "sneaker": 8}
    load = gantoolkit.load("generate", MODEL, device="cpu")
    pictures = [picture for name, n in counts.items() for picture in load(n, seed=0, label=name)]
    return np.stack(pictures), np.repeat(list(counts), list(counts.values()))


def test_originals_come_first_and_the_new_ones_are_the_models(clothes: Any) -> None:
    X, y = clothes
    more, labels = GANSampler(MODEL, random_state=3).fit_resample(X, y)
    assert more.shape == (36, 32, 32, 1) and more.dtype == np.uint8 and labels.dtype == y.dtype
    assert np.array_equal(more[:25], X) and np.array_equal(labels[:25], y)
    assert Counter(labels) == {"bag": 12, "coat": 12, "sneaker": 12}
    seed = int(np.random.RandomState(3).randint(2**31 - 1))
    (known,) = gantoolkit.load("generate", MODEL, device="cpu")(1, seed=derive(seed, "coat", 0), label="coat")
    assert labels[25] == "coat" and np.array_equal(more[25], known)
    again = [GANSampler(MODEL, random_state=state).fit_resample(X, y)[0] for state in (3, 4)]
    assert np.array_equal(again[0], more) and not np.array_equal(again[1], more)


@pytest.mark.parametrize(
    ("strategy", "counts"),
    [
        ("minority", {"bag": 12, "coat": 12, "sneaker": 8}),
        ({"coat": 7}, {"bag": 12, "coat": 7, "sneaker": 8}),
        (lambda y: {"bag": 14}, {"bag": 14, "coat": 5, "sneaker": 8}),
        ({"coat": 5}, {"bag": 12, "coat": 5, "sneaker": 8}),
    ],
)
def test_strategies_are_imbalanced_learns_own(clothes: Any, strategy: Any, counts: dict[str, int]) -> None:
    assert Counter(GANSampler(MODEL, sampling_strategy=strategy).fit_resample(*clothes)[1]) == counts


def test_a_ratio_is_of_two_classes(clothes: Any) -> None:
    X, y = clothes
    two = y != "sneaker"
    assert Counter(GANSampler(MODEL, sampling_strategy=0.75).fit_resample(X[two], y[two])[1]) == {"bag": 12, "coat": 9}
    with pytest.raises(ValueError, match="multi-class"):
        GANSampler(MODEL, sampling_strategy=0.75).fit_resample(X, y)
    with pytest.raises(ValueError, match="sampling_strategy"):
        GANSampler(MODEL, sampling_strategy="some").fit_resample(X, y)


@pytest.mark.parametrize("form", ["rows", "grey", "unit", "frame"])
def test_pictures_come_in_many_forms_and_go_back_in_the_same(clothes: Any, form: str) -> None:
    pandas = pytest.importorskip("pandas")
    X, y = clothes
    given: Any = {
        "rows": X.reshape(25, -1).astype(np.float64),
        "grey": X[..., 0],
        "unit": (X[:, ::2, ::2] / 255).astype(np.float32),
        "frame": pandas.DataFrame(X.reshape(25, -1)),
    }[form]
    more, _ = GANSampler(MODEL, random_state=0).fit_resample(given, y)
    assert more.shape == (36, *given.shape[1:]) and type(more) is type(given)
    values, old = np.asarray(more), np.asarray(given)
    assert values.dtype == old.dtype and np.array_equal(values[:25], old)
    assert old.max() / 2 < values[25:].max() <= (1 if form == "unit" else 255)


def test_colours_and_shapes_of_rows(clothes: Any) -> None:
    X, y = clothes
    colour = np.repeat(X[:, :28], 3, axis=3)
    more, _ = GANSampler(MODEL, shape=(28, 32, 3)).fit_resample(colour.reshape(25, -1), y)
    assert more.shape == (36, 28 * 32 * 3)
    new = more[25:].reshape(-1, 28, 32, 3)
    assert (new[..., 0] == new[..., 2]).all()
    for rows, sampler in ((colour.reshape(25, -1), GANSampler(MODEL)), (X, GANSampler(MODEL, shape=(8, 8, 1)))):
        with pytest.raises(InputError, match=r"square|no such pictures"):
            sampler.fit_resample(rows.reshape(25, -1), y)
    with pytest.raises(InputError, match="0 to 255"):
        GANSampler(MODEL).fit_resample(X - 300.0, y)


def test_it_works_in_imbalanced_learns_pipeline(clothes: Any) -> None:
    X, y = clothes
    rows = X.reshape(25, -1) / 255
    steps = [("gan", GANSampler(MODEL, random_state=0)), ("classify", LogisticRegression(max_iter=50))]
    pipeline = clone(Pipeline(steps)).set_params(gan__sampling_strategy="minority")
    assert pipeline.fit(rows, y).score(rows, y) > 0.9
    assert sum(pipeline["gan"].sampling_strategy_.values()) == 7


@pytest.mark.slow
@pytest.mark.parametrize("numbered", [False, True])
def test_without_a_model_one_is_fitted_on_the_data_and_nobodys_random_numbers_move(numbered: bool) -> None:
    names = ["blue"] * 9 + ["red"] * 5
    X = np.stack([disc(i, name, 16)[0] for i, name in enumerate(names)])
    y = np.array([4 if name == "blue" else 9 for name in names] if numbered else names)
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    before = torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()
    sampler = GANSampler(random_state=0, training=SMALL)
    more, labels = sampler.fit_resample(X, y)
    assert before == (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist())
    assert more.shape == (18, 16, 16, 3) and (labels[14:] == y[-1]).all() and len(np.unique(more[14:], axis=0)) == 4
    assert sampler.model_.classes == tuple(str(label) for label in np.unique(y))
    assert np.array_equal(GANSampler(random_state=0, training=SMALL).fit_resample(X, y)[0], more)


def test_without_the_library_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import gantk_augment

    monkeypatch.delitem(sys.modules, "gantk_augment.pipelines.resampling")
    monkeypatch.setitem(sys.modules, "imblearn.over_sampling.base", None)
    with pytest.raises(UsageError, match=r"pip install 'gantoolkit\[imblearn\]'"):
        _ = gantk_augment.GANSampler
