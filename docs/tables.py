"""The tables of options in the docs, made from the models that make the command line.

    python docs/tables.py          writes them between their marks in docs/*.md

`tests/test_docs_options.py` holds that they are up to date.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from gantk_augment import options as augment
from gantk_generate import options as generate
from gantk_superres import options as superres
from gantk_text2image import options as text2image
from gantk_translate import options as translate
from gantoolkit.task import Options, TrainConfig

FOLDER = Path(__file__).parent
MARKED = re.compile(r"(<!-- options: (\S+) -->\n).*?(<!-- end of options -->)", re.DOTALL)


def table(model: type[Options], without: Collection[str] = ()) -> str:
    """Markdown: an option a row, with what it takes, its default and what it does."""
    rows = [_row(name, field) for name, field in model.model_fields.items() if name not in without]
    return "\n".join(["| option | takes | default | what it does |", "|---|---|---|---|", *rows]) + "\n"


def _row(name: str, field: FieldInfo) -> str:
    extra = field.json_schema_extra
    flags: Any = extra.get("flags", []) if isinstance(extra, dict) else []
    if "ARGUMENT" in flags:
        shown = f"`{name.upper()}…`"
    else:
        shown = ", ".join(f"`{flag}`" for flag in [*flags, "--" + name.replace("_", "-")])
    default = "" if field.default in (None, []) else f"`{_plain(field.default)}`"
    return f"| {shown} | {_kind(field.annotation)} | {default} | {(field.description or '').replace('|', '·')} |"


def _plain(value: Any) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def _kind(annotation: Any) -> str:
    if get_origin(annotation) in (Union, types.UnionType):
        return _kind(next(a for a in get_args(annotation) if a is not type(None)))
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if hasattr(annotation, "__metadata__"):
        return _kind(annotation.__origin__)
    names = {int: "integer", float: "number", bool: "flag", Path: "path"}
    return names.get(annotation, "text")


TABLES: dict[str, Callable[[], str]] = {
    "train": lambda: table(TrainConfig),
    "augment-train": lambda: table(augment.AugmentConfig, without=TrainConfig.model_fields),
    "augment-run": lambda: table(augment.RunOptions),
    "augment-eval": lambda: table(augment.EvalOptions),
    "generate-train": lambda: table(generate.GenerateConfig, without=TrainConfig.model_fields),
    "generate-run": lambda: table(generate.RunOptions),
    "generate-eval": lambda: table(generate.EvalOptions),
    "superres-train": lambda: table(superres.SuperresConfig, without=TrainConfig.model_fields),
    "superres-run": lambda: table(superres.RunOptions),
    "superres-eval": lambda: table(superres.EvalOptions),
    "text2image-train": lambda: table(text2image.Text2ImageConfig, without=TrainConfig.model_fields),
    "text2image-run": lambda: table(text2image.RunOptions),
    "text2image-eval": lambda: table(text2image.EvalOptions),
    "translate-train": lambda: table(translate.TranslateConfig, without=TrainConfig.model_fields),
    "translate-run": lambda: table(translate.RunOptions),
    "translate-eval": lambda: table(translate.EvalOptions),
}


def filled(text: str) -> str:
    """The page with every marked table made anew."""
    return MARKED.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], text)


def main() -> None:
    for page in sorted(FOLDER.glob("*.md")):
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
