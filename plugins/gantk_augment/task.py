"""The augmentation task: a generator of the task `generate` under it, fitted on few labelled pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gantk_augment import options as fields
from gantk_augment.options import AugmentConfig
from gantoolkit.task import Console, DataReport, Stage, Task

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from gantoolkit.game import Game
    from gantoolkit.metrics import MetricCard
    from gantoolkit.model import Model


class Augment(Task):
    """Grow a labelled data set, and tell whether it helps."""

    name = "augment"
    summary = "grow a labelled data set, and tell whether it helps"
    Config = AugmentConfig
    RunOptions = fields.RunOptions
    EvalOptions = fields.EvalOptions
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "default": {},
        # enough pictures to do without changing what the critic sees
        "plenty": {"augment": "", "nimg": 200_000, "channels": 64},
    }

    # ---- fitting: the generator is the task generate's ----

    def dataset(self, config: AugmentConfig, folder: Path | None) -> Any:
        from gantk_augment import fit

        return fit.dataset(config, folder)

    def check(self, folder: Path) -> DataReport:
        from gantk_augment import source

        return source.check(folder)

    def stages(self, config: AugmentConfig) -> Sequence[Stage]:
        return [Stage("adversarial", config.nimg)]

    def game(self, config: AugmentConfig, dataset: Any, stage: str) -> Game:
        from gantk_augment import fit

        return fit.generate().game(fit.generate_config(config), dataset, stage)

    def sample(
        self, config: AugmentConfig, dataset: Any, networks: Mapping[str, nn.Module]
    ) -> np.ndarray | Mapping[str, np.ndarray] | None:
        from gantk_augment import fit

        return fit.generate().sample(fit.generate_config(config), dataset, networks)

    def score(
        self, config: AugmentConfig, dataset: Any, networks: Mapping[str, nn.Module], stage: str
    ) -> Sequence[MetricCard]:
        from gantk_augment import fit

        return fit.generate().score(fit.generate_config(config), dataset, networks, stage)

    def model(self, config: AugmentConfig, dataset: Any, weights: Mapping[str, Mapping[str, Any]]) -> Model:
        from gantk_augment import fit

        return fit.model(config, dataset, weights)

    # ---- use ----

    def load(self, model: Model, **options: Any) -> Any:
        """A `fit.Fitted`: makes labelled pictures of the classes it was fitted on, the good ones only."""
        from gantk_augment.fit import Fitted

        return Fitted(model, **options)

    def run(self, options: fields.RunOptions, console: Console) -> int:
        from gantk_augment.use import run

        return run(options, console)

    def evaluate(self, options: fields.EvalOptions, console: Console) -> int:
        from gantk_augment.evaluate import evaluate

        return evaluate(options, console)
