"""The translation task: how it is trained, what comes out, and what a user does with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gantk_translate import games
from gantk_translate import options as fields
from gantk_translate.options import TranslateConfig
from gantoolkit.errors import UsageError
from gantoolkit.task import Console, DataReport, Stage, Task

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from gantk_translate.data import Data
    from gantk_translate.translator import Translator
    from gantoolkit.game import Game
    from gantoolkit.metrics import MetricCard
    from gantoolkit.model import Model

OTHER_WAY = "back"  # the second set of weights of a model that goes both ways: target to source


class Translate(Task):
    """Turn pictures of one kind into another kind, learnt from pairs or from two sets of pictures."""

    name = "translate"
    summary = "turn pictures of one kind into another kind"
    Config = TranslateConfig
    RunOptions = fields.RunOptions
    EvalOptions = fields.EvalOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "line-art": {"compose": "multiply", "size": 128, "fit": "resize"},
        "colourise": {"compose": "chroma", "size": 128, "fit": "crop"},
        "maps": {"fit": "crop", "mirror": False, "size": 128},  # the light of a relief comes from one side
        "medical": {"fit": "crop", "attention": False},
    }

    # ---- training ----

    def dataset(self, config: TranslateConfig, folder: Path | None) -> Data:
        from gantk_translate.data import Data
        from gantoolkit import losses

        if folder is None:
            raise UsageError("no pictures were named", remedy="gantk train translate FOLDER/ (with A/ and B/ in it)")
        losses.adversarial(config.loss)  # a wrong name is said before the pictures are read
        return Data(config, folder)

    def check(self, folder: Path) -> DataReport:
        from gantk_translate import check

        return check.check(folder)

    def stages(self, config: TranslateConfig) -> Sequence[Stage]:
        first = [Stage(games.HALF, config.half_nimg)] if config.half_nimg else []
        return [*first, Stage(games.FULL, config.nimg)]

    def game(self, config: TranslateConfig, dataset: Data, stage: str) -> Game:  # type: ignore[override]
        dataset.halved = stage == games.HALF
        return games.make(config, dataset.source, dataset.target, stage)

    def sample(  # type: ignore[override]
        self, config: TranslateConfig, dataset: Data, networks: Mapping[str, nn.Module]
    ) -> np.ndarray | None:
        from gantk_translate import show

        return show.while_training(config, dataset, networks)

    def score(  # type: ignore[override]
        self, config: TranslateConfig, dataset: Data, networks: Mapping[str, nn.Module], stage: str
    ) -> Sequence[MetricCard]:
        from gantk_translate import evaluate

        return evaluate.while_training(config, dataset, networks)

    def model(self, config: TranslateConfig, dataset: Data, weights: Mapping[str, Mapping[str, Any]]) -> Model:
        from gantk_translate.networks import generator_config
        from gantoolkit.model import MAIN, Model

        trained = weights[games.FULL]
        source, target = dataset.source, dataset.target
        variants = {MAIN: trained["generator"]}
        if "back" in trained:
            variants[OTHER_WAY] = trained["back"]
        built = {
            "generator": generator_config(config, source.planes, target.planes),
            "source": source.to_dict(),
            "target": target.to_dict(),
            "game": config.game,
            "direction": config.direction,
            "size": config.size,
            "fit": config.fit,
            "held_out": config.held_out,
            "clean": config.compose == "multiply" and dataset.clean(),
        }
        return Model(self.name, built, variants, card(config, dataset, variants), "translate")

    # ---- use ----

    def load(self, model: Model, **options: Any) -> Translator:
        """A `Translator`; its arguments are the options."""
        from gantk_translate.translator import Translator

        return Translator(model, **options)

    def run(self, options: fields.RunOptions, console: Console) -> int:
        from gantk_translate.use import run

        return run(options, console)

    def evaluate(self, options: fields.EvalOptions, console: Console) -> int:
        from gantk_translate.evaluate import evaluate

        return evaluate(options, console)

    def import_model(self, path: Path) -> Model:
        from gantk_translate.foreign import load

        return load(path)

    def export(self, model: Model, target: Path, console: Console) -> None:
        from gantk_translate.translator import export_onnx

        parity = export_onnx(model, target)
        console.say(f"wrote {target}\nparity: {parity}")


def card(config: TranslateConfig, dataset: Data, variants: Mapping[str, Any]) -> str:
    """What is known of the model without the trainer's words."""
    from gantoolkit.model import starting_card

    size = sum(tensor.numel() for tensor in next(iter(variants.values())).values())
    ways = "both ways" if len(variants) > 1 else config.direction
    about = f"Translates pictures, {ways}, with the game {config.game} ({size:,} parameters each way)."
    known = config.model_dump(mode="json") | {"samples": len(dataset)}
    return starting_card("translate", about, known, "gantk eval translate DATA/ --model THIS")
