"""Whoever runs the workers, and however many there are, the tree is the same."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gantk_augment import engines
from gantk_augment.options import RunOptions
from gantk_augment.plan import Row
from gantk_augment.use import run
from gantk_augment.work import Job, Worker
from gantoolkit import plugins
from gantoolkit.errors import GantkError, InputError, UsageError
from gantoolkit.testing import RecordingConsole
from tests.augment import data_sets, policies
from tests.augment.growing import command, grow, tree

FASHION = ("Sneaker", "Bag")


def test_one_two_and_four_workers_make_the_same_tree(tmp_path: Path) -> None:
    """By the policy classic, with more workers than cores."""
    data = data_sets.class_folders(tmp_path / "data", each=8, suffix=".jpg")
    trees = {}
    for workers in (1, 2, 4):
        out = tmp_path / str(workers)
        assert grow(data, out, policy="classic", workers=workers, multiply=2)[0] == 0
        trees[workers] = tree(out)
    assert trees[1] == trees[2] == trees[4] and len(trees[1]) == 49


def test_workers_freeze_what_they_are_forked_with(tmp_path: Path) -> None:
    """A garbage collection writes to every object that it looks at, and so copies each page of the imports."""
    from gantk_augment.source import open_source

    plugins.use(plugins.discover())
    source = open_source(data_sets.class_folders(tmp_path / "data", each=2))
    job = Job(source, tmp_path, {}, ".png", plugins.current().found_by)
    with closing(engines.Local(job, 2)) as engine:
        engine.start()
        assert engine.pool is not None and engine.pool.submit(gc.get_freeze_count).result() > 10_000


@pytest.mark.slow
def test_both_policies_by_one_and_two_workers(tmp_path: Path) -> None:
    """The bundled generator takes turns with classic; batches of any composition give the same pictures."""
    data = data_sets.class_folders(tmp_path / "data", each=8, classes=FASHION)
    for workers in (1, 2):
        options = {"policy": "both", "model": "fashion-32", "gan_share": 0.5, "workers": workers}
        assert grow(data, tmp_path / str(workers), multiply=3, **options)[0] == 0
    found = tree(tmp_path / "1")
    assert found == tree(tmp_path / "2")
    assert sum("gan-" in name for name in found) == 24 == sum("-classic-" in name for name in found)


@pytest.mark.slow
def test_ray_makes_the_same_tree(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    data = data_sets.class_folders(tmp_path / "data", each=8, suffix=".jpg")
    for out, options in (("local", {}), ("ray", {"engine": "ray", "workers": 2})):
        assert grow(data, tmp_path / out, policy="classic", multiply=2, **options)[0] == 0
    assert tree(tmp_path / "local") == tree(tmp_path / "ray")


def test_without_ray_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    plugins.use(plugins.discover(plugins_dir=policies.write(tmp_path)[0]))
    with pytest.raises(UsageError, match=r"pip install 'gantoolkit\[ray\]'"):
        grow(data_sets.class_folders(tmp_path / "data"), tmp_path / "out", engine="ray")


def test_a_worker_that_dies_is_an_error_and_the_rest_is_kept(tmp_path: Path) -> None:
    data = data_sets.class_folders(tmp_path / "data", each=4)
    folder, recipe = policies.write(tmp_path, dies="red")
    plugins.use(plugins.discover(plugins_dir=folder))
    with pytest.raises(GantkError, match=r"a worker died.*the same command goes on"):
        grow(data, tmp_path / "out", recipe, workers=2, multiply=4)
    policies.write(tmp_path, dies="nobody")
    assert grow(data, tmp_path / "whole", recipe, workers=2, multiply=4)[0] == 0
    made = {name: sha for name, sha in tree(tmp_path / "out").items() if name.endswith(".png")}
    assert made.items() <= tree(tmp_path / "whole").items()


def test_a_bug_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Worker, rows: Any) -> Any:
        raise AssertionError("a bug")

    monkeypatch.setattr(Worker, "__call__", broken)
    plugins.use(plugins.discover(plugins_dir=policies.write(tmp_path)[0]))
    with pytest.raises(AssertionError, match="a bug"):
        grow(data_sets.class_folders(tmp_path / "data"), tmp_path / "out")


def test_workers_do_not_outlive_their_parent(tmp_path: Path) -> None:
    data, out = data_sets.class_folders(tmp_path / "data", each=4), tmp_path / "out"
    order = command(tmp_path, data, out, "--workers", "2", seconds=0.1)
    process = subprocess.Popen(order, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parts = out / ".gantk-parts"
    until = time.monotonic() + 60
    while not (parts.exists() and any(parts.iterdir())) and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)  # it alone, and not its group
    process.wait()
    time.sleep(1)
    before = sorted(path.name for path in parts.iterdir())
    time.sleep(0.5)
    assert sorted(path.name for path in parts.iterdir()) == before


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 200), st.integers(1, 8), st.lists(st.floats(1e-5, 10), min_size=1))
def test_portions_are_all_rows_in_order(count: int, fewest: int, workers: int, seconds: list[float]) -> None:
    rows = [Row(i, f"s{i}", "noise", None, None, i) for i in range(count)]
    portions = engines.Portions(rows, fewest, workers)
    found: list[Row] = []
    for number, portion in enumerate(portions):
        found += portion
        portions.took(len(portion), seconds[number % len(seconds)] * len(portion))
    assert found == rows


def test_portions_take_as_long_as_may_be_lost_and_end_together() -> None:
    rows = [Row(i, f"s{i}", "noise", None, None, i) for i in range(4000)]

    def sizes(seconds: float, fewest: int = 1) -> list[int]:
        portions, found = engines.Portions(rows, fewest, 2), []
        for portion in portions:
            found.append(len(portion))
            portions.took(found[-1], seconds * found[-1])
        return found

    fast = sizes(engines.SPELL / 200)
    assert fast[:6] == [16, 32, 64, 128, 200, 200] and max(fast) == 200
    assert fast[-1] <= 16 and sum(size > 50 for size in fast) >= len(fast) / 2
    assert set(sizes(engines.SPELL)[1:]) == {1}  # a second's picture is not handed out by the dozen
    assert set(sizes(engines.SPELL, fewest=64)[:-1]) == {64}  # but for a policy that makes many together


def test_the_workers_imports_begin_before_the_data_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Begun(Exception):
        pass

    def begin() -> None:
        assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"
        raise Begun

    monkeypatch.delenv("NO_ALBUMENTATIONS_UPDATE", raising=False)
    monkeypatch.setattr(engines.forkserver, "ensure_running", begin)
    missing = tmp_path / "missing"
    for options in ({"workers": 1}, {"workers": 2, "dry_run": True}, {"workers": 2, "engine": "ray"}):
        with pytest.raises(InputError, match="does not exist"):
            grow(missing, tmp_path / "out", policy="classic", **options)
    with pytest.raises(Begun):
        grow(missing, tmp_path / "out", policy="classic", workers=2)


def test_a_worker_makes_each_row_by_itself(tmp_path: Path) -> None:
    """Rows of two policies, in any order and any company."""
    from gantk_augment.source import open_source

    plugins.use(plugins.discover(plugins_dir=policies.write(tmp_path)[0]))
    source = open_source(data_sets.class_folders(tmp_path / "data", each=2))
    (tmp_path / ".gantk-parts").mkdir()
    job = Job(source, tmp_path, {"noise": {}, "plain": {}}, ".png", plugins.current().found_by)
    rows = [
        Row(i, f"s{i}", "noise" if i % 3 else "plain", source.names[i % 4] if i % 3 else None, "red", 1000 + i)
        for i in range(10)
    ]
    together = {outcome.index: outcome.line for outcome in Worker(job)(rows)}
    single = {row.index: Worker(job)([row])[0].line for row in reversed(rows)}
    assert together == single and len(set(together.values())) == 10 and None not in together.values()


def test_threads_are_as_before_after_work_in_this_process(tmp_path: Path) -> None:
    import cv2

    before = cv2.getNumThreads()
    plugins.use(plugins.discover(plugins_dir=policies.write(tmp_path)[0]))
    options = RunOptions(data=data_sets.class_folders(tmp_path / "d"), out=tmp_path / "o", policy="noise", workers=1)
    assert run(options, RecordingConsole()) == 0
    assert cv2.getNumThreads() == before
    assert engines.cores() >= 1
