"""Word vectors from their package, and the line that names a missing one."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch

from gantk_text2image.text.packages import Words
from gantoolkit import texts
from gantoolkit.errors import UsageError

from .encoders import check

SETTINGS = texts.TextSettings(width=32, layers=1, tokens=12)


def test_absent_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gantk_text2image.catalog.find_spec", lambda name: None if name == "wordllama" else name)
    with pytest.raises(UsageError, match="'words' cannot be used: wordllama not installed; pip install --no-deps word"):
        texts.encoder("words", ["a"])


@pytest.fixture(scope="module")
def encoder() -> Words:
    pytest.importorskip("tokenizers")
    if find_spec("wordllama") is None:
        pytest.skip("the package wordllama is not installed")
    return Words.learn(["a red square"], SETTINGS)


def test_what_means_alike_is_near(encoder: Words) -> None:
    batch = encoder.prepare(["sea", "ocean", "bread"])
    assert batch["mask"].sum(1).tolist() == [2, 2, 2], "one subword each, after the mark of the beginning"
    sea, ocean, bread = torch.nn.functional.normalize(batch["text"][:, 1].float(), dim=1)
    assert sea @ ocean > 0.5 > 0.1 > sea @ bread


def test_case_does_not_matter(encoder: Words) -> None:
    batch = encoder.prepare(["A RED Apple", "a red apple"])
    assert torch.equal(batch["text"][0], batch["text"][1])


@pytest.mark.parametrize("tune", [False, True], ids=["frozen", "tuned"])
def test_what_holds_for_every_encoder(encoder: Words, tune: bool) -> None:
    tried = Words.learn(["a red square"], replace(SETTINGS, tune=tune)) if tune else encoder
    check(tried, first="red square above a blue circle", second="blue circle above a red square")
