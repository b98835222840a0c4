"""`gantk models`: list, show, import and export."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from gantoolkit.errors import UsageError


@click.group()
def models() -> None:
    """Trained models: those that plugins bring, and those you imported."""


@models.command("list")
@click.option("--task", help="only this task's models")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def list_models(task: str | None, as_json: bool) -> None:
    """Models by name; those marked * are taken when you name none."""
    from gantoolkit.model import imported, user_models
    from gantoolkit.plugins import current, missing

    plugins = current()
    if task is not None:
        plugins.task(task)  # an unknown one is a mistake, not a task without models
    rows = [
        {
            "name": entry.name,
            "task": entry.task,
            "summary": entry.summary,
            "licence": entry.licence,
            "default": entry.default,
            "missing": missing(entry),
        }
        for entry in plugins.models(task)
    ]
    rows += [
        {
            "name": name,
            "task": of,
            "summary": f"imported, {user_models() / name}",
            "licence": "",
            "default": False,
            "missing": None,
        }
        for name, of in imported()
        if task in (None, of)
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    width = max((len(str(row["name"])) for row in rows), default=0) + 2
    for row in rows:
        click.echo(f"{'*' if row['default'] else ' '} {row['name']:<{width}}{row['task']:<12}{row['summary']}")
        if row["missing"]:
            click.echo(f"  {'':<{width + 12}}not installed: {row['missing']}")
    if not rows:
        click.echo("no models; train one, or bring one in with gantk models import FILE")


@models.command("show")
@click.argument("name")
@click.option("--task", help="the task it is for, where two have a model of that name")
@click.option("--json", "as_json", is_flag=True, help="print JSON")
def show(name: str, task: str | None, as_json: bool) -> None:
    """A model's networks, size and card. NAME is a name, a model folder or a run."""
    from gantoolkit.model import find

    model = find(task, name)
    if as_json:
        click.echo(json.dumps({**model.describe(), "card": model.card}, indent=2))
        return
    described = model.describe()
    for key in ("name", "task"):
        click.echo(f"{key:<12}{described[key]}")
    if described["network"]:
        values = ", ".join(f"{key} {value}" for key, value in described["network"].items())
        click.echo(f"{'network':<12}{values}")
    for variant, size in described["parameters"].items():
        click.echo(f"{'weights':<12}{variant}: {size:,} numbers")
    if model.card:
        click.echo(f"\n{model.card.rstrip()}")


@models.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="what to call it  [default: the file's name]")
@click.option("--task", default="superres", show_default=True, help="the task it is for")
@click.option("--force", is_flag=True, help="replace a model of that name")
def import_model(file: Path, name: str | None, task: str, force: bool) -> None:
    """Bring in another toolkit's weights (.pth, .safetensors). Nothing in the file is executed."""
    from gantoolkit.model import import_folder
    from gantoolkit.plugins import current

    folder = import_folder(name or file.stem)
    if folder.name in {entry.name for entry in current().models()}:  # of any task: `find` looks at imported ones first
        raise UsageError(f"a plugin brings a model called {folder.name!r}", remedy="choose another name with --name")
    if folder.exists() and not force:
        raise UsageError(f"there is a model called {folder.name!r}", remedy="add --force to replace it, or --name")
    model = current().task(task).import_model(file)
    model.save(folder, half=False, force=force)
    click.echo(f"imported to {folder}\nnext: gantk run {task} --model {shlex.quote(folder.name)}")


@models.command("export")
@click.argument("name")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--task", help="the task it is for, where two have a model of that name")
@click.option("--force", is_flag=True, help="replace an existing file")
def export(name: str, target: Path, task: str | None, force: bool) -> None:
    """Write a model in another format, checked to compute the same; the suffix of TARGET says which."""
    from gantoolkit.cli.console import Terminal
    from gantoolkit.model import find
    from gantoolkit.plugins import current

    if target.exists() and not force:
        raise UsageError(f"{target} already exists", remedy="add --force to replace it")
    model = find(task, name)
    current().task(model.task).export(model, target, Terminal())
