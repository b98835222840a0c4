"""What a training shows of its networks on the way: sample pictures at fixed inputs, and held-out figures."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gantoolkit.data import Dataset
from gantoolkit.engine import Engine
from gantoolkit.metrics import MetricCard
from gantoolkit.runlog import RunLog, SilentLog
from gantoolkit.task import Task, TrainConfig


class Look:
    """Looks at the networks of one stage as a user would get them: averaged, and in eval mode.

    Args:
        task: makes the samples and scores.
        config, dataset: of the training.
        engine: plays the stage.
        run: the run's folder.
        log: where samples and figures are noted.
        on_row: called with the rows of figures.
    """

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        dataset: Dataset,
        engine: Engine,
        run: Path,
        log: RunLog | SilentLog,
        on_row: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self.task, self.config, self.dataset, self.engine = task, config, dataset, engine
        self.run, self.log, self.on_row = run, log, on_row
        networks = engine.game.networks()
        self._shown = {name: copy.deepcopy(network).eval().requires_grad_(False) for name, network in networks.items()}

    def averaged(self) -> dict[str, dict[str, Any]]:
        """Network -> state, averaged where its player keeps an average."""
        return {
            name: {k: v.detach().clone() for k, v in self.engine.averages.get(name, network.state_dict()).items()}
            for name, network in self.engine.game.networks().items()
        }

    def sample(self, nimg: int) -> None:
        """Write what the task shows, at so many images of the run."""
        with self._looking() as networks:
            shown = self.task.sample(self.config, self.dataset, networks)
        if shown is None:
            return
        from PIL import Image

        pictures = shown if isinstance(shown, Mapping) else {"samples": shown}
        for index, (name, picture) in enumerate(pictures.items()):
            prefix = f"{name.replace(' ', '-')}-" if index else ""
            path = self.run / "samples" / f"{prefix}nimg-{nimg:09d}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(picture).save(path)
            self.log.sample(nimg, path.relative_to(self.run), name=name, **({"aside": True} if index else {}))

    def score(self, nimg: int, stage: str) -> Sequence[MetricCard]:
        """Held-out figures, at so many images of the run; logged."""
        with self._looking() as networks:
            cards = self.task.score(self.config, self.dataset, networks, stage)
        for card in cards:
            self.on_row(self.log.metric(nimg, asdict(card), stage=stage))  # it says what is not finite
        return cards

    @contextmanager
    def _looking(self) -> Iterator[Mapping[str, nn.Module]]:
        """The networks to look at; random numbers are put back afterwards."""
        rng = self.engine.rng_state()
        for name, state in self.averaged().items():
            self._shown[name].load_state_dict(state)
        with torch.no_grad():
            yield self._shown
        self.engine.load_rng_state(rng)
