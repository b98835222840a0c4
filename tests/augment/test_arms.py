"""The arms: same steps, same pictures, only what the arm is about differs; and trials that go on where they stopped."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gantk_augment import trial as trials
from gantk_augment.arms import ARMS, Labelled, Pool, Transform, aside, fit_arm, shared, subsample
from gantk_augment.trial import ByModel, FittedInside, Given, Trial
from gantk_augment.verdict import judge
from gantoolkit.errors import InputError, UsageError

FLIP = {"__version__": "2.0.8", "transform": {"__class_fullname__": "HorizontalFlip", "p": 0.5}}
QUICK = {"nimg": 256, "seed": 3, "width": 4}


@pytest.fixture(scope="module")
def digits() -> Labelled:
    """scikit-learn's 1,797 digits, 8×8 grey, shuffled."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    pictures = np.rint(found.images * (255 / 16)).astype(np.uint8)[..., None]
    return Labelled(pictures[order], found.target.astype(np.int64)[order])


def moved(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A shift by up to one pixel: what a classic recipe for such pictures would do."""
    return np.roll(picture, rng.integers(-1, 2, 2), (0, 1))


@pytest.fixture
def without_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    def classic(settings: object) -> Transform:
        return moved

    monkeypatch.setattr(trials, "classic", classic)


def test_each_arm_sees_what_its_name_says(digits: Labelled) -> None:
    real, pool = digits.take(np.arange(60)), Pool(digits.take(np.arange(60, 160)), 0.5)

    def hashed(arm: str, **more: Any) -> str:
        return fit_arm(arm, real, 10, **QUICK | {"transform": moved, "pool": pool} | more).weights_hash

    weights = {arm: hashed(arm) for arm in ARMS}
    assert len(set(weights.values())) == 4
    assert weights["real"] == hashed("real", transform=None, pool=None)
    assert weights["classic"] == hashed("classic", pool=None)
    assert weights["gan"] == hashed("gan", transform=None)
    for empty in (Pool(pool.made, 0.0), Pool(pool.made.take(np.arange(0)), 0.5)):
        assert hashed("gan", pool=empty) == weights["real"] and hashed("both", pool=empty) == weights["classic"]


def test_every_arm_takes_the_same_steps_without_a_shift_of_its_own(digits: Labelled) -> None:
    pool = Pool(digits.take(np.arange(60, 160)), 0.5)
    fitted = [fit_arm(arm, digits.take(np.arange(60)), 10, transform=moved, pool=pool, **QUICK).fitted for arm in ARMS]
    assert {facts["nimg"] for facts in fitted} == {256} and {facts["shift"] for facts in fitted} == {0}


@pytest.mark.parametrize("arm", ["classic", "gan", "both", "all"])
def test_an_arm_that_lacks_its_pictures_is_refused(arm: str, digits: Labelled) -> None:
    with pytest.raises(UsageError, match=r"cannot be fitted|no such arm"):
        fit_arm(arm, digits, 10, **QUICK)


def test_a_fifth_of_each_class_is_kept_aside_by_content(digits: Labelled) -> None:
    apart = aside(digits)
    for label in range(10):
        of_class = digits.labels == label
        assert apart[of_class].sum() == round(0.2 * of_class.sum())
    order = np.random.default_rng(1).permutation(len(digits))
    assert (aside(digits.take(order)) == apart[order]).all()
    few = Labelled(digits.pictures[:4], np.array([0, 0, 1, 2]))
    assert aside(few)[:2].sum() == 1 and not aside(few)[2:].any()


def test_shared_pictures_are_found_whatever_their_label(digits: Labelled) -> None:
    others = Labelled(digits.pictures[5:8], np.zeros(3, np.int64))
    found = shared(digits.take(np.arange(20)), others)
    assert list(np.flatnonzero(found)) == [5, 6, 7]


def test_a_subsample_is_balanced_random_and_the_seeds_own(digits: Labelled) -> None:
    drawn = subsample(digits, 5, 0)
    assert (np.bincount(drawn.labels) == 5).all() and shared(drawn, digits).all()
    assert np.array_equal(drawn.pictures, subsample(digits, 5, 0).pictures)
    assert not np.array_equal(drawn.pictures, subsample(digits, 5, 1).pictures)
    assert subsample(digits, None, 0) is digits
    with pytest.raises(InputError, match="too few"):
        subsample(digits, 500, 0)


# ---- trials ----


def made_trial(digits: Labelled, made: Labelled, **more: Any) -> Trial:
    settings: dict[str, Any] = {"nimg": 512, "seeds": (0, 1), "per_class": 5, "width": 4, "recipe": {"recipe": FLIP}}
    train, test = digits.take(np.arange(300, 900)), digits.take(np.arange(300))
    return Trial(train, test, tuple("0123456789"), **{"generated": Given(made, "made"), **settings, **more})


def test_an_interrupted_trial_goes_on_and_ends_as_one_left_alone(
    digits: Labelled, tmp_path: Path, without_recipes: None
) -> None:
    made = made_trial(digits, digits.take(np.arange(900, 1000)))
    whole = trials.run(made, tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(row: trials.Row) -> None:
        if (row["arm"], row["seed"]) == ("classic", 1):
            raise Stop

    with pytest.raises(Stop):
        trials.run(made, tmp_path / "cut", on_row=stop)
    kept = tmp_path / "cut" / trials.FITS
    with kept.open("a") as file:
        file.write('{"arm": "gan", "se')  # killed while writing
    seen: list[tuple[str, int]] = []
    assert trials.run(made, tmp_path / "cut", on_row=lambda row: seen.append((row["arm"], row["seed"]))) == whole
    assert seen == [("gan", 1), ("both", 1)]
    assert kept.read_text() == (tmp_path / "whole" / trials.FITS).read_text()
    assert [json.loads(line)["arm"] for line in kept.read_text().splitlines()[1:6]] == ["generated", *ARMS]


def test_given_pictures_are_shown_as_often_as_they_are_there_and_at_most_half_the_time(
    digits: Labelled, tmp_path: Path
) -> None:
    """Ten of a rare class beside ninety would be most of what is seen of it at half of all pictures."""
    for made, share in ((10, 0.1), (90, 0.5), (400, 0.5)):
        given = Given(digits.take(np.arange(made)), "given")
        trial = made_trial(digits, digits, generated=given)
        assert given.pool(trial, digits.take(np.arange(90)), 0, tmp_path).share == share


@dataclass(frozen=True)
class Unused:
    """Pictures whose share is 0."""

    made: Labelled
    facts = {"generated": "unused"}  # noqa: RUF012

    def pool(self, *_: Any) -> Pool:
        return Pool(self.made, 0.0)


def test_pictures_that_are_not_shown_cost_no_fit_and_would_change_none(
    digits: Labelled, tmp_path: Path, without_recipes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = made_trial(digits, digits, generated=Unused(digits.take(np.arange(900, 1000))), seeds=(0,), nimg=256)
    monkeypatch.setattr(trials, "_kept", lambda folder: {})
    fitted = trials.run(made, tmp_path / "fitted")
    monkeypatch.undo()
    monkeypatch.setattr(trials, "classic", lambda settings: moved)
    arms: list[str] = []
    fit_arm = trials.fit_arm
    monkeypatch.setattr(trials, "fit_arm", lambda arm, *rest, **more: arms.append(arm) or fit_arm(arm, *rest, **more))
    assert trials.run(made, tmp_path / "reused") == fitted
    assert arms == ["real", "classic"]


def test_another_trial_in_the_folder_is_refused_unless_forced(
    digits: Labelled, tmp_path: Path, without_recipes: None
) -> None:
    made = digits.take(np.arange(900, 1000))
    trials.run(made_trial(digits, made, nimg=128, per_class=2), tmp_path)
    other = made_trial(digits, made, nimg=256, per_class=2)
    with pytest.raises(UsageError, match="another nimg"):
        trials.run(other, tmp_path)
    counted: list[int] = []
    trials.run(other, tmp_path, force=True, on_start=counted.append)
    trials.run(other, tmp_path, on_start=counted.append)
    assert counted == [2 * 5, 0]


def test_another_model_under_the_same_name_is_another_trial(digits: Labelled) -> None:
    one, other = (made_trial(digits, digits, generated=ByModel("m", sha)).facts for sha in ("a1", "b2"))
    assert one["generator"]["generated"] == other["generator"]["generated"] and one != other


def test_all_that_fits_a_generator_tells_one_trial_from_another(
    digits: Labelled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its defaults and the rule for the share too, which another version may change."""

    def facts(**options: Any) -> Any:
        return made_trial(digits, digits, generated=FittedInside({"nimg": 500}), **options).facts

    before = facts(nimg=128)
    assert before["nimg"] == 128 and before["generator"]["nimg"] == 500 and before["generator"]["confidence"] == 0.05
    assert facts(nimg=256) != before and "threads" not in before["generator"]
    monkeypatch.setattr(trials, "RULE", "another")
    assert facts(nimg=128) != before


def test_folders_that_are_not_a_trials_are_kept(digits: Labelled, tmp_path: Path, without_recipes: None) -> None:
    made = digits.take(np.arange(900, 1000))
    (tmp_path / "generated").mkdir()
    (tmp_path / "generated" / "mine.png").write_bytes(b"mine")
    for force in (False, True):
        with pytest.raises(UsageError, match="not of a trial"):
            trials.run(made_trial(digits, made, nimg=128, per_class=2), tmp_path, force=force)
    assert (tmp_path / "generated" / "mine.png").read_bytes() == b"mine"


@pytest.mark.slow
def test_workers_change_no_figure(digits: Labelled, tmp_path: Path) -> None:
    made = made_trial(digits, digits.take(np.arange(900, 1000)))
    assert trials.run(made, tmp_path / "one") == trials.run(made, tmp_path / "two", workers=2)


def brighter(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (picture * rng.uniform(0.8, 1.0)).astype(np.uint8)


@pytest.mark.slow
def test_the_verdict_knows_good_useless_and_harmful_pictures(digits: Labelled) -> None:
    """Five pictures a class: truly new ones help, copies of the same ones do not, a collapsed generator hurts."""
    train, test = digits.take(np.arange(300, 900)), digits.take(np.arange(300))
    one_each = np.array([np.flatnonzero(train.labels == (label + 1) % 10)[0] for label in range(10)])
    drawn = {seed: subsample(train, 5, seed) for seed in range(5)}
    pools = {
        "new": lambda seed: digits.take(np.arange(900, 1797)),
        "copies": lambda seed: drawn[seed],
        "collapsed": lambda seed: Labelled(train.pictures[one_each], np.arange(10)),  # one picture a class, the wrong
    }

    def accuracy(arm: str, seed: int, made: Labelled | None = None) -> float:
        pool = None if made is None else Pool(made, 0.5)
        fit = fit_arm(arm, drawn[seed], 10, nimg=4_000, seed=seed, transform=brighter, pool=pool, width=8)
        return fit.accuracy(test.pictures, test.labels).value

    alone = {arm: [accuracy(arm, seed) for seed in drawn] for arm in ("real", "classic")}
    verdicts = {
        name: judge(alone | {arm: [accuracy(arm, seed, pool(seed)) for seed in drawn] for arm in ("gan", "both")})
        for name, pool in pools.items()
    }
    assert {name: verdict.word for name, verdict in verdicts.items()} == {
        "new": "use it",
        "copies": "no measurable gain",
        "collapsed": "don't",
    }, {name: verdict.text for name, verdict in verdicts.items()}
