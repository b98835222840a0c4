"""The text-to-image task: how it is trained, what comes out, and what a user does with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gantk_text2image import options as fields
from gantk_text2image.options import Text2ImageConfig
from gantoolkit.errors import UsageError
from gantoolkit.task import Console, DataReport, Stage, Task

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from gantk_text2image.data import Data
    from gantk_text2image.painter import Painter
    from gantoolkit.game import Game
    from gantoolkit.metrics import MetricCard
    from gantoolkit.model import Model

STAGE = "adversarial"


class Text2Image(Task):
    """Make pictures from words, learnt from a folder of pictures with captions."""

    name = "text2image"
    summary = "make pictures from words"
    Config = Text2ImageConfig
    RunOptions = fields.RunOptions
    EvalOptions = fields.EvalOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "drawings": {"augment": "color,translation"},
        "shapes": {"attribute_weight": 0.5, "held_out": 0.2},
        "few": {"augment": "color,translation,cutout", "nimg": 200_000},
    }

    # ---- training ----

    def dataset(self, config: Text2ImageConfig, folder: Path | None) -> Data:
        from gantk_text2image.data import Data
        from gantoolkit import losses
        from gantoolkit.augment import Augment

        if folder is None:
            raise UsageError("no pictures with captions were named", remedy="gantk train text2image FOLDER/")
        losses.adversarial(config.loss)  # what makes no sense is said before the pictures are read
        if config.augment:
            Augment(config.augment)
        return Data(config, folder)

    def check(self, folder: Path) -> DataReport:
        from gantk_text2image import check

        return check.check(folder)

    def stages(self, config: Text2ImageConfig) -> Sequence[Stage]:
        return [Stage(STAGE, config.nimg)]

    def game(self, config: Text2ImageConfig, dataset: Data, stage: str) -> Game:  # type: ignore[override]
        from functools import partial

        from gantk_text2image import game, health

        return game.make(config, dataset, partial(health.gauges, config, dataset))

    def sample(  # type: ignore[override]
        self, config: Text2ImageConfig, dataset: Data, networks: Mapping[str, nn.Module]
    ) -> np.ndarray | Mapping[str, np.ndarray] | None:
        from gantk_text2image import show

        return show.while_training(config, dataset, networks)

    def score(  # type: ignore[override]
        self, config: Text2ImageConfig, dataset: Data, networks: Mapping[str, nn.Module], stage: str
    ) -> Sequence[MetricCard]:
        from gantk_text2image import evaluate

        return evaluate.while_training(config, dataset, networks)

    def model(self, config: Text2ImageConfig, dataset: Data, weights: Mapping[str, Mapping[str, Any]]) -> Model:
        from gantk_text2image import game

        return game.model(config, dataset, weights[STAGE])

    # ---- use ----

    def load(self, model: Model, **options: Any) -> Painter:
        """A `Painter`; its arguments are the options."""
        from gantk_text2image.painter import Painter

        return Painter(model, **options)

    def run(self, options: fields.RunOptions, console: Console) -> int:
        from gantk_text2image.use import run

        return run(options, console)

    def evaluate(self, options: fields.EvalOptions, console: Console) -> int:
        from gantk_text2image.evaluate import evaluate

        return evaluate(options, console)

    def export(self, model: Model, target: Path, console: Console) -> None:
        from gantk_text2image.painter import export_onnx

        parity = export_onnx(model, target)
        console.say(f"wrote {target}\nparity: {parity}")
