"""The command line: parse, call, map errors to exit codes. No logic lives here, and nothing heavy is imported early."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from gantoolkit import __version__
from gantoolkit.errors import GantkError

COMMANDS = {  # name -> module with a `command`, and the line in `gantk --help`
    "run": ("gantoolkit.cli.tasks:run", "Use a task: gantk run superres photo.jpg"),
    "train": ("gantoolkit.cli.tasks:train", "Train a task on your data; the same command again resumes."),
    "eval": ("gantoolkit.cli.tasks:evaluate", "Measure a model; every figure comes with its protocol."),
    "models": ("gantoolkit.cli.models:models", "List, show, import and export trained models."),
    "data": ("gantoolkit.cli.inspect:data", "Say what a folder of data looks like to a task."),
    "plugins": ("gantoolkit.cli.inspect:plugins", "List plugins: what is loaded, what is broken and why."),
    "doctor": ("gantoolkit.cli.inspect:doctor", "Describe this installation, fit to paste into a bug report."),
}


class Lazy(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *self._from_plugins()]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        import importlib

        if name in COMMANDS:
            module, _, attribute = COMMANDS[name][0].partition(":")
            return getattr(importlib.import_module(module), attribute)
        return self._from_plugins().get(name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, text) for name, (_, text) in COMMANDS.items()]
        rows += [(name, command.get_short_help_str()) for name, command in self._from_plugins().items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
        from gantoolkit.plugins import current

        entries = current().tasks()
        if entries:
            with formatter.section("Tasks"):
                formatter.write_dl([(entry.name, entry.summary) for entry in entries])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        from gantoolkit.errors import UsageError
        from gantoolkit.plugins import near

        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise UsageError(f"no command is called {args[0]!r}", remedy=near(args[0], self.list_commands(ctx)))
        return super().resolve_command(ctx, args)

    @staticmethod
    def _from_plugins() -> dict[str, click.Command]:
        from gantoolkit.plugins import current

        offered = [command for commands in current().hook.gantk_commands() for command in commands]
        return {command.name: command for command in offered if command.name and command.name not in COMMANDS}


@click.group(
    cls=Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="First try: gantk run superres",
)
@click.version_option(__version__, prog_name="gantk")
@click.option("--plugins-dir", type=click.Path(path_type=Path), help="A folder whose .py files are plugins too.")
@click.option("--no-plugins", is_flag=True, help="Leave out other people's plugins (they run code when loaded).")
def cli(plugins_dir: Path | None, no_plugins: bool) -> None:
    """Generative adversarial networks as plugins: train, run and measure them, offline."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script. Exit codes: 0 done, 1 a bug, 2 usage, 3 bad input, 4 some files failed, 5 a broken
    plugin, 130 interrupted."""
    sys.exit(call(sys.argv[1:] if arguments is None else list(arguments)))


def call(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; only bugs raise."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    arguments = list(arguments)
    try:
        _discover(arguments)
        return int(cli.main(arguments, prog_name="gantk", standalone_mode=False) or 0)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except GantkError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:  # the reader of our output is gone: `gantk … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        if "torch" in sys.modules:
            from gantoolkit.distributed import leave

            leave()


def _discover(arguments: list[str]) -> None:
    """Find the plugins before click lists commands and tasks, since plugins bring both."""
    from gantoolkit import plugins

    with cli.make_context("gantk", list(arguments), resilient_parsing=True) as ctx:
        folder, bare = ctx.params.get("plugins_dir"), ctx.params.get("no_plugins")
    plugins.use(plugins.discover(plugins_dir=folder, installed=not bare))


__all__ = ["call", "cli", "main"]
