"""The task: points of eight narrow Gaussians on a circle, learned by a small GAN."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

import gantoolkit
from gantoolkit import Cosine, Game, Model, Options, Phase, Player, Stage, Task, Term, TrainConfig, losses, option

ANGLES = np.arange(8) * np.pi / 4
MODES = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)  # 8×2, radius 1
SIGMA = 0.01


class Config(TrainConfig):
    """Learn eight Gaussians on a ring."""

    nimg: int = option(160_000, "points to show to the critic", gt=0)
    batch: int = option(64, "points a step", gt=0)
    lr: float = option(2e-3, "learning rate of both players, falling along a cosine", gt=0)
    gamma: float = option(0.01, "strength of the penalties R1 and R2", ge=0)


class RunOptions(Options):
    """Draw points from a trained ring and write them as CSV."""

    model: str = option(..., "a model folder or a run", "-m")
    number: int = option(500, "how many points", "-n", gt=0)
    out: Path = option(Path("points.csv"), "where to write them", "-o")


class EvalOptions(Options):
    """Count the Gaussians that a trained ring finds."""

    model: str = option(..., "a model folder or a run", "-m")


class Points:
    """Real data: an endless supply, drawn from the generator of random numbers that belongs to each item."""

    def __len__(self):
        return 8

    def item(self, index, rng):
        return {"point": (MODES[index] + SIGMA * rng.standard_normal(2)).astype(np.float32)}


def mlp(inputs, outputs, width=128):
    layers = [nn.Linear(inputs, width), nn.LeakyReLU(0.2)]
    for _ in range(2):
        layers += [nn.Linear(width, width), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


class Ring(Task):
    name, summary = "ring", "learn eight Gaussians on a ring"
    Config, RunOptions, EvalOptions = Config, RunOptions, EvalOptions

    def dataset(self, config, folder):
        return Points()

    def stages(self, config):
        return [Stage("ring", config.nimg)]

    def game(self, config, dataset, stage):
        def fake(ctx):
            return ctx.share("fake", lambda: ctx.networks["generator"](ctx.randn(8)), owner="generator")

        def critic_loss(ctx):  # relativistic pairing: real points should score above generated ones
            critic = ctx.networks["critic"]
            return nn.functional.softplus(critic(fake(ctx)) - critic(ctx["point"])).mean()

        def generator_loss(ctx):
            critic = ctx.networks["critic"]
            return nn.functional.softplus(critic(ctx["point"]) - critic(fake(ctx))).mean()

        def penalty(ctx):
            critic = ctx.networks["critic"]
            return losses.r1(critic, ctx["point"], config.gamma) + losses.r2(critic, fake(ctx), config.gamma)

        rate = Cosine(config.lr, config.lr / 10, config.nimg)
        critic = Player("critic", {"critic": mlp(2, 1)}, lr=rate)
        generator = Player("generator", {"generator": mlp(8, 2)}, lr=rate, ema_nimg=5_000)
        moves = [
            Phase("critic", "critic", [Term("pairing", critic_loss), Term("penalty", penalty, fp32=True)]),
            Phase("generator", "generator", [Term("pairing", generator_loss)]),
        ]
        return Game([critic, generator], moves)

    def model(self, config, dataset, weights):
        return Model(self.name, {}, {"model": weights["ring"]["generator"]}, name="ring")

    def load(self, model):
        network = mlp(8, 2)
        network.load_state_dict(model.weights["model"])

        @torch.no_grad()
        def draw(number, seed=0):
            return network(torch.randn(number, 8, generator=torch.Generator().manual_seed(seed))).numpy()

        return draw

    def run(self, options, console):
        np.savetxt(options.out, gantoolkit.load("ring", options.model)(options.number), delimiter=",")
        console.say(f"{options.number} points in {options.out}")
        return 0

    def evaluate(self, options, console):
        distance = np.linalg.norm(gantoolkit.load("ring", options.model)(2_500)[:, None] - MODES, axis=2)
        hits = (distance < 3 * SIGMA).sum(axis=0)
        console.say(f"{(hits >= 20).sum()} of 8 modes (≥ 20 of 2500 points within 3σ), {hits.sum() / 25:.0f} % hits")
        console.result({"modes": int((hits >= 20).sum()), "hits": int(hits.sum())})
        return 0
