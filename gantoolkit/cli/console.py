"""The terminal as a task's console: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from gantoolkit.task import Console


class Terminal(Console):
    """Lines for people, JSON lines for scripts.

    Args:
        quiet: say nothing but warnings and errors.
        as_json: print results as JSON lines, and nothing else on stdout.
    """

    def __init__(self, *, quiet: bool = False, as_json: bool = False) -> None:
        self.quiet, self.as_json = quiet, as_json

    def say(self, text: str) -> None:
        if not self.quiet and not self.as_json:
            click.echo(text)

    def warn(self, text: str) -> None:
        click.echo(text, err=True)

    def result(self, row: Mapping[str, Any]) -> None:
        if self.as_json:
            click.echo(json.dumps(row, default=str))

    def progress(self, total: int, unit: str, description: str) -> Any:
        from gantoolkit.display import progress

        return progress(total, unit, description, quiet=self.quiet or self.as_json)
