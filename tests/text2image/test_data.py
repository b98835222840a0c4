"""Training data: splits that hold out only what they should, items by seed, and what `gantk data check` says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gantk_text2image.captions import open_captions
from gantk_text2image.check import check
from gantk_text2image.data import Data, cut, held_combinations, linked, of_one_caption, split
from gantk_text2image.options import Text2ImageConfig
from gantk_text2image.pictures import background, fitted
from gantoolkit.errors import InputError, UsageError
from tests.text2image import data_sets

WHITE = (255, 255, 255)


def config(**values: Any) -> Text2ImageConfig:
    return Text2ImageConfig(size=32, text_width=16, text_layers=1, **values)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return data_sets.with_jsonl(tmp_path, 48)


def items_equal(a: Any, b: Any) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# ---- items ----


def test_an_item_is_the_picture_with_one_of_its_captions(folder: Path) -> None:
    data = Data(config(caption_dropout=0.0), folder)
    expected = {text: data.encoder.prepare([text]) for text in data.captions[data.train[5]]}
    seen = set()
    for seed in range(20):
        item = data.item(5, np.random.default_rng(seed))
        assert not item["dropped"]
        pixels = torch.from_numpy(data.pictures[data.train[5]]).permute(2, 0, 1)
        assert torch.equal(item["image"], pixels.float() / 127.5 - 1)
        [text] = [t for t, p in expected.items() if torch.equal(p["text"][0], item["text"])]
        assert torch.equal(expected[text]["mask"][0], item["mask"])
        seen.add(text)
    assert seen == set(expected)


def test_dropped_captions_are_the_empty_one(folder: Path) -> None:
    data = Data(config(caption_dropout=0.5), folder)
    empty = data.encoder.prepare([""])
    dropped = 0
    for seed in range(40):
        item = data.item(0, np.random.default_rng(seed))
        assert torch.equal(item["text"], empty["text"][0]) == bool(item["dropped"])
        dropped += int(item["dropped"])
    assert 8 < dropped < 32


def test_items_depend_on_index_and_seed_alone(folder: Path) -> None:
    first, again = Data(config(mirror=True), folder), Data(config(mirror=True), folder)
    for index in (3, 0):
        a, b = (data.item(index, np.random.default_rng(index)) for data in (first, again))
        assert items_equal(a, b)
        assert items_equal(a, first.item(index, np.random.default_rng(index)))
    assert items_equal(first.bank("train", 9), again.bank("train", 9))


def test_mirrored_only_when_asked(folder: Path) -> None:
    plain, mirrored = Data(config(), folder), Data(config(mirror=True), folder)
    row = next(i for i, r in enumerate(plain.train) if plain.described[r]["place"] == "left")
    images = {
        bool((data.item(row, np.random.default_rng(s))["image"][..., 0] < 0.99).any())
        for data in (mirrored,)
        for s in range(20)
    }
    assert images == {True, False}
    assert all((plain.item(row, np.random.default_rng(s))["image"][..., 0] < 0.99).any() for s in range(20))


def test_attributes_and_their_numbers(folder: Path) -> None:
    data = Data(config(held_out=0), folder)
    assert data.attributes == {"colour": ("blue", "green", "red", "yellow"), "place": ("left", "middle", "right")}
    assert data.labels[0].tolist() == [2, 0]  # red, left
    assert data.item(0, np.random.default_rng(0))["attributes"].tolist() == data.labels[data.train[0]].tolist()
    texts_only = Data(config(), data_sets.with_texts(folder / "texts"))
    assert texts_only.attributes == {} and "attributes" not in texts_only.item(0, np.random.default_rng(0))


def test_a_wrong_caption_contradicts_one_attribute(folder: Path) -> None:
    data = Data(config(held_out=0, caption_dropout=0.0, attribute_weight=0.5), folder)
    said = {text: data.described[row] for row in range(len(data.captions)) for text in data.captions[row]}
    words = {data.encoder.prepare([text])["text"][0].numpy().tobytes(): said[text] for text in said}
    for index in range(12):
        item = data.item(index, np.random.default_rng(index))
        wrong = words[item["wrong text"].numpy().tobytes()]
        equal = [wrong[name] == value for name, value in data.described[index].items()]
        assert item["wrong"] and sorted(equal) == [False, True]


def test_the_same_words_in_another_order_are_wrong(tmp_path: Path) -> None:
    """Two bars of two colours: the one with the colours exchanged is taken half of the time, others are near misses."""
    colours = ("red", "green", "blue", "yellow")
    made = [(a, b) for a in colours for b in colours if a != b] * 4
    data_sets.pictures(tmp_path, data_sets.rows(len(made)))
    lines = [
        {"file": f"{i:03d}.png", "captions": [f"{a} then {b}"], "attributes": {"first": a, "second": b}}
        for i, (a, b) in enumerate(made)
    ]
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = Data(config(held_out=0, caption_dropout=0.0, attribute_weight=0.5), tmp_path)
    ids = {data.encoder.prepare([f"{a} then {b}"])["text"][0].numpy().tobytes(): (a, b) for a, b in made}
    wrong = [ids[data.item(5, np.random.default_rng(s))["wrong text"].numpy().tobytes()] for s in range(60)]
    a, b = made[5]
    exchanged = wrong.count((b, a))
    assert 20 <= exchanged <= 40 and all((x == a) != (y == b) or (x, y) == (b, a) for x, y in wrong)


def test_there_may_be_no_wrong_caption(tmp_path: Path) -> None:
    data = Data(config(held_out=0, attribute_weight=0.5), data_sets.with_jsonl(tmp_path, 48, captions=["a bar"]))
    item = data.item(0, np.random.default_rng(0))
    assert not item["wrong"] and torch.equal(item["wrong text"], data.encoder.prepare(["a bar"])["text"][0])


def test_variety_is_that_of_pictures_that_share_captions(tmp_path: Path) -> None:
    same = Data(config(), data_sets.with_jsonl(tmp_path / "same", 48))
    assert same.variety() == 0  # equal pictures, again and again
    alone = Data(config(), data_sets.with_texts(tmp_path / "alone"))
    assert alone.variety() == 0  # nothing is shared
    few = Data(config(held_out=0), data_sets.with_jsonl(tmp_path / "few", 30, captions=["a bar"], attributes={}))
    assert few.variety() == 0 and any("link all pictures" in note for note in few.notes)
    many = Data(config(held_out=0), data_sets.with_jsonl(tmp_path / "many", 960, captions=["a bar"], attributes={}))
    whole = many.pictures[:12].astype(float) / 127.5
    any_two = np.mean([np.abs(a - b).mean() for a in whole for b in whole])
    assert many.variety() == pytest.approx(any_two, rel=0.1)  # bars as wide as a whole number of coarse places, nearly


def test_one_picture_at_a_time_is_told(folder: Path) -> None:
    assert any("one picture at a time" in note for note in Data(config(batch=4, accumulate=4), folder).notes)


def test_pictures_that_share_captions_share_a_group(folder: Path) -> None:
    data = Data(config(), folder)
    for a in range(48):
        for b in range(48):
            assert (data.groups[a] == data.groups[b]) == (a % 12 == b % 12)
    assert linked([["a"], ["b"], ["A", "b"], ["c"]]).tolist() == [0, 0, 0, 3]


def test_pairs_share_a_caption_and_no_picture_is_in_two() -> None:
    said = [["a", "b"], ["B", "c"], ["c"], ["a"], ["d"], ["c", "a"]]
    assert linked(said).tolist() == [0, 0, 0, 0, 4, 0]  # by others; so a group is no pair
    assert list(of_one_caption(said, range(6))) == [(0, 1), (2, 5)]
    assert list(of_one_caption(said, [4, 2, 3, 0])) == [(3, 0)]


def test_captions_that_are_cut_are_told(folder: Path) -> None:
    assert not any("longer than" in note for note in Data(config(tokens=32), folder).notes)
    words = json.loads((folder / "captions.jsonl").read_text().splitlines()[0])
    long = Data(config(tokens=2), folder)
    assert any("longer than 2 tokens, which are cut there" in note for note in long.notes)
    assert (
        all(cut(long.encoder, words["captions"])) and cut(long.encoder, [""]) == [False] and cut(long.encoder, []) == []
    )


def test_the_bank_is_of_its_part(folder: Path) -> None:
    data = Data(config(held_out=0.5), folder)
    for which, rows in (("train", data.train), ("held_out", data.test)):
        bank = data.bank(which, 1000)  # type: ignore[arg-type]
        assert len(bank["image"]) == len(rows)
        ours = sorted(row.tobytes() for row in data.pictures[list(rows)])
        made = ((bank["image"] + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
        assert sorted(row.tobytes() for row in made) == ours
    captions, pictures = data.held_out()
    assert len(captions) == len(pictures) == len(data.test) > 0
    assert all(caption in data.captions[row] for caption, row in zip(captions, data.test, strict=True))


def test_the_encoder_learns_from_training_captions_alone(folder: Path) -> None:
    data = Data(config(held_out=0.5), folder)
    assert data.test
    known = {word for row in data.train for text in data.captions[row] for word in text.replace(",", "").split()}
    assert data.encoder.unknown(" ".join(sorted(known)) + " zebra") == ["zebra"]


# ---- splits ----


def test_only_combinations_are_new(folder: Path) -> None:
    data = Data(config(held_out=0.4), folder)
    seen = [tuple(data.described[row].values()) for row in data.train]
    held = [tuple(data.described[row].values()) for row in data.test]
    assert held and not set(seen) & set(held)
    for column in (0, 1):
        assert {values[column] for values in held} <= {values[column] for values in seen}
    assert sorted([*data.train, *data.test]) == list(range(48))
    assert any("combinations of attributes" in note for note in data.notes)


VALUES = st.dictionaries(st.sampled_from("abc"), st.sampled_from("123"), max_size=3)


@given(st.lists(VALUES, max_size=30), st.floats(0, 0.99))
def test_every_value_stays_in_training(described: list[dict[str, str]], held_out: float) -> None:
    held = held_combinations(described, held_out)
    parts = {True: set(), False: set()}  # type: dict[bool, set[Any]]
    for attributes in described:
        parts[repr(sorted(attributes.items())) in held] |= set(attributes.items())
    assert parts[True] <= parts[False]
    assert held == held_combinations(described[::-1], held_out)


def test_without_attributes_held_out_captions_are_new(tmp_path: Path) -> None:
    found = open_captions(data_sets.with_texts(tmp_path, 48))
    train, test, note = split(found, 0.4)
    seen = {text for row in train for text in found.captions(row)}
    assert test and not any(text in seen for row in test for text in found.captions(row))
    assert sorted(train + test) == list(range(48)) and "by captions" in note


def test_the_own_split_wins(tmp_path: Path) -> None:
    folder = data_sets.with_jsonl(tmp_path)
    lines = (folder / "captions.jsonl").read_text().splitlines()
    lines[3] = lines[3][:-1] + ', "split": "validation"}'
    (folder / "captions.jsonl").write_text("\n".join(lines))
    data = Data(config(held_out=0.9), folder)
    assert data.test == [3] and len(data.train) == 11
    assert any("11 pictures name no split" in note for note in data.notes)


def test_nothing_held_out_lets_training_pictures_stand_in(folder: Path) -> None:
    data = Data(config(held_out=0), folder)
    assert data.test == [] and len(data.held_out()[0]) == 48 == len(data.bank("held_out", 100)["image"])
    assert any("nothing is held out" in note for note in data.notes)


# ---- pictures ----


def test_transparency_lies_on_the_background() -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[..., 0], pixels[:2, :, 3], pixels[2, :, 3] = 200, 255, 51
    laid = fitted(pixels, 4, "pad", (0, 255, 0))
    assert (laid[:2] == (200, 0, 0)).all() and (laid[2] == (40, 204, 0)).all() and (laid[3] == (0, 255, 0)).all()


def test_pad_crop_and_stretch() -> None:
    wide = np.zeros((8, 16, 3), np.uint8)
    wide[:, 8:] = 255
    padded = fitted(wide, 16, "pad", (0, 0, 255))
    assert (padded[:4] == (0, 0, 255)).all() and (padded[4:12] == wide).all() and (padded[12:] == (0, 0, 255)).all()
    assert (fitted(wide, 8, "crop", WHITE) == wide[:, 4:12]).all()
    assert fitted(wide, 8, "stretch", WHITE)[:, 0].max() == 0
    grey = fitted(np.full((8, 8, 1), 7, np.uint8), 8, "pad", WHITE)
    assert grey.shape == (8, 8, 3) and (grey == 7).all()


def test_colours_by_name() -> None:
    assert background("white") == WHITE and background("#010203") == (1, 2, 3)
    with pytest.raises(UsageError, match="a colour's name or #RRGGBB"):
        background("whitish")


# ---- bad data and the check ----


def test_damaged_pictures_are_refused_and_listed(folder: Path) -> None:
    (folder / "004.png").write_bytes((folder / "004.png").read_bytes()[:60])
    (folder / "005.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"cannot be trained on: .*004.png.*\(and 1 more problems\)"):
        Data(config(), folder)
    report = check(folder)
    assert not report.usable and [name for name, _ in report.problems] == ["004.png", "005.png"]
    assert "repair" in report.advice[0]


def test_the_check_of_good_data(folder: Path) -> None:
    report = check(folder)
    assert report.usable and not report.problems
    facts = report.facts
    assert facts["layout"] == "the table captions.jsonl" and facts["pictures"] == "48 with captions"
    assert facts["sizes"] == "32×32" and facts["captions"] == "96, 2 a picture, 24 different"
    assert facts["words"] == "9 different" and facts["longest caption"] == "4 words"
    assert (
        facts["attribute colour"] == "4 values: blue, green, red, yellow"
        and facts["combinations"] == "12 of attributes"
    )
    assert report.advice[-1] == f"next: gantk train text2image {folder} --preset few"


def test_the_check_never_raises(tmp_path: Path) -> None:
    report = check(tmp_path / "nowhere")
    assert not report.usable and "does not exist" in report.problems[0][1]
    (tmp_path / "empty").mkdir()
    assert not check(tmp_path / "empty").usable
