"""Tables of captions (`captions.jsonl`, `.csv`, `.parquet`): rows of any of them become the same few fields."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gantoolkit.errors import InputError, UsageError

NAMES = ("captions.jsonl", "captions.csv", "captions.parquet", "metadata.jsonl", "metadata.csv", "metadata.parquet")
FILE = ("file", "file_name", "filename", "image", "path")
CAPTION = ("captions", "caption", "text")
SPLITS = {"train": "train", "test": "test", "val": "test", "valid": "test", "validation": "test"}
PREFIX = "attributes."


@dataclass
class Row:
    """What one row, one JSON file or one text says of a picture.

    Attributes:
        file: as written; "" where the place says which picture is meant.
        captions: stripped; empty ones are left out and counted in `empty`.
        attributes: of the picture; empty values are left out.
        split: "train", "test" or None.
    """

    file: str = ""
    captions: tuple[str, ...] = ()
    attributes: dict[str, str] = field(default_factory=dict)
    split: str | None = None
    empty: int = 0


def decoded(content: bytes) -> str:
    """UTF-8 with or without a mark at its start.

    Raises:
        InputError: other bytes; it says where.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text (byte {error.start})", remedy="save it as UTF-8") from None


def lines(text: str) -> Row:
    """Captions of a `.txt`: one a line."""
    return Row(captions=tuple(line.strip() for line in text.splitlines() if line.strip()))


def row(values: Mapping[str, Any], named: bool = True) -> Row:
    """A row of a table, or a sample's JSON, as `Row`.

    Args:
        values: by column; None counts as missing.
        named: it has to name a file.

    Raises:
        InputError: no file, a caption that is no text, attributes or a split that make no sense.
    """
    found = {str(name).strip(): value for name, value in values.items() if name is not None and value is not None}
    file = next((found[name] for name in FILE if name in found), "") if named else ""
    if named and (not isinstance(file, str) or not file.strip()):
        raise InputError("no file is named", expected="a column file")
    made = Row(file=str(file).strip())
    for name in CAPTION:
        texts = _texts(found[name]) if name in found else []
        made.captions += tuple(text.strip() for text in texts if text.strip())
        made.empty += sum(not text.strip() for text in texts)
    given = found.get("attributes", {})
    if isinstance(given, str):
        given = _json(given or "{}", "attributes")
    if not isinstance(given, Mapping):
        raise InputError("attributes make no sense", expected='a mapping such as {"colour": "red"}', actual=repr(given))
    flat = {name.removeprefix(PREFIX): value for name, value in found.items() if name.startswith(PREFIX)}
    for name, value in {**given, **flat}.items():
        if isinstance(value, Mapping | list | tuple):
            raise InputError(f"the attribute {name!r} makes no sense", expected="text or a number", actual=repr(value))
        if value is not None and str(value).strip():
            made.attributes[str(name).strip()] = str(value).strip()
    split = str(found.get("split", "")).strip().lower()
    if split and split not in SPLITS:
        raise InputError("the split makes no sense", expected="train or test", actual=repr(split))
    made.split = SPLITS.get(split)
    return made


def _texts(value: Any) -> Sequence[str]:
    if isinstance(value, str) and value.lstrip().startswith('["'):
        value = _json(value, "captions")
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple) or not all(isinstance(text, str) for text in values):
        raise InputError("a caption is no text", expected="a text or a list of texts", actual=repr(value)[:60])
    return values


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what} is no JSON: {error}") from None


def sample(content: bytes) -> Row:
    """A sample's `.json`.

    Raises:
        InputError: as of `row`, or it is no mapping in JSON.
    """
    values = _json(decoded(content), "it")
    if not isinstance(values, Mapping):
        raise InputError("no mapping in the JSON", expected='such as {"caption": "a red apple"}')
    return row(values, named=False)


def read(name: str, content: bytes) -> Iterator[tuple[str, Row | InputError]]:
    """("line 3", what it says or what is wrong with it) for each row of a table; blank lines are passed over.

    Raises:
        InputError: the table as a whole cannot be read.
        UsageError: pyarrow is missing for a `.parquet`.
    """
    kind = name.rsplit(".", 1)[-1]
    rows = {"jsonl": _jsonl, "csv": _csv, "parquet": _parquet}[kind](content)
    for place, values in rows:
        try:
            if isinstance(values, InputError):
                raise values
            yield place, row(values)
        except InputError as error:
            yield place, error


Raw = Iterator[tuple[str, "Mapping[str, Any] | InputError"]]


def _jsonl(content: bytes) -> Raw:
    # by bytes: one line that is not UTF-8 does not hide the others
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            values = _json(decoded(line), "the line")
            wrong = None if isinstance(values, Mapping) else InputError("the line is no mapping in JSON")
        except InputError as error:
            values, wrong = None, error
        yield f"line {number}", wrong or values


def _csv(content: bytes) -> Raw:
    reader = csv.DictReader(io.StringIO(decoded(content), newline=""), strict=True)
    try:
        columns = [(name or "").strip() for name in reader.fieldnames or ()]
        if not set(FILE) & set(columns) or not set(CAPTION) & set(columns):
            raise InputError("columns are missing", expected="file and caption", actual=", ".join(columns) or "nothing")
        twice = {name for name in columns if columns.count(name) > 1}
        if twice:
            raise InputError(f"the column {min(twice)!r} stands twice")
        for values in reader:
            place = f"line {reader.line_num}"
            if None in values:
                yield place, InputError("more fields than columns", remedy="put captions with commas in quotes")
            else:
                yield place, values
    except csv.Error as error:
        raise InputError(f"damaged at line {reader.line_num}: {error}") from None


def _parquet(content: bytes) -> Raw:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UsageError("a table in Parquet needs the package pyarrow", remedy="pip install pyarrow") from None
    try:
        rows = pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise InputError(f"no Parquet, or damaged: {error}") from None
    for number, values in enumerate(rows, 1):
        yield f"row {number}", values
