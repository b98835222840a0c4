"""The game of generation: what each preset plays, how often, and that augmentation and resuming are exact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gantk_generate import game, networks
from gantk_generate.options import GenerateConfig
from gantk_generate.presets import PRESETS
from gantoolkit import losses
from gantoolkit.data import Batches
from gantoolkit.engine import Engine, Settings
from gantoolkit.game import Game
from tests.games import differences

SIZE = 16


class Pictures:
    """Random pictures with labels, the same ones for an index."""

    def __len__(self) -> int:
        return 64

    def item(self, index: int, rng: np.random.Generator) -> Mapping[str, Any]:
        random = torch.Generator().manual_seed(index)
        return {"image": torch.rand(1, SIZE, SIZE, generator=random) * 2 - 1, "label": torch.tensor(index % 3)}


def made(**changes: Any) -> tuple[GenerateConfig, Game]:
    config = GenerateConfig(**{"channels": 16, "critic_channels": 16, "latent": 8, "batch": 8, "nimg": 1000} | changes)
    built: dict[str, Any] = {"arch": config.arch, "latent": config.latent, "classes": 3, "size": [SIZE, SIZE]}
    built |= {"channels": 1, "width": config.channels, "critic_width": config.critic_channels}
    if config.arch == "dcgan":
        built |= {"batch_norm": config.batch_norm, "spectral_norm": config.spectral_norm}
    torch.manual_seed(0)
    generator, critic = networks.build_generator(built), networks.build_critic(built)
    gamma = 0.5 if config.gamma is None else config.gamma
    return config, game.make(config, generator, critic, latent=config.latent, gamma=gamma)


def engine(**changes: Any) -> Engine:
    config, played = made(**changes)
    return Engine(played, Batches(Pictures(), config.batch), Settings())


def small(preset: Mapping[str, Any]) -> dict[str, Any]:
    return {**preset, "channels": 16, "critic_channels": 16, "latent": 8, "batch": 8, "nimg": 1000}


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "points"])
def test_every_preset_plays(name: str) -> None:
    played = engine(**small(PRESETS[name]))
    before = [p.detach().clone() for p in played.game.networks()["generator"].parameters()]
    for _ in range(2):
        step = played.step()
    assert not step.skipped and all(np.isfinite(list(step.losses.values())))
    after = list(played.game.networks()["generator"].parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert {"critic/win", "critic/sign"} <= step.values.keys()


def terms(played: Game, phase: str) -> dict[str, int]:
    found = next(p for p in played.phases if p.name == phase)
    return {term.name: term.every for term in found.terms}


def test_presets_play_their_papers_phases() -> None:
    _, default = made()
    assert terms(default, "critic") == {"adversarial": 1, "r1": 4, "r2": 4}
    _, style = made(**small(PRESETS["stylegan2"]))
    assert terms(style, "critic") == {"adversarial": 1, "r1": 16}
    assert terms(style, "generator") == {"adversarial": 1, "path": 4}
    _, wasserstein = made(**small(PRESETS["wgan-gp"]))
    assert terms(wasserstein, "critic") == {"adversarial": 1, "gp": 1}
    assert [(p.repeats, p.batch) for p in wasserstein.phases] == [(5, "fresh"), (1, "same")]
    _, minimax = made(**small(PRESETS["dcgan-minimax"]))
    assert terms(minimax, "critic") == {"adversarial": 1}
    assert any(isinstance(m, nn.BatchNorm2d) for m in minimax.networks()["critic"].modules())
    hinge = made(**small(PRESETS["hinge-sn"]))[1].networks()["critic"]
    assert any(hasattr(m, "parametrizations") for m in hinge.modules())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in hinge.modules())


def test_a_pass_that_is_penalised_every_time_serves_the_loss_too() -> None:
    """Eager penalties cost one pass of the critic for each side, and the losses are those of separate passes."""
    passes: list[int] = []
    played = engine(penalty_every=1)
    played.game.networks()["critic"].register_forward_hook(lambda *_: passes.append(1))
    eager = played.step().losses
    assert len(passes) == 2 + 2  # the critic's phase, the generator's phase
    lazy = engine(penalty_every=4).step().losses
    assert eager["critic/adversarial"] == pytest.approx(lazy["critic/adversarial"], rel=1e-4)


def test_gamma_grows_with_the_picture_and_shrinks_with_the_batch() -> None:
    assert losses.gamma_rule(1024, 128) == pytest.approx(0.1)
    assert losses.gamma_rule(4096, 128) == pytest.approx(0.8)
    assert losses.gamma_rule(1024, 32) == pytest.approx(0.2)
    assert losses.gamma_rule(256**2, 16, "r1") == pytest.approx(0.8192)  # the paper's 256² on one GPU
    assert losses.gamma_rule(1024, 32, "gp") == 10.0


def test_resuming_with_adaptive_augmentation_is_exact() -> None:
    settings: dict[str, Any] = {"augment": "color,translation,cutout"}
    whole = engine(**settings)
    strength = whole.game.state["strength"]
    strength.p = 0.3  # type: ignore[attr-defined]
    for _ in range(4):
        whole.step()
    half = engine(**settings)
    half.game.state["strength"].p = 0.3  # type: ignore[attr-defined]
    for _ in range(2):
        half.step()
    resumed = engine(**settings)
    resumed.load_state_dict(half.state_dict())
    for _ in range(2):
        resumed.step()
    assert not differences(whole.state_dict(), resumed.state_dict())


def test_a_fixed_strength_has_no_state_and_zero_changes_nothing() -> None:
    played = engine(augment="color", strength=0.0)
    assert not played.game.state and played.game.after_step is None
    view = game.view(GenerateConfig(augment="color,translation", strength=0.0))
    x = torch.rand(4, 1, SIZE, SIZE) * 2 - 1
    assert torch.equal(view(x, lambda *shape: torch.rand(4, *shape)), x)
    assert game.view(GenerateConfig())(x, torch.rand) is x


def test_nothing_is_drawn_from_torchs_global_numbers() -> None:
    """All of a step's noise is the context's: N processes, whose global numbers differ, must see what one sees."""
    ends = []
    for seed in (1, 2):
        played = engine(**small(PRESETS["stylegan2"]))
        torch.manual_seed(seed)
        played.step()
        ends.append(played.game.networks()["generator"].state_dict())
    assert not differences(*ends)


def test_path_length_approaches_its_moving_mean() -> None:
    """For a linear synthesis the lengths are known: ‖Jᵀy‖ of J = [a] is |a|·|y·e|, and the mean follows them."""

    class Linear(nn.Module):
        def mapping(self, z: torch.Tensor, label: Any) -> torch.Tensor:
            return z.clone().requires_grad_(True)

        def synthesis(self, w: torch.Tensor) -> torch.Tensor:
            return (3.0 * w)[:, :, None, None]

    class Ctx:
        @staticmethod
        def randn(*shape: int) -> torch.Tensor:
            return torch.ones(4, *shape)

    path = game.PathLength()
    loss = path(Linear(), torch.randn(4, 5), None, Ctx())  # type: ignore[arg-type]
    length = 3 * 5**0.5
    assert path.mean.item() == pytest.approx(0.01 * length, rel=1e-5)
    assert loss.item() == pytest.approx((length * 0.99) ** 2, rel=1e-5)

    class Broken:
        @staticmethod
        def randn(*shape: int) -> torch.Tensor:
            return torch.full((4, *shape), torch.nan)

    assert path(Linear(), torch.randn(4, 5), None, Broken()).isnan()  # type: ignore[arg-type]
    assert path.mean.item() == pytest.approx(0.01 * length, rel=1e-5)  # one bad move is not remembered
