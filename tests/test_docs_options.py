"""The docs' tables of options say what the command line takes."""

from __future__ import annotations

from pathlib import Path

from docs import tables

PAGES = sorted((Path(__file__).parents[1] / "docs").glob("*.md"))


def test_tables_are_up_to_date():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert tables.filled(text) == text, f"run `python docs/tables.py`: {page.name} is out of date"


def test_every_table_is_in_the_docs():
    marks = [mark for page in PAGES for _, mark, _ in tables.MARKED.findall(page.read_text(encoding="utf-8"))]
    assert sorted(marks) == sorted(tables.TABLES)


def test_a_changed_option_changes_its_table():
    stale = "<!-- options: superres-run -->\n| a stale table |\n<!-- end of options -->"
    made = tables.filled(stale)
    assert "a stale table" not in made
    assert "| `-o`, `--out` |" in made
    assert "| `-s`, `--scale` | `2`, `3`, `4` |" in made
