"""Discovery of plugins: each is loaded on its own, and a broken one is reported, never fatal.

A plugin is a module with hook implementations (`gantoolkit.hookspecs`), offered by an installed distribution
under the entry-point group `gantoolkit.plugins`, or a single `.py` file in a folder given by `--plugins-dir`.

A newcomer is first tried in a plugin manager of its own. What fails there never touches the real one.
"""

from __future__ import annotations

import difflib
import importlib.metadata as metadata
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from gantoolkit import hookspecs
from gantoolkit.entries import ModelEntry, TaskEntry, TextEncoderEntry
from gantoolkit.errors import GantkError, InputError, PluginError, UsageError

if TYPE_CHECKING:
    import click

    from gantoolkit.task import Task

T = TypeVar("T")
GROUP = "gantoolkit.plugins"
OURS = "gantoolkit"
DISABLED = "GANTK_DISABLED_PLUGINS"
OUR_COMMANDS = ("run", "train", "eval", "models", "data", "plugins", "doctor")
OFFERS = (
    "gantk_tasks",
    "gantk_models",
    "gantk_features",
    "gantk_metrics",
    "gantk_augmentations",
    "gantk_text_encoders",
    "gantk_commands",
)


@dataclass
class Record:
    """What became of one plugin: `status` is "loaded", "broken" or "disabled".

    `tasks` are those it offers; a broken plugin's are known only if it broke after saying them.
    """

    name: str
    source: str
    version: str = ""
    status: str = "loaded"
    error: str = ""
    tasks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Candidate:
    """A plugin that could be loaded; nothing of it has run yet.

    Attributes:
        name: the entry point's name, or the file's.
        source: the distribution, or the file.
        load: imports it.
        ours: whether it comes with gantoolkit.
    """

    name: str
    source: str
    load: Callable[[], Any]
    version: str = ""
    ours: bool = False


class Plugins:
    """The plugins of this process: what they offer by name, and those that observe runs.

    Attributes:
        found_by: the arguments of `discover`, with which another process finds the same ones.
    """

    def __init__(self) -> None:
        self.manager = manager()
        self.records: list[Record] = []
        self._offers: dict[str, dict[str, Any]] = {hook: {} for hook in OFFERS}
        self._owner = {("gantk_commands", name): OURS for name in OUR_COMMANDS}
        self._silenced: set[tuple[str, str]] = set()
        self.found_by: dict[str, Any] = {}

    # ---- loading ----

    def add(self, candidate: Candidate) -> Record:
        """Load and register one plugin; on any failure drop only this one and keep a record."""
        record = Record(candidate.name, candidate.source, candidate.version)
        try:
            self._refuse_taken_name(record)
            module = candidate.load()
            offers = _tried(module, record.name)
            record.tasks = sorted(offers["gantk_tasks"])
            self._refuse_taken_offers(offers, record)
            self.manager.register(module, name=record.name)
            for hook, items in offers.items():
                self._offers[hook] |= items
                self._owner |= {(hook, key): record.source for key in items}
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # in any way, sys.exit included; it must not stop the others
            record.status, record.error = "broken", _reason(error)
        self.records.append(record)
        return record

    def skip(self, candidate: Candidate, why: str) -> None:
        """Note a plugin that is not to be loaded."""
        self.records.append(Record(candidate.name, candidate.source, candidate.version, "disabled", why))

    def _refuse_taken_name(self, record: Record) -> None:
        for other in self.records:
            if other.name == record.name and other.status == "loaded":
                raise PluginError(f"the name {record.name!r} is already taken by {other.source}")

    def _refuse_taken_offers(self, offers: Mapping[str, Mapping[str, Any]], record: Record) -> None:
        for hook, items in offers.items():
            for key in items:
                if (hook, key) in self._owner:
                    kind = hook.removeprefix("gantk_").removesuffix("s").replace("_", " ")
                    owner = self._owner[hook, key]
                    raise PluginError(f"{record.source} offers the {kind} {key!r}, which {owner} offers already")

    # ---- finding ----

    def tasks(self) -> list[TaskEntry]:
        """Every task on offer, by name."""
        return [entry for _, entry in sorted(self._offers["gantk_tasks"].items())]

    def task(self, name: str) -> Task:
        """The task called `name`.

        Raises:
            PluginError: its plugin is broken.
            UsageError: no such task; near names are listed.
        """
        if name in self._offers["gantk_tasks"]:
            return loaded(f"the task {name!r}", self._offers["gantk_tasks"][name].load)
        for record in self.records:
            if name == record.name or name in record.tasks:
                if record.status == "broken":
                    raise PluginError(f"the plugin {record.name!r} ({record.source}) is broken: {record.error}")
                if record.status == "disabled":
                    raise UsageError(f"the plugin {record.name!r} ({record.source}) is disabled: {record.error}")
        raise UsageError(f"no task is called {name!r}", remedy=near(name, self._offers["gantk_tasks"]))

    def models(self, task: str | None = None) -> list[ModelEntry]:
        """Models that plugins bring, for one task or for all; a task's default comes first."""
        entries = [e for e in self._offers["gantk_models"].values() if task in (None, e.task)]
        return sorted(entries, key=lambda e: (e.task, not e.default, e.name))

    def features(self) -> dict[str, Callable[[], Any]]:
        """Feature extractors that plugins bring, by name; each is made by calling it."""
        return dict(self._offers["gantk_features"])

    def metrics(self) -> dict[str, Callable[[Any, Any], Any]]:
        """Metrics that plugins bring, by name; each is called with the features of real and of generated pictures."""
        return dict(self._offers["gantk_metrics"])

    def augmentations(self) -> dict[str, Callable[[Mapping[str, Any]], Any]]:
        """Policies that plugins bring, by name; each is called with its settings."""
        return dict(self._offers["gantk_augmentations"])

    def text_encoders(self) -> dict[str, TextEncoderEntry]:
        """Text encoders that plugins bring, by name; see `gantoolkit.texts`."""
        return dict(self._offers["gantk_text_encoders"])

    def commands(self) -> dict[str, click.Command]:
        """Commands that plugins add to `gantk`, by name."""
        return dict(self._offers["gantk_commands"])

    # ---- observing ----

    def notify(self, hook: str, **values: Any) -> list[str]:
        """Call an observing hook (`gantk_on_*`) of every plugin; watching must not hurt what is watched.

        An observer that raises is left out from then on.

        Returns:
            One line for each observer that failed just now.
        """
        failed = []
        for implementation in getattr(self.manager.hook, hook).get_hookimpls():
            name = implementation.plugin_name
            if (hook, name) in self._silenced:
                continue
            try:
                implementation.function(*(values[argument] for argument in implementation.argnames))
            except (Exception, SystemExit) as error:
                self._silenced.add((hook, name))
                failed.append(f"{hook} of the plugin {name!r} failed and is now left out: {_reason(error)}")
        return failed


def loaded(what: str, load: Callable[[], T]) -> T:
    """What a plugin's `load` makes.

    Raises:
        PluginError: it fails, in whatever way, sys.exit included.
        GantkError: that it raises itself, as it is.
    """
    try:
        return load()
    except (GantkError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise PluginError(f"{what} cannot be loaded: {_reason(error)}") from error


def missing(entry: ModelEntry | TextEncoderEntry) -> str | None:
    """The one line that says why what is offered cannot be used, None where it can."""
    try:
        return entry.available()
    except (Exception, SystemExit) as error:
        return f"broken: {_reason(error)}"


def manager() -> pluggy.PluginManager:
    """A plugin manager that knows our hooks and no plugins."""
    made = pluggy.PluginManager(hookspecs.PROJECT)
    made.add_hookspecs(hookspecs)
    return made


def near(name: str, known: Iterable[str]) -> str:
    """A remedy that lists the nearest known names, or all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"there is {', '.join(names)}" if names else "none is installed"


def discover(*, plugins_dir: Path | None = None, installed: bool = True) -> Plugins:
    """A fresh set of plugins: ours first, then other distributions by name, then single files.

    Args:
        plugins_dir: a folder whose `.py` files are plugins.
        installed: False imports no third party's distribution (ours stay, and so does `plugins_dir`).

    The environment variable GANTK_DISABLED_PLUGINS lists names that are not imported at all.

    Raises:
        InputError: `plugins_dir` is not a folder.
    """
    plugins = Plugins()
    plugins.found_by = {"plugins_dir": plugins_dir, "installed": installed}
    disabled = {name.strip() for name in os.environ.get(DISABLED, "").split(",")}
    candidates = [(candidate, installed or candidate.ours) for candidate in _installed(plugins.records)]
    if plugins_dir is not None:
        candidates += [(candidate, True) for candidate in _files(plugins_dir)]
    for candidate, wanted in candidates:
        if candidate.name in disabled:
            plugins.skip(candidate, f"named in {DISABLED}")
        elif not wanted:
            plugins.skip(candidate, "left out by --no-plugins")
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


def use(plugins: Plugins | None) -> None:
    """Make these the plugins of this process; None discovers them anew on the next use."""
    global _current
    _current = plugins


# ---- candidates ----


def _installed(records: list[Record]) -> list[Candidate]:
    found: dict[tuple[str, str], Candidate] = {}
    for point in _entry_points(records):
        source = (point.dist and point.dist.name) or point.value
        version = (point.dist and point.dist.version) or ""
        candidate = Candidate(point.name, source, point.load, version, ours=source == OURS)
        found.setdefault((point.name, source), candidate)
    return sorted(found.values(), key=lambda c: (not c.ours, c.source, c.name))


def _entry_points(records: list[Record]) -> Iterator[metadata.EntryPoint]:
    """The entry points of our group. A distribution whose list of them is damaged is reported and hides none."""
    try:
        yield from metadata.entry_points(group=GROUP)
    except Exception:  # the quick way reads every installed distribution and stops at the first damaged one
        for distribution in metadata.distributions():
            try:
                yield from distribution.entry_points.select(group=GROUP)
            except Exception as error:
                source = str(distribution.locate_file(""))
                name = distribution.name or "?"
                why = f"its entry points cannot be read: {_reason(error)}"
                records.append(Record(name, source, "", "broken", why))


def _files(folder: Path) -> Iterator[Candidate]:
    if not folder.is_dir():
        raise InputError(f"--plugins-dir {folder} is not a folder")
    for path in sorted(folder.glob("*.py")):
        yield Candidate(path.stem, str(path), lambda path=path: _load_file(path))  # type: ignore[misc]


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


# ---- probation ----


def _tried(module: Any, name: str) -> dict[str, dict[str, Any]]:
    """What a plugin offers, hook → key → item, as found in a manager of its own.

    Raises:
        PluginError: another API, a hook without its mark, a hook that returns something else than it should.
        Exception: whatever pluggy or the plugin raises.
    """
    version = getattr(module, "GANTK_API", hookspecs.API_VERSION)
    if version != hookspecs.API_VERSION:
        raise PluginError("made for another plugin API", expected=f"version {hookspecs.API_VERSION}", actual=version)
    trial = manager()
    trial.register(module, name=name)
    trial.check_pending()
    implemented = {caller.name for caller in trial.get_hookcallers(module) or []}
    for attribute in dir(module):
        if hasattr(hookspecs, attribute) and attribute.startswith("gantk_") and attribute not in implemented:
            raise PluginError(f"{attribute} is not marked as a hook", remedy="put @hookimpl above it")
    return {hook: _collected(hook, getattr(trial.hook, hook)()) for hook in OFFERS}


def _collected(hook: str, answers: Iterable[Any]) -> dict[str, Any]:
    """The items of one hook by what makes each unique: its name, a model's with the task it is for."""
    items: dict[str, Any] = {}
    for answer in answers:
        pairs = answer.items() if isinstance(answer, Mapping) else [(_key(hook, item), item) for item in answer]
        for key, item in pairs:
            if key in items:
                raise PluginError(f"{hook} offers {key!r} twice")
            items[key] = item
    return items


def _key(hook: str, item: Any) -> str:
    kinds = {"gantk_tasks": TaskEntry, "gantk_models": ModelEntry, "gantk_text_encoders": TextEncoderEntry}
    expected = kinds.get(hook)
    if expected is not None and not isinstance(item, expected):
        raise PluginError(f"{hook} returned {item!r}", expected=f"a list of {expected.__name__}")
    if not getattr(item, "name", None):
        raise PluginError(f"{hook} returned {item!r}, which has no name")
    return f"{item.task}/{item.name}" if isinstance(item, ModelEntry) else item.name


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, GantkError) else f"{type(error).__name__}: {text}"


__all__ = ["Candidate", "Plugins", "Record", "current", "discover", "loaded", "manager", "missing", "near", "use"]
