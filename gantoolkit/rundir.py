"""The folder of a run: what it is of, and whether a command may go on in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gantoolkit.data import Dataset
from gantoolkit.errors import InputError, UsageError
from gantoolkit.runlog import write_atomically
from gantoolkit.task import FREE

CONFIG = "config.json"  # the resolved config that the run can be repeated from
CHECKPOINTS = "checkpoints"


def refuse_another(run: Path, resolved: Mapping[str, Any]) -> None:
    """Nothing if the folder is new, or holds a run of the same task, data and config but for what is `FREE`.

    Args:
        run: the folder.
        resolved: what the config of this command's run will be, JSON.

    Raises:
        UsageError: it holds another run, with the names of what differs, or something else than a run.
    """
    if not (run / CONFIG).is_file():
        return
    known = _known(run)
    changed = [key for key in ("task", "data") if known.get(key) != resolved[key]]
    names = known["config"].keys() | resolved["config"].keys()
    changed += [key for key in sorted(names - FREE) if known["config"].get(key) != resolved["config"].get(key)]
    if changed:
        raise UsageError(
            f"{run} holds a run with another {', '.join(changed)}",
            remedy="name another folder with --run, or repeat the first command to resume",
        )


def refuse_changed(run: Path, dataset: Mapping[str, Any]) -> None:
    """Nothing if the folder is new, or its run is of these data; see `identity`.

    Raises:
        UsageError: the data are not what they were when the run began.
    """
    then = _known(run).get("dataset") if (run / CONFIG).is_file() else None
    if isinstance(then, dict) and then != dataset:  # the runs of earlier versions do not know theirs
        raise UsageError(
            f"the data of the run in {run} have changed since it began",
            expected=_described(then),
            actual=_described(dataset),
            remedy="put back what they were, or train on these with another folder (--run)",
        )


def begin(run: Path, resolved: Mapping[str, Any]) -> None:
    """Make the folder, and write into it what its run is of.

    Raises:
        InputError: it cannot be written to.
    """
    try:
        (run / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {run}: {error.strerror}", remedy="--run names a folder") from error
    write_atomically(run / CONFIG, json.dumps(resolved, indent=2).encode())


def identity(dataset: Dataset) -> dict[str, Any]:
    """By which a run knows its data again, JSON: how many samples, and their fingerprint where they have one."""
    return {"samples": len(dataset), "fingerprint": getattr(dataset, "fingerprint", None)}


def _described(data: Mapping[str, Any]) -> str:
    samples, fingerprint = data.get("samples"), data.get("fingerprint")
    return f"{samples} samples" + (f" (fingerprint {str(fingerprint)[:12]})" if fingerprint else "")


def _known(run: Path) -> dict[str, Any]:
    try:
        known = json.loads((run / CONFIG).read_text())
        if isinstance(known, dict) and isinstance(known["config"], dict):
            return known
    except (OSError, ValueError, KeyError):
        pass
    raise UsageError(f"{run} holds something else than a run", remedy="name another folder with --run")
