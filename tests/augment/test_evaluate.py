"""`gantk eval augment`: the verdict on small sets of digits, and what keeps an evaluation honest."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gantk_augment import evaluate as evaluation
from gantk_augment import manifest, page, provenance
from gantk_augment.arms import Labelled, Pool, aside, shared
from gantk_augment.fit import Fitted, fingerprint
from gantk_augment.trial import FITS, FittedInside, Given, Trial
from gantk_augment.verdict import judge
from gantoolkit.archives import write_archive
from gantoolkit.cli import call
from gantoolkit.model import Model
from tests.augment.data_sets import save

FLIP = """
__version__: "2.0.8"
transform: {__class_fullname__: HorizontalFlip, p: 0.1}
"""


def archive(path: Path, data: Labelled) -> Path:
    write_archive(path, data.pictures, data.labels.tolist(), [f"digit {n}" for n in range(10)])
    return path


@pytest.fixture(scope="module")
def digits() -> Labelled:
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    pictures = np.rint(found.images * (255 / 16)).astype(np.uint8)[..., None]
    return Labelled(pictures[order], found.target.astype(np.int64)[order])


@pytest.fixture
def sets(digits: Labelled, tmp_path: Path) -> dict[str, Path]:
    """Training and test pictures, and synthetic ones: new ones, and ones whose labels are wrong."""
    wrong = Labelled(digits.pictures[600:800], (digits.labels[600:800] + 1) % 10)
    (tmp_path / "flip.yaml").write_text(FLIP)
    return {
        "train": archive(tmp_path / "train.zip", digits.take(np.arange(300))),
        "test": archive(tmp_path / "test.zip", digits.take(np.arange(300, 500))),
        "new": archive(tmp_path / "new.zip", digits.take(np.arange(600, 800))),
        "wrong": archive(tmp_path / "wrong.zip", wrong),
        "recipe": tmp_path / "flip.yaml",
        "out": tmp_path / "out",
    }


def evaluate(sets: dict[str, Path], *words: object, quick: bool = True) -> int:
    given = ["--recipe", sets["recipe"], "--out", sets["out"], *(["--nimg", 128, "--seeds", 2] if quick else [])]
    return call(["eval", "augment", *map(str, [*words, *given])])


def test_pictures_with_wrong_labels_are_judged_dont(sets: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    words = (sets["train"], "--test", sets["test"], sets["wrong"], "--nimg", 2_500, "--seeds", 3)
    assert evaluate(sets, *words, quick=False) == 0
    heard = capsys.readouterr()
    assert re.search(r"^verdict: don't\. Generated pictures on top of classic.*95 % interval -", heard.out, re.M)
    assert "only 3 repetitions" in heard.err and "copies" not in heard.err
    found = json.loads((sets["out"] / "verdict.json").read_text())
    assert found["verdict"] == "don't" and {arm: len(v) for arm, v in found["accuracies"].items()} == dict.fromkeys(
        ("real", "classic", "gan", "both"), 3
    )
    assert judge(found["accuracies"]).word == "don't"
    cards = {card["name"] for card in found["cards"]}
    assert {"accuracy", "gain of both over classic", "memorised", "coverage", "density"} <= cards
    protocol = found["cards"][0]["protocol"]
    assert protocol["nimg"] == 2_500 and protocol["share"] == 0.4 and found["cards"][0]["n"] == 200
    written = (sets["out"] / page.NAME).read_text()
    assert "don&#x27;t" in written and "<script" not in written and 'src="http' not in written and "href" not in written
    assert written.count("<svg") == 2 and written.count('class="one"') == 3 * (4 + 3)

    before = {path.name: path.read_bytes() for path in sets["out"].glob("*.*")}
    assert evaluate(sets, *words, quick=False) == 0  # all fits are there: nothing is fitted again
    assert {path.name: path.read_bytes() for path in sets["out"].glob("*.*")} == before
    assert evaluate(sets, *words, "--per-class", 5, quick=False) == 2
    assert "another per class" in capsys.readouterr().err


def test_without_test_pictures_a_fifth_is_kept_aside_before_anything_is_fitted(
    sets: dict[str, Path], digits: Labelled, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(sets, sets["train"], sets["new"]) == 0
    assert "kept aside" in capsys.readouterr().out
    facts = json.loads((sets["out"] / FITS).read_text().splitlines()[0])
    apart = aside(digits.take(np.arange(300)))
    assert facts["test pictures"].startswith(f"{apart.sum()}, ")
    assert facts["training pictures"].startswith(f"{(~apart).sum()}, ")
    assert 50 <= apart.sum() <= 70


def test_synthetic_pictures_that_are_test_pictures_are_refused(
    sets: dict[str, Path], digits: Labelled, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leaked = archive(tmp_path / "leaked.zip", digits.take(np.r_[600:650, 300:307]))
    assert evaluate(sets, sets["train"], "--test", sets["test"], leaked) == 3
    assert "7 of the synthetic pictures are test pictures" in capsys.readouterr().err
    assert not sets["out"].exists()


def test_training_pictures_that_are_test_pictures_are_left_out(
    sets: dict[str, Path], digits: Labelled, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = archive(tmp_path / "mixed.zip", digits.take(np.r_[0:290, 300:304]))
    copies = archive(tmp_path / "copies.zip", digits.take(np.arange(20)))
    assert evaluate(sets, mixed, "--test", sets["test"], copies) == 0
    heard = capsys.readouterr().err
    assert "4 training pictures are test pictures" in heard
    assert "20 of 20 synthetic pictures are copies" in heard
    cards = {card["name"]: card for card in json.loads((sets["out"] / "verdict.json").read_text())["cards"]}
    assert cards["memorised"]["value"] == 1.0


class Stub:
    """A model of 8×8 digits that was fitted on some of them."""

    classes, size, channels, share = tuple(f"digit {n}" for n in range(10)), (8, 8), 1, 0.5

    def __init__(self, known: Labelled) -> None:
        self.trained_on = frozenset(map(fingerprint, known.pictures))

    def knows(self, picture: np.ndarray) -> bool:
        return fingerprint(picture) in self.trained_on


def test_a_model_that_saw_test_pictures_is_refused_and_one_of_other_pictures_warned_of(
    sets: dict[str, Path], digits: Labelled, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluation, "find", lambda task, name: name)
    monkeypatch.setattr(evaluation, "model_hash", lambda model: model)

    def fitted_on(rows: np.ndarray) -> int:
        monkeypatch.setattr(evaluation, "Fitted", lambda model: Stub(digits.take(rows)))
        return evaluate(sets, sets["train"], "--test", sets["test"], "-m", "m")

    class Asked(Exception):
        pass

    def stop(*_: object, **__: object) -> None:
        raise Asked

    assert fitted_on(np.arange(310)) == 3
    assert "fitted on 10 of the 200 test pictures" in capsys.readouterr().err
    monkeypatch.setattr(evaluation, "fitted", stop)
    with pytest.raises(Asked):
        fitted_on(np.r_[0:300, 700:705])
    assert "5 pictures that are none of the training pictures" in capsys.readouterr().err
    with pytest.raises(Asked):
        fitted_on(np.arange(300))
    assert "none of the training" not in capsys.readouterr().err


# ---- synthetic pictures, and what they were made from ----


def grown(sets: dict[str, Path], tmp_path: Path, *words: str) -> Path:
    """The training pictures with the mirror image of each."""
    (tmp_path / "mirror.yaml").write_text(FLIP.replace("0.1", "1.0"))
    given = ["--recipe", str(tmp_path / "mirror.yaml"), "--workers", "1", "--quiet", *words]
    assert call(["run", "augment", str(sets["train"]), "-o", str(tmp_path / "grown"), *given]) == 0
    return tmp_path / "grown"


@pytest.fixture
def won(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is fitted, and generated pictures win."""
    accuracies = {"real": [0.5, 0.51], "classic": [0.5, 0.51], "gan": [0.8, 0.82], "both": [0.8, 0.82]}
    monkeypatch.setattr(evaluation, "fitted", lambda made, out, *_, **__: out.mkdir(exist_ok=True) or accuracies)


def shown(sets: dict[str, Path]) -> list[str]:
    with np.load(sets["out"] / "generated" / "seed-0.npz") as pool:
        return sorted(map(fingerprint, pool["pictures"]))


@pytest.mark.usefixtures("won")
@pytest.mark.parametrize("words", [(), ("--no-originals",)])
def test_pictures_made_from_pictures_kept_aside_are_not_shown_and_copies_are_not_synthetic(
    sets: dict[str, Path], digits: Labelled, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert evaluate(sets, sets["train"], grown(sets, tmp_path, *words)) == 0
    data = digits.take(np.arange(300))
    apart = aside(data)
    assert shown(sets) == sorted(map(fingerprint, data.pictures[~apart, :, ::-1]))
    heard = capsys.readouterr()
    assert f"{apart.sum()} made from test pictures" in heard.out and "not known" not in heard.err
    whole = json.loads((sets["out"] / "verdict.json").read_text())
    assert f"{apart.sum()} made from test pictures" in whole["cards"][0]["protocol"]["generated"]


@pytest.mark.usefixtures("won")
def test_pictures_made_from_other_data_than_those_kept_aside_are_all_shown(
    sets: dict[str, Path], digits: Labelled, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(sets, sets["train"], grown(sets, tmp_path), "--test", sets["test"]) == 0
    assert shown(sets) == sorted(map(fingerprint, digits.pictures[:300, :, ::-1]))
    assert "not known" not in capsys.readouterr().err


@pytest.mark.usefixtures("won")
def test_a_gain_by_pictures_of_unknown_origin_is_never_told_without_that(
    sets: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(sets, sets["train"], sets["new"], "--json") == 0
    heard = capsys.readouterr()
    doubt = "what 200 of the 200 synthetic pictures were made from is not known"
    assert heard.err.count(doubt) == 1
    told = next(row for row in map(json.loads, heard.out.splitlines()) if "verdict" in row)
    whole = json.loads((sets["out"] / "verdict.json").read_text())
    for found in (told, whole):
        assert found["text"].startswith("use it. ") and doubt in found["text"] and doubt in found["warnings"][0]
    assert doubt in (sets["out"] / page.NAME).read_text().partition("<h2>")[0]


@pytest.mark.usefixtures("won")
def test_a_generators_pictures_are_judged_by_what_it_was_fitted_on(
    sets: dict[str, Path], digits: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder, data = tmp_path / "made", digits.take(np.arange(300))
    header = {"manifest": 1, "policies": {"gan": {"model": "m"}}, "models": {"gan": "the same"}}
    lines = [manifest.dump(header)]
    for index in range(20):
        file = f"digit {digits.labels[600 + index]}/gan-{index}.png"
        save(folder / file, digits.pictures[600 + index])
        row = dict.fromkeys(manifest.REQUIRED) | {"file": file, "sha256": "", "index": index, "stem": f"gan-{index}"}
        lines.append(manifest.dump(row | {"policy": "gan"}))
    (folder / manifest.NAME).write_bytes(b"".join(lines))

    def heard(*words: object) -> str:
        code = evaluate(sets, sets["train"], folder, *words)
        heard = capsys.readouterr()
        assert (code == 3) == ("no synthetic picture" in heard.err)
        return heard.err

    assert "what 20 of the 20" in heard()  # there is no model m
    monkeypatch.setattr(provenance, "find", lambda task, name: name)
    monkeypatch.setattr(provenance, "Fitted", lambda model: Stub(known))
    known = data
    monkeypatch.setattr(provenance, "model_hash", lambda model: "another")
    assert "what 20 of the 20" in heard()
    monkeypatch.setattr(provenance, "model_hash", lambda model: "the same")
    assert "20 made from test pictures" in heard()
    assert "not known" not in heard("--test", sets["test"])
    known = data.take(~aside(data))
    assert "not known" not in heard()


def test_grown_data_are_no_real_pictures(
    sets: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = grown(sets, tmp_path)
    assert [evaluate(sets, tree), evaluate(sets, sets["train"], "--test", tree)] == [3, 3]
    assert capsys.readouterr().err.count("300 of the 600 pictures") == 2


def test_what_cannot_be_measured_is_said_on_one_line(
    sets: dict[str, Path], digits: Labelled, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = tmp_path / "plain.zip"
    write_archive(plain, digits.pictures[:20])
    strange = tmp_path / "strange.zip"
    write_archive(strange, digits.pictures[:20], [0, 1] * 10, ["a letter", "another"])
    codes = [
        evaluate(sets),
        evaluate(sets, sets["train"], sets["new"], "--model", "m"),
        evaluate(sets, plain),
        evaluate(sets, sets["train"], "--test", strange),
        evaluate(sets, sets["train"], "--test", sets["test"], sets["new"], "--per-class", 1_000),
        evaluate(sets, sets["train"], "--test", sets["test"], "--model", "no-such"),
    ]
    assert codes == [2, 2, 3, 3, 3, 2]
    heard = capsys.readouterr().err
    assert "Traceback" not in heard and len(heard.strip().splitlines()) == len(codes) + 2  # two warnings
    assert "have no classes" in heard and "a class that the data lack" in heard


def test_the_page_shows_what_it_is_given_as_text_and_plots_inside_its_frame() -> None:
    values = {"real": [0.1, 0.9], "classic": [0.5, 0.5], "gan": [0.2, 0.3], "both": [0.0, 1.0]}
    drawn = page.dots("a <b>", {arm: (v, None) for arm, v in values.items()}, unit="%")
    assert "&lt;b&gt;" in drawn
    places = [float(x) for x in re.findall(r'c?x="([\d.-]+)"', drawn)]
    assert min(places) >= 0 and max(places) <= page.WIDTH
    empty = page.page(judge(values), values, [], [], {"recipe": "<i>"}, None)
    assert "&lt;i&gt;" in empty and "No generated picture" in empty


def test_the_page_names_the_share_of_every_repetition(
    digits: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, test = digits.take(np.arange(300)), digits.take(np.arange(300, 500))
    names, given = tuple(f"digit {n}" for n in range(10)), Given(digits.take(np.arange(500, 600)), "given")
    monkeypatch.setattr(Given, "pool", lambda self, trial, real, seed, folder: Pool(self.made, 0.25 * seed))
    trial = Trial(train, test, names, (0, 1, 2), 4, 128, {}, given)
    arms = {arm: [0.5, 0.6, 0.7] for arm in ("real", "classic", "gan", "both")}
    found = evaluation.report(trial, arms, tmp_path, recipe="none")
    assert {card.protocol["share"] for card in found.cards[: -found.gauges]} == {"0, 0.25, 0.5"}
    assert "0, 0.25, 0.5" in (tmp_path / page.NAME).read_text()


@pytest.mark.slow
def test_a_generator_is_fitted_inside_on_the_training_part_alone(digits: Labelled, tmp_path: Path) -> None:
    small: dict[str, Any] = {"nimg": 96, "batch": 16, "channels": 8, "classifier_nimg": 128, "folds": 2}
    train, test = digits.take(np.arange(300)), digits.take(np.arange(300, 500))
    names = tuple(f"digit {n}" for n in range(10))
    trial = Trial(train, test, names, (0, 1), 4, 128, {}, FittedInside(small), width=4)
    pool = trial.pool(0, tmp_path)
    fitted = Fitted(Model.load(tmp_path / "gan" / "seed-0" / "run" / "model"))
    assert len(fitted.trained_on) == 40 and all(map(fitted.knows, trial.real(0).pictures))
    assert not any(map(fitted.knows, test.pictures))
    assert not shared(pool.made, test).any()
    again = trial.pool(0, tmp_path)
    assert np.array_equal(pool.made.pictures, again.made.pictures) and pool.share == again.share
