"""The policy that asks a fitted generator: one answer a request, whatever else is asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gantk_augment.filters import Judged
from gantk_augment.gan import Gan
from gantoolkit.errors import InputError, UsageError
from gantoolkit.plugins import current
from gantoolkit.samples import Made, Policy, Request

MODEL = "fashion-32"


@pytest.fixture(scope="module")
def gan() -> Policy:
    made = current().augmentations()["gan"]({"model": MODEL})
    assert isinstance(made, Gan) and isinstance(made, Policy)
    return made


def test_a_request_is_answered_by_a_picture_of_its_class(gan: Policy) -> None:
    assert (gan.name, gan.needs_source) == ("gan", False) and gan.chunk > 1
    [made] = gan.make([Request(7, label="Sneaker")])
    assert isinstance(made, Made) and made.parameters == {"model": MODEL, "seed": 7, "attempts": 1}
    assert made.sample.label == "Sneaker" and made.sample.picture.shape == (32, 32, 1)
    assert made.sample.mask is None and made.sample.things == ()


def test_answers_come_in_order_and_do_not_depend_on_each_other(gan: Policy) -> None:
    requests = [Request(seed, label=label) for seed, label in enumerate(["Bag", "Coat", "Sandal"] * 7)]
    together = gan.make(requests)
    alone = [gan.make([request])[0] for request in requests[::-1]][::-1]
    for one, other in zip(together, alone, strict=True):
        assert isinstance(one, Made) and isinstance(other, Made)
        assert np.array_equal(one.sample.picture, other.sample.picture) and one.parameters == other.parameters
    assert gan.make([]) == []


@pytest.mark.parametrize(("label", "says"), [(None, "without a class"), ("Hat", "class Hat"), ("bag", "class bag")])
def test_what_it_cannot_make_is_an_error_of_that_request_alone(gan: Policy, label: str | None, says: str) -> None:
    bad, good = gan.make([Request(0, label=label), Request(0, label="Bag")])
    assert isinstance(bad, InputError) and says in str(bad) and "Sneaker" in str(bad)
    assert isinstance(good, Made)


def test_a_class_without_good_samples_is_an_error() -> None:
    class Nothing:
        def judge(self, pictures: np.ndarray, labels: np.ndarray) -> Judged:
            zeros = np.zeros(len(labels))
            return Judged(zeros, zeros, zeros, {"all": zeros > 0})

    gan = Gan({"model": MODEL})
    gan.fitted.filters = Nothing()  # type: ignore[assignment]
    [made] = gan.make([Request(0, label="Bag")])
    assert isinstance(made, InputError) and "no sample of class Bag passed the filters after 20 tries" in str(made)


@pytest.mark.parametrize("settings", [{}, {"model": ""}, {"model": MODEL, "recipe": "photo"}, {"recipe": "photo"}])
def test_settings_are_checked(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="needs a model and nothing else"):
        Gan(settings)


def test_a_model_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="no-such"):
        Gan({"model": "no-such"})
