"""The example beyond pictures: its sounds and measures have known answers, and it keeps every task's promises."""

from __future__ import annotations

import ast
import wave
from pathlib import Path

import numpy as np
import pytest

from gantoolkit.errors import UsageError
from gantoolkit.model import Model
from gantoolkit.testing import RecordingConsole, TaskConformance

EXAMPLE = Path(__file__).parent.parent / "examples" / "gantk-wave"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLE)


@pytest.fixture
def sounds():
    from gantk_wave import sounds

    return sounds


class TestWave(TaskConformance):
    task = "wave"
    overrides = {"nimg": 32, "batch": 8, "width": 8}  # noqa: RUF012 - as in the docs

    @pytest.fixture
    def made(self):
        """From the checkout: `.ci/run` installs it from its own pyproject and finds it by its entry point."""
        from gantk_wave.task import Wave

        return Wave()

    def test_it_has_a_name_and_a_summary(self, made) -> None:
        import gantk_wave

        (entry,) = gantk_wave.gantk_tasks()
        assert (entry.name, entry.summary) == (made.name, made.summary)

    def use(self, loaded) -> None:
        five = loaded(5, seed=3)
        assert five.shape == (5, 4096) and five.dtype == np.float32 and np.abs(five).max() <= 1
        assert np.array_equal(five[2], loaded(1, seed=5, note=2)[0])
        assert not np.array_equal(five[0], five[1])


def test_the_pitch_of_a_tone_is_found_to_a_few_cents(sounds) -> None:
    real = sounds.plucks(130, seed=1)
    hertz, harmonicity = sounds.pitch(real)
    cents = 1200 * np.log2(hertz / np.tile(sounds.PITCHES, 10))
    assert np.abs(cents).max() < 8 and harmonicity.min() > 0.98  # strings are up to 5 cents off


def test_measures_tell_strings_from_noise_and_from_a_single_pitch(sounds) -> None:
    real, other = sounds.plucks(260, seed=1), sounds.plucks(260, seed=2)
    good = sounds.measure(real, other)
    assert good["in tune"] == 1 and good["notes"] == 13
    noise = sounds.measure(np.random.default_rng(0).normal(0, real.std(), real.shape), other)
    assert noise["harmonicity"] < 0.3 and noise["in tune"] == 0 and noise["distance"] > 20 * good["distance"]
    rng = np.random.default_rng(3)
    collapsed = sounds.measure(np.stack([sounds.pluck(sounds.PITCHES[4], rng) for _ in range(260)]), other)
    assert collapsed["in tune"] == 1 / 13 and collapsed["notes"] == 1 and collapsed["distance"] > 5 * good["distance"]
    quarter_tone = np.stack([sounds.pluck(p * 2 ** (1 / 24), rng) for p in sounds.PITCHES])
    assert sounds.measure(quarter_tone, other)["in tune"] == 0


def test_frechet_of_gaussians_is_known(sounds) -> None:
    x = np.random.default_rng(0).normal(size=(500, 4))
    assert sounds.frechet(x, x) == pytest.approx(0, abs=1e-9)
    assert sounds.frechet(x, x + 3) == pytest.approx(36)
    assert sounds.frechet(x, 2 * x - x.mean(0)) == pytest.approx(np.trace(np.cov(x.T)))


def test_it_writes_wav_files_that_others_read_and_overwrites_none(sounds, tmp_path: Path) -> None:
    from gantk_wave.task import Config, RunOptions, Strings, Wave

    task, config, console = Wave(), Config(width=8), RecordingConsole()
    state = task.game(config, Strings(), "wave").networks()["generator"].state_dict()
    model = task.model(config, Strings(), {"wave": {"generator": state}})
    options = RunOptions(model=str(model.save(tmp_path / "model")), number=3, out=tmp_path / "out")
    assert task.run(options, console) == 0
    with wave.open(str(tmp_path / "out" / "000002.wav")) as file:
        kind = (file.getframerate(), file.getnframes(), file.getsampwidth(), file.getnchannels())
        samples = np.frombuffer(file.readframes(4096), "<i2")
    assert kind == (16_000, 4096, 2, 1)
    again = task.load(Model.load(tmp_path / "model"))(1, seed=2, note=2)[0]
    assert np.array_equal(samples, np.round(32767 * again))
    assert [Path(row["file"]).name for row in console.results] == ["000000.wav", "000001.wav", "000002.wav"]
    with pytest.raises(UsageError, match="--force"):
        task.run(options, console)


def test_it_uses_public_names_only_and_stays_small() -> None:
    lines = 0
    for path in (EXAMPLE / "gantk_wave").glob("*.py"):
        lines += sum(1 for line in path.read_text().splitlines() if line.strip())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gantoolkit"):
                assert not [alias.name for alias in node.names if alias.name.startswith("_")]
    assert lines < 280
