"""Exceptions meant for users: one line each, with a remedy and an exit code.

An error that a user can cause is a `GantkError`; the CLI prints its one line and exits with `exit_code`.
Anything else is a bug and keeps its traceback (exit code 1).
"""

from __future__ import annotations


class GantkError(Exception):
    """What went wrong, what was expected, what was found, and what to do about it, on one line.

    Args:
        what: the problem in plain words, naming the file, option or network.
        expected: what would have been right.
        actual: what was found instead.
        remedy: the next thing to try.
    """

    exit_code = 3

    def __init__(self, what: str, *, expected: object = None, actual: object = None, remedy: str | None = None) -> None:
        self.what, self.expected, self.actual, self.remedy = what, expected, actual, remedy
        parts = [what]
        if expected is not None:
            parts.append(f"expected {expected}")
        if actual is not None:
            parts.append(f"got {actual}")
        line = ", ".join(parts)
        if remedy:
            line += f"; {remedy}"
        super().__init__(" ".join(line.split()))


class InputError(GantkError):
    """A file, folder or model that cannot be used as it is (exit code 3)."""

    exit_code = 3


class TrainingError(GantkError):
    """A run that cannot go on: the game diverged or its state cannot be restored (exit code 3)."""

    exit_code = 3


class UsageError(GantkError):
    """A command, option or configuration value that makes no sense (exit code 2)."""

    exit_code = 2


class PluginError(GantkError):
    """A plugin that is broken, or two plugins that contradict each other (exit code 5)."""

    exit_code = 5


class Interrupted(GantkError):
    """Ctrl-C or SIGTERM: work was saved and can be resumed (exit code 130)."""

    exit_code = 130
