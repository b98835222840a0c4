"""Statistics and words of the verdict: known intervals, and nothing said that the interval does not allow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from gantk_augment.verdict import PAIRS, cards, gain, judge, share_interval, t_interval
from gantoolkit.errors import UsageError

shares = st.integers(0, 500).map(lambda right: right / 500)
OPPOSITE = {"use it": "don't", "don't": "use it", "no measurable gain": "no measurable gain"}


def pairs(least: int = 2) -> st.SearchStrategy[list[tuple[float, float]]]:
    return st.lists(st.tuples(shares, shares), min_size=least, max_size=12)


def test_the_interval_has_its_known_values() -> None:
    # by hand: mean 2, s = 1, t(.975, 2) = 4.302653, 4.302653 / sqrt(3) = 2.484138
    assert t_interval([1, 2, 3]) == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-6)
    # t(.975, 4) = 2.776445, s of 0, 1, 2, 3, 4 = sqrt(2.5)
    reach = 2.776445 * (2.5 / 5) ** 0.5
    assert t_interval([0, 1, 2, 3, 4]) == pytest.approx((2 - reach, 2 + reach), abs=1e-6)


@given(st.lists(shares, min_size=2, max_size=12))
def test_the_interval_is_scipys(values: list[float]) -> None:
    found = t_interval(values)
    if np.ptp(values) == 0:
        assert found is None
    else:
        ci = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert found == pytest.approx((ci.low, ci.high), abs=1e-9)


@given(pairs())
def test_the_word_says_what_the_interval_allows_and_swapped_arms_turn_it_round(rows: list[tuple[float, float]]) -> None:
    a, b = zip(*rows, strict=True)
    found, swapped = gain("gan", "real", a, b), gain("real", "gan", b, a)
    assert swapped.word == OPPOSITE[found.word] and swapped.mean == pytest.approx(-found.mean)
    low, high = found.interval or (-1.0, 1.0)
    assert (found.word == "use it") == (low > 0) and (found.word == "don't") == (high < 0)
    assert found.word in found.text and f"{100 * found.mean:+.1f}"[1:] in found.text


@given(st.lists(shares, min_size=3, max_size=10), st.floats(0.01, 0.5))
def test_noise_widens_the_interval_and_moves_no_mean(values: list[float], noise: float) -> None:
    before = t_interval(values)
    assume(before is not None)
    assert before is not None
    spread = np.array(values) - np.mean(values)
    after = t_interval(list(np.array(values) + noise * spread))
    assert after is not None and after[1] - after[0] > before[1] - before[0]
    assert sum(after) == pytest.approx(sum(before))


def test_equal_differences_are_said_to_be_so_and_prove_nothing() -> None:
    for shift in (0.0, 0.25, -0.25):
        found = gain("gan", "real", [0.5 + shift] * 5, [0.5] * 5)
        assert found.interval is None and found.word == "no measurable gain" and "no interval" in found.text
    rising = [0.1, 0.2, 0.7]  # .1 + .2 is not .3: the differences are equal but for rounding
    assert gain("gan", "real", [v + 0.1 for v in rising], rising).interval is None
    verdict = judge({arm: [0.5] * 5 for arm in ("real", "classic", "gan", "both")})
    assert verdict.word == "no measurable gain" and len(verdict.warnings) == len(PAIRS)


def accuracies(on_classic: float, on_real: float, seeds: int = 5) -> dict[str, list[float]]:
    """Arms whose gains have these means and a spread of about a point."""
    wobble = np.linspace(-0.01, 0.01, seeds)
    return {
        "real": [0.5] * seeds,
        "classic": [0.6] * seeds,
        "gan": list(0.5 + on_real + wobble),
        "both": list(0.6 + on_classic + wobble),
    }


@pytest.mark.parametrize(
    ("on_classic", "on_real", "word"),
    [
        (0.1, 0.1, "use it"),
        (0.1, -0.1, "use it"),
        (0.0, 0.1, "no measurable gain"),  # classic augmentation gives it all
        (0.0, 0.0, "no measurable gain"),
        (0.0, -0.1, "don't"),
        (-0.1, 0.1, "don't"),
        (-0.1, -0.1, "don't"),
    ],
)
def test_what_generated_pictures_add_to_classic_augmentation_decides(
    on_classic: float, on_real: float, word: str
) -> None:
    verdict = judge(accuracies(on_classic, on_real))
    assert verdict.word == word and verdict.text.startswith(f"{word}. ")
    assert not [text for text in verdict.warnings if "repetitions" in text]


def test_few_repetitions_are_warned_of_and_one_is_refused() -> None:
    assert "only 3 repetitions" in judge(accuracies(0.1, 0.1, 3)).warnings[0]
    with pytest.raises(UsageError, match="two finite numbers"):
        judge(accuracies(0.1, 0.1, 1))
    with pytest.raises(UsageError, match="pairs"):
        gain("gan", "real", [0.1, 0.2], [0.1])


@pytest.mark.parametrize(("tests", "warned"), [(8, True), (400, False), (None, False)])
def test_a_gain_that_other_test_pictures_could_undo_is_said_with_that(tests: int | None, warned: bool) -> None:
    """15 points on 8 pictures; one accuracy of 400 is known to 5 points."""
    arms = accuracies(0.15, 0.15)
    found = judge(arms, tests=tests)
    assert found.word == "use it"
    assert ("the test has only 8 pictures" in found.text) == warned == any("only 8" in text for text in found.warnings)


def test_cards_carry_mean_interval_and_protocol() -> None:
    values = accuracies(0.1, 0.2)
    made = {(card.name, card.of): card for card in cards(values, judge(values), 123, {"nimg": 7})}
    assert len(made) == len(values) + len(PAIRS)
    card = made["accuracy", "gan"]
    assert card.value == pytest.approx(0.7) and card.n == 123 and card.protocol["nimg"] == 7
    assert card.interval == t_interval(values["gan"]) == share_interval(values["gan"])
    assert share_interval([0.9, 1.0, 1.0])[1] == 1.0
    assert made["gain of both over classic", "both"].value == pytest.approx(0.1)
