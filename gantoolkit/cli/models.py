"""`gantk models`: list, show, import and export."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gantoolkit.errors import UsageError


@click.group()
def models() -> None:
    """Trained models: those that plugins bring, and those you imported."""


@models.command("list")
@click.option("--task", help="Only this task's models.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_models(task: str | None, as_json: bool) -> None:
    """Models by name; those marked * are taken when you name none."""
    from gantoolkit.model import user_models
    from gantoolkit.plugins import current

    rows = [
        {
            "name": entry.name,
            "task": entry.task,
            "summary": entry.summary,
            "licence": entry.licence,
            "default": entry.default,
            "missing": entry.available(),
        }
        for entry in current().models(task)
    ]
    for path in sorted(user_models().glob("*/config.json")):
        config = json.loads(path.read_text())
        if task in (None, config.get("task")):
            rows.append(
                {
                    "name": path.parent.name,
                    "task": config.get("task"),
                    "summary": f"imported, {path.parent}",
                    "licence": "",
                    "default": False,
                    "missing": None,
                }
            )
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(f"{'*' if row['default'] else ' '} {row['name']:<26}{row['task']:<12}{row['summary']}")
        if row["missing"]:
            click.echo(f"  {'':<38}not installed: {row['missing']}")


@models.command("show")
@click.argument("name")
@click.option("--task", default="superres", show_default=True, help="The task it belongs to.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(name: str, task: str, as_json: bool) -> None:
    """A model's networks, size and card. NAME is a name, a model folder or a run."""
    from gantoolkit.model import find

    model = find(task, name)
    if as_json:
        click.echo(json.dumps(model.describe(), indent=2))
        return
    for key, value in model.describe().items():
        click.echo(f"{key:<12}{value}")
    if model.card:
        click.echo(f"\n{model.card}")


@models.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="What to call it.  [default: the file's name]")
@click.option("--task", default="superres", show_default=True, help="The task it is for.")
@click.option("--force", is_flag=True, help="Replace a model of that name.")
def import_model(file: Path, name: str | None, task: str, force: bool) -> None:
    """Bring in another toolkit's weights (.pth, .safetensors). Nothing in the file is executed."""
    from gantoolkit.model import user_models
    from gantoolkit.plugins import current

    model = current().task(task).import_model(file)
    folder = model.save(user_models() / (name or file.stem), half=False, force=force)
    click.echo(f"imported to {folder}\nnext: gantk run {task} photo.jpg --model {folder.name}")


@models.command("export")
@click.argument("name")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--task", default="superres", show_default=True, help="The task it belongs to.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def export(name: str, target: Path, task: str, force: bool) -> None:
    """Write a model in another format: .onnx (dynamic size, parity checked)."""
    from gantoolkit.cli.console import Terminal
    from gantoolkit.model import find
    from gantoolkit.plugins import current

    if target.exists() and not force:
        raise UsageError(f"{target} already exists", remedy="add --force to replace it")
    current().task(task).export(find(task, name), target, Terminal())
