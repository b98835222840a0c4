"""The benchmarks of text to image: what they measure on is what they say, and each makes its table."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import text2image
import text2image_captions

from gantk_text2image.captions import open_captions
from gantk_text2image.options import Text2ImageConfig
from gantoolkit.texts import words
from tests.text2image.tiny import TINY


def table(main: Any, path: Path, *arguments: str) -> list[dict[str, Any]]:
    before = torch.get_num_threads()
    try:
        main([*arguments, "--threads", "1", "--json", str(path)])
    finally:
        torch.set_num_threads(before)
    return json.loads(path.read_text())["rows"]


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text2image, "CAPTIONS", 100)
    monkeypatch.setattr(text2image, "SIZES", (32,))
    monkeypatch.setattr(text2image, "WIDTHS", (8, 16))
    less = {**TINY, "batch": 4, "penalty_every": 2}
    monkeypatch.setattr(text2image, "Text2ImageConfig", lambda **options: Text2ImageConfig(**{**less, **options}))


def test_captions_repeat_few_words_often_and_many_seldom(tmp_path: Path) -> None:
    found = open_captions(text2image_captions.write_data(tmp_path / "data", 2_000))
    assert (len(found), found.problems) == (400, [])
    said = [text for row in range(len(found)) for text in found.captions(row)]
    assert said == text2image_captions.captions(2_000)
    lengths = [len(words(text)) for text in said[1:]]
    assert (min(lengths), max(lengths)) == (5, 16)
    often = Counter(word for text in said for word in words(text))
    (_, most), *_ = often.most_common(1)
    assert most > 0.01 * sum(often.values())
    assert sum(count == 1 for count in often.values()) > len(often) / 2


@pytest.mark.usefixtures("tiny")
def test_pictures_are_timed_by_size_width_and_threads(tmp_path: Path) -> None:
    rows = table(text2image.main, tmp_path / "table.json", "picture", "--rounds", "1")
    assert [(row["size"], row["channels"], row["threads"]) for row in rows] == [("32²", 8, 1), ("32²", 16, 1)]
    assert rows[0]["parameters"] < rows[1]["parameters"]
    assert all(0 < row["least"] <= row["ms a picture"] and row["speed-up"] == 1 for row in rows)


@pytest.mark.usefixtures("tiny")
def test_a_step_is_timed_whole_without_parts_and_network_by_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text2image, "in_process", lambda *words: {"peak": 7.0})
    rows = table(text2image.main, tmp_path / "table.json", "training", "--rounds", "1", "--size", "32", "--cpu")
    by = {(row["step"], row["precision"]): row for row in rows}
    assert by["all of it", "fp32"]["of all of it"] == 1
    assert by["all of it", "bf16"]["peak MB"] == 7
    assert [row["step"] for row in rows[2:6]] == [f"without {part}" for part in text2image.WITHOUT]
    assert {row["images/s"] for row in rows[6:]} == {"–"}
    assert all(row["ms"] > 0 for row in rows)


def test_every_part_that_is_left_out_is_an_option() -> None:
    for less in text2image.WITHOUT.values():
        assert Text2ImageConfig(**less) != Text2ImageConfig()


def test_one_caption_of_any_kind_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = text2image_captions.captions(50)
    monkeypatch.setattr(text2image_captions, "captions", lambda count: some)
    rows = table(text2image_captions.main, tmp_path / "table.json", "length", "--lengths", "10,100")
    assert [row["characters"] for row in rows] == [10, 100] * 4
    assert all(row["ms to prepare"] > 0 and row["ms to learn from"] > 0 for row in rows)


@pytest.mark.slow
def test_a_growing_data_set_is_measured_in_processes_of_its_own(tmp_path: Path) -> None:
    rows = table(text2image_captions.main, tmp_path / "table.json", "number", "--counts", "100,1000")
    assert [(row["captions"], row["pictures"]) for row in rows] == [(100, 20), (1000, 200)]
    assert all(row["s until ready"] > row["subwords learnt"] / 2 and row["peak MB"] > 0 for row in rows)


@pytest.mark.slow
def test_a_cold_start_is_measured_beside_what_torch_takes(tmp_path: Path) -> None:
    rows = table(text2image.main, tmp_path / "table.json", "cold", "--rounds", "1")
    nothing, torch_alone, ours = (row["CPU s"] for row in rows)
    assert nothing < torch_alone < ours
