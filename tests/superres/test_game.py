"""The two games of super-resolution: who moves, on which terms, from which weights, and that they learn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from gantk_superres import game, networks
from gantk_superres.options import SuperresConfig
from gantoolkit import losses
from gantoolkit.engine import Engine, Settings
from gantoolkit.errors import InputError, UsageError
from gantoolkit.features import efficientnet_lite0, perceptual_distance
from gantoolkit.resample import resize
from tests.superres import tiny

SMALL: dict[str, Any] = {"channels": 8, "blocks": 1, "critic_channels": 8, "patch": 32, "batch": 2, "device": "cpu"}


def config(**changes: Any) -> SuperresConfig:
    return SuperresConfig(**(SMALL | changes))


class Same:
    """One batch, again and again."""

    def __init__(self, size: int = 32) -> None:
        waves = torch.arange(size).float().div(3).sin().mul(80).add(128)
        self.hr = (waves[:, None] * waves[None] / 255).clamp(0, 255).byte().expand(2, 3, -1, -1).contiguous()

    def next(self) -> Mapping[str, Any]:
        return {"hr": self.hr}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def engine(played: Any) -> Engine:
    return Engine(played, Same(), Settings(device="cpu", precision="fp32"))


@pytest.mark.parametrize(
    ("arch", "depth"), [("compact", {"blocks": 3}), ("srvgg", {"convs": 3}), ("rrdb", {"blocks": 3})]
)
def test_a_config_builds_its_network(arch: str, depth: dict[str, int]) -> None:
    described = game.network_config(config(arch=arch, blocks=3))
    assert described == {"arch": arch, "scale": 4, "channels": 8, **depth}
    assert networks.build(described)(torch.zeros(1, 3, 5, 4)).shape == (1, 3, 20, 16)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_batches_get_their_low_resolution_side(scale: int) -> None:
    batch = {"hr": torch.randint(0, 256, (2, 3, 36, 24), dtype=torch.uint8)}
    made = game.prepared(config(scale=scale))(batch, torch.Generator())
    assert torch.equal(made["hr"], batch["hr"] / 255)
    assert (made["lr"] - resize(made["hr"], (36 // scale, 24 // scale)).clamp(0, 1)).abs().max() < 1 / 255


def test_degraded_sides_follow_the_generator() -> None:
    prepare = game.prepared(config(degradation="second-order"))
    batch = Same().next()
    one, same, other = (prepare(batch, torch.Generator().manual_seed(seed))["lr"] for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_the_fidelity_game_has_one_player_and_one_term() -> None:
    played = game.fidelity_game(config())
    assert [player.name for player in played.players] == ["generator"]
    assert [term.name for term in played.phases[0].terms] == ["pixel"]
    assert played.player("generator").ema_nimg == config().ema_nimg


def test_the_fidelity_game_learns_and_starts_at_bicubic() -> None:
    played = engine(game.fidelity_game(config(lr=1e-2, fidelity_nimg=100_000)))
    batch = game.prepared(config())(Same().next(), torch.Generator())
    bicubic = networks.build(game.network_config(config())).base(batch["lr"])
    start = losses.charbonnier(torch.nn.functional.pixel_shuffle(bicubic, 4), batch["hr"]).item()
    values = [played.step().losses["generator/pixel"] for _ in range(60)]
    assert values[0] == pytest.approx(start, rel=1e-4)
    assert values[-1] < 0.9 * values[0]


def test_the_adversarial_game_has_the_terms_of_its_config() -> None:
    played = game.adversarial_game(config(penalty_every=4, perceptual_weight=0.7, adversarial_weight=0.02))
    critic, generator = played.phases
    assert {term.name: (term.every, term.fp32) for term in critic.terms} == {
        "adversarial": (1, False), "r1": (4, True), "r2": (4, True),
    }  # fmt: skip
    assert {term.name: term.weight for term in generator.terms} == {
        "pixel": 1.0,
        "perceptual": 0.7,
        "adversarial": 0.02,
    }
    without = game.adversarial_game(config(gamma=0.0)).phases[0]
    assert [term.name for term in without.terms] == ["adversarial"]
    with pytest.raises(UsageError):
        game.adversarial_game(config(loss="no-such-loss"))


@pytest.mark.parametrize("critic", ["patch", "unet"])
@pytest.mark.parametrize("loss", ["rpgan", "hinge"])
def test_the_first_step_reports_what_is_computed_by_hand(
    critic: str, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(game, "SHIFT", 1)  # no offset: the whole patch is compared
    chosen = config(critic=critic, loss=loss, penalty_every=2, gamma=0.5, adversarial_lr=1e-12)
    played = game.adversarial_game(chosen)
    nets = {name: network.eval() for name, network in played.networks().items()}
    batch = game.prepared(chosen)(Same().next(), torch.Generator())
    adversarial = losses.adversarial(loss)
    with torch.no_grad():
        fake = nets["generator"](batch["lr"])
        real_scores, fake_scores = nets["critic"](batch["hr"]), nets["critic"](fake)
        expected = {
            "critic/adversarial": adversarial.critic(real_scores, fake_scores),
            "generator/adversarial": adversarial.generator(real_scores, fake_scores),
            "generator/pixel": losses.charbonnier(fake, batch["hr"]),
            "generator/perceptual": perceptual_distance(fake, batch["hr"], efficientnet_lite0()).mean(),
        }
    expected["critic/r1"] = losses.r1(lambda x: nets["critic"](x).mean(dim=(1, 2, 3)), batch["hr"], 0.5)
    expected["critic/r2"] = losses.r1(lambda x: nets["critic"](x).mean(dim=(1, 2, 3)), fake, 0.5)
    got = engine(played).step().losses
    spectral = critic == "unet"  # its power iteration moves with every pass in training
    for name, value in expected.items():
        if not (spectral and "generator/p" not in name):
            assert got[name] == pytest.approx(value.item(), rel=1e-3, abs=1e-7), name
    assert got.keys() == expected.keys()


def test_both_players_learn() -> None:
    played = engine(game.adversarial_game(config(penalty_every=2)))
    before = {name: [p.detach().clone() for p in net.parameters()] for name, net in played.game.networks().items()}
    for _ in range(4):
        step = played.step()
        assert not step.skipped
    for name, network in played.game.networks().items():
        assert any(not torch.equal(a, b) for a, b in zip(before[name], network.parameters(), strict=True)), name


def test_a_generator_starts_from_a_model(tmp_path: Path) -> None:
    folder = Path(tiny.saved(tmp_path / "model", fidelity=True))
    player = game.generator(config(init=folder), game.Cosine(1e-4, 1e-5, 100))
    state = player.networks["generator"].state_dict()
    for name, value in tiny.state(residual=0.0).items():  # the fidelity weights
        assert torch.equal(state[name], value), name
    plain = Path(tiny.saved(tmp_path / "plain"))
    state = game.generator(config(init=plain), game.Cosine(1e-4, 1e-5, 100)).networks["generator"].state_dict()
    assert torch.equal(state["tail.weight"], tiny.state()["tail.weight"])


def test_a_model_that_does_not_fit_is_no_start(tmp_path: Path) -> None:
    folder = Path(tiny.saved(tmp_path / "model"))
    with pytest.raises(InputError, match="does not fit"):
        game.generator(config(init=folder, channels=16), game.Cosine(1e-4, 1e-5, 100))
    with pytest.raises(UsageError):
        game.generator(config(init=tmp_path / "nowhere"), game.Cosine(1e-4, 1e-5, 100))
