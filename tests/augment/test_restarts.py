"""`gantk run augment` killed or interrupted at any time: nothing is lost, and the same command goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from gantk_augment.manifest import JOURNAL, NAME
from gantk_augment.tree import Tree
from gantoolkit import plugins
from gantoolkit.errors import Interrupted
from tests.augment import data_sets, policies
from tests.augment.growing import command, grow, tree


def killed_and_restarted(tmp_path: Path, kills: int, multiply: int, *words: str) -> None:
    """A run killed so often, at some time after its first line, and then left alone, makes the undisturbed tree."""
    data, out = data_sets.class_folders(tmp_path / "data", each=6), tmp_path / "out"
    order = command(tmp_path, data, out, *words, seconds=0.02, multiply=multiply)
    rng, done = random.Random(0), 0
    for _ in range(kills):
        process = subprocess.Popen(order, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        journal = out / JOURNAL
        while process.poll() is None and time.monotonic() < until:
            if journal.exists() and journal.read_bytes().count(b"\n") > 1 + done:
                break
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.2))
        assert process.poll() is None, "it ended before it was killed"
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        found = journal.read_bytes().count(b"\n") - 1
        assert found >= done, "what was done is lost"
        done = found
    assert 0 < done < 12 * (1 + multiply)
    subprocess.run(order, check=True, stdout=subprocess.DEVNULL)
    undisturbed = tmp_path / "whole"
    subprocess.run([*order[: order.index("-o") + 1], str(undisturbed), *order[order.index("-o") + 2 :]], check=True)
    assert tree(out) == tree(undisturbed) and len(tree(out)) == 12 * (1 + multiply) + 1


def test_killed_twice_and_restarted(tmp_path: Path) -> None:
    killed_and_restarted(tmp_path, 2, 4, "--workers", "1")


@pytest.mark.slow
def test_killed_ten_times_and_restarted(tmp_path: Path) -> None:
    killed_and_restarted(tmp_path, 10, 40, "--workers", "2")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_keeps_what_is_done_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    data = data_sets.class_folders(tmp_path / "data", each=3)
    folder, recipe = policies.write(tmp_path)
    plugins.use(plugins.discover(plugins_dir=folder))
    take = Tree.take

    def and_then(self: Tree, outcome: Any) -> None:
        take(self, outcome)
        if len(self.done.lines) == 7:
            signal.raise_signal(number)

    with monkeypatch.context() as patch:
        patch.setattr(Tree, "take", and_then)
        with pytest.raises(Interrupted, match=r"of 42 pictures are kept in .*the same command goes on") as caught:
            grow(data, tmp_path / "out", recipe, multiply=6)
    assert caught.value.exit_code == 130
    assert (tmp_path / "out" / JOURNAL).exists() and not (tmp_path / "out" / NAME).exists()
    code, console = grow(data, tmp_path / "out", recipe, multiply=6)
    assert code == 0 and "going on" in console.said[0] and console.results[-1]["made"] < 42 - 6
    grow(data, tmp_path / "whole", recipe, multiply=6)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
