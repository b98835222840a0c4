"""The super-resolution task: configuration, its two games, scores while training, and the model that comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from gantoolkit import features, losses, metrics
from gantoolkit.errors import UsageError
from gantoolkit.game import Context, Game, Phase, Player, Term
from gantoolkit.model import MAIN, Model
from gantoolkit.schedule import Cosine
from gantoolkit.task import DataReport, Stage, Task, TrainConfig, option
from gantk_superres import data, degrade, networks

if TYPE_CHECKING:
    from gantoolkit.data import Dataset
    from gantoolkit.metrics import MetricCard

FIDELITY, ADVERSARIAL = "fidelity", "adversarial"


class SuperresConfig(TrainConfig):
    """How to train an upscaler: first for fidelity (pixels), then against a critic (detail)."""

    scale: Literal[2, 3, 4] = option(4, "output pixels per input pixel, along one side")
    arch: Literal["compact", "srvgg", "rrdb"] = option("compact", "the generator's architecture")
    channels: PositiveInt = option(48, "width of the generator")
    blocks: PositiveInt = option(8, "depth of the generator (srvgg: convolutions)")
    critic: Literal["patch", "unet"] = option("patch", "the critic's architecture")
    critic_channels: PositiveInt = option(32, "width of the critic")
    patch: PositiveInt = option(128, "side of a high-resolution patch, in pixels; a multiple of the scale")
    degradation: str = option("bicubic", "how low resolution is made: bicubic, light or second-order")
    fidelity_nimg: NonNegativeInt = option(200_000, "images of the first stage; 0 skips it")
    adversarial_nimg: NonNegativeInt = option(100_000, "images of the second stage; 0 skips it")
    lr: PositiveFloat = option(5e-4, "learning rate of the first stage, falling along a cosine")
    adversarial_lr: PositiveFloat = option(2e-4, "learning rate of both players in the second stage")
    loss: str = option("rpgan", "adversarial loss")
    pixel_weight: NonNegativeFloat = option(1.0, "weight of the pixel term in the second stage")
    perceptual_weight: NonNegativeFloat = option(0.3, "weight of the perceptual term")
    adversarial_weight: NonNegativeFloat = option(0.005, "weight of the adversarial term")
    gamma: NonNegativeFloat = option(1.0, "strength of the R1 and R2 penalties, per pixel of a patch's score")
    penalty_every: PositiveInt = option(4, "moves of the critic between two penalties (lazy regularisation)")
    ema_nimg: PositiveFloat = option(5_000.0, "half-life of the generator's average, in images")
    clip_norm: PositiveFloat = option(1.0, "largest gradient norm of the generator")
    batch: PositiveInt = Field(16, description="real images a step, all processes together")


class Superres(Task):
    """Enlarge pictures: `CompactSR` by default, in two stages."""

    name = "superres"
    summary = "enlarge pictures by 2, 3 or 4 with more detail"
    Config = SuperresConfig
    presets: Mapping[str, Mapping[str, Any]] = {
        "photo": {},
        "photo-degraded": {"degradation": "light"},
        "real-esrgan": {
            "arch": "rrdb",
            "channels": 64,
            "blocks": 23,
            "critic": "unet",
            "critic_channels": 64,
            "degradation": "second-order",
            "patch": 256,
        },
        "tiny": {"channels": 16, "blocks": 2, "critic_channels": 8, "patch": 48, "batch": 4},
    }

    # ---- training ----

    def dataset(self, config: SuperresConfig, folder: Path | None) -> data.Photos:
        if folder is None:
            raise UsageError("no folder of photographs was named", remedy="gantk train superres PHOTOS/")
        if config.patch % config.scale:
            raise UsageError(
                "a patch must divide by the scale",
                expected=f"a multiple of {config.scale}",
                actual=config.patch,
            )
        return data.Photos(folder, config.patch)

    def check(self, folder: Path) -> DataReport:
        return data.check(folder, SuperresConfig.model_fields["patch"].default)

    def stages(self, config: SuperresConfig) -> Sequence[Stage]:
        planned = [Stage(FIDELITY, config.fidelity_nimg), Stage(ADVERSARIAL, config.adversarial_nimg)]
        stages = [stage for stage in planned if stage.nimg]
        if not stages:
            raise UsageError("both stages are 0 images long", remedy="set fidelity_nimg or adversarial_nimg")
        return stages

    def game(self, config: SuperresConfig, dataset: Dataset, stage: str) -> Game:
        generator = networks.build(network_config(config))
        prepare = prepared(config)
        if stage == FIDELITY:
            rate = Cosine(config.lr, config.lr / 100, config.fidelity_nimg, warmup_nimg=64 * config.batch)
            player = Player(
                "generator", {"generator": generator}, lr=rate, betas=(0.9, 0.99), **self._kept(config)
            )
            return Game([player], [Phase("generator", "generator", [Term("pixel", pixel)])], prepare=prepare)
        rate = Cosine(config.adversarial_lr, config.adversarial_lr / 20, config.adversarial_nimg)
        critic = networks.build_critic({"arch": config.critic, "channels": config.critic_channels})
        game = adversarial_terms(config)
        return Game(
            [
                Player("critic", {"critic": critic}, lr=rate, betas=(0.0, 0.99)),
                Player(
                    "generator", {"generator": generator}, lr=rate, betas=(0.9, 0.99), **self._kept(config)
                ),
            ],
            [Phase("critic", "critic", game["critic"]), Phase("generator", "generator", game["generator"])],
            prepare=prepare,
        )

    def _kept(self, config: SuperresConfig) -> dict[str, Any]:
        return {"ema_nimg": config.ema_nimg, "clip_norm": config.clip_norm}

    def sample(
        self,
        config: SuperresConfig,
        dataset: data.Photos,
        networks: Mapping[str, nn.Module],  # type: ignore[override]
    ) -> np.ndarray:
        """Rows of bicubic | network | truth for up to three held-out pictures."""
        rows = []
        for truth in dataset.held_out[:3]:
            low, high = pair(truth, config)
            bicubic = degrade.resize(low, tuple(high.shape[-2:])).clamp(0, 1)
            output = networks["generator"](low).clamp(0, 1)
            rows.append(torch.cat([bicubic, output.float(), high], dim=3))
        width = max(row.shape[3] for row in rows)
        rows = [nn.functional.pad(row, (0, width - row.shape[3])) for row in rows]
        return to_uint8(torch.cat(rows, dim=2))

    def score(
        self,
        config: SuperresConfig,
        dataset: data.Photos,  # type: ignore[override]
        networks: Mapping[str, nn.Module],
        stage: str,
    ) -> Sequence[MetricCard]:
        """PSNR-Y and perceptual distance on the held-out files; the first card is what the stage is for."""
        outputs, truths = [], []
        for truth in dataset.held_out:
            low, high = pair(truth, config)
            outputs.append(to_uint8(networks["generator"](low).float().clamp(0, 1)))
            truths.append(to_uint8(high))
        cards = [
            metrics.psnr(outputs, truths, channel="y", crop=config.scale),
            metrics.perceptual(outputs, truths),
        ]
        return cards if stage == FIDELITY else cards[::-1]

    def model(self, config: SuperresConfig, weights: Mapping[str, Mapping[str, Any]]) -> Model:
        last = ADVERSARIAL if ADVERSARIAL in weights else FIDELITY
        variants = {MAIN: weights[last]["generator"]}
        if last == ADVERSARIAL and FIDELITY in weights:
            variants[FIDELITY] = weights[FIDELITY]["generator"]
        return Model(self.name, network_config(config), variants, name=f"superres-x{config.scale}")


def network_config(config: SuperresConfig) -> dict[str, Any]:
    """What `networks.build` needs, as JSON values."""
    depth = "convs" if config.arch == "srvgg" else "blocks"
    return {"arch": config.arch, "scale": config.scale, "channels": config.channels, depth: config.blocks}


def prepared(config: SuperresConfig) -> Callable[[Mapping[str, Any], torch.Generator], Mapping[str, Any]]:
    """Bytes → [0, 1], and the low-resolution side of each batch, on the device."""
    lower = degrade.degradation(config.degradation)

    def prepare(batch: Mapping[str, Any], rng: torch.Generator) -> Mapping[str, Any]:
        high = batch["hr"].float() / 255
        return {"hr": high, "lr": lower(high, config.scale, rng)}

    return prepare


def upscaled(ctx: Context) -> Tensor:
    """The generator's output for the batch, made once for both players; N,3,H,W fp32."""
    return ctx.share("upscaled", lambda: ctx.networks["generator"](ctx["lr"]).float(), owner="generator")


def pixel(ctx: Context) -> Tensor:
    """Mean Charbonnier distance to the truth."""
    return losses.charbonnier(upscaled(ctx), ctx["hr"])


def adversarial_terms(config: SuperresConfig) -> dict[str, list[Term]]:
    """The second stage's terms: the critic judges real and enlarged patches, the generator answers."""
    loss = losses.adversarial(config.loss)
    extractor = features.efficientnet_lite0(device=config.device)
    # a map of scores is summed over its places before the gradient is taken: per-place strength keeps γ's meaning
    gamma = config.gamma

    def critic(ctx: Context) -> Tensor:
        judge = ctx.networks["critic"]
        return loss.critic(judge(ctx["hr"]), judge(upscaled(ctx)))

    def generator(ctx: Context) -> Tensor:
        judge, fake = ctx.networks["critic"], upscaled(ctx)
        real = None
        if loss.needs_real:
            with torch.no_grad():
                real = judge(ctx["hr"])
        return loss.generator(real, judge(fake))

    def r1(ctx: Context) -> Tensor:
        return losses.r1(mean_score(ctx.networks["critic"]), ctx["hr"], gamma)

    def r2(ctx: Context) -> Tensor:
        return losses.r2(mean_score(ctx.networks["critic"]), upscaled(ctx), gamma)

    def perceptual(ctx: Context) -> Tensor:
        return features.perceptual_distance(upscaled(ctx), ctx["hr"], extractor).mean()

    coupled = loss.couples_batch
    every = config.penalty_every
    return {
        "critic": [
            Term("adversarial", critic, couples_batch=coupled),
            Term("r1", r1, every=every, fp32=True),
            Term("r2", r2, every=every, fp32=True),
        ],
        "generator": [
            Term("pixel", pixel, config.pixel_weight),
            Term("perceptual", perceptual, config.perceptual_weight),
            Term("adversarial", generator, config.adversarial_weight, couples_batch=coupled),
        ],
    }


def mean_score(critic: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The critic with one score a picture, the mean of its map, so that γ does not depend on the patch's size."""
    return lambda x: critic(x).mean(dim=(1, 2, 3))


def pair(truth: np.ndarray, config: SuperresConfig) -> tuple[Tensor, Tensor]:
    """(low, high) of a held-out picture, 1,3,h,w and 1,3,H,W on the device; the same degradation every time."""
    high = torch.from_numpy(truth).permute(2, 0, 1)[None].to(config.device).float() / 255
    rng = torch.Generator(config.device).manual_seed(0)
    return degrade.degradation(config.degradation)(high, config.scale, rng), high


def to_uint8(tensor: Tensor) -> np.ndarray:
    """1,3,H,W in [0, 1] → H×W×3 uint8."""
    return (tensor[0].permute(1, 2, 0) * 255).round().clamp(0, 255).byte().cpu().numpy()
