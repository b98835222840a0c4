"""The encoder learnt from captions: any text can be spelt, order counts, padding and the other rows do not."""

from __future__ import annotations

import json
import random
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gantk_text2image.text.subwords import BYTES, Subwords, learn
from gantk_text2image.text.trained import START, Trained
from gantoolkit import texts
from gantoolkit.errors import InputError, UsageError
from tests.tolerances import TOL

ALONE = "row alone vs in a batch, absolute"
CAPTIONS = [
    f"{number} {colour} {shape} {relation} a blue circle"
    for number in ("one", "two", "three")
    for colour in ("red", "green", "Yellow")
    for shape in ("square", "triangle")
    for relation in ("above", "below")
]


def made(**sizes: int) -> texts.TextEncoder:
    return texts.encoder("trained", CAPTIONS, **({"width": 32, "layers": 2, "tokens": 16, "vocabulary": 400} | sizes))


ENCODER = Trained.learn(CAPTIONS, texts.TextSettings(32, 2, 16, 400))


# ---- subwords ----


def test_pairs_are_learnt_by_how_often_they_occur() -> None:
    """Known by hand: "ab" occurs four times, then " ab" three times (in "xab" no space precedes it)."""
    pairs = learn(["ab ab ab", "xab"], 9)
    a, b, space = (ord(character) for character in "ab ")
    assert pairs == [(a, b), (space, BYTES)]


def test_the_order_of_captions_does_not_matter() -> None:
    shuffled = random.Random(0).sample(CAPTIONS, len(CAPTIONS))
    assert learn(shuffled, 60) == learn(CAPTIONS, 60)


def slowly(captions: list[str], count: int) -> list[tuple[int, int]]:
    """The same, counted anew at every turn."""
    spelt = [Subwords([])._spell(word) for caption in captions for word in texts.words(caption)]
    pairs: list[tuple[int, int]] = []
    while len(pairs) < count:
        counts: dict[tuple[int, int], int] = {}
        for ids in spelt:
            for pair in pairwise(ids):
                counts[pair] = counts.get(pair, 0) + 1
        best = min(counts, key=lambda pair: (-counts[pair], pair), default=None)
        if best is None or counts[best] < 2:
            break
        pairs.append(best)
        once = Subwords(pairs)
        spelt = [once._spell(word) for caption in captions for word in texts.words(caption)]
    return pairs


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text("ab é", max_size=12), max_size=6))
def test_counting_on_gives_what_counting_anew_gives(captions: list[str]) -> None:
    assert learn(captions, 12) == slowly(captions, 12)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=40))
def test_any_text_is_spelt_without_loss(text: str) -> None:
    """The bytes that the ids stand for are those of the words, halves of surrogate pairs included."""
    subwords = ENCODER.subwords
    spelling: list[bytes] = [bytes([i]) for i in range(BYTES)]
    for a, b in subwords.pairs:
        spelling.append(spelling[a] + spelling[b])
    back = b"".join(spelling[i] for i in subwords.ids(text, 10_000)).decode()
    assert back.replace(" ", "") == "".join(texts.words(text))
    json.dumps(texts.words(text), ensure_ascii=False).encode()


def test_a_caption_of_known_words_takes_a_token_a_word() -> None:
    assert len(ENCODER.subwords.ids("two red squares", 99)) <= 5
    assert len(ENCODER.subwords.ids("Two RED square above", 99)) == 4


# ---- texts to tensors ----


def test_shapes_and_the_empty_text() -> None:
    batch = made().prepare(["", "two red", "x" * 10_000, "a " * 5_000])
    assert batch["text"].shape == batch["mask"].shape == (4, 16)
    assert batch["text"].dtype == torch.int64 and batch["mask"].dtype == torch.bool
    assert batch["mask"].sum(1).tolist() == [1, 3, 16, 16]
    assert batch["text"][0, 0] == START and not batch["text"][0, 1:].any()


@pytest.mark.parametrize("text", ["Two  RED\nsquares", "two red squares "])
def test_case_and_space_do_not_matter(text: str) -> None:
    both = ENCODER.prepare([text, "two red squares"])["text"]
    assert torch.equal(both[0], both[1])


def test_composed_and_decomposed_letters_are_one() -> None:
    both = ENCODER.prepare(["café É", "cafe\u0301 e\u0301"])["text"]
    assert torch.equal(both[0], both[1])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=3))
def test_json_round_trip_gives_the_same_ids(some: list[str]) -> None:
    again = Trained.from_dict(json.loads(json.dumps(ENCODER.to_dict())))
    assert torch.equal(again.prepare(some)["text"], ENCODER.prepare(some)["text"])
    assert [again.unknown(text) for text in some] == [ENCODER.unknown(text) for text in some]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=4))
def test_captions_of_any_kind_can_be_learnt_and_are_known(captions: list[str]) -> None:
    learnt = Trained.learn(captions, texts.TextSettings(8, 1, 8, 300))
    again = Trained.from_dict(json.loads(json.dumps(learnt.to_dict())))
    assert again.known == learnt.known
    assert not [word for caption in captions for word in again.unknown(caption)]


def test_unknown_words() -> None:
    assert ENCODER.unknown("TWO red, squarish blue circle! 🍎 Ëlk, ëlk") == ["squarish", "🍎", "ëlk"]
    assert ENCODER.unknown("") == []


def test_the_state_is_small() -> None:
    assert len(json.dumps(ENCODER.to_dict())) < 4_000


# ---- the network ----


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return ENCODER.network().eval()


@torch.no_grad()
def test_order_counts(network: torch.nn.Module) -> None:
    batch = ENCODER.prepare(["red square above a blue circle", "blue circle above a red square"])
    assert batch["text"][0].sort().values.equal(batch["text"][1].sort().values), "the same tokens"
    tokens, sentence = network(**batch)
    assert tokens.shape == (2, 16, 32) and sentence.shape == (2, 32)
    assert (sentence[0] - sentence[1]).norm() > 0.05 * sentence[0].norm()


@torch.no_grad()
def test_order_counts_without_layers() -> None:
    torch.manual_seed(0)
    flat = made(layers=0)
    batch = flat.prepare(["red square above a blue circle", "blue circle above a red square"])
    _, sentence = flat.network()(**batch)
    assert (sentence[0] - sentence[1]).norm() > 1e-3 * sentence[0].norm()


@torch.no_grad()
def test_padding_does_not_count(network: torch.nn.Module) -> None:
    batch = ENCODER.prepare(["two red squares", "", CAPTIONS[0]])
    tokens, sentence = network(**batch)
    other = batch["text"].where(batch["mask"], 7)
    for x, y in zip(network(other, batch["mask"]), (tokens, sentence), strict=True):
        assert torch.equal(x, y), "what stands where no token is"
    assert not tokens[~batch["mask"]].any()
    for row in range(3):
        length = int(batch["mask"][row].sum())
        short = network(batch["text"][row : row + 1, :length], batch["mask"][row : row + 1, :length])
        torch.testing.assert_close(short[0][0], tokens[row, :length], rtol=0, atol=TOL[ALONE])
        torch.testing.assert_close(short[1][0], sentence[row], rtol=0, atol=TOL[ALONE])


@torch.no_grad()
def test_a_caption_alone_and_in_a_batch(network: torch.nn.Module) -> None:
    batch = ENCODER.prepare(CAPTIONS)
    together = network(**batch)
    for row in (0, 7):
        alone = network(**ENCODER.prepare([CAPTIONS[row]]))
        for x, y in zip(alone, together, strict=True):
            torch.testing.assert_close(x[0], y[row], rtol=0, atol=TOL[ALONE])


def test_the_network_learns_which_comes_first(network: torch.nn.Module) -> None:
    """What no bag of words can: "X above Y" from "Y above X"."""
    torch.manual_seed(0)
    shapes = ("square", "triangle", "circle")
    pairs = [(a, b) for a in shapes for b in shapes if a != b]
    batch = ENCODER.prepare([f"red {a} above a {b}" for a, b in pairs])
    label = torch.tensor([shapes.index(a) for a, _ in pairs])
    net, head = ENCODER.network(), torch.nn.Linear(32, 3)
    optimizer = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=3e-3)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(head(net(**batch)[1]), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    idle = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


@pytest.mark.parametrize("width", [1, 24, 32, 100, 96])
def test_any_width(width: int) -> None:
    encoder = made(width=width, layers=1)
    tokens, sentence = encoder.network()(**encoder.prepare(["red"]))
    assert tokens.shape == (1, 16, width) and sentence.isfinite().all()


# ---- errors ----


def test_a_vocabulary_smaller_than_the_bytes_is_refused() -> None:
    with pytest.raises(UsageError, match="vocabulary, expected at least 258, got 100"):
        made(vocabulary=100)


def test_without_captions_there_is_nothing_to_learn() -> None:
    with pytest.raises(UsageError, match="captions"):
        texts.encoder("trained")


@pytest.mark.parametrize(
    "change", [{"pairs": "1"}, {"pairs": "1 900"}, {"pairs": "x y"}, {"words": 3}, {"width": None}]
)
def test_a_damaged_state_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match="does not describe the text encoder 'trained'"):
        texts.from_dict(ENCODER.to_dict() | change)


def test_a_state_that_lacks_something_is_refused() -> None:
    values = ENCODER.to_dict()
    del values["tokens"]
    with pytest.raises(InputError, match="tokens"):
        texts.from_dict(values)
