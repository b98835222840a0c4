"""Plugins as they come: real distributions on sys.path and single files, most of them broken in some way."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from gantoolkit import cli, hookspecs, plugins
from gantoolkit.errors import InputError, PluginError, UsageError
from gantoolkit.plugins import Candidate, Plugins, current, discover

HEAD = "from gantoolkit import ModelEntry, Task, TaskEntry, hookimpl\n"
TASK = """
class Dots(Task):
    name, summary = "dots", "draw dots"

@hookimpl
def gantk_tasks():
    return [TaskEntry("dots", "draw dots", Dots)]
"""
BROKEN = {  # name -> (source, what the record says)
    "import-fails": ("import no_such_module_anywhere", "no_such_module_anywhere"),
    "syntax": ("def", "SyntaxError"),
    "exits": ("raise SystemExit(7)", "SystemExit: 7"),
    "not-an-exception": ("raise type('Odd', (BaseException,), {})('oddly')", "Odd: oddly"),
    "old-api": ("GANTK_API = 0", "expected version 1, got 0"),
    "unknown-hook": ("@hookimpl\ndef gantk_taskz(): return []", "unknown hook 'gantk_taskz'"),
    "wrong-argument": ("@hookimpl\ndef gantk_on_step(row, colour): pass", "colour"),
    "unmarked": ("def gantk_tasks(): return []", "gantk_tasks is not marked as a hook; put @hookimpl above it"),
    "hook-raises": ("@hookimpl\ndef gantk_tasks(): raise ValueError('not\\ntoday')", "ValueError: not today"),
    "not-a-list": ("@hookimpl\ndef gantk_tasks(): return TaskEntry('a', 'b', 'c:D')", "not iterable"),
    "not-entries": ("@hookimpl\ndef gantk_tasks(): return ['dots']", "expected a list of TaskEntry"),
    "twice": ("@hookimpl\ndef gantk_tasks(): return 2 * [TaskEntry('a', 'b', 'c:D')]", "'a' twice"),
    "our-task": (
        "@hookimpl\ndef gantk_tasks(): return [TaskEntry('superres', 'mine', 'c:D')]",
        "offers the task 'superres', which gantoolkit offers already",
    ),
    "our-command": (
        "import click\n@hookimpl\ndef gantk_commands(): return [click.Command('run')]",
        "offers the command 'run', which gantoolkit offers already",
    ),
}


class Site:
    """A folder on sys.path with minimal distributions in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def add(self, name: str, source: str, *, point: str | None = None, version: str = "1.5") -> Path:
        """Install a distribution `name` with one module and one entry point (`point`, or its own name)."""
        module = f"mod_{name.replace('-', '_')}"
        (self.folder / f"{module}.py").write_text(HEAD + dedent(source))
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n{point or name} = {module}\n")
        importlib.invalidate_caches()
        return info


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    before = set(sys.modules)
    made = Site(tmp_path / "site")
    monkeypatch.syspath_prepend(made.folder)
    yield made
    for name in set(sys.modules) - before:
        if name.startswith(("mod_", "gantk_file_")):
            del sys.modules[name]


def record(found: Plugins, name: str) -> plugins.Record:
    return next(record for record in found.records if record.name == name)


def hooks_called(found: Plugins) -> dict[str, list[str]]:
    """Hook → the plugins that implement it, and every other name that hangs on the manager."""
    return {
        name: [i.plugin_name for i in c.get_hookimpls()]
        for name, c in vars(found.manager.hook).items()
        if name[0] != "_"
    }


# ---- a good one ----


def test_a_distribution_is_found_with_its_version_and_tasks(site: Site) -> None:
    site.add("dots-for-all", TASK, point="dots")
    found = discover()
    assert record(found, "dots") == plugins.Record("dots", "dots-for-all", "1.5", "loaded", "", ["dots"])
    assert found.task("dots").summary == "draw dots"
    assert found.records[0].source == "gantoolkit", "ours come first"


def test_a_single_file_is_a_plugin(site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "dots.py").write_text(HEAD + TASK)
    found = discover(plugins_dir=folder, installed=False)
    assert record(found, "dots").source == str(folder / "dots.py")
    assert found.task("dots").name == "dots"


def test_plugins_dir_must_be_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        discover(plugins_dir=tmp_path / "nowhere")


def test_offers_of_every_kind_are_found_by_name(site: Site) -> None:
    site.add(
        "offers",
        """
        import click

        @hookimpl
        def gantk_models():
            models = [ModelEntry(n, t, "", load=dict) for n, t in [("b", "x"), ("a", "x"), ("b", "y")]]
            return [*models, ModelEntry("z", "x", "", load=dict, default=True)]

        @hookimpl
        def gantk_features():
            return {"eyes": list}

        @hookimpl
        def gantk_metrics():
            return {"sizes": lambda real, fake: (real, fake)}

        @hookimpl
        def gantk_commands():
            return [click.Command("hello", callback=lambda: click.echo("hello to you"), help="Say hello.")]
        """,
    )
    found = discover()
    assert record(found, "offers").error == ""
    assert [(e.task, e.name) for e in found.models("x")] == [("x", "z"), ("x", "a"), ("x", "b")], "default first"
    assert [e.task for e in found.models() if e.name == "b"] == ["x", "y"], "one name for two tasks is no clash"
    assert found.features()["eyes"]() == []
    assert found.metrics()["sizes"](1, 2) == (1, 2)
    assert list(found.commands()) == ["hello"]


def test_a_plugins_command_is_gantks(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.add(
        "greets",
        """
        import click

        @hookimpl
        def gantk_commands():
            return [click.Command("hello", callback=lambda: click.echo("hello to you"), help="Say hello.")]
        """,
    )
    assert cli.call(["hello"]) == 0
    assert cli.call(["--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("hello to you") and "Say hello." in shown


# ---- broken ones ----


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_reported_and_leaves_no_trace(name: str, site: Site) -> None:
    untouched = hooks_called(discover())
    source, expected = BROKEN[name]
    site.add(name, source)
    found = discover()
    broken = record(found, name)
    assert broken.status == "broken" and expected in broken.error and "\n" not in broken.error
    assert (broken.source, broken.version) == (name, "1.5")
    assert hooks_called(found) == untouched
    assert found.task("superres").name == "superres"


def test_all_broken_at_once_stop_nothing(site: Site) -> None:
    """The issue's own case, in a real process: each listed, and the main job's help answers."""
    for name, (source, _) in BROKEN.items():
        site.add(name, source)
    site.add("a-copy", TASK, point="superres")
    site.add("dots", TASK)
    environment = {"PYTHONPATH": str(site.folder), "PATH": "", "HOME": str(site.folder)}

    def gantk(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "gantoolkit", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    listed = gantk("plugins", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    rows = {(row["name"], row["source"]): row for row in json.loads(listed.stdout)}
    assert {(name, name) for name in BROKEN} <= rows.keys()
    assert all(rows[name, name]["status"] == "broken" and rows[name, name]["error"] for name in BROKEN)
    assert rows["superres", "gantoolkit"]["status"] == "loaded"
    assert "already taken by gantoolkit" in rows["superres", "a-copy"]["error"]
    assert rows["dots", "dots"]["tasks"] == ["dots"]
    people = gantk("plugins", "list").stdout
    assert all(name in people and expected in people for name, (_, expected) in BROKEN.items())
    helped = gantk("run", "superres", "--help")
    assert helped.returncode == 0 and "Usage: gantk run superres" in helped.stdout and not helped.stderr


def test_asking_for_a_broken_plugins_task_exits_5_with_the_reason(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.add("dots-inc", "import no_such_module_anywhere", point="dots")
    assert cli.call(["run", "dots"]) == 5
    assert "no_such_module_anywhere" in capsys.readouterr().err


def test_a_task_that_a_broken_plugin_had_named_exits_5(site: Site) -> None:
    """Its module offers two tasks, one of them ours: all of it is left out, and both names are explained."""
    both = "@hookimpl\ndef gantk_tasks(): return [TaskEntry(n, '', 'c:D') for n in ('superres', 'lines')]"
    site.add("greedy", both)
    with pytest.raises(PluginError, match="greedy offers the task 'superres', which gantoolkit offers already"):
        discover().task("lines")


@pytest.mark.parametrize("target", ["no_such_module_anywhere:Dots", "json:NoSuchClass", "mod_late:Exits"])
def test_a_task_that_cannot_be_loaded_exits_5(target: str, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    exits = "class Exits:\n    def __init__(self): raise SystemExit('bye')\n"
    site.add("late", f"{exits}@hookimpl\ndef gantk_tasks(): return [TaskEntry('late', '', {target!r})]")
    assert cli.call(["--help"]) == 0
    assert cli.call(["train", "late"]) == 5
    assert "the task 'late' cannot be loaded" in capsys.readouterr().err


def test_an_unknown_task_exits_2_with_near_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.call(["run", "supperres"]) == 2
    assert "did you mean superres?" in capsys.readouterr().err


def test_two_plugins_with_one_task_name_both(site: Site) -> None:
    site.add("first", TASK)
    site.add("second", TASK)
    found = discover()
    assert found.task("dots").name == "dots"
    assert record(found, "second").error == "second offers the task 'dots', which first offers already"


def test_one_module_under_two_names_loads_once(site: Site) -> None:
    site.add("first", TASK)
    site.add("second", "").joinpath("entry_points.txt").write_text(f"[{plugins.GROUP}]\nsecond = mod_first\n")
    found = discover()
    assert [record(found, name).status for name in ("first", "second")] == ["loaded", "broken"]
    assert hooks_called(found)["gantk_tasks"].count("first") == 1


def test_a_distribution_without_metadata_has_the_modules_name(site: Site) -> None:
    (site.add("bare", TASK) / "METADATA").unlink()
    assert record(discover(), "bare").source in ("bare", "mod_bare")


def test_damaged_entry_points_hide_nobody(site: Site) -> None:
    """One distribution's unreadable list makes `importlib.metadata.entry_points` raise for all."""
    site.add("dots", TASK)
    site.add("damaged", "").joinpath("entry_points.txt").write_bytes(f"[{plugins.GROUP}]\nno sense\n".encode())
    found = discover()
    assert record(found, "dots").status == record(found, "superres").status == "loaded"
    assert record(found, "damaged").status == "broken"


# ---- left out ----


def marker(site: Site) -> Path:
    """A plugin that leaves a file behind when it is imported."""
    ran = site.folder / "ran"
    site.add("nosy", f"open({str(ran)!r}, 'w').close()\n{TASK}")
    return ran


def test_a_blocked_plugin_is_not_imported(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = marker(site)
    monkeypatch.setenv(plugins.DISABLED, "other, nosy")
    found = discover()
    assert not ran.exists()
    assert record(found, "nosy").status == "disabled" and plugins.DISABLED in record(found, "nosy").error
    monkeypatch.delenv(plugins.DISABLED)
    discover()
    assert ran.exists(), "the file is the proof that importing shows"


def test_no_plugins_lists_without_importing(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = marker(site)
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "hand.py").write_text("")
    assert cli.call(["--no-plugins", "--plugins-dir", str(folder), "plugins", "list"]) == 0
    assert not ran.exists()
    assert record(current(), "nosy").status == "disabled"
    assert record(current(), "hand").status == "loaded", "a folder named by hand is wanted"
    assert record(current(), "superres").status == "loaded"
    assert "left out by --no-plugins" in capsys.readouterr().out


def test_a_disabled_plugins_task_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(plugins.DISABLED, "superres")
    with pytest.raises(UsageError, match=r"'superres' .* is disabled: named in GANTK_DISABLED_PLUGINS"):
        discover().task("superres")


# ---- observers ----


class Observer:
    def __init__(self, *, fails: bool) -> None:
        self.fails, self.rows = fails, []

    @plugins.hookspecs.hookimpl
    def gantk_on_step(self, row: Any) -> None:
        self.rows.append(row)
        if self.fails:
            raise ValueError("cannot watch")


def test_an_observer_that_fails_is_left_out_and_the_others_go_on() -> None:
    found, bad, good = Plugins(), Observer(fails=True), Observer(fails=False)
    found.add(Candidate("good", "here", lambda: good))
    found.add(Candidate("bad", "there", lambda: bad))
    first = found.notify("gantk_on_step", row={"nimg": 1})
    assert first == ["gantk_on_step of the plugin 'bad' failed and is now left out: ValueError: cannot watch"]
    assert found.notify("gantk_on_step", row={"nimg": 2}) == []
    assert [row["nimg"] for row in good.rows] == [1, 2]
    assert len(bad.rows) == 1
    assert found.notify("gantk_on_run_end", run=Path(), status="done") == []


def test_ctrl_c_during_discovery_is_not_a_broken_plugin() -> None:
    def load() -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Plugins().add(Candidate("slow", "here", load))


# ---- the process's own ----


def test_our_commands_are_reserved() -> None:
    assert set(plugins.OUR_COMMANDS) == set(cli.COMMANDS)


def test_every_hook_that_offers_something_is_collected() -> None:
    nouns = {name for name in vars(hookspecs) if name.startswith("gantk_") and not name.startswith("gantk_on_")}
    assert nouns == set(plugins.OFFERS)


def test_plugins_are_discovered_once_until_told_otherwise() -> None:
    first = current()
    assert current() is first
    plugins.use(None)
    assert current() is not first
