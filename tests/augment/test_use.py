"""`gantk run augment`: what it makes, refuses, reports, goes on with and makes again."""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gantk_augment import preview
from gantk_augment.manifest import NAME
from gantk_augment.options import RunOptions
from gantk_augment.source import open_source
from gantk_augment.use import run
from gantoolkit import plugins
from gantoolkit.errors import GantkError, InputError, UsageError
from gantoolkit.testing import RecordingConsole
from tests.augment import data_sets, policies
from tests.augment.growing import grow, rows, tree


def test_originals_new_ones_a_manifest_and_a_sheet(tmp_path: Path, data: Path, noise: Path) -> None:
    code, console = grow(data, tmp_path / "out", noise, multiply=2)
    assert code == 0
    found = open_source(tmp_path / "out")
    assert found.classes == data_sets.CLASSES and len(found.names) == 18
    for path in sorted(data.rglob("*.png")):
        assert (tmp_path / "out" / path.relative_to(data)).read_bytes() == path.read_bytes()
    listed = rows(tmp_path / "out")
    assert {r["file"]: r["sha256"] for r in listed} | {NAME: tree(tmp_path / "out")[NAME]} == tree(tmp_path / "out")
    assert [r["index"] for r in listed] == list(range(18))
    assert [r["policy"] for r in listed] == ["original"] * 6 + ["noise"] * 12
    assert all(r["parameters"]["sum"] > 0 for r in listed[6:])
    assert (tmp_path / "out-sheet.png").is_file()
    assert "18 pictures, 12 of them new" in "\n".join(console.said)
    assert any(f"gantk eval augment {data}" in line for line in console.said)


@pytest.mark.parametrize("layout", [data_sets.class_folders, data_sets.csv_table, data_sets.coco, data_sets.pairs])
def test_samples_by_lines_of_the_manifest_are_those_of_the_whole_result(tmp_path: Path, layout: Any) -> None:
    data = layout(tmp_path / "data")
    assert grow(data, tmp_path / "out", policy="classic", recipe="photo")[0] == 0
    lines = rows(tmp_path / "out")
    made, whole = open_source(data).made(tmp_path / "out", lines), open_source(tmp_path / "out")
    places = {whole.base + name: index for index, name in enumerate(whole.names)}
    assert len(made) == len(whole) == len(lines)
    for index, line in enumerate(lines):
        one, other = made.sample(index), whole.sample(places[line["file"]])
        np.testing.assert_array_equal(one.picture, other.picture)
        np.testing.assert_array_equal(one.mask, other.mask)
        assert one.label == other.label and repr(one.things) == repr(other.things)


def test_a_dry_run_counts_and_writes_nothing(tmp_path: Path, data: Path, noise: Path) -> None:
    code, console = grow(data, tmp_path / "out", noise, dry_run=True, per_class=5)
    assert code == 0 and not (tmp_path / "out").exists()
    assert "6 pictures" not in console.said[-1] and "10 pictures, 4 of them new" in console.said[-1]
    assert console.results[0] == {"class": "blue", "original": 3, "noise": 2}


def test_a_dry_run_tells_what_would_be_left_out(tmp_path: Path, data: Path, noise: Path) -> None:
    (data / "red" / "red-0.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    code, console = grow(data, tmp_path / "out", noise, dry_run=True)
    assert (code, len(console.warned)) == (4, 1) and "1 label files of YOLO" in console.warned[0]
    code, console = grow(data, tmp_path / "out", noise)
    assert (code, len(console.warned)) == (4, 1) and "1 label files of YOLO" in console.warned[0]


@pytest.mark.parametrize(("share", "names"), [(0.5, ["classic", "gan"]), (0.0, ["classic"])])
def test_a_preview_shows_every_policy_that_has_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, names: list[str]
) -> None:
    shown: list[str] = []
    made = preview.sheet

    def sheet(source: Any, policies: Any, seed: int) -> np.ndarray:
        shown.extend(policy.name for policy in policies)
        return made(source, policies, seed, count=1, new=2)

    monkeypatch.setattr(preview, "sheet", sheet)
    data = data_sets.class_folders(tmp_path / "data", classes=("Bag", "Sneaker"))
    options = {"policy": "both", "model": "fashion-32", "gan_share": share, "preview": tmp_path / "sheet.png"}
    assert grow(data, tmp_path / "out", **options)[0] == 0
    assert shown == names and (tmp_path / "sheet.png").is_file() and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("transform", "said"), [("HorizontalFlip", True), ("RandomBrightnessContrast", False), ("CoarseDropout", False)]
)
def test_columns_of_places_are_named_where_pictures_are_moved(tmp_path: Path, transform: str, said: bool) -> None:
    data, recipe = data_sets.csv_table(tmp_path / "data"), tmp_path / "recipe.yaml"
    recipe.write_text(f"transform: {{__class_fullname__: {transform}, p: 1.0}}\n")
    header, *lines = (data / "labels.csv").read_text().splitlines()
    whole = [f"{header},x_min,Bbox,max,left,lefteye_x,exact", *(f'{line},3,"[1, 2]",4,yes,5,6' for line in lines)]
    (data / "labels.csv").write_text("\n".join(whole))
    for multiply in (1, 0):
        _, console = grow(data, tmp_path / "out", recipe, policy="classic", dry_run=True, multiply=multiply)
        assert len(console.warned) == (said and multiply)
        assert not console.warned or "x_min, Bbox, lefteye_x of labels.csv look like places" in console.warned[0]


def test_what_makes_no_sense_is_refused_before_any_work(tmp_path: Path, data: Path, noise: Path) -> None:
    out = tmp_path / "out"
    for options, fragment in (
        ({"policy": "nose"}, "noise"), ({"per_class": 3, "balance": True}, "contradict"),
        ({"originals": False, "multiply": 0}, "nothing would be made"), ({"policy": "gan"}, "needs a --model"),
        ({"policy": "both"}, f"gantk train augment {data}"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=fragment):
            grow(data, out, noise, **options)
    for place in (data, data / "grown"):
        with pytest.raises(UsageError, match="lies in the data"):
            grow(data, place, noise)
    with pytest.raises(UsageError, match="-o OUT"):
        run(RunOptions(data=data), RecordingConsole())
    with pytest.raises(UsageError, match="gantk run augment DATA/"):
        run(RunOptions(), RecordingConsole())
    assert not out.exists()


def test_a_generator_needs_classes_and_nothing_else(tmp_path: Path) -> None:
    for make, fragment in ((data_sets.coco, "boxes and masks"), (data_sets.pairs, "masks")):
        with pytest.raises(InputError, match=fragment):
            grow(make(tmp_path / make.__name__), tmp_path / "out", policy="both")


def test_a_mirrored_eye_changes_its_side_where_the_category_names_sides(tmp_path: Path) -> None:
    data, flip = data_sets.coco(tmp_path / "data"), tmp_path / "flip.yaml"
    flip.write_text("transform: {__class_fullname__: HorizontalFlip, p: 1.0}\n")
    named = {"keypoints": ["left eye", "right eye", "nose"]}
    data_sets.edit_json(data / "annotations.json", lambda content: content["categories"][0].update(named))
    assert grow(data, tmp_path / "out", flip, policy="classic", originals=False)[0] == 0
    before, after = open_source(data), open_source(tmp_path / "out")
    for name in after.names:
        made, (source,) = after.sample(after.names.index(name)), [n for n in before.names if n[:-4] in name]
        (thing,), (was,) = made.things, before.sample(before.names.index(source)).things
        assert thing.keypoints is not None and was.keypoints is not None
        (x, y, seen), (x2, y2, seen2), _ = was.keypoints
        mirrored = [[31 - x, y, seen], [31 - x2, y2, seen2], [0, 0, 0]]
        order = [1, 0, 2] if after.categories[thing.category] == "blue" else [0, 1, 2]
        np.testing.assert_array_equal(thing.keypoints, np.array(mirrored)[order])


def test_every_mask_keeps_its_own_palette(tmp_path: Path) -> None:
    data, palettes = data_sets.pairs(tmp_path / "data", count=4), ([1, 2, 3, 200, 30, 90], [4, 5, 6, 0, 250, 0], None)
    for index, palette in enumerate(palettes):
        path = data / "masks" / f"p{index}.png"
        with Image.open(path) as mask:
            mask = mask.copy()
        if palette:
            mask.putpalette(palette)
        mask.save(path)
    assert grow(data, tmp_path / "out", policy="classic")[0] == 0
    for row in rows(tmp_path / "out"):
        palette = [*palettes, None][int(row["source"][len("images/p")])]
        with Image.open(tmp_path / "out" / row["annotation"]["mask"]) as mask:
            assert (mask.getpalette() or [])[:6] == (palette or [])


def test_another_commands_result_is_refused_or_replaced(tmp_path: Path, data: Path, noise: Path) -> None:
    out = tmp_path / "out"
    grow(data, out, noise)
    before = tree(out)
    (out / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"other options.*--force"):
        grow(data, out, noise, seed=1)
    assert grow(data, out, noise, seed=1, multiply=3, force=True)[0] == 0
    after = tree(out)
    assert set(before) - set(after) and (out / "mine.txt").read_text() == "mine"
    assert {r["file"] for r in rows(out)} | {NAME, "mine.txt"} == set(after)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    with pytest.raises(UsageError, match="is not empty"):
        grow(data, tmp_path / "full", noise)
    with pytest.raises(UsageError, match="is a file"):
        grow(data, tmp_path / "full" / "x", noise)


def test_what_is_missing_or_spoilt_is_made_again_and_nothing_else(tmp_path: Path, data: Path, noise: Path) -> None:
    out = tmp_path / "out"
    grow(data, out, noise)
    before, made = tree(out), rows(out)
    (out / made[7]["file"]).unlink()
    (out / made[9]["file"]).write_bytes(b"")
    code, console = grow(data, out, noise)
    assert code == 0 and tree(out) == before
    assert console.results[-1]["made"] == 2
    assert grow(data, out, noise)[1].results[-1]["made"] == 0 and tree(out) == before


@pytest.mark.parametrize("layout", ["class_folders", "csv_table", "coco", "pairs"])
def test_a_manifest_makes_every_file_again(tmp_path: Path, layout: str) -> None:
    """By the policy classic, in each layout."""
    data = getattr(data_sets, layout)(tmp_path / "data")
    assert grow(data, tmp_path / "first", policy="classic", multiply=1.5)[0] == 0
    assert grow(data, tmp_path / "again", manifest=tmp_path / "first" / NAME)[0] == 0
    first = tree(tmp_path / "first")
    assert tree(tmp_path / "again") == first and len(first) > len(open_source(data).names) * 2


def test_a_manifest_of_other_data_or_other_files_is_noticed(tmp_path: Path, data: Path, noise: Path) -> None:
    grow(data, tmp_path / "out", noise)
    whole = (tmp_path / "out" / NAME).read_text().splitlines(keepends=True)
    part = tmp_path / "part.jsonl"
    part.write_text(whole[0] + whole[8] + whole[9].replace('"sha256":"', '"sha256":"0'))
    code, console = grow(data, tmp_path / "some", noise, manifest=part)
    assert code == 4 and "it is not what the manifest says" in console.warned[-1]
    assert set(tree(tmp_path / "some")) == {json.loads(whole[8])["file"], NAME}
    data_sets.save(data / "red" / "red-0.png", data_sets.disc(99)[0])
    with pytest.raises(InputError, match=r"is not what .* was made from"):
        grow(data, tmp_path / "other", noise, manifest=part)


def test_bad_pictures_and_a_failing_policy_are_reported_and_the_rest_goes_on(tmp_path: Path, data: Path) -> None:
    (data / "red" / "red-1.png").write_bytes(b"no picture")
    folder, recipe = policies.write(tmp_path, raises="blue")
    plugins.use(plugins.discover(plugins_dir=folder))
    code, console = grow(data, tmp_path / "out", recipe)
    assert code == 4
    # once for the copy and what was to be made of it
    assert [line.endswith("(2 times)") for line in console.warned if "red-1.png" in line] == [True]
    assert console.results[-1]["failed"] == 2 + 3
    assert len([line for line in console.warned if "ValueError: no noise here" in line]) == 3
    assert len(rows(tmp_path / "out")) == 5 + 2
    assert set(tree(tmp_path / "out")) == {r["file"] for r in rows(tmp_path / "out")} | {NAME}


def test_nothing_worked(tmp_path: Path) -> None:
    data = data_sets.class_folders(tmp_path / "data", each=3, classes=("blue", "red"))
    folder, recipe = policies.write(tmp_path, fails="blue", raises="red")
    plugins.use(plugins.discover(plugins_dir=folder))
    code, console = grow(data, tmp_path / "out", recipe, originals=False)
    assert code == 3 and not (tmp_path / "out").exists()
    assert any("this class is quiet" in line for line in console.warned)


def test_a_full_disk_keeps_what_is_whole_and_goes_on_later(
    tmp_path: Path, data: Path, noise: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gantk_augment import work

    grow(data, tmp_path / "whole", noise)
    room = [5]

    def write(path: str, content: bytes) -> None:
        Path(path).write_bytes(content[:3])
        room[0] -= 1
        if room[0] < 0:
            raise OSError(28, os.strerror(28), path)
        Path(path).write_bytes(content)

    with monkeypatch.context() as patch:
        patch.setattr(work, "_write", write)
        code, console = grow(data, tmp_path / "out", noise)
    assert code == 4 and "the disk is full: 7 pictures are missing" in console.warned[-1]
    assert len(tree(tmp_path / "out")) == 5 + 1 and not (tmp_path / "out" / NAME).exists()
    assert grow(data, tmp_path / "out", noise)[0] == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_a_picture_that_the_file_system_refuses_fails_alone(tmp_path: Path, noise: Path) -> None:
    data = data_sets.class_folders(tmp_path / "data", each=2)
    data_sets.save(data / "red" / "large.png", np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    try:
        code, console = grow(data, tmp_path / "out", noise, multiply=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert code == 4 and console.warned == ["error: large: File too large"]
    assert len(rows(tmp_path / "out")) == 4 and len(tree(tmp_path / "out")) == 5


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, data: Path, noise: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GantkError, match="cannot write"):
        grow(data, tmp_path / "file" / "out", noise)


def test_samples_from_nothing_take_the_usual_suffix(tmp_path: Path) -> None:
    data = data_sets.class_folders(tmp_path / "data", each=3, suffix=".jpg")
    plugins.use(plugins.discover(plugins_dir=policies.write(tmp_path)[0]))
    assert grow(data, tmp_path / "out", policy="plain", originals=False)[0] == 0
    assert sorted(tree(tmp_path / "out")) == [
        *(f"blue/plain-000{i}.jpg" for i in range(3)), NAME, *(f"red/plain-000{i}.jpg" for i in range(3, 6)),
    ]  # fmt: skip


def test_a_picture_of_the_users_beside_the_result_stays(tmp_path: Path, data: Path, noise: Path) -> None:
    mine = tmp_path / "out-sheet.png"
    mine.write_bytes(b"mine")
    code, console = grow(data, tmp_path / "out", noise)
    assert code == 0 and mine.read_bytes() == b"mine" and "no sheet" in console.warned[-1]
    assert grow(data, tmp_path / "out", noise, force=True)[0] == 0 and mine.read_bytes() != b"mine"
    assert not grow(data, tmp_path / "out", noise)[1].warned  # its own sheet, the same again


@pytest.mark.parametrize(
    ("options", "generated"),
    [
        ({"multiply": 1}, 6),  # all new ones: half of 12
        ({"multiply": 3}, 12),  # half of 24, though two thirds of the new ones
        ({"multiply": 3, "originals": False}, 12),  # the data's own go along elsewhere
        ({"multiply": 3, "gan_share": 0.5}, 9),
    ],
)
def test_the_whole_result_has_the_models_share(tmp_path: Path, options: dict[str, Any], generated: int) -> None:
    """The bundled model's share is a half of all pictures that a classifier is shown."""
    data = data_sets.class_folders(tmp_path / "data", each=3, classes=("Bag", "Sneaker"))
    code, console = grow(data, tmp_path / "out", policy="both", model="fashion-32", dry_run=True, **options)
    assert code == 0 and sum(row.get("gan", 0) for row in console.results) == generated


def test_a_model_that_did_not_help_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_sets.class_folders(tmp_path / "data", each=3, classes=("Bag", "Sneaker"))
    monkeypatch.setattr("gantk_augment.fit.SHARE", 0.0)
    for policy, then in (("gan", "data"), ("both", "data, so classic makes all")):
        _, console = grow(data, tmp_path / "out", policy=policy, model="fashion-32", dry_run=True)
        assert any(line.endswith(f"did not help on validation {then}") for line in console.warned)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "fashion-32"}, "--model has no effect with --policy noise"),
        ({"gan_share": 0.5}, "--gan-share has no effect with --policy noise"),
        ({"policy": "gan", "model": "m", "gan_share": 0.5}, "--gan-share has no effect with --policy gan"),
        ({"manifest": Path("m"), "seed": 9}, "--seed has no effect with --manifest"),
        ({"manifest": Path("m"), "multiply": 3}, "--multiply has no effect with --manifest"),
    ],
)
def test_what_would_have_no_effect_is_refused(tmp_path: Path, data: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        grow(data, tmp_path / "out", **options)


def test_damaged_headers_are_one_line(tmp_path: Path, data: Path, noise: Path) -> None:
    (tmp_path / "m.jsonl").write_text('{"manifest": 1, "policies": {}, "data": {}, "models": {}}\n')
    with pytest.raises(InputError, match="is damaged: versions"):
        grow(data, tmp_path / "out", manifest=tmp_path / "m.jsonl")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / NAME).write_text('{"manifest": 1, "tables": 3}\n')
    assert grow(data, tmp_path / "out", noise, force=True)[0] == 0


def test_a_class_that_is_large_enough_gets_nothing_new_and_that_is_said(
    tmp_path: Path, data: Path, noise: Path
) -> None:
    code, console = grow(data, tmp_path / "out", noise, per_class=2)
    assert code == 0 and any("nothing new is asked for" in line for line in console.warned)


def test_the_place_may_be_the_current_folder(
    tmp_path: Path, data: Path, noise: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert grow(data, Path(), noise)[0] == 0
    assert (tmp_path / "here-sheet.png").exists() and (tmp_path / "here" / NAME).exists()


def test_long_names_and_dangling_links_do_not_stop_the_rest(tmp_path: Path, data: Path, noise: Path) -> None:
    folder = data / data_sets.CLASSES[0]
    first = min(folder.iterdir())
    first.rename(folder / ("長" * 80 + first.suffix))
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    code, console = grow(data, tmp_path / "out", noise)
    assert code == 4 and sum("gone.png" in row["error"] for row in console.results if "error" in row) >= 1
    new = [row for row in rows(tmp_path / "out") if row["policy"] != "original"]
    assert any("長" * 60 in row["file"] for row in new)


def test_one_folder_of_pictures_stays_one(tmp_path: Path, noise: Path) -> None:
    """Its name may be that of the only class."""
    data = data_sets.class_folders(tmp_path / "data", classes=("red",))
    done, console = grow(data, tmp_path / "out", noise)
    assert done == 0 and "all pictures lie in the one folder red: no classes" in console.said[0]
    assert {Path(name).parent.name for name in tree(tmp_path / "out") if name.endswith(".png")} == {"red"}
    assert len(open_source(tmp_path / "out")) == 8
