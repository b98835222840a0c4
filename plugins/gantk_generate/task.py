"""The generation task: how it is trained, what comes out, and what a user does with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gantk_generate import options as fields
from gantk_generate.options import GenerateConfig
from gantk_generate.presets import PRESETS
from gantoolkit.errors import UsageError
from gantoolkit.task import Console, DataReport, Stage, Task

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from gantk_generate.data import Data
    from gantk_generate.sampler import Sampler
    from gantoolkit.game import Game
    from gantoolkit.metrics import MetricCard
    from gantoolkit.model import Model


class Generate(Task):
    """Make new pictures like those in a folder."""

    name = "generate"
    summary = "make new pictures like those in a folder"
    Config = GenerateConfig
    RunOptions = fields.RunOptions
    EvalOptions = fields.EvalOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS

    # ---- training ----

    def dataset(self, config: GenerateConfig, folder: Path | None) -> Data:
        from gantk_generate.data import Data
        from gantoolkit import losses
        from gantoolkit.augment import Augment
        from gantoolkit.features import extractor

        if folder is None:
            raise UsageError("no pictures were named", remedy="gantk train generate FOLDER/")
        losses.adversarial(config.loss)  # what makes no sense is said before the pictures are read
        if config.augment:
            Augment(config.augment)
        if config.arch != "mlp":
            extractor(config.features)
        if config.arch != "dcgan" and (config.spectral_norm or config.batch_norm):
            raise UsageError(
                "spectral_norm and batch_norm belong to one architecture",
                expected="arch dcgan",
                actual=config.arch,
                remedy="leave them out, or train with --arch dcgan",
            )
        if config.arch != "style" and config.path_length:
            raise UsageError(
                "path length regularisation belongs to one architecture",
                expected="arch style",
                actual=config.arch,
                remedy="leave out --path-length, or train with --arch style",
            )
        return Data(config, folder)

    def check(self, folder: Path) -> DataReport:
        from gantk_generate.networks import nearest
        from gantoolkit import labelled

        return labelled.check(folder, possible=nearest)

    def stages(self, config: GenerateConfig) -> Sequence[Stage]:
        return [Stage("adversarial", config.nimg)]

    def game(self, config: GenerateConfig, dataset: Data, stage: str) -> Game:  # type: ignore[override]
        from gantk_generate import game, health, networks
        from gantoolkit import losses

        built = network_config(config, dataset)
        generator, critic = networks.build_generator(built), networks.build_critic(built)
        height, width = built.get("size", (32, 32))
        gamma = config.gamma
        if gamma is None:
            gamma = losses.gamma_rule(height * width, config.batch, config.penalty)
        view = game.view(config)
        gauges = health.gauges(config, dataset, generator, critic, view)
        return game.make(config, generator, critic, latent=config.latent, gamma=gamma, shown_as=view, gauges=gauges)

    def sample(  # type: ignore[override]
        self, config: GenerateConfig, dataset: Data, networks: Mapping[str, nn.Module]
    ) -> Mapping[str, np.ndarray] | np.ndarray:
        from gantk_generate import show

        return show.while_training(config, dataset, networks["generator"])

    def score(  # type: ignore[override]
        self, config: GenerateConfig, dataset: Data, networks: Mapping[str, nn.Module], stage: str
    ) -> Sequence[MetricCard]:
        from gantk_generate import evaluate

        return evaluate.while_training(config, dataset, networks["generator"])

    def model(self, config: GenerateConfig, dataset: Data, weights: Mapping[str, Mapping[str, Any]]) -> Model:
        from gantoolkit.model import MAIN, Model

        generator = weights["adversarial"]["generator"]
        built = network_config(config, dataset) | {"labels": list(dataset.classes), "fit": config.fit}
        if config.arch == "mlp":
            built |= {"centre": dataset.train.centre.tolist(), "scale": dataset.train.scale}
        return Model(self.name, built, {MAIN: generator}, card(config, dataset, generator), "generate")

    # ---- use ----

    def load(self, model: Model, **options: Any) -> Sampler:
        """A `Sampler`; its arguments are the options."""
        from gantk_generate.sampler import Sampler

        return Sampler(model, **options)

    def run(self, options: fields.RunOptions, console: Console) -> int:
        from gantk_generate.use import run

        return run(options, console)

    def evaluate(self, options: fields.EvalOptions, console: Console) -> int:
        from gantk_generate.evaluate import evaluate

        return evaluate(options, console)

    def export(self, model: Model, target: Path, console: Console) -> None:
        from gantk_generate.sampler import export_onnx

        parity = export_onnx(model, target)
        console.say(f"wrote {target}\nparity: {parity}")


def network_config(config: GenerateConfig, dataset: Data) -> dict[str, Any]:
    """What `networks.build_generator` and `build_critic` need, as JSON values."""
    built = {
        "arch": config.arch,
        "latent": config.latent,
        "classes": len(dataset.classes),
        "width": config.channels,
        "critic_width": config.critic_channels,
    }
    if config.arch == "mlp":
        return built | {"features": dataset.train.dimensions, "layers": config.layers}
    if config.arch == "dcgan":
        built |= {"spectral_norm": config.spectral_norm, "batch_norm": config.batch_norm}
    if config.arch == "residual":
        built |= {"patch": config.patch, "finish": config.channels // 4 if config.patch > 1 else 0}
    return built | {"size": list(dataset.train.size), "channels": dataset.train.channels}


def card(config: GenerateConfig, dataset: Data, generator: Mapping[str, Any]) -> str:
    """What is known of the model without the trainer's words."""
    from gantoolkit.model import starting_card

    size = sum(tensor.numel() for tensor in generator.values())
    about = f"Makes samples from {config.latent} random numbers ({size:,} parameters)."
    if dataset.classes:
        about += f" Classes: {', '.join(dataset.classes)}."
    known = config.model_dump(mode="json") | {"samples": len(dataset)}
    return starting_card("generate", about, known, "gantk eval generate REAL/ --model THIS")
