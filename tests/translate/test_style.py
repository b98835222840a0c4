"""The game of style: its terms by hand, its refusals, and that it learns to take a style."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from gantk_translate import games
from gantk_translate.games import style
from gantk_translate.options import TranslateConfig
from gantk_translate.sides import Side
from gantoolkit.engine import Engine, Settings
from gantoolkit.errors import InputError, UsageError
from gantoolkit.features import efficientnet_lite0
from gantoolkit.game import Game
from tests.games import Recorder, differences, relative
from tests.tolerances import TOL

SMALL: dict[str, Any] = {"game": "style", "size": 32, "channels": 8, "blocks": 2, "batch": 2}


def config(**changes: Any) -> TranslateConfig:
    return TranslateConfig(**(SMALL | changes))


def make(chosen: TranslateConfig, channels: int = 3) -> Game:
    torch.manual_seed(0)
    return games.make(chosen, Side(channels=channels), Side(channels=channels))


class Pictures:
    """Two contents and two styles: soft waves, and stripes of other colours."""

    def __init__(self, channels: int = 3) -> None:
        place = torch.arange(32.0)
        waves = (place[:, None] / 5).sin() * (place / 7).cos()
        stripes = (place % 4 < 2).float().expand(32, 32) * 0.8 - 0.6
        hues = torch.tensor([[0.8, 0.1, 0.4], [0.2, 0.6, 0.9]])[:, :channels, None, None]
        self.batch = {"a": waves * hues, "b": stripes * hues.flip(0).sqrt()}

    def next(self) -> Mapping[str, Any]:
        return self.batch

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def engine(game: Game, channels: int = 3, **settings: Any) -> Engine:
    return Engine(game, Pictures(channels), Settings(**settings))


def test_one_player_without_a_critic() -> None:
    game = make(config(style_weight=7.0, identity_weight=2.0))
    assert [player.name for player in game.players] == ["generator"]
    assert {term.name: term.weight for term in game.phases[0].terms} == {"content": 1, "style": 7, "identity": 2}
    assert [term.name for term in make(config(identity_weight=0)).phases[0].terms] == ["content", "style"]


def test_the_distance_of_styles_by_hand() -> None:
    made = torch.tensor([0.0, 2, 0, 2]).view(1, 1, 2, 2)  # mean 1, deviation 1
    wanted = torch.tensor([1.0, 5, 1, 5]).view(1, 1, 2, 2)  # mean 3, deviation 2
    assert style.style_distance(made, wanted).item() == pytest.approx(4 + 1, rel=1e-4)
    assert style.style_distance(made, made.flip(3)).item() == pytest.approx(0, abs=1e-10)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    rows = x.flatten(2)
    return rows.mean(2), (rows.var(2, correction=0) + 1e-5).sqrt()


def test_the_first_step_reports_what_is_computed_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "SHIFT", 1)  # no offset: the whole picture is compared
    game, batch = make(config(lr=1e-12)), Pictures().next()
    generator: Any = game.networks()["generator"]
    with torch.no_grad():
        generator.head.weight.normal_(0, 0.02)
        picture = (generator(batch["a"], batch["b"]) + 1) / 2
        contents, styles = ((batch[side] + 1) / 2 for side in "ab")
        maps = [[x, *efficientnet_lite0().stages(x)] for x in (picture, contents, styles)]
        parts = []
        for made, wanted in zip(maps[0], maps[2], strict=True):
            (m, s), (mw, sw) = moments(made), moments(wanted)
            parts.append(((m - mw) ** 2 + (s - sw) ** 2).mean())
        made, content, wanted = (m[4] for m in maps)  # stride 8, after the picture and three finer maps
        (m, s), (mw, sw) = moments(content), moments(wanted)
        target = (content - m[..., None, None]) / s[..., None, None] * sw[..., None, None] + mw[..., None, None]
        expected = {
            "generator/style": (torch.stack(parts) / torch.tensor(style.VARIANCES)).mean(),
            "generator/content": ((made - target) ** 2).mean() / 42,
            "generator/identity": (generator(batch["a"], batch["a"]) - batch["a"]).abs().mean() / 2,
        }
    assert generator(batch["a"], batch["b"]).abs().max() < 1  # nothing was clipped, which training does not do
    got = engine(game).step().losses
    assert got == pytest.approx({name: value.item() for name, value in expected.items()}, rel=1e-3, abs=1e-6)


def test_it_learns_to_take_a_style() -> None:
    played = engine(make(config(lr=1e-3)))
    losses = [played.step().losses for _ in range(25)]
    start, end = (sum(step["generator/style"] for step in part) for part in (losses[:3], losses[-3:]))
    assert end < 0.8 * start


def test_it_learns_to_leave_its_own_style_alone() -> None:
    played = engine(make(config(lr=1e-3, style_weight=0.0, identity_weight=100.0)))
    losses = [played.step().losses["generator/identity"] for _ in range(15)]
    assert losses[-1] < 0.8 * losses[0]


def test_grey_pictures_have_a_style() -> None:
    played = engine(make(config(), channels=1), channels=1)
    assert not played.step().skipped


def test_micro_batches_have_the_gradient_of_the_batch() -> None:
    made = []
    for parts in (1, 2):
        game = make(config())
        game.players[0].optimizer = Recorder
        played = engine(game, accumulate=parts)
        played.step(), played.step()  # the first moves the head, which starts at 0 and hides the rest
        made.append(torch.cat([g.flatten() for g in played.optimizers["generator"].seen[0]]))  # type: ignore[attr-defined]
        assert not played.warnings()
    assert relative(made[1], made[0]) < TOL["accumulated gradient, relative"]


def test_a_resumed_run_ends_bit_for_bit_the_same() -> None:
    left_alone, killed = (engine(make(config())) for _ in range(2))
    for _ in range(3):
        left_alone.step()
    killed.step()
    state = copy.deepcopy(killed.state_dict())
    torch.manual_seed(99)
    resumed = engine(games.make(config(), Side(), Side()), seed=5)
    resumed.load_state_dict(state)
    for _ in range(2):
        resumed.step()
    assert differences(resumed.state_dict(), left_alone.state_dict()) == []


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (Side(channels=1), Side()),
        (Side(channels=4), Side(channels=4)),
        (Side("mask", 1, classes=(0, 1, 2)), Side("mask", 1, classes=(0, 1, 2))),
    ],
)
def test_sides_without_a_style_are_refused(source: Side, target: Side) -> None:
    with pytest.raises(InputError, match="the game style compares pictures"):
        games.make(config(), source, target)


@pytest.mark.parametrize(("what", "value"), [("generator", "resnet"), ("critic", "patch")])
def test_networks_of_other_games_are_refused(what: str, value: str) -> None:
    with pytest.raises(UsageError, match="the game style has its own"):
        make(config(**{what: value}))


def test_a_size_that_the_generator_cannot_halve_is_refused() -> None:
    with pytest.raises(UsageError, match="does not suit the generator adain"):
        make(config(size=36, blocks=3))
