"""Every random number generator that a step may draw from, as one state: this process's torch, numpy and Python."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Start torch (CPU and GPU), numpy and Python from one seed."""
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def state(engine: torch.Generator, device: torch.device) -> dict[str, Any]:
    """The state of all generators: tensors and JSON values."""
    numpy_state: Any = np.random.get_state(legacy=False)
    return {
        "engine": engine.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": {
            "key": torch.from_numpy(numpy_state["state"]["key"].astype(np.int64)),
            "pos": int(numpy_state["state"]["pos"]),
            "gauss": [int(numpy_state["has_gauss"]), float(numpy_state["gauss"])],
        },
        "python": list(random.getstate()[1]),
        "python_gauss": random.getstate()[2],
    }


def load(saved: Mapping[str, Any], engine: torch.Generator, device: torch.device, own: bool = True) -> None:
    """Put all generators back; without `own` only the engine's, which all processes share."""
    engine.set_state(saved["engine"])
    if not own:
        return
    torch.set_rng_state(saved["torch"])
    if saved["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(saved["cuda"], device)
    key, (has_gauss, gauss) = saved["numpy"]["key"], saved["numpy"]["gauss"]
    numpy_state = {"key": key.numpy().astype(np.uint32), "pos": saved["numpy"]["pos"]}
    np.random.set_state({"bit_generator": "MT19937", "state": numpy_state, "has_gauss": has_gauss, "gauss": gauss})
    random.setstate((3, tuple(saved["python"]), saved["python_gauss"]))
