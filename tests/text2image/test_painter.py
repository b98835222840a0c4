"""The Python call: the same words and seed give the same picture; guidance, truncation, what a prompt may be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gantk_text2image.painter import Painter, export_onnx, to_uint8
from gantk_text2image.task import Text2Image
from gantoolkit.errors import InputError, UsageError
from gantoolkit.model import Model
from tests.text2image.tiny import made
from tests.tolerances import TOL


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return made(tmp_path_factory.mktemp("pictures")).model


@pytest.fixture(scope="module")
def painter(model: Model) -> Painter:
    return Text2Image().load(model, device="cpu")


def test_the_same_words_and_seed_are_the_same_picture_alone_and_among_16(painter: Painter) -> None:
    prompts = ["a red bar, left", "blue middle", "a green bar", "yellow"]
    together = painter(prompts, number=4, seed=3)
    assert len({picture.tobytes() for picture in together}) == 16
    assert together[0].shape == (32, 32, 3) and together[0].dtype == np.uint8
    alone = [painter(prompt, seed=3 + i)[0] for prompt in prompts for i in range(4)]
    assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))
    rows = [(prompt, 3 + i) for i in range(4) for prompt in prompts]  # in another order
    assert all(
        np.array_equal(picture, together[prompts.index(prompt) * 4 + seed - 3])
        for (prompt, seed), picture in zip(rows, painter.pictures(rows), strict=True)
    )


def test_order_of_words_counts(painter: Painter) -> None:
    assert not np.array_equal(painter("red left")[0], painter("left red")[0])


def test_guidance_leads_from_no_words_to_the_words_and_on(painter: Painter) -> None:
    z = painter.noise(5)
    tokens, mask, sentence = painter.read("a red bar")
    silent = painter.encoder.prepare([""])
    with torch.inference_mode():
        plain = painter.generator.mapping(z, painter.reader(silent["text"], silent["mask"])[1])
        said = painter.generator.mapping(z, sentence)

        def expected(w: torch.Tensor) -> np.ndarray:
            return to_uint8(painter.generator.synthesis(w, tokens, mask))[0]

        for guidance, w in ((0.0, plain), (1.0, said), (3.0, plain + 3 * (said - plain))):
            assert np.array_equal(painter("a red bar", seed=5, guidance=guidance)[0], expected(w))
    assert not np.array_equal(expected(plain), expected(said))


def test_truncation_brings_the_pictures_of_seeds_together(painter: Painter) -> None:
    def spread(truncation: float) -> float:
        return float(np.stack(painter("a red bar", number=8, truncation=truncation)).astype(float).std(0).mean())

    assert spread(0.0) == 0.0
    assert spread(0.3) < spread(1.0)


@pytest.mark.parametrize("prompt", ["", "   ", "\n", "?!, …", "«»", "\u200b"])
def test_a_prompt_that_says_nothing_is_refused(painter: Painter, prompt: str) -> None:
    with pytest.raises(UsageError, match="the prompt is empty") as caught:
        painter(prompt)
    assert "\n" not in str(caught.value)


def test_a_prompt_has_10_000_characters_at_most(painter: Painter) -> None:
    assert np.array_equal(painter("red " * 2_500)[0], painter("red " * 50)[0])  # beyond its tokens nothing is read
    with pytest.raises(UsageError, match=r"at most 10,000 characters.*10,001"):
        painter("x" * 10_001)


def test_it_says_what_it_does_not_heed(painter: Painter) -> None:
    assert painter.unknown("a red Elephant, elephant!") == ["elephant"]
    assert not painter.cut("a red bar, left") and painter.cut("a red bar, left, " * 5)
    assert painter.cut("z" * 500)


@settings(max_examples=10, deadline=None)
@given(st.text(st.characters(categories=("L", "N", "S", "P", "Z", "M", "C")), max_size=40))
def test_any_text_becomes_a_picture_or_is_called_empty(painter: Painter, words: str) -> None:
    try:
        assert painter(words)[0].shape == (32, 32, 3)
        painter.unknown(words)
        painter.cut(words)
    except UsageError as error:
        assert "empty" in str(error)


def test_half_precision_is_near(model: Model, painter: Painter) -> None:
    other = Painter(model, "cpu", "bf16")
    near = np.abs(other("a red bar")[0].astype(float) - painter("a red bar")[0]).mean()
    assert 0 < near < 8


def test_weights_and_config_that_do_not_fit_are_one_line(model: Model) -> None:
    weights, config = dict(model.weights), dict(model.config)
    broken = {
        "no reader": replace(model, weights={"model": weights["model"]}),
        "other weights": replace(model, weights=weights | {"text": weights["model"]}),
        "no generator": replace(model, config={"encoder": config["encoder"]}),
        "unknown layer": replace(model, config=config | {"generator": {"size": 32, "latent": 4, "x": 1}}),
        "a wider one": replace(model, config=config | {"generator": config["generator"] | {"channels": 16}}),
        "no encoder": replace(model, config=config | {"encoder": {}}),
    }
    for what, one in broken.items():
        with pytest.raises(InputError) as caught:
            Painter(one, "cpu")
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400, what


def test_a_model_that_was_kept_paints_the_same(model: Model, painter: Painter, tmp_path: Path) -> None:
    again = Painter(Model.load(model.save(tmp_path / "kept", half=False)), "cpu")
    assert np.array_equal(again("a red bar")[0], painter("a red bar")[0])


@pytest.mark.slow
def test_onnx_takes_the_text_as_numbers(model: Model, painter: Painter, tmp_path: Path) -> None:
    from gantoolkit.export import onnx_runner

    target = tmp_path / "painter.onnx"
    parity = export_onnx(model, target)
    assert parity.max_abs <= parity.tolerance <= TOL["onnx parity, absolute"]
    drawn = onnx_runner(target)
    z = torch.cat([painter.noise(1), painter.noise(2)])
    prepared = painter.encoder.prepare(["blue left", "a red bar, middle"])  # not what it was traced with
    pictures = drawn(z, prepared["text"].float(), prepared["mask"].float())
    with torch.inference_mode():
        tokens, sentence = painter.reader(prepared["text"], prepared["mask"])
        expected = painter.generator(z, tokens, prepared["mask"], sentence)
    assert torch.allclose(pictures, expected, atol=TOL["onnx parity, absolute"])
    assert not torch.allclose(pictures[0], pictures[1], atol=0.01)
