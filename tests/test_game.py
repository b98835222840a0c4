"""Games as data: what is refused, which moves are due, and how a value is shared between phases."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gantoolkit.draws import Draws
from gantoolkit.errors import UsageError
from gantoolkit.game import Game, Phase, Player, Term, detach, lazy_correction, terms_due, trained, weight_of
from gantoolkit.schedule import Linear


def term(name: str = "t", every: int = 1, weight: float = 1.0) -> Term:
    return Term(name, lambda ctx: torch.zeros(()), weight, every=every)


def players() -> list[Player]:
    return [Player("a", {"a": nn.Linear(1, 1)}), Player("b", {"b": nn.Linear(1, 1)})]


shared = nn.Linear(1, 1)
WRONG: dict[str, tuple[Callable[[], Game], str]] = {
    "player twice": (lambda: Game([Player("a", {}), Player("a", {})], []), "player 'a' is named twice"),
    "network twice": (lambda: Game([Player("a", {"n": shared}), Player("b", {"n": shared})], []), "network 'n'"),
    "phase twice": (lambda: Game(players(), [Phase("p", "a", [term()])] * 2), "phase 'p' is named twice"),
    "term twice": (lambda: Game(players(), [Phase("p", "a", [term(), term()])]), "'t' is named twice"),
    "shared parameter": (lambda: Game([Player("a", {"x": shared}), Player("b", {"y": shared})], []), "share param"),
    "unknown player": (lambda: Game(players(), [Phase("p", "c", [term()])]), "expected a or b, got c"),
    "every of phase": (lambda: Game(players(), [Phase("p", "a", [term()], every=0)]), "every is too small"),
    "repeats": (lambda: Game(players(), [Phase("p", "a", [term()], repeats=0)]), "repeats is too small"),
    "every of term": (lambda: Game(players(), [Phase("p", "a", [term(every=-1)])]), "every of term 't'"),
    "only lazy": (lambda: Game(players(), [Phase("p", "a", [term(every=2)])]), "only lazy terms"),
}


@pytest.mark.parametrize("make, text", WRONG.values(), ids=WRONG)
def test_what_is_refused(make, text):
    with pytest.raises(UsageError, match=text):
        make()


def test_parameters_are_listed_once():
    layer = nn.Linear(2, 2)
    player = Player("a", {"x": nn.Sequential(layer, layer), "y": layer})
    assert [id(p) for p in player.parameters()] == [id(layer.weight), id(layer.bias)]


@given(every=st.lists(st.integers(1, 6), max_size=4), count=st.integers(0, 40))
def test_terms_due(every, count):
    phase = Phase("p", "a", [term("plain"), *(term(str(i), e) for i, e in enumerate(every))])
    moves = [[t.name for t in move] for move in terms_due(phase, count)]
    assert moves[0] == ["plain", *(str(i) for i, e in enumerate(every) if e == 1)]
    due = [str(i) for i, e in enumerate(every) if e > 1 and count % e == 0]
    assert sorted(name for move in moves[1:] for name in move) == sorted(due)
    assert len(moves) == 1 + len({e for e in every if e > 1 and count % e == 0})


@pytest.mark.parametrize("k", [2, 4, 8, 16])
def test_one_lazy_group_is_corrected_as_in_stylegan2(k):
    phases = [Phase("p", "a", [term("x"), term("lazy", k), term("other", k)], repeats=3)]
    assert lazy_correction(phases, "a") == pytest.approx(k / (k + 1))
    assert lazy_correction(phases, "b") == 1.0


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 3), st.lists(st.integers(2, 6), max_size=3)), min_size=1, max_size=3
    )
)
def test_correction_is_the_share_of_plain_moves(rows):
    phases = [
        Phase(str(i), "a", [term("x"), *(term(f"l{j}", e) for j, e in enumerate(lazy))], every=every, repeats=repeats)
        for i, (every, repeats, lazy) in enumerate(rows)
    ]
    plain = extra = 0
    for phase in phases:  # count the moves of a whole period
        for play in range(60 * 12 // phase.every * phase.repeats):
            moves = len(list(terms_due(phase, play)))
            plain, extra = plain + 1, extra + moves - 1
    assert lazy_correction(phases, "a") == pytest.approx(float(Fraction(plain, plain + extra)))


def test_a_lazy_terms_weight_is_multiplied_by_its_interval():
    assert weight_of(term(every=16, weight=0.5), 0) == 8.0
    assert weight_of(Term("t", lambda ctx: torch.zeros(()), Linear(1, 0, 100), every=4), 50) == 2.0


@pytest.mark.parametrize("world, micro", [(1, 1), (1, 4), (2, 1), (2, 2), (4, 1)])
def test_draws_are_the_rows_of_the_joined_batch(world, micro):
    def generator():
        return torch.Generator().manual_seed(9)

    def normal(shape, g):
        return torch.randn(*shape, generator=g)

    g = generator()
    expected = [normal((8, 3), g), normal((8,), g)]
    alike = normal((2,), g)
    rows: list[list[torch.Tensor]] = [[], []]
    for rank in range(world):
        draws = Draws(generator(), world=world, rank=rank, device=torch.device("cpu"))
        local = 8 // world
        size = local // micro
        for i in range(micro):
            draws.rows(i * size, (i + 1) * size, local)
            rows[0].append(draws.take(normal, (3,)))
            rows[1].append(draws.take(normal, ()))
            assert torch.equal(draws.alike(normal, (2,)), alike)
    assert all(torch.equal(torch.cat(r), e) for r, e in zip(rows, expected, strict=True))


def test_detach_goes_through_lists_and_mappings():
    tensor = torch.ones(1, requires_grad=True)
    out = detach({"a": [tensor, (tensor, 3)], "b": "text"})
    assert not out["a"][0].requires_grad
    assert not out["a"][1][0].requires_grad
    assert (out["a"][1][1], out["b"]) == (3, "text")


def test_trained_puts_back_after_an_error():
    layer = nn.Linear(1, 1).requires_grad_(False)
    with pytest.raises(ZeroDivisionError), trained(list(layer.parameters())):
        assert layer.weight.requires_grad
        raise ZeroDivisionError
    assert not layer.weight.requires_grad
