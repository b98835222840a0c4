"""Command-line options made from a pydantic model, and values given back to it."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import click
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from gantoolkit.errors import UsageError

M = TypeVar("M", bound=BaseModel)


class WithArguments(click.Command):
    """A command whose help describes its positional arguments too, from the fields they come from."""

    def __init__(self, *args: Any, arguments: Sequence[tuple[str, str]] = (), **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.arguments = list(arguments)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.arguments:
            with formatter.section("Arguments"):
                formatter.write_dl(self.arguments)
        super().format_options(ctx, formatter)


def parameters(model: type[BaseModel]) -> list[click.Parameter]:
    """One click parameter a field: the name, type, default and description are the field's.

    A field that is itself a model has no option; files and `--set NAME.FIELD=VALUE` reach into it.
    """
    return [_parameter(name, field) for name, field in model.model_fields.items() if not _is_model(field)]


def arguments(model: type[BaseModel]) -> list[tuple[str, str]]:
    """(name, description) of the fields that are positional arguments."""
    return [
        (name.upper(), field.description or "")
        for name, field in model.model_fields.items()
        if "ARGUMENT" in _flags(field)
    ]


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
        place = [str(part) for part in first["loc"]]
        if first["type"] == "extra_forbidden":
            from gantoolkit.plugins import near

            known = near(place[-1], _fields(model, place))
            raise UsageError(f"no option is called {'.'.join(place)!r}", remedy=known) from None
        name = f"--{place[0].replace('_', '-')}" if place else model.__name__
        if first["type"] == "missing":
            raise UsageError(f"{name} is required") from None
        problem = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        raise UsageError(f"{name}: {problem}", actual=repr(first["input"])) from None


def assignments(pairs: Sequence[str]) -> dict[str, Any]:
    """`("batch=8", "critic.lr=1e-4")` → {"batch": 8, "critic": {"lr": 1e-4}}; values are TOML or plain words.

    Raises:
        UsageError: a text that assigns nothing.
    """
    import tomllib

    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        path = [part.strip() for part in key.split(".")]
        if not equals or not all(path):
            raise UsageError(f"--set {pair}: not an assignment", expected="KEY=VALUE")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        for part in reversed(path):
            value = {part: value}
        values = merged(values, value)
    return values


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Tables laid over each other, the last one winning; tables within them too."""
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = result.get(key)
            both = isinstance(below, Mapping) and isinstance(value, Mapping)
            result[key] = merged(below, value) if both else value  # type: ignore[arg-type]
    return result


def _parameter(name: str, field: FieldInfo) -> click.Parameter:
    flags = _flags(field)
    kind, several = _plain(field.annotation)
    if "ARGUMENT" in flags:
        return click.Argument([name], nargs=-1 if several else 1, required=False, type=_click_type(kind))
    dashed = "--" + name.replace("_", "-")
    text = (field.description or "") + _default(field)
    if kind is bool:
        both = f"{dashed}/--no-{dashed[2:]}" if field.default is True else dashed
        return click.Option([both, *flags], is_flag=True, default=None, help=text)
    return click.Option([dashed, *flags], type=_click_type(kind), multiple=several, default=None, help=text)


def _flags(field: FieldInfo) -> list[str]:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return [str(flag) for flag in extra.get("flags", ())]  # type: ignore[union-attr]


def _default(field: FieldInfo) -> str:
    default = field.default
    if field.is_required():
        return "  [required]"
    if field.default_factory is not None or default in (None, "", (), []) or default is False:
        return ""
    return f"  [default: {'on' if default is True else default}]"


def _is_model(field: FieldInfo) -> bool:
    kind, _ = _plain(field.annotation)
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _fields(model: type[BaseModel], place: Sequence[str]) -> list[str]:
    """The names that are known where an unknown one was given."""
    for part in place[:-1]:
        kind, _ = _plain(model.model_fields[part].annotation) if part in model.model_fields else (None, False)
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        model = kind
    return list(model.model_fields)


def _plain(annotation: Any) -> tuple[Any, bool]:
    """(type of one value, whether there are several), with Optional and Annotated taken off."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return _plain(next(a for a in get_args(annotation) if a is not type(None)))
    if origin in (list, tuple):
        return _plain(get_args(annotation)[0])[0], True
    if hasattr(annotation, "__metadata__"):
        return _plain(annotation.__origin__)
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
