"""Paths that users name: `~` in them, and files that long work is to write, of which it is said before if it cannot."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from gantoolkit.errors import InputError, UsageError


def expanded(path: Path | str) -> Path:
    """The path with `~` as the home folder; that of a user whom nobody knows stays as it is, and is no file."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path's raises for unknown users


def named(path: Path) -> str:
    """The last part of a path, and what "." or ".." stand for: they have none."""
    return path.resolve().name if path.name in ("", "..") else path.name


def refuse_targets(targets: Iterable[Path | None], *, force: bool | None = None) -> None:
    """Nothing if all of them can be written, as far as can be told without writing.

    Args:
        targets: paths of files; None, for what is not wanted, is passed over.
        force: whether to overwrite what exists; None where users cannot say so.

    Raises:
        UsageError: one exists and is not to be overwritten, or is a folder.
        InputError: there is no way to write it: a folder on the way is a file, read-only or out of reach.
    """
    folders: set[Path] = set()  # many files are in one
    for path in targets:
        if path is None:
            continue
        try:
            _refuse_taken(path, force)
            if path.parent not in folders:
                _refuse_folder(path)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror or error}") from error
        folders.add(path.parent)


def _refuse_taken(path: Path, force: bool | None) -> None:
    if not path.exists():
        return
    if path.is_dir():
        raise UsageError(f"cannot write {path}", expected="the name of a file", actual="a folder")
    if not force:
        other = "give another name" if force is None else "overwrite it with --force, or give another name"
        raise UsageError(f"{path} exists already", remedy=other)


def _refuse_folder(path: Path) -> None:
    nearest = next(folder for folder in path.absolute().parents if folder.exists())
    if not nearest.is_dir():
        raise InputError(f"cannot write {path}: {nearest} is no folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"cannot write {path}: {nearest} is read-only")
