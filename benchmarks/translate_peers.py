"""Translation's two classic games the way peers write them, from their description, on the toolkit's networks.

Isola et al. 2017 (arXiv:1611.07004), section 3.3; Zhu et al. 2017 (arXiv:1703.10593), section 7.1. torch's layers in
the contiguous layout, one plain Adam for each side, rates that fall in a straight line after half of the training, the
critic once for real and once for made pictures, its parameters frozen while the generator learns, CycleGAN's six
generator passes one by one. `translate_training.py` times this against the toolkit; tests/translate/test_peers.py
holds that both play the same game.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import torch
from common import Memory
from torch import Tensor, nn
from torch.nn import functional as F

from gantk_translate import games
from gantk_translate.networks import convolutions, layers
from gantk_translate.options import TranslateConfig
from gantk_translate.sides import Side
from gantoolkit.engine import Engine, Settings
from gantoolkit.game import Game

TORCHS: Mapping[type, type] = {
    convolutions.Conv2d: nn.Conv2d,
    convolutions.ConvTranspose2d: nn.ConvTranspose2d,
    layers.InstanceNorm: nn.InstanceNorm2d,
}

Way = Callable[[], dict[str, float]]  # one step; its losses under the engine's names


def memory(size: int) -> Memory:
    """Eight batches of one pair of smooth noise, so that there is something to learn."""
    rng = torch.Generator().manual_seed(0)
    draw = [torch.rand(2, 3, size // 8, size // 8, generator=rng) * 2 - 1 for _ in range(8)]
    large = [F.interpolate(pair, (size, size), mode="bicubic").clamp(-1, 1) for pair in draw]
    return Memory([{"a": pair[:1].clone(), "b": pair[1:].clone()} for pair in large])


def game_of(config: TranslateConfig) -> Game:
    """The game with its networks' weights from seed 0."""
    torch.manual_seed(0)
    return games.make(config, Side(), Side())


def ours(config: TranslateConfig, precision: str = "fp32") -> Way:
    """The game as `gantk train` plays it."""
    engine = Engine(game_of(config), memory(config.size), Settings(precision=precision))
    return lambda: engine.step().losses


def peers(config: TranslateConfig, layout: torch.memory_format = torch.contiguous_format) -> Way:
    """The game as peers write it; `layout` is that of the parameters.

    Torch has a wrong gradient of instance norm in channels_last on a CPU (see `layers`): there ours stays.
    """
    return {"pix2pix": Pix2pix, "cyclegan": CycleGAN}[config.game](config, layout).step


class Peers(ABC):
    """What both games share when written by hand."""

    def __init__(self, config: TranslateConfig, layout: torch.memory_format) -> None:
        self.config, self.batches, game = config, memory(config.size), game_of(config)
        self.networks = game.networks()
        for network in self.networks.values():
            network.train()
            network.to(memory_format=layout)  # type: ignore[call-overload]
            for module in network.modules():
                if layout == torch.contiguous_format or not isinstance(module, layers.InstanceNorm):
                    module.__class__ = TORCHS.get(type(module), type(module))
        betas = (config.beta1, config.beta2)
        self.optimizers = {
            player.name: torch.optim.Adam(player.parameters(), lr=config.lr, betas=betas) for player in game.players
        }

    def step(self) -> dict[str, float]:
        """One step of both sides."""
        half, shown = self.config.nimg / 2, self.batches.position + 1
        for optimizer in self.optimizers.values():
            optimizer.param_groups[0]["lr"] = self.config.lr * min(1.0, (self.config.nimg - shown) / half)
        batch = self.batches.next()
        return {name: value.item() for name, value in self.played(batch["a"], batch["b"]).items()}

    @abstractmethod
    def played(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """The moves of a step; its losses."""

    def judge(self, name: str, x: Tensor, real: bool) -> Tensor:
        """The adversarial loss of a critic's logits: cross-entropy (pix2pix) or squares (CycleGAN)."""
        logits = self.networks[name](x)[0]
        goal = torch.ones_like(logits) if real else torch.zeros_like(logits)
        paired = self.config.game == "pix2pix"
        return F.binary_cross_entropy_with_logits(logits, goal) if paired else F.mse_loss(logits, goal)

    def freeze(self, frozen: bool) -> None:
        for name, network in self.networks.items():
            if name.startswith("critic"):
                network.requires_grad_(not frozen)


class Pix2pix(Peers):
    def played(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        made = self.networks["generator"](a)
        self.freeze(False)
        self.optimizers["critic"].zero_grad()
        of_made = self.judge("critic", torch.cat([a, made], 1).detach(), False)
        of_real = self.judge("critic", torch.cat([a, b], 1), True)
        ((of_made + of_real) * 0.5).backward()
        self.optimizers["critic"].step()
        self.freeze(True)
        self.optimizers["generator"].zero_grad()
        answered, pixel = self.judge("critic", torch.cat([a, made], 1), True), F.l1_loss(made, b)
        (answered + self.config.pixel_weight * pixel).backward()
        self.optimizers["generator"].step()
        return {"critic/adversarial": of_made + of_real, "generator/adversarial": answered, "generator/pixel": pixel}


class CycleGAN(Peers):
    def __init__(self, config: TranslateConfig, layout: torch.memory_format) -> None:
        super().__init__(config, layout)
        self.rng = torch.Generator().manual_seed(0)
        self.pools: dict[str, list[Tensor]] = {"critic": [], "critic_back": []}

    def played(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        there, back, weight = self.networks["generator"], self.networks["back"], self.config.cycle_weight
        made_b = there(a)
        again_a = back(made_b)
        made_a = back(b)
        again_b = there(made_a)
        self.freeze(True)
        self.optimizers["generator"].zero_grad()
        same_b, same_a = F.l1_loss(there(b), b), F.l1_loss(back(a), a)
        answered_b, answered_a = self.judge("critic", made_b, True), self.judge("critic_back", made_a, True)
        cycle_a, cycle_b = F.l1_loss(again_a, a), F.l1_loss(again_b, b)
        identity = weight * self.config.identity_weight * (same_b + same_a)
        (answered_b + answered_a + weight * (cycle_a + cycle_b) + identity).backward()
        self.optimizers["generator"].step()
        self.freeze(False)
        self.optimizers["critic"].zero_grad()
        judged_b, judged_a = self.judged("critic", b, made_b), self.judged("critic_back", a, made_a)
        self.optimizers["critic"].step()
        # the squares' halves are in the losses themselves (Mao et al. 2017, eq. 9), as the toolkit reports them
        return {
            "generator/adversarial": answered_b / 2, "generator/adversarial_back": answered_a / 2,
            "generator/cycle": cycle_a, "generator/cycle_back": cycle_b,
            "generator/identity": same_b, "generator/identity_back": same_a,
            "critic/adversarial": judged_b, "critic/adversarial_back": judged_a,
        }  # fmt: skip

    def judged(self, name: str, real: Tensor, made: Tensor) -> Tensor:
        loss = (self.judge(name, real, True) + self.judge(name, self.earlier(name, made.detach()), False)) * 0.5
        loss.backward()
        return loss

    def earlier(self, name: str, made: Tensor) -> Tensor:
        """The picture or, when the pool is full, with chance one half an earlier one; same draws as the engine's."""
        pool, (chance, place) = self.pools[name], torch.rand(1, 2, generator=self.rng)[0].tolist()
        if len(pool) < self.config.pool:
            pool.append(made.clone())
            return made
        if chance >= 0.5:
            return made
        index = int(place * self.config.pool)
        shown, pool[index] = pool[index], made.clone()
        return shown


def apart(expected: list[dict[str, float]], got: list[dict[str, float]]) -> list[float]:
    """For each step the largest relative difference of a loss."""
    return [max(abs(b[k] - a[k]) / max(abs(a[k]), 1e-6) for k in a) for a, b in zip(expected, got, strict=True)]
