"""Scores of text to image: known answers, controls at chance, and a whole evaluation of an untrained model."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gantk_text2image import attributes, evaluate, figures, game, matcher
from gantk_text2image.data import Data
from gantk_text2image.figures import Scored
from gantk_text2image.options import EvalOptions, Text2ImageConfig
from gantk_text2image.recipes import shapes
from gantk_text2image.recipes.shapes import Group, Scene
from gantoolkit.errors import GantkError, InputError, UsageError
from gantoolkit.metrics import MetricCard
from gantoolkit.model import Model
from gantoolkit.testing import RecordingConsole
from tests.text2image import data_sets

TINY: dict[str, Any] = {
    "size": 32, "channels": 8, "critic_channels": 8, "latent": 4, "text_width": 8, "text_layers": 0, "tokens": 8,
    "vocabulary": 300, "device": "cpu", "precision": "fp32", "held_out": 0.4, "score_pictures": 8,
}  # fmt: skip


def test_while_training_gives_kid_first_and_depends_on_nothing_random(tmp_path: Path) -> None:
    config = Text2ImageConfig(**TINY)
    dataset = Data(config, data_sets.with_jsonl(tmp_path / "set", 24))
    networks = copy.deepcopy(game.make(config, dataset).networks())
    with torch.no_grad():
        first, second = (evaluate.while_training(config, dataset, networks) for _ in range(2))
    assert [card.name for card in first] == ["KID"]  # the attributes are not those of shapes
    assert first == second
    assert first[0].n == min(8, len(dataset.test)) and "held out" in str(first[0].protocol["real"])


# ---- attributes ----


def drawn(scenes: list[Scene]) -> np.ndarray:
    return np.stack([shapes.render(scene, np.random.default_rng(i), 64) for i, scene in enumerate(scenes)])


SCENES = [
    Scene(Group("red", "circle")),
    Scene(Group("blue", "square", 2)),
    Scene(Group("green", "circle"), "above", Group("purple", "square")),
    Scene(Group("yellow", "square"), "left of", Group("red", "circle")),
]


def test_the_exact_reader_says_all_of_real_pictures_and_less_of_others() -> None:
    said = [scene.attributes() for scene in SCENES]
    assert attributes.are_shapes(said)
    assert not attributes.are_shapes([{"colour": "red"}])
    assert not attributes.are_shapes([{**said[0], "style": "flat"}])
    pictures = drawn(SCENES)
    right = {card.name: card for card in attributes.cards(attributes.Exact()(said, pictures), {})}
    assert {card.value for card in right.values()} == {1.0}
    assert right["attribute colour"].n == 4 and right["attribute relation"].n == 2  # two scenes have one
    wrong = {card.name: card for card in attributes.cards(attributes.Exact()(said[1:] + said[:1], pictures), {})}
    assert wrong["attribute all"].value == 0 and wrong["attribute colour"].value < 0.5


def test_classifiers_learn_the_attributes_and_leave_out_what_they_never_saw() -> None:
    said = [row["attributes"] for row in data_sets.rows(48)]
    pictures = np.stack([data_sets.picture(row["colour"], row["place"], 12) for row in said])
    reader = attributes.Fitted(said, pictures, nimg=2_000)
    asked = [*said[:12], {"colour": "mauve", "place": "left"}]
    seen = reader(asked, np.concatenate([pictures[:12], pictures[:1]]))
    assert np.isnan(seen["colour"][12]) and not np.isnan(seen["place"][12])
    cards = {card.name: card for card in attributes.cards(seen, reader.protocol, kind="real pictures")}
    assert cards["attribute colour, real pictures"].value > 0.7 and cards["attribute colour, real pictures"].n == 12


def test_large_pictures_become_means_of_blocks() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), np.uint8)
    small = attributes.smaller(pictures)
    assert small.shape == (2, 64, 64, 3)
    assert small[1, 3, 5, 2] == round(pictures[1, 6:8, 10:12, 2].mean())
    assert attributes.smaller(small) is small


@pytest.mark.parametrize(("values", "mean"), [([0.0, 1.0, 1.0, 0.0], 0.5), ([1.0, 1.0], 1.0)])
def test_a_share_has_its_mean_within_its_interval(values: list[float], mean: float) -> None:
    card = attributes.share("R@1", np.array(values), {})
    assert card.value == mean and card.interval is not None and 0 <= card.interval[0] <= mean <= card.interval[1] <= 1


# ---- what is scored ----


def test_captions_that_pictures_share_are_one_group_and_rows_come_again_with_other_captions() -> None:
    said = [["a dog", "dog"], ["a cat", "..."], ["dog", "hound"], ["!"]]
    scored = Scored.of(said, [{}] * 4, range(4), 5, seed=0)
    assert scored.captions == ["a dog", "dog", "a cat", "hound"]  # what has no words is left out
    assert scored.groups.tolist() == [0, 0, 1, 0]
    assert set(scored.rows.tolist()) == {0, 1, 2} and len(scored.prompts) == 5
    assert [scored.captions[i] for i in scored.targets] == scored.prompts
    assert all(text in said[row] for row, text in zip(scored.rows, scored.prompts, strict=True))
    assert scored.first().tolist() == [0, 1, 2]
    assert scored.seed(10, 2, 0) == 12 and scored.seed(10, 2, 1) == 17
    with pytest.raises(InputError, match="no caption"):
        Scored.of([["?"]], [{}], [0], 1, 0)


def test_shapes_of_equal_attributes_are_one_group() -> None:
    said = [scene.attributes() for scene in (SCENES[0], SCENES[0], SCENES[1])]
    assert Scored.of([["a"], ["b"], ["c"]], said, range(3), 3, 0).groups.tolist() == [0, 0, 2]


def test_equal_pictures_have_no_distance_and_the_table_shows_controls() -> None:
    pictures = drawn(SCENES[:2])
    assert figures.distances(pictures, pictures) == pytest.approx(0, abs=1e-6)
    assert figures.distances(pictures[:1], pictures[1:])[0] > 0.01
    cards = [MetricCard("R@1", 0.5), MetricCard(f"R@1, {figures.CONTROL}", 0.1), MetricCard("KID", 3)]
    head, row = figures.table(cards)
    assert row.split() == ["R@1", "0.500", "0.100"] and head.split()[0] == "made"


# ---- the whole ----


@pytest.fixture
def untrained(tmp_path: Path) -> tuple[Path, Path]:
    """(a folder of data, the model that a game starts from)."""
    folder = data_sets.with_jsonl(tmp_path / "set", 24)
    config = Text2ImageConfig(**TINY)
    dataset = Data(config, folder)
    networks = game.make(config, dataset).networks()
    model = game.model(config, dataset, {name: network.state_dict() for name, network in networks.items()})
    return folder, model.save(tmp_path / "model")


def test_an_untrained_model_is_scored_from_data_to_sheet(
    untrained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matcher, "NIMG", 96)
    monkeypatch.setattr(attributes, "NIMG", 256)
    monkeypatch.setattr(figures, "PROMPTS", 2)
    folder, model = untrained
    options = EvalOptions(
        data=folder, model=str(model), number=20, features="pixels", matcher=tmp_path / "matcher",
        save=tmp_path / "cards.json", sheet=tmp_path / "sheet.png",
    )  # fmt: skip
    console = RecordingConsole()
    assert evaluate.evaluate(options, console) == 0
    cards = {row["name"]: row for row in json.loads((tmp_path / "cards.json").read_text())}
    assert [row["card"]["name"] for row in console.results] == list(cards)
    for name in ("R@1", "R@5", "R-precision", "attribute colour", "attribute place"):
        assert {name, f"{name}, shuffled captions", f"{name}, real pictures"} <= set(cards)
    assert {"Fréchet", "KID", "memorised", "diversity per prompt"} <= set(cards)
    assert cards["R@1"]["protocol"]["the generator's loss has seen that"] == "yes"
    assert cards["R@1"]["n"] == 20 and cards["R@1"]["value"] <= 0.7
    assert (tmp_path / "sheet.png").exists() and (tmp_path / "matcher" / "config.json").exists()

    monkeypatch.setattr(matcher, "fit", None)  # the kept matcher is taken
    again = options.model_copy(update={"save": None, "sheet": None})
    second = RecordingConsole()
    evaluate.evaluate(again, second)
    assert second.results == console.results


def test_the_matcher_is_never_fitted_on_scored_pictures(
    untrained: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matcher, "NIMG", 12)
    folder, model = untrained
    data = evaluate._Read(folder, 32, Model.load(model).config)
    rows, rest = data.part("test")
    assert rows and rest and not set(rows) & set(rest)
    for given in (None, folder):  # the same folder as separate data: what is scored is left out
        options = EvalOptions(data=folder, matcher_data=given, device="cpu")
        aside = evaluate._aside(options, data, rows, rest)
        judge, protocol = evaluate._matcher(options, aside, RecordingConsole())
        scored = {data.pictures[row].tobytes() for row in rows}
        assert not scored & {picture.tobytes() for picture in aside.pictures}
        assert judge.fitted["matcher n"] == protocol["matcher n"] == len(rest)
        assert protocol["the generator's loss has seen that"] == ("yes" if given is None else "no")


def test_bad_input_is_one_line(untrained: tuple[Path, Path], tmp_path: Path) -> None:
    folder, model = untrained
    trained = data_sets.with_jsonl(tmp_path / "all in training", 12, split="train")
    cases: list[tuple[type[GantkError], str, dict[str, Any]]] = [
        (UsageError, "no pictures with captions were named", {"data": None}),
        (InputError, "no captions in the part 'test'", {"data": trained}),
        (UsageError, "none is left to fit the matcher on", {"part": "all"}),
        (UsageError, "expected the name of a file, got a folder", {"save": folder}),
        (InputError, "holds no matcher", {"matcher": model}),
    ]
    for kind, words, changes in cases:
        usual: dict[str, Any] = {"data": folder, "model": str(model), "features": "pixels", "device": "cpu"}
        options = EvalOptions(**(usual | changes))
        with pytest.raises(kind, match=words) as caught:
            evaluate.evaluate(options, RecordingConsole())
        assert "\n" not in str(caught.value)
