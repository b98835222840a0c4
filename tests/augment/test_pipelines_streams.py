"""No augmentation stream repeats: 4 workers, 3 epochs, with and without a seed, persistent workers or not."""

from __future__ import annotations

import copy
import os
import pickle
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset, WeightedRandomSampler

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A

from gantk_augment import Augmented, seed_worker
from gantoolkit.errors import UsageError

ITEMS, EPOCHS, WORKERS = 12, 3, 4


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # more workers than this machine has cores
        yield


class Flat(Dataset):
    """Grey pictures: whatever is seen of them was drawn."""

    def __len__(self) -> int:
        return ITEMS

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return np.full((8, 8, 3), 128, np.uint8), index


class Own(Flat):
    """A data set as users write them, with the compose inside."""

    def __init__(self, seed: int | None = None) -> None:
        self.transforms = {"train": [noise(seed)]}

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.transforms["train"][0](image=super().__getitem__(index)[0])["image"], index


def noise(seed: int | None = None) -> A.Compose:
    return A.Compose([A.GaussNoise(std_range=(0.1, 0.2), p=1), A.HorizontalFlip()], seed=seed)


def draws(data: Dataset, epochs: int = EPOCHS, workers: int = WORKERS, **options: Any) -> list[list[tuple[int, bytes]]]:
    """(index, picture) of each draw, epoch by epoch, sorted: workers finish in any order."""
    loader = DataLoader(data, batch_size=2, num_workers=workers, **options)
    return [
        sorted((int(i), x.numpy().tobytes()) for xs, indices in loader for x, i in zip(xs, indices, strict=True))
        for _ in range(epochs)
    ]


def distinct(epochs: list[list[tuple[int, bytes]]]) -> int:
    return len({picture for epoch in epochs for _, picture in epoch})


@pytest.mark.parametrize("seed", [None, 3])
def test_a_bare_compose_repeats_itself_and_this_test_would_see_it(seed: int | None) -> None:
    assert distinct(draws(Own(seed))) <= ITEMS / WORKERS + 1


@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize("seed", [None, 3])
def test_no_draw_repeats_and_a_seed_gives_all_of_them_again(seed: int | None, persistent: bool) -> None:
    torch.manual_seed(1)
    first, second = (
        draws(Augmented(Flat(), noise(), seed), shuffle=True, persistent_workers=persistent) for _ in range(2)
    )
    assert distinct(first) == ITEMS * EPOCHS
    assert (first == second) == (seed is not None)
    if seed is None:
        assert distinct([*first, *second]) == 2 * ITEMS * EPOCHS
        torch.manual_seed(1)  # seeds data without a seed, too
        assert draws(Augmented(Flat(), noise()), shuffle=True, persistent_workers=persistent) == first


def test_workers_batches_and_composes_own_seeds_leave_no_trace() -> None:
    alone = draws(Augmented(Flat(), noise(), 3), workers=0)
    assert alone == draws(Augmented(Flat(), noise(7), 3), workers=3, persistent_workers=True)
    assert distinct([*alone, *draws(Augmented(Flat(), noise(), 4), workers=0)]) == 2 * ITEMS * EPOCHS


@pytest.mark.slow
@pytest.mark.parametrize("persistent", [False, True])
def test_spawned_workers_count_together(persistent: bool) -> None:
    spawned = draws(Augmented(Flat(), noise(), 3), persistent_workers=persistent, multiprocessing_context="spawn")
    assert spawned == draws(Augmented(Flat(), noise(), 3), workers=0)


def test_an_item_drawn_twice_in_an_epoch_differs() -> None:
    sampler = WeightedRandomSampler([1.0] * ITEMS, 60)
    assert distinct(draws(Augmented(Flat(), noise(), 3), sampler=sampler, epochs=1)) == 60


def test_an_epoch_can_be_named_and_repeated() -> None:
    data = Augmented(Flat(), noise(), 3)
    data.set_epoch(1)
    first, second = draws(data, epochs=1, workers=2), draws(data, epochs=1, workers=0)
    data.set_epoch(1)
    assert draws(data, epochs=1, workers=2) == first != second
    data.set_epoch(2)
    assert distinct([*first, *second, *draws(data, epochs=1, workers=0)]) == 3 * ITEMS


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda data: pickle.loads(pickle.dumps(data))])
def test_a_copy_goes_on_by_itself(copied: Any) -> None:
    data = Augmented(Flat(), noise(), 3)
    epochs = draws(data, workers=0)
    half = Augmented(Flat(), noise(), 3)
    draws(half, epochs=1, workers=0)
    assert draws(copied(half), epochs=2, workers=0) == epochs[1:] == draws(half, epochs=2, workers=0)


@pytest.mark.parametrize("seed", [None, pytest.param(3, marks=pytest.mark.slow)])
def test_seed_worker_parts_the_streams_of_a_users_own_data_set(seed: int | None) -> None:
    torch.manual_seed(0)
    subset = Subset(Own(seed), range(ITEMS))
    first = draws(subset, worker_init_fn=seed_worker)
    assert distinct(first) == ITEMS * EPOCHS
    torch.manual_seed(0)
    assert draws(subset, worker_init_fn=seed_worker) == first
    assert distinct([*first, *draws(subset, worker_init_fn=seed_worker, persistent_workers=True)]) == 2 * 36


# ---- what items may be ----


def test_tuples_mappings_and_bare_pictures_keep_their_shape() -> None:
    picture, mask = np.arange(48, dtype=np.uint8).reshape(4, 4, 3), np.eye(4, dtype=np.uint8)
    flip = A.Compose([A.HorizontalFlip(p=1)])
    flipped = picture[:, ::-1]
    whole = Augmented([(picture, 2, "note")], flip)[-1]
    assert np.array_equal(whole[0], flipped) and whole[1:] == (2, "note")
    assert np.array_equal(Augmented([picture], flip)[0], flipped)
    row = Augmented([{"image": picture, "mask": mask, "name": "a"}], flip)[0]
    assert np.array_equal(row["image"], flipped) and np.array_equal(row["mask"], mask[:, ::-1]) and row["name"] == "a"
    with pytest.raises(IndexError):
        Augmented([picture], flip)[1]


@pytest.mark.parametrize(("mode", "back"), [("L", "L"), ("RGB", "RGB"), ("P", "RGB"), ("1", "RGB"), ("CMYK", "RGB")])
def test_pil_pictures_come_back_as_such(mode: str, back: str) -> None:
    made = Augmented([(Image.new(mode, (5, 3)), 0)], A.HorizontalFlip(p=1))[0][0]
    assert isinstance(made, Image.Image) and (made.mode, made.size) == (back, (5, 3))


def test_a_tensor_is_refused_since_nobody_can_tell_its_channels() -> None:
    with pytest.raises(UsageError, match="PIL image, got Tensor"):
        Augmented([(torch.zeros(3, 8, 8), 0)], noise())[0]
