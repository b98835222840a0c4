"""Devices and precisions by name: what is there is taken, what is not is said."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gantoolkit.devices import pick_device, pick_precision
from gantoolkit.errors import UsageError


def test_auto_is_something_that_is_there() -> None:
    assert pick_device(pick_device("auto")) == pick_device("auto")
    assert pick_precision("auto", "cpu") in ("fp32", "bf16") and pick_precision("fp16", "cpu") == "fp16"


@pytest.mark.parametrize("name", ["cpu:x", "cpu:1", "cpu:-1", "", ":", "nonsense", "meta", "cuda:99", None])
def test_a_device_that_is_not_there_is_refused(name: Any) -> None:
    with pytest.raises(UsageError, match=r"device .* is not available here, expected cpu.*; use --device auto"):
        pick_device(name)


def test_graphics_cards_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [pick_device(name) for name in ("cuda", "cuda:1", "cpu:0")] == ["cuda", "cuda:1", "cpu:0"]
    with pytest.raises(UsageError, match=r"'cuda:2' is not available here, expected cpu, cuda:0 to cuda:1"):
        pick_device("cuda:2")


@pytest.mark.parametrize("name", ["fp8", "", None])
def test_a_precision_that_does_not_exist_is_refused(name: Any) -> None:
    with pytest.raises(UsageError, match="unknown precision, expected auto or fp32 or bf16 or fp16"):
        pick_precision(name, "cpu")
