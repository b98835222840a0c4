"""Discovery of plugins: each is loaded on its own, and a broken one is reported, never fatal.

A plugin is a module with hook implementations (`gantoolkit.hookspecs`), offered by an installed distribution under
the entry-point group `gantoolkit.plugins`, or a single `.py` file in a folder given by `--plugins-dir`.
"""

from __future__ import annotations

import difflib
import importlib.metadata as metadata
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from gantoolkit import hookspecs
from gantoolkit.errors import GantkError, InputError, PluginError, UsageError

if TYPE_CHECKING:
    from gantoolkit.model import ModelEntry
    from gantoolkit.task import Task, TaskEntry

GROUP = "gantoolkit.plugins"
OURS = "gantoolkit"
DISABLED = "GANTK_DISABLED_PLUGINS"


@dataclass
class Record:
    """What became of one plugin: `status` is "loaded", "broken" or "disabled"."""

    name: str
    source: str
    version: str = ""
    status: str = "loaded"
    error: str = ""
    tasks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Candidate:
    name: str
    source: str
    version: str
    load: Callable[[], Any]
    ours: bool = False


class Plugins:
    """The plugins of this process: call hooks through `hook`, find tasks and models by name."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(hookspecs.PROJECT)
        self.manager.add_hookspecs(hookspecs)
        self.records: list[Record] = []
        self._tasks: dict[str, TaskEntry] = {}
        self._owner: dict[tuple[str, str], str] = {}

    @property
    def hook(self) -> Any:
        """pluggy's hook caller: `plugins.hook.gantk_on_step(row=row)`."""
        return self.manager.hook

    # ---- loading ----

    def add(self, candidate: _Candidate) -> None:
        """Load and register one plugin; on any failure drop only this one and keep a record."""
        record = Record(candidate.name, candidate.source, candidate.version)
        self.records.append(record)
        module = None
        try:
            self._refuse_taken_name(record)
            module = candidate.load()
            version = getattr(module, "GANTK_API", hookspecs.API_VERSION)
            if version != hookspecs.API_VERSION:
                raise PluginError(
                    "made for another plugin API", expected=f"version {hookspecs.API_VERSION}", actual=version
                )
            self.manager.register(module, name=candidate.name)
            self.manager.check_pending()
            self._claim(module, record)
        except (Exception, SystemExit) as error:  # a plugin may fail in any way; it must not stop the others
            record.status, record.error = "broken", _reason(error)
            record.tasks = []
            if module is not None and self.manager.is_registered(module):
                self.manager.unregister(module)

    def _refuse_taken_name(self, record: Record) -> None:
        for other in self.records[:-1]:
            if other.name == record.name and other.status != "disabled":
                raise PluginError(f"the name {record.name!r} is already taken by {other.source}", actual=record.source)

    def _claim(self, module: Any, record: Record) -> None:
        """Note what the newcomer offers; two plugins that offer one name contradict each other."""
        entries: dict[str, TaskEntry] = {}
        claims: list[tuple[str, str]] = []
        for hook in ("gantk_tasks", "gantk_models", "gantk_features"):
            implementation = getattr(module, hook, None)
            offered = list(implementation()) if implementation is not None else []
            names = [item if isinstance(item, str) else item.name for item in offered]
            claims += [(hook, name) for name in names]
            if hook == "gantk_tasks":
                entries = {entry.name: entry for entry in offered}
        for hook, name in claims:
            if (hook, name) in self._owner:
                kind = hook.removeprefix("gantk_").removesuffix("s")
                raise PluginError(
                    f"offers the {kind} {name!r}, which {self._owner[hook, name]} already offers", actual=record.source
                )
        self._owner.update({claim: record.source for claim in claims})
        self._tasks.update(entries)
        record.tasks = sorted(entries)

    # ---- finding ----

    def tasks(self) -> list[TaskEntry]:
        """Every task on offer, by name."""
        return [self._tasks[name] for name in sorted(self._tasks)]

    def task(self, name: str) -> Task:
        """The task called `name`.

        Raises:
            PluginError: its plugin is broken.
            UsageError: no such task; near names are listed.
        """
        if name in self._tasks:
            try:
                return self._tasks[name].load()
            except GantkError:
                raise
            except Exception as error:
                raise PluginError(f"the task {name!r} cannot be loaded: {_reason(error)}") from error
        for record in self.records:
            if record.name == name and record.status == "broken":
                raise PluginError(f"the plugin {name!r} of {record.source} is broken: {record.error}")
        raise UsageError(f"no task is called {name!r}", remedy=near(name, self._tasks))

    def models(self, task: str | None = None) -> list[ModelEntry]:
        """Models that plugins bring, for one task or for all."""
        entries = [entry for offered in self.hook.gantk_models() for entry in offered]
        return sorted((e for e in entries if task in (None, e.task)), key=lambda e: (e.task, not e.default, e.name))

    def features(self) -> dict[str, Callable[[], Any]]:
        """Feature extractors that plugins bring."""
        return {name: make for offered in self.hook.gantk_features() for name, make in offered.items()}


def near(name: str, known: Iterable[str]) -> str:
    """A remedy that lists the nearest known names, or all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or names
    return "did you mean " + ", ".join(close) + "?" if close else "none is installed"


def discover(*, plugins_dir: Path | None = None, installed: bool = True) -> Plugins:
    """A fresh set of plugins: ours first, then other distributions by name, then single files.

    Args:
        plugins_dir: a folder whose `.py` files are plugins.
        installed: False leaves out third parties' distributions (ours stay).

    The environment variable GANTK_DISABLED_PLUGINS lists names that are not imported at all.

    Raises:
        InputError: `plugins_dir` is not a folder.
    """
    plugins = Plugins()
    disabled = {name.strip() for name in os.environ.get(DISABLED, "").split(",") if name.strip()}
    candidates = [c for c in _installed() if installed or c.ours]
    if plugins_dir is not None:
        candidates += _files(plugins_dir)
    for candidate in candidates:
        if candidate.name in disabled:
            plugins.records.append(Record(candidate.name, candidate.source, candidate.version, "disabled"))
        else:
            plugins.add(candidate)
    return plugins


_current: Plugins | None = None


def current() -> Plugins:
    """The plugins of this process, discovered on first use; the CLI sets them from its options."""
    global _current
    if _current is None:
        _current = discover()
    return _current


def use(plugins: Plugins) -> None:
    """Make these the plugins of this process."""
    global _current
    _current = plugins


def _installed() -> list[_Candidate]:
    found: dict[tuple[str, str], _Candidate] = {}
    for point in metadata.entry_points(group=GROUP):
        source = point.dist.name if point.dist else point.value
        version = point.dist.version if point.dist else ""
        found.setdefault(
            (point.name, source), _Candidate(point.name, source, version, point.load, ours=source == OURS)
        )
    return sorted(found.values(), key=lambda c: (not c.ours, c.source, c.name))


def _files(folder: Path) -> Iterator[_Candidate]:
    if not folder.is_dir():
        raise InputError(f"--plugins-dir {folder} is not a folder")
    for path in sorted(folder.glob("*.py")):
        yield _Candidate(path.stem, str(path), "", lambda path=path: _load_file(path))  # type: ignore[misc]


def _load_file(path: Path) -> Any:
    name = f"gantk_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, GantkError) else f"{type(error).__name__}: {text}"


__all__: Sequence[str] = ["Plugins", "Record", "current", "discover", "near", "use"]
