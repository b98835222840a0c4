"""pix2pix's game: its terms are the paper's formulas, each player moves alone, and it goes on bit by bit."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from gantk_translate import games
from gantk_translate.options import TranslateConfig
from gantk_translate.sides import Side
from gantoolkit import checkpoint
from gantoolkit.errors import UsageError
from tests.games import differences
from tests.translate import playing


def test_the_game_is_the_papers() -> None:
    chosen = playing.config("pix2pix")
    game = playing.make(chosen)
    assert {player.name: list(player.networks) for player in game.players} == {
        "critic": ["critic"], "generator": ["generator"],
    }  # fmt: skip
    critic, generator = game.phases
    assert {term.name: term.weight for term in critic.terms} == {"adversarial": 0.5}
    assert {term.name: term.weight for term in generator.terms} == {"adversarial": 1.0, "pixel": 100.0}
    assert all(player.betas == (0.5, 0.999) for player in game.players)
    assert chosen.loss == "nonsaturating" and TranslateConfig(game="pix2pix").batch == 1


def test_weights_follow_the_config() -> None:
    critic, generator = playing.make(
        playing.config("pix2pix", loss="lsgan", adversarial_weight=3, pixel_weight=0)
    ).phases
    # least squares are halved by definition (Mao et al. 2017, eq. 9): the paper's halves are the critic's alone
    assert [term.weight for term in critic.terms] == [3.0]
    assert {term.name: term.weight for term in generator.terms} == {"adversarial": 6.0}


@pytest.mark.parametrize("planes", [(3, 3), (1, 4)])
@pytest.mark.parametrize("loss", ["nonsaturating", "rpgan"])
def test_the_first_step_reports_what_is_computed_by_hand(planes: tuple[int, int], loss: str) -> None:
    chosen = playing.config("pix2pix", dropout=0.0, lr=1e-12, loss=loss)
    game, batch = playing.make(chosen, planes), playing.first_batch(chosen, planes)
    nets = {name: copy.deepcopy(net).train() for name, net in game.networks().items()}
    with torch.no_grad():
        fake = nets["generator"](batch["a"])
        (real_scores,), (fake_scores,) = (nets["critic"](torch.cat([batch["a"], x], 1)) for x in (batch["b"], fake))
        right, wrong = real_scores.sigmoid(), fake_scores.sigmoid()
        if loss == "nonsaturating":
            critic = -right.log().mean() - (1 - wrong).log().mean()  # eq. 1
            answer = -wrong.log().mean()  # section 3.3
        else:
            critic = -(real_scores - fake_scores).sigmoid().log().mean()
            answer = -(fake_scores - real_scores).sigmoid().log().mean()
        pixel = (fake - batch["b"]).abs().mean()  # eq. 3
    got = playing.engine_of(game, chosen, planes).step().losses
    expected = {"critic/adversarial": critic, "generator/adversarial": answer, "generator/pixel": pixel}
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name] == pytest.approx(value.item(), rel=1e-5), name


def test_the_critic_sees_the_source() -> None:
    chosen = playing.config("pix2pix", dropout=0.0, norm="instance")
    game, batch = playing.make(chosen, (1, 3)), playing.first_batch(chosen, (1, 3))
    critic = game.networks()["critic"]
    before, after = (critic(torch.cat([a, batch["b"]], 1))[0] for a in (batch["a"], batch["a"].flip(2)))
    assert (before - after).abs().max() > 1e-3


@pytest.mark.parametrize("phase", ["critic", "generator"])
def test_only_the_moving_players_network_moves(phase: str) -> None:
    chosen = playing.config("pix2pix")
    moved = playing.moved(playing.make(chosen), phase, chosen)
    assert all(moved.pop(phase))
    assert not any(parameter for network in moved.values() for parameter in network)


def test_the_generator_runs_once_a_step() -> None:
    chosen = playing.config("pix2pix")
    game = playing.make(chosen)
    engine, rows = playing.engine_of(game, chosen), []
    game.networks()["generator"].register_forward_hook(lambda net, given, made: rows.append(len(made)))
    engine.step()
    engine.step()
    assert rows == [4, 4]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_it_goes_on_bit_by_bit(tmp_path, accumulate: int) -> None:
    chosen = playing.config("pix2pix")  # batch statistics and dropout

    def fresh(seed: int):
        return playing.engine_of(playing.make(chosen, seed=seed), chosen, accumulate=accumulate)

    engine = fresh(0)
    for _ in range(2):
        engine.step()
    saved = checkpoint.save(engine.state_dict(), tmp_path / "c")
    reports = [engine.step() for _ in range(2)]
    np.random.seed(5)
    other = fresh(1)
    other.step()
    other.load_state_dict(checkpoint.load(saved))
    assert [other.step() for _ in range(2)] == reports
    assert differences(other.state_dict(), engine.state_dict()) == []


def test_micro_batches_give_the_full_batchs_gradient() -> None:
    playing.same_moves(playing.played("pix2pix"), playing.played("pix2pix", accumulate=2))


def test_batch_statistics_are_warned_of() -> None:
    chosen = playing.config("pix2pix")
    text = " ".join(playing.engine_of(playing.make(chosen), chosen, accumulate=2).warnings())
    assert "network generator normalises over the batch" in text and "network generator drops out" in text


@pytest.mark.parametrize("game", ["pix2pix", "cyclegan"])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"generator": "unet", "size": 48, "blocks": 5}, ["a multiple of 32", "got 48", "--size 64", "--blocks 4"]),
        ({"generator": "unet", "size": 128, "blocks": 8}, ["a multiple of 256", "--size 256 or --blocks 7"]),
        ({"generator": "unet", "size": 33, "blocks": 1}, ["a multiple of 2", "--size 34"]),
        ({"generator": "resnet", "size": 34}, ["a multiple of 4", "--size 36"]),
        ({"generator": "adain", "blocks": 3}, ["is for the game style", "--generator resnet"]),
        ({"critic": "none", "critic_channels": 32, "critic_layers": 3}, ["is for the game style", "--critic patch"]),
        ({"size": 16, "critic_layers": 3}, ["at least 24", "got 16", "--critic-layers 1"]),
    ],
)
def test_networks_that_do_not_fit_are_said(game: str, changes: dict, words: list[str]) -> None:
    chosen = playing.config(game, **changes)
    with pytest.raises(UsageError) as error:
        games.make(chosen, Side(), Side())
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("game", ["pix2pix", "cyclegan"])
def test_the_smallest_size_plays(game: str) -> None:
    chosen = playing.config(game, size=8, batch=1)
    engine = playing.Engine(playing.make(chosen), playing.Batches(playing.Pictures(size=8), 1), playing.Settings())
    assert engine.step().skipped == []


def test_an_unknown_loss_is_said() -> None:
    with pytest.raises(UsageError, match="unknown adversarial loss"):
        playing.make(playing.config("pix2pix", loss="lsgen"))
