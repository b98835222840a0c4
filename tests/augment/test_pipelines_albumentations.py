"""Models as albumentations transforms: the same picture for the same seed, in files, replays and worker processes."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations as A

import gantoolkit
from gantk_augment import Augmented, GANAugment, ModelTransform
from gantk_augment.pipelines.making import derive, like, plain
from gantoolkit.errors import UsageError
from gantoolkit.resample import resize_array

MODEL = "fashion-32"
GREY = np.full((32, 32, 1), 7, np.uint8)


def compose(seed: int = 0, **arguments: Any) -> A.Compose:
    return A.Compose([GANAugment(MODEL, **{"p": 1.0, **arguments}), A.HorizontalFlip(p=0.5)], seed=seed)


@pytest.fixture(scope="module")
def sampler() -> Any:
    return gantoolkit.load("generate", MODEL, device="cpu")


# ---- what it makes ----


def test_the_picture_is_the_models_of_that_class_and_seed(sampler: Any) -> None:
    replay = A.ReplayCompose([GANAugment(MODEL, p=1)])
    done = replay(image=GREY, label="sneaker")
    drawn = done["replay"]["transforms"][0]["params"]
    assert drawn["label"] == "sneaker" and 0 <= drawn["seed"] < 2**63
    assert np.array_equal(done["image"], sampler(1, seed=drawn["seed"], label="sneaker")[0])
    assert np.array_equal(A.ReplayCompose.replay(done["replay"], image=GREY)["image"], done["image"])
    assert not np.array_equal(replay(image=GREY, label="sneaker")["image"], done["image"])


@pytest.mark.parametrize(("given", "name"), [(7, "sneaker"), (np.int64(7), "sneaker"), (torch.tensor(7), "sneaker")])
def test_a_number_is_a_class(given: Any, name: str) -> None:
    assert np.array_equal(compose()(image=GREY, label=given)["image"], compose()(image=GREY, label=name)["image"])


def test_the_datas_own_numbers_and_key_can_differ() -> None:
    own = compose(classes=["bag", "sneaker"], label_key="what")
    assert np.array_equal(own(image=GREY, what=1)["image"], compose()(image=GREY, label="sneaker")["image"])
    with pytest.raises(UsageError, match="0 to 1"):
        own(image=GREY, what=2)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.sampled_from([(), (1,), (3,), (4,)]),
    st.sampled_from([np.uint8, np.uint16, np.float32, np.float64]),
    st.sampled_from([1, 3]),
)
def test_the_new_picture_has_the_old_ones_shape_and_type(size: Any, channels: Any, dtype: Any, bands: int) -> None:
    top = {"u": np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1, "f": 1}[np.dtype(dtype).kind]
    made = like(np.full((8, 8, bands), 255, np.uint8), np.zeros((*size, *channels), dtype))
    assert made.shape == (*size, *channels) and made.dtype == dtype and (made == top).all()


def test_it_happens_as_often_as_it_should_and_only_then() -> None:
    augment = A.Compose([GANAugment(MODEL, p=0.3, variety=16)], seed=1)
    changed = [not np.array_equal(augment(image=GREY, label=0)["image"], GREY) for _ in range(1000)]
    assert 0.3 - 0.06 < np.mean(changed) < 0.3 + 0.06  # four standard deviations


def test_variety_bounds_how_many_there_are_and_changes_none_of_them(sampler: Any) -> None:
    augment = GANAugment(MODEL, p=1, variety=20)
    made = {augment(image=GREY, label="bag")["image"].tobytes() for _ in range(300)}
    assert made == {picture.tobytes() for picture in sampler(20, seed=0, label="bag")}


# ---- files, pickles, random numbers ----


@pytest.mark.parametrize("format", ["json", "yaml"])
def test_it_is_written_to_files_and_read_back(tmp_path: Path, format: str) -> None:
    before = compose(classes=["bag", "sneaker"], variety=32, p=0.9)
    before.transforms.append(ModelTransform(options={"detail": 1}, p=0.1))
    A.save(before, tmp_path / "recipe", data_format=format)
    assert "gantk_augment.GANAugment" in (tmp_path / "recipe").read_text()
    after = A.load(tmp_path / "recipe", data_format=format)
    assert A.to_dict(after) == A.to_dict(before)
    for each in (before, after):
        each.transforms.pop()
        each.set_random_seed(3)
    assert np.array_equal(before(image=GREY, label=1)["image"], after(image=GREY, label=1)["image"])


def test_only_words_are_pickled() -> None:
    augment = compose(seed=3)
    first = augment(image=GREY, label=1)["image"]
    assert len(pickle.dumps(augment)) < 50_000  # the states of its random numbers; the weights are megabytes
    again = pickle.loads(pickle.dumps(compose(seed=3)))
    assert np.array_equal(again(image=GREY, label=1)["image"], first)


def test_the_model_is_not_looked_for_before_it_is_needed() -> None:
    missing = GANAugment("no-such-model", p=1)
    with pytest.raises(UsageError, match="no-such-model"):
        missing(image=GREY, label=0)


def test_a_newer_model_under_the_same_name_is_noticed(tmp_path: Path) -> None:
    from gantoolkit.model import Model, find

    shipped = find("generate", MODEL)
    folder = shipped.save(tmp_path / "model")
    call = A.Compose([GANAugment(folder, p=1)], seed=0)
    first = call(image=GREY, label=0)["image"]
    weights = {"model": {name: value * 0 for name, value in shipped.weights["model"].items()}}
    Model("generate", shipped.config, weights).save(folder, force=True)
    os.utime(folder / "config.json", ns=(1, 1))  # clocks are coarse
    call.set_random_seed(0)
    assert call(image=GREY, label=0)["image"].std() == 0 < first.std()


def test_it_neither_uses_nor_moves_any_other_random_numbers() -> None:
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    first = compose()(image=GREY, label=1)["image"]
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    random.seed(6), np.random.seed(6), torch.manual_seed(6)
    assert np.array_equal(compose()(image=GREY, label=1)["image"], first)


class Greys(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return GREY, index


def test_worker_processes_make_other_pictures_and_the_same_for_a_seed() -> None:
    def epoch(workers: int) -> list[bytes]:
        data = Augmented(Greys(), compose(), seed=4)
        loader = torch.utils.data.DataLoader(data, batch_size=2, num_workers=workers)
        return [picture.numpy().tobytes() for pictures, _ in loader for picture in pictures]

    assert len(set(epoch(2))) == 6 and epoch(2) == epoch(0)


# ---- mistakes ----


@pytest.mark.parametrize("more", [{"mask": GREY[..., 0]}, {"masks": [GREY[..., 0]]}])
def test_targets_that_would_not_fit_are_refused(more: Any) -> None:
    with pytest.raises(UsageError, match="does not fit the mask"):
        compose()(image=GREY, label=0, **more)
    assert A.Compose([GANAugment(MODEL, p=0)])(image=GREY, label=0, **more)["image"] is not None


def test_boxes_are_refused() -> None:
    boxed = A.Compose([GANAugment(MODEL, p=1)], bbox_params=A.BboxParams("pascal_voc", label_fields=["of"]))
    with pytest.raises(UsageError, match="bboxes"):
        boxed(image=GREY, label=0, bboxes=[(1, 1, 9, 9)], of=[0])
    assert boxed(image=GREY, label=0, bboxes=[], of=[])["image"].std() > 0


@pytest.mark.parametrize(
    ("data", "message"),
    [({}, "label='?=|'label'"), ({"label": "hat"}, "unknown class"), ({"label": [1, 2]}, "a name or a number")],
)
def test_a_label_that_says_nothing_is_refused(data: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compose()(image=GREY, **data)


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(UsageError, match="1, 3 or 4 channels"):
        like(GREY, np.zeros((4, 4, 2), np.uint8))
    with pytest.raises(ValueError, match="less than or equal to 1"):
        GANAugment(MODEL, p=2)


def test_seeds_and_labels_are_read_as_they_are_meant() -> None:
    seeds = {derive(0), derive(0, 0), derive(0, 1), derive(0, 1, 0), derive(1, 0), derive(0, "1", "0", "0")}
    assert len(seeds) == 6 and all(0 <= seed < 2**63 for seed in seeds)
    assert [plain(value) for value in ("7", 7, 7.0, np.str_("x"), np.array([3]))] == ["7", 7, 7, "x", 3]


# ---- other tasks' models ----


@pytest.mark.parametrize(("shape", "dtype"), [((9, 12, 3), np.uint8), ((9, 12), np.uint8), ((9, 12, 3), np.float32)])
def test_a_superres_model_is_a_transform(shape: Any, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    picture = rng.random(shape, np.float32) if dtype == np.float32 else rng.integers(0, 256, shape, dtype)
    large = gantoolkit.load("superres", device="cpu", precision="fp32")(picture)
    options = {"precision": "fp32"}
    made = ModelTransform(fit="enlarged", options=options, p=1)(image=picture)["image"]
    assert np.array_equal(made, large) and made.shape[:2] == (36, 48)
    same = ModelTransform(options=options, p=1)(image=picture)["image"]
    assert same.shape == picture.shape and same.dtype == dtype
    assert np.array_equal(same, resize_array(np.atleast_3d(large), (9, 12)).reshape(shape))


def test_what_would_not_fit_the_enlarged_picture_is_refused() -> None:
    picture, mask = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8)
    with pytest.raises(UsageError, match='fit="same"'):
        ModelTransform(fit="enlarged", p=1)(image=picture, mask=mask)
    assert ModelTransform(p=1)(image=picture, mask=mask)["mask"].shape == (8, 8)
