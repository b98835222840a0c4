"""Checkpoints: atomic, hashed, exact, and free of pickles.

A state is a tree of mappings and lists with tensors and JSON values as leaves. It is written as one folder:

    state.safetensors   every tensor, by its path in the tree
    state.json          the rest of the tree, with {"$tensor": path} in the tensors' places
    manifest.json       the SHA-256 of both

The folder appears under its final name only when it is complete and on the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gantoolkit.errors import InputError

MANIFEST = "manifest.json"


def save(state: Mapping[str, Any], folder: Path) -> Path:
    """Write `state` to `folder`, which must not exist yet; nothing is left behind on failure.

    Mappings have strings or integers as keys, not both, and no key starts with "$". Lists and tuples come back as
    lists; tensors with the bits, type and memory order that they had.

    Raises:
        InputError: the disk is full or read-only, or the folder exists.
        TypeError, ValueError: the state holds something else than such a tree.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    tensors: dict[str, Any] = {}
    tree = _split(state, "", tensors)
    try:
        temporary.mkdir(parents=True)
        save_file(tensors, temporary / "state.safetensors")
        (temporary / "state.json").write_text(json.dumps(tree))
        files = {path.name: _sha256(path) for path in sorted(temporary.iterdir())}
        (temporary / MANIFEST).write_text(json.dumps({"format": 1, "sha256": files}, indent=1))
        for path in [*temporary.iterdir(), temporary]:
            _sync(path)
        temporary.rename(folder)
        _sync(folder.parent)
    except (OSError, SafetensorError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"cannot write the checkpoint {folder}: {why}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def load(folder: Path) -> dict[str, Any]:
    """Read a state back.

    Raises:
        InputError: the folder is missing, incomplete, or its hashes do not match.
    """
    from safetensors.torch import load_file

    problem = verify(folder)
    if problem:
        raise InputError(f"checkpoint {folder} cannot be used: {problem}")
    tensors = load_file(folder / "state.safetensors")
    return _join(json.loads((folder / "state.json").read_text()), tensors)


def verify(folder: Path) -> str | None:
    """What is wrong with a checkpoint, or None."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        for name, digest in manifest["sha256"].items():
            if _sha256(folder / name) != digest:
                return f"{name} does not match its hash"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def listed(folder: Path) -> list[Path]:
    """Complete-looking checkpoints (`nimg-NUMBER`) in a folder, newest first."""
    found = {p: re.fullmatch(r"nimg-(\d+)", p.name) for p in folder.glob("nimg-*") if (p / MANIFEST).is_file()}
    return sorted((p for p, match in found.items() if match), key=lambda p: int(p.name[5:]), reverse=True)


def newest(folder: Path) -> Path | None:
    """The newest checkpoint that verifies."""
    return next((path for path in listed(folder) if verify(path) is None), None)


def prune(folder: Path, keep: int, always: Collection[str] = ()) -> None:
    """Delete all but the newest `keep` checkpoints and those whose names are in `always`, and half-written ones."""
    for path in listed(folder)[keep:]:
        if path.name not in always:
            shutil.rmtree(path)
    for path in folder.glob("*.tmp"):
        shutil.rmtree(path, ignore_errors=True)


def _split(node: Any, path: str, tensors: dict[str, Any]) -> Any:
    import torch

    if isinstance(node, torch.Tensor):
        # a copy, since safetensors refuses two names for one storage; stored in the order in which it lies in
        # memory, since another one may add up in another order and end in other bits
        order = sorted(range(node.ndim), key=node.stride, reverse=True)
        tensor = node.detach().permute(order)
        plain = node.is_contiguous() or not tensor.is_contiguous()
        tensors[path] = (node.detach() if plain else tensor).cpu().clone(memory_format=torch.contiguous_format)
        return {"$tensor": path} if plain else {"$tensor": path, "order": order}
    if isinstance(node, Mapping):
        numbered = {type(key) for key in node} == {int}  # JSON knows only strings as keys; optimizers number theirs
        if not numbered and any(not isinstance(key, str) or key.startswith("$") for key in node):
            raise ValueError(f"a checkpoint cannot hold the keys {list(node)} at {path or '/'}")
        items = {str(key): _split(value, f"{path}/{_escaped(str(key))}", tensors) for key, value in node.items()}
        return {"$numbered": items} if numbered else items
    if isinstance(node, (list, tuple)):
        return [_split(value, f"{path}/{index}", tensors) for index, value in enumerate(node)]
    return node


def _escaped(key: str) -> str:
    """A key as a part of a path, so that no two paths are alike (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def _join(node: Any, tensors: Mapping[str, Any]) -> Any:
    import torch

    if isinstance(node, dict):
        if "$tensor" in node:
            tensor = tensors[node["$tensor"]]
            if node.get("channels_last"):  # as earlier versions wrote it
                return tensor.to(memory_format=torch.channels_last)
            order = node.get("order")
            return tensor if order is None else tensor.permute([order.index(dim) for dim in range(tensor.ndim)])
        if "$numbered" in node:
            return {int(key): _join(value, tensors) for key, value in node["$numbered"].items()}
        return {key: _join(value, tensors) for key, value in node.items()}
    if isinstance(node, list):
        return [_join(value, tensors) for value in node]
    return node


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
