"""`gantk run`, `gantk train` and `gantk eval`: one subcommand a task, with options made from its models."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gantoolkit.errors import InputError, PluginError, UsageError

if TYPE_CHECKING:
    from gantoolkit.task import Task


class ByTask(click.Group):
    """A group with a subcommand for every task on offer; its module is imported when it is asked for."""

    def __init__(self, make: Callable[[Task], click.Command], **attributes: Any) -> None:
        super().__init__(subcommand_metavar="TASK [ARGS]...", **attributes)
        self.make = make

    def list_commands(self, ctx: click.Context) -> list[str]:
        from gantoolkit.plugins import current

        return [entry.name for entry in current().tasks()]

    def get_command(self, ctx: click.Context, name: str) -> click.Command:
        from gantoolkit.plugins import current

        plugins = current()
        known = [entry.name for entry in plugins.tasks()]
        if name not in known and Path(name).exists():
            raise UsageError(
                f"{name!r} is a file or folder, where a task was expected",
                remedy=f"put the task first: gantk {self.name} {' or '.join(known) or 'TASK'} {name}",
            )
        return self.make(plugins.task(name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from gantoolkit.plugins import current

        with formatter.section("Tasks"):
            formatter.write_dl([(entry.name, entry.summary) for entry in current().tasks()])


def _speaking() -> list[click.Parameter]:
    return [
        click.Option(["--quiet", "-q"], is_flag=True, help="say nothing but warnings and errors"),
        click.Option(["--json", "as_json"], is_flag=True, help="print results as JSON lines"),
    ]


def _with_options(task: Task, model: Any, what: str, call: Callable[..., int]) -> click.Command:
    """A command whose options are the fields of `model`."""
    from gantoolkit.cli.console import Terminal
    from gantoolkit.cli.options import WithArguments, arguments, given, parameters, validated

    if model is None:
        raise UsageError(f"the task {task.name!r} has nothing to {what}")

    def callback(quiet: bool, as_json: bool, **values: Any) -> int:
        options = validated(model, given(values, model))
        return call(options, Terminal(quiet=quiet, as_json=as_json))

    return WithArguments(
        task.name,
        callback=callback,
        params=_together(task, parameters(model), _speaking()),
        help=_help(model, task),
        arguments=arguments(model),
    )


def _together(task: Task, *groups: list[click.Parameter]) -> list[click.Parameter]:
    """The parameters in order. A task's field that takes a name of ours would be lost without a word."""
    together = [parameter for group in groups for parameter in group]
    flags = [flag for parameter in together for flag in parameter.opts if isinstance(parameter, click.Option)]
    names = [str(parameter.name) for parameter in together]
    twice = sorted({name for name in names + flags if (names + flags).count(name) > 1})
    if twice:
        raise PluginError(f"the task {task.name!r} has an option {twice[0]!r} that is gantk's own, or there twice")
    return together


def _help(model: Any, task: Task) -> str:
    """The model's own docstring, else the task's summary; pydantic's inherited ones say nothing to a user."""
    return model.__dict__.get("__doc__") or task.summary


def _run_command(task: Task) -> click.Command:
    return _with_options(task, task.RunOptions, "run", task.run)


def _eval_command(task: Task) -> click.Command:
    return _with_options(task, task.EvalOptions, "evaluate", task.evaluate)


def _train_command(task: Task) -> click.Command:
    from gantoolkit.cli.options import WithArguments, parameters

    config = task.Config
    if config is None:
        raise UsageError(f"the task {task.name!r} has nothing to train")
    presets = ", ".join(task.presets) or "none"
    own: list[click.Parameter] = [
        click.Argument(["data"], required=False, type=click.Path(path_type=Path)),
        click.Option(["--run"], type=click.Path(path_type=Path), help="the run's folder  [default: runs/TASK-DATA]"),
        click.Option(["--preset"], metavar="NAME", help=f"a named starting point: {presets}"),
        click.Option(["--config", "file"], type=click.Path(path_type=Path), help="a TOML file of options"),
        click.Option(
            ["--set", "pairs"],
            multiple=True,
            metavar="KEY=VALUE",
            help="one option of the config, any number of times",
        ),
        click.Option(["--dry-run"], is_flag=True, help="print the resolved config as JSON and stop"),
    ]

    def callback(quiet: bool, as_json: bool, **values: Any) -> int:
        return _train(task, values, quiet=quiet, as_json=as_json)

    return WithArguments(
        task.name,
        callback=callback,
        params=_together(task, own, parameters(config), _speaking()),
        help=_help(config, task),
        arguments=[("DATA", "the folder to train on, where the task needs one")],
        epilog="Later ones win: preset, file, --set, options. The same command again resumes the run.",
    )


def _train(task: Task, values: dict[str, Any], *, quiet: bool, as_json: bool) -> int:
    from gantoolkit import devices, distributed
    from gantoolkit.cli.options import assignments, given, merged, validated
    from gantoolkit.display import TrainingDisplay
    from gantoolkit.train import Training, resolve

    assert task.Config is not None
    layers = [
        _preset(task, values.pop("preset")),
        _toml(values.pop("file")),
        assignments(values.pop("pairs")),
        given(values, task.Config),
    ]
    config = resolve(validated(task.Config, merged(*layers)))
    data: Path | None = values["data"]
    run: Path = values["run"] or Path("runs") / (f"{task.name}-{data.resolve().name}" if data else task.name)
    if values["dry_run"]:
        click.echo(config.model_dump_json(indent=2))
        return 0
    devices.hold_memory()
    team = distributed.join()
    stages = task.stages(config)
    display = TrainingDisplay(
        sum(stage.nimg for stage in stages),
        quiet=quiet or not team.leader,
        json=as_json and team.leader,
        stages=[stage.name for stage in stages],
        title=f"{task.name} → {run}",
    )
    with display:
        training = Training(
            task,
            config,
            data,
            run,
            team=team,
            on_row=display.update,
            command=["gantk", *click.get_current_context().find_root().obj],
        )
        outcome = training.play()
    if team.leader and not quiet and not as_json:
        click.echo(f"report: {run / 'report.html'}")
        if outcome.model:
            click.echo(f"model:  {outcome.model}")
            if task.RunOptions is not None:
                click.echo(f"next:   gantk run {task.name} --model {shlex.quote(str(outcome.model))}")
    return 0


def _preset(task: Task, name: str | None) -> dict[str, Any]:
    if name is None:
        return {}
    if name not in task.presets:
        from gantoolkit.plugins import near

        raise UsageError(f"the task {task.name!r} has no preset {name!r}", remedy=near(name, task.presets))
    return dict(task.presets[name])


def _toml(path: Path | None) -> dict[str, Any]:
    import tomllib

    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not TOML: {error}") from error


run = ByTask(_run_command, name="run", help="Use a task on your own inputs.")
train = ByTask(_train_command, name="train", help="Train a task; the same command again resumes.")
evaluate = ByTask(_eval_command, name="eval", help="Measure a model; every figure comes with its protocol.")
