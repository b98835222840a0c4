"""The command line: parse, call, map errors to exit codes. No logic lives here, and nothing heavy is
imported before it is used."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from gantoolkit import __version__
from gantoolkit.errors import GantkError, InputError

COMMANDS = {  # name -> module with a `command`, and the line in `gantk --help`
    "run": ("gantoolkit.cli.tasks:run", "Use a task: gantk run superres photo.jpg"),
    "train": ("gantoolkit.cli.tasks:train", "Train a task on your data; the same command again resumes."),
    "eval": ("gantoolkit.cli.tasks:evaluate", "Measure a model; every figure comes with its protocol."),
    "models": ("gantoolkit.cli.models:models", "List, show, import and export trained models."),
    "data": ("gantoolkit.cli.inspect:data", "Say what a folder of data looks like to a task."),
    "plugins": ("gantoolkit.cli.inspect:plugins", "List plugins: what is loaded, what is broken and why."),
    "doctor": ("gantoolkit.cli.inspect:doctor", "Describe this installation, fit for a bug report."),
}


# what a path meets on this machine, whatever the code: no bug, and not worth a traceback
OF_THE_MACHINE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOSPC})


class Lazy(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from gantoolkit.plugins import current

        return [*COMMANDS, *current().commands()]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        import importlib

        from gantoolkit.plugins import current

        if name in COMMANDS:
            module, _, attribute = COMMANDS[name][0].partition(":")
            return getattr(importlib.import_module(module), attribute)
        return current().commands().get(name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from gantoolkit.plugins import current

        rows = [(name, text) for name, (_, text) in COMMANDS.items()]
        rows += [(name, command.get_short_help_str()) for name, command in current().commands().items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
        entries = current().tasks()
        if entries:
            with formatter.section("Tasks"):
                formatter.write_dl([(entry.name, entry.summary) for entry in entries])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        from gantoolkit.errors import UsageError
        from gantoolkit.plugins import current, near

        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            if name in [entry.name for entry in current().tasks()]:
                raise UsageError(f"{name!r} is a task", remedy=f"type gantk run {name}, or train, or eval")
            raise UsageError(f"no command is called {name!r}", remedy=near(name, self.list_commands(ctx)))
        return super().resolve_command(ctx, args)


@click.group(
    cls=Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="First try: gantk run superres",
)
@click.version_option(__version__, prog_name="gantk")
@click.option("--plugins-dir", type=click.Path(path_type=Path), help="a folder whose .py files are plugins too")
@click.option("--no-plugins", is_flag=True, help="leave out other people's plugins (they run code when loaded)")
def cli(plugins_dir: Path | None, no_plugins: bool) -> None:
    """Generative adversarial networks as plugins: train, run and measure them, offline."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script. Exit codes: 0 done, 1 a bug, 2 usage, 3 bad input, 4 some files failed, 5 a broken
    plugin, 130 interrupted."""
    sys.exit(call(sys.argv[1:] if arguments is None else list(arguments)))


def call(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; only bugs raise."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    for stream in (sys.stdout, sys.stderr):  # a file's name may hold what a terminal cannot show
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _call(list(arguments))
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except GantkError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:  # the reader of our output is gone, as in `gantk … | head`: nothing is wrong
        _drop_output()
        return 0
    except OSError as error:
        if error.filename is not None and error.errno in OF_THE_MACHINE:
            click.echo(f"error: {error.filename}: {error.strerror}", err=True)
            return InputError.exit_code
        if not _is_of_output(error):
            raise
        _drop_output()
        click.echo(f"error: cannot write to standard output: {error.strerror}", err=True)
        return InputError.exit_code
    finally:
        try:
            if sys.stdout is not None:
                sys.stdout.flush()
        except OSError:  # what an error left behind; it was said
            _drop_output()
        if "torch" in sys.modules:
            from gantoolkit.distributed import leave

            leave()


def _is_of_output(error: OSError) -> bool:
    """Whether it arose where standard output is written."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_code in (click.echo.__code__, call.__code__)


def _drop_output() -> None:
    """Else Python would try again to print it, and complain, at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _call(arguments: list[str]) -> int:
    """click's own `main` answers a broken pipe with exit code 1, so its two steps are taken here."""
    _discover(arguments)
    try:
        with cli.make_context("gantk", list(arguments), obj=arguments) as ctx:
            return int(cli.invoke(ctx) or 0)
    except click.exceptions.Exit as done:  # --help, --version
        return done.exit_code


def _discover(arguments: list[str]) -> None:
    """Find the plugins before click lists commands and tasks, since plugins bring both."""
    from gantoolkit import plugins

    with cli.make_context("gantk", list(arguments), resilient_parsing=True) as ctx:
        folder, bare = ctx.params.get("plugins_dir"), ctx.params.get("no_plugins")
    plugins.use(plugins.discover(plugins_dir=folder, installed=not bare))


__all__ = ["call", "cli", "main"]
