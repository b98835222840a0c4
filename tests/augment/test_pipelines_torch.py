"""Generated pictures as torch data sets and as a kornia augmentation, and the names under which all of it is found."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from kornia.augmentation import AugmentationSequential, RandomHorizontalFlip
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader

import gantk_augment
import gantoolkit
from gantk_augment import GANAugmentBatch, SyntheticPictures
from gantk_augment.pipelines.making import derive, make
from gantoolkit.errors import InputError, UsageError

MODEL = "fashion-32"


@pytest.fixture(scope="module")
def sampler() -> Any:
    return gantoolkit.load("generate", MODEL, device="cpu")


# ---- names ----


def test_every_name_is_found_where_it_is_said_to_be() -> None:
    assert set(gantk_augment.__all__) == set(gantk_augment._WHERE)
    assert [getattr(gantk_augment, name).__name__ for name in gantk_augment.__all__] == gantk_augment.__all__
    with pytest.raises(AttributeError, match="no_such"):
        _ = gantk_augment.no_such


# ---- data sets ----


def test_item_i_is_a_function_of_the_seed_and_i(sampler: Any) -> None:
    data = SyntheticPictures(MODEL, 3, seed=5, classes=["sneaker", "bag"])
    assert len(data) == 6 and [label for _, label in (data[i] for i in range(6))] == [0, 0, 0, 1, 1, 1]
    picture, label = data[4]
    (known,) = sampler(1, seed=derive(5, 4), label="bag")
    assert picture.dtype == torch.float32 and picture.shape == (1, 32, 32) and label == 1
    assert np.array_equal(picture[0].numpy() * 255, known[..., 0])
    assert torch.equal(data[-2][0], picture)
    assert not torch.equal(SyntheticPictures(MODEL, 3, seed=6, classes=["sneaker", "bag"])[4][0], picture)
    with pytest.raises(IndexError):
        data[6]


def test_beside_real_pictures_in_workers() -> None:
    made = SyntheticPictures(MODEL, {"bag": 5, "sneaker": 2}, classes=["sneaker", "coat", "bag"])
    both = ConcatDataset([[(torch.zeros(1, 32, 32), 1)] * 4, made])  # type: ignore[list-item]

    def loaded(data: Any, workers: int) -> tuple[torch.Tensor, torch.Tensor]:
        pictures, labels = zip(*DataLoader(data, batch_size=3, num_workers=workers), strict=True)
        return torch.cat(pictures), torch.cat(labels)

    pictures, labels = loaded(both, 2)
    assert labels.tolist() == [1] * 4 + [0] * 2 + [2] * 5 and len(torch.unique(pictures[4:], dim=0)) == 7
    assert torch.equal(loaded(both, 0)[0], pictures) and torch.equal(loaded(made, 0)[0], pictures[4:])


def test_it_pickles_as_words_and_takes_a_transform() -> None:
    data = SyntheticPictures(MODEL, 2, classes=["bag"], transform=np.ndarray.mean)
    first = data[1]
    assert isinstance(first[0], np.floating)
    assert len(pickle.dumps(data)) < 1000 and pickle.loads(pickle.dumps(data))[1] == first


def test_classes_that_are_not_there_are_named() -> None:
    with pytest.raises(UsageError, match="'hat', expected bag"):
        SyntheticPictures(MODEL, {"hat": 2}, classes=["bag"])
    with pytest.raises(UsageError, match="unknown class"):
        SyntheticPictures(MODEL, 2, classes=["hat"])[0]
    with pytest.raises(InputError, match="makes no labelled pictures"):
        SyntheticPictures("photo-x4", 2, classes=["bag"])[0]


# ---- kornia ----

X, Y = torch.rand(40, 1, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 10


def batch(augment: nn.Module, gan: GANAugmentBatch, seed: int = 0, x: torch.Tensor = X) -> torch.Tensor:
    torch.manual_seed(seed)
    gan.of(Y[: len(x)])
    return augment(x)


def test_some_pictures_of_a_batch_are_replaced_by_the_models_of_their_class(sampler: Any) -> None:
    gan = GANAugmentBatch(MODEL, p=0.5)
    made = batch(gan, gan)
    changed = (made != X).flatten(1).any(1)
    assert 8 <= changed.sum() <= 32 and torch.equal(made[~changed], X[~changed])  # 20 ± four standard deviations
    row = int(changed.nonzero()[-1])
    (known,) = sampler(1, seed=int(gan._params["seeds"][row]), label=int(Y[row]))
    assert np.allclose(made[row, 0].numpy() * 255, known[..., 0], atol=1e-4)
    assert torch.equal(batch(gan, gan), made) and not torch.equal(batch(gan, gan, seed=1), made)
    assert torch.equal(gan(X, params=gan._params), batch(gan, gan, seed=1))


@pytest.mark.parametrize("same", [False, True, None])
def test_it_works_in_kornias_container_and_in_sequential(same: bool | None) -> None:
    gan = GANAugmentBatch(MODEL, p=0.5)
    container = AugmentationSequential(gan, RandomHorizontalFlip(p=1), data_keys=["input"], same_on_batch=same)
    sequential = nn.Sequential(gan, RandomHorizontalFlip(p=1))
    made = batch(container, gan)
    assert torch.equal(batch(container, gan), made)
    assert torch.equal(container(X, params=container._params), made)
    changed = (made != X.flip(3)).flatten(1).any(1)
    assert 8 <= changed.sum() <= 32  # each by itself, also where the container draws once a batch
    assert batch(sequential, gan).shape == X.shape


@pytest.mark.parametrize(("channels", "side"), [(3, 32), (1, 28), (3, 48)])
def test_other_sizes_and_channels(channels: int, side: int, sampler: Any) -> None:
    gan = GANAugmentBatch(MODEL, p=1)
    made = batch(gan, gan, x=torch.rand(3, channels, side, side, dtype=torch.float64))
    assert made.shape == (3, channels, side, side) and made.dtype == torch.float64
    assert made.min() >= 0 and made.max() <= 1 and torch.equal(made[:, :1].expand_as(made), made)
    (known,) = sampler(1, seed=int(gan._params["seeds"][0]), label=0)
    assert abs(made[0].mean() - known.mean() / 255) < 0.01


def test_gradients_flow_where_pictures_stay() -> None:
    gan, x = GANAugmentBatch(MODEL, p=0.5), X.clone().requires_grad_()
    made = batch(gan, gan, x=x)
    made.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad.flatten(1).any(1), ~(made != X).flatten(1).any(1))
    assert not list(gan.parameters())


def test_labels_are_of_one_batch_and_fit_it() -> None:
    gan = GANAugmentBatch(MODEL, p=1, classes=["bag", "coat"])
    with pytest.raises(UsageError, match=r"augment\.of\(labels\)"):
        gan(X)
    assert gan.of(["coat", "bag"])(X[:2]).shape == (2, 1, 32, 32)
    with pytest.raises(UsageError, match="2 labels"):
        gan(X[:2])
    with pytest.raises(UsageError, match="3 labels, got 2"):
        gan.of([0, 1])(X[:3])
    with pytest.raises(UsageError, match="0 to 1"):
        gan.of(torch.tensor([2]))


def test_masks_are_refused() -> None:
    gan = GANAugmentBatch(MODEL, p=1)
    both = AugmentationSequential(gan, data_keys=["input", "mask"])
    gan.of(Y[:2])
    with pytest.raises(UsageError, match="do not fit masks"):
        both(X[:2], X[:2])


# ---- a model that refuses ----


class Picky:
    """Stands for a `Fitted` whose filters let through one seed in three."""

    name, asked = "picky", 0

    def pictures(self, labels: Any, seeds: Any) -> Any:
        self.asked += 1
        row = [np.full((1, 1, 1), seed % 251, np.uint8) for seed in seeds]
        return np.stack(row), [
            {} if seed % 3 == 0 and label != "never" else None for label, seed in zip(labels, seeds, strict=True)
        ]


def test_what_the_filters_refuse_is_asked_for_again_and_depends_on_its_own_seed() -> None:
    model: Any = Picky()
    made = make(model, ["a", "b", "c"], [9, 2, 4])
    assert made[0].item() == 9 and model.asked > 1
    assert [picture.item() for picture in make(model, ["c", "a"], [4, 9])] == [made[2].item(), 9]
    assert make(model, [], []) == []
    with pytest.raises(InputError, match="'never'"):
        make(model, ["a", "never"], [9, 2])
