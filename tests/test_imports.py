"""Dependencies go one way: read from the source, so that no import is missed, however late it happens."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "gantoolkit"
PLUGINS = ROOT / "plugins"
PACKAGES = sorted(path.name for path in PLUGINS.iterdir() if (path / "__init__.py").is_file())
LEAVES = {"errors", "schedule"}  # import nothing of ours but errors
CLI_MAY_BE_USED_BY = {"__main__", "testing"}  # the entry, and the authors' tests of their command line


def imports(path: Path, *, at_run_time: bool = False) -> set[str]:
    """Every module a file imports, anywhere in it; `from a import b` counts as a.b. Relative ones are resolved.

    `at_run_time` leaves out what stands under TYPE_CHECKING.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = [*path.relative_to(ROOT if path.is_relative_to(CORE) else PLUGINS).with_suffix("").parts[:-1]]
    hidden: set[ast.AST] = set()
    if at_run_time:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                hidden |= {inner for statement in node.body for inner in ast.walk(statement)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in hidden:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def ours(path: Path, *, at_run_time: bool = False) -> set[str]:
    """Names of the core's modules (`gantoolkit.X…` → X) that a file imports; the package itself is ''."""
    names = set()
    for name in imports(path, at_run_time=at_run_time):
        first, _, rest = name.partition(".")
        if first == "gantoolkit":
            head = rest.split(".")[0]
            names.add(head if head == "cli" or (CORE / f"{head}.py").is_file() else "")
    return names


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", files(CORE), ids=named)
def test_the_core_imports_no_plugin(path: Path) -> None:
    assert not {name for name in imports(path) if name.split(".")[0].startswith("gantk_")}


@pytest.mark.parametrize("path", files(CORE), ids=named)
def test_nobody_imports_the_command_line(path: Path) -> None:
    if "cli" in ours(path):
        assert path.parent.name == "cli" or path.stem in CLI_MAY_BE_USED_BY


@pytest.mark.parametrize("path", files(CORE), ids=named)
def test_tests_tools_stay_out_of_the_product(path: Path) -> None:
    if path.stem != "testing":
        assert not {name.split(".")[0] for name in imports(path)} & {"pytest", "hypothesis", "tests"}
        assert "testing" not in ours(path)


@pytest.mark.parametrize("name", sorted(LEAVES))
def test_leaves_import_nothing_of_ours_but_errors(name: str) -> None:
    assert ours(CORE / f"{name}.py") <= {"errors"} - {name}


def test_hookspecs_and_entries_depend_on_nothing_at_run_time() -> None:
    for name in ("hookspecs", "entries"):
        assert ours(CORE / f"{name}.py", at_run_time=True) == set(), name


def test_the_engine_knows_no_files_tasks_or_plugins() -> None:
    """engine → game → errors: what plays a game knows neither who asked for it nor where it is kept."""
    unknown = {"task", "train", "plugins", "images", "model", "checkpoint", "runlog", "report", "data", "features"}
    for name in ("engine", "stepbatch", "optimizers", "game", "losses"):
        assert not ours(CORE / f"{name}.py") & unknown, name


def test_imports_form_no_circle() -> None:
    graph = {path.stem: ours(path, at_run_time=True) - {""} for path in CORE.glob("*.py") if path.stem != "__init__"}
    late = {("model", "plugins")}  # a name is looked up among the plugins when it is asked for
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " → ".join([*way, name])
        if name in done or name not in graph:
            return
        for other in sorted(graph[name]):
            if (name, other) not in late:
                visit(other, (*way, name))
        done.add(name)

    for name in sorted(graph):
        visit(name, ())


# ---- plugins ----


@pytest.mark.parametrize("path", [path for name in PACKAGES for path in files(PLUGINS / name)], ids=named)
def test_plugins_import_the_core_and_themselves(path: Path) -> None:
    own = path.relative_to(PLUGINS).parts[0]
    foreign = {name.split(".")[0] for name in imports(path)}
    assert not {name for name in foreign if name.startswith("gantk_")} - {own}
    assert "cli" not in ours(path)
    private = [
        name
        for name in imports(path)
        if name.startswith("gantoolkit.") and any(p.startswith("_") and p != "__version__" for p in name.split("."))
    ]
    assert not private


def test_a_plugins_hooks_are_light() -> None:
    script = "import sys, {0}; print(sorted(set(sys.modules) & {{'torch', 'numpy', 'pydantic', 'PIL'}}))"
    for name in PACKAGES:
        command = [sys.executable, "-c", script.format(name)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=PLUGINS, timeout=60)
        assert done.stdout == "[]\n", done.stderr


def test_the_package_itself_is_light_and_keeps_its_word() -> None:
    script = (
        "import sys, gantoolkit\n"
        "assert not set(sys.modules) & {'torch', 'numpy', 'pydantic', 'click'}, 'heavy'\n"
        "missing = [name for name in gantoolkit.__all__ if not hasattr(gantoolkit, name)]\n"
        "assert not missing, missing\n"
        "assert set(gantoolkit.__all__) == set(gantoolkit._WHERE) | {'load'}\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_this_reader_of_imports_sees_late_and_hidden_ones() -> None:
    seen = imports(CORE / "model.py")
    assert {"gantoolkit.plugins.current", "torch.Tensor"} <= seen
    assert "torch.Tensor" not in imports(CORE / "model.py", at_run_time=True)
