"""`gantk run augment` in the process of a test or in its own, and what it left."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from gantk_augment.manifest import NAME
from gantk_augment.options import RunOptions
from gantk_augment.use import run
from gantoolkit.testing import RecordingConsole
from tests.augment import policies


def grow(data: Path, out: Path, recipe: Path | None = None, **options: Any) -> tuple[int, RecordingConsole]:
    """In this process, by the policy noise unless another one is named."""
    console = RecordingConsole()
    told: dict[str, Any] = {"workers": 1}
    if "manifest" not in options:  # which says what is made
        told |= {"policy": "noise", "recipe": str(recipe) if recipe else "photo"}
    return run(RunOptions(data=data, out=out, **{**told, **options}), console), console


def tree(folder: Path) -> dict[str, str]:
    """Name → sha256 of all files, hidden ones, too."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / NAME).read_text().splitlines()][1:]


def command(tmp_path: Path, data: Path, out: Path, *words: str, seconds: float = 0.0, multiply: int = 4) -> list[str]:
    """The same as a process of its own, by a policy that takes so long for each sample."""
    folder, recipe = policies.write(tmp_path, seconds=seconds)
    start = [sys.executable, "-m", "gantoolkit", "--plugins-dir", str(folder), "run", "augment", str(data)]
    return [*start, "-o", str(out), "--policy", "noise", "--recipe", str(recipe), "--multiply", str(multiply), *words]
