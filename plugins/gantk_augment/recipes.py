"""Recipes: what the policy `classic` does, as YAML that `albumentations.load` reads back."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gantoolkit.errors import InputError, UsageError
from gantoolkit.plugins import near

PRESETS = Path(__file__).with_name("presets")
MAX_BYTES = 100_000
MAX_DEPTH = 20  # of transforms within transforms
MAX_NESTING = 100  # of lists and mappings: PyYAML's time grows with its square


def names() -> tuple[str, ...]:
    """The presets, each a YAML file with the reasons for what it does and leaves out."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.yaml")))


def read(name_or_path: str) -> dict[str, Any]:
    """The settings of the policy `classic`: {"recipe": a pipeline as `albumentations.to_dict` gives it}.

    Args:
        name_or_path: one of `names()`, or a YAML file.

    Raises:
        UsageError: neither a preset nor a file; near names are listed.
        InputError: the file is no recipe, or albumentations refuses what it says.
    """
    if name_or_path in names():
        return {"recipe": parse(PRESETS / f"{name_or_path}.yaml")}
    path = Path(name_or_path)
    if not path.is_file():
        if path.suffix.lower() in (".yaml", ".yml") or path.exists():
            raise UsageError(f"no recipe {path}", expected="a YAML file", actual="a folder" if path.exists() else None)
        raise UsageError(
            f"there is no recipe {name_or_path!r}", remedy=f"{near(name_or_path, names())}, or a YAML file"
        )
    recipe = parse(path)
    try:
        build(recipe)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return {"recipe": recipe}


def build(recipe: Any) -> Any:
    """The pipeline of a recipe: an albumentations transform or composition.

    Raises:
        InputError: not a recipe, an unknown transform, or parameters that it refuses.
    """
    # albumentations asks the network for news of itself unless it is told not to
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations as A

    if not isinstance(recipe, Mapping) or not isinstance(recipe.get("transform"), Mapping):
        raise InputError(
            "this is no recipe", expected="a mapping with the key transform", actual=_kind(recipe),
            remedy="albumentations.save(compose, path, data_format='yaml') writes one",
        )  # fmt: skip
    _check(recipe["transform"], 0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # _check has turned those that matter into errors
            return A.from_dict(dict(recipe))
    except Exception as error:  # whatever a constructor raises, it is the recipe that asked for it
        raise InputError(f"albumentations refuses the recipe: {_reason(error)}") from error


def _check(node: Any, depth: int) -> None:
    """Each transform of a tree by itself, so that an error can name it."""
    import albumentations as A
    from albumentations.core.serialization import NON_SERIALIZABLE_REGISTRY, SERIALIZABLE_REGISTRY, shorten_class_name

    full = node.get("__class_fullname__") if isinstance(node, Mapping) else None
    if not isinstance(full, str):
        raise InputError("a transform without __class_fullname__", actual=_kind(node))
    name = shorten_class_name(full)
    if name in NON_SERIALIZABLE_REGISTRY:
        raise InputError(f"the transform {name} runs code, which a recipe cannot hold")
    if name not in SERIALIZABLE_REGISTRY:
        raise InputError(f"unknown transform {name!r}", remedy=near(name, _offered(A)))
    if depth > MAX_DEPTH:
        raise InputError("transforms within transforms", expected=f"{MAX_DEPTH} deep at most")
    if "transforms" in node:
        if not isinstance(node["transforms"], list):
            raise InputError(f"the transforms of {name}", expected="a list", actual=_kind(node["transforms"]))
        for child in node["transforms"]:
            _check(child, depth + 1)
        return
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            A.from_dict({"transform": dict(node)})
    except Exception as error:
        raise InputError(f"bad parameters of {name}: {_reason(error)}") from error
    # albumentations only warns of an argument that it does not know, and leaves it out
    for warning in caught:
        if "are not valid for transform" in str(warning.message):
            raise InputError(f"bad parameters of {name}: {warning.message}")


def _offered(albumentations: Any) -> list[str]:
    from albumentations.core.serialization import SERIALIZABLE_REGISTRY

    return [name for name in SERIALIZABLE_REGISTRY if hasattr(albumentations, name)]


def parse(path: Path) -> dict[str, Any]:
    """What a YAML file says, in JSON's own types.

    Raises:
        InputError: it cannot be read, is no YAML, or no mapping.
    """
    import yaml

    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} is no recipe", expected=f"at most {MAX_BYTES:,} bytes")
        text = path.read_text(encoding="utf-8")
        nesting = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            nesting += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if nesting > MAX_NESTING:
                raise InputError(f"{path} is no recipe", expected=f"at most {MAX_NESTING} levels")
            # a few hundred bytes of anchors can stand for gigabytes, or for a tree without end
            if isinstance(event, yaml.AliasEvent):
                raise InputError(f"{path} has anchors and aliases (&, *)", remedy="write the repeated part out")
        recipe = yaml.safe_load(text)
        json.dumps(recipe, allow_nan=False)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is no recipe: {_reason(error)}") from error
    if not isinstance(recipe, dict):
        raise InputError(f"{path} is no recipe", expected="a mapping with the key transform", actual=_kind(recipe))
    return recipe


def _kind(value: Any) -> str:
    return f"the keys {', '.join(map(str, list(value)[:5]))}" if isinstance(value, Mapping) else type(value).__name__


def _reason(error: BaseException) -> str:
    """One line: of pydantic's page of text, which parameter and why."""
    from pydantic import ValidationError

    if isinstance(error.__cause__, ValidationError):
        first = error.__cause__.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
    return " ".join(str(error).split())[:200] or type(error).__name__


__all__ = ["build", "names", "parse", "read"]
