"""Every hook that a plugin can implement. Nouns return data; `gantk_on_*` observe a run.

Only arguments are ever added within one API version (`API_VERSION`); a plugin takes those it wants by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import click

    from gantoolkit.entries import TextEncoderEntry
    from gantoolkit.features import Extractor
    from gantoolkit.featureset import FeatureSet
    from gantoolkit.metrics import MetricCard
    from gantoolkit.model import ModelEntry
    from gantoolkit.samples import Policy
    from gantoolkit.task import TaskEntry

API_VERSION = 1
PROJECT = "gantoolkit"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def gantk_tasks() -> Sequence[TaskEntry]:  # type: ignore[empty-body]
    """Tasks that users ask for by name: `gantk train NAME`, `gantk run NAME`, `gantk eval NAME`."""


@hookspec
def gantk_models() -> Sequence[ModelEntry]:  # type: ignore[empty-body]
    """Trained models that come with the plugin or with packages it knows: `--model NAME`."""


@hookspec
def gantk_features() -> Mapping[str, Callable[[], Extractor]]:  # type: ignore[empty-body]
    """Frozen feature extractors for metrics and perceptual losses, by name; made when first asked for."""


@hookspec
def gantk_metrics() -> Mapping[str, Callable[[FeatureSet, FeatureSet], MetricCard]]:  # type: ignore[empty-body]
    """Figures of real and generated pictures, by name; each gets the features of both, the real ones first."""


@hookspec
def gantk_augmentations() -> Mapping[str, Callable[[Mapping[str, Any]], Policy]]:  # type: ignore[empty-body]
    """Policies that make new samples from a data set's, by name: `gantk run augment DATA/ -o OUT/ --policy NAME`.

    Each is made from its settings, a mapping of JSON's own types (a recipe file's content), in every process that
    uses it.
    """


@hookspec
def gantk_text_encoders() -> Sequence[TextEncoderEntry]:  # type: ignore[empty-body]
    """Text encoders that tasks ask for by name: `gantk train text2image DATA/ --encoder NAME`."""


@hookspec
def gantk_commands() -> Sequence[click.Command]:  # type: ignore[empty-body]
    """More commands for `gantk` itself. The module must not import anything heavy to make them."""


@hookspec
def gantk_on_run_start(run: Any, config: Mapping[str, Any]) -> None:
    """A run begins or resumes. `run` is its folder, `config` the resolved configuration."""


@hookspec
def gantk_on_step(row: Mapping[str, Any]) -> None:
    """A row was logged: nimg, step, losses, gradient norms, rate."""


@hookspec
def gantk_on_checkpoint(folder: Any, nimg: int) -> None:
    """A checkpoint was written to `folder`."""


@hookspec
def gantk_on_run_end(run: Any, status: str) -> None:
    """A run ends: `status` is "done", "interrupted" or "failed"."""
