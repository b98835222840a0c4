"""A finished tree in one file or in shards: it appears whole or not at all, and its manifest goes with it."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gantk_augment import manifest
from gantk_augment.options import RunOptions
from gantk_augment.tree import OTHER, Tree
from gantoolkit.errors import InputError, UsageError

if TYPE_CHECKING:
    from gantk_augment.sink import Sink

Format = Literal["folder", "zip", "webdataset"]


def format_of(options: RunOptions) -> Format:
    """As asked for; a name that ends in .zip asks for one, too."""
    named = options.out is not None and options.out.suffix.lower() == ".zip"
    return "zip" if named and options.format == "folder" else options.format


def workplace(out: Path, format: Format) -> Path:
    """The folder in which the tree grows: the result itself, or one beside it that is packed at the end."""
    return out if format == "folder" else out.with_name(f"{out.name}.partial")


def is_complete(out: Path, header: dict[str, Any], force: bool) -> bool:
    """Whether the packed result of this very command is there.

    Raises:
        UsageError: something else is there, and it is not to be replaced.
    """
    if not out.exists():
        return False
    try:
        if out.is_file():
            with zipfile.ZipFile(out) as archive:
                line = archive.open(manifest.NAME).readline()
        else:
            with (out / manifest.NAME).open("rb") as file:
                line = file.readline()
        if manifest.parse(line) == header:
            return True
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        if out.is_dir() and any(out.iterdir()):  # not ours: a whole folder is never replaced
            raise UsageError(f"{out} is a folder, and not the result of this command", remedy=OTHER) from error
    if not force:
        raise UsageError(f"{out} is there already, and not the result of this command", remedy=OTHER)
    return False


def pack(tree: Tree, sink: Sink, out: Path, format: Format) -> None:
    """Make the result of the finished tree, and remove the tree.

    Raises:
        InputError: it cannot be written.
    """
    from gantk_augment.sink import pack_webdataset, pack_zip

    fresh = out.with_name(f"{out.name}.packing")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        if format == "zip":
            pack_zip(tree.folder, fresh)
        else:
            pack_webdataset(tree.folder, tree.described(), fresh, head=sink.head)
            shutil.copyfile(tree.folder / manifest.NAME, fresh / manifest.NAME)
        if out.is_dir():
            shutil.rmtree(out)
        os.replace(fresh, out)  # noqa: PTH105 - over what is there
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror or error}") from error
    discard(tree.folder)


def discard(folder: Path) -> None:
    """Remove a tree that was packed."""
    shutil.rmtree(folder, ignore_errors=True)
