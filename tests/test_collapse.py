"""The collapse gauge: what it measures, what it says, and whose samples it looks at."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gantoolkit.alarms import LIMITS
from gantoolkit.collapse import Collapse
from gantoolkit.data import Batches
from gantoolkit.ema import averaged
from gantoolkit.engine import Engine
from gantoolkit.errors import UsageError
from gantoolkit.game import Step
from gantoolkit.gauges import standard
from gantoolkit.variety import Axes, variety
from tests.games import Points, rich_game
from tests.tolerances import TOL

CLOSE = TOL["gauge, known answer"]


# ---- variety ----


def blobs(centres: Tensor, count: int, seed: int, scale: float = 0.05) -> Tensor:
    """Points about centres in turn."""
    generator = torch.Generator().manual_seed(seed)
    return centres[torch.arange(count) % len(centres)] + scale * torch.randn(count, 2, generator=generator)


CORNERS = torch.tensor([[0.0, 0.0], [0.0, 4.0], [4.0, 0.0], [4.0, 4.0]])


def test_variety_of_a_perfect_a_partial_and_a_dead_generator() -> None:
    reals = blobs(CORNERS, 128, 0)
    perfect, half = variety(blobs(CORNERS, 128, 1), reals), variety(blobs(CORNERS[:2], 128, 1), reals)
    dead, same = variety(torch.ones(128, 2), reals), variety(reals, reals)
    assert perfect["diversity"] == pytest.approx(1, abs=0.05) and perfect["nearest"] == pytest.approx(1, abs=0.5)
    assert perfect["reach"] > 0.9 and perfect["recall"] > 0.85
    assert half["reach"] == pytest.approx(0.5, abs=0.02) and half["recall"] == pytest.approx(0.5, abs=0.08)
    assert (dead["diversity"], dead["nearest"], dead["recall"]) == (0, 0, 0)
    assert same == pytest.approx({"diversity": 1, "nearest": 1, "recall": 1, "reach": 1}, abs=CLOSE)


def test_reach_allows_for_poor_fakes_but_not_for_missing_ones() -> None:
    reals = blobs(CORNERS, 128, 0, scale=0.01)
    beside, missing = blobs(CORNERS + 0.2, 128, 1, scale=0.01), blobs(CORNERS[:1] + 0.2, 128, 1, scale=0.01)
    assert variety(beside, reals)["reach"] == 1 and variety(beside, reals)["recall"] == 0
    assert variety(missing, reals)["reach"] == pytest.approx(0.25, abs=0.01)


def test_axes_are_those_of_the_data() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randn(200, 1, 1, 1, generator=generator) * torch.linspace(-1, 1, 32).expand(200, 1, 32, 32)
    axes = Axes(pictures, count=2)
    found = axes(pictures)
    assert found.shape == (200, 2)
    assert found[:, 1].std() < 1e-3 * found[:, 0].std()  # one direction holds it all
    points = torch.randn(64, 2, generator=generator)
    assert torch.pdist(Axes(points)(points)) == pytest.approx(torch.pdist(points), abs=1e-5)  # a rotation


# ---- alarms ----


@pytest.mark.parametrize(
    ("centres", "wanted"), [(CORNERS, []), (CORNERS[:1], ["differ only", "reaches only 25%"]), (CORNERS[1:3], [])]
)
def test_collapse_says_what_is_wrong_once(centres: Tensor, wanted: list[str]) -> None:
    reals = blobs(CORNERS, 64, 0)
    gauge = Collapse(reals, lambda n, random: blobs(centres, n, int(torch.randint(99, (), generator=random))))
    limit = LIMITS.probe_burn_in + LIMITS.probe_patience
    texts: list[str] = []
    for index in range(1, 2 * limit):
        gauge.observe(Step(index * gauge.probe.every_nimg, index))
        texts += [alarm.text for alarm in gauge.alarms()]
        assert index >= limit or not texts
    assert [part for part in wanted if any(part in text for text in texts)] == wanted
    assert len(texts) == len(wanted)


def test_one_class_may_collapse_alone() -> None:
    reals, labels = blobs(CORNERS, 256, 0), torch.arange(256) % 4

    def sample(n: int, random: torch.Generator, labels: Tensor) -> Tensor:
        made = CORNERS[labels] + 0.05 * torch.randn(n, 2, generator=random)
        return torch.where(labels[:, None] == 2, CORNERS[labels], made)

    gauge = Collapse(reals, sample, labels=labels, every_nimg=100)
    named = Collapse(reals, sample, labels=labels, classes=["a", "b", "c", "d"], every_nimg=100)
    for index in range(1, 20):
        gauge.observe(Step(index * 100, index))
        named.observe(Step(index * 100, index))
    (alarm,) = gauge.alarms()
    assert "class c" in named.alarms()[0].text
    assert "class 2" in alarm.text and alarm.gauge == "collapse"
    found = gauge.readings()
    assert found["collapse/worst_diversity"] == 0 and found["collapse/diversity"] > 0.9


def test_samples_of_no_class_are_no_class() -> None:
    """The same, but the collapsed class has no label: nothing is said of it."""
    reals, kinds = blobs(CORNERS, 256, 0), torch.arange(256) % 4

    def sample(n: int, random: torch.Generator, labels: Tensor) -> Tensor:
        made = CORNERS[kinds] + 0.05 * torch.randn(n, 2, generator=random)
        return torch.where(kinds[:, None] == 2, CORNERS[kinds], made)

    gauge = Collapse(reals, sample, labels=torch.where(kinds == 2, -1, kinds), every_nimg=100)
    gauge.observe(Step(100, 1))
    assert gauge.readings()["collapse/worst_diversity"] > 0.5


def test_collapse_wants_enough_reals_and_standard_does_without() -> None:
    few = torch.randn(15, 2)
    with pytest.raises(UsageError, match="at least 16"):
        Collapse(few, lambda n, random: few)
    assert [gauge.name for gauge in standard(reals=few, sample=lambda n, random: few)] == ["equilibrium", "instability"]
    enough = standard(reals=torch.randn(16, 2), sample=lambda n, random: torch.randn(n, 2, generator=random))
    assert [gauge.name for gauge in enough] == ["equilibrium", "instability", "collapse"]


# ---- the average ----


def test_networks_wear_their_averages_for_a_while() -> None:
    shared = nn.Linear(2, 2)
    network = nn.Sequential(shared, nn.BatchNorm1d(2), shared)
    other, own = nn.Linear(2, 2), {key: value.clone() for key, value in network.state_dict().items()}
    average = {key: value + 1 for key, value in own.items()}
    pointers = [p.data_ptr() for p in network.parameters()]
    with averaged({"net": network, "other": other}, {"net": average, "more": {}}):
        assert all(torch.equal(value, average[key]) for key, value in network.state_dict().items())
    assert all(torch.equal(value, own[key]) for key, value in network.state_dict().items())
    assert pointers == [p.data_ptr() for p in network.parameters()]
    try:
        with averaged({"net": network}, {"net": average}):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert torch.equal(network[0].weight, own["0.weight"])


def test_a_generator_that_swings_about_a_good_average_has_not_collapsed() -> None:
    """Of two linear generators, the average makes the data; the one that plays makes a single point at every look."""
    network = nn.Linear(2, 2, bias=False)
    nn.init.zeros_(network.weight)
    reals = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))

    def sample(n: int, random: torch.Generator) -> Tensor:
        return network(torch.randn(n, 2, generator=random))

    average = {"generator": {"weight": torch.eye(2)}}
    for networks, averages, collapsed in (
        ({"generator": network}, average, False),
        ({"generator": network}, {}, True),
        ({}, average, True),
    ):
        gauge = Collapse(reals, sample, networks=networks, every_nimg=10)
        for index in range(1, 20):
            gauge.observe(Step(10 * index, index, averages=averages))
        assert bool(gauge.alarms()) == collapsed
        assert (gauge.readings()["collapse/diversity"] < 0.1) == collapsed
    assert not network.weight.any()


def test_steps_report_the_averages_as_they_are() -> None:
    engine = Engine(rich_game(), Batches(Points(), 8))
    engine.step()
    step = engine.step()
    assert {name for average in engine.ema.values() for name in average.state} == set(step.averages) != set()
    for average in engine.ema.values():
        for name, state in average.state.items():
            assert all(step.averages[name][key] is value for key, value in state.items())
