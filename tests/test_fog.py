"""The example that brings a policy: its fog obeys the law, and `gantk run augment` finds it once it is installed."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gantoolkit.errors import UsageError
from gantoolkit.samples import Policy, Request, Sample, Thing
from tests.augment.data_sets import class_folders

EXAMPLE = Path(__file__).parent.parent / "examples" / "gantk-fog"


@pytest.fixture
def fog(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(EXAMPLE)
    import gantk_fog

    return gantk_fog.gantk_augmentations()["fog"]


def made(policy: Any, picture: np.ndarray, seed: int = 0, **targets: Any) -> Any:
    (one,) = policy.make([Request(seed, Sample(picture, **targets))])
    return one


def test_two_hundredths_of_the_contrast_are_left_at_the_distance_of_visibility(fog: Any) -> None:
    policy = fog({"visibility": [500, 500], "light": [0.5, 0.5], "far": 500, "near": 0.1})
    black, white = (made(policy, np.full((101, 1, 1), value, np.uint16)).sample.picture / 65535 for value in (0, 65535))
    top = [((value[0, 0, 0] + 0.055) / 1.055) ** 2.4 for value in (black, white)]  # light, on the horizon
    assert top[1] - top[0] == pytest.approx(0.02, abs=1e-4) and top[0] == pytest.approx(0.98 * 0.5, abs=1e-4)
    assert black[-1, 0, 0] < 0.02 and white[-1, 0, 0] > 0.998  # a hand's breadth away


def test_fog_thickens_towards_the_horizon_and_not_beyond(fog: Any) -> None:
    policy = fog({"visibility": [100, 100], "light": [0.9, 0.9]})
    column = made(policy, np.zeros((100, 2, 3), np.uint8)).sample.picture[:, 0, 0].astype(int)
    assert (column[:40] == column[0]).all() and (np.diff(column[40:]) <= 0).all() and column[0] > column[-1] + 100
    distances = policy.distances(101)
    assert distances[0] == pytest.approx(500) and distances[-1] == pytest.approx(5)
    assert 1 / distances[70] == pytest.approx((1 / 500 + 1 / 5) / 2)  # half way down the ground


def test_clear_air_changes_nothing_in_any_depth(fog: Any) -> None:
    clear = fog({"visibility": [1e12, 1e12]})
    rng = np.random.default_rng(0)
    for dtype, channels in ((np.uint8, 1), (np.uint8, 3), (np.uint16, 3), (np.uint8, 4)):
        picture = rng.integers(0, np.iinfo(dtype).max + 1, (9, 8, channels), dtype)
        assert np.array_equal(made(clear, picture).sample.picture, picture)


def test_targets_alpha_and_the_source_stay_and_the_seed_says_all(fog: Any) -> None:
    policy, picture = fog({}), np.full((8, 8, 4), 60, np.uint8)
    things, mask = (Thing(1, box=(1, 1, 4, 4)),), np.eye(8, dtype=np.uint8)
    one = made(policy, picture, 3, label="car", mask=mask, things=things)
    assert one.sample.label == "car" and one.sample.mask is mask and one.sample.things is things
    assert (one.sample.picture[..., 3] == 60).all() and (picture == 60).all()
    assert (one.sample.picture[..., :3] != 60).any()
    assert json.loads(json.dumps(one.parameters)) == one.parameters and 40 <= one.parameters["visibility"] <= 400
    assert isinstance(policy, Policy) and np.array_equal(made(policy, picture, 3).sample.picture, one.sample.picture)
    assert not np.array_equal(made(policy, picture, 4).sample.picture, one.sample.picture)


def test_a_setting_that_is_not_there_is_named(fog: Any) -> None:
    with pytest.raises(UsageError, match="no setting 'density', expected visibility, light"):
        fog({"density": 3})


def test_installed_it_is_a_policy_of_run_augment(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", str(tmp_path / "site"), str(EXAMPLE)], check=True, timeout=120)
    class_folders(tmp_path / "data", each=2)
    (tmp_path / "thick.yaml").write_text("visibility: [30, 60]\n")
    gantk = [sys.executable, "-m", "gantoolkit", "run", "augment", "data", "-o", "out", "--policy", "fog"]
    done = subprocess.run(
        [*gantk, "--recipe", "thick.yaml", "--workers", "1"],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    foggy = [line["parameters"]["visibility"] for line in lines if line.get("policy") == "fog"]
    assert len(foggy) == 4 and all(30 <= visibility <= 60 for visibility in foggy)
    assert len(list((tmp_path / "out").rglob("*.png"))) >= 8


def test_it_uses_public_names_only_and_stays_small() -> None:
    lines = 0
    for path in (EXAMPLE / "gantk_fog").glob("*.py"):
        lines += sum(1 for line in path.read_text().splitlines() if line.strip())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gantoolkit"):
                assert not [alias.name for alias in node.names if alias.name.startswith("_")]
    assert lines < 60
