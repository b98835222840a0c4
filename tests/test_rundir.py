"""A run's folder: whose it is, of which data, and what is refused in it."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext

import pytest

from gantoolkit.errors import InputError, Interrupted, UsageError
from tests.games import Points, Toy
from tests.test_train import stop_at, training


@pytest.mark.parametrize("content", ["[1]", "{", '{"format": 1}'])
def test_a_folder_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(content)
    with pytest.raises(UsageError, match="something else than a run; name another folder with --run"):
        training(tmp_path / "run").play()


def test_a_place_that_holds_no_folder_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("")
    for run in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(InputError, match="cannot write to"):
            training(run).play()


def test_another_config_is_refused_but_free_ones_may_change(tmp_path):
    run = tmp_path / "run"
    first = training(run, stage_nimg=64)
    stop_at(first, 32)
    with pytest.raises(Interrupted):
        first.play()
    with pytest.raises(UsageError, match="another batch, seed"):
        training(run, stage_nimg=64, batch=16, seed=1).play()
    training(run, stage_nimg=64, log_nimg=32, workers=0, keep=1).play()


class Sized(Toy):
    """Its data have as many rows as it says, and a fingerprint if it has one."""

    def __init__(self, rows: int = 48, fingerprint: str = "") -> None:
        self.rows, self.fingerprint = rows, fingerprint

    def dataset(self, config, folder):
        data = Points(self.rows)
        if self.fingerprint:
            data.fingerprint = self.fingerprint
        return data


@pytest.mark.parametrize("end", [32, None])
@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (Sized(47, "one"), r"expected 48 samples \(fingerprint one\), got 47 samples \(fingerprint one\)"),
        (Sized(48, "other"), r"expected 48 samples \(fingerprint one\), got 48 samples \(fingerprint other\)"),
    ],
)
def test_data_that_have_changed_are_refused(tmp_path, changed, says, end):
    run = tmp_path / "run"
    first = training(run, Sized(48, "one"), stage_nimg=64)
    if end:
        stop_at(first, end)
    with pytest.raises(Interrupted) if end else nullcontext():
        first.play()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=f"data of the run in .* have changed since it began, {says}; put back"):
        training(run, changed, stage_nimg=64).play()
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    training(run, Sized(48, "one"), stage_nimg=64).play()


def test_a_run_of_an_earlier_version_does_not_know_its_data_and_goes_on(tmp_path):
    run = tmp_path / "run"
    training(run, Sized(48), stage_nimg=64).play()
    config = json.loads((run / "config.json").read_text())
    del config["dataset"]
    (run / "config.json").write_text(json.dumps(config))
    training(run, Sized(47), stage_nimg=64).play()


def test_a_finished_run_that_is_repeated_leaves_its_model_alone(tmp_path):
    class Other(Toy):
        def model(self, config, dataset, weights):
            raise AssertionError("made again")

    run = tmp_path / "run"
    assert training(run, stage_nimg=64).play().model == run / "model"
    (run / "model" / "README.md").write_text("what its owner wrote")
    assert training(run, Other(), stage_nimg=64).play().model == run / "model"
    assert (run / "model" / "README.md").read_text() == "what its owner wrote"
    for lost in (run / "model" / "model.safetensors", run / "model"):
        shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
        training(run, stage_nimg=64).play()
        assert (run / "model" / "model.safetensors").is_file()
