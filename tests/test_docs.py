"""The docs say what the code does: every hook with its signature, every block of the tutorial as it runs."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from gantoolkit import cli, hookspecs, plugins
from gantoolkit.testing import TaskConformance

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
EXAMPLE = ROOT / "examples" / "gantk-minimal"
HOOKS = {name: spec for name, spec in vars(hookspecs).items() if name.startswith("gantk_")}
TUTORIAL = (DOCS / "write-a-plugin.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def words(text: str) -> str:
    return " ".join(text.split())


def test_every_hook_is_documented_with_its_signature() -> None:
    text = (DOCS / "hooks.md").read_text(encoding="utf-8")
    shown = re.findall(r"^### `(\w+)(.*)`$", text, re.MULTILINE)
    real = [(name, str(inspect.signature(spec)).replace("'", "")) for name, spec in HOOKS.items()]
    assert shown == real


@pytest.mark.parametrize("name", HOOKS)
def test_a_hooks_page_begins_with_what_its_docstring_says(name: str) -> None:
    text = (DOCS / "hooks.md").read_text(encoding="utf-8")
    section = text.split(f"### `{name}(")[1].split("\n", 1)[1]
    first_sentence = words(inspect.getdoc(HOOKS[name]) or "").split(". ")[0].rstrip(".")
    assert words(section).startswith(first_sentence)


def test_the_hooks_in_hooks_md_load(tmp_path: Path) -> None:
    (block,) = blocks((DOCS / "hooks.md").read_text(encoding="utf-8"), "python")
    (tmp_path / "ring.py").write_text(block)
    found = plugins.discover(plugins_dir=tmp_path, installed=False)
    assert found.records[-1].tasks == ["ring"], found.records[-1].error
    assert f"GANTK_API = {hookspecs.API_VERSION}" in block


def test_the_one_file_plugin_does_what_the_tutorial_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-plugins").mkdir()
    (tmp_path / "my-plugins" / "hello.py").write_text(blocks(TUTORIAL, "python")[0])
    (session,) = blocks(TUTORIAL, "console")
    tried = re.findall(r"^\$ gantk (.*)\n((?:(?!\$ ).*\n)*)", session, re.MULTILINE)
    assert len(tried) >= 4
    for command, output in tried:
        assert cli.call(shlex.split(command)) == 0, command
        assert capsys.readouterr().out == output, command


@pytest.mark.parametrize(
    ("language", "file"),
    [("toml", "pyproject.toml"), ("python", "gantk_minimal/__init__.py"), ("python", "gantk_minimal/ring.py")],
)
def test_the_tutorial_shows_the_example_as_it_is(language: str, file: str) -> None:
    assert (EXAMPLE / file).read_text(encoding="utf-8") in blocks(TUTORIAL, language)


def test_the_tutorials_test_class_is_one() -> None:
    names: dict[str, Any] = {}
    exec(blocks(TUTORIAL, "python")[-1], names)
    assert issubclass(names["TestRing"], TaskConformance) and names["TestRing"].task == "ring"


@pytest.mark.parametrize("page", ["hooks.md", "metrics.md", "write-a-plugin.md"])
def test_links_lead_somewhere(page: str) -> None:
    prose = re.sub(r"^```.*?^```$", "", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\(([^)#:]+)\)", prose)
    assert targets and all((DOCS / target).exists() for target in targets)
