"""What options mean together: defaults follow game and generator, and what cannot matter is refused."""

from __future__ import annotations

from typing import Any

import pytest

from gantk_translate.options import GAMES, OF, TranslateConfig
from gantk_translate.task import Translate
from gantoolkit.cli import call
from gantoolkit.errors import UsageError


@pytest.mark.parametrize("game", GAMES)
def test_a_game_written_out_whole_is_the_same_game(game: str) -> None:
    config = TranslateConfig.model_validate({"game": game})
    assert TranslateConfig(**config.model_dump()) == config


@pytest.mark.parametrize(
    ("said", "blocks"),
    [
        ({}, 2),
        ({"game": "pix2pix"}, 8),
        ({"game": "cyclegan"}, 9),
        ({"game": "style"}, 3),
        ({"game": "cyclegan", "generator": "unet"}, 8),
        ({"game": "pix2pix", "generator": "residual"}, 2),
        ({"generator": "resnet", "blocks": 4}, 4),
    ],
)
def test_blocks_follow_the_generator(said: dict[str, Any], blocks: int) -> None:
    assert TranslateConfig(**said).blocks == blocks


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"generator": "unet", "compose": "multiply"}, "--compose multiply has no effect with --generator unet"),
        ({"game": "pix2pix", "levels": 3}, "--levels 3 has no effect with --generator unet"),
        ({"game": "cyclegan", "dropout": 0.2}, "--dropout 0.2 has no effect with --generator resnet"),
        ({"game": "pix2pix", "nce_patches": 64}, "--nce-patches 64 has no effect with --game pix2pix"),
        ({"game": "cut", "perceptual_weight": 1.0}, "--perceptual-weight 1.0 has no effect with --game cut"),
        ({"game": "style", "critic_layers": 2}, "--critic-layers 2 has no effect with --critic none"),
        ({"norm": "batch"}, "--norm batch has no effect with --generator residual"),
        ({"fit": "crop", "jitter": 1.3}, "--jitter 1.3 has no effect with --fit crop"),
    ],
)
def test_what_cannot_matter_is_refused(said: dict[str, Any], line: str) -> None:
    with pytest.raises(UsageError, match=line):
        TranslateConfig(**said)


@pytest.mark.parametrize(
    "said",
    [
        {"generator": "unet", "compose": "none", "attention": False},
        {"game": "cut", "perceptual_weight": 0.0, "pixel_weight": 0},
        {"generator": "residual", "critic": "patch", "norm": "instance"},  # of the critic
        {"fit": "crop", "jitter": 1},
        {"game": "cyclegan", **Translate.presets["medical"]},
    ],
)
def test_what_asks_for_nothing_is_taken(said: dict[str, Any]) -> None:
    assert TranslateConfig(**said)


def test_every_rule_names_options_and_choices_that_there_are() -> None:
    fields = TranslateConfig.model_fields
    for name, choices in OF.items():
        for chooser, having in choices.items():
            assert name in fields and set(having) < set(fields[chooser].annotation.__args__)  # type: ignore[union-attr]


def test_the_command_says_it_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["train", "translate", "nowhere", "--preset", "line-art", "--game", "cyclegan"]) == 2
    error = capsys.readouterr().err
    assert "--compose multiply has no effect with --generator resnet, expected --generator residual" in error
    assert len(error.splitlines()) == 1
