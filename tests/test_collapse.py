"""The collapse gauge looks at the generator that a user will get: the averaged one, where the game keeps an average."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gantoolkit.collapse import Collapse
from gantoolkit.ema import averaged
from gantoolkit.engine import Engine
from gantoolkit.game import Step
from tests.games import Points, rich_game


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
    from gantoolkit.data import Batches

    engine = Engine(rich_game(), Batches(Points(), 8))
    engine.step()
    step = engine.step()
    assert {name for average in engine.ema.values() for name in average.state} == set(step.averages) != set()
    for average in engine.ema.values():
        for name, state in average.state.items():
            assert all(step.averages[name][key] is value for key, value in state.items())
