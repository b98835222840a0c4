"""A finished tree in one file or in shards: it appears whole or not at all, and its manifest goes with it."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gantk_augment import manifest
from gantk_augment.options import RunOptions
from gantk_augment.shards import is_sharded
from gantk_augment.tree import OTHER, Tree
from gantoolkit.errors import InputError, UsageError

if TYPE_CHECKING:
    from gantk_augment.sink import Sink

Format = Literal["folder", "zip", "webdataset"]


def format_of(options: RunOptions) -> Format:
    """As asked for; else a zip for a name that ends in .zip, shards for data that come in shards, or a folder."""
    if options.format is not None:
        return options.format
    if options.out is not None and options.out.suffix.lower() == ".zip":
        return "zip"
    return "webdataset" if options.data is not None and is_sharded(options.data) else "folder"


def workplace(out: Path, format: Format) -> Path:
    """The folder in which the tree grows: the result itself, or one beside it that is packed at the end."""
    return out if format == "folder" else out.with_name(f"{out.name}.partial")


def is_complete(out: Path, format: Format, header: dict[str, Any], force: bool) -> bool:
    """Whether the packed result of this very command is there.

    Raises:
        UsageError: something else is there, and it is not to be replaced. A folder that holds anything but shards of
            an earlier command never is.
    """
    if not out.exists():
        return False
    there: Format = "zip" if out.is_file() else "webdataset"
    found = _header(out)
    if (there, found) == (format, header):
        return True
    if out.is_dir() and any(out.iterdir()) and (found is None or not all(map(_is_shard, out.iterdir()))):
        what = f"{out} is a folder that holds other things than shards of an earlier command"
        raise UsageError(what, remedy="name another place with -o")
    if not force:
        raise UsageError(f"{out} is there already, and not the result of this command", remedy=OTHER)
    return False


def _header(out: Path) -> dict[str, Any] | None:
    """Of the manifest in a zip or a folder; None where there is none of ours."""
    try:
        if out.is_file():
            with zipfile.ZipFile(out) as archive:
                line = archive.open(manifest.NAME).readline()
        else:
            with (out / manifest.NAME).open("rb") as file:
                line = file.readline()
        found = manifest.parse(line)
    except (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile):
        return None
    return found if isinstance(found, dict) and found.get("manifest") == manifest.VERSION else None


def _is_shard(path: Path) -> bool:
    """Whether it is what a result in shards is made of."""
    return path.is_file() and (path.name == manifest.NAME or bool(re.fullmatch(r"data-\d{6,}\.tar", path.name)))


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
