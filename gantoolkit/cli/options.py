"""Command-line options made from a pydantic model, and values given back to it."""

from __future__ import annotations

import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import click
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from gantoolkit.errors import UsageError

M = TypeVar("M", bound=BaseModel)


def parameters(model: type[BaseModel]) -> list[click.Parameter]:
    """One click parameter a field: the name, type, default and description are the field's."""
    return [_parameter(name, field) for name, field in model.model_fields.items()]


def given(values: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """What the user typed: fields left alone are absent, so that files and presets can speak for them."""
    return {
        name: list(values[name]) if isinstance(values[name], tuple) else values[name]
        for name in model.model_fields
        if values.get(name) not in (None, ())
    }


def validated(model: type[M], values: Mapping[str, Any]) -> M:
    """The model of these values.

    Raises:
        UsageError: naming the first wrong option, what was expected and what was given.
    """
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or model.__name__
        if first["type"] == "extra_forbidden":
            from gantoolkit.plugins import near

            raise UsageError(f"no option is called {name!r}", remedy=near(name, model.model_fields)) from None
        raise UsageError(f"--{name.replace('_', '-')}: {first['msg']}", actual=repr(first["input"])) from None


def assignments(pairs: tuple[str, ...]) -> dict[str, Any]:
    """`("batch=8", "lr=1e-4")` → {"batch": 8, "lr": 1e-4}: values are TOML, or plain words."""
    import tomllib

    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--set {pair}: not an assignment", expected="KEY=VALUE")
        try:
            values[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            values[key.strip()] = text
    return values


def _parameter(name: str, field: FieldInfo) -> click.Parameter:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    flags = list(extra.get("flags", []))  # type: ignore[arg-type]
    kind, several = _plain(field.annotation)
    if "ARGUMENT" in flags:
        return click.Argument([name], nargs=-1 if several else 1, required=False)
    dashed = "--" + name.replace("_", "-")
    text = field.description or ""
    if kind is bool:
        return click.Option([f"{dashed}/--no-{dashed[2:]}", *flags] if field.default else [dashed, *flags], default=None, help=_with_default(text, field, flag=True))
    return click.Option(
        [dashed, *flags], type=_click_type(kind), multiple=several, default=None, help=_with_default(text, field)
    )


def _with_default(text: str, field: FieldInfo, flag: bool = False) -> str:
    default = field.default
    if default in (None, "", ()) or default == [] or (flag and not default):
        return text
    return f"{text}  [default: {'on' if flag else default}]"


def _plain(annotation: Any) -> tuple[Any, bool]:
    """(type of one value, whether there are several), with Optional and Annotated taken off."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return _plain(next(a for a in get_args(annotation) if a is not type(None)))
    if origin in (list, tuple):
        return _plain(get_args(annotation)[0])[0], True
    return annotation, False


class _OneOf(click.Choice):
    """A choice among JSON values (numbers too), shown and typed as text."""

    def __init__(self, values: tuple[Any, ...]) -> None:
        self.values = {str(value): value for value in values}
        super().__init__(list(self.values))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value in self.values.values() else self.values[super().convert(value, param, ctx)]


def _click_type(kind: Any) -> Any:
    if get_origin(kind) is Literal:
        return _OneOf(get_args(kind))
    if kind is Path:
        return click.Path(path_type=Path)
    return kind if kind in (int, float) else str
