"""From a labelled folder to a fitted generator, and what it makes: rows of their own, filtered, by class and seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gantk_augment import fit
from gantk_augment.filters import Judged
from gantk_augment.fit import TRIES, Fitted, derived, fingerprint
from gantk_augment.options import AugmentConfig
from gantoolkit.cli import call
from gantoolkit.errors import InputError, UsageError
from gantoolkit.model import Model, find
from tests.generate.shapes import draw_shapes

TINY = AugmentConfig(
    channels=16,
    nimg=64,
    batch=8,
    classifier_nimg=256,
    folds=2,
    device="cpu",
    precision="fp32",
    confidence=0,
    outliers=0,
)  # nothing is learned so soon, so that only copies are refused


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Little to try and to score: what is measured here is not good anyway."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "CANDIDATES", 64)
        patch.setattr(fit, "SCORED", 16)
        yield


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_shapes(tmp_path_factory.mktemp("data") / "shapes", 8)


@pytest.fixture(scope="module")
def folder(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "run"
    given = TINY.model_dump(include={"channels", "nimg", "batch", "classifier_nimg", "folds", "confidence", "outliers"})
    options = [f"--set={name}={value}" for name, value in given.items()]
    words = ["train", "augment", str(shapes), "--run", str(run), "--device=cpu", "--precision=fp32", "--threads=1"]
    assert call([*words, "--quiet", *options]) == 0
    return run / "model"


@pytest.fixture(scope="module")
def fitted(folder: Path) -> Fitted:
    return Fitted(Model.load(folder), device="cpu")


class Picky:
    """A filter that lets through pictures whose pixels hash to an even number; of class 1 none."""

    def judge(self, pictures: np.ndarray, labels: np.ndarray) -> Judged:
        even = np.array([hashlib.sha256(p.tobytes()).digest()[0] % 2 == 0 for p in pictures])
        values = np.arange(len(labels)) / 8
        return Judged(values, values, values, {"even": even, "class": labels != 1})


@pytest.fixture
def picky(folder: Path) -> Fitted:
    made = Fitted(Model.load(folder), device="cpu")
    made.filters = Picky()  # type: ignore[assignment]
    return made


# ---- data ----


def test_the_generator_is_configured_by_what_was_set() -> None:
    config = fit.generate_config(TINY.model_copy(update={"mirror": True, "seed": 7, "height": 16, "width": 32}))
    assert (config.channels, config.critic_channels, config.nimg, config.batch) == (16, 16, 64, 8)
    assert (config.mirror, config.seed, config.height, config.width) == (True, 7, 16, 32)
    assert config.augment == "color,translation,cutout" and config.strength is None and config.conditional


def test_pictures_without_classes_are_refused(tmp_path: Path) -> None:
    for index in range(8):
        Image.new("L", (16, 16), index).save(tmp_path / f"{index}.png")
    with pytest.raises(InputError, match=r"no classes.*labels\.csv"):
        fit.dataset(TINY, tmp_path)
    with pytest.raises(UsageError, match="gantk train augment"):
        fit.dataset(TINY, None)


def test_damaged_pictures_are_refused(shapes: Path, tmp_path: Path) -> None:
    copy = draw_shapes(tmp_path / "shapes", 8)
    (copy / "disc" / "000.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"disc/000\.png"):
        fit.dataset(TINY, copy)


def test_a_class_with_one_picture_is_said(tmp_path: Path) -> None:
    folder = draw_shapes(tmp_path / "shapes", 8)
    (folder / "cross").mkdir()
    Image.new("RGB", (16, 16)).save(folder / "cross" / "0.png")
    assert "one picture: cross" in " ".join(fit.dataset(TINY, folder).notes)


# ---- the model ----


def test_a_model_says_how_it_was_made(folder: Path, shapes: Path) -> None:
    model = Model.load(folder)
    assert model.task == "augment" and set(model.weights) == {"model", "classifier", "bank"}
    assert set(model.config) == {"generator", "labels", "filters", "share", "accepted", "mixing", "trained_on"}
    assert set(model.config["accepted"]) == {"copy", "label", "outlier", "all"}
    assert model.config["share"] in [row["share"] for row in model.config["mixing"]]
    for word in ("disc, square", "thumbnails", "gantk eval augment", "classifier_nimg: 256"):
        assert word in model.card


def test_it_knows_its_training_pictures(fitted: Fitted, shapes: Path) -> None:
    assert len(fitted.trained_on) == 16
    picture = np.array(Image.open(shapes / "disc" / "003.png"))
    assert fitted.knows(picture) and fingerprint(picture) in fitted.trained_on
    assert not fitted.knows(picture[::-1])
    assert fingerprint(picture) != fingerprint(picture.reshape(8, 32, 3))


def test_what_was_saved_decides_as_what_was_fitted(shapes: Path, tmp_path: Path) -> None:
    data = fit.dataset(TINY, shapes)
    game = fit.generate().game(fit.generate_config(TINY), data, "adversarial")
    drawn = {"generator": game.networks()["generator"].state_dict()}
    model = fit.model(TINY.model_copy(update={"outliers": 0.3, "duplicates": 0.3}), data, {"adversarial": drawn})
    saved = Model.load(model.save(tmp_path / "model"))
    one, other = (Fitted(each, device="cpu").candidates(64, 0) for each in (model, saved))
    assert np.array_equal(one[0], other[0])
    for name in ("copy", "probability", "distance", "good"):
        assert np.array_equal(getattr(one[1], name), getattr(other[1], name)), name


def test_one_picture_a_class_is_enough_for_a_model(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for index in range(8):
        (tmp_path / f"class {index}").mkdir()
        Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(tmp_path / f"class {index}" / "0.png")
    data = fit.dataset(TINY, tmp_path)
    game = fit.generate().game(fit.generate_config(TINY), data, "adversarial")
    model = fit.model(TINY, data, {"adversarial": {"generator": game.networks()["generator"].state_dict()}})
    assert model.config["share"] in (0, 0.5) and not model.config["mixing"] and "not validated" in model.card


def test_pictures_that_were_held_out_choose_the_share(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TINY.model_copy(update={"held_out": 0.3})
    data = fit.dataset(config, shapes)
    game = fit.generate().game(fit.generate_config(config), data, "adversarial")
    asked: dict[str, Any] = {}

    def chosen(pictures: np.ndarray, labels: np.ndarray, *rest: Any, unseen: bool, **_: Any) -> Any:
        asked.update(pictures=pictures[rest[2][0][0]], labels=labels[rest[2][0][0]], unseen=unseen)
        return 0.25, []

    monkeypatch.setattr(fit.mixing, "choose_share", chosen)
    model = fit.model(config, data, {"adversarial": {"generator": game.networks()["generator"].state_dict()}})
    assert asked["unseen"] and model.config["share"] == 0.25 and len(asked["labels"]) == 16 - len(data)
    assert np.array_equal(asked["labels"], data.held_out.labels)
    assert not {fingerprint(picture) for picture in asked["pictures"]} & set(model.config["trained_on"])


def test_one_picture_held_out_chooses_no_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single one has no standard error: parts of the training pictures choose, and the card says so."""
    shapes = draw_shapes(tmp_path / "shapes", 8)
    for file in (shapes / "disc").iterdir():
        file.rename(file.with_stem(f"disc-{file.stem}"))  # which ones are held out goes by names
    tried = (TINY.model_copy(update={"held_out": percent / 100}) for percent in range(1, 40))
    made = ((config, fit.dataset(config, shapes)) for config in tried)
    config, data = next(pair for pair in made if pair[1].held_out is not None and len(pair[1].held_out) == 1)
    asked: list[bool] = []
    row = {"share": 0.25, "accuracy": 1.0, "gain": 0.1, "error": 0.0}
    monkeypatch.setattr(fit.mixing, "choose_share", lambda *_, unseen, **__: asked.append(unseen) or (0.25, [row]))
    game = fit.generate().game(fit.generate_config(config), data, "adversarial")
    model = fit.model(config, data, {"adversarial": {"generator": game.networks()["generator"].state_dict()}})
    assert asked == [False] and "chosen on parts of the training pictures" in model.card


def test_no_samples_that_pass_means_no_share(shapes: Path) -> None:
    config = TINY.model_copy(update={"confidence": 0.999999})
    data = fit.dataset(config, shapes)
    game = fit.generate().game(fit.generate_config(config), data, "adversarial")
    model = fit.model(config, data, {"adversarial": {"generator": game.networks()["generator"].state_dict()}})
    assert model.config["accepted"]["all"] == 0 and model.config["share"] == 0
    made, parameters = Fitted(model, device="cpu").pictures(["disc"], [0])
    assert parameters == [None] and not made.any()


# ---- pictures ----


def test_a_row_depends_on_its_label_and_seed_alone(picky: Fitted) -> None:
    labels = ["disc"] * 64
    seeds = np.random.default_rng(0).integers(0, 2**63 - 1, 64).tolist()
    pictures, parameters = picky.pictures(labels, seeds)
    assert pictures.shape == (64, 16, 16, 3) and pictures.dtype == np.uint8
    attempts = {how["attempts"] for how in parameters if how}
    assert len(attempts) > 3, "some rows should need several tries"
    order = np.random.default_rng(1).permutation(64)
    mixed, others = picky.pictures(labels, [seeds[i] for i in order])
    assert np.array_equal(mixed, pictures[order])
    assert [how and how["seed"] for how in others] == [(p := parameters[i]) and p["seed"] for i in order]
    for i in (0, 5, 63):
        alone, _ = picky.pictures(labels[:1], seeds[i : i + 1])
        assert np.array_equal(alone[0], pictures[i])


def test_rows_of_several_classes_keep_to_themselves_with_real_filters(fitted: Fitted) -> None:
    classes: list[str | int] = ["disc", "square", 1, "0"]
    labels, seeds = classes * 10, list(range(40))
    pictures, parameters = fitted.pictures(labels, seeds)
    order = np.random.default_rng(1).permutation(40)
    mixed, others = fitted.pictures([labels[i] for i in order], [seeds[i] for i in order])
    assert np.array_equal(mixed, pictures[order]) and others == [parameters[i] for i in order]
    how = parameters[0]
    assert how is not None and set(how) == {"seed", "attempts", "probability", "distance", "copy"}
    assert np.array_equal(fitted.pictures(["disc", "disc"], [1, 2])[0][0], fitted.pictures(["disc"], [1])[0][0])
    assert not np.array_equal(fitted.pictures(["square"], [0])[0], pictures[:1])


def test_a_refused_sample_is_tried_again_from_a_seed_of_its_own(picky: Fitted) -> None:
    made, parameters = picky.pictures(["disc"] * 16, range(16))
    for row, how in enumerate(parameters):
        assert how is not None and how["seed"] == derived(row, how["attempts"])
        [again] = picky.sampler(1, seed=how["seed"], label="disc")
        assert np.array_equal(again, made[row])
    assert derived(5, 1) == 5 and len({derived(seed, attempt) for seed in range(9) for attempt in range(1, 21)}) == 180
    assert all(0 <= derived(2**63 - 1, attempt) < 2**63 for attempt in range(1, 9))


def test_rows_without_a_good_sample_are_marked(picky: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, draw = [], picky._drawn

    def counted(numbers: np.ndarray, seeds: Sequence[int]) -> np.ndarray:
        drawn.append(len(seeds))
        return draw(numbers, seeds)

    monkeypatch.setattr(picky, "_drawn", counted)
    made, parameters = picky.pictures(["square", "disc"], [0, 0])
    assert parameters[0] is None and not made[0].any() and parameters[1] is not None and made[1].any()
    assert len(drawn) == TRIES and drawn[-1] == 1


def test_no_rows_are_no_pictures_and_unknown_classes_are_refused(fitted: Fitted) -> None:
    made, parameters = fitted([], [])
    assert made.shape == (0, 16, 16, 3) and parameters == []
    with pytest.raises(UsageError, match="unknown class"):
        fitted(["hexagon"], [0])


# ---- other models ----


def test_a_generate_model_with_classes_will_do() -> None:
    made = Fitted(find("generate", "fashion-32"), device="cpu")
    pictures, parameters = made.pictures(["Sneaker", "Bag"], [3, 4])
    assert made.filters is None and made.share == 0.5 and not made.trained_on and made.channels == 1
    assert pictures.shape == (2, 32, 32, 1) and parameters[1] == {"seed": 4, "attempts": 1}


@pytest.mark.parametrize(("task", "labels"), [("superres", ["a"]), ("generate", []), ("generate", None)])
def test_other_models_are_refused(task: str, labels: Any) -> None:
    model = find("generate", "fashion-32")
    config = {**model.config, "labels": labels} if labels is not None else {}
    with pytest.raises(InputError, match="no labelled pictures"):
        Fitted(replace(model, task=task, config=config))
