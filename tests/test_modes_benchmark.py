"""The benchmark of modes: its figures have known answers, and it plays the plugin's own game."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import modes

from tests.tolerances import TOL


@pytest.mark.parametrize("name", modes.MIXTURES)
def test_the_data_itself_find_every_mode(name: str) -> None:
    mixture = modes.MIXTURES[name]
    found = modes.measure(mixture.draw(20_000, seed=1), mixture)
    assert found["modes"] == found["modes_20"] == len(mixture.means)
    within = 1 - math.exp(-4.5)  # of 3 standard deviations, in the plane
    assert found["quality"] == pytest.approx(within, abs=TOL["share of good points, of 20,000"])
    assert found["kl"] < 1e-2


def test_layout_is_that_of_the_protocol() -> None:
    ring, grid = modes.MIXTURES["ring"], modes.MIXTURES["grid"]
    torch.testing.assert_close(ring.means.norm(dim=1), torch.ones(8))
    assert (len(ring.means), ring.sigma, len(grid.means), grid.sigma) == (8, 0.01, 25, 0.05)
    assert {tuple(mean) for mean in grid.means.tolist()} == {(a, b) for a in range(-4, 5, 2) for b in range(-4, 5, 2)}


def test_collapse_onto_one_mode() -> None:
    mixture = modes.MIXTURES["ring"]
    found = modes.measure(mixture.means[3].expand(2_500, 2), mixture)
    assert (found["modes"], found["modes_20"], found["quality"]) == (1, 1, 1.0)
    assert found["kl"] == pytest.approx(math.log(8))


def test_uneven_modes_and_few_hits_by_hand() -> None:
    mixture = modes.MIXTURES["ring"]
    good = torch.cat([mixture.means[0].expand(30, 2), mixture.means[1].expand(10, 2)])
    found = modes.measure(torch.cat([good, torch.full((40, 2), 5.0)]), mixture)
    assert (found["modes"], found["modes_20"], found["quality"]) == (2, 1, 0.5)
    assert found["kl"] == pytest.approx(0.75 * math.log(0.75 * 8) + 0.25 * math.log(0.25 * 8))


def test_no_good_sample_has_no_finite_kl() -> None:
    found = modes.measure(torch.full((10, 2), 9.0), modes.MIXTURES["grid"])
    assert (found["modes"], found["quality"], found["kl"]) == (0, 0.0, math.inf)


def test_presets_differ_in_the_game_alone() -> None:
    own, other = modes.configuration("points", 1), modes.configuration("wgan-gp", 1)
    assert (other.loss, other.penalty, other.critic_moves, other.beta2) == ("wasserstein", "gp", 5, 0.9)
    changed = {name for name, value in own if getattr(other, name) != value}
    assert changed <= modes.GAME


def test_minimax_differs_in_what_is_played_for_alone() -> None:
    own, other = modes.configuration("points", 1), modes.configuration("minimax", 1)
    assert (other.loss, other.penalty) == ("minimax", "none")
    assert {name for name, value in own if getattr(other, name) != value} == {"loss", "penalty", "gamma"}


def test_finished_runs_are_kept_and_not_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "rows.json"
    arguments = ["--data", "ring", "--presets", "points", "--seeds", "1", "--nimg", "512", "--jobs", "1"]
    modes.main([*arguments, "--json", str(file)])
    first = json.loads(file.read_text())
    (row,) = first["rows"]
    assert (row["preset"], row["seed"], row["nimg"], row["diverged"]) == ("points", 0, 512, False)
    assert len(first["samples"]["points ring"]) == modes.SAMPLES
    row["quality"] = 0.123  # would be overwritten by a second run
    file.write_text(json.dumps(first))
    capsys.readouterr()
    modes.main([*arguments, "--json", str(file), "--sheet", str(tmp_path / "sheet.png")])
    assert "12.3" in capsys.readouterr().out
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
