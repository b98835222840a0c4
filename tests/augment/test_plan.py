"""The plan: exact counts, an order that does not move, seeds that are never shared."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gantk_augment.plan import ORIGINAL, Amount, Part, plan, sample_seed, table
from gantoolkit.errors import UsageError

CLASSIC = Part("classic", True)
BOTH = (Part("classic", True), Part("gan", False, 0.25))
sizes = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 12), min_size=1)


def data(counts: dict[str, int]) -> tuple[list[str], list[str]]:
    named = sorted((f"{label}/{label}{i}.png", label) for label, count in counts.items() for i in range(count))
    return [name for name, _ in named], [label for _, label in named]


@settings(deadline=None)
@given(sizes, st.integers(1, 20), st.integers(0, 2**62))
def test_each_class_gets_exactly_what_is_asked_for(counts: dict[str, int], goal: int, seed: int) -> None:
    names, labels = data(counts)
    total = Counter(row.label for row in plan(names, labels, Amount(per_class=goal), BOTH, seed=seed))
    assert total == {label: max(goal, count) for label, count in counts.items()}
    balanced = Counter(row.label for row in plan(names, labels, Amount(balance=True), BOTH, seed=seed))
    assert set(balanced.values()) == {max(counts.values())} and set(balanced) == set(counts)


@settings(deadline=None)
@given(sizes, st.floats(0, 5), st.floats(0, 1))
def test_multiples_and_shares_are_met_to_the_nearest_row(counts: dict[str, int], factor: float, share: float) -> None:
    names, labels = data(counts)
    parts = (Part("classic", True, 1 - share), Part("gan", False, share))
    new = plan(names, labels, Amount(factor), parts, originals=False)
    assert abs(len(new) - factor * len(names)) <= 0.5
    for label, count in counts.items():
        of_class = [row for row in new if row.label == label]
        assert abs(len(of_class) - factor * count) <= 1
        assert abs(sum(row.policy == "gan" for row in of_class) - share * len(of_class)) <= 1
    assert abs(sum(row.policy == "gan" for row in new) - share * len(new)) <= 0.5


@settings(deadline=None)
@given(sizes, st.floats(0, 4), st.integers(0, 1000))
def test_every_picture_is_changed_equally_often(counts: dict[str, int], factor: float, seed: int) -> None:
    names, labels = data(counts)
    uses = Counter(row.source for row in plan(names, labels, Amount(factor), [CLASSIC], seed=seed, originals=False))
    for label in counts:
        of_class = [uses[name] for name, owner in zip(names, labels, strict=True) if owner == label]
        assert max(of_class) - min(of_class) <= 1


@settings(deadline=None)
@given(sizes, st.floats(0, 4), st.integers(0, 2**62))
def test_rows_are_in_order_and_share_neither_name_nor_seed(counts: dict[str, int], factor: float, seed: int) -> None:
    names, labels = data(counts)
    rows = plan(names, labels, Amount(factor), BOTH, seed=seed)
    assert rows == plan(names, labels, Amount(factor), BOTH, seed=seed)
    assert [row.index for row in rows] == list(range(len(rows)))
    assert [row.source for row in rows[: len(names)]] == names
    assert all(row.policy == ORIGINAL and row.seed is None for row in rows[: len(names)])
    new = rows[len(names) :]
    assert len({row.seed for row in new}) == len({row.stem.casefold() for row in new}) == len(new)
    assert all(0 <= row.seed < 2**63 for row in new)
    bare = plan(names, labels, Amount(factor), BOTH, seed=seed, originals=False)
    assert [(row.stem, row.seed, row.source) for row in bare] == [(row.stem, row.seed, row.source) for row in new]


def test_seeds_are_known() -> None:
    # the first 63 bits of SHA-256 of "7/3"
    assert sample_seed(7, 3) == 0x653E83E7D95BB7BE >> 1


def test_names_of_the_data_are_not_taken_again() -> None:
    names = ["a-classic-0000.png", "a.png"]
    rows = plan(names, [None, None], Amount(2), [CLASSIC], originals=False)
    stems = [row.stem for row in rows]
    assert len(set(stems)) == 4 and "a-classic-0000" not in stems
    grown = plan(["A-CLASSIC-0000.png", "a.png"], ["x", "x"], Amount(1), [CLASSIC], originals=False)
    assert not {"a-classic-0000"} & {row.stem.casefold() for row in grown}


def test_amounts_that_contradict_each_other_and_data_without_classes() -> None:
    with pytest.raises(UsageError, match="--per-class and --balance contradict"):
        Amount(per_class=3, balance=True)
    for amount in (Amount(per_class=3), Amount(balance=True)):
        with pytest.raises(UsageError, match="needs data with classes"):
            plan(["a.png"], [None], amount, [CLASSIC])


def test_the_table_counts_by_class_and_policy() -> None:
    names, labels = data({"a": 4, "b": 8})
    assert table(plan(names, labels, Amount(1), BOTH)) == [
        ("a", {"original": 4, "classic": 3, "gan": 1}),
        ("b", {"original": 8, "classic": 6, "gan": 2}),
    ]
