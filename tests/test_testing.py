"""What plugin authors test with: the promise about sample pictures, kept and broken."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gantoolkit.task import Stage
from gantoolkit.testing import TaskConformance

GOOD = np.zeros((2, 3, 3), np.uint8)
numbers: Iterator[int] = count()


def check(sample: Any) -> None:
    """Run the conformance test on a task that draws `sample()`."""
    made = SimpleNamespace(
        dataset=lambda config, data: None,
        game=lambda config, dataset, stage: SimpleNamespace(networks=dict),
        sample=lambda config, dataset, networks: sample(),
    )
    TaskConformance().test_samples_are_pictures(made, None, [Stage("only", 1)], None)  # type: ignore[arg-type]


@pytest.mark.parametrize("shown", [None, GOOD, {"samples": GOOD}, {"samples": GOOD, "nearest neighbours": GOOD}, {}])
def test_one_picture_or_several_by_name(shown: Any) -> None:
    check(lambda: shown)


@pytest.mark.parametrize(
    ("sample", "why"),
    [
        (lambda: GOOD.astype(np.float32), "only/samples"),
        (lambda: {"samples": GOOD, "strip": GOOD[..., :1]}, "only/strip"),
        (lambda: {"samples": GOOD, "../strip": GOOD}, "not a file name"),
        (lambda: {"": GOOD}, "not a file name"),
        (
            lambda: {"samples": GOOD, "strip": GOOD + np.uint8(next(numbers) % 256)},
            "only/strip: the inputs are not fixed",
        ),
        (lambda: {f"at {next(numbers)}": GOOD}, "other names"),
    ],
)
def test_broken_promises_are_named(sample: Any, why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        check(sample)
