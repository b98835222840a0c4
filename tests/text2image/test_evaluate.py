"""Scores of text to image: known answers, controls at chance, and a whole evaluation of an untrained model."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gantk_text2image import attributes, evaluate, game
from gantk_text2image.data import Data
from gantk_text2image.options import Text2ImageConfig
from gantk_text2image.recipes import shapes
from gantk_text2image.recipes.shapes import Group, Scene
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
    pictures = np.stack([data_sets.picture(*row.values(), size=12) for row in said])
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
