"""Options from pydantic models: what click shows, what the user typed, and what mistakes say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import click
import pytest
from click.testing import CliRunner
from hypothesis import given as cases
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from gantoolkit.cli.options import WithArguments, arguments, assignments, given, merged, parameters, validated
from gantoolkit.errors import UsageError
from gantoolkit.task import Options, TrainConfig, option


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    lr: float = 0.1


class Example(Options):
    """Many kinds of options."""

    files: list[str] = option([], "what to work on", "ARGUMENT")
    count: PositiveInt = option(3, "how many", "-n")
    rate: float | None = option(None, "how fast", ge=0)
    scale: Literal[2, 4] = option(4, "which scale")
    kind: Literal["a", "b"] | None = option(None, "which kind")
    out: Path = option(Path("out"), "where to")
    tags: list[str] = option([], "any number", "-t")
    slow: bool = option(False, "take it slowly", "-s")
    sure: bool = option(True, "be sure")
    inner: Inner = option(Inner(), "options within")


class Needs(Options):
    model: str = option(..., "which model")


def typed(*words: str) -> dict[str, Any]:
    """What the user typed, by field."""
    seen: dict[str, Any] = {}
    command = click.Command("x", params=parameters(Example), callback=lambda **values: seen.update(values))
    result = CliRunner().invoke(command, list(words), standalone_mode=False)
    if result.exception:
        raise result.exception
    return given(seen, Example)


def test_what_was_not_typed_is_absent() -> None:
    assert typed() == {}
    assert validated(Example, typed()) == Example()


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["-n", "5"], {"count": 5}),
        (["--rate", "0"], {"rate": 0.0}),
        (["--scale", "2"], {"scale": 2}),
        (["--kind", "b"], {"kind": "b"}),
        (["--out", "é"], {"out": Path("é")}),
        (["-t", "x", "--tags", "y"], {"tags": ["x", "y"]}),
        (["one", "two"], {"files": ["one", "two"]}),
        (["--slow"], {"slow": True}),
        (["-s", "--no-sure"], {"slow": True, "sure": False}),
    ],
)
def test_typed_words_become_the_fields_values(words: list[str], values: dict[str, Any]) -> None:
    assert typed(*words) == values
    assert validated(Example, values).model_dump(include=set(values)) == values


def test_help_comes_from_the_fields() -> None:
    command = WithArguments("x", params=parameters(Example), arguments=arguments(Example))
    text = command.get_help(click.Context(command, max_content_width=200, terminal_width=200))
    lines = {line.split()[0]: " ".join(line.split()) for line in text.splitlines() if line.strip()}
    assert lines["FILES"] == "FILES what to work on"
    assert lines["-n,"] == "-n, --count INTEGER how many [default: 3]"
    assert lines["--scale"] == "--scale [2|4] which scale [default: 4]"
    assert lines["-s,"] == "-s, --slow take it slowly"
    assert lines["--sure"] == "--sure / --no-sure be sure [default: on]"
    assert lines["--rate"] == "--rate FLOAT how fast"
    assert "--inner" not in text, "a model within has no option of its own"
    needs = click.Command("x", params=parameters(Needs))
    assert "which model  [required]" in needs.get_help(click.Context(needs))


@pytest.mark.parametrize(
    ("model", "values", "message"),
    [
        (Example, {"count": 0}, "--count: should be greater than 0, got 0"),
        (Example, {"scale": 3}, "--scale: should be 2 or 4, got 3"),
        (Example, {"coutn": 1}, "no option is called 'coutn'; did you mean count or out?"),
        (Example, {"inner": {"rl": 1}}, "no option is called 'inner.rl'; did you mean lr?"),
        (Example, {"inner": {"lr": "x"}}, "--inner: should be a valid number"),
        (Needs, {}, "--model is required"),
    ],
)
def test_mistakes_name_the_option(model: type[Options], values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        validated(model, values)
    assert str(caught.value).startswith(message)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("a=1", 1),
        ("a=1e-4", 1e-4),
        ("a=true", True),
        ("a = word ", "word"),
        ("a=", ""),
        ("a=x=y", "x=y"),
        ('a="1"', "1"),
        ("a=[1, 2]", [1, 2]),
        ("a=/tmp/é b", "/tmp/é b"),
    ],
)
def test_set_takes_toml_or_plain_words(pair: str, value: Any) -> None:
    assert assignments([pair]) == {"a": value}


def test_set_reaches_into_tables_and_the_last_one_wins() -> None:
    assert assignments(["a.b=1", "a.c=2", "d=3", "a.b=4"]) == {"a": {"b": 4, "c": 2}, "d": 3}


@pytest.mark.parametrize("pair", ["a", "=1", "", ".a=1", "a.=1"])
def test_what_assigns_nothing_is_refused(pair: str) -> None:
    with pytest.raises(UsageError, match="not an assignment"):
        assignments([pair])


json_values = st.one_of(
    st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), st.text("abcé _-:/")
)


@cases(st.text("abc_", min_size=1), json_values)
def test_any_json_value_goes_through_set(key: str, value: Any) -> None:
    assert assignments([f"{key}={json.dumps(value)}"]) == {key: value}


@cases(st.text())
def test_set_never_fails_otherwise(text: str) -> None:
    try:
        assert len(assignments([text])) == 1
    except UsageError:
        assert "=" not in text or not all(part.strip() for part in text.partition("=")[0].split("."))


def test_layers_merge_table_by_table() -> None:
    below = {"a": {"x": 1, "y": 2}, "b": 1, "c": {"z": 1}}
    assert merged(below, {"a": {"y": 3}, "c": 5}, {"b": {"q": 1}}) == {"a": {"x": 1, "y": 3}, "b": {"q": 1}, "c": 5}
    assert below["a"] == {"x": 1, "y": 2}, "layers are left as they were"


@pytest.mark.parametrize(("name", "value"), [("seed", -1), ("seed", 2**62 + 1), ("threads", -1), ("batch", 0)])
def test_numbers_that_no_training_can_use_are_refused(name: str, value: int) -> None:
    with pytest.raises(ValidationError):
        TrainConfig(**{name: value})


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_numbers_that_are_not_finite_are_refused(value: float) -> None:
    class Rates(Options):
        lr: float = option(1.0, "a rate")

    with pytest.raises(ValidationError, match="finite"):
        Rates(lr=value)
