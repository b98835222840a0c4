"""Text encoders by name: words, the registry of plugins' encoders, and states kept on disk by content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gantoolkit import TextEncoderEntry, hookimpl, plugins, texts
from gantoolkit.errors import InputError, PluginError, UsageError
from gantoolkit.plugins import Candidate, Plugins

# ---- words ----


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\n", []),
        ("Two red Squares, above", ["two", "red", "squares", ",", "above"]),
        ("don't 3x", ["don", "'", "t", "3x"]),
        ("cafe\u0301", ["café"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("🍎🍎 ❤\ufe0f", ["🍎", "🍎", "❤\ufe0f"]),
        ("İ", ["i\u0307"]),
        ("\ud83c\udf4e \ud800", ["🍎", "\ufffd"]),
        ("a" * 130, ["a" * 64, "a" * 64, "aa"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert texts.words(text) == words


@settings(max_examples=300)
@given(st.text(st.characters(exclude_categories=())))
def test_words_lose_nothing_but_space(text: str) -> None:
    assert "".join(texts.words(text)) == "".join(c for c in texts.normalised(text) if not c.isspace())
    assert texts.words(" ".join(texts.words(text))) == texts.words(text)


@settings(max_examples=300)
@given(st.text(st.characters(max_codepoint=127)))
def test_the_quick_way_for_ascii_finds_the_same_words(text: str) -> None:
    assert texts.words(text) == texts.words(f"{text} é")[:-1]


def test_unknown_words_are_those_of_no_caption() -> None:
    known = texts.known_words(["A red, RED square!", "é"])
    assert known == {"a", "red", "square", "é"}
    assert texts.unknown("a Red 🍎 cube, cube E\u0301?", known) == ["🍎", "cube"]


def test_punctuation_is_no_word() -> None:
    assert [word for word in texts.words("a, +  🍎 ! 7 \u200d") if texts.is_word(word)] == ["a", "+", "🍎", "7"]


# ---- the registry ----


class Counter:
    """The least an encoder can be."""

    name = "counter"

    def __init__(self, settings: texts.TextSettings) -> None:
        self.settings, self.width = settings, settings.width

    @classmethod
    def learn(cls, captions: Sequence[str] | None, settings: texts.TextSettings) -> Counter:
        return cls(settings)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Counter:
        return cls(texts.TextSettings(width=int(values["width"])))


class Brings:
    """A plugin with these text encoders."""

    def __init__(self, *entries: Any) -> None:
        self.entries = entries

    @hookimpl
    def gantk_text_encoders(self) -> list[Any]:
        return list(self.entries)


@pytest.fixture
def found() -> Iterator[Plugins]:
    found = Plugins()
    plugins.use(found)
    yield found
    plugins.use(None)


def add(found: Plugins, name: str, *entries: Any) -> plugins.Record:
    return found.add(Candidate(name, f"{name}-dist", lambda: Brings(*entries)))


def entry(name: str, **more: Any) -> TextEncoderEntry:
    return TextEncoderEntry(name, "one line", Counter, **more)  # type: ignore[arg-type]


def test_an_encoder_is_found_by_its_name(found: Plugins) -> None:
    add(found, "first", entry("counter"))
    made: Any = texts.encoder("counter", ["a"], width=7, layers=0, tokens=5, vocabulary=9, tune=True)
    assert made.settings == texts.TextSettings(7, 0, 5, 9, True, "")
    assert texts.from_dict({"encoder": "counter", "width": 3}).width == 3


def test_a_target_is_imported_by_name() -> None:
    assert TextEncoderEntry("c", "s", f"{__name__}:Counter").load().__name__ == "Counter"


def test_two_plugins_with_one_name_are_reported(found: Plugins) -> None:
    add(found, "first", entry("counter"))
    record = add(found, "second", entry("counter"))
    assert record.status == "broken"
    assert record.error == "second-dist offers the text encoder 'counter', which first-dist offers already"
    assert list(found.text_encoders()) == ["counter"]


def test_what_is_no_entry_is_reported(found: Plugins) -> None:
    assert "expected a list of TextEncoderEntry" in add(found, "odd", "counter").error


def test_an_unknown_name_lists_near_ones(found: Plugins) -> None:
    add(found, "first", entry("counter"))
    with pytest.raises(UsageError, match=r"no text encoder is called 'countr'; did you mean counter\?"):
        texts.encoder("countr", [])
    with pytest.raises(UsageError, match="no text encoder is called 'gone'"):
        texts.from_dict({"encoder": "gone"})


def test_what_is_missing_is_said(found: Plugins) -> None:
    add(found, "first", entry("counter", available=lambda: "pip install beads"))
    with pytest.raises(UsageError, match="'counter' cannot be used: pip install beads"):
        texts.encoder("counter", [])


@pytest.mark.parametrize(
    "broken",
    [
        TextEncoderEntry("odd", "s", "no_such_module:Odd"),
        TextEncoderEntry("odd", "s", f"{__name__}:Missing"),
        TextEncoderEntry("odd", "s", Counter, available=lambda: str(1 / 0)),
    ],
)
def test_a_broken_one_is_its_plugins_fault(found: Plugins, broken: TextEncoderEntry) -> None:
    add(found, "first", broken)
    with pytest.raises(PluginError, match="the text encoder 'odd' cannot be loaded: "):
        texts.encoder("odd", [])
    with pytest.raises(PluginError, match="the text encoder 'odd' cannot be loaded: "):
        texts.from_dict({"encoder": "odd"})


def test_folders_go_to_the_encoder_called_local(
    found: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(found, "first", entry("local"), entry("counter"))
    made: Any = texts.encoder(str(tmp_path))
    assert made.settings.folder == str(tmp_path)
    with pytest.raises(InputError, match="missing is not a folder"):
        texts.encoder(str(tmp_path / "missing"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "counter").mkdir()
    (tmp_path / "mine").mkdir()
    by_name, by_folder = (texts.encoder(spec) for spec in ("counter", "mine"))
    assert (by_name.settings.folder, by_folder.settings.folder) == ("", str(tmp_path / "mine"))  # type: ignore[attr-defined]


@pytest.mark.parametrize("values", [{}, {"encoder": 3}, {"encoder": "counter"}, {"encoder": "counter", "width": "x"}])
def test_a_config_that_describes_no_encoder(found: Plugins, values: dict[str, Any]) -> None:
    add(found, "first", entry("counter"))
    with pytest.raises(InputError, match="the model's config does not"):
        texts.from_dict(values)


@pytest.mark.parametrize("wrong", [{"width": 0}, {"layers": -1}, {"tokens": 1}, {"vocabulary": 0}])
def test_settings_that_make_no_sense(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=f"text encoder: {next(iter(wrong))}, expected at least"):
        texts.TextSettings(**wrong)  # type: ignore[arg-type]


# ---- states kept on disk ----


class Frozen:
    """A frozen network of two numbers a character, which counts its calls."""

    calls = 0

    def __call__(self, some: Sequence[str]) -> list[np.ndarray]:
        self.calls += 1
        return [np.array([[ord(c), i] for i, c in enumerate(text)] or [[0, 0]], dtype=np.float32) for text in some]


SOME = ["red", "", "a blue one"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GANTK_HOME", str(tmp_path))
    return tmp_path


def test_states_are_computed_once(home: Path) -> None:
    frozen = Frozen()
    first = texts.kept(SOME, ["encoder", "hash"], frozen)
    again = texts.kept(SOME, ["encoder", "hash"], frozen)
    assert frozen.calls == 1
    assert [state.shape for state in first] == [(3, 2), (1, 2), (10, 2)]
    assert all(state.dtype == np.float16 for state in first)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize(
    ("some", "facts"),
    [(SOME[::-1], ["encoder", "hash"]), (SOME, ["encoder", "other"]), (SOME[:2], ["encoder", "hash"])],
)
def test_other_content_is_computed_anew(home: Path, some: list[str], facts: list[str]) -> None:
    frozen = Frozen()
    texts.kept(SOME, ["encoder", "hash"], frozen)
    states = texts.kept(some, facts, frozen)
    assert frozen.calls == 2 and [len(state) for state in states] == [max(1, len(text)) for text in some]


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_file_is_made_anew(home: Path, damage: str) -> None:
    frozen = Frozen()
    first = texts.kept(SOME, [], frozen)
    (file,) = (home / "texts").iterdir()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes({"cut": content[:-9], "changed": content, "empty": b""}[damage])
    again = texts.kept(SOME, [], frozen)
    assert frozen.calls == 2 and all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    texts.kept(SOME, [], frozen)
    assert frozen.calls == 2


def test_a_folder_that_cannot_be_written_does_not_matter(home: Path) -> None:
    (home / "texts").write_text("a file where the folder should be")
    assert len(texts.kept(SOME, [], Frozen())) == 3
