"""The policy "gan": new pictures of a class by a fitted generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gantk_augment.fit import TRIES, Fitted
from gantoolkit.errors import GantkError, InputError, UsageError
from gantoolkit.model import find
from gantoolkit.samples import Made, Request, Sample


class Gan:
    """Pictures by what `gantk train augment` fitted, or by a generate model with classes.

    Args:
        settings: {"model": a name, a model's folder or a run's}.

    Raises:
        UsageError: other settings, or no such model.
        InputError: a model that makes no labelled pictures.
    """

    name = "gan"
    needs_source = False
    chunk = 64

    def __init__(self, settings: Mapping[str, Any]) -> None:
        if set(settings) != {"model"} or not settings["model"]:
            raise UsageError(
                "the policy gan needs a model and nothing else",
                expected='settings {"model": NAME}',
                actual=dict(settings),
                remedy="name one with --model; `gantk train augment DATA/` fits it",
            )
        self.fitted = Fitted(find(None, settings["model"]), device="cpu")

    def make(self, requests: Sequence[Request]) -> list[Made | GantkError]:
        """A picture of each request's class, or the error that kept it from being made; targets are its label."""
        rows = [i for i, request in enumerate(requests) if request.label in self.fitted.classes]
        labels = [str(requests[i].label) for i in rows]
        pictures, parameters = self.fitted.pictures(labels, [requests[i].seed for i in rows])
        made: list[Made | GantkError] = [self._unknown(request.label) for request in requests]
        for row, picture, how in zip(rows, pictures, parameters, strict=True):
            label = requests[row].label
            if how is None:
                made[row] = InputError(
                    f"no sample of class {label} passed the filters after {TRIES} tries",
                    remedy="fit the generator longer, or with milder filters",
                )
            else:
                made[row] = Made(Sample(picture, label), {"model": self.fitted.name, **how})
        return made

    def _unknown(self, label: str | None) -> InputError:
        return InputError(
            "the generator makes pictures of its own classes only",
            expected=", ".join(self.fitted.classes),
            actual="a picture without a class" if label is None else f"class {label}",
            remedy="fit one on these data with `gantk train augment DATA/`",
        )
