"""The stream of samples: epochs are permutations, and nothing but the position decides what comes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gantoolkit.data import Batches, Stream, pictures_in, split_by_name
from gantoolkit.errors import InputError
from tests.games import Points


def taken(batches: Batches, count: int) -> list[list[torch.Tensor]]:
    return [list(batches.next().values()) for _ in range(count)]


def same(one, other) -> bool:
    pairs = [(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)]
    return bool(pairs) and all(torch.equal(a, b) for a, b in pairs)


@given(length=st.integers(1, 60), seed=st.integers(0, 2**31), epoch=st.integers(0, 5))
def test_each_epoch_is_a_permutation(length, seed, epoch):
    stream = Stream(length, seed)
    order = [stream.index(epoch * length + i) for i in range(length)]
    assert sorted(order) == list(range(length))


def test_epochs_and_seeds_differ():
    def order(seed, epoch):
        return [Stream(100, seed).index(epoch * 100 + i) for i in range(100)]

    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


@given(positions=st.lists(st.integers(0, 500), min_size=1, max_size=30))
def test_the_order_of_asking_does_not_matter(positions):
    stream = Stream(7, 1)
    assert [stream.index(p) for p in positions] == [Stream(7, 1).index(p) for p in positions]


def test_a_position_has_its_own_random_numbers():
    stream = Stream(10, 0)
    draws = [stream.generator(p).random() for p in range(200)]
    assert len(set(draws)) == 200
    assert draws == [stream.generator(p).random() for p in range(200)]


def test_workers_leave_no_trace():
    expected = taken(Batches(Points(10), 4, seed=5), 6)  # two and a half epochs
    state = torch.get_rng_state()
    for workers in (1, 2):
        assert same(taken(Batches(Points(10), 4, seed=5, workers=workers), 6), expected)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("workers", [0, 1])
def test_position_comes_back_in_the_middle_of_an_epoch(workers):
    first = Batches(Points(10), 4, workers=workers)
    taken(first, 3)
    state = first.state_dict()
    expected = taken(first, 3)
    second = Batches(Points(10), 4, workers=workers)
    taken(second, 1)
    second.load_state_dict(state)
    assert same(taken(second, 3), expected)


def test_processes_take_their_own_rows_of_the_joined_batch():
    whole = [batch[1].tolist() for batch in taken(Batches(Points(10), 6, seed=2), 4)]
    parts = [
        [batch[1].tolist() for batch in taken(Batches(Points(10), 6, seed=2, rank=r, world=3), 4)] for r in range(3)
    ]
    assert [[i for part in rows for i in part] for rows in zip(*parts, strict=True)] == whole


def test_batch_that_does_not_divide():
    with pytest.raises(InputError, match="a multiple of 3"):
        Batches(Points(), 4, world=3)


def test_nothing_to_train_on():
    with pytest.raises(InputError, match="nothing to train on"):
        Batches(Points(0), 4)


def test_pictures_in(tmp_path):
    for name in ("b.PNG", "a.jpg", ".hidden.png", "notes.txt", "deep/c.webp", "d.gif", "e.pgm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    assert [p.name for p in pictures_in(tmp_path)] == ["a.jpg", "b.PNG", "d.gif", "c.webp", "e.pgm"]
    assert [p.name for p in pictures_in(tmp_path, recursive=False)] == ["a.jpg", "b.PNG", "d.gif", "e.pgm"]
    with pytest.raises(InputError, match="not a folder"):
        pictures_in(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="no pictures"):
        pictures_in(tmp_path / "folder.png")


@settings(max_examples=30)
@given(names=st.lists(st.text("abcdefgh", min_size=1, max_size=6), unique=True, min_size=2), more=st.integers(1, 9))
def test_split_depends_on_a_files_own_name_only(names, more):
    files = [Path("x") / f"{name}.png" for name in names]
    train, held = split_by_name(files, 0.3)
    assert sorted(train + held) == sorted(files)
    moved = [Path("elsewhere") / f.name for f in reversed(files)] + [Path(f"new{i}.png") for i in range(more)]
    train2, held2 = split_by_name(moved, 0.3)
    assert {f.name for f in held} == {f.name for f in held2} & {f.name for f in files}
    assert {f.name for f in train} == {f.name for f in train2} & {f.name for f in files}


def test_split_holds_out_about_the_share():
    files = [Path(f"{i}.png") for i in range(2000)]
    assert 0.08 < len(split_by_name(files, 0.1)[1]) / 2000 < 0.12
    assert split_by_name(files, 0.0)[1] == []
